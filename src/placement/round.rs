//! The offers of one round with their remaining amounts, and a cursor over the offers for each request.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use jiff::Timestamp;

use super::constraints::{ConstraintChecker, PeerCounts};
use super::first_fit::FirstFitIndex;
use super::ports::{self, Ranges};
use super::{Offer, PeerLocations};
use borges_task::{Port, Requirements, ResourceRequest, Resources, RunId, TaskId};

/// The offers of a round.
pub(super) struct MatchRound<'a> {
    offers: &'a [Offer],
    free: FirstFitIndex,
    /// The remaining ports of each offer; `None` until a port of it is taken.
    ports: Vec<Option<Ranges>>,
    /// Whether any agent of these offers has planned maintenance.
    has_maintenance: bool,
    now: Timestamp,
    peer_locations: &'a PeerLocations,
    cursors: Vec<OfferCursor<'a>>,
    cursor_indices: HashMap<&'a Arc<ResourceRequest>, usize>,
    /// The peer counts of each peer group.
    peer_counts: Vec<PeerCounts>,
    peer_count_indices: HashMap<PeerGroup<'a>, usize>,
    /// The first offer that may still fit the smallest request.
    first_open: usize,
}

/// Key of a peer group: tasks of one run with the same requirements. The run is `None` if no constraint compares tasks.
type PeerGroup<'a> = (Option<RunId>, Option<&'a Arc<Requirements>>);

/// The position of one request in the list of offers.
struct OfferCursor<'a> {
    request: &'a ResourceRequest,
    /// The amounts of `request`, copied for speed.
    resources: Resources,
    /// The first offer that may still fit; `None` if no offer does.
    next_offer: Option<usize>,
    /// The constraint checks and the index of the peer counts; `None` if only amounts matter.
    constraints: Option<(ConstraintChecker<'a>, usize)>,
}

impl<'a> MatchRound<'a> {
    /// `requested_cpus` are the milli-CPUs of the requests of this round.
    pub(super) fn new(
        offers: &'a [Offer],
        requested_cpus: impl Iterator<Item = u64>,
        peer_locations: &'a PeerLocations,
        now: Timestamp,
    ) -> Self {
        Self {
            offers,
            free: FirstFitIndex::new(offers.iter().map(|offer| offer.free).collect(), requested_cpus),
            ports: vec![None; offers.len()],
            has_maintenance: offers.iter().any(|offer| offer.maintenance.is_some()),
            now,
            peer_locations,
            cursors: Vec::new(),
            cursor_indices: HashMap::new(),
            peer_counts: Vec::new(),
            peer_count_indices: HashMap::new(),
            first_open: 0,
        }
    }

    /// Whether any offer fits these amounts. Once false, it stays false, because offers only shrink.
    pub(super) fn has_room(&mut self, smallest: &Resources) -> bool {
        self.first_open = self.free.find_first(self.first_open, smallest).unwrap_or(self.offers.len());
        self.first_open < self.offers.len()
    }

    /// The index of the cursor of a request; all tasks with the same request share it.
    pub(super) fn cursor(&mut self, request: &'a Arc<ResourceRequest>) -> usize {
        if let Some(&cursor) = self.cursor_indices.get(request) {
            return cursor;
        }
        let constraints =
            request.requirements.as_ref().map(|requirements| requirements.constraints.as_slice());
        let needs_checks = constraints.is_some() || self.has_maintenance;
        let constraints = needs_checks.then(|| {
            let with_room = self.offers.iter().filter(|offer| offer.free.contains(&request.resources));
            let agents = with_room.map(|offer| &offer.agent);
            (
                ConstraintChecker::new(constraints.unwrap_or_default(), &agents),
                self.peer_counts_index(request),
            )
        });
        self.cursors.push(OfferCursor {
            request,
            resources: request.resources,
            next_offer: Some(0),
            constraints,
        });
        self.cursor_indices.insert(request, self.cursors.len() - 1);
        self.cursors.len() - 1
    }

    /// Allocates a task on the first offer that fits. Returns the offer's index and the task's ports.
    pub(super) fn place(&mut self, cursor: usize, task: TaskId) -> Option<(usize, Vec<u16>)> {
        let cursor = &mut self.cursors[cursor];
        let resources = &cursor.resources;
        let from = cursor.next_offer.take()?;
        let Some((constraints, peers)) = &cursor.constraints else {
            cursor.next_offer = self.free.find_first(from, resources);
            return cursor
                .next_offer
                .filter(|&at| self.free.allocate(at, resources))
                .map(|at| (at, Vec::new()));
        };
        let peers = &mut self.peer_counts[*peers];
        let requested_ports =
            cursor.request.requirements.as_ref().map_or(&[][..], |requirements| &requirements.ports);
        let mut at = if constraints.may_become_feasible() { 0 } else { from };
        loop {
            at = self.free.find_first(at, resources)?;
            let Offer { agent, maintenance, ports, .. } = &self.offers[at];
            let is_unavailable =
                maintenance.is_some_and(|window| window.starts_before(cursor.request.max_runtime, self.now));
            if !is_unavailable
                && constraints.check(agent, peers).is_none()
                && let Some(taken) = take_ports(&mut self.ports[at], ports, requested_ports, task)
                && self.free.allocate(at, resources)
            {
                constraints.record_placement(agent, peers);
                cursor.next_offer = Some(at);
                return Some((at, taken));
            }
            at += 1;
        }
    }

    /// The index of the peer counts of a request's peer group.
    fn peer_counts_index(&mut self, request: &'a ResourceRequest) -> usize {
        match self.peer_count_indices.entry((request.constraint_group, request.requirements.as_ref())) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let constraints =
                    request.requirements.as_ref().map_or(&[][..], |requirements| &requirements.constraints);
                self.peer_counts.push(PeerCounts::new(constraints, &self.peer_locations.peers(request)));
                *entry.insert(self.peer_counts.len() - 1)
            }
        }
    }
}

/// Allocates the ports; `None`, and nothing allocated, if not all are available.
fn take_ports(
    remaining: &mut Option<Ranges>,
    offered: &Ranges,
    requested_ports: &[Port],
    task: TaskId,
) -> Option<Vec<u16>> {
    if requested_ports.is_empty() {
        return Some(Vec::new());
    }
    ports::allocate(remaining.get_or_insert_with(|| offered.clone()), requested_ports, seed(task))
}

/// Where a task's search for any port begins: two strangers on one machine should seldom begin alike.
fn seed(task: TaskId) -> u64 {
    let (high, low) = task.run.0.as_u64_pair();
    (high ^ low).wrapping_add(u64::from(task.number))
}

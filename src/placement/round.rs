//! The offers of a round, what is left of them, and how each demand walks along them.

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
    /// Of those of which some were taken.
    ports: Vec<Option<Ranges>>,
    /// Some agent will be away for maintenance.
    windows: bool,
    now: Timestamp,
    spread: &'a PeerLocations,
    walks: Vec<OfferCursor<'a>>,
    place_of_walk: HashMap<&'a Arc<ResourceRequest>, usize>,
    /// Where the tasks are that constraints compare; by who is compared with whom.
    peers: Vec<PeerCounts>,
    place_of_peers: HashMap<Peers<'a>, usize>,
    /// The first offer that may have room for anything.
    room: usize,
}

/// Those who are compared: tasks of one run, where it is compared at all, with the same wishes.
type Peers<'a> = (Option<RunId>, Option<&'a Arc<Requirements>>);

/// A demand on its way along the offers.
struct OfferCursor<'a> {
    wants: &'a ResourceRequest,
    /// Of what it wants, near at hand.
    amounts: Resources,
    /// The first offer that may suit it still; `None` when none does.
    offer: Option<usize>,
    /// Only of a demand to which not only amounts matter; and which peers are its own.
    terms: Option<(ConstraintChecker<'a>, usize)>,
}

impl<'a> MatchRound<'a> {
    /// `asked` are the milli-cpus that will be wanted.
    pub(super) fn new(
        offers: &'a [Offer],
        asked: impl Iterator<Item = u64>,
        spread: &'a PeerLocations,
        now: Timestamp,
    ) -> Self {
        Self {
            offers,
            free: FirstFitIndex::new(offers.iter().map(|offer| offer.free).collect(), asked),
            ports: vec![None; offers.len()],
            windows: offers.iter().any(|offer| offer.maintenance.is_some()),
            now,
            spread,
            walks: Vec::new(),
            place_of_walk: HashMap::new(),
            peers: Vec::new(),
            place_of_peers: HashMap::new(),
            room: 0,
        }
    }

    /// Whether some offer has room for these amounts; once not, never again.
    pub(super) fn has_room(&mut self, least: &Resources) -> bool {
        self.room = self.free.find_first(self.room, least).unwrap_or(self.offers.len());
        self.room < self.offers.len()
    }

    /// The walk of a demand, which all its tasks make together.
    pub(super) fn walk(&mut self, wants: &'a Arc<ResourceRequest>) -> usize {
        if let Some(&walk) = self.place_of_walk.get(wants) {
            return walk;
        }
        let constraints = wants.requirements.as_ref().map(|wishes| wishes.constraints.as_slice());
        let is_picky = constraints.is_some() || self.windows;
        let terms = is_picky.then(|| {
            let with_room = self.offers.iter().filter(|offer| offer.free.contains(&wants.resources));
            let agents = with_room.map(|offer| &offer.agent);
            (ConstraintChecker::new(constraints.unwrap_or_default(), &agents), self.peers_of(wants))
        });
        self.walks.push(OfferCursor { wants, amounts: wants.resources, offer: Some(0), terms });
        self.place_of_walk.insert(wants, self.walks.len() - 1);
        self.walks.len() - 1
    }

    /// Takes what a task wants from the first offer that suits it; says which, and which ports are its own.
    pub(super) fn place(&mut self, walk: usize, task: TaskId) -> Option<(usize, Vec<u16>)> {
        let walk = &mut self.walks[walk];
        let amounts = &walk.amounts;
        let from = walk.offer.take()?;
        let Some((terms, peers)) = &walk.terms else {
            walk.offer = self.free.find_first(from, amounts);
            return walk.offer.filter(|&at| self.free.allocate(at, amounts)).map(|at| (at, Vec::new()));
        };
        let peers = &mut self.peers[*peers];
        let wanted = walk.wants.requirements.as_ref().map_or(&[][..], |wishes| &wishes.ports);
        let mut at = if terms.may_become_feasible() { 0 } else { from };
        loop {
            at = self.free.find_first(at, amounts)?;
            let Offer { agent, maintenance, ports, .. } = &self.offers[at];
            let is_away =
                maintenance.is_some_and(|away| away.starts_before(walk.wants.max_runtime, self.now));
            if !is_away
                && terms.check(agent, peers).is_none()
                && let Some(taken) = take_ports(&mut self.ports[at], ports, wanted, task)
                && self.free.allocate(at, amounts)
            {
                terms.place(agent, peers);
                walk.offer = Some(at);
                return Some((at, taken));
            }
            at += 1;
        }
    }

    /// Which of `constraint_group` are a demand's own.
    fn peers_of(&mut self, wants: &'a ResourceRequest) -> usize {
        match self.place_of_peers.entry((wants.constraint_group, wants.requirements.as_ref())) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => {
                let constraints = wants.requirements.as_ref().map_or(&[][..], |wishes| &wishes.constraints);
                self.peers.push(PeerCounts::new(constraints, &self.spread.peers(wants)));
                *place.insert(self.peers.len() - 1)
            }
        }
    }
}

/// Takes ports of an offer, if they are all there.
fn take_ports(left: &mut Option<Ranges>, all: &Ranges, wanted: &[Port], task: TaskId) -> Option<Vec<u16>> {
    if wanted.is_empty() {
        return Some(Vec::new());
    }
    ports::allocate(left.get_or_insert_with(|| all.clone()), wanted, seed(task))
}

/// Where a task's search for any port begins: two strangers on one machine should seldom begin alike.
fn seed(task: TaskId) -> u64 {
    let (high, low) = task.run.0.as_u64_pair();
    (high ^ low).wrapping_add(u64::from(task.number))
}

//! Recent offers, and the reason why a request fits none of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::constraints::{ConstraintChecker, Mismatch, PeerCounts};
use super::ports;
use super::reason::{PlacementFailure, ResourceKind};
use super::{Agent, Offer, PeerLocations};
use borges_task::{Constraint, Port, ResourceRequest, Resources};

/// Offers, to tell why something fitted none.
#[derive(Debug, Clone)]
pub struct RecentOffers<'a> {
    offers: Vec<&'a Offer>,
    /// The most of each kind.
    largest: Resources,
    /// Some agent will be away for maintenance.
    has_maintenance: bool,
    /// Where the tasks are that constraints compare others with.
    peer_locations: &'a PeerLocations,
    now: Timestamp,
    /// What was told before: what asks for the same waits for the same reason.
    cache: RefCell<HashMap<ResourceRequest, PlacementFailure>>,
}

/// How many values are shown of those that do not do.
const MAX_VALUES: usize = 3;

impl<'a> RecentOffers<'a> {
    /// These offers; `peer_locations` says where tasks are that constraints compare with, `now` which maintenance is near.
    pub fn new(
        offers: impl IntoIterator<Item = &'a Offer>,
        peer_locations: &'a PeerLocations,
        now: Timestamp,
    ) -> Self {
        let offers: Vec<&Offer> = offers.into_iter().collect();
        let largest = max_resources(&offers);
        let has_maintenance = offers.iter().any(|offer| offer.maintenance.is_some());
        Self { offers, largest, has_maintenance, peer_locations, now, cache: RefCell::default() }
    }

    /// There was none.
    pub fn is_empty(&self) -> bool {
        self.offers.is_empty()
    }

    /// Why `requested` fits none; [`PlacementFailure::Outranked`] when it does fit one.
    pub fn reason(&self, request: &ResourceRequest) -> PlacementFailure {
        if let Some(reason) = self.cache.borrow().get(request) {
            return reason.clone();
        }
        let reason = self.compute_reason(request);
        self.cache.borrow_mut().insert(request.clone(), reason.clone());
        reason
    }

    fn compute_reason(&self, request: &ResourceRequest) -> PlacementFailure {
        if self.offers.is_empty() {
            return PlacementFailure::NoOffers;
        }
        if request.requirements.is_none() && !self.has_maintenance {
            return resource_failure(&request.resources, &self.offers, self.largest)
                .unwrap_or_else(|| combined_failure(request, &[], &self.offers));
        }
        let constraints =
            request.requirements.as_ref().map_or(&[][..], |requirements| &requirements.constraints);
        let checker = ConstraintChecker::new(constraints, &agents_with(&self.offers, &request.resources));
        let peers = PeerCounts::new(constraints, &self.peer_locations.peers(request));
        let mismatches: Vec<_> =
            self.offers.iter().map(|offer| checker.check(&offer.agent, &peers)).collect();
        let passed: Vec<&Offer> = self
            .offers
            .iter()
            .zip(&mismatches)
            .filter(|(_, mismatch)| mismatch.is_none())
            .map(|(&offer, _)| offer)
            .collect();
        if passed.is_empty() {
            return self.constraint_failure(&mismatches, &checker, &peers);
        }
        let is_available = |offer: &&Offer| {
            !offer.maintenance.is_some_and(|it| it.starts_before(request.max_runtime, self.now))
        };
        let available: Vec<&Offer> = passed.iter().copied().filter(is_available).collect();
        if available.is_empty() {
            return PlacementFailure::MaintenancePlanned { offers: passed.len() };
        }
        let ports = request.requirements.as_ref().map_or(&[][..], |requirements| &requirements.ports);
        resource_failure(&request.resources, &available, max_resources(&available))
            .or_else(|| port_failure(ports, &available))
            .unwrap_or_else(|| combined_failure(request, ports, &available))
    }

    fn constraint_failure(
        &self,
        mismatches: &[Option<Mismatch<'_>>],
        checker: &ConstraintChecker<'_>,
        peers: &PeerCounts,
    ) -> PlacementFailure {
        let mut counts: Vec<(usize, Mismatch<'_>)> = Vec::new();
        for &mismatch in mismatches.iter().flatten() {
            match counts.iter_mut().find(|(_, other)| *other == mismatch) {
                Some((count, _)) => *count += 1,
                None => counts.push((1, mismatch)),
            }
        }
        // Of equals the last is chosen: turned round, it is the one that refused first.
        match counts.into_iter().rev().max_by_key(|(count, _)| *count) {
            Some((_, Mismatch::PeerUnknown(constraint))) => {
                PlacementFailure::PeerLocationUnknown { constraint: constraint.clone() }
            }
            Some((_, Mismatch::Unmet(constraint))) => {
                let value = |agent: &Agent| agent.value(&constraint.field).map(str::to_owned);
                let mut have: Vec<String> =
                    self.offers.iter().filter_map(|offer| value(&offer.agent)).collect();
                have.sort_unstable();
                have.dedup();
                have.truncate(MAX_VALUES);
                let mut taken = checker.peer_values(constraint, peers);
                taken.truncate(MAX_VALUES);
                let constraint = Constraint::clone(constraint);
                PlacementFailure::ConstraintUnmet { constraint, have, taken, offers: self.offers.len() }
            }
            None => PlacementFailure::NoOffers,
        }
    }
}

fn max_resources(offers: &[&Offer]) -> Resources {
    offers.iter().fold(Resources::default(), |max, offer| max.elementwise_max(&offer.free))
}

/// The agents of offers that hold these amounts.
fn agents_with<'a>(
    offers: &'a [&Offer],
    resources: &'a Resources,
) -> impl Iterator<Item = &'a Arc<Agent>> + Clone {
    offers.iter().filter(|offer| offer.free.contains(resources)).map(|offer| &offer.agent)
}

fn resource_failure(request: &Resources, offers: &[&Offer], largest: Resources) -> Option<PlacementFailure> {
    let kind = ResourceKind::ALL.into_iter().find(|kind| kind.of(request) > kind.of(&largest))?;
    let (requested, largest) = (kind.of(request), kind.of(&largest));
    Some(PlacementFailure::InsufficientResource { kind, requested, largest, offers: offers.len() })
}

fn port_failure(ports: &[Port], offers: &[&Offer]) -> Option<PlacementFailure> {
    let is_free = |port: u16| offers.iter().any(|offer| ports::contains(&offer.ports, port));
    if let Some(port) = ports.iter().find(|port| port.host != 0 && !is_free(port.host)) {
        return Some(PlacementFailure::PortTaken { port: port.host, offers: offers.len() });
    }
    let most = offers.iter().map(|offer| ports::count(&offer.ports)).max().unwrap_or(0);
    let is_short = u64::try_from(ports.len()).unwrap_or(u64::MAX) > most;
    is_short.then_some(PlacementFailure::InsufficientPorts {
        requested: ports.len(),
        most,
        offers: offers.len(),
    })
}

/// Each thing by itself is there.
fn combined_failure(request: &ResourceRequest, ports: &[Port], offers: &[&Offer]) -> PlacementFailure {
    let fits = |offer: &&Offer| {
        offer.free.contains(&request.resources)
            && (ports.is_empty() || ports::allocate(&mut offer.ports.clone(), ports, 0).is_some())
    };
    if offers.iter().any(fits) {
        PlacementFailure::Outranked
    } else {
        PlacementFailure::Fragmented { offers: offers.len() }
    }
}

//! What was offered of late, and why something fitted none of it.

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
    windows: bool,
    /// Where the tasks are that constraints compare others with.
    spread: &'a PeerLocations,
    now: Timestamp,
    /// What was told before: what asks for the same waits for the same reason.
    told: RefCell<HashMap<ResourceRequest, PlacementFailure>>,
}

/// How many values are shown of those that do not do.
const SHOWN: usize = 3;

impl<'a> RecentOffers<'a> {
    /// These offers; `spread` says where tasks are that constraints compare with, `now` which maintenance is near.
    pub fn new(
        offers: impl IntoIterator<Item = &'a Offer>,
        spread: &'a PeerLocations,
        now: Timestamp,
    ) -> Self {
        let offers: Vec<&Offer> = offers.into_iter().collect();
        let largest = most(&offers);
        let windows = offers.iter().any(|offer| offer.maintenance.is_some());
        Self { offers, largest, windows, spread, now, told: RefCell::default() }
    }

    /// There was none.
    pub fn is_empty(&self) -> bool {
        self.offers.is_empty()
    }

    /// Why `requested` fits none; [`PlacementFailure::Outranked`] when it does fit one.
    pub fn reason(&self, wants: &ResourceRequest) -> PlacementFailure {
        if let Some(told) = self.told.borrow().get(wants) {
            return told.clone();
        }
        let reason = self.reckoned(wants);
        self.told.borrow_mut().insert(wants.clone(), reason.clone());
        reason
    }

    fn reckoned(&self, wants: &ResourceRequest) -> PlacementFailure {
        if self.offers.is_empty() {
            return PlacementFailure::NoOffers;
        }
        if wants.requirements.is_none() && !self.windows {
            return of_amounts(&wants.resources, &self.offers, self.largest)
                .unwrap_or_else(|| of_the_rest(wants, &[], &self.offers));
        }
        let constraints = wants.requirements.as_ref().map_or(&[][..], |wishes| &wishes.constraints);
        let terms = ConstraintChecker::new(constraints, &with_room(&self.offers, &wants.resources));
        let peers = PeerCounts::new(constraints, &self.spread.peers(wants));
        let refusals: Vec<_> = self.offers.iter().map(|offer| terms.check(&offer.agent, &peers)).collect();
        let passed: Vec<&Offer> = self
            .offers
            .iter()
            .zip(&refusals)
            .filter(|(_, refusal)| refusal.is_none())
            .map(|(&offer, _)| offer)
            .collect();
        if passed.is_empty() {
            return self.of_refusals(&refusals, &terms, &peers);
        }
        let stays = |offer: &&Offer| {
            !offer.maintenance.is_some_and(|it| it.starts_before(wants.max_runtime, self.now))
        };
        let staying: Vec<&Offer> = passed.iter().copied().filter(stays).collect();
        if staying.is_empty() {
            return PlacementFailure::MaintenancePlanned { offers: passed.len() };
        }
        let ports = wants.requirements.as_ref().map_or(&[][..], |wishes| &wishes.ports);
        of_amounts(&wants.resources, &staying, most(&staying))
            .or_else(|| of_ports(ports, &staying))
            .unwrap_or_else(|| of_the_rest(wants, ports, &staying))
    }

    fn of_refusals(
        &self,
        refusals: &[Option<Mismatch<'_>>],
        terms: &ConstraintChecker<'_>,
        peers: &PeerCounts,
    ) -> PlacementFailure {
        let mut counts: Vec<(usize, Mismatch<'_>)> = Vec::new();
        for &refusal in refusals.iter().flatten() {
            match counts.iter_mut().find(|(_, counted)| *counted == refusal) {
                Some((count, _)) => *count += 1,
                None => counts.push((1, refusal)),
            }
        }
        // Of equals the last is chosen: turned round, it is the one that refused first.
        match counts.into_iter().rev().max_by_key(|(count, _)| *count) {
            Some((_, Mismatch::Blind(constraint))) => {
                PlacementFailure::PeerLocationUnknown { constraint: constraint.clone() }
            }
            Some((_, Mismatch::Unmet(constraint))) => {
                let value = |agent: &Agent| agent.value(&constraint.field).map(str::to_owned);
                let mut have: Vec<String> =
                    self.offers.iter().filter_map(|offer| value(&offer.agent)).collect();
                have.sort_unstable();
                have.dedup();
                have.truncate(SHOWN);
                let mut taken = terms.taken(constraint, peers);
                taken.truncate(SHOWN);
                let constraint = Constraint::clone(constraint);
                PlacementFailure::ConstraintUnmet { constraint, have, taken, offers: self.offers.len() }
            }
            None => PlacementFailure::NoOffers,
        }
    }
}

fn most(offers: &[&Offer]) -> Resources {
    offers.iter().fold(Resources::default(), |most, offer| most.elementwise_max(&offer.free))
}

/// The agents of offers that hold these amounts.
fn with_room<'a>(
    offers: &'a [&Offer],
    amounts: &'a Resources,
) -> impl Iterator<Item = &'a Arc<Agent>> + Clone {
    offers.iter().filter(|offer| offer.free.contains(amounts)).map(|offer| &offer.agent)
}

fn of_amounts(wants: &Resources, offers: &[&Offer], largest: Resources) -> Option<PlacementFailure> {
    let kind = ResourceKind::ALL.into_iter().find(|kind| kind.of(wants) > kind.of(&largest))?;
    let (requested, largest) = (kind.of(wants), kind.of(&largest));
    Some(PlacementFailure::InsufficientResource { kind, requested, largest, offers: offers.len() })
}

fn of_ports(ports: &[Port], offers: &[&Offer]) -> Option<PlacementFailure> {
    let is_free = |port: u16| offers.iter().any(|offer| ports::contains(&offer.ports, port));
    if let Some(port) = ports.iter().find(|port| port.host != 0 && !is_free(port.host)) {
        return Some(PlacementFailure::PortTaken { port: port.host, offers: offers.len() });
    }
    let most = offers.iter().map(|offer| ports::count(&offer.ports)).max().unwrap_or(0);
    let few = u64::try_from(ports.len()).unwrap_or(u64::MAX) > most;
    few.then_some(PlacementFailure::InsufficientPorts { requested: ports.len(), most, offers: offers.len() })
}

/// Each thing by itself is there.
fn of_the_rest(wants: &ResourceRequest, ports: &[Port], offers: &[&Offer]) -> PlacementFailure {
    let fits = |offer: &&Offer| {
        offer.free.contains(&wants.resources)
            && (ports.is_empty() || ports::allocate(&mut offer.ports.clone(), ports, 0).is_some())
    };
    if offers.iter().any(fits) {
        PlacementFailure::Outranked
    } else {
        PlacementFailure::Fragmented { offers: offers.len() }
    }
}

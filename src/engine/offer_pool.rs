//! The offer pool: the offers that are not answered yet, and the state of REVIVE and SUPPRESS.
//!
//! No other framework can use offered resources. An offer is therefore answered at once, or after [`OFFER_HOLD`] while a
//! run may need it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::subscription::ClusterCall;
use borges_mesos::messages;
use borges_mesos::resources::{OfferedResources, normalize_ranges};
use borges_mesos::{offers, task_info};
use borges_placement::{Agent, MaintenanceWindow, Offer, WINDOW};
use borges_task::Resources;

/// The offers of the current subscription.
#[derive(Debug, Default)]
pub(super) struct OfferPool {
    /// The id of the framework. `None` before the first subscription.
    pub(super) framework: Option<String>,
    /// The epoch of the subscription to which the offers belong.
    pub(super) epoch: u64,
    held: BTreeMap<String, HeldOffer>,
    /// Whether an offer was declined since the last REVIVE, so that the cluster filters it.
    filtered: bool,
    suppressed: bool,
    /// Whether tasks were queued since the last match or REVIVE.
    queue_grew: bool,
    /// Limits the rate of REVIVE calls.
    revive_tokens: TokenBucket,
    /// The recent offers and their times, to explain why tasks wait.
    recent: VecDeque<(Duration, Offer)>,
    /// When the last REVIVE was sent.
    last_revive_at: Duration,
    /// When the last offer came. The start of the subscription, if none came.
    last_offer_at: Duration,
}

/// An offer that is not answered yet.
#[derive(Debug)]
pub(super) struct HeldOffer {
    agent: Arc<Agent>,
    role: String,
    maintenance: Option<MaintenanceWindow>,
    pub(super) resources: OfferedResources,
    since: Duration,
    /// Whether the offer is part of a round of matching.
    in_matcher: bool,
}

/// A token bucket: [`TokenBucket::BURST`] calls at once, then one each [`TokenBucket::INTERVAL`].
#[derive(Debug, Default)]
struct TokenBucket {
    used: u32,
    since: Duration,
}

/// The largest number of recent offers.
const MAX_RECENT: usize = 20_000;
/// How long an offer is held for a run that may need it.
const OFFER_HOLD: Duration = Duration::from_secs(1);
/// The filter of an offer on which no task fits. Source: the default of Mesos.
const REFUSE_UNFITTING: Duration = Duration::from_secs(5);
/// How long tasks wait without an offer before REVIVE is sent again.
const REVIVE_TIMEOUT: Duration = Duration::from_secs(60);
/// The filter of an offer while there is nothing to run. Source: the framework guide of Mesos.
const REFUSE_IDLE: Duration = Duration::from_secs(3600);

impl TokenBucket {
    const BURST: u32 = 10;
    const INTERVAL: Duration = Duration::from_millis(100);

    /// Takes a token. `false` if there is none.
    fn take(&mut self, now: Duration) -> bool {
        let refilled = now.saturating_sub(self.since).as_millis() / Self::INTERVAL.as_millis();
        if refilled > 0 {
            self.used = self.used.saturating_sub(u32::try_from(refilled).unwrap_or(u32::MAX));
            self.since = now;
        }
        let free = self.used < Self::BURST;
        self.used += u32::from(free);
        free
    }
}

impl OfferPool {
    /// A new subscription: earlier offers are invalid, and the cluster has dropped the filters.
    pub(super) fn subscribed(&mut self, epoch: u64, framework: String, now: Duration) {
        *self = Self { framework: Some(framework), epoch, last_offer_at: now, ..Self::default() };
    }

    /// The subscription is lost: its offers are invalid.
    pub(super) fn lost(&mut self) {
        self.held.clear();
    }

    /// The number of unanswered offers.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Adds an offer and returns its agent and resources. `None` if it belongs to another subscription.
    pub(super) fn add(
        &mut self,
        offer: messages::Offer,
        epoch: u64,
        now: Duration,
    ) -> Option<(Arc<Agent>, Resources)> {
        if epoch != self.epoch {
            return None;
        }
        let held = HeldOffer {
            agent: Arc::new(offers::agent(&offer)),
            role: offers::role(&offer).to_owned(),
            maintenance: offer.unavailability.as_ref().map(offers::maintenance_window),
            resources: OfferedResources::new(offer.resources),
            since: now,
            in_matcher: false,
        };
        let recent = held.offer(Vec::new());
        let (agent, free) = (recent.agent.clone(), recent.free);
        self.held.insert(offer.id.value, held);
        self.forget_old(now);
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((now, recent));
        self.last_offer_at = now;
        Some((agent, free))
    }

    fn forget_old(&mut self, now: Duration) {
        while self.recent.front().is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW) {
            self.recent.pop_front();
        }
    }

    /// The offers of the last [`WINDOW`], answered or not.
    pub(super) fn recent(&self, now: Duration) -> impl Iterator<Item = &Offer> {
        let recent = self.recent.iter().filter(move |(at, _)| now.saturating_sub(*at) <= WINDOW);
        recent.map(|(_, offer)| offer)
    }

    /// When the last offer came. The start of the subscription, if none came.
    pub(super) fn last_offer_at(&self) -> Duration {
        self.last_offer_at
    }

    /// Removes an offer that is answered now. `None` if it was rescinded.
    pub(super) fn remove(&mut self, offer: &str) -> Option<HeldOffer> {
        self.held.remove(offer)
    }

    /// The offers for a round of matching: all that are not in one. Offers of one agent and one role are merged.
    pub(super) fn take_unmatched(&mut self) -> Vec<Offer> {
        let mut offers: Vec<Offer> = Vec::new();
        let mut positions: HashMap<(&str, &str), usize> = HashMap::new();
        for (id, held) in self.held.iter_mut().filter(|(_, held)| !held.in_matcher) {
            held.in_matcher = true;
            let held: &HeldOffer = held;
            let position = *positions.entry((&held.agent.id, &held.role)).or_insert(offers.len());
            let offer = held.offer(vec![id.clone()]);
            match offers.get_mut(position) {
                Some(first) => merge_offer(first, offer),
                None => offers.push(offer),
            }
        }
        self.queue_grew &= offers.is_empty();
        offers
    }

    /// Declines unused offers: at once if there is no work, otherwise after [`OFFER_HOLD`].
    pub(super) fn decline_idle(&mut self, now: Duration, has_work: bool) -> Option<ClusterCall> {
        let is_expired = |held: &HeldOffer| {
            !held.in_matcher && (!has_work || now.saturating_sub(held.since) >= OFFER_HOLD)
        };
        let offers: Vec<String> =
            self.held.iter().filter(|(_, held)| is_expired(held)).map(|(id, _)| id.clone()).collect();
        if offers.is_empty() {
            return None;
        }
        self.held.retain(|_, held| !is_expired(held));
        self.filtered = true;
        let refuse = if has_work { REFUSE_UNFITTING } else { REFUSE_IDLE };
        Some(ClusterCall::Decline { epoch: self.epoch, offers, refuse })
    }

    /// Declines offers on which no task fits.
    pub(super) fn decline(&mut self, offers: Vec<String>) -> ClusterCall {
        self.filtered = true;
        ClusterCall::Decline { epoch: self.epoch, offers, refuse: REFUSE_UNFITTING }
    }

    /// An offer was accepted: the cluster filters its remaining resources for a while.
    pub(super) fn note_filtered(&mut self) {
        self.filtered = true;
    }

    /// Tasks were queued.
    pub(super) fn note_enqueued(&mut self) {
        self.queue_grew = true;
    }

    /// Whether to send REVIVE while tasks wait. The caller must send it if this is `true`.
    ///
    /// REVIVE is sent for new tasks, because the filtered resources did not fit the earlier ones. It is also sent after
    /// [`REVIVE_TIMEOUT`] without an offer, because the last call may be lost.
    pub(super) fn should_revive(&mut self, now: Duration) -> bool {
        let is_filtered = self.filtered || self.suppressed;
        let is_overdue = now.saturating_sub(self.last_offer_at.max(self.last_revive_at)) >= REVIVE_TIMEOUT;
        let revive = (self.queue_grew && is_filtered || is_overdue)
            && self.framework.is_some()
            && self.held.is_empty()
            && self.revive_tokens.take(now);
        if revive {
            (self.filtered, self.suppressed, self.queue_grew) = (false, false, false);
            self.last_revive_at = now;
        }
        revive
    }

    /// Whether to send SUPPRESS while there is nothing to run. The caller must send it if this is `true`.
    pub(super) fn should_suppress(&mut self) -> bool {
        self.framework.is_some() && !std::mem::replace(&mut self.suppressed, true)
    }
}

impl HeldOffer {
    /// The offer in the form that the matcher takes.
    fn offer(&self, ids: Vec<String>) -> Offer {
        let quantities = self.resources.quantities();
        let free = task_info::resources(&quantities);
        Offer { ids, agent: self.agent.clone(), free, ports: quantities.ports, maintenance: self.maintenance }
    }
}

/// Merges an offer of the same agent and role: both can be accepted in one call.
fn merge_offer(first: &mut Offer, other: Offer) {
    first.ids.extend(other.ids);
    first.free = first.free.saturating_add(&other.free);
    first.ports = normalize_ranges([std::mem::take(&mut first.ports), other.ports].concat());
    first.maintenance = first.maintenance.or(other.maintenance);
}

#[cfg(test)]
mod tests;

//! The offers that are not answered yet, and how hungry for more we have said we are.
//!
//! An offer is a lease: nobody else can use what it holds. So one is answered at once, or, while a run may
//! want it in a moment, after [`OFFER_HOLD`] at the latest.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::subscription::ClusterCall;
use borges_mesos::messages;
use borges_mesos::resources::{OfferedResources, normalize_ranges};
use borges_mesos::{offers, task_info};
use borges_placement::{Agent, MaintenanceWindow, Offer, WINDOW};
use borges_task::Resources;

/// Offers, and our appetite.
#[derive(Debug, Default)]
pub(super) struct OfferPool {
    /// The framework's id, once the cluster has given it.
    pub(super) framework: Option<String>,
    /// The subscription the offers belong to.
    pub(super) epoch: u64,
    held: BTreeMap<String, HeldOffer>,
    /// Something was declined since the last REVIVE: the cluster keeps it back for a while.
    filtered: bool,
    suppressed: bool,
    /// Something has come to wait since offers were last matched, or asked for.
    queue_grew: bool,
    /// When the last REVIVEs were sent, for pacing.
    tokens: TokenBucket,
    /// Offers of late, and when they came: for who asks why something waits.
    recent: VecDeque<(Duration, Offer)>,
    /// When the last REVIVE was sent.
    last_revive_at: Duration,
    /// When the last offer came, or the subscription began.
    last_offer_at: Duration,
}

/// An offer that is not answered yet.
#[derive(Debug)]
pub(super) struct HeldOffer {
    agent: Arc<Agent>,
    role: String,
    away: Option<MaintenanceWindow>,
    pub(super) resources: OfferedResources,
    since: Duration,
    /// The matcher has it.
    matching: bool,
}

/// A bucket of REVIVEs: so many at once, then one each [`TokenBucket::INTERVAL`].
#[derive(Debug, Default)]
struct TokenBucket {
    used: u32,
    since: Duration,
}

/// Offers that are remembered for who asks why something waits, at most.
const MAX_RECENT: usize = 20_000;
/// How long an offer is kept for a run that may want it in a moment.
const OFFER_HOLD: Duration = Duration::from_secs(1);
/// How long what does not fit now is declined. Source: Mesos' own default.
const REFUSE_UNFITTING: Duration = Duration::from_secs(5);
/// How long nothing may come, while something waits, before it is asked for again.
const REVIVE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long everything is declined when there is nothing to run. Source: Mesos' guide for frameworks.
const REFUSE_IDLE: Duration = Duration::from_secs(3600);

impl TokenBucket {
    const BURST: u32 = 10;
    const EACH: Duration = Duration::from_millis(100);

    /// Takes one, if there is one.
    fn take(&mut self, now: Duration) -> bool {
        let back = now.saturating_sub(self.since).as_millis() / Self::EACH.as_millis();
        if back > 0 {
            self.used = self.used.saturating_sub(u32::try_from(back).unwrap_or(u32::MAX));
            self.since = now;
        }
        let free = self.used < Self::BURST;
        self.used += u32::from(free);
        free
    }
}

impl OfferPool {
    /// A new subscription: offers of earlier ones are gone, and the cluster has forgotten our filters.
    pub(super) fn subscribed(&mut self, epoch: u64, framework: String, now: Duration) {
        *self = Self { framework: Some(framework), epoch, last_offer_at: now, ..Self::default() };
    }

    /// The subscription is gone, and its offers with it.
    pub(super) fn lost(&mut self) {
        self.held.clear();
    }

    /// How many offers are not answered yet.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Keeps an offer, and says whose it is and what it holds; `None` for one of another subscription.
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
            away: offer.unavailability.as_ref().map(offers::maintenance_window),
            resources: OfferedResources::new(offer.resources),
            since: now,
            matching: false,
        };
        let seen = held.offer(Vec::new());
        let (agent, free) = (seen.agent.clone(), seen.free);
        self.held.insert(offer.id.value, held);
        self.forget_seen(now);
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((now, seen));
        self.last_offer_at = now;
        Some((agent, free))
    }

    fn forget_seen(&mut self, now: Duration) {
        while self.recent.front().is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW) {
            self.recent.pop_front();
        }
    }

    /// The offers of the last [`WINDOW`], answered or not.
    pub(super) fn recent(&self, now: Duration) -> impl Iterator<Item = &Offer> {
        let recent = self.recent.iter().filter(move |(at, _)| now.saturating_sub(*at) <= WINDOW);
        recent.map(|(_, offer)| offer)
    }

    /// When the last offer came, or the subscription began.
    pub(super) fn last_seen(&self) -> Duration {
        self.last_offer_at
    }

    /// The offer, to be answered now; `None` when it was rescinded.
    pub(super) fn remove(&mut self, offer: &str) -> Option<HeldOffer> {
        self.held.remove(offer)
    }

    /// The offers to be matched: all that the matcher does not have yet, those of one agent and one role as one.
    pub(super) fn take_unmatched(&mut self) -> Vec<Offer> {
        let mut offers: Vec<Offer> = Vec::new();
        let mut places: HashMap<(&str, &str), usize> = HashMap::new();
        for (id, held) in self.held.iter_mut().filter(|(_, held)| !held.matching) {
            held.matching = true;
            let held: &HeldOffer = held;
            let place = *places.entry((&held.agent.id, &held.role)).or_insert(offers.len());
            let offer = held.offer(vec![id.clone()]);
            match offers.get_mut(place) {
                Some(first) => join(first, offer),
                None => offers.push(offer),
            }
        }
        self.queue_grew &= offers.is_empty();
        offers
    }

    /// Declines offers that nothing waits for: at once when there is no work at all, otherwise when their
    /// lease is over.
    pub(super) fn decline_idle(&mut self, now: Duration, has_work: bool) -> Option<ClusterCall> {
        let over =
            |held: &HeldOffer| !held.matching && (!has_work || now.saturating_sub(held.since) >= OFFER_HOLD);
        let offers: Vec<String> =
            self.held.iter().filter(|(_, held)| over(held)).map(|(id, _)| id.clone()).collect();
        if offers.is_empty() {
            return None;
        }
        self.held.retain(|_, held| !over(held));
        self.filtered = true;
        let refuse = if has_work { REFUSE_UNFITTING } else { REFUSE_IDLE };
        Some(ClusterCall::Decline { epoch: self.epoch, offers, refuse })
    }

    /// Declines offers on which nothing fitted.
    pub(super) fn decline(&mut self, offers: Vec<String>) -> ClusterCall {
        self.filtered = true;
        ClusterCall::Decline { epoch: self.epoch, offers, refuse: REFUSE_UNFITTING }
    }

    /// Something of an accepted offer may be left: the cluster keeps it back for a while.
    pub(super) fn note_filtered(&mut self) {
        self.filtered = true;
    }

    /// Something more waits for an offer.
    pub(super) fn note_enqueued(&mut self) {
        self.queue_grew = true;
    }

    /// Whether to ask for offers again, now that something waits; to be followed if it says so.
    ///
    /// Only for news: what the cluster keeps back was of no use for what waited before. And when nothing has come
    /// for long: the last asking may have been lost.
    pub(super) fn should_revive(&mut self, now: Duration) -> bool {
        let kept_back = self.filtered || self.suppressed;
        let is_forgotten = now.saturating_sub(self.last_offer_at.max(self.last_revive_at)) >= REVIVE_TIMEOUT;
        let wants = (self.queue_grew && kept_back || is_forgotten)
            && self.framework.is_some()
            && self.held.is_empty()
            && self.tokens.take(now);
        if wants {
            (self.filtered, self.suppressed, self.queue_grew) = (false, false, false);
            self.last_revive_at = now;
        }
        wants
    }

    /// Whether to ask to be spared offers, now that there is nothing to run; to be followed if it says so.
    pub(super) fn should_suppress(&mut self) -> bool {
        self.framework.is_some() && !std::mem::replace(&mut self.suppressed, true)
    }
}

impl HeldOffer {
    /// As the matcher sees it.
    fn offer(&self, ids: Vec<String>) -> Offer {
        let all = self.resources.quantities();
        let free = task_info::resources(&all);
        Offer { ids, agent: self.agent.clone(), free, ports: all.ports, maintenance: self.away }
    }
}

/// Another offer of the same agent to the same role can be accepted with the first.
fn join(first: &mut Offer, more: Offer) {
    first.ids.extend(more.ids);
    first.free = first.free.saturating_add(&more.free);
    first.ports = normalize_ranges([std::mem::take(&mut first.ports), more.ports].concat());
    first.maintenance = first.maintenance.or(more.maintenance);
}

#[cfg(test)]
mod tests;

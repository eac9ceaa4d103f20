//! Counters since the start of the engine. They are atomic, so that counting takes no lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A counter that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `more`.
    pub fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Relaxed);
    }

    /// The current count.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters of an engine.
#[derive(Debug, Default)]
pub struct Counters {
    /// Launches that were sent to the cluster.
    pub launches: Counter,
    /// Offers that were received.
    pub offers_received: Counter,
    /// Offers that were declined.
    pub offers_declined: Counter,
    /// Offers that the cluster rescinded.
    pub offers_rescinded: Counter,
    /// Status updates that were received, including repeated ones.
    pub status_updates: Counter,
    /// Subscriptions that were lost or failed.
    pub connections_lost: Counter,
    /// Supervisors that died and were restarted.
    pub supervisors_rebuilt: Counter,
    /// Calls by their kind, in the order of [`CALL_NAMES`].
    pub calls: [Counter; CALL_NAMES.len()],
    /// Commits to the store.
    pub store_commits: Counter,
    /// Rows written by these commits.
    pub store_rows: Counter,
    last_event_millis: AtomicU64,
}

/// The kinds of calls that are counted.
pub const CALL_NAMES: [&str; 10] = [
    "subscribe",
    "accept",
    "decline",
    "accept_inverse_offers",
    "decline_inverse_offers",
    "acknowledge",
    "kill",
    "reconcile",
    "revive",
    "suppress",
];

/// The counters of the parser.
#[derive(Debug, Default)]
pub struct ParseCounters {
    /// Documents that were parsed, including invalid ones.
    pub documents: Counter,
    /// Bytes of these documents.
    pub bytes: Counter,
}

impl Counters {
    /// Counts a call of this kind.
    pub(super) fn record_call(&self, kind: &str) {
        if let Some(index) = CALL_NAMES.iter().position(|name| *name == kind) {
            self.calls[index].increment();
        }
    }

    /// Notes the time of an event of the cluster, by the elapsed time of the clock.
    pub(super) fn record_event(&self, now: Duration) {
        // 0 means that there was no event.
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX - 1);
        self.last_event_millis.store(millis + 1, Relaxed);
    }

    /// The time since the last event of the cluster. `None` if there was none.
    pub(super) fn since_last_event(&self, now: Duration) -> Option<Duration> {
        let millis = self.last_event_millis.load(Relaxed).checked_sub(1)?;
        Some(now.saturating_sub(Duration::from_millis(millis)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_the_time_since_the_last_event() {
        let counters = Counters::default();
        assert_eq!(counters.since_last_event(Duration::from_secs(9)), None);
        counters.record_event(Duration::ZERO);
        assert_eq!(counters.since_last_event(Duration::from_secs(9)), Some(Duration::from_secs(9)));
        counters.record_event(Duration::from_secs(7));
        assert_eq!(counters.since_last_event(Duration::from_secs(9)), Some(Duration::from_secs(2)));
    }

    #[test]
    fn calls_are_counted_by_kind() {
        let counters = Counters::default();
        counters.record_call("kill");
        counters.record_call("no such call");
        assert_eq!(counters.calls.iter().map(Counter::get).sum::<u64>(), 1);
    }
}

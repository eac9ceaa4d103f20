//! What has happened since the start, counted as it happens; nobody waits for anybody to count.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What an engine has done, and has been told.
#[derive(Debug, Default)]
pub struct Counters {
    /// Tasks sent to the cluster: one a launch.
    pub launches: Counter,
    /// Offers that came.
    pub offers_received: Counter,
    /// Offers that were declined.
    pub offers_declined: Counter,
    /// Offers that the cluster took back.
    pub offers_rescinded: Counter,
    /// Status updates that came, repeated ones included.
    pub status_updates: Counter,
    /// Subscriptions that were lost, or not to be had.
    pub connections_lost: Counter,
    /// Supervisors that died and were made again.
    pub supervisors_rebuilt: Counter,
    /// Calls by their kind, in the order of [`CALL_NAMES`].
    pub calls: [Counter; CALL_NAMES.len()],
    /// Commits to the store.
    pub store_commits: Counter,
    /// Rows that were written by them.
    pub store_rows: Counter,
    heard: AtomicU64,
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

/// How many documents were read, well or not.
#[derive(Debug, Default)]
pub struct ParseCounters {
    /// Documents.
    pub documents: Counter,
    /// Their bytes.
    pub bytes: Counter,
}

impl Counters {
    /// A call of this kind is sent.
    pub(super) fn record_call(&self, kind: &str) {
        if let Some(place) = CALL_NAMES.iter().position(|known| *known == kind) {
            self.calls[place].increment();
        }
    }

    /// The cluster has said something, `now` by the clock's elapsed time.
    pub(super) fn record_event(&self, now: Duration) {
        // 0 is never.
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX - 1);
        self.heard.store(millis + 1, Relaxed);
    }

    /// How long ago the cluster last said something; `None` if it never did.
    pub(super) fn since_last_event(&self, now: Duration) -> Option<Duration> {
        let millis = self.heard.load(Relaxed).checked_sub(1)?;
        Some(now.saturating_sub(Duration::from_millis(millis)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_from_the_last_word() {
        let counters = Counters::default();
        assert_eq!(counters.since_last_event(Duration::from_secs(9)), None);
        counters.record_event(Duration::ZERO);
        assert_eq!(counters.since_last_event(Duration::from_secs(9)), Some(Duration::from_secs(9)));
        counters.record_event(Duration::from_secs(7));
        assert_eq!(counters.since_last_event(Duration::from_secs(9)), Some(Duration::from_secs(2)));
    }

    #[test]
    fn calls_are_counted_by_their_kind() {
        let counters = Counters::default();
        counters.record_call("kill");
        counters.record_call("no such call");
        assert_eq!(counters.calls.iter().map(Counter::get).sum::<u64>(), 1);
    }
}

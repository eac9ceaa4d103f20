//! The policy for the end of a launch: how often, after which delay and under which conditions a task is retried.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a document asks for when a launch of a block ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Policy {
    /// `:ensure`.
    pub ensure: Ensure,
    /// `:retry`: tries after the first.
    pub retry: RetryLimit,
    /// `:retry-on`: only these exit codes are tried again; empty means all.
    pub retry_on: Vec<i32>,
    /// `:backoff`.
    pub backoff: Backoff,
    /// `:timeout`: longest time of one launch.
    pub timeout: Option<Duration>,
    /// `:on-partition`.
    pub on_partition: OnPartition,
    /// `:priority`: what has more of it is launched first.
    pub priority: i32,
}

/// What success means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Ensure {
    /// The block ends with exit code 0.
    #[default]
    Finishes,
    /// The block runs; when it ends, it is launched again.
    KeepsRunning,
}

/// How many failures are followed by another launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryLimit {
    /// So many.
    Limited(u32),
    /// All.
    Unlimited,
}

impl Default for RetryLimit {
    fn default() -> Self {
        Self::Limited(0)
    }
}

/// What is done while a task's agent cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum OnPartition {
    /// Wait until the agent returns or is known to be gone: never two copies.
    #[default]
    Wait,
    /// Launch another; the old copy is killed when it is seen again.
    Replace,
    /// The task has failed; the old copy is killed when it is seen again.
    Fail,
}

/// The pause before another launch: grows with each launch that ends early.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    /// The first pause.
    pub initial: Duration,
    /// By what each pause exceeds the one before it; 1 or more.
    pub factor: f64,
    /// The longest pause.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), factor: 1.15, max: Duration::from_secs(300) }
    }
}

impl Backoff {
    /// The pause after `early_exits` launches in a row that ended early (from 1), with up to a tenth more by
    /// `chance` (0 to 1), so that blocks that fail together do not come back together.
    pub fn delay(&self, early_exits: u32, chance: f64) -> Duration {
        let exponent = i32::try_from(early_exits.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.factor.powi(exponent);
        let max_seconds = self.max.as_secs_f64();
        // `min` also catches the infinity that a large exponent gives.
        Duration::from_secs_f64(seconds.min(max_seconds) * (1.0 + chance.clamp(0.0, 1.0) / 10.0))
    }

    /// How long a launch must have run for its end not to count as early.
    pub(crate) fn reset_after(&self) -> Duration {
        self.max
    }
}

/// A pause that has begun, as it is kept: who starts anew waits for the rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackoffTimer {
    /// The time of day at which it is over.
    pub deadline: Timestamp,
    /// How long it is, from its beginning.
    pub total: Duration,
}

impl BackoffTimer {
    /// One that begins now.
    pub fn new(total: Duration, now: Timestamp) -> Self {
        Self { deadline: now.saturating_add(total).unwrap_or(Timestamp::MAX), total }
    }

    /// What is left of it. The time of day can be set: backwards, that makes no pause longer than it was; forwards, it
    /// ends it.
    pub fn remaining(&self, now: Timestamp) -> Duration {
        Duration::try_from(self.deadline.duration_since(now)).unwrap_or_default().min(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_never_exceeds_the_total() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let timer = BackoffTimer::new(Duration::from_secs(20), at(1000));
        let remaining = [-1_000_000, 0, 999, 1000, 1005, 1019, 1020, 1021, 1_000_000]
            .map(|second| timer.remaining(at(second)).as_secs());
        assert_eq!(remaining, [20, 20, 20, 20, 15, 1, 0, 0, 0]);
        let saturated = BackoffTimer::new(Duration::MAX, at(0));
        assert_eq!(
            (saturated.deadline, saturated.remaining(Timestamp::MAX)),
            (Timestamp::MAX, Duration::ZERO)
        );
    }

    #[test]
    fn delays_grow_up_to_the_maximum() {
        let backoff = Backoff::default();
        let delays: Vec<_> =
            [1, 2, 3, 10, 41, 42, 1000, u32::MAX].map(|n| backoff.delay(n, 0.0).as_millis()).to_vec();
        assert_eq!(delays, [1000, 1150, 1322, 3517, 267_863, 300_000, 300_000, 300_000]);
    }

    #[test]
    fn jitter_adds_at_most_a_tenth() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay(1, 1.0).as_millis(), 1100);
        assert_eq!(backoff.delay(u32::MAX, 7.0).as_millis(), 330_000);
    }
}

//! The only clock and the only source of random numbers.
//!
//! All other code receives times, ids and random numbers as parameters, so that tests can choose them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

/// Tells the time and draws random numbers; clones share both.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
struct Source {
    time: Time,
    random: Mutex<fastrand::Rng>,
}

#[derive(Debug)]
enum Time {
    System { started: Instant },
    Manual { started: Timestamp, elapsed: Mutex<Duration> },
    Runtime { started: Timestamp, since: tokio::time::Instant },
}

impl Clock {
    /// The machine's clock, and randomness seeded by the machine.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn system() -> Self {
        Self(Arc::new(Source {
            time: Time::System { started: Instant::now() },
            random: Mutex::new(fastrand::Rng::new()),
        }))
    }

    /// A clock that stands still until it is advanced, with a seed for chance: for tests and simulations.
    pub fn manual(started: Timestamp, seed: u64) -> Self {
        Self(Arc::new(Source {
            time: Time::Manual { started, elapsed: Mutex::new(Duration::ZERO) },
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
        }))
    }

    /// The clock of the runtime one is in, which a simulation moves, with a seed for chance; it is `started` now.
    pub fn tokio(started: Timestamp, seed: u64) -> Self {
        Self(Arc::new(Source {
            time: Time::Runtime { started, since: tokio::time::Instant::now() },
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
        }))
    }

    /// Moves a settable clock forward; the machine's clock cannot be moved and stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Time::Manual { elapsed, .. } = &self.0.time {
            *lock(elapsed) += by;
        }
    }

    /// The time of day, to be shown and stored; never used to measure how long something took.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn now(&self) -> Timestamp {
        match &self.0.time {
            Time::System { .. } => Timestamp::now(),
            Time::Manual { started, elapsed } => {
                started.saturating_add(*lock(elapsed)).unwrap_or(Timestamp::MAX)
            }
            Time::Runtime { started, since } => {
                started.saturating_add(since.elapsed()).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Time since this clock was made: never goes back.
    pub fn elapsed(&self) -> Duration {
        match &self.0.time {
            Time::System { started } => started.elapsed(),
            Time::Manual { elapsed, .. } => *lock(elapsed),
            Time::Runtime { since, .. } => since.elapsed(),
        }
    }

    /// A number from 0 up to, not including, 1.
    pub fn random_unit(&self) -> f64 {
        lock(&self.0.random).f64()
    }

    /// A new id whose text sorts by the time it was made (uuid v7).
    pub fn uuid(&self) -> Uuid {
        let now = self.now();
        let mut random = [0; 10];
        lock(&self.0.random).fill(&mut random);
        let millis = u64::try_from(now.as_millisecond()).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

/// What these locks guard is whole at every moment, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_is_deterministic() {
        let started: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let draw = || {
            let clock = Clock::manual(started, 7);
            clock.advance(Duration::from_mins(1));
            (clock.now(), clock.elapsed(), clock.uuid(), clock.random_unit().to_bits())
        };
        assert_eq!(draw(), draw());
        assert_eq!(draw().0.to_string(), "2026-01-02T03:05:05Z");
    }

    #[test]
    fn uuids_sort_by_creation_time() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH, 1);
        let first = clock.uuid();
        clock.advance(Duration::from_millis(1));
        assert!(first.to_string() < clock.uuid().to_string());
    }
}

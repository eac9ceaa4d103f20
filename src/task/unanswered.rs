//! Timers for calls that are resent until the cluster answers. Pure: the current time is a parameter.
//!
//! Calls and updates can be lost, and a new master knows few tasks at first. So the scheduler asks again about a
//! launch without news and repeats a kill, with growing delays. It also reconciles all launches periodically, and asks
//! the cluster for launches that the scheduler does not know.
//! Source: Mesos, "Reconciliation" (the algorithm), and its framework guide for high availability.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Backoff, LaunchId};

/// Launches about which something is said until it is answered.
#[derive(Debug, Default)]
pub struct Unanswered {
    timers: BTreeMap<LaunchId, ResendTimer>,
}

#[derive(Debug, Clone, Copy)]
struct ResendTimer {
    due: Duration,
    /// How often it was said.
    sent: u32,
}

/// Between two sayings of the same: long enough for an answer, short enough for who waits.
const RESEND_BACKOFF: Backoff =
    Backoff { initial: Duration::from_secs(5), factor: 2.0, max: Duration::from_secs(60) };

impl Unanswered {
    /// Something is to be said about `launch` at `due`, unless it is said already.
    pub fn add(&mut self, launch: LaunchId, due: Duration) {
        self.timers.entry(launch).or_insert(ResendTimer { due, sent: 0 });
    }

    /// Something is to be said about `launch` at once, and the pauses begin anew.
    pub fn restart(&mut self, launch: LaunchId, now: Duration) {
        self.timers.insert(launch, ResendTimer { due: now, sent: 0 });
    }

    /// It was answered, or is of no interest any more.
    pub fn cancel(&mut self, launch: LaunchId) {
        self.timers.remove(&launch);
    }

    /// Everything is to be said at once: what was said before went to somebody who is gone.
    pub fn expire_all(&mut self, now: Duration) {
        for timer in self.timers.values_mut() {
            *timer = ResendTimer { due: now, sent: 0 };
        }
    }

    /// What is to be said now, in order; `chance` (0 to 1) spreads what is said next.
    pub fn due(&mut self, now: Duration, mut chance: impl FnMut() -> f64) -> Vec<LaunchId> {
        let due = self.timers.iter_mut().filter(|(_, timer)| timer.due <= now);
        due.map(|(&launch, timer)| {
            timer.sent = timer.sent.saturating_add(1);
            timer.due = now.saturating_add(RESEND_BACKOFF.delay(timer.sent, chance()));
            launch
        })
        .collect()
    }

    /// How many wait for an answer.
    pub fn len(&self) -> usize {
        self.timers.len()
    }

    /// Nothing waits for an answer.
    pub fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }
}

/// When everything is asked about, whether there is cause or not.
#[derive(Debug, Clone, Copy)]
pub struct ReconcileSchedule {
    /// What we know is asked about.
    explicit: Duration,
    /// The cluster is asked for what it knows.
    implicit: Duration,
}

/// What a round asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconciliation {
    /// What has become of each launch of ours that has not ended?
    Explicit,
    /// Which launches of ours are there? What nobody here knows of is found by it.
    Implicit,
}

impl ReconcileSchedule {
    /// Between two rounds of a kind. Source: Mesos, "Reconciliation": every 15 minutes.
    const PERIOD: Duration = Duration::from_mins(15);
    /// From a subscription to its first implicit round: what was asked explicitly is answered by then.
    const FIRST_IMPLICIT: Duration = Duration::from_mins(1);

    /// Of a subscription that begins now: what is known is asked about at once, by whoever calls this.
    pub fn subscribed(now: Duration) -> Self {
        Self { explicit: now + Self::PERIOD, implicit: now + Self::FIRST_IMPLICIT }
    }

    /// The round that is due, one at a time; `chance` (0 to 1) spreads those of many schedulers.
    pub fn due(&mut self, now: Duration, chance: f64) -> Option<Reconciliation> {
        let next = now + Self::PERIOD.mul_f64(1.0 + chance.clamp(0.0, 1.0) / 10.0);
        if self.explicit <= now {
            self.explicit = next;
            Some(Reconciliation::Explicit)
        } else if self.implicit <= now {
            self.implicit = next;
            Some(Reconciliation::Implicit)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use uuid::Uuid;

    use super::*;
    use crate::RunId;

    fn launch(number: u32) -> LaunchId {
        RunId(Uuid::from_u128(1)).task(number).launch(1)
    }

    /// Each second at which something is said within half an hour, as a table: launch 1 is never answered,
    /// launch 2 after a while; at 100 s there is a new subscription.
    #[test]
    fn resends_and_reconciliations_follow_the_schedule() {
        let mut unanswered = Unanswered::default();
        let mut schedule = ReconcileSchedule::subscribed(Duration::ZERO);
        unanswered.add(launch(1), Duration::from_secs(10));
        unanswered.restart(launch(2), Duration::ZERO);
        let mut table = String::new();
        for second in 0..1800 {
            let now = Duration::from_secs(second);
            match second {
                7 => unanswered.cancel(launch(2)),
                8 => unanswered.add(launch(1), now),
                100 => {
                    unanswered.expire_all(now);
                    schedule = ReconcileSchedule::subscribed(now);
                }
                _ => {}
            }
            let due: Vec<_> = unanswered.due(now, || 0.0).iter().map(|launch| launch.task.number).collect();
            let round = schedule.due(now, 0.0);
            if second < 300 && !due.is_empty() {
                writeln!(table, "{second:4} s  about {due:?}").unwrap();
            }
            if let Some(round) = round {
                writeln!(table, "{second:4} s  {round:?}").unwrap();
            }
        }
        assert_eq!(unanswered.len(), 1);
        insta::assert_snapshot!(table, @r"
           0 s  about [2]
           5 s  about [2]
          10 s  about [1]
          15 s  about [1]
          25 s  about [1]
          45 s  about [1]
          60 s  Implicit
          85 s  about [1]
         100 s  about [1]
         105 s  about [1]
         115 s  about [1]
         135 s  about [1]
         160 s  Implicit
         175 s  about [1]
         235 s  about [1]
         295 s  about [1]
        1000 s  Explicit
        1060 s  Implicit
        ");
    }

    #[test]
    fn cancelled_launches_are_not_resent() {
        let mut unanswered = Unanswered::default();
        unanswered.restart(launch(1), Duration::ZERO);
        unanswered.cancel(launch(1));
        assert!(unanswered.is_empty());
        assert_eq!(unanswered.due(Duration::MAX, || 1.0), []);
    }
}

//! Decides which ended runs have expired, by age and size. Pure: the runs and the time are parameters.

use std::time::Duration;

use jiff::Timestamp;

use borges_task::RunId;

/// A run that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedRun {
    /// Its id.
    pub run: RunId,
    /// When it ended.
    pub at: Timestamp,
    /// Bytes of its sandboxes and its document.
    pub bytes: u64,
}

/// The expired runs, oldest first: those that ended longer ago than `time`, and then, oldest first, as
/// many as are needed for the rest to have no more than `bytes` in all.
///
/// `now` may be earlier than an end, where a clock was set back: nothing is too old then.
pub fn expired(mut ended: Vec<EndedRun>, time: Duration, bytes: u64, now: Timestamp) -> Vec<RunId> {
    ended.sort_unstable_by_key(|ended| (ended.at, ended.run));
    let mut total: u64 = ended.iter().fold(0, |sum, ended| sum.saturating_add(ended.bytes));
    let mut expired_runs = Vec::new();
    for EndedRun { run, at, bytes: size } in ended {
        let age = Duration::try_from(now.duration_since(at)).unwrap_or_default();
        if age <= time && total <= bytes {
            break;
        }
        total = total.saturating_sub(size);
        expired_runs.push(run);
    }
    expired_runs
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// Runs by the number of the hour they ended in, each with so many bytes.
    fn expired_runs(runs: &[(i64, u64)], hours: u64, bytes: u64, now: i64) -> Vec<u128> {
        let at = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
        let ended = runs
            .iter()
            .map(|&(hour, bytes)| EndedRun {
                run: RunId(Uuid::from_u128(u128::try_from(hour).unwrap())),
                at: at(hour),
                bytes,
            })
            .collect();
        let time = Duration::from_secs(hours * 3600);
        expired(ended, time, bytes, at(now)).into_iter().map(|run| run.0.as_u128()).collect()
    }

    #[test]
    fn runs_expire_by_age_and_size() {
        let runs = [(3, 10), (1, 10), (2, 50), (4, 10)];
        assert_eq!(expired_runs(&runs, 9, 100, 5), [0; 0], "young and small enough");
        assert_eq!(expired_runs(&runs, 2, 100, 5), [1, 2], "what is older than two hours");
        assert_eq!(expired_runs(&runs, 9, 79, 5), [1], "the oldest, until the rest is small enough");
        assert_eq!(expired_runs(&runs, 9, 29, 5), [1, 2]);
        assert_eq!(expired_runs(&runs, 9, 0, 5), [1, 2, 3, 4]);
        assert_eq!(expired_runs(&runs, 0, 100, 5), [1, 2, 3, 4]);
        assert_eq!(expired_runs(&runs, 9, 100, 0), [0; 0], "a clock that was set back");
        assert_eq!(expired_runs(&[], 0, 0, 5), [0; 0]);
    }
}

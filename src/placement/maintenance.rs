//! When an agent will be away.

use std::time::Duration;

use jiff::Timestamp;

/// A time of maintenance. Source: Mesos, `Unavailability`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaintenanceWindow {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end; `None` when that is not known.
    pub until: Option<Timestamp>,
}

/// How long before maintenance no block is started that did not say when it ends.
const ENDLESS: Duration = Duration::from_secs(3600);

impl MaintenanceWindow {
    /// Whether it begins before a block ends that is started `now`, and is not over.
    ///
    /// `lasts` is the longest such a block runs; without one it is taken to last an hour.
    pub fn starts_before(&self, lasts: Option<Duration>, now: Timestamp) -> bool {
        let end = now.saturating_add(lasts.unwrap_or(ENDLESS)).unwrap_or(Timestamp::MAX);
        self.from < end && self.until.is_none_or(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_before_maintenance_or_starts_after_it() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let window = MaintenanceWindow { from: at(10_000), until: Some(at(20_000)) };
        let meets = |now, lasts: Option<u64>| window.starts_before(lasts.map(Duration::from_secs), at(now));
        assert!(!meets(9_000, Some(1_000)));
        assert!(meets(9_000, Some(1_001)));
        assert!(!meets(6_400, None) && meets(6_401, None));
        assert!(meets(15_000, Some(1)));
        assert!(!meets(20_000, None));
        assert!(MaintenanceWindow { until: None, ..window }.starts_before(Some(Duration::ZERO), at(30_000)));
    }
}

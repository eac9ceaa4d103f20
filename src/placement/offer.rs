//! An offer of an agent's resources, the agent that it comes from, and the agent's next maintenance.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use borges_task::{Field, Resources};

/// What an agent has to give to one role now: one offer of the cluster, or several that are accepted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The ids of its offers; each can be answered once.
    pub ids: Vec<String>,
    /// The agent.
    pub agent: Arc<Agent>,
    /// What is offered.
    pub free: Resources,
    /// Free ports: sorted ranges, both ends included.
    pub ports: Vec<(u64, u64)>,
    /// When the agent will be away for maintenance.
    pub maintenance: Option<MaintenanceWindow>,
}

/// An agent, as its offers describe it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agent {
    /// Its id.
    pub id: String,
    /// The name of its machine.
    pub hostname: String,
    /// Where it stands, at large.
    pub region: Option<String>,
    /// Where it stands, more closely.
    pub zone: Option<String>,
    /// Its attributes, as text; of several with one name the first.
    pub attributes: BTreeMap<String, String>,
}

impl Agent {
    /// What it has for a field; `None` when it has no such attribute, or is in no domain.
    pub fn value(&self, field: &Field) -> Option<&str> {
        match field {
            Field::Hostname => Some(&self.hostname),
            Field::Agent => Some(&self.id),
            Field::Region => self.region.as_deref(),
            Field::Zone => self.zone.as_deref(),
            Field::Attribute(name) => self.attributes.get(name).map(String::as_str),
        }
    }
}

/// A time of maintenance. Source: Mesos, `Unavailability`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaintenanceWindow {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end; `None` when that is not known.
    pub until: Option<Timestamp>,
}

/// How long before maintenance no block is started that did not say when it ends.
const DEFAULT_RUNTIME: Duration = Duration::from_secs(3600);

impl MaintenanceWindow {
    /// Whether it begins before a block ends that is started `now`, and is not over.
    ///
    /// `max_runtime` is the longest such a block runs; without one it is taken to last an hour.
    pub(crate) fn starts_before(&self, max_runtime: Option<Duration>, now: Timestamp) -> bool {
        let end = now.saturating_add(max_runtime.unwrap_or(DEFAULT_RUNTIME)).unwrap_or(Timestamp::MAX);
        self.from < end && self.until.is_none_or(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_blocks_launches_that_would_overlap_it() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let window = MaintenanceWindow { from: at(10_000), until: Some(at(20_000)) };
        let blocks = |now, max_runtime: Option<u64>| {
            window.starts_before(max_runtime.map(Duration::from_secs), at(now))
        };
        assert!(!blocks(9_000, Some(1_000)));
        assert!(blocks(9_000, Some(1_001)));
        assert!(!blocks(6_400, None) && blocks(6_401, None));
        assert!(blocks(15_000, Some(1)));
        assert!(!blocks(20_000, None));
        assert!(MaintenanceWindow { until: None, ..window }.starts_before(Some(Duration::ZERO), at(30_000)));
    }
}

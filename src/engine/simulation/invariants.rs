//! The invariants that the oracle checks, and their violations.

use std::fmt;

/// A property that must hold in every simulated run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Invariant {
    /// No panic, except the planted ones of supervisors.
    NoPanic,
    /// Every run ends, and the server does not stop by itself.
    Termination,
    /// No launch is active after all runs have ended.
    NoOrphanedLaunch,
    /// A task has at most one active launch, unless its policy replaces unreachable launches.
    SingleActiveLaunch,
    /// Each launch has an id of its own.
    UniqueLaunchId,
    /// A task starts after its dependencies.
    DependencyOrder,
    /// A task starts only where its constraints allow it.
    Constraints,
    /// A launch ends soon after its task is killed.
    TimelyKill,
    /// The intent of a launch is stored before its offer is accepted.
    IntentBeforeAccept,
    /// A status update is stored before it is acknowledged.
    PersistBeforeAcknowledge,
    /// An event is stored before it is published.
    PersistBeforePublish,
    /// Published events have consecutive sequence numbers.
    ConsecutiveEvents,
    /// A delayed task is queued at the stored end of its backoff and not before.
    BackoffNotShortened,
    /// A delayed task is queued promptly after the stored end of its backoff.
    BackoffNotExtended,
    /// An accepted run is stored.
    AcceptedRunIsStored,
    /// The final state of a task agrees with the ends of its launches.
    FinalState,
    /// The failures that are counted for a task are those of the block itself.
    FailureCount,
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Violation {
    pub(super) invariant: Invariant,
    pub(super) message: String,
}

impl Violation {
    pub(super) fn new(invariant: Invariant, message: impl Into<String>) -> Self {
        Self { invariant, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.invariant, self.message)
    }
}

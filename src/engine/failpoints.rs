//! Bugs that tests plant, to see that they would be found. In the product there are none of these.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failpoint {
    /// An update is acknowledged before it is saved.
    AckBeforePersist,
    /// A launch is accepted without having been saved.
    AcceptBeforePersist,
    /// What is lost is launched again as if it were gone.
    TreatLostAsGone,
    /// A kill is sent once, and never again.
    SkipKillRetry,
    /// After a restart nobody asks what became of launches that were only meant.
    SkipIntentReconcile,
    /// A failure of the cluster costs one of the block's tries.
    CountInfraFailureAsRetry,
    /// Nothing is asked about after the connection was lost.
    SkipReconcile,
    /// After a restart what was delayed is launched at once.
    DropBackoffOnRestart,
    /// After a restart what was delayed waits for the whole of its pause again.
    RestartBackoffOnRestart,
    /// Where a block is that others are compared with is not remembered.
    SkipPeerTracking,
}

#[cfg(not(test))]
pub(super) const fn is_enabled(_: Failpoint) -> bool {
    false
}

/// Somewhere a supervisor may die.
#[cfg(not(test))]
pub(super) const fn panic_point() {}

#[cfg(test)]
pub(super) use planted::{configure, is_enabled, panic_after, panic_point};

#[cfg(test)]
mod planted {
    use std::cell::Cell;

    use super::Failpoint;

    thread_local! {
        static PLANTED: Cell<Option<Failpoint>> = const { Cell::new(None) };
    }

    thread_local! {
        static PANIC: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// The so manieth time from now on that a supervisor may die, it does.
    pub(crate) fn panic_after(times: Option<u32>) {
        PANIC.set(times);
    }

    pub(crate) fn panic_point() {
        let left = PANIC.get().map(|left| left - 1);
        PANIC.set(left.filter(|left| *left > 0));
        assert_ne!(left, Some(0), "planted: a supervisor dies");
    }

    impl Failpoint {
        pub(crate) const ALL: [Self; 10] = [
            Self::AckBeforePersist,
            Self::AcceptBeforePersist,
            Self::TreatLostAsGone,
            Self::SkipKillRetry,
            Self::SkipIntentReconcile,
            Self::CountInfraFailureAsRetry,
            Self::SkipReconcile,
            Self::DropBackoffOnRestart,
            Self::RestartBackoffOnRestart,
            Self::SkipPeerTracking,
        ];
    }

    /// Whether this bug is planted on this thread.
    pub(crate) fn is_enabled(bug: Failpoint) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Plants a bug on this thread until what is returned is dropped.
    pub(crate) fn configure(bug: Option<Failpoint>) -> FailScenario {
        PLANTED.set(bug);
        FailScenario
    }

    pub(crate) struct FailScenario;

    impl Drop for FailScenario {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
}

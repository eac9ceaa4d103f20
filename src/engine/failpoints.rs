//! Failpoints: bugs that tests enable to check that the simulator finds them. They do not exist outside tests.

/// A bug that a test can enable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failpoint {
    /// A status update is acknowledged before it is stored.
    AckBeforePersist,
    /// A launch is accepted before its intent is stored.
    AcceptBeforePersist,
    /// `TASK_LOST` is treated as `TASK_GONE`.
    TreatLostAsGone,
    /// A kill is not repeated.
    SkipKillRetry,
    /// After a restart, launches with only an intent are not reconciled.
    SkipIntentReconcile,
    /// A failure of the cluster counts as a failed try of the block.
    CountInfraFailureAsRetry,
    /// Explicit reconciliation is not sent.
    SkipReconcile,
    /// After a restart a delayed task is queued at once.
    DropBackoffOnRestart,
    /// After a restart the backoff of a delayed task starts again.
    RestartBackoffOnRestart,
    /// The matcher does not record the agents of tasks for constraints.
    SkipPeerTracking,
}

#[cfg(not(test))]
pub(super) const fn is_enabled(_: Failpoint) -> bool {
    false
}

/// A point at which a supervisor can be made to panic.
#[cfg(not(test))]
pub(super) const fn panic_point() {}

#[cfg(test)]
pub(super) use enabled::{configure, is_enabled, panic_after, panic_point};

#[cfg(test)]
mod enabled {
    use std::cell::Cell;

    use super::Failpoint;

    thread_local! {
        static ENABLED: Cell<Option<Failpoint>> = const { Cell::new(None) };
    }

    thread_local! {
        static PANIC_COUNTDOWN: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// The supervisor panics at the panic point with this number, counted from now. `None` disables it.
    pub(crate) fn panic_after(hits: Option<u32>) {
        PANIC_COUNTDOWN.set(hits);
    }

    pub(crate) fn panic_point() {
        let remaining = PANIC_COUNTDOWN.get().map(|remaining| remaining - 1);
        PANIC_COUNTDOWN.set(remaining.filter(|remaining| *remaining > 0));
        assert_ne!(remaining, Some(0), "injected panic of a supervisor");
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

    /// Whether this failpoint is enabled on this thread.
    pub(crate) fn is_enabled(failpoint: Failpoint) -> bool {
        ENABLED.get() == Some(failpoint)
    }

    /// Enables a failpoint on this thread until the returned guard is dropped.
    pub(crate) fn configure(failpoint: Option<Failpoint>) -> FailScenario {
        ENABLED.set(failpoint);
        FailScenario
    }

    pub(crate) struct FailScenario;

    impl Drop for FailScenario {
        fn drop(&mut self) {
            ENABLED.set(None);
        }
    }
}

//! Bugs that tests plant, to see that they would be found. In the product there are none of these.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// An update is acknowledged before it is saved.
    AcknowledgesFirst,
    /// A launch is accepted without having been saved.
    AcceptsUnsaved,
    /// What is lost is launched again as if it were gone.
    TakesLostForGone,
    /// A kill is sent once, and never again.
    KillsOnce,
    /// After a restart nobody asks what became of launches that were only meant.
    ForgetsIntents,
    /// A failure of the cluster costs one of the block's tries.
    ChargesForTheCluster,
    /// Nothing is asked about after the connection was lost.
    NeverReconciles,
    /// After a restart what was delayed is launched at once.
    ForgetsPauses,
    /// After a restart what was delayed waits for the whole of its pause again.
    PausesAnew,
    /// Where a block is that others are compared with is not remembered.
    ForgetsPeers,
}

#[cfg(not(test))]
pub(super) const fn is_planted(_: Bug) -> bool {
    false
}

/// Somewhere a supervisor may die.
#[cfg(not(test))]
pub(super) const fn may_panic() {}

#[cfg(test)]
pub(super) use planted::{is_planted, may_panic, panic_after, plant};

#[cfg(test)]
mod planted {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    thread_local! {
        static PANIC: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// The so manieth time from now on that a supervisor may die, it does.
    pub(in crate::actors) fn panic_after(times: Option<u32>) {
        PANIC.set(times);
    }

    pub(in crate::actors) fn may_panic() {
        let left = PANIC.get().map(|left| left - 1);
        PANIC.set(left.filter(|left| *left > 0));
        assert_ne!(left, Some(0), "planted: a supervisor dies");
    }

    impl Bug {
        pub(in crate::actors) const ALL: [Self; 10] = [
            Self::AcknowledgesFirst,
            Self::AcceptsUnsaved,
            Self::TakesLostForGone,
            Self::KillsOnce,
            Self::ForgetsIntents,
            Self::ChargesForTheCluster,
            Self::NeverReconciles,
            Self::ForgetsPauses,
            Self::PausesAnew,
            Self::ForgetsPeers,
        ];
    }

    /// Whether this bug is planted on this thread.
    pub(in crate::actors) fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Plants a bug on this thread until what is returned is dropped.
    pub(in crate::actors) fn plant(bug: Option<Bug>) -> Planted {
        PLANTED.set(bug);
        Planted
    }

    pub(in crate::actors) struct Planted;

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
}

//! Which actors share a thread.

/// Whether the store and the matcher run on their own threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threading {
    /// The store and the matcher have a thread each, because a commit waits for the disk and a round of matching can be long.
    Dedicated,
    /// All actors share the current thread. Their order is deterministic, as the simulator needs it.
    #[cfg_attr(not(test), expect(dead_code, reason = "used by the simulator only"))]
    Single,
}

//! What is to be seen to when a block has ended.

use std::io;
use std::path::Path;

use super::{Excess, Group, Limits, streams};

/// The limit that an ended block has gone beyond, if it has; its streams are cut off where they may be no longer,
/// and its group is removed.
///
/// The group stays while a process is in it that has left the block's process group: it comes back then.
pub(in crate::local) fn settle(
    limits: Limits,
    group: Option<Group>,
    sandbox: &Path,
) -> (Option<Excess>, Option<Group>) {
    let ran_out = group.as_ref().is_some_and(Group::ran_out);
    let memory = limits.memory.filter(|_| ran_out).map(Excess::Memory);
    let excess = memory.or(streams::cut(sandbox, limits.output));
    let left =
        group.filter(|group| group.remove().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy));
    (excess, left)
}

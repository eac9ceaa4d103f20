//! What is to be seen to when a block has ended.

use std::io;
use std::path::Path;

use super::{Cgroup, LimitExceeded, Limits, output_limit};

/// The limit that an ended block has gone beyond, if it has; its streams are cut off where they may be no longer,
/// and its group is removed.
///
/// The group stays while a process is in it that has left the block's process group: it comes back then.
pub(crate) fn check_at_exit(
    limits: Limits,
    group: Option<Cgroup>,
    sandbox: &Path,
) -> (Option<LimitExceeded>, Option<Cgroup>) {
    let ran_out = group.as_ref().is_some_and(Cgroup::oom_killed);
    let memory = limits.memory.filter(|_| ran_out).map(LimitExceeded::Memory);
    let excess = memory.or(output_limit::truncate(sandbox, limits.output));
    let left =
        group.filter(|group| group.remove().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy));
    (excess, left)
}

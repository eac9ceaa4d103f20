//! Enforcement of a launch's limits: memory by the kernel's control groups, output by size checks.
//!
//! | file | |
//! |---|---|
//! | `mod` | the final check of an ended block |
//! | `cgroup_mounts` | finds where control groups of memory may be made (pure) |
//! | `cgroup` | makes, reads and removes control groups |
//! | `cgexec` | starts a block within its control group |
//! | `output_limit` | measures output streams, truncates them, and frees their old parts |

mod cgexec;
mod cgroup;
mod cgroup_mounts;
mod output_limit;

use std::io;
use std::path::Path;

pub(super) use cgexec::{ENTER, exec_in_cgroup};
pub(super) use cgroup::{Cgroup, CgroupRoot};
pub(super) use output_limit::{OutputCheck, OutputWatcher};

use super::launch_spec::Limits;
use super::model::LimitExceeded;

/// Checks the limits of an ended block: truncates its output streams to their limit, and removes its control group.
///
/// Returns the exceeded limit, and the group if it could not be removed yet, because a process that has left the
/// block's process group is still in it.
pub(super) fn check_at_exit(
    limits: Limits,
    group: Option<Cgroup>,
    sandbox: &Path,
) -> (Option<LimitExceeded>, Option<Cgroup>) {
    let oom_killed = group.as_ref().is_some_and(Cgroup::oom_killed);
    let memory = limits.memory.filter(|_| oom_killed).map(LimitExceeded::Memory);
    let exceeded = memory.or(output_limit::truncate(sandbox, limits.output));
    let busy_group =
        group.filter(|group| group.remove().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy));
    (exceeded, busy_group)
}

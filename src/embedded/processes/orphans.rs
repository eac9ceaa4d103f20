//! Finds the blocks that earlier agents of the same directory left running.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;

use super::launch_history::record_never_started;
use crate::container::shim_state;
use crate::limits::CgroupRoot;
use crate::os;
use crate::paths::{Paths, sandbox_in};
use crate::process_table::{self, Row, STARTING};

/// A block of an earlier agent, to be adopted.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) row: Row,
    pub(crate) handle: OrphanHandle,
    /// Whether it has started; false for a container that is still being made.
    pub(crate) has_started: bool,
}

/// What is left of an orphan.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OrphanHandle {
    /// Its process, in the session of this reaper.
    Process(Pid),
    /// At most its container: its shim is dead, and a new one is to be started.
    Container,
}

/// The orphans, and the process tables that are obsolete once the orphans are adopted.
pub(super) fn find(paths: &Paths, groups: Option<&CgroupRoot>) -> (Vec<Orphan>, Vec<PathBuf>) {
    let own_session = os::session().ok();
    let boot_id = process_table::boot_id();
    let (mut orphans, mut obsolete) = (Vec::new(), Vec::new());
    let Ok(tables) = fs::read_dir(paths.tables()) else { return (orphans, obsolete) };
    for entry in tables.flatten() {
        let Ok(Some((header, rows))) = process_table::read(&entry.path()) else { continue };
        let is_this_boot = header.boot_id == boot_id;
        // After a reboot another process may have the session's number, even this one.
        let session =
            Pid::from_raw(header.session).filter(|session| !is_this_boot || Some(*session) != own_session);
        let Some(session) = session else { continue };
        let mut has_processes = false;
        for mut row in rows.into_values() {
            let executor = paths.executor(&row.framework, &row.launch);
            if row.pid == STARTING && is_this_boot {
                match find_process(&sandbox_in(executor.clone()), session) {
                    Some(pid) => row.pid = pid.as_raw_nonzero().get(),
                    None if all_processes_are_known(session) => record_never_started(&executor),
                    None => {}
                }
            }
            let alive = is_this_boot
                && Pid::from_raw(row.pid).is_some_and(|pid| os::leads_group_in_session(pid, session));
            let is_container = shim_state::is_container(&executor);
            let has_started = !is_container || shim_state::has_started(&executor);
            if alive {
                has_processes = true;
                orphans.push(Orphan { row, handle: OrphanHandle::Process(session), has_started });
            } else if is_container && shim_state::needs_shim(&executor) {
                orphans.push(Orphan { row, handle: OrphanHandle::Container, has_started });
            } else if let Some(groups) = groups.filter(|_| row.limits.memory.is_some()) {
                // The group is still there, because no agent ran when the block ended.
                let _ = groups.for_launch(&row.launch).remove();
            }
        }
        // The reaper removes its table itself, unless it was killed.
        if !has_processes && (!is_this_boot || os::session_of(session).is_none()) {
            obsolete.push(entry.path());
        }
    }
    orphans.sort_by_key(|orphan| orphan.row.pid);
    (orphans, obsolete)
}

/// The process of a launch whose agent was killed before it wrote the process id: found by its environment.
fn find_process(sandbox: &Path, session: Pid) -> Option<Pid> {
    let variable = [b"MESOS_SANDBOX=", sandbox.as_os_str().as_bytes()].concat();
    let has_variable = |environment: &[u8]| environment.split(|byte| *byte == 0).any(|it| it == variable);
    let mut processes = os::environments().into_iter();
    processes
        .find(|(pid, environment)| os::leads_group_in_session(*pid, session) && has_variable(environment))
        .map(|(pid, _)| pid)
}

/// Whether every process in a reaper's session belongs to a block, so that a launch without a process never started.
///
/// A zombie, and a child of the agent that is about to become a block, have no sandbox in their environment. Both
/// states are short, so the processes are read up to `MAX_READS` times.
fn all_processes_are_known(reaper: Pid) -> bool {
    let is_known = |(pid, environment): &(Pid, Vec<u8>)| {
        *pid == reaper
            || os::session_of(*pid) != Some(reaper)
            || environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"MESOS_SANDBOX="))
    };
    (0..MAX_READS).any(|read| {
        if read > 0 {
            std::thread::sleep(READ_INTERVAL);
        }
        os::environments().iter().all(is_known)
    }) && os::session_of(reaper).is_some()
}

/// How often the processes are read, and the time between two reads.
const MAX_READS: u32 = 100;
const READ_INTERVAL: Duration = Duration::from_millis(5);

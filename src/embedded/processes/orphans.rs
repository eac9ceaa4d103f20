//! What earlier agents of the same directory left running.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;

use super::{Block, Origin, Processes, is_block, never_started, written};
use crate::container::shim_state;
use crate::limits::{CgroupRoot, OutputWatcher};
use crate::os;
use crate::paths::{Paths, sandbox_in};
use crate::process_table::{self, Row, STARTING};

/// A block that is to be taken over.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) row: Row,
    pub(crate) hold: OrphanHandle,
    /// It was seen to run.
    pub(crate) began: bool,
}

/// By what an orphan can be taken hold of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OrphanHandle {
    /// Its process, in the session of the reaper it is left with.
    Process(Pid),
    /// Nothing but its container, if there is one: a new stand-in finds out.
    Container,
}

/// The blocks that earlier agents left, and the tables that are done with once these are taken over.
pub(super) fn find(layout: &Paths, groups: Option<&CgroupRoot>) -> (Vec<Orphan>, Vec<PathBuf>) {
    let own = os::session().ok();
    let boot = process_table::boot_id();
    let (mut found, mut spent) = (Vec::new(), Vec::new());
    let Ok(tables) = fs::read_dir(layout.tables()) else { return (found, spent) };
    for entry in tables.flatten() {
        let Ok(Some((head, rows))) = process_table::read(&entry.path()) else { continue };
        let here = head.boot_id == boot;
        // After a new start of the machine a number may be anyone's, even ours.
        let session = Pid::from_raw(head.session).filter(|session| !here || Some(*session) != own);
        let Some(session) = session else { continue };
        let mut left = false;
        for mut row in rows.into_values() {
            let executor = layout.executor(&row.framework, &row.launch);
            if row.pid == STARTING && here {
                match seek(&sandbox_in(executor.clone()), session) {
                    Some(pid) => row.pid = pid.as_raw_nonzero().get(),
                    None if all_are_known(session) => never_started(&executor),
                    None => {}
                }
            }
            let alive = here && Pid::from_raw(row.pid).is_some_and(|pid| is_block(pid, session));
            let is_container = shim_state::is_container(&executor);
            let began = !is_container || shim_state::has_started(&executor);
            if alive {
                left = true;
                found.push(Orphan { row, hold: OrphanHandle::Process(session), began });
            } else if is_container && shim_state::is_open(&executor) {
                found.push(Orphan { row, hold: OrphanHandle::Container, began });
            } else if let Some(groups) = groups.filter(|_| row.limits.memory.is_some()) {
                // Nobody was there at its end.
                let _ = groups.for_launch(&row.launch).remove();
            }
        }
        // Its reaper removes a table itself, unless it was killed too.
        if !left && (!here || os::session_of(session).is_none()) {
            spent.push(entry.path());
        }
    }
    found.sort_by_key(|orphan| orphan.row.pid);
    (found, spent)
}

/// The process that was started in a sandbox, by an agent that did not live to note it.
fn seek(sandbox: &Path, session: Pid) -> Option<Pid> {
    let named = [b"MESOS_SANDBOX=", sandbox.as_os_str().as_bytes()].concat();
    let is_it = |environment: &[u8]| environment.split(|byte| *byte == 0).any(|variable| variable == named);
    let mut processes = os::environments().into_iter();
    processes.find(|(pid, environment)| is_block(*pid, session) && is_it(environment)).map(|(pid, _)| pid)
}

/// Whether every process that is left with a reaper is some block's, or what a block has started: none has ended and
/// is not reaped, and none is the agent's child still, just about to become a block. One of these does not stay so.
fn all_are_known(reaper: Pid) -> bool {
    let is_known = |(pid, environment): &(Pid, Vec<u8>)| {
        *pid == reaper
            || os::session_of(*pid) != Some(reaper)
            || environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"MESOS_SANDBOX="))
    };
    (0..MOST_LOOKS).any(|look| {
        if look > 0 {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        os::environments().iter().all(is_known)
    }) && os::session_of(reaper).is_some()
}

/// How often, and how long, a process may be looked for that nobody knows.
const MOST_LOOKS: u32 = 100;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

impl Processes {
    /// The blocks that earlier agents of this directory left running.
    pub(crate) fn orphans(&mut self) -> Vec<Orphan> {
        std::mem::take(&mut self.orphans)
    }

    /// Takes over a block found by [`Self::orphans`]; false when that cannot be.
    pub(crate) fn adopt(&mut self, key: u64, orphan: Orphan) -> bool {
        let Orphan { row, hold, began } = orphan;
        if !began {
            self.starting.insert(key);
        }
        match hold {
            OrphanHandle::Container => self.restart_shim(key, row),
            OrphanHandle::Process(session) => {
                let Some(pid) = Pid::from_raw(row.pid) else { return false };
                let executor = self.layout.executor(&row.framework, &row.launch);
                let group = self.groups.as_ref().filter(|_| row.limits.memory.is_some());
                let (limits, group) = (row.limits, group.map(|groups| groups.for_launch(&row.launch)));
                let container = shim_state::is_container(&executor).then(|| Box::new(row));
                let origin = Origin::Adopted(session);
                let streams = OutputWatcher::default();
                self.blocks.insert(key, Block { pid, executor, origin, container, limits, group, streams });
                true
            }
        }
    }

    /// What earlier agents noted is noted by us now.
    pub(crate) fn finish_adoption(&mut self) {
        for table in self.spent.drain(..) {
            let _ = os::remove(&table);
        }
    }

    /// Starts another stand-in for a container that has lost its own; false when that cannot be.
    pub(super) fn restart_shim(&mut self, key: u64, row: Row) -> bool {
        let executor = self.layout.executor(&row.framework, &row.launch);
        match Self::spawn_shim(&executor) {
            Ok(pid) => {
                log::info!("`{}` has a new stand-in, process {}", row.launch, pid.as_raw_nonzero());
                let row = Row { pid: pid.as_raw_nonzero().get(), ..row };
                let slot = written(self.table.put(&row));
                self.keys.insert(pid, key);
                let block = Block {
                    pid,
                    executor,
                    origin: Origin::Child(slot),
                    limits: row.limits,
                    container: Some(Box::new(row)),
                    group: None,
                    streams: OutputWatcher::default(),
                };
                self.blocks.insert(key, block);
                true
            }
            Err(trouble) => {
                log::error!("nobody looks after the container of `{}`: {}", row.launch, trouble.message);
                false
            }
        }
    }
}

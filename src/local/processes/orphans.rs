//! What earlier agents of the same directory left running.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, getsid};

use super::{Block, Origin, Processes, is_block, written};
use crate::local::container::notes;
use crate::local::layout::{Layout, sandbox_in};
use crate::local::limits::{Groups, Streams};
use crate::local::table::{self, Row, STARTING};

/// A block that is to be taken over.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) row: Row,
    pub(crate) hold: Hold,
    /// It was seen to run.
    pub(crate) began: bool,
}

/// By what an orphan can be taken hold of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hold {
    /// Its process, in the session of the reaper it is left with.
    Process(Pid),
    /// Nothing but its container, if there is one: a new stand-in finds out.
    Container,
}

/// The blocks that earlier agents left, and the tables that are done with once these are taken over.
pub(super) fn find(layout: &Layout, groups: Option<&Groups>) -> (Vec<Orphan>, Vec<PathBuf>) {
    let own = getsid(None).ok();
    let boot = table::boot();
    let (mut found, mut spent) = (Vec::new(), Vec::new());
    let Ok(tables) = fs::read_dir(layout.tables()) else { return (found, spent) };
    for entry in tables.flatten() {
        let Ok(Some((head, rows))) = table::read(&entry.path()) else { continue };
        let here = head.boot == boot;
        // After a new start of the machine a number may be anyone's, even ours.
        let session = Pid::from_raw(head.session).filter(|session| !here || Some(*session) != own);
        let Some(session) = session else { continue };
        let mut left = false;
        for mut row in rows.into_values() {
            let executor = layout.executor(&row.framework, &row.launch);
            if row.pid == STARTING && here {
                row.pid = seek(&sandbox_in(executor.clone()), session)
                    .map_or(STARTING, |pid| pid.as_raw_nonzero().get());
            }
            let alive = here && Pid::from_raw(row.pid).is_some_and(|pid| is_block(pid, session));
            let is_container = notes::is_container(&executor);
            let began = !is_container || notes::has_started(&executor);
            if alive {
                left = true;
                found.push(Orphan { row, hold: Hold::Process(session), began });
            } else if is_container && notes::is_open(&executor) {
                found.push(Orphan { row, hold: Hold::Container, began });
            } else if let Some(groups) = groups.filter(|_| row.limits.memory.is_some()) {
                // Nobody was there at its end.
                let _ = groups.of(&row.launch).remove();
            }
        }
        // Its reaper removes a table itself, unless it was killed too.
        if !left && (!here || getsid(Some(session)).is_err()) {
            spent.push(entry.path());
        }
    }
    found.sort_by_key(|orphan| orphan.row.pid);
    (found, spent)
}

/// The process that was started in a sandbox, by an agent that did not live to note it.
fn seek(sandbox: &Path, session: Pid) -> Option<Pid> {
    let named = [b"MESOS_SANDBOX=", sandbox.as_os_str().as_bytes()].concat();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(|pid| is_block(*pid, session)).find(|pid| {
        let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == named)
    })
}

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
            Hold::Container => self.resume(key, row),
            Hold::Process(session) => {
                let Some(pid) = Pid::from_raw(row.pid) else { return false };
                let executor = self.layout.executor(&row.framework, &row.launch);
                let group = self.groups.as_ref().filter(|_| row.limits.memory.is_some());
                let (limits, group) = (row.limits, group.map(|groups| groups.of(&row.launch)));
                let container = notes::is_container(&executor).then(|| Box::new(row));
                let origin = Origin::Adopted(session);
                let streams = Streams::default();
                self.blocks.insert(key, Block { pid, executor, origin, container, limits, group, streams });
                true
            }
        }
    }

    /// What earlier agents noted is noted by us now.
    pub(crate) fn adopted_all(&mut self) {
        for table in self.spent.drain(..) {
            let _ = fs::remove_file(table);
        }
    }

    /// Starts another stand-in for a container that has lost its own; false when that cannot be.
    pub(super) fn resume(&mut self, key: u64, row: Row) -> bool {
        let executor = self.layout.executor(&row.framework, &row.launch);
        match Self::stand_in(&executor) {
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
                    streams: Streams::default(),
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

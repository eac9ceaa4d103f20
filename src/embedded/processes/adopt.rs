//! Adoption of the blocks that earlier agents of the same directory left running.

use rustix::process::Pid;

use super::orphans::{Orphan, OrphanHandle};
use super::registry::{Block, Origin, Processes, ok_or_log};
use crate::container::shim_state;
use crate::limits::OutputWatcher;
use crate::os;
use crate::process_table::Row;

impl Processes {
    /// Takes the orphans that were found at the start.
    pub(crate) fn orphans(&mut self) -> Vec<Orphan> {
        std::mem::take(&mut self.orphans)
    }

    /// Adopts an orphan. `false` if that fails: the launch is lost.
    pub(crate) fn adopt(&mut self, key: u64, orphan: Orphan) -> bool {
        let Orphan { row, handle, has_started } = orphan;
        if !has_started {
            self.starting.insert(key);
        }
        match handle {
            OrphanHandle::Container => self.restart_shim(key, row),
            OrphanHandle::Process(session) => {
                let Some(pid) = Pid::from_raw(row.pid) else { return false };
                let executor = self.paths.executor(&row.framework, &row.launch);
                let group = self.groups.as_ref().filter(|_| row.limits.memory.is_some());
                let (limits, group) = (row.limits, group.map(|groups| groups.for_launch(&row.launch)));
                let container = shim_state::is_container(&executor).then(|| Box::new(row));
                let origin = Origin::Adopted(session);
                let output = OutputWatcher::default();
                self.blocks.insert(key, Block { pid, executor, origin, container, limits, group, output });
                true
            }
        }
    }

    /// Removes the process tables of earlier agents; their blocks are in this agent's table now.
    pub(crate) fn finish_adoption(&mut self) {
        for table in self.obsolete_tables.drain(..) {
            let _ = os::remove(&table);
        }
    }

    /// Starts a new shim for a container whose shim has died. `false` if that fails.
    pub(super) fn restart_shim(&mut self, key: u64, row: Row) -> bool {
        let executor = self.paths.executor(&row.framework, &row.launch);
        match Self::spawn_shim(&executor) {
            Ok(pid) => {
                log::info!("`{}` has a new stand-in, process {}", row.launch, pid.as_raw_nonzero());
                let row = Row { pid: pid.as_raw_nonzero().get(), ..row };
                let slot = ok_or_log(self.table.put(&row));
                self.keys.insert(pid, key);
                let block = Block {
                    pid,
                    executor,
                    origin: Origin::Child(slot),
                    limits: row.limits,
                    container: Some(Box::new(row)),
                    group: None,
                    output: OutputWatcher::default(),
                };
                self.blocks.insert(key, block);
                true
            }
            Err(error) => {
                log::error!("nobody looks after the container of `{}`: {}", row.launch, error.message);
                false
            }
        }
    }
}

//! [`Processes`], the running blocks of the agent: their processes, control groups and rows in the process table.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::launch_history;
use super::orphans::{self, Orphan};
use crate::launch_spec::Limits;
use crate::limits::{Cgroup, CgroupRoot, OutputWatcher};
use crate::model::{KillStage, LaunchHistory, StopReason};
use crate::os;
use crate::path_lookup::PathLookup;
use crate::paths::Paths;
use crate::process_table::{self, Header, ProcessTable, Row};
use crate::stop_note;

/// The environment variables that a block inherits from the agent, with their defaults.
const INHERITED_VARIABLES: [(&str, Option<&str>); 4] = [
    ("PATH", Some("/usr/local/bin:/usr/bin:/bin")),
    ("HOME", None),
    ("LANG", Some("C.UTF-8")),
    ("TZ", Some("UTC")),
];

/// The blocks' processes, by the key the state machine gave their launch.
#[derive(Debug)]
pub(crate) struct Processes {
    pub(super) paths: Paths,
    pub(super) table: ProcessTable,
    pub(super) programs: PathLookup,
    pub(super) inherited: Vec<(&'static str, OsString)>,
    /// The value of PATH in `inherited`.
    pub(super) path: OsString,
    /// The keys of this agent's own children.
    pub(super) keys: HashMap<Pid, u64>,
    pub(super) blocks: HashMap<u64, Block>,
    /// Containers that are starting; polled, because Docker sends no event.
    pub(super) starting: BTreeSet<u64>,
    /// Blocks of earlier agents, until they are adopted.
    pub(super) orphans: Vec<Orphan>,
    /// The process tables of earlier agents, until they are removed.
    pub(super) obsolete_tables: Vec<PathBuf>,
    /// The framework whose directory was made last.
    pub(super) last_framework: Option<Rc<str>>,
    /// Where control groups are made; `None` if memory is not enforced.
    pub(super) groups: Option<CgroupRoot>,
    /// Control groups of ended blocks that still contain processes.
    pub(super) busy_groups: Vec<Cgroup>,
    /// When the limits of blocks are checked next.
    pub(super) check_at: Option<Duration>,
}

/// A running block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) pid: Pid,
    pub(super) executor: PathBuf,
    pub(super) origin: Origin,
    /// The row of a container, whose process is a shim and can be started again.
    pub(super) container: Option<Box<Row>>,
    pub(super) limits: Limits,
    /// The control group, if memory is limited.
    pub(super) group: Option<Cgroup>,
    pub(super) output: OutputWatcher,
}

/// The parent of a block's process.
#[derive(Debug)]
pub(super) enum Origin {
    /// This agent, with the slot of the block's row in the process table.
    Child(Option<u32>),
    /// The reaper of an earlier agent, which leads this session.
    Adopted(Pid),
}

impl Processes {
    /// Finds the orphans, and creates the process table of this session. `groups` is where control groups can be
    /// made.
    pub(crate) fn new(paths: Paths, groups: Option<CgroupRoot>) -> io::Result<Self> {
        let session = os::session()?.as_raw_nonzero().get();
        os::create_dir_all(&paths.tables(), 0o700)?;
        // Before this agent's table replaces one of the same session.
        let (orphans, mut obsolete_tables) = orphans::find(&paths, groups.as_ref());
        let path = paths.tables().join(session.to_string());
        obsolete_tables.retain(|table| *table != path);
        let table = ProcessTable::create(&path, &Header { boot_id: process_table::boot_id(), session })?;
        let inherited: Vec<_> = INHERITED_VARIABLES
            .iter()
            .filter_map(|(name, default)| {
                let value = std::env::var_os(name).filter(|value| !value.is_empty());
                Some((*name, value.or_else(|| default.map(OsString::from))?))
            })
            .collect();
        let path = inherited.iter().find(|(name, _)| *name == "PATH").map(|(_, path)| path.clone());
        Ok(Self {
            paths,
            table,
            programs: PathLookup::default(),
            inherited,
            path: path.unwrap_or_default(),
            keys: HashMap::new(),
            blocks: HashMap::new(),
            starting: BTreeSet::new(),
            orphans,
            obsolete_tables,
            last_framework: None,
            groups,
            busy_groups: Vec::new(),
            check_at: None,
        })
    }

    /// Removes the remaining control groups; called when no process is left.
    pub(crate) fn remove_groups(&mut self) {
        for group in self.busy_groups.drain(..) {
            if let Err(error) = group.remove() {
                log::warn!("a control group is left behind: {error}");
            }
        }
    }

    /// The history of a launch, from the files of its executor's directory.
    pub(crate) fn launch_history(&self, framework: &str, launch: &str) -> LaunchHistory {
        launch_history::read(&self.paths.executor(framework, launch))
    }

    /// Why a launch was stopped, by this or an earlier agent; `None` if it was not.
    pub(crate) fn stop_reason(&self, framework: &str, launch: &str) -> Option<StopReason> {
        stop_note::read(&self.paths.executor(framework, launch))
    }

    /// Signals a block's process group, unless the block has ended.
    pub(crate) fn signal(&self, key: u64, stage: KillStage) {
        let Some(block) = self.blocks.get(&key) else { return };
        if let Origin::Adopted(session) = block.origin
            && !os::leads_group_in_session(block.pid, session)
        {
            return;
        }
        let signals: &[Signal] = match stage {
            // A suspended process handles SIGTERM only when it continues.
            KillStage::Terminate => &[Signal::TERM, Signal::CONT],
            // The shim kills the container.
            KillStage::Kill if block.container.is_some() => &[Signal::INT],
            KillStage::Kill => &[Signal::KILL],
        };
        for signal in signals {
            if let Err(error) = os::signal_group(block.pid, *signal) {
                log::debug!("process group {} takes no signal: {error}", block.pid.as_raw_nonzero());
            }
        }
    }

    /// Writes the stop note of a block.
    pub(crate) fn record_stop(&self, key: u64, stop_reason: StopReason) {
        if let Some(block) = self.blocks.get(&key) {
            record_stop_reason(&block.executor, stop_reason);
        }
    }
}

/// Writes the stop note in an executor's directory; a failure is logged.
pub(super) fn record_stop_reason(executor: &Path, stop_reason: StopReason) {
    if let Err(error) = stop_note::write(executor, stop_reason) {
        log::warn!("it cannot be noted in `{}` why its block ends: {error}", executor.display());
    }
}

/// The result of a write to the process table; a failure is logged and harms no block.
pub(super) fn ok_or_log<T>(result: io::Result<T>) -> Option<T> {
    result.inspect_err(|error| log::error!("the table of processes cannot be written: {error}")).ok()
}

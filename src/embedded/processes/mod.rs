//! The blocks' processes: started, signalled, and ended.
//!
//! A start is few system calls: four directories, three files, one note beside them, one spawn. The spawn is
//! `posix_spawn`, for which std asks an absolute program, no `pre_exec` and no change of user.
//!
//! | file | |
//! |---|---|
//! | `mod` | a launch claimed, started, signalled |
//! | `spawn` | its sandbox filled, its command put together |
//! | `start_error` | what can go wrong with that, in words |
//! | `exits` | ends seen and noted |
//! | `orphans` | what earlier agents left running |
//! | `launch_history` | what the disk knows of a launch |

mod exits;
mod launch_history;
mod orphans;
mod spawn;
mod start_error;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal};

pub(crate) use self::exits::{ExitKind, LaunchExit};
pub(crate) use self::launch_history::never_started;
use self::orphans::Orphan;
use self::start_error::{StartError, describe, failed};
use super::exit::Exit;
use super::limits::{Cgroup, CgroupRoot, Limits, OutputWatcher};
use super::os;
use super::path_lookup::PathLookup;
use super::paths::{Paths, sandbox_in};
use super::process_table::{self, Header, ProcessTable, Row, STARTING};
use super::reap;
use super::state::{KillStage, Launch, StartReport, StopReason};
use super::stop_note;

/// The variables that a block has from the agent where it is not given others.
const OWN: [(&str, Option<&str>); 4] = [
    ("PATH", Some("/usr/local/bin:/usr/bin:/bin")),
    ("HOME", None),
    ("LANG", Some("C.UTF-8")),
    ("TZ", Some("UTC")),
];

/// Where a block's output lies in its sandbox.
const STDOUT: &str = "block/stdout";
const STDERR: &str = "block/stderr";

/// What Mesos' own `stdout` says here.
const NOTE: &[u8] = b"The block's output is in block/stdout and block/stderr.\n";

/// The blocks' processes, by the key the state machine gave their launch.
#[derive(Debug)]
pub(crate) struct Processes {
    layout: Paths,
    table: ProcessTable,
    programs: PathLookup,
    own: Vec<(&'static str, OsString)>,
    /// PATH among them.
    path: OsString,
    /// Our children.
    keys: HashMap<Pid, u64>,
    blocks: HashMap<u64, Block>,
    /// Containers not seen to run yet: nobody tells us, this is to be looked at now and then.
    starting: BTreeSet<u64>,
    /// What earlier agents left, and their tables that are done with then.
    orphans: Vec<Orphan>,
    spent: Vec<PathBuf>,
    /// The framework whose directory was made last.
    made: Option<Rc<str>>,
    /// Where control groups are made; `None` where none can be.
    groups: Option<CgroupRoot>,
    /// Groups of ended blocks with processes in them still.
    left: Vec<Cgroup>,
    /// When blocks are looked at for what they use.
    look_at: Option<Duration>,
}

#[derive(Debug)]
struct Block {
    pid: Pid,
    executor: PathBuf,
    origin: Origin,
    /// What is noted of it, for a container: its process is a stand-in, of which another can be started.
    container: Option<Box<Row>>,
    limits: Limits,
    /// Where its memory is limited.
    group: Option<Cgroup>,
    streams: OutputWatcher,
}

#[derive(Debug)]
enum Origin {
    /// Our child, with its row's slot.
    Child(Option<u32>),
    /// An earlier agent's, in that one's session.
    Adopted(Pid),
}

impl Processes {
    /// Starts with no process, and a table in place of any of the same session; `groups` is where control groups can
    /// be made.
    pub(crate) fn new(layout: Paths, groups: Option<CgroupRoot>) -> io::Result<Self> {
        let session = os::session()?.as_raw_nonzero().get();
        os::create_dir_all(&layout.tables(), 0o700)?;
        // Before one of them is replaced by ours.
        let (orphans, mut spent) = orphans::find(&layout, groups.as_ref());
        let path = layout.tables().join(session.to_string());
        spent.retain(|table| *table != path);
        let table = ProcessTable::create(&path, &Header { boot_id: process_table::boot_id(), session })?;
        let own: Vec<_> = OWN
            .iter()
            .filter_map(|(name, default)| {
                let value = std::env::var_os(name).filter(|value| !value.is_empty());
                Some((*name, value.or_else(|| default.map(OsString::from))?))
            })
            .collect();
        let path = own.iter().find(|(name, _)| *name == "PATH").map(|(_, path)| path.clone());
        Ok(Self {
            layout,
            table,
            programs: PathLookup::default(),
            own,
            path: path.unwrap_or_default(),
            keys: HashMap::new(),
            blocks: HashMap::new(),
            starting: BTreeSet::new(),
            orphans,
            spent,
            made: None,
            groups,
            left: Vec::new(),
            look_at: None,
        })
    }

    /// Starts a launch, unless there was one of its name before.
    pub(crate) fn start(&mut self, launch: &Launch) -> StartReport {
        let executor = self.layout.executor(&launch.framework, &launch.id);
        match self.claim(launch, &executor) {
            Ok(true) => {}
            Ok(false) => {
                return StartReport::AlreadyLaunched(self.launch_history(&launch.framework, &launch.id));
            }
            Err(error) => return failed(format!("the sandbox cannot be made: {}", describe(&error))),
        }
        // Noted before: whoever comes after us, should we die in between, knows what that process is.
        let row = Row {
            pid: STARTING,
            framework: launch.framework.to_string(),
            launch: launch.id.to_string(),
            held: launch.work.held.clone(),
            limits: launch.work.limits,
        };
        let slot = written(self.table.put(&row));
        let group = self.group(launch);
        match self.spawn(launch, &executor, group.as_ref()) {
            Ok(pid) => {
                let row = Row { pid: pid.as_raw_nonzero().get(), ..row };
                if let Some(slot) = slot {
                    written(self.table.write(slot, &row));
                }
                let is_container = launch.work.image.is_some();
                let container = is_container.then(|| Box::new(row));
                self.keys.insert(pid, launch.key);
                let block = Block {
                    pid,
                    executor,
                    origin: Origin::Child(slot),
                    container,
                    limits: launch.work.limits,
                    group,
                    streams: OutputWatcher::default(),
                };
                self.blocks.insert(launch.key, block);
                if is_container {
                    self.starting.insert(launch.key);
                    return StartReport::Starting;
                }
                StartReport::Running
            }
            Err(StartError { exit, reason, message }) => {
                self.left.extend(group.filter(|group| group.remove().is_err()));
                if let Some(slot) = slot {
                    written(self.table.clear(slot));
                }
                let sandbox = sandbox_in(executor);
                // Where its output would be, for who looks there first.
                let stderr = sandbox.join(STDERR);
                let said = File::options().append(true).open(&stderr);
                let words = format!("borges: {message}\n");
                let _ = said.and_then(|mut file| os::write(&mut file, &stderr, words.as_bytes()));
                if let Some(code) = exit
                    && let Err(error) = reap::write_exit(&sandbox, Exit::Code(code))
                {
                    log::warn!("the exit code of `{}` cannot be written: {error}", launch.id);
                }
                StartReport::Failed(reason, message)
            }
        }
    }

    /// Removes what is left of control groups, now that nothing runs.
    pub(crate) fn remove_groups(&mut self) {
        for group in self.left.drain(..) {
            if let Err(error) = group.remove() {
                log::warn!("a control group is left behind: {error}");
            }
        }
    }

    /// Makes the control group of a launch whose memory is limited. Docker makes those of containers.
    fn group(&self, launch: &Launch) -> Option<Cgroup> {
        let mib = launch.work.limits.memory.filter(|_| launch.work.image.is_none())?;
        self.groups
            .as_ref()?
            .create(&launch.id, mib)
            .inspect_err(|error| log::error!("the memory of `{}` is not limited: {error}", launch.id))
            .ok()
    }

    /// Makes a launch's directories; false when they were made before.
    fn claim(&mut self, launch: &Launch, executor: &Path) -> io::Result<bool> {
        if self.made.as_ref() != Some(&launch.framework) {
            os::create_dir_all(&self.layout.executors(&launch.framework), 0o777)?;
            self.made = Some(launch.framework.clone());
        }
        let claimed = os::create_dir(executor).or_else(|error| match error.kind() {
            // Somebody cleaned up.
            ErrorKind::NotFound => {
                os::create_dir_all(&self.layout.executors(&launch.framework), 0o777)?;
                os::create_dir(executor)
            }
            _ => Err(error),
        });
        match claimed {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            claimed => claimed?,
        }
        let mut path = executor.to_owned();
        for name in ["runs", "latest", "block"] {
            path.push(name);
            os::create_dir(&path)?;
        }
        Ok(true)
    }

    /// Signals a block's process group; a block that has ended since is left alone.
    pub(crate) fn signal(&self, key: u64, force: KillStage) {
        let Some(block) = self.blocks.get(&key) else { return };
        if let Origin::Adopted(session) = block.origin
            && !is_block(block.pid, session)
        {
            return;
        }
        let signals: &[Signal] = match force {
            // A stopped process sees its SIGTERM when it goes on.
            KillStage::Terminate => &[Signal::TERM, Signal::CONT],
            // Whoever stands in for a container has to see to its end.
            KillStage::Kill if block.container.is_some() => &[Signal::INT],
            KillStage::Kill => &[Signal::KILL],
        };
        for signal in signals {
            if let Err(error) = os::signal_group(block.pid, *signal) {
                log::debug!("process group {} takes no signal: {error}", block.pid.as_raw_nonzero());
            }
        }
    }

    /// Notes beside the sandbox that a block was told to end.
    pub(crate) fn record_stop(&self, key: u64, stop: StopReason) {
        if let Some(block) = self.blocks.get(&key) {
            note(&block.executor, stop);
        }
    }
}

/// Notes why a block ends.
fn note(executor: &Path, stop: StopReason) {
    if let Err(error) = stop_note::write(executor, stop) {
        log::warn!("it cannot be noted in `{}` why its block ends: {error}", executor.display());
    }
}

/// What the table said; that it could not be written is told, and costs no block.
fn written<T>(result: io::Result<T>) -> Option<T> {
    result.inspect_err(|error| log::error!("the table of processes cannot be written: {error}")).ok()
}

/// Whether a process leads a group in the session of a reaper: only a block of that one's does.
pub(super) fn is_block(pid: Pid, session: Pid) -> bool {
    os::leads_group(pid) && os::session_of(pid) == Some(session)
}

//! The blocks' processes: started, signalled, and ended.
//!
//! A start is few system calls: four directories, three files, one note beside them, one spawn. The spawn is
//! `posix_spawn`, for which std asks an absolute program, no `pre_exec` and no change of user.
//!
//! | file | |
//! |---|---|
//! | `mod` | a launch claimed, started, signalled |
//! | `spawn` | its sandbox filled, its command put together |
//! | `trouble` | what can go wrong with that, in words |
//! | `ends` | ends seen and noted |
//! | `orphans` | what earlier agents left running |
//! | `past` | what the disk knows of a launch |

mod ends;
mod orphans;
mod past;
mod spawn;
mod trouble;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal};

pub(crate) use self::ends::{Ended, How};
use self::orphans::Orphan;
pub(crate) use self::past::never_started;
use self::trouble::{Trouble, failed, words};
use super::end;
use super::exit::Exit;
use super::layout::{Layout, sandbox_in};
use super::limits::{Group, Groups, Limits, Streams};
use super::program::Programs;
use super::state::{Force, Launch, Started, Stop};
use super::stopped;
use super::system;
use super::table::{self, Head, Row, STARTING, Table};

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
    layout: Layout,
    table: Table,
    programs: Programs,
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
    groups: Option<Groups>,
    /// Groups of ended blocks with processes in them still.
    left: Vec<Group>,
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
    group: Option<Group>,
    streams: Streams,
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
    pub(crate) fn new(layout: Layout, groups: Option<Groups>) -> io::Result<Self> {
        let session = system::session()?.as_raw_nonzero().get();
        system::make_directories(&layout.tables(), 0o700)?;
        // Before one of them is replaced by ours.
        let (orphans, mut spent) = orphans::find(&layout, groups.as_ref());
        let path = layout.tables().join(session.to_string());
        spent.retain(|table| *table != path);
        let table = Table::create(&path, &Head { boot: table::boot(), session })?;
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
            programs: Programs::default(),
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
    pub(crate) fn start(&mut self, launch: &Launch) -> Started {
        let executor = self.layout.executor(&launch.framework, &launch.id);
        match self.claim(launch, &executor) {
            Ok(true) => {}
            Ok(false) => return Started::Repeat(self.past(&launch.framework, &launch.id)),
            Err(error) => return failed(format!("the sandbox cannot be made: {}", words(&error))),
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
                    streams: Streams::default(),
                };
                self.blocks.insert(launch.key, block);
                if is_container {
                    self.starting.insert(launch.key);
                    return Started::Starting;
                }
                Started::Running
            }
            Err(Trouble { exit, reason, message }) => {
                self.left.extend(group.filter(|group| group.remove().is_err()));
                if let Some(slot) = slot {
                    written(self.table.clear(slot));
                }
                let sandbox = sandbox_in(executor);
                // Where its output would be, for who looks there first.
                let stderr = sandbox.join(STDERR);
                let said = File::options().append(true).open(&stderr);
                let words = format!("borges: {message}\n");
                let _ = said.and_then(|mut file| system::write(&mut file, &stderr, words.as_bytes()));
                if let Some(code) = exit
                    && let Err(error) = end::write_exit(&sandbox, Exit::Code(code))
                {
                    log::warn!("the exit code of `{}` cannot be written: {error}", launch.id);
                }
                Started::Failed(reason, message)
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
    fn group(&self, launch: &Launch) -> Option<Group> {
        let mib = launch.work.limits.memory.filter(|_| launch.work.image.is_none())?;
        self.groups
            .as_ref()?
            .make(&launch.id, mib)
            .inspect_err(|error| log::error!("the memory of `{}` is not limited: {error}", launch.id))
            .ok()
    }

    /// Makes a launch's directories; false when they were made before.
    fn claim(&mut self, launch: &Launch, executor: &Path) -> io::Result<bool> {
        if self.made.as_ref() != Some(&launch.framework) {
            system::make_directories(&self.layout.executors(&launch.framework), 0o777)?;
            self.made = Some(launch.framework.clone());
        }
        let claimed = system::make_directory(executor).or_else(|error| match error.kind() {
            // Somebody cleaned up.
            ErrorKind::NotFound => {
                system::make_directories(&self.layout.executors(&launch.framework), 0o777)?;
                system::make_directory(executor)
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
            system::make_directory(&path)?;
        }
        Ok(true)
    }

    /// Signals a block's process group; a block that has ended since is left alone.
    pub(crate) fn signal(&self, key: u64, force: Force) {
        let Some(block) = self.blocks.get(&key) else { return };
        if let Origin::Adopted(session) = block.origin
            && !is_block(block.pid, session)
        {
            return;
        }
        let signals: &[Signal] = match force {
            // A stopped process sees its SIGTERM when it goes on.
            Force::Ask => &[Signal::TERM, Signal::CONT],
            // Whoever stands in for a container has to see to its end.
            Force::End if block.container.is_some() => &[Signal::INT],
            Force::End => &[Signal::KILL],
        };
        for signal in signals {
            if let Err(error) = system::signal_group(block.pid, *signal) {
                log::debug!("process group {} takes no signal: {error}", block.pid.as_raw_nonzero());
            }
        }
    }

    /// Notes beside the sandbox that a block was told to end.
    pub(crate) fn mark(&self, key: u64, stop: Stop) {
        if let Some(block) = self.blocks.get(&key) {
            note(&block.executor, stop);
        }
    }
}

/// Notes why a block ends.
fn note(executor: &Path, stop: Stop) {
    if let Err(error) = stopped::write(executor, stop) {
        log::warn!("it cannot be noted in `{}` why its block ends: {error}", executor.display());
    }
}

/// What the table said; that it could not be written is told, and costs no block.
fn written<T>(result: io::Result<T>) -> Option<T> {
    result.inspect_err(|error| log::error!("the table of processes cannot be written: {error}")).ok()
}

/// Whether a process leads a group in the session of a reaper: only a block of that one's does.
pub(super) fn is_block(pid: Pid, session: Pid) -> bool {
    system::leads_group(pid) && system::session_of(pid) == Some(session)
}

//! The blocks' processes: started, signalled, and ended.
//!
//! A start is few system calls: four directories, three files, one note beside them, one spawn. The spawn is
//! `posix_spawn`, for which std asks an absolute program, no `pre_exec` and no change of user.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use rustix::process::{Pid, Signal, getpgid, getsid, kill_process_group};

use super::end;
use super::exit::Exit;
use super::layout::{Layout, sandbox_in, stopped_in};
use super::program::Programs;
use super::state::{Force, Launch, Past, Started, Stop};
use super::table::{self, Head, Row, Table};
use super::work::{BODY, Work};
use crate::mesos::messages::task_status::Reason;

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

/// What is noted of a block that was told to end.
const KILLED: &[u8] = b"killed\n";
const OVERRUN: &[u8] = b"overrun\n";

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
    /// The framework whose directory was made last.
    made: Option<Rc<str>>,
}

#[derive(Debug)]
struct Block {
    pid: Pid,
    executor: PathBuf,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    /// Our child, with its row's slot.
    Child(Option<u32>),
    /// An earlier agent's, in that one's session.
    Adopted(Pid),
}

impl Processes {
    /// Starts with no process, and a table in place of any of the same session.
    pub(crate) fn new(layout: Layout) -> io::Result<Self> {
        let session = getsid(None)?.as_raw_nonzero().get();
        DirBuilder::new().recursive(true).mode(0o700).create(layout.tables())?;
        let table = Table::create(
            &layout.tables().join(session.to_string()),
            &Head { boot: table::boot(), session },
        )?;
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
            made: None,
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
        let sandbox = sandbox_in(executor.clone());
        match self.spawn(&launch.work, &sandbox) {
            Ok(pid) => {
                let row = self.table.put(
                    pid.as_raw_nonzero().get(),
                    &launch.framework,
                    &launch.id,
                    &launch.work.held,
                );
                let slot = row.inspect_err(|error| {
                    log::error!("the table of processes cannot be written: {error}");
                });
                self.keys.insert(pid, launch.key);
                self.blocks.insert(launch.key, Block { pid, executor, origin: Origin::Child(slot.ok()) });
                Started::Running
            }
            Err(Trouble { exit, reason, message }) => {
                // Where its output would be, for who looks there first.
                let said = File::options().append(true).open(sandbox.join("block/stderr"));
                let _ = said.and_then(|mut file| writeln!(file, "borges: {message}"));
                if let Some(code) = exit
                    && let Err(error) = end::write_exit(&sandbox, Exit::Code(code))
                {
                    log::warn!("the exit code of `{}` cannot be written: {error}", launch.id);
                }
                Started::Failed(reason, message)
            }
        }
    }

    /// Makes a launch's directories; false when they were made before.
    fn claim(&mut self, launch: &Launch, executor: &Path) -> io::Result<bool> {
        let directory = DirBuilder::new();
        if self.made.as_ref() != Some(&launch.framework) {
            fs::create_dir_all(self.layout.executors(&launch.framework))?;
            self.made = Some(launch.framework.clone());
        }
        let claimed = directory.create(executor).or_else(|error| match error.kind() {
            // Somebody cleaned up.
            ErrorKind::NotFound => {
                fs::create_dir_all(self.layout.executors(&launch.framework))?;
                directory.create(executor)
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
            directory.create(&path)?;
        }
        Ok(true)
    }

    /// Fills the sandbox and starts the block in it.
    fn spawn(&mut self, work: &Work, sandbox: &Path) -> Result<Pid, Trouble> {
        if let Some(body) = &work.body {
            make(sandbox, BODY, 0o700, body)?;
        }
        make(sandbox, "stdout", 0o644, NOTE)?;
        let stdout = make(sandbox, STDOUT, 0o644, b"")?;
        let stderr = make(sandbox, STDERR, 0o644, b"")?;

        let elsewhere = work.directory.as_ref().map(|directory| sandbox.join(directory));
        let directory = elsewhere.as_deref().unwrap_or(sandbox);
        if work.program.contains('/') {
            let program = sandbox.join(&work.program);
            let mut command = self.command(work, &program, sandbox, elsewhere.as_deref());
            return spawned(command.stdout(stdout).stderr(stderr), &program, directory);
        }
        let given = work.environment.iter().rev().find(|(name, _)| name == "PATH");
        let path = given.map(|(_, value)| OsString::from(value));
        let path = path.unwrap_or_else(|| self.path.clone());
        let missing = || Trouble {
            exit: Some(127),
            reason: Reason::CommandExecutorFailed,
            message: format!(
                "`{}` is not installed on this machine: not found on PATH {}",
                work.program,
                path.to_string_lossy()
            ),
        };
        let program = self.programs.find(&work.program, &path, directory).ok_or_else(missing)?;
        let mut command = self.command(work, &program, sandbox, elsewhere.as_deref());
        let result = spawned(command.stdout(stdout).stderr(stderr), &program, directory);
        if result.is_ok() || program.exists() || !self.programs.forget(&work.program, &path) {
            return result;
        }
        // It was found once, and is gone since.
        let program = self.programs.find(&work.program, &path, directory).ok_or_else(missing)?;
        let (stdout, stderr) = (open(sandbox, STDOUT)?, open(sandbox, STDERR)?);
        let mut command = self.command(work, &program, sandbox, elsewhere.as_deref());
        spawned(command.stdout(stdout).stderr(stderr), &program, directory)
    }

    /// The command of a block; stdin is the agent's own, which is `/dev/null`.
    fn command(&self, work: &Work, program: &Path, sandbox: &Path, elsewhere: Option<&Path>) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::inherit()).process_group(0).current_dir(elsewhere.unwrap_or(sandbox));
        command.env_clear().envs(self.own.iter().map(|(name, value)| (name, value)));
        command.envs(work.environment.iter().map(|(name, value)| (name, value)));
        command.env("MESOS_SANDBOX", sandbox);
        let mut arguments = work.arguments.iter();
        command.arg0(arguments.next().map_or(work.program.as_str(), String::as_str));
        for argument in arguments {
            if elsewhere.is_some() && argument == BODY {
                command.arg(sandbox.join(BODY));
            } else {
                command.arg(argument);
            }
        }
        command
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
            Force::End => &[Signal::KILL],
        };
        for signal in signals {
            if let Err(error) = kill_process_group(block.pid, *signal) {
                log::debug!("process group {} takes no signal: {error}", block.pid.as_raw_nonzero());
            }
        }
    }

    /// Notes beside the sandbox that a block was told to end.
    pub(crate) fn mark(&self, key: u64, stop: Stop) {
        let Some(block) = self.blocks.get(&key) else { return };
        let word = match stop {
            Stop::Killed => KILLED,
            Stop::Overrun => OVERRUN,
        };
        if let Err(error) = fs::write(stopped_in(&block.executor), word) {
            log::warn!("`{}` cannot be written: {error}", stopped_in(&block.executor).display());
        }
    }

    /// The next child that has ended, with its launch's key: noted, then reaped.
    ///
    /// `None` when no other child of ours has ended.
    pub(crate) fn reap(&mut self) -> Option<(u64, Exit)> {
        loop {
            let (pid, exit) = match end::wait(false) {
                Ok(end::Waited::Ended(pid, exit)) => (pid, exit),
                Ok(end::Waited::Alive | end::Waited::Childless) => return None,
                Err(error) => {
                    log::error!("children cannot be waited for: {error}");
                    return None;
                }
            };
            let Some(key) = self.keys.remove(&pid) else {
                // Some block's grandchild, handed to us.
                end::reap(pid);
                continue;
            };
            end::kill_rest(pid);
            if let Some(block) = self.blocks.remove(&key) {
                if let Err(error) = end::write_exit(&sandbox_in(block.executor), exit) {
                    log::warn!("the exit code of process {} is not kept: {error}", pid.as_raw_nonzero());
                }
                if let Origin::Child(Some(slot)) = block.origin
                    && let Err(error) = self.table.clear(slot)
                {
                    log::warn!("the table of processes cannot be written: {error}");
                }
            }
            end::reap(pid);
            return Some((key, exit));
        }
    }

    /// The blocks that earlier agents of this directory left running.
    pub(crate) fn orphans(&self) -> Vec<(Row, Pid)> {
        let own = getsid(None).ok();
        let boot = table::boot();
        let mut found = Vec::new();
        let Ok(tables) = fs::read_dir(self.layout.tables()) else { return found };
        for entry in tables.flatten() {
            let Ok(Some((head, rows))) = table::read(&entry.path()) else { continue };
            let session = Pid::from_raw(head.session).filter(|session| Some(*session) != own);
            let Some(session) = session else { continue };
            let before = found.len();
            if head.boot == boot {
                let alive = |row: &Row| Pid::from_raw(row.pid).is_some_and(|pid| is_block(pid, session));
                found.extend(rows.into_values().filter(alive).map(|row| (row, session)));
            }
            // Its reaper removes a table itself, unless it was killed too.
            if found.len() == before && (head.boot != boot || getsid(Some(session)).is_err()) {
                let _ = fs::remove_file(entry.path());
            }
        }
        found.sort_by_key(|(row, _)| row.pid);
        found
    }

    /// Takes over a block found by [`Self::orphans`].
    pub(crate) fn adopt(&mut self, key: u64, row: &Row, session: Pid) {
        let Some(pid) = Pid::from_raw(row.pid) else { return };
        let executor = self.layout.executor(&row.framework, &row.launch);
        self.blocks.insert(key, Block { pid, executor, origin: Origin::Adopted(session) });
    }

    /// Which of the adopted blocks have ended. Nobody tells us: this is to be asked now and then.
    pub(crate) fn ended_orphans(&mut self) -> Vec<(u64, Exit)> {
        let mut ended = Vec::new();
        self.blocks.retain(|key, block| {
            let Origin::Adopted(session) = block.origin else { return true };
            // In this order: its reaper writes the code before it lets the process go.
            let gone = !is_block(block.pid, session);
            match end::read_exit(&sandbox_in(block.executor.clone())) {
                Some(exit) => ended.push((*key, exit)),
                None if gone => ended.push((*key, Exit::Lost)),
                None => return true,
            }
            false
        });
        ended
    }

    /// Whether [`Self::ended_orphans`] has something to look after.
    pub(crate) fn has_orphans(&self) -> bool {
        self.blocks.len() > self.keys.len()
    }

    /// What the disk knows of a launch.
    pub(crate) fn past(&self, framework: &str, launch: &str) -> Past {
        let executor = self.layout.executor(framework, launch);
        if !executor.is_dir() {
            return Past::Never;
        }
        let stop = self.stopped(framework, launch);
        let sandbox = sandbox_in(executor);
        match end::read_exit(&sandbox) {
            Some(exit) => Past::Ended(exit, stop),
            // The last file before a start.
            None if !sandbox.join(STDERR).exists() => Past::NotStarted,
            None => Past::Ended(Exit::Lost, stop),
        }
    }

    /// Whether a launch was told to end, by whichever agent.
    pub(crate) fn stopped(&self, framework: &str, launch: &str) -> Option<Stop> {
        match fs::read(stopped_in(&self.layout.executor(framework, launch))).ok()?.as_slice() {
            OVERRUN => Some(Stop::Overrun),
            _ => Some(Stop::Killed),
        }
    }
}

/// Why a block did not start.
struct Trouble {
    /// What `block/exit` says, where that is the block's own fault.
    exit: Option<i32>,
    reason: Reason,
    message: String,
}

impl Trouble {
    /// The machine's fault.
    fn of(what: &str, error: &io::Error) -> Self {
        let message = format!("{what}: {}", words(error));
        Self { exit: None, reason: Reason::ContainerLaunchFailed, message }
    }

    /// The block's fault.
    fn own(exit: i32, message: String) -> Self {
        Self { exit: Some(exit), reason: Reason::CommandExecutorFailed, message }
    }
}

fn spawned(command: &mut Command, program: &Path, directory: &Path) -> Result<Pid, Trouble> {
    let error = match command.spawn() {
        Ok(child) => match i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            Some(pid) => return Ok(pid),
            None => io::Error::from(ErrorKind::InvalidData),
        },
        Err(error) => error,
    };
    let (program, place) = (program.display(), directory.display());
    Err(match error.kind() {
        _ if !directory.is_dir() => {
            Trouble::own(126, format!("the working directory `{place}` does not exist"))
        }
        ErrorKind::NotFound => Trouble::own(
            127,
            format!("`{program}` cannot be started: it, or what its `#!` line names, does not exist"),
        ),
        ErrorKind::PermissionDenied => {
            Trouble::own(126, format!("`{program}` cannot be started in `{place}`: permission denied"))
        }
        ErrorKind::ArgumentListTooLong => {
            Trouble::own(126, format!("`{program}` cannot be started: its arguments are too long"))
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => Trouble::own(
            126,
            format!("`{program}` cannot be started: it is no program, and has no `#!` line"),
        ),
        _ => Trouble::of(&format!("`{program}` cannot be started"), &error),
    })
}

/// Makes a file of the sandbox, with this in it.
fn make(sandbox: &Path, name: &str, mode: u32, bytes: &[u8]) -> Result<File, Trouble> {
    let options = OpenOptions::new().append(true).create_new(true).mode(mode).open(sandbox.join(name));
    let mut file = options.map_err(|error| Trouble::of(&format!("`{name}` cannot be made"), &error))?;
    if !bytes.is_empty() {
        file.write_all(bytes).map_err(|error| Trouble::of(&format!("`{name}` cannot be written"), &error))?;
    }
    Ok(file)
}

fn open(sandbox: &Path, name: &str) -> Result<File, Trouble> {
    let file = File::options().append(true).open(sandbox.join(name));
    file.map_err(|error| Trouble::of(&format!("`{name}` cannot be opened"), &error))
}

fn failed(message: String) -> Started {
    Started::Failed(Reason::ContainerLaunchFailed, message)
}

/// What the system says, with what to do about it where we know.
fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull => "the disk is full".to_owned(),
        ErrorKind::QuotaExceeded => "the user's share of the disk is full".to_owned(),
        ErrorKind::WouldBlock => "the machine has no process left for this user (see `ulimit -u`)".to_owned(),
        ErrorKind::OutOfMemory => "the machine has no memory left".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether a process leads a group in the session of a reaper: only a block of that one's does.
fn is_block(pid: Pid, session: Pid) -> bool {
    getpgid(Some(pid)).is_ok_and(|group| group == pid) && getsid(Some(pid)).is_ok_and(|it| it == session)
}

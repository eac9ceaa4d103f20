//! The simulated operating system behind [`os`](super::os): counts the operations of the agent, executes their faults,
//! and simulates processes.

#![allow(clippy::unwrap_used, reason = "only tests use it")]

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::model::{Exit, WaitResult};

/// The fault of one operation of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultMode {
    /// The agent is killed before the operation.
    CrashBefore,
    /// The operation is a write, and the agent is killed when half of it is written.
    TornWrite,
    /// The operation returns an error.
    Fails,
}

/// What has happened on the machine, whether the agent reports it or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchEvent {
    /// A launch has started.
    Started(String),
    /// A launch has ended, with this exit code.
    Ended(String, i32),
    /// A launch could not be started, and the agent has reported that.
    NotStarted(String),
    /// The agent was killed before this operation.
    AgentDied(String),
}

/// Determines how long a launch runs, and its exit code.
pub type Script = fn(&str) -> (Duration, i32);

/// The state of the simulated operating system.
pub(super) struct System {
    pub(super) now: Duration,
    pub(super) operations: Vec<String>,
    /// The number of the operation that fails, counted from 1, and how.
    pub(super) fault: Option<(usize, FaultMode)>,
    /// Whether the current write is torn.
    pub(super) tears_write: bool,
    pub(super) script: Script,
    pub(super) processes: BTreeMap<i32, Process>,
    /// The sessions whose reaper runs, by the reaper's process id.
    pub(super) sessions: BTreeSet<i32>,
    /// The session of the process that is being simulated.
    pub(super) session: i32,
    pub(super) last_id: i32,
    pub(super) launch_events: Vec<(Duration, LaunchEvent)>,
}

pub(super) struct Process {
    pub(super) launch: String,
    pub(super) environment: Vec<u8>,
    pub(super) session: i32,
    pub(super) exits_at: Duration,
    pub(super) exit: Exit,
    pub(super) has_exited: bool,
}

/// The panic payload of a killed agent.
struct Killed;

thread_local! {
    /// The simulated system of this thread.
    pub(super) static SYSTEM: RefCell<Option<Rc<RefCell<System>>>> = const { RefCell::new(None) };
}

thread_local! {
    static SKIP_UNSTARTED: Cell<bool> = const { Cell::new(false) };
}

/// Whether launches that never started are not recorded as such.
pub(super) fn fail_point_unstarted() -> bool {
    SKIP_UNSTARTED.get()
}

/// Plants a bug on this thread, until the result is dropped: launches that never started are not recorded as such.
pub fn forget_unstarted() -> impl Drop {
    struct Planted;
    impl Drop for Planted {
        fn drop(&mut self) {
            SKIP_UNSTARTED.set(false);
        }
    }
    SKIP_UNSTARTED.set(true);
    Planted
}

/// The simulated system of this thread, if there is one.
pub(super) fn system() -> Option<Rc<RefCell<System>>> {
    SYSTEM.with_borrow(Clone::clone)
}

/// Kills the agent: unwinds to [`catch_kill`].
fn kill_agent() -> ! {
    resume_unwind(Box::new(Killed) as Box<dyn Any + Send>)
}

/// The part of a path that identifies the file within the agent's directory.
fn short_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    let relative = text.rsplit_once("/executors/").map_or(&*text, |(_, within)| within);
    let relative =
        relative.split_once('.').filter(|(run, _)| run.len() == 36).map_or(relative, |(_, rest)| rest);
    match relative.rsplit_once("/agent/") {
        Some((_, name)) => name.to_owned(),
        None => relative.replace("/runs/latest", ""),
    }
}

/// Counts an operation, and executes its fault.
pub(super) fn fail_point(operation: &str, path: &Path) -> io::Result<()> {
    let Some(system) = system() else { return Ok(()) };
    let mut system = system.borrow_mut();
    let number = system.operations.len() + 1;
    system.operations.push(format!("{operation} {}", short_path(path)));
    system.tears_write = false;
    match system.fault {
        Some((fault, mode)) if fault == number => match mode {
            FaultMode::CrashBefore => {
                drop(system);
                kill_agent()
            }
            FaultMode::TornWrite => {
                system.tears_write = true;
                Ok(())
            }
            FaultMode::Fails => Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())),
        },
        _ => Ok(()),
    }
}

/// Writes half of `bytes` and kills the agent, if the current write is torn.
pub(super) fn tear(bytes: &[u8], write: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<()> {
    if system().is_some_and(|system| std::mem::take(&mut system.borrow_mut().tears_write)) {
        write(&bytes[..bytes.len() / 2])?;
        kill_agent();
    }
    Ok(())
}

pub(super) fn spawn(command: &Command) -> Option<Pid> {
    let system = system()?;
    let mut system = system.borrow_mut();
    let sandbox = command.get_envs().find(|(name, _)| *name == "MESOS_SANDBOX")?.1?.to_str()?.to_owned();
    let launch = sandbox.rsplit_once("/executors/")?.1.split('/').next()?.to_owned();
    system.last_id += 1;
    let (pid, now, session) = (system.last_id, system.now, system.session);
    let (runs, code) = (system.script)(&launch);
    let environment = format!("MESOS_SANDBOX={sandbox}\0").into_bytes();
    let exit = Exit::Code(code);
    let started = launch.clone();
    let process = Process { launch, environment, session, exits_at: now + runs, exit, has_exited: false };
    system.processes.insert(pid, process);
    system.launch_events.push((now, LaunchEvent::Started(started)));
    Pid::from_raw(pid)
}

pub(super) fn wait() -> Option<WaitResult> {
    let system = system()?;
    let system = system.borrow();
    let mut children =
        system.processes.iter().filter(|(_, process)| process.session == system.session).peekable();
    if children.peek().is_none() {
        return Some(WaitResult::NoChildren);
    }
    let exited = children.find(|(_, process)| process.has_exited);
    Some(exited.map_or(WaitResult::StillRunning, |(pid, process)| {
        WaitResult::Exited(Pid::from_raw(*pid).unwrap(), process.exit)
    }))
}

pub(super) fn reap(pid: Pid) -> bool {
    let Some(system) = system() else { return false };
    system.borrow_mut().processes.remove(&pid.as_raw_nonzero().get());
    true
}

/// Succeeds: only groups of exited blocks are signalled, and those are empty.
pub(super) fn signal_group(leader: Pid, _: Signal) -> bool {
    let Some(system) = system() else { return false };
    let has_exited = system
        .borrow()
        .processes
        .get(&leader.as_raw_nonzero().get())
        .is_none_or(|process| process.has_exited);
    assert!(has_exited, "a block is signalled");
    true
}

pub(super) fn session() -> Option<Pid> {
    Pid::from_raw(system()?.borrow().session)
}

#[expect(clippy::option_option, reason = "a session, no session, no simulated system")]
pub(super) fn session_of(pid: Pid) -> Option<Option<Pid>> {
    let system = system()?;
    let system = system.borrow();
    let pid = pid.as_raw_nonzero().get();
    let reaper = system.sessions.get(&pid).copied();
    Some(reaper.or_else(|| system.processes.get(&pid).map(|process| process.session)).and_then(Pid::from_raw))
}

pub(super) fn environments() -> Option<Vec<(Pid, Vec<u8>)>> {
    let system = system()?;
    let system = system.borrow();
    let environment_of =
        |process: &Process| if process.has_exited { Vec::new() } else { process.environment.clone() };
    let processes = system.processes.iter();
    Some(
        processes
            .filter_map(|(pid, process)| Some((Pid::from_raw(*pid)?, environment_of(process))))
            .collect(),
    )
}

/// Runs a part of the agent; `None` if the agent is killed meanwhile.
pub(super) fn catch_kill<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => Some(result),
        Err(payload) if payload.is::<Killed>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

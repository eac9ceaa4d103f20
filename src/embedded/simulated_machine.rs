//! A machine that is made up, for tests: its files are real, its processes are not, and its agent fails, or dies, at
//! the operation that the test has chosen.
//!
//! The agent is the real one, but for its sockets; so is its reaper, who sees the ends of what a dead agent leaves.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "only tests use it")]

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

use super::driver::{AgentDriver, Clients};
use super::exit::Exit;
use super::paths::Paths;
use super::reap::WaitResult;
use super::reaper::OrphanReaper;
use super::state::{ClientId, Identity, Timestamps};
use borges_mesos::messages::scheduler::{Call, Event as Wire};
use borges_mesos::messages::task_status::Reason;
use borges_mesos::messages::{TaskState, TaskStatus};
use borges_mesos::resources::Quantities;
use borges_mesos::{Event, StatusUpdate};

/// How an operation of the agent goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultMode {
    /// The agent is killed before it.
    CrashBefore,
    /// It is a write, and the agent is killed in the midst of it.
    TornWrite,
    /// It fails, and says so.
    Fails,
}

/// What has truly happened to a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchEvent {
    /// A launch has started.
    Started(String),
    /// A launch has ended, with this exit code.
    Ended(String, i32),
    /// It could not be started, and that was said.
    NotStarted(String),
    /// The agent was killed before this operation.
    AgentDied(String),
}

/// How long a launch runs, and with what code it ends.
pub type Script = fn(&str) -> (Duration, i32);

/// The operations of the agent, and the processes there are.
struct System {
    now: Duration,
    operations: Vec<String>,
    chosen: Option<(usize, FaultMode)>,
    /// The write that is under way is torn.
    tears: bool,
    fate: Script,
    processes: BTreeMap<i32, Process>,
    /// The reapers that live, each the leader of its session.
    sessions: BTreeSet<i32>,
    /// In whose session something is done now.
    session: i32,
    last: i32,
    happened: Vec<(Duration, LaunchEvent)>,
}

struct Process {
    launch: String,
    environment: Vec<u8>,
    session: i32,
    ends: Duration,
    exit: Exit,
    is_over: bool,
}

/// What an agent that is killed leaves off with.
struct Killed;

thread_local! {
    static SYSTEM: RefCell<Option<Rc<RefCell<System>>>> = const { RefCell::new(None) };
}

thread_local! {
    static FORGETS: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn fail_point_unstarted() -> bool {
    FORGETS.get()
}

/// From now on nobody on this thread notes what never started, until what is returned is dropped.
pub fn forget_unstarted() -> impl Drop {
    struct Planted;
    impl Drop for Planted {
        fn drop(&mut self) {
            FORGETS.set(false);
        }
    }
    FORGETS.set(true);
    Planted
}

fn system() -> Option<Rc<RefCell<System>>> {
    SYSTEM.with_borrow(Clone::clone)
}

fn die() -> ! {
    resume_unwind(Box::new(Killed) as Box<dyn Any + Send>)
}

/// The last words of a path that tell what it is.
fn name(path: &Path) -> String {
    let text = path.to_string_lossy();
    let short = text.rsplit_once("/executors/").map_or(&*text, |(_, within)| within);
    let short = short.split_once('.').filter(|(run, _)| run.len() == 36).map_or(short, |(_, rest)| rest);
    match short.rsplit_once("/agent/") {
        Some((_, agents)) => agents.to_owned(),
        None => short.replace("/runs/latest", ""),
    }
}

pub(super) fn fail_point(what: &str, path: &Path) -> io::Result<()> {
    let Some(system) = system() else { return Ok(()) };
    let mut system = system.borrow_mut();
    let number = system.operations.len() + 1;
    system.operations.push(format!("{what} {}", name(path)));
    system.tears = false;
    match system.chosen {
        Some((chosen, wrong)) if chosen == number => match wrong {
            FaultMode::CrashBefore => {
                drop(system);
                die()
            }
            FaultMode::TornWrite => {
                system.tears = true;
                Ok(())
            }
            FaultMode::Fails => Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())),
        },
        _ => Ok(()),
    }
}

/// Writes the half of what is to be written, if that is how it goes wrong.
pub(super) fn tear(bytes: &[u8], write: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<()> {
    if system().is_some_and(|system| std::mem::take(&mut system.borrow_mut().tears)) {
        write(&bytes[..bytes.len() / 2])?;
        die();
    }
    Ok(())
}

pub(super) fn spawn(command: &Command) -> Option<Pid> {
    let system = system()?;
    let mut system = system.borrow_mut();
    let sandbox = command.get_envs().find(|(name, _)| *name == "MESOS_SANDBOX")?.1?.to_str()?.to_owned();
    let launch = sandbox.rsplit_once("/executors/")?.1.split('/').next()?.to_owned();
    system.last += 1;
    let (pid, now, session) = (system.last, system.now, system.session);
    let (runs, code) = (system.fate)(&launch);
    let environment = format!("MESOS_SANDBOX={sandbox}\0").into_bytes();
    let exit = Exit::Code(code);
    let launched = launch.clone();
    let process = Process { launch, environment, session, ends: now + runs, exit, is_over: false };
    system.processes.insert(pid, process);
    system.happened.push((now, LaunchEvent::Started(launched)));
    Pid::from_raw(pid)
}

pub(super) fn wait() -> Option<WaitResult> {
    let system = system()?;
    let system = system.borrow();
    let mut own = system.processes.iter().filter(|(_, process)| process.session == system.session).peekable();
    if own.peek().is_none() {
        return Some(WaitResult::NoChildren);
    }
    let ended = own.find(|(_, process)| process.is_over);
    Some(ended.map_or(WaitResult::StillRunning, |(pid, process)| {
        WaitResult::Exited(Pid::from_raw(*pid).unwrap(), process.exit)
    }))
}

pub(super) fn reap(pid: Pid) -> bool {
    let Some(system) = system() else { return false };
    system.borrow_mut().processes.remove(&pid.as_raw_nonzero().get());
    true
}

/// Nobody is to be killed here: it is only what an ended block has left.
pub(super) fn signal_group(leader: Pid, _: Signal) -> bool {
    let Some(system) = system() else { return false };
    let is_over = system.borrow().processes.get(&leader.as_raw_nonzero().get()).is_none_or(|it| it.is_over);
    assert!(is_over, "a block is signalled");
    true
}

pub(super) fn session() -> Option<Pid> {
    Pid::from_raw(system()?.borrow().session)
}

#[expect(clippy::option_option, reason = "a session, no session, nothing made up")]
pub(super) fn session_of(pid: Pid) -> Option<Option<Pid>> {
    let system = system()?;
    let system = system.borrow();
    let pid = pid.as_raw_nonzero().get();
    let leads = system.sessions.get(&pid).copied();
    Some(leads.or_else(|| system.processes.get(&pid).map(|process| process.session)).and_then(Pid::from_raw))
}

pub(super) fn environments() -> Option<Vec<(Pid, Vec<u8>)>> {
    let system = system()?;
    let system = system.borrow();
    let shown = |process: &Process| if process.is_over { Vec::new() } else { process.environment.clone() };
    let processes = system.processes.iter();
    Some(processes.filter_map(|(pid, process)| Some((Pid::from_raw(*pid)?, shown(process)))).collect())
}

/// The machine, with its agent or between two of them.
pub struct Machine {
    system: Rc<RefCell<System>>,
    directory: TempDir,
    agent: Option<Life>,
    heirs: Vec<(i32, OrphanReaper)>,
}

struct Life {
    hands: AgentDriver,
    session: i32,
    began: Duration,
    out: RecordingClient,
}

/// The one client.
#[derive(Default)]
struct RecordingClient {
    peer: ClientId,
    events: Option<UnboundedSender<Event>>,
    told: HashMap<Vec<u8>, StatusUpdate>,
}

impl Clients for RecordingClient {
    fn send(&mut self, peer: ClientId, event: &Wire) {
        if peer != self.peer {
            return;
        }
        let status = event.update.as_ref().map(|update| &update.status);
        let words = status.map_or_else(|| event.r#type().as_str_name().to_owned(), told);
        if fail_point("tell", Path::new(&words)).is_err() {
            self.events = None;
            return;
        }
        if let Some(status) = status {
            let could_not_start = status.reason() == Reason::ContainerLaunchFailed;
            if could_not_start && let Some(system) = system() {
                let mut system = system.borrow_mut();
                let now = system.now;
                system.happened.push((now, LaunchEvent::NotStarted(status.task_id.value.clone())));
            }
            if let Some(uuid) = &status.uuid {
                self.told.insert(uuid.to_vec(), StatusUpdate::try_from(status.clone()).unwrap());
            }
        }
        if let Some(events) = &self.events {
            let _gone = events.send(Event::try_from(event.clone()).unwrap());
        }
    }

    fn close(&mut self, peer: ClientId) {
        if peer == self.peer {
            self.events = None;
        }
    }
}

fn told(status: &TaskStatus) -> String {
    let launch = status.task_id.value.split_once('.').map_or("", |(_, rest)| rest);
    format!("{} {launch}", TaskState::try_from(status.state).map_or("?", |state| state.as_str_name()))
}

impl Machine {
    /// A machine whose agent goes wrong at this operation, counted from 1, in this way.
    pub fn new(chosen: Option<(usize, FaultMode)>, fate: Script) -> Self {
        let system = Rc::new(RefCell::new(System {
            now: Duration::ZERO,
            operations: Vec::new(),
            chosen,
            tears: false,
            fate,
            processes: BTreeMap::new(),
            sessions: BTreeSet::new(),
            session: 0,
            last: 100,
            happened: Vec::new(),
        }));
        SYSTEM.set(Some(system.clone()));
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        Self { system, directory: directory.unwrap(), agent: None, heirs: Vec::new() }
    }

    /// The agent's state directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The time of the world.
    pub fn now(&self) -> Duration {
        self.system.borrow().now
    }

    /// What the agent has done so far.
    pub fn operations(&self) -> Vec<String> {
        self.system.borrow().operations.clone()
    }

    /// What has happened since this was asked last.
    pub fn happened(&self) -> Vec<(Duration, LaunchEvent)> {
        std::mem::take(&mut self.system.borrow_mut().happened)
    }

    /// A client comes, and says this; an agent is started for it if there is none. `None` when it has no answer.
    pub fn subscribe(&mut self, call: Call) -> Option<UnboundedReceiver<Event>> {
        if self.agent.is_none() {
            self.start();
        }
        let (sender, receiver) = unbounded_channel();
        self.act(|life, now| {
            // An agent takes note of a client's end when it has told all that is to be told.
            let before = life.out.peer;
            if before > 0 {
                life.hands.closed(before, now, &mut life.out);
            }
            life.out.peer += 1;
            life.out.events = Some(sender);
            life.hands.state.connected(life.out.peer);
            life.hands.call(life.out.peer, call, now, &mut life.out);
            life.hands.offer_free_resources(now, &mut life.out);
        });
        self.agent.as_ref()?.out.events.as_ref()?;
        Some(receiver)
    }

    /// The client says this; `false` when nobody hears.
    pub fn call(&mut self, call: Call) -> bool {
        self.act(|life, now| {
            life.hands.call(life.out.peer, call, now, &mut life.out);
            life.hands.offer_free_resources(now, &mut life.out);
        });
        self.agent.is_some()
    }

    /// The update with this uuid, as it was told.
    pub fn told(&self, uuid: &[u8]) -> Option<StatusUpdate> {
        self.agent.as_ref()?.out.told.get(uuid).cloned()
    }

    /// Whether any process runs.
    pub fn is_busy(&self) -> bool {
        !self.system.borrow().processes.is_empty()
    }

    /// Time goes on until `now`: blocks end, and those who are there take note.
    pub fn advance(&mut self, now: Duration) {
        {
            let mut system = self.system.borrow_mut();
            let System { processes, happened, .. } = &mut *system;
            let over = processes.values_mut().filter(|process| !process.is_over && process.ends <= now);
            let mut ended: Vec<_> = over
                .map(|process| {
                    process.is_over = true;
                    let code = process.exit.code().unwrap_or_default();
                    (process.ends, LaunchEvent::Ended(process.launch.clone(), code))
                })
                .collect();
            ended.sort_by_key(|(at, _)| *at);
            happened.extend(ended);
            system.now = now;
        }
        self.inherit();
        self.act(|life, now| {
            life.hands.poll(now, &mut life.out);
            life.hands.offer_free_resources(now, &mut life.out);
        });
    }

    /// When something happens of itself.
    pub fn next_change(&mut self) -> Option<Duration> {
        let (now, ends) = {
            let system = self.system.borrow();
            let ends = system.processes.values().filter(|process| !process.is_over).map(|it| it.ends).min();
            (system.now, ends)
        };
        let looks = self.agent.as_mut().and_then(|life| {
            let next = life.hands.next_poll(now.saturating_sub(life.began))?;
            Some((next + life.began).max(now + Duration::from_millis(1)))
        });
        ends.into_iter().chain(looks).min()
    }

    fn start(&mut self) {
        let (session, now) = {
            let mut system = self.system.borrow_mut();
            system.last += 1;
            let session = system.last;
            system.sessions.insert(session);
            system.session = session;
            (session, system.now)
        };
        let layout = Paths::new(self.directory.path());
        let heir = OrphanReaper::new(layout.clone(), Pid::from_raw(session).unwrap(), None);
        let incarnation = Uuid::from_u64_pair(1, u64::try_from(session).unwrap());
        let identity = Identity { agent: super::AGENT_ID.to_owned(), hostname: "h".to_owned(), incarnation };
        let all = Quantities { milli_cpus: 8000, mem_mib: 8192, ..Quantities::default() };
        let time = Timestamps { elapsed: Duration::ZERO, wall: now.as_secs_f64() };
        let made = mortal(|| AgentDriver::new(layout, None, identity, all, false, time));
        match made {
            Some(Ok(hands)) => {
                self.agent = Some(Life { hands, session, began: now, out: RecordingClient::default() });
            }
            // It has ended by itself, or was killed.
            Some(Err(_)) | None => self.bury(session, heir),
        }
    }

    /// Something that the agent does, if there is one.
    fn act(&mut self, act: impl FnOnce(&mut Life, Timestamps)) {
        let Some(mut life) = self.agent.take() else { return };
        let now = {
            let mut system = self.system.borrow_mut();
            system.session = life.session;
            Timestamps { elapsed: system.now.saturating_sub(life.began), wall: system.now.as_secs_f64() }
        };
        if mortal(|| act(&mut life, now)).is_some() {
            self.agent = Some(life);
            return;
        }
        let layout = Paths::new(self.directory.path());
        let heir = OrphanReaper::new(layout, Pid::from_raw(life.session).unwrap(), None);
        self.bury(life.session, heir);
    }

    fn bury(&mut self, session: i32, heir: OrphanReaper) {
        {
            let mut system = self.system.borrow_mut();
            let (now, last) = (system.now, system.operations.last().cloned().unwrap_or_default());
            system.happened.push((now, LaunchEvent::AgentDied(last)));
        }
        self.heirs.push((session, heir));
        self.inherit();
    }

    /// Reapers see the ends of what is left to them, and end when nothing is.
    fn inherit(&mut self) {
        for (session, mut heir) in std::mem::take(&mut self.heirs) {
            self.system.borrow_mut().session = session;
            loop {
                match wait() {
                    Some(WaitResult::Exited(pid, exit)) => heir.ended(pid, exit),
                    Some(WaitResult::StillRunning) => {
                        self.heirs.push((session, heir));
                        break;
                    }
                    Some(WaitResult::NoChildren) | None => {
                        heir.leave(false);
                        self.system.borrow_mut().sessions.remove(&session);
                        break;
                    }
                }
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        SYSTEM.set(None);
    }
}

/// Does something, and survives its being killed; `None` when it was.
fn mortal<T>(act: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(done) => Some(done),
        Err(why) if why.is::<Killed>() => None,
        Err(bug) => resume_unwind(bug),
    }
}

//! [`Machine`], a simulated machine for tests: its files are real, its processes are not, and one operation of its
//! agent fails or kills the agent.
//!
//! The agent is the real one without its sockets. Its reaper is the real one, too, and reaps what a dead agent leaves.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "only tests use it")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::Pid;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

use super::driver::{AgentDriver, Clients};
use super::model::{ClientId, Timestamps, WaitResult};
use super::paths::Paths;
use super::reaper::OrphanReaper;
pub use super::simulated_os::{FaultMode, LaunchEvent, Script, forget_unstarted};
use super::simulated_os::{SYSTEM, System, catch_kill, fail_point, system, wait};
use super::state::Identity;
use borges_mesos::messages::scheduler::{Call, Event as Wire};
use borges_mesos::messages::task_status::Reason;
use borges_mesos::messages::{TaskState, TaskStatus};
use borges_mesos::resources::Quantities;
use borges_mesos::{Event, StatusUpdate};

/// The machine, with or without a running agent.
pub struct Machine {
    system: Rc<RefCell<System>>,
    directory: TempDir,
    agent: Option<RunningAgent>,
    reapers: Vec<(i32, OrphanReaper)>,
}

/// The running agent, without its sockets.
struct RunningAgent {
    driver: AgentDriver,
    session: i32,
    started_at: Duration,
    client: RecordingClient,
}

/// The only client of the agent. It records the updates that the agent sends.
#[derive(Default)]
struct RecordingClient {
    id: ClientId,
    events: Option<UnboundedSender<Event>>,
    updates: HashMap<Vec<u8>, StatusUpdate>,
}

impl Clients for RecordingClient {
    fn send(&mut self, client: ClientId, event: &Wire) {
        if client != self.id {
            return;
        }
        let status = event.update.as_ref().map(|update| &update.status);
        let event_name = status.map_or_else(|| event.r#type().as_str_name().to_owned(), describe_status);
        if fail_point("send", Path::new(&event_name)).is_err() {
            self.events = None;
            return;
        }
        if let Some(status) = status {
            let could_not_start = status.reason() == Reason::ContainerLaunchFailed;
            if could_not_start && let Some(system) = system() {
                let mut system = system.borrow_mut();
                let now = system.now;
                system.launch_events.push((now, LaunchEvent::NotStarted(status.task_id.value.clone())));
            }
            if let Some(uuid) = &status.uuid {
                self.updates.insert(uuid.to_vec(), StatusUpdate::try_from(status.clone()).unwrap());
            }
        }
        if let Some(events) = &self.events {
            let _closed = events.send(Event::try_from(event.clone()).unwrap());
        }
    }

    fn close(&mut self, client: ClientId) {
        if client == self.id {
            self.events = None;
        }
    }
}

fn describe_status(status: &TaskStatus) -> String {
    let launch = status.task_id.value.split_once('.').map_or("", |(_, rest)| rest);
    format!("{} {launch}", TaskState::try_from(status.state).map_or("?", |state| state.as_str_name()))
}

impl Machine {
    /// A machine with a fault in one operation of the agent, counted from 1.
    pub fn new(fault: Option<(usize, FaultMode)>, script: Script) -> Self {
        let system = Rc::new(RefCell::new(System {
            now: Duration::ZERO,
            operations: Vec::new(),
            fault,
            tears_write: false,
            script,
            processes: BTreeMap::new(),
            sessions: BTreeSet::new(),
            session: 0,
            last_id: 100,
            launch_events: Vec::new(),
        }));
        SYSTEM.set(Some(system.clone()));
        let shared_memory = Path::new("/dev/shm");
        let directory = if shared_memory.is_dir() { TempDir::new_in(shared_memory) } else { TempDir::new() };
        Self { system, directory: directory.unwrap(), agent: None, reapers: Vec::new() }
    }

    /// The agent's state directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The simulated time.
    pub fn now(&self) -> Duration {
        self.system.borrow().now
    }

    /// The operations of the agent so far.
    pub fn operations(&self) -> Vec<String> {
        self.system.borrow().operations.clone()
    }

    /// The events since the last call.
    pub fn take_launch_events(&self) -> Vec<(Duration, LaunchEvent)> {
        std::mem::take(&mut self.system.borrow_mut().launch_events)
    }

    /// Connects a client that makes this call. Starts an agent if none runs. `None` if the connection fails.
    pub fn subscribe(&mut self, call: Call) -> Option<UnboundedReceiver<Event>> {
        if self.agent.is_none() {
            self.start();
        }
        let (sender, receiver) = unbounded_channel();
        self.with_agent(|agent, now| {
            // An agent handles a disconnect after it has sent all events.
            let previous = agent.client.id;
            if previous > 0 {
                agent.driver.closed(previous, now, &mut agent.client);
            }
            agent.client.id += 1;
            agent.client.events = Some(sender);
            agent.driver.state.connected(agent.client.id);
            agent.driver.call(agent.client.id, call, now, &mut agent.client);
            agent.driver.offer_free_resources(now, &mut agent.client);
        });
        self.agent.as_ref()?.client.events.as_ref()?;
        Some(receiver)
    }

    /// Makes a call of the client. `false` if no agent runs afterwards.
    pub fn call(&mut self, call: Call) -> bool {
        self.with_agent(|agent, now| {
            agent.driver.call(agent.client.id, call, now, &mut agent.client);
            agent.driver.offer_free_resources(now, &mut agent.client);
        });
        self.agent.is_some()
    }

    /// The update with this uuid, if the running agent has sent it.
    pub fn sent_update(&self, uuid: &[u8]) -> Option<StatusUpdate> {
        self.agent.as_ref()?.client.updates.get(uuid).cloned()
    }

    /// Whether any process runs.
    pub fn is_busy(&self) -> bool {
        !self.system.borrow().processes.is_empty()
    }

    /// Advances the time to `now`: processes exit, reapers and the agent poll.
    pub fn advance(&mut self, now: Duration) {
        {
            let mut system = self.system.borrow_mut();
            let System { processes, launch_events, .. } = &mut *system;
            let exiting =
                processes.values_mut().filter(|process| !process.has_exited && process.exits_at <= now);
            let mut ended: Vec<_> = exiting
                .map(|process| {
                    process.has_exited = true;
                    let code = process.exit.code().unwrap_or_default();
                    (process.exits_at, LaunchEvent::Ended(process.launch.clone(), code))
                })
                .collect();
            ended.sort_by_key(|(at, _)| *at);
            launch_events.extend(ended);
            system.now = now;
        }
        self.run_reapers();
        self.with_agent(|agent, now| {
            agent.driver.poll(now, &mut agent.client);
            agent.driver.offer_free_resources(now, &mut agent.client);
        });
    }

    /// When a process exits, or the agent is due to poll.
    pub fn next_change(&mut self) -> Option<Duration> {
        let (now, exits_at) = {
            let system = self.system.borrow();
            let exits_at = system
                .processes
                .values()
                .filter(|process| !process.has_exited)
                .map(|process| process.exits_at)
                .min();
            (system.now, exits_at)
        };
        let next_poll = self.agent.as_mut().and_then(|agent| {
            let next = agent.driver.next_poll(now.saturating_sub(agent.started_at))?;
            Some((next + agent.started_at).max(now + Duration::from_millis(1)))
        });
        exits_at.into_iter().chain(next_poll).min()
    }

    fn start(&mut self) {
        let (session, now) = {
            let mut system = self.system.borrow_mut();
            system.last_id += 1;
            let session = system.last_id;
            system.sessions.insert(session);
            system.session = session;
            (session, system.now)
        };
        let paths = Paths::new(self.directory.path());
        let reaper = OrphanReaper::new(paths.clone(), Pid::from_raw(session).unwrap(), None);
        let incarnation = Uuid::from_u64_pair(1, u64::try_from(session).unwrap());
        let identity = Identity { agent: super::AGENT_ID.to_owned(), hostname: "h".to_owned(), incarnation };
        let total = Quantities { milli_cpus: 8000, mem_mib: 8192, ..Quantities::default() };
        let time = Timestamps { elapsed: Duration::ZERO, wall: now.as_secs_f64() };
        let result = catch_kill(|| AgentDriver::new(paths, None, identity, total, false, time));
        match result {
            Some(Ok(driver)) => {
                self.agent = Some(RunningAgent {
                    driver,
                    session,
                    started_at: now,
                    client: RecordingClient::default(),
                });
            }
            // The agent has failed, or was killed.
            Some(Err(_)) | None => self.leave_to_reaper(session, reaper),
        }
    }

    /// Runs a part of the agent, if it runs.
    fn with_agent(&mut self, run: impl FnOnce(&mut RunningAgent, Timestamps)) {
        let Some(mut agent) = self.agent.take() else { return };
        let now = {
            let mut system = self.system.borrow_mut();
            system.session = agent.session;
            Timestamps {
                elapsed: system.now.saturating_sub(agent.started_at),
                wall: system.now.as_secs_f64(),
            }
        };
        if catch_kill(|| run(&mut agent, now)).is_some() {
            self.agent = Some(agent);
            return;
        }
        let paths = Paths::new(self.directory.path());
        let reaper = OrphanReaper::new(paths, Pid::from_raw(agent.session).unwrap(), None);
        self.leave_to_reaper(agent.session, reaper);
    }

    fn leave_to_reaper(&mut self, session: i32, reaper: OrphanReaper) {
        {
            let mut system = self.system.borrow_mut();
            let (now, last) = (system.now, system.operations.last().cloned().unwrap_or_default());
            system.launch_events.push((now, LaunchEvent::AgentDied(last)));
        }
        self.reapers.push((session, reaper));
        self.run_reapers();
    }

    /// Lets the reapers of dead agents reap their processes, and exit after the last one.
    fn run_reapers(&mut self) {
        for (session, mut reaper) in std::mem::take(&mut self.reapers) {
            self.system.borrow_mut().session = session;
            loop {
                match wait() {
                    Some(WaitResult::Exited(pid, exit)) => reaper.exited(pid, exit),
                    Some(WaitResult::StillRunning) => {
                        self.reapers.push((session, reaper));
                        break;
                    }
                    Some(WaitResult::NoChildren) | None => {
                        reaper.finish(false);
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

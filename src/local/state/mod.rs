//! The embedded cluster as a state machine: calls, ends and time in, actions out.
//!
//! No sockets, no processes, no files, no clock. It behaves towards a scheduler as a Mesos master with one
//! agent does; where they differ, the embedded cluster is simpler: it does not kill what a disconnected
//! framework left behind (`failover_timeout`), since outliving the server is what it is for.
//!
//! | file | |
//! |---|---|
//! | `mod` | subscriptions, time, ends |
//! | `calls` | what each call does |
//! | `offers` | what is free, offered, refused |
//! | `task` | the life of one task, its stream of updates |

mod calls;
mod offers;
mod task;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use self::offers::{Offers, Refusals};
pub(crate) use self::task::Stop;
use self::task::{RESEND, Task, Update};
use super::exit::Exit;
use super::work::Work;
use crate::mesos::events::TaskState;
use crate::mesos::messages::resource::AllocationInfo;
use crate::mesos::messages::scheduler::{Event, event, event::Type};
use crate::mesos::messages::task_status::{Reason, Source};
use crate::mesos::messages::{AgentId, ExecutorId, FrameworkId, Offer, OfferId, TaskId, TaskStatus};
use crate::mesos::resources::Quantities;

/// How often a subscriber hears something at least. Source: Mesos, `DEFAULT_HEARTBEAT_INTERVAL`.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long an agent without blocks and clients waits for a client.
const IDLE: Duration = Duration::from_mins(1);

/// Between SIGTERM and SIGKILL when blocks end because their client is gone.
const LAST_GRACE: Duration = Duration::from_secs(2);

/// A connection, by the number it was given when it was made.
pub(crate) type Peer = u64;

/// The time something happens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Since the agent started: what is measured.
    pub(crate) elapsed: Duration,
    /// Seconds since 1970: what is shown.
    pub(crate) wall: f64,
}

/// What the shell is to do, in order.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Send this event.
    Send(Peer, Box<Event>),
    /// Close this connection, when all is sent.
    Close(Peer),
    /// Start this process, and report with [`Agent::started`].
    Launch(Box<Launch>),
    /// Signal this launch's process group.
    Signal(u64, Force),
    /// Note, where it survives us, that this launch was told to end.
    Mark(u64, Stop),
    /// Look on the disk what became of this launch, and report with [`Agent::recalled`].
    Recall(Rc<str>, String),
    /// End everything that is left, and the agent.
    Finish,
}

/// A process to be started.
#[derive(Debug, PartialEq)]
pub(crate) struct Launch {
    /// Names the launch between core and shell.
    pub(crate) key: u64,
    pub(crate) framework: Rc<str>,
    pub(crate) id: Rc<str>,
    pub(crate) work: Work,
}

/// How hard a block is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    /// SIGTERM.
    Ask,
    /// SIGKILL.
    End,
}

/// What became of a launch.
#[derive(Debug, PartialEq)]
pub(crate) enum Started {
    /// It is being made ready, and another report follows.
    Starting,
    /// It runs.
    Running,
    /// There was such a launch before; nothing was started.
    Repeat(Past),
    /// It could not be started, or did not end as a block does: why, in a word and in words.
    Failed(Reason, String),
}

/// What the disk knows of a launch that the memory does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Past {
    /// It was never here.
    Never,
    /// It was claimed, and its process never started.
    NotStarted,
    /// It ended, and whether it was told to.
    Ended(Exit, Option<Stop>),
    /// It did not end as a block does, for this reason, and whether it was told to end.
    Failed(String, Option<Stop>),
}

/// What the agent is called.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The agent's id.
    pub(crate) agent: String,
    /// The machine's name.
    pub(crate) hostname: String,
    /// Differs at each start of an agent: what ids are made from.
    pub(crate) incarnation: Uuid,
}

/// The state of the embedded cluster.
#[derive(Debug)]
pub(crate) struct Agent {
    identity: Identity,
    end_with_client: bool,
    offers: Offers,
    frameworks: BTreeMap<Rc<str>, Framework>,
    tasks: BTreeMap<u64, Task>,
    /// How many of them have a process.
    alive: usize,
    /// Each connection, and the framework that is subscribed on it.
    peers: BTreeMap<Peer, Option<Rc<str>>>,
    timers: BinaryHeap<Reverse<(Duration, Timer)>>,
    /// The last number given to a task, an update, an offer or a framework.
    serial: u64,
    /// Since when there is neither client nor block.
    idle_since: Option<Duration>,
    /// The last client is gone and takes its blocks along: when SIGKILL comes.
    ending: Option<Duration>,
}

#[derive(Debug, Default)]
struct Framework {
    able: Able,
    role: String,
    peer: Option<Peer>,
    suppressed: bool,
    refusals: Refusals,
    tasks: HashMap<Rc<str>, u64>,
    /// The number of its last offer: who waited longest is offered first.
    offered: u64,
    /// Torn down: its id is burnt.
    removed: bool,
}

/// What a framework says it understands.
#[derive(Debug, Default)]
struct Able {
    task_killing: bool,
    partition_aware: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Resend(u64),
    Escalate(u64),
    Overrun(u64),
    Heartbeat(Peer),
    /// A refusal is over.
    Refusal,
    Idle,
    Ending,
}

impl Agent {
    pub(crate) fn new(identity: Identity, all: Quantities, end_with_client: bool, now: Now) -> Self {
        let mut agent = Self {
            identity,
            end_with_client,
            offers: Offers::new(all),
            frameworks: BTreeMap::new(),
            tasks: BTreeMap::new(),
            alive: 0,
            peers: BTreeMap::new(),
            timers: BinaryHeap::new(),
            serial: 0,
            idle_since: None,
            ending: None,
        };
        agent.rest(now);
        agent
    }

    /// Takes over a block that an earlier agent of this directory started and that still runs, or that is
    /// still being made ready.
    pub(crate) fn adopt(
        &mut self,
        framework: &str,
        launch: &str,
        held: Quantities,
        stop: Option<Stop>,
        began: bool,
    ) -> u64 {
        let framework: Rc<str> = framework.into();
        self.offers.hold(&held);
        let key = self.next();
        let mut task = Task::new(framework.clone(), launch.into(), held);
        task.stop = stop;
        self.frameworks.entry(framework).or_default().tasks.insert(task.launch.clone(), key);
        if began {
            let state = TaskState::Running;
            task.push(Update { serial: 0, state, reason: None, message: None, wall: 0.0 });
            task.acknowledge(0);
        }
        self.tasks.insert(key, task);
        self.alive += 1;
        self.idle_since = None;
        key
    }

    /// A client is there.
    pub(crate) fn connected(&mut self, peer: Peer) {
        self.peers.insert(peer, None);
        self.idle_since = None;
    }

    /// A client is gone.
    pub(crate) fn closed(&mut self, peer: Peer, now: Now, out: &mut Vec<Action>) {
        if let Some(Some(framework)) = self.peers.remove(&peer) {
            self.unsubscribe(&framework, peer);
        }
        if self.peers.is_empty() && self.end_with_client && self.ending.is_none() {
            let at = now.elapsed + LAST_GRACE;
            self.ending = Some(at);
            self.timers.push(Reverse((at, Timer::Ending)));
            let alive: Vec<u64> =
                self.tasks.iter().filter(|(_, task)| task.alive).map(|(key, _)| *key).collect();
            for key in alive {
                self.stop(key, Stop::Killed, Some(LAST_GRACE), now, out);
            }
            self.end_if_empty(out);
        }
        self.rest(now);
    }

    /// The report on an [`Action::Launch`].
    pub(crate) fn started(&mut self, key: u64, started: Started, now: Now, out: &mut Vec<Action>) {
        match started {
            Started::Starting => {}
            // Who was told that it is being killed need not hear that it runs.
            Started::Running if self.tasks.get(&key).is_none_or(|task| task.stop.is_some()) => {}
            Started::Running => {
                self.update(key, TaskState::Running, None, None, now, out);
                if let Some(limit) = self.tasks.get(&key).and_then(|task| task.limit) {
                    self.timers.push(Reverse((now.elapsed.saturating_add(limit), Timer::Overrun(key))));
                }
            }
            Started::Failed(reason, message) => {
                self.dead(key, now);
                let (state, reason) = match self.tasks.get(&key).and_then(|task| task.stop) {
                    Some(Stop::Killed) => (TaskState::Killed, None),
                    Some(Stop::Overrun) => (TaskState::Failed, Some(Reason::MaxCompletionTimeReached)),
                    None => (TaskState::Failed, Some(reason)),
                };
                self.update(key, state, reason, Some(message), now, out);
                self.end_if_empty(out);
            }
            Started::Repeat(past) => {
                self.dead(key, now);
                let Some(task) = self.tasks.remove(&key) else { return };
                if let Some(framework) = self.frameworks.get_mut(&task.framework) {
                    framework.tasks.remove(&task.launch);
                }
                self.recalled(&task.framework, &task.launch, past, now, out);
            }
        }
    }

    /// A block's process has ended.
    pub(crate) fn ended(&mut self, key: u64, exit: Exit, now: Now, out: &mut Vec<Action>) {
        self.dead(key, now);
        if let Some(task) = self.tasks.get(&key) {
            let (state, reason, message) = task.verdict(exit);
            self.update(key, state, reason, Some(message), now, out);
        }
        self.end_if_empty(out);
    }

    /// The report on an [`Action::Recall`]: the answer to a scheduler that asked.
    pub(crate) fn recalled(
        &mut self,
        framework: &str,
        launch: &str,
        past: Past,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let aware = self.frameworks.get(framework).is_some_and(|framework| framework.able.partition_aware);
        let (state, message) = match past {
            Past::Never if aware => {
                (TaskState::Gone, "reconciliation: the agent never had this task".to_owned())
            }
            Past::NotStarted if aware => {
                (TaskState::Dropped, "reconciliation: the task was never started".to_owned())
            }
            Past::Never | Past::NotStarted => {
                (TaskState::Lost, "reconciliation: the task is unknown".to_owned())
            }
            Past::Failed(message, Some(Stop::Killed)) => (TaskState::Killed, message),
            Past::Failed(message, _) => (TaskState::Failed, message),
            Past::Ended(exit, stop) => {
                let mut task = Task::new("".into(), "".into(), Quantities::default());
                task.stop = stop;
                let (state, _, message) = task.verdict(exit);
                (state, message)
            }
        };
        self.bare(framework, launch, state, Reason::Reconciliation, message, now, out);
    }

    /// Whether the last client is gone and takes its blocks along.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// A client may be on its way: the wait for one begins anew.
    pub(crate) fn wait_for_clients(&mut self, now: Now) {
        self.idle_since = None;
        self.rest(now);
    }

    /// When [`Self::tick`] has something to do next.
    pub(crate) fn next_tick(&mut self) -> Option<Duration> {
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if self.is_due(at, timer) {
                return Some(at);
            }
            self.timers.pop();
        }
        None
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Now, out: &mut Vec<Action>) {
        while let Some(at) = self.next_tick().filter(|at| *at <= now.elapsed) {
            let Some(Reverse((_, timer))) = self.timers.pop() else { return };
            match timer {
                Timer::Resend(key) => self.send_front(key, now, out),
                Timer::Escalate(key) => out.push(Action::Signal(key, Force::End)),
                Timer::Overrun(key) => self.stop(key, Stop::Overrun, Some(Duration::ZERO), now, out),
                Timer::Heartbeat(peer) => {
                    send(peer, Type::Heartbeat, Event::default(), out);
                    self.timers.push(Reverse((at.max(now.elapsed) + HEARTBEAT, timer)));
                }
                Timer::Refusal => {}
                Timer::Idle => out.push(Action::Finish),
                Timer::Ending => {
                    let alive = self.tasks.iter().filter(|(_, task)| task.alive);
                    out.extend(alive.map(|(key, _)| Action::Signal(*key, Force::End)));
                }
            }
        }
    }

    /// Offers what has become free; called when all that is known has been told.
    pub(crate) fn settle(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.ending.is_some() || !self.offers.is_worth_it() {
            return;
        }
        let free = self.offers.free();
        let wants = |framework: &mut Framework| {
            framework.peer.is_some() && !framework.suppressed && !framework.refusals.cover(free, now.elapsed)
        };
        let next = self
            .frameworks
            .iter_mut()
            .filter_map(|(name, framework)| wants(framework).then_some((framework.offered, name)))
            .min();
        let Some(name) = next.map(|(_, name)| name.clone()) else { return };
        let serial = self.next();
        let Some(framework) = self.frameworks.get_mut(&name) else { return };
        framework.offered = serial;
        let Some(peer) = framework.peer else { return };
        let id = format!("{}-O{serial}", self.identity.incarnation);
        let amounts = self.offers.offer(id.clone(), name.clone());
        let offer = Offer {
            id: OfferId { value: id },
            framework_id: FrameworkId { value: name.to_string() },
            agent_id: AgentId { value: self.identity.agent.clone() },
            hostname: self.identity.hostname.clone(),
            resources: amounts.to_resources(Some(&framework.role)),
            allocation_info: Some(AllocationInfo { role: Some(framework.role.clone()) }),
            ..Offer::default()
        };
        let offers = Some(event::Offers { offers: vec![offer] });
        send(peer, Type::Offers, Event { offers, ..Event::default() }, out);
    }

    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Whether a timer still means something: most are overtaken by what happened since.
    fn is_due(&self, at: Duration, timer: Timer) -> bool {
        let task = |key: &u64| self.tasks.get(key);
        match &timer {
            Timer::Resend(key) => task(key).is_some_and(|task| task.resend_at == Some(at)),
            Timer::Escalate(key) => task(key).is_some_and(|task| task.alive && task.kill_at == Some(at)),
            Timer::Overrun(key) => task(key).is_some_and(|task| task.alive && task.stop.is_none()),
            Timer::Heartbeat(peer) => self.peers.get(peer).is_some_and(Option::is_some),
            Timer::Refusal => self.offers.is_worth_it(),
            Timer::Idle => self.idle_since.is_some_and(|since| since + IDLE <= at),
            Timer::Ending => self.ending == Some(at),
        }
    }

    /// Notes that there is nothing to do, from now on or still.
    fn rest(&mut self, now: Now) {
        if self.alive == 0 && self.peers.is_empty() && self.idle_since.is_none() {
            self.idle_since = Some(now.elapsed);
            self.timers.push(Reverse((now.elapsed + IDLE, Timer::Idle)));
        }
    }

    fn end_if_empty(&self, out: &mut Vec<Action>) {
        if self.ending.is_some() && self.alive == 0 {
            out.push(Action::Finish);
        }
    }

    /// A process is no more: what it held is free.
    fn dead(&mut self, key: u64, now: Now) {
        let Some(task) = self.tasks.get_mut(&key).filter(|task| task.alive) else { return };
        task.alive = false;
        let held = std::mem::take(&mut task.held);
        self.offers.give_back(&held);
        self.alive -= 1;
        self.rest(now);
    }

    /// Tells a block to end; a later, shorter grace shortens an earlier one.
    fn stop(&mut self, key: u64, why: Stop, grace: Option<Duration>, now: Now, out: &mut Vec<Action>) {
        let Some(task) = self.tasks.get_mut(&key).filter(|task| task.alive) else { return };
        let grace = grace.unwrap_or(task.grace);
        let at = now.elapsed.saturating_add(grace);
        let first = task.kill_at.is_none();
        task.stop.get_or_insert(why);
        if first {
            out.push(Action::Mark(key, why));
        }
        if task.kill_at.is_none_or(|planned| at < planned) {
            task.kill_at = Some(at);
            if grace.is_zero() {
                out.push(Action::Signal(key, Force::End));
            } else {
                self.timers.push(Reverse((at, Timer::Escalate(key))));
            }
        }
        if !first {
            return;
        }
        if !grace.is_zero() {
            out.push(Action::Signal(key, Force::Ask));
        }
        let task_killing =
            self.frameworks.get(&task.framework).is_some_and(|framework| framework.able.task_killing);
        if why == Stop::Killed && task_killing {
            self.update(key, TaskState::Killing, None, None, now, out);
        }
    }

    /// Adds to a task's stream of updates.
    fn update(
        &mut self,
        key: u64,
        state: TaskState,
        reason: Option<Reason>,
        message: Option<String>,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let serial = self.next();
        let Some(task) = self.tasks.get_mut(&key) else { return };
        if !task.silent && task.push(Update { serial, state, reason, message, wall: now.wall }) {
            self.send_front(key, now, out);
        }
        self.forget_if_over(key);
    }

    fn forget_if_over(&mut self, key: u64) {
        if self.tasks.get(&key).is_some_and(Task::is_over)
            && let Some(task) = self.tasks.remove(&key)
            && let Some(framework) = self.frameworks.get_mut(&task.framework)
        {
            framework.tasks.remove(&task.launch);
        }
    }

    /// Sends the update under way, if somebody listens, and again later if nobody acknowledges.
    fn send_front(&mut self, key: u64, now: Now, out: &mut Vec<Action>) {
        let Some(task) = self.tasks.get_mut(&key) else { return };
        task.resend_at = None;
        let Some(peer) = self.frameworks.get(&task.framework).and_then(|framework| framework.peer) else {
            return;
        };
        let Some(update) = task.front() else { return };
        let status = TaskStatus {
            executor_id: Some(ExecutorId { value: task.launch.to_string() }),
            uuid: Some(uuid(&self.identity, update.serial)),
            source: Some(Source::Executor as i32),
            ..status(&self.identity, &task.launch, update)
        };
        send_update(peer, status, out);
        let at = now.elapsed + RESEND;
        task.resend_at = Some(at);
        self.timers.push(Reverse((at, Timer::Resend(key))));
    }

    /// Sends a status that is part of no stream: no uuid, no acknowledgement, from the master.
    #[expect(clippy::too_many_arguments, reason = "a status has that many fields")]
    fn bare(
        &self,
        framework: &str,
        launch: &str,
        state: TaskState,
        reason: Reason,
        message: String,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let Some(peer) = self.frameworks.get(framework).and_then(|framework| framework.peer) else { return };
        let (reason, message) = (Some(reason), Some(message));
        let update = Update { serial: 0, state, reason, message, wall: now.wall };
        send_update(peer, status(&self.identity, launch, &update), out);
    }

    /// Ends what a subscription owned.
    fn unsubscribe(&mut self, name: &Rc<str>, peer: Peer) {
        let Some(framework) = self.frameworks.get_mut(name).filter(|framework| framework.peer == Some(peer))
        else {
            return;
        };
        framework.peer = None;
        framework.refusals.lift();
        for key in framework.tasks.values() {
            if let Some(task) = self.tasks.get_mut(key) {
                task.resend_at = None;
            }
        }
        self.offers.drop_of(name);
    }
}

fn status(identity: &Identity, launch: &str, update: &Update) -> TaskStatus {
    TaskStatus {
        task_id: TaskId { value: launch.to_owned() },
        state: update.state.to_wire(),
        message: update.message.clone(),
        source: Some(Source::Master as i32),
        reason: update.reason.map(|reason| reason as i32),
        agent_id: Some(AgentId { value: identity.agent.clone() }),
        timestamp: Some(update.wall),
        ..TaskStatus::default()
    }
}

/// Names an update: half the agent's incarnation, half the update's number.
fn uuid(identity: &Identity, serial: u64) -> Bytes {
    let (_, random) = identity.incarnation.as_u64_pair();
    Bytes::copy_from_slice(Uuid::from_u64_pair(random, serial).as_bytes())
}

/// The number that [`uuid`] has in it, if it is one of this agent's.
fn serial_of(identity: &Identity, uuid: &[u8]) -> Option<u64> {
    let (random, serial) = Uuid::from_slice(uuid).ok()?.as_u64_pair();
    (random == identity.incarnation.as_u64_pair().1).then_some(serial)
}

fn send_update(peer: Peer, status: TaskStatus, out: &mut Vec<Action>) {
    let update = Some(event::Update { status });
    send(peer, Type::Update, Event { update, ..Event::default() }, out);
}

fn send(peer: Peer, kind: Type, event: Event, out: &mut Vec<Action>) {
    out.push(Action::Send(peer, Box::new(Event { r#type: Some(kind as i32), ..event })));
}

#[cfg(test)]
mod tests;

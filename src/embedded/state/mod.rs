//! The embedded cluster as a state machine: calls, ends and time in, actions out.
//!
//! No sockets, no processes, no files, no clock. It behaves towards a scheduler as a Mesos master with one
//! agent does; where they differ, the embedded cluster is simpler: it does not kill what a disconnected
//! framework left behind (`failover_timeout`), since outliving the server is what it is for.
//!
//! | file | |
//! |---|---|
//! | `mod` | what goes in and out; clients and offers |
//! | `timers` | what is due |
//! | `launches` | what the shell reports of launches, and how they are told to end |
//! | `updates` | what a scheduler is told of them |
//! | `calls` | what each call does |
//! | `offers` | what is free, offered, refused |
//! | `task` | the life of one task, its stream of updates |

mod calls;
mod launches;
mod offers;
mod task;
mod timers;
mod updates;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use uuid::Uuid;

use self::offers::{ActiveFilters, Offers};
pub(crate) use self::task::StopReason;
use self::task::Task;
use self::timers::Timer;
use self::updates::send;
use super::exit::Exit;
use super::launch_spec::LaunchSpec;
use super::limits::OutputLimit;
use borges_mesos::messages::resource::AllocationInfo;
use borges_mesos::messages::scheduler::{Event, event, event::Type};
use borges_mesos::messages::task_status::Reason;
use borges_mesos::messages::{AgentId, FrameworkId, Offer, OfferId};
use borges_mesos::resources::Quantities;

/// How often a subscriber hears something at least. Source: Mesos, `DEFAULT_HEARTBEAT_INTERVAL`.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Between SIGTERM and SIGKILL when blocks end because their client is gone.
const LAST_GRACE: Duration = Duration::from_secs(2);

/// A connection, by the number it was given when it was made.
pub(crate) type ClientId = u64;

/// The time something happens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timestamps {
    /// Since the agent started: what is measured.
    pub(crate) elapsed: Duration,
    /// Seconds since 1970: what is shown.
    pub(crate) wall: f64,
}

/// What the shell is to do, in order.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Send this event.
    Send(ClientId, Box<Event>),
    /// Close this connection, when all is sent.
    Close(ClientId),
    /// Start this process, and report with [`Agent::started`].
    Launch(Box<Launch>),
    /// Signal this launch's process group.
    Signal(u64, KillStage),
    /// Note, where it survives us, that this launch was told to end.
    RecordStop(u64, StopReason),
    /// Look on the disk what became of this launch, and report with [`Agent::recalled`].
    LookUpLaunch(Rc<str>, String),
    /// End everything that is left, and the agent.
    Shutdown,
}

/// A process to be started.
#[derive(Debug, PartialEq)]
pub(crate) struct Launch {
    /// Names the launch between core and shell.
    pub(crate) key: u64,
    pub(crate) framework: Rc<str>,
    pub(crate) id: Rc<str>,
    pub(crate) work: LaunchSpec,
}

/// How hard a block is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KillStage {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// What became of a launch.
#[derive(Debug, PartialEq)]
pub(crate) enum StartReport {
    /// It is being made ready, and another report follows.
    Starting,
    /// It runs.
    Running,
    /// There was such a launch before; nothing was started.
    AlreadyLaunched(LaunchHistory),
    /// It could not be started, or did not end as a block does: why, in a word and in words.
    Failed(Reason, String),
}

/// What the disk knows of a launch that the memory does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LaunchHistory {
    /// It was never here.
    Never,
    /// It was claimed, and its process never started.
    NotStarted,
    /// It ended, and whether it was told to.
    Ended(Exit, Option<StopReason>),
    /// It did not end as a block does, for this reason, and whether it was told to end.
    Failed(String, Option<StopReason>),
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
    peers: BTreeMap<ClientId, Option<Rc<str>>>,
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
    able: Capabilities,
    role: String,
    /// What is kept of the output of its tasks.
    output: OutputLimit,
    peer: Option<ClientId>,
    suppressed: bool,
    refusals: ActiveFilters,
    tasks: HashMap<Rc<str>, u64>,
    /// The number of its last offer: who waited longest is offered first.
    offered: u64,
    /// Torn down: its id is burnt.
    removed: bool,
}

/// What a framework says it understands.
#[derive(Debug, Default)]
struct Capabilities {
    task_killing: bool,
    partition_aware: bool,
}

impl Agent {
    pub(crate) fn new(identity: Identity, all: Quantities, end_with_client: bool, now: Timestamps) -> Self {
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
        agent.arm_idle_timer(now);
        agent
    }

    /// A client is there.
    pub(crate) fn connected(&mut self, peer: ClientId) {
        self.peers.insert(peer, None);
        self.idle_since = None;
    }

    /// A client is gone.
    pub(crate) fn closed(&mut self, peer: ClientId, now: Timestamps, out: &mut Vec<Action>) {
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
                self.stop(key, StopReason::Killed, Some(LAST_GRACE), now, out);
            }
            self.end_if_empty(out);
        }
        self.arm_idle_timer(now);
    }

    /// Whether the last client is gone and takes its blocks along.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Offers what has become free; called when all that is known has been told.
    pub(crate) fn send_offers(&mut self, now: Timestamps, out: &mut Vec<Action>) {
        if self.ending.is_some() || !self.offers.is_offerable() {
            return;
        }
        let free = self.offers.free();
        let wants = |framework: &mut Framework| {
            framework.peer.is_some() && !framework.suppressed && !framework.refusals.covers(free, now.elapsed)
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

    /// Ends what a subscription owned.
    fn unsubscribe(&mut self, name: &Rc<str>, peer: ClientId) {
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
        self.offers.drop_offers_of(name);
    }
}

#[cfg(test)]
mod tests;

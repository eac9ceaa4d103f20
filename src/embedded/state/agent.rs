//! [`Agent`], the state of the embedded cluster: its clients, frameworks and tasks, and its offers to frameworks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use uuid::Uuid;

use super::action::{Action, send};
use super::offers::{ActiveFilters, Offers};
use super::task::Task;
use crate::launch_spec::OutputLimit;
use crate::model::{ClientId, StopReason, Timestamps};
use borges_mesos::messages::resource::AllocationInfo;
use borges_mesos::messages::scheduler::{Event, event, event::Type};
use borges_mesos::messages::{AgentId, FrameworkId, Offer, OfferId};
use borges_mesos::resources::Quantities;

/// The interval of heartbeats to a subscriber. Source: Mesos, `DEFAULT_HEARTBEAT_INTERVAL`.
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// Time between SIGTERM and SIGKILL for the blocks of an agent that ends with its client.
const CLIENT_EXIT_GRACE: Duration = Duration::from_secs(2);

/// Something that is due at a time. Most timers are obsolete when their time comes, see `Agent::is_due`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Resend the first unacknowledged update of this task.
    Resend(u64),
    /// Send SIGKILL to this task, which SIGTERM has not ended.
    Escalate(u64),
    /// Stop this task: its `max_completion_time` is over.
    Timeout(u64),
    /// Send a heartbeat to this client.
    Heartbeat(ClientId),
    /// A filter has expired: its resources may be offered again.
    FilterExpired,
    /// Shut down: there has been neither a client nor a block for a time.
    Idle,
    /// Kill all blocks: the last client of an agent that ends with its client has disconnected.
    KillAll,
}

/// The names of the agent.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The agent's id.
    pub(crate) agent: String,
    /// The machine's name.
    pub(crate) hostname: String,
    /// Random, new at each start of an agent: the prefix of ids.
    pub(crate) incarnation: Uuid,
}

/// The state of the embedded cluster.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(super) identity: Identity,
    pub(super) end_with_client: bool,
    pub(super) offers: Offers,
    pub(super) frameworks: BTreeMap<Rc<str>, Framework>,
    pub(super) tasks: BTreeMap<u64, Task>,
    /// Number of tasks whose process may still run.
    pub(super) live_tasks: usize,
    /// The framework that each client has subscribed, if any.
    pub(super) clients: BTreeMap<ClientId, Option<Rc<str>>>,
    pub(super) timers: BinaryHeap<Reverse<(Duration, Timer)>>,
    /// The last serial number of a task, an update, an offer or a framework.
    pub(super) serial: u64,
    /// Since when there is neither a client nor a block.
    pub(super) idle_since: Option<Duration>,
    /// When all blocks are killed, after the last client of an agent that ends with its client has disconnected.
    pub(super) kill_all_at: Option<Duration>,
}

/// A framework that has subscribed, or has tasks of an earlier agent.
#[derive(Debug, Default)]
pub(super) struct Framework {
    pub(super) capabilities: Capabilities,
    pub(super) role: String,
    /// The output limit of its tasks.
    pub(super) output: OutputLimit,
    pub(super) client: Option<ClientId>,
    pub(super) suppressed: bool,
    pub(super) filters: ActiveFilters,
    pub(super) tasks: HashMap<Rc<str>, u64>,
    /// The serial number of its last offer: the framework with the smallest one gets the next offer.
    pub(super) last_offer: u64,
    /// Whether it is torn down: it cannot subscribe again.
    pub(super) removed: bool,
}

/// Capabilities of a framework that change the agent's answers.
#[derive(Debug, Default)]
pub(super) struct Capabilities {
    pub(super) task_killing: bool,
    pub(super) partition_aware: bool,
}

impl Agent {
    /// An agent that offers `total`.
    pub(crate) fn new(identity: Identity, total: Quantities, end_with_client: bool, now: Timestamps) -> Self {
        let mut agent = Self {
            identity,
            end_with_client,
            offers: Offers::new(total),
            frameworks: BTreeMap::new(),
            tasks: BTreeMap::new(),
            live_tasks: 0,
            clients: BTreeMap::new(),
            timers: BinaryHeap::new(),
            serial: 0,
            idle_since: None,
            kill_all_at: None,
        };
        agent.arm_idle_timer(now);
        agent
    }

    /// A client has connected.
    pub(crate) fn connected(&mut self, client: ClientId) {
        self.clients.insert(client, None);
        self.idle_since = None;
    }

    /// A client has disconnected.
    pub(crate) fn closed(&mut self, client: ClientId, now: Timestamps, actions: &mut Vec<Action>) {
        if let Some(Some(framework)) = self.clients.remove(&client) {
            self.unsubscribe(&framework, client);
        }
        if self.clients.is_empty() && self.end_with_client && self.kill_all_at.is_none() {
            let at = now.elapsed + CLIENT_EXIT_GRACE;
            self.kill_all_at = Some(at);
            self.timers.push(Reverse((at, Timer::KillAll)));
            let live: Vec<u64> =
                self.tasks.iter().filter(|(_, task)| task.alive).map(|(key, _)| *key).collect();
            for key in live {
                self.stop(key, StopReason::Killed, Some(CLIENT_EXIT_GRACE), now, actions);
            }
            self.shut_down_if_drained(actions);
        }
        self.arm_idle_timer(now);
    }

    /// Whether all blocks are being stopped, because the last client has disconnected.
    pub(crate) fn is_ending(&self) -> bool {
        self.kill_all_at.is_some()
    }

    /// Offers all free resources to one framework; called after all updates are sent.
    pub(crate) fn send_offers(&mut self, now: Timestamps, actions: &mut Vec<Action>) {
        if self.kill_all_at.is_some() || !self.offers.is_offerable() {
            return;
        }
        let free = self.offers.free();
        let wants_offers = |framework: &mut Framework| {
            framework.client.is_some()
                && !framework.suppressed
                && !framework.filters.covers(free, now.elapsed)
        };
        let next = self
            .frameworks
            .iter_mut()
            .filter_map(|(name, framework)| wants_offers(framework).then_some((framework.last_offer, name)))
            .min();
        let Some(name) = next.map(|(_, name)| name.clone()) else { return };
        let serial = self.next_serial();
        let Some(framework) = self.frameworks.get_mut(&name) else { return };
        framework.last_offer = serial;
        let Some(client) = framework.client else { return };
        let id = format!("{}-O{serial}", self.identity.incarnation);
        let resources = self.offers.offer(id.clone(), name.clone());
        let offer = Offer {
            id: OfferId { value: id },
            framework_id: FrameworkId { value: name.to_string() },
            agent_id: AgentId { value: self.identity.agent.clone() },
            hostname: self.identity.hostname.clone(),
            resources: resources.to_resources(Some(&framework.role)),
            allocation_info: Some(AllocationInfo { role: Some(framework.role.clone()) }),
            ..Offer::default()
        };
        let offers = Some(event::Offers { offers: vec![offer] });
        send(client, Type::Offers, Event { offers, ..Event::default() }, actions);
    }

    /// The next serial number.
    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Ends a framework's subscription: its offers, filters and resends.
    pub(super) fn unsubscribe(&mut self, name: &Rc<str>, client: ClientId) {
        let Some(framework) =
            self.frameworks.get_mut(name).filter(|framework| framework.client == Some(client))
        else {
            return;
        };
        framework.client = None;
        framework.filters.clear();
        for key in framework.tasks.values() {
            if let Some(task) = self.tasks.get_mut(key) {
                task.resend_at = None;
            }
        }
        self.offers.drop_offers_of(name);
    }
}

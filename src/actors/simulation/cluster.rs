//! Agents and a master that behave as Mesos may: calls are lost, updates repeated, agents unreachable for a while
//! or gone for good, masters replaced. What they say is never untrue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use super::ledger::{End, Ledger};
use crate::mesos::events::TaskState;
use crate::mesos::messages::scheduler::call::Type;
use crate::mesos::messages::task_status::Reason;
use crate::mesos::messages::{
    AgentId, Attribute, Filters, FrameworkId, Offer, OfferId, TaskId, TaskInfo, TaskStatus, value,
};
use crate::mesos::resources::Quantities;
use crate::mesos::{Call, Event, StatusUpdate};

/// The framework's id, whatever happens.
pub(super) const FRAMEWORK: &str = "f";

/// Agents, a master, and what is under way between them and the scheduler.
pub(super) struct Cluster {
    rng: fastrand::Rng,
    pub(super) now: Duration,
    due: BTreeMap<(Duration, u64), Due>,
    last: u64,
    agents: Vec<Agent>,
    /// Whose, of what, and since when.
    offers: BTreeMap<String, (usize, Quantities, Duration)>,
    launches: BTreeMap<String, Launch>,
    /// Launches the master knows of: it forgets them when another takes over, until their agents tell it.
    known: BTreeSet<String>,
    master_up: bool,
    suppressed: bool,
    /// The subscription, and its number.
    stream: Option<UnboundedSender<Event>>,
    streams: u64,
    /// Things go wrong.
    pub(super) storm: bool,
    pub(super) ledger: Ledger,
}

struct Agent {
    id: String,
    total: Quantities,
    reach: Reach,
    /// The master has heard of it since it took over.
    registered: bool,
    /// Until when nothing of it is offered: so the scheduler wished.
    refused: Duration,
}

/// Whether an agent can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Yes,
    /// It runs on, unreached; the master has, or has not, said so.
    No {
        told: bool,
    },
    /// It is no more, and the operator has, or has not, said so.
    Gone {
        told: bool,
    },
}

struct Launch {
    agent: usize,
    held: Quantities,
    state: TaskState,
    end: End,
    /// Updates that were not acknowledged; the first is said until it is.
    unacknowledged: VecDeque<(TaskState, u64)>,
}

enum Due {
    Call(Box<Call>, u64),
    Event(Event, u64),
    /// Offers are made, each second.
    Trade,
    Start(String),
    End(String),
    Killed(String),
    /// The first unacknowledged update is said again.
    Resend(String, u64),
    Weather,
    Unreachable(usize),
    Return(usize),
    GoneByOperator(usize),
    MasterUp,
    Registers(usize),
}

fn seconds(rng: &mut fastrand::Rng, range: std::ops::Range<f64>) -> Duration {
    Duration::from_secs_f64(range.start + rng.f64() * (range.end - range.start))
}

impl Cluster {
    pub(super) fn new(mut rng: fastrand::Rng, ledger: Ledger, storm: bool) -> Self {
        let agents = (0..rng.usize(1..4))
            .map(|_| Agent {
                id: String::new(),
                total: Quantities {
                    milli_cpus: 1000 * rng.u64(1..5),
                    mem_mib: 128 * rng.u64(2..9),
                    ports: vec![(8000, 8000 + rng.u64(0..3))],
                    ..Quantities::default()
                },
                reach: Reach::Yes,
                registered: true,
                refused: Duration::ZERO,
            })
            .enumerate()
            .map(|(number, agent)| Agent { id: format!("a{number}"), ..agent })
            .collect();
        let mut cluster = Self {
            rng,
            now: Duration::ZERO,
            due: BTreeMap::new(),
            last: 0,
            agents,
            offers: BTreeMap::new(),
            launches: BTreeMap::new(),
            known: BTreeSet::new(),
            master_up: true,
            suppressed: false,
            stream: None,
            streams: 0,
            storm,
            ledger,
        };
        cluster.after(Duration::ZERO, Due::Trade);
        cluster.after(Duration::from_secs(5), Due::Weather);
        cluster
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn after(&mut self, pause: Duration, due: Due) {
        let number = self.number();
        self.due.insert((self.now + pause, number), due);
    }

    fn tell(&mut self, words: impl FnOnce() -> String) {
        let now = self.now;
        self.ledger.tell(now, words);
    }

    fn chance(&mut self, chance: f64) -> bool {
        self.storm && self.rng.f64() < chance
    }

    /// When something happens next.
    pub(super) fn next(&self) -> Duration {
        self.due.first_key_value().map_or(Duration::MAX, |((at, _), _)| *at)
    }

    /// Lets all happen that is due by `now`.
    pub(super) fn advance(&mut self, now: Duration) {
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= now
        {
            let ((at, _), due) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(due);
        }
        self.now = now;
    }

    /// A new subscription; `None` when there is no master now.
    pub(super) fn subscribe(&mut self, stream: UnboundedSender<Event>) -> bool {
        if !self.master_up {
            return false;
        }
        self.streams += 1;
        self.stream = Some(stream);
        self.offers.clear();
        self.suppressed = false;
        self.forget_refusals();
        let event = Event::Subscribed {
            framework: FRAMEWORK.to_owned(),
            master: None,
            heartbeat: Duration::from_secs(15),
        };
        self.say(event);
        true
    }

    /// Nobody listens any more.
    pub(super) fn hang_up(&mut self) {
        self.stream = None;
        self.offers.clear();
    }

    /// A call is on its way; it may be lost.
    pub(super) fn call(&mut self, call: Call) {
        let latency = seconds(&mut self.rng, 0.001..0.2);
        if self.chance(0.02) {
            self.tell(|| "  (that is lost)".to_owned());
            return;
        }
        let stream = self.streams;
        self.after(latency, Due::Call(Box::new(call), stream));
    }

    /// An event is on its way; updates may overtake one another and come twice.
    fn say(&mut self, event: Event) {
        let stream = self.streams;
        let is_update = matches!(event, Event::Update(_));
        if is_update && self.chance(0.05) {
            let late = seconds(&mut self.rng, 0.1..5.0);
            self.after(late, Due::Event(event.clone(), stream));
        }
        let pause = if is_update && self.chance(0.3) {
            seconds(&mut self.rng, 0.0..0.5)
        } else {
            Duration::from_millis(1)
        };
        self.after(pause, Due::Event(event, stream));
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Call(call, stream) if stream == self.streams && self.master_up => self.take(*call),
            Due::Call(..) => {}
            Due::Event(event, stream) if stream == self.streams => {
                if let Some(listener) = &self.stream {
                    let words = match &event {
                        Event::Update(update) => {
                            Some(format!("update {} {}", short(&update.launch), update.state.name()))
                        }
                        Event::Offers(offers) => Some(format!("{} offers", offers.len())),
                        Event::Rescind(offer) => Some(format!("rescind {offer}")),
                        _ => None,
                    };
                    let _gone = listener.send(event);
                    if let Some(words) = words {
                        self.tell(|| words);
                    }
                }
            }
            Due::Event(..) => {}
            Due::Trade => self.trade(),
            Due::Start(launch) => self.start(&launch),
            Due::End(launch) => self.end(&launch),
            Due::Killed(launch) => self.killed(&launch),
            Due::Resend(launch, number) => self.resend(&launch, number),
            Due::Weather => self.weather(),
            Due::Unreachable(agent) => self.unreachable(agent),
            Due::Return(agent) => self.returns(agent),
            Due::GoneByOperator(agent) => self.gone_by_operator(agent),
            Due::MasterUp => {
                self.tell(|| "a master is up".to_owned());
                self.master_up = true;
            }
            Due::Registers(agent) => self.registers(agent),
        }
    }

    fn free(&self, agent: usize) -> Quantities {
        let mut free = self.agents[agent].total.clone();
        for launch in self.launches.values().filter(|l| l.agent == agent && !l.state.is_terminal()) {
            free.subtract(&launch.held);
        }
        for (at, offered, _) in self.offers.values() {
            if *at == agent {
                free.subtract(offered);
            }
        }
        free
    }

    fn trade(&mut self) {
        self.after(Duration::from_secs(1), Due::Trade);
        if !self.master_up || self.stream.is_none() || self.suppressed {
            return;
        }
        let old = self.now.saturating_sub(Duration::from_secs(30));
        let stale: Vec<String> =
            self.offers.iter().filter(|(_, (.., since))| *since < old).map(|(id, _)| id.clone()).collect();
        for offer in stale {
            self.offers.remove(&offer);
            self.say(Event::Rescind(offer));
        }
        let mut offers = Vec::new();
        for agent in 0..self.agents.len() {
            let Agent { reach, registered, refused, .. } = self.agents[agent];
            let ready = reach == Reach::Yes && registered && refused <= self.now;
            let free = self.free(agent);
            if !ready || free.milli_cpus < 100 || free.mem_mib < 32 {
                continue;
            }
            let id = format!("o{}", self.number());
            self.offers.insert(id.clone(), (agent, free.clone(), self.now));
            offers.push(Offer {
                id: OfferId { value: id },
                framework_id: FrameworkId { value: FRAMEWORK.to_owned() },
                agent_id: AgentId { value: self.agents[agent].id.clone() },
                hostname: self.agents[agent].id.clone(),
                attributes: vec![rack(agent)],
                resources: free.to_resources(Some("*")),
                ..Offer::default()
            });
        }
        if !offers.is_empty() {
            self.say(Event::Offers(offers));
        }
    }

    fn take(&mut self, call: Call) {
        match Type::try_from(call.r#type.unwrap_or_default()).unwrap() {
            Type::Accept => {
                let accept = call.accept.unwrap();
                let offered: Vec<_> =
                    accept.offer_ids.iter().map(|offer| self.offers.remove(&offer.value)).collect();
                let mut agents: Vec<usize> = offered.iter().flatten().map(|(agent, ..)| *agent).collect();
                agents.dedup();
                assert!(agents.len() <= 1, "offers of several agents are accepted together");
                if let Some(&agent) = agents.first() {
                    self.refuse(agent, accept.filters.as_ref());
                }
                // One that is gone spoils all.
                let agent = agents.first().copied().filter(|_| offered.iter().all(Option::is_some));
                let tasks = accept.operations.into_iter().flat_map(|o| o.launch.unwrap().task_infos);
                for task in tasks {
                    self.accept(agent, task);
                }
            }
            Type::Decline => {
                let decline = call.decline.unwrap();
                for offer in &decline.offer_ids {
                    if let Some((agent, ..)) = self.offers.remove(&offer.value) {
                        self.refuse(agent, decline.filters.as_ref());
                    }
                }
            }
            Type::Acknowledge => {
                let acknowledged = call.acknowledge.unwrap();
                let number = String::from_utf8(acknowledged.uuid.to_vec()).unwrap().parse::<u64>().unwrap();
                if let Some(launch) = self.launches.get_mut(&acknowledged.task_id.value)
                    && launch.unacknowledged.front().is_some_and(|(_, first)| *first == number)
                {
                    launch.unacknowledged.pop_front();
                    let next = launch.unacknowledged.front().map(|(_, number)| *number);
                    if let Some(next) = next {
                        self.resend(&acknowledged.task_id.value, next);
                    }
                }
            }
            Type::Kill => {
                let kill = call.kill.unwrap();
                self.kill(&kill.task_id.value, kill.agent_id.map(|agent| agent.value));
            }
            Type::Reconcile => {
                let tasks = call.reconcile.unwrap().tasks;
                if tasks.is_empty() {
                    let known: Vec<String> = self.known.iter().cloned().collect();
                    for launch in known {
                        self.tell_latest(&launch, Some(Reason::Reconciliation));
                    }
                }
                for task in tasks {
                    self.reconcile(&task.task_id.value, task.agent_id.map(|agent| agent.value));
                }
            }
            Type::Suppress => self.suppressed = true,
            Type::Revive => {
                self.suppressed = false;
                self.forget_refusals();
            }
            other => panic!("nobody sends {other:?}"),
        }
    }

    /// What is left of an agent is not offered for as long as the filter says: without one, 5 s.
    fn refuse(&mut self, agent: usize, filters: Option<&Filters>) {
        let seconds = filters.and_then(|filters| filters.refuse_seconds).unwrap_or(5.0);
        self.agents[agent].refused = self.now + Duration::from_secs_f64(seconds);
    }

    fn forget_refusals(&mut self) {
        self.agents.iter_mut().for_each(|agent| agent.refused = Duration::ZERO);
    }

    fn accept(&mut self, agent: Option<usize>, task: TaskInfo) {
        let id = task.task_id.value;
        let reachable = agent.filter(|agent| self.agents[*agent].reach == Reach::Yes);
        let Some(agent) = reachable.filter(|_| !self.chance(0.03)) else {
            self.bare(&id, TaskState::Dropped, Some(Reason::InvalidOffers), None);
            return;
        };
        let held = Quantities::of(&task.resources);
        assert!(self.free(agent).contains(&held), "{id} holds more than there is");
        let end = self.ledger.end_of(&id, &mut self.rng);
        let before = self.launches.insert(
            id.clone(),
            Launch { agent, held, state: TaskState::Staging, end, unacknowledged: VecDeque::new() },
        );
        assert!(before.is_none(), "the launch {id} is used twice");
        self.known.insert(id.clone());
        let pause = seconds(&mut self.rng, 0.0..2.0);
        self.after(pause, Due::Start(id));
    }

    fn start(&mut self, id: &str) {
        let Some(launch) = self.launches.get(id).filter(|launch| launch.state == TaskState::Staging) else {
            return;
        };
        let (agent, end) = (launch.agent, launch.end);
        if self.is_gone(agent) {
            return;
        }
        if end == End::Refused {
            self.update(id, TaskState::Error);
            return;
        }
        let now = self.now;
        let neighbours: Vec<String> = self
            .launches
            .iter()
            .filter(|(_, other)| other.agent == agent)
            .filter(|(_, other)| matches!(other.state, TaskState::Running | TaskState::Killing))
            .map(|(id, _)| id.clone())
            .collect();
        self.ledger.started(now, id);
        self.ledger.stands_beside(id, &neighbours);
        self.update(id, TaskState::Running);
        let runs = self.ledger.runs_for(id, &mut self.rng);
        self.after(runs, Due::End(id.to_owned()));
    }

    fn end(&mut self, id: &str) {
        let Some(launch) = self.launches.get(id) else { return };
        let (state, end) = (launch.state, launch.end);
        if self.is_gone(launch.agent) || !matches!(state, TaskState::Running | TaskState::Killing) {
            return;
        }
        let now = self.now;
        self.ledger.ended(now, id, end);
        let state = match end {
            End::Exit(0) => TaskState::Finished,
            End::Exit(_) | End::ClustersDoing => TaskState::Failed,
            End::Refused => TaskState::Error,
            End::Killed | End::Vanished | End::NotStarted => TaskState::Killed,
        };
        self.update(id, state);
    }

    fn killed(&mut self, id: &str) {
        let Some(launch) = self.launches.get(id).filter(|launch| !self.is_gone(launch.agent)) else { return };
        match launch.state {
            TaskState::Killing => {
                let now = self.now;
                self.ledger.ended(now, id, End::Killed);
            }
            TaskState::Staging => {}
            _ => return,
        }
        self.update(id, TaskState::Killed);
    }

    fn kill(&mut self, id: &str, agent: Option<String>) {
        if !self.known.contains(id) {
            self.reconcile(id, agent);
            return;
        }
        let Some(launch) = self.launches.get(id) else { return };
        let (at, state) = (launch.agent, launch.state);
        // With a wrong agent a kill is ignored; to one that is not reached it is lost.
        if agent.is_some_and(|agent| agent != self.agents[at].id)
            || self.agents[at].reach != Reach::Yes
            || self.chance(0.2)
        {
            return;
        }
        if state == TaskState::Running {
            self.update(id, TaskState::Killing);
        }
        if matches!(state, TaskState::Staging | TaskState::Running) {
            let grace = seconds(&mut self.rng, 0.0..3.0);
            self.after(grace, Due::Killed(id.to_owned()));
        }
    }

    /// A launch is in a new state: its agent says so until that is acknowledged.
    fn update(&mut self, id: &str, state: TaskState) {
        let number = self.number();
        let Some(launch) = self.launches.get_mut(id) else { return };
        launch.state = state;
        launch.unacknowledged.push_back((state, number));
        if launch.unacknowledged.len() == 1 {
            self.resend(id, number);
        }
    }

    fn resend(&mut self, id: &str, number: u64) {
        let Some(launch) = self.launches.get(id) else { return };
        let Some(&(state, first)) = launch.unacknowledged.front() else { return };
        let agent = launch.agent;
        if first != number || self.is_gone(agent) {
            return;
        }
        if self.agents[agent].reach == Reach::Yes && self.agents[agent].registered && self.master_up {
            let reason = self.reason_of_end(id, state);
            let agent = Some(self.agents[agent].id.clone());
            self.say_status(id, state, reason, agent, Some(number));
        }
        let again = Duration::from_secs(10);
        self.after(again, Due::Resend(id.to_owned(), number));
    }

    /// What the master itself says: nobody acknowledges it.
    fn bare(&mut self, id: &str, state: TaskState, reason: Option<Reason>, agent: Option<String>) {
        self.say_status(id, state, reason, agent, None);
    }

    fn reason_of_end(&self, id: &str, state: TaskState) -> Option<Reason> {
        (state == TaskState::Failed).then(|| match self.ledger.end(id) {
            Some(End::ClustersDoing) => Reason::AgentRestarted,
            _ => Reason::CommandExecutorFailed,
        })
    }

    fn say_status(
        &mut self,
        id: &str,
        state: TaskState,
        reason: Option<Reason>,
        agent: Option<String>,
        number: Option<u64>,
    ) {
        let status = self.status(id, state, reason, agent, number);
        self.say(Event::Update(Box::new(status)));
    }

    fn status(
        &self,
        id: &str,
        state: TaskState,
        reason: Option<Reason>,
        agent: Option<String>,
        number: Option<u64>,
    ) -> StatusUpdate {
        let message = self.ledger.message(id).filter(|_| state == TaskState::Failed);
        let status = TaskStatus {
            task_id: TaskId { value: id.to_owned() },
            state: state.to_wire(),
            agent_id: agent.map(|value| AgentId { value }),
            reason: reason.map(|reason| reason as i32),
            message,
            uuid: number.map(|number| Bytes::from(number.to_string())),
            ..TaskStatus::default()
        };
        StatusUpdate::try_from(status).unwrap()
    }

    fn tell_latest(&mut self, id: &str, reason: Option<Reason>) {
        let Some(launch) = self.launches.get(id) else { return };
        let agent = launch.agent;
        let state = match self.agents[agent].reach {
            Reach::Yes => launch.state,
            // Until it is told, the master believes what it knew.
            Reach::No { told: false } | Reach::Gone { told: false } => return,
            Reach::No { told: true } => TaskState::Unreachable,
            Reach::Gone { told: true } => TaskState::GoneByOperator,
        };
        let reason = match (state, self.ledger.end(id)) {
            (TaskState::Failed, Some(End::ClustersDoing)) => Some(Reason::AgentRestarted),
            _ => reason,
        };
        let agent = Some(self.agents[agent].id.clone());
        self.bare(id, state, reason, agent);
    }

    /// What a master answers about one launch. Source: Mesos, "Reconciliation".
    fn reconcile(&mut self, id: &str, agent: Option<String>) {
        let reason = Some(Reason::Reconciliation);
        if self.known.contains(id) {
            self.tell_latest(id, reason);
            return;
        }
        let named = agent.and_then(|name| self.agents.iter().position(|agent| agent.id == name));
        let Some(named) = named else {
            self.bare(id, TaskState::Unknown, reason, None);
            return;
        };
        let state = match self.agents[named].reach {
            Reach::Yes if self.agents[named].registered => TaskState::Gone,
            Reach::No { told: true } => TaskState::Unreachable,
            Reach::Gone { told: true } => TaskState::GoneByOperator,
            Reach::Yes | Reach::No { .. } | Reach::Gone { .. } => return,
        };
        let agent = Some(self.agents[named].id.clone());
        self.bare(id, state, reason, agent);
    }

    /// What may go wrong of itself.
    fn weather(&mut self) {
        let next = seconds(&mut self.rng, 1.0..20.0);
        self.after(next, Due::Weather);
        if !self.storm {
            return;
        }
        match self.rng.u32(0..12) {
            0 => {
                let agent = self.rng.usize(0..self.agents.len());
                if self.agents[agent].reach == Reach::Yes {
                    self.tell(|| format!("agent {agent} is not reached"));
                    self.agents[agent].reach = Reach::No { told: false };
                    self.after(Duration::from_secs(75), Due::Unreachable(agent));
                    let back = seconds(&mut self.rng, 1.0..200.0);
                    self.after(back, Due::Return(agent));
                }
            }
            1 => {
                let agent = self.rng.usize(0..self.agents.len());
                if self.agents[agent].reach == Reach::Yes {
                    self.tell(|| format!("agent {agent} is no more"));
                    self.agents[agent].reach = Reach::Gone { told: false };
                    let (now, launches) = (self.now, self.on(agent));
                    for id in launches {
                        if matches!(self.launches[&id].state, TaskState::Running | TaskState::Killing) {
                            self.ledger.ended(now, &id, End::Vanished);
                        }
                    }
                    let noticed = seconds(&mut self.rng, 10.0..200.0);
                    self.after(noticed, Due::GoneByOperator(agent));
                }
            }
            2 => {
                self.tell(|| "the master is replaced".to_owned());
                self.hang_up();
                self.known.clear();
                self.master_up = false;
                let up = seconds(&mut self.rng, 0.1..20.0);
                self.after(up, Due::MasterUp);
                for agent in 0..self.agents.len() {
                    self.agents[agent].registered = false;
                    let registers = up + seconds(&mut self.rng, 0.0..30.0);
                    self.after(registers, Due::Registers(agent));
                }
            }
            3 | 4 => {
                self.tell(|| "the stream breaks".to_owned());
                self.hang_up();
            }
            5..8 => {
                if let Some(offer) = self.offers.keys().next().cloned() {
                    self.offers.remove(&offer);
                    self.say(Event::Rescind(offer));
                }
            }
            _ => {}
        }
    }

    fn is_gone(&self, agent: usize) -> bool {
        matches!(self.agents[agent].reach, Reach::Gone { .. })
    }

    /// The update that is acknowledged by this; `None` when it was before.
    pub(super) fn acknowledged(&self, id: &str, uuid: &[u8]) -> Option<StatusUpdate> {
        let number: u64 = std::str::from_utf8(uuid).ok()?.parse().ok()?;
        let (state, _) = *self.launches.get(id)?.unacknowledged.iter().find(|(_, it)| *it == number)?;
        Some(self.status(id, state, self.reason_of_end(id, state), None, Some(number)))
    }

    /// Whether a launch's sandbox can be read.
    pub(super) fn is_reached(&self, id: &str) -> bool {
        self.launches.get(id).is_some_and(|launch| self.agents[launch.agent].reach == Reach::Yes)
    }

    /// Launches that run, or will.
    pub(super) fn alive(&self) -> Vec<String> {
        let alive = self.launches.iter().filter(|(_, launch)| !launch.state.is_terminal());
        alive.map(|(id, _)| id.clone()).collect()
    }

    fn on(&self, agent: usize) -> Vec<String> {
        let on = self.launches.iter().filter(|(_, launch)| launch.agent == agent);
        on.filter(|(_, launch)| !launch.state.is_terminal()).map(|(id, _)| id.clone()).collect()
    }

    fn unreachable(&mut self, agent: usize) {
        if self.agents[agent].reach != (Reach::No { told: false }) {
            return;
        }
        self.agents[agent].reach = Reach::No { told: true };
        self.take_back_offers(agent);
        let name = self.agents[agent].id.clone();
        for id in self.on(agent) {
            self.bare(&id, TaskState::Unreachable, Some(Reason::AgentRemoved), Some(name.clone()));
        }
    }

    fn take_back_offers(&mut self, agent: usize) {
        let offers: Vec<String> =
            self.offers.iter().filter(|(_, (at, ..))| *at == agent).map(|(id, _)| id.clone()).collect();
        for offer in offers {
            self.offers.remove(&offer);
            self.say(Event::Rescind(offer));
        }
    }

    fn returns(&mut self, agent: usize) {
        if !matches!(self.agents[agent].reach, Reach::No { .. }) {
            return;
        }
        self.tell(|| format!("agent {agent} is back"));
        let told = self.agents[agent].reach == Reach::No { told: true };
        self.agents[agent].reach = Reach::Yes;
        if told || !self.agents[agent].registered {
            self.registers(agent);
        }
    }

    /// The agent tells the master what it has.
    fn registers(&mut self, agent: usize) {
        if self.agents[agent].reach != Reach::Yes {
            return;
        }
        if !self.master_up {
            self.after(Duration::from_secs(1), Due::Registers(agent));
            return;
        }
        self.agents[agent].registered = true;
        for id in self.on(agent) {
            self.known.insert(id.clone());
            self.tell_latest(&id, Some(Reason::AgentReregistered));
        }
        let ended: Vec<String> = self
            .launches
            .iter()
            .filter(|(_, launch)| launch.agent == agent && !launch.unacknowledged.is_empty())
            .map(|(id, _)| id.clone())
            .collect();
        self.known.extend(ended);
    }

    /// The operator's word: whatever ran there does not. Another machine takes its place.
    fn gone_by_operator(&mut self, agent: usize) {
        self.tell(|| format!("agent {agent} is said to be gone"));
        self.agents[agent].reach = Reach::Gone { told: true };
        self.take_back_offers(agent);
        for (id, launch) in &self.launches {
            if launch.agent == agent && !launch.unacknowledged.is_empty() {
                self.ledger.is_uncertain(id);
            }
        }
        let name = self.agents[agent].id.clone();
        for id in self.on(agent) {
            self.bare(&id, TaskState::GoneByOperator, None, Some(name.clone()));
            if let Some(launch) = self.launches.get_mut(&id) {
                launch.state = TaskState::Gone;
            }
        }
        let total = self.agents[agent].total.clone();
        let id = format!("a{}", self.agents.len());
        let refused = Duration::ZERO;
        self.agents.push(Agent { id, total, reach: Reach::Yes, registered: true, refused });
    }
}

/// The one attribute of an agent: every other one has the same.
fn rack(agent: usize) -> Attribute {
    Attribute {
        name: "rack".to_owned(),
        r#type: value::Type::Text as i32,
        text: Some(value::Text { value: format!("r{}", agent % 2) }),
        ..Attribute::default()
    }
}

/// `RUN.N.K` with the last four digits of the run.
pub(super) fn short(launch: &str) -> &str {
    launch.get(32..).unwrap_or(launch)
}

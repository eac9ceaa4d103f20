//! A simulated cluster within the contract of Mesos: calls are lost, updates are repeated, agents become unreachable or are
//! gone, masters are replaced. It never sends a false status.
//!
//! | file | |
//! |---|---|
//! | `master` | the offers, calls and reconciliation of the master |
//! | `launches` | the launches on their agents and their status updates |
//! | `faults` | the injected faults |

mod faults;
mod launches;
mod master;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::oracle::{End, Oracle};
use borges_mesos::events::TaskState;
use borges_mesos::resources::Quantities;
use borges_mesos::{Call, Event, StatusUpdate};

/// The id of the framework.
pub(super) const FRAMEWORK: &str = "f";

/// The agents, the master, and the messages in flight.
pub(super) struct Cluster {
    rng: fastrand::Rng,
    pub(super) now: Duration,
    timers: BTreeMap<(Duration, u64), SimEvent>,
    last_number: u64,
    agents: Vec<Agent>,
    /// The open offers: agent, resources and time.
    offers: BTreeMap<String, (usize, Quantities, Duration)>,
    launches: BTreeMap<String, Launch>,
    /// Launches that the master knows. A new master learns them when their agents register again.
    known_launches: BTreeSet<String>,
    master_up: bool,
    suppressed: bool,
    /// The current subscription and its number.
    subscription: Option<UnboundedSender<Event>>,
    epoch: u64,
    /// Whether faults are injected.
    pub(super) faults_enabled: bool,
    pub(super) oracle: Oracle,
}

struct Agent {
    id: String,
    total: Quantities,
    reachability: Reachability,
    /// Whether the agent is registered with the current master.
    registered: bool,
    /// The end of the filter of the scheduler for this agent.
    refused_until: Duration,
}

/// Whether an agent can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reachability {
    Reachable,
    /// The agent is partitioned. The master has reported this or not.
    Unreachable {
        reported: bool,
    },
    /// The agent is removed for good. The operator has reported this or not.
    Gone {
        reported: bool,
    },
}

struct Launch {
    agent: usize,
    held: Quantities,
    state: TaskState,
    end: End,
    /// Updates that are not acknowledged. The first is sent until it is.
    unacknowledged: VecDeque<(TaskState, u64)>,
}

enum SimEvent {
    Call(Box<Call>, u64),
    Event(Event, u64),
    /// The master sends offers, once a second.
    SendOffers,
    Start(String),
    End(String),
    Killed(String),
    /// The agent sends the first unacknowledged update again.
    Resend(String, u64),
    Fault,
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
    pub(super) fn new(mut rng: fastrand::Rng, oracle: Oracle, faults_enabled: bool) -> Self {
        let agents = (0..rng.usize(1..4))
            .map(|_| Agent {
                id: String::new(),
                total: Quantities {
                    milli_cpus: 1000 * rng.u64(1..5),
                    mem_mib: 128 * rng.u64(2..9),
                    ports: vec![(8000, 8000 + rng.u64(0..3))],
                    ..Quantities::default()
                },
                reachability: Reachability::Reachable,
                registered: true,
                refused_until: Duration::ZERO,
            })
            .enumerate()
            .map(|(number, agent)| Agent { id: format!("a{number}"), ..agent })
            .collect();
        let mut cluster = Self {
            rng,
            now: Duration::ZERO,
            timers: BTreeMap::new(),
            last_number: 0,
            agents,
            offers: BTreeMap::new(),
            launches: BTreeMap::new(),
            known_launches: BTreeSet::new(),
            master_up: true,
            suppressed: false,
            subscription: None,
            epoch: 0,
            faults_enabled,
            oracle,
        };
        cluster.after(Duration::ZERO, SimEvent::SendOffers);
        cluster.after(Duration::from_secs(5), SimEvent::Fault);
        cluster
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn after(&mut self, delay: Duration, event: SimEvent) {
        let number = self.number();
        self.timers.insert((self.now + delay, number), event);
    }

    fn log(&mut self, text: impl FnOnce() -> String) {
        let now = self.now;
        self.oracle.log(now, text);
    }

    fn chance(&mut self, chance: f64) -> bool {
        self.faults_enabled && self.rng.f64() < chance
    }

    /// The time of the next event.
    pub(super) fn next(&self) -> Duration {
        self.timers.first_key_value().map_or(Duration::MAX, |((at, _), _)| *at)
    }

    /// Handles all events until `now`.
    pub(super) fn advance(&mut self, now: Duration) {
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            let ((at, _), event) = entry.remove_entry();
            self.now = self.now.max(at);
            self.handle_event(event);
        }
        self.now = now;
    }

    /// Opens a subscription. `false` if there is no master.
    pub(super) fn subscribe(&mut self, subscription: UnboundedSender<Event>) -> bool {
        if !self.master_up {
            return false;
        }
        self.epoch += 1;
        self.subscription = Some(subscription);
        self.offers.clear();
        self.suppressed = false;
        self.clear_filters();
        let event = Event::Subscribed {
            framework: FRAMEWORK.to_owned(),
            master: None,
            heartbeat: Duration::from_secs(15),
        };
        self.send_event(event);
        true
    }

    /// Closes the subscription.
    pub(super) fn disconnect(&mut self) {
        self.subscription = None;
        self.offers.clear();
    }

    /// Delivers a call after a delay, or loses it.
    pub(super) fn call(&mut self, call: Call) {
        let latency = seconds(&mut self.rng, 0.001..0.2);
        if self.chance(0.02) {
            self.log(|| "  (lost)".to_owned());
            return;
        }
        let epoch = self.epoch;
        self.after(latency, SimEvent::Call(Box::new(call), epoch));
    }

    /// Delivers an event after a delay. Updates can be reordered and duplicated.
    fn send_event(&mut self, event: Event) {
        let epoch = self.epoch;
        let is_update = matches!(event, Event::Update(_));
        if is_update && self.chance(0.05) {
            let delay = seconds(&mut self.rng, 0.1..5.0);
            self.after(delay, SimEvent::Event(event.clone(), epoch));
        }
        let delay = if is_update && self.chance(0.3) {
            seconds(&mut self.rng, 0.0..0.5)
        } else {
            Duration::from_millis(1)
        };
        self.after(delay, SimEvent::Event(event, epoch));
    }

    fn handle_event(&mut self, event: SimEvent) {
        match event {
            SimEvent::Call(call, epoch) if epoch == self.epoch && self.master_up => {
                self.handle_call(*call);
            }
            SimEvent::Call(..) => {}
            SimEvent::Event(event, epoch) if epoch == self.epoch => {
                if let Some(subscription) = &self.subscription {
                    let text = match &event {
                        Event::Update(update) => {
                            Some(format!("update {} {}", short_id(&update.launch), update.state.name()))
                        }
                        Event::Offers(offers) => Some(format!("{} offers", offers.len())),
                        Event::Rescind(offer) => Some(format!("rescind {offer}")),
                        _ => None,
                    };
                    let _closed = subscription.send(event);
                    if let Some(text) = text {
                        self.log(|| text);
                    }
                }
            }
            SimEvent::Event(..) => {}
            SimEvent::SendOffers => self.send_offers(),
            SimEvent::Start(launch) => self.start(&launch),
            SimEvent::End(launch) => self.end(&launch),
            SimEvent::Killed(launch) => self.killed(&launch),
            SimEvent::Resend(launch, number) => self.resend(&launch, number),
            SimEvent::Fault => self.inject_faults(),
            SimEvent::Unreachable(agent) => self.unreachable(agent),
            SimEvent::Return(agent) => self.agent_returns(agent),
            SimEvent::GoneByOperator(agent) => self.gone_by_operator(agent),
            SimEvent::MasterUp => {
                self.log(|| "a master is up".to_owned());
                self.master_up = true;
            }
            SimEvent::Registers(agent) => self.registers(agent),
        }
    }

    fn is_gone(&self, agent: usize) -> bool {
        matches!(self.agents[agent].reachability, Reachability::Gone { .. })
    }

    /// The update with this uuid. `None` if it is acknowledged already.
    pub(super) fn acknowledged(&self, id: &str, uuid: &[u8]) -> Option<StatusUpdate> {
        let number: u64 = std::str::from_utf8(uuid).ok()?.parse().ok()?;
        let (state, _) = *self
            .launches
            .get(id)?
            .unacknowledged
            .iter()
            .find(|(_, unacknowledged)| *unacknowledged == number)?;
        Some(self.status(id, state, self.reason_of_end(id, state), None, Some(number)))
    }

    /// Whether the sandbox of a launch can be read.
    pub(super) fn is_reachable(&self, id: &str) -> bool {
        self.launches
            .get(id)
            .is_some_and(|launch| self.agents[launch.agent].reachability == Reachability::Reachable)
    }

    /// The launches that have not ended.
    pub(super) fn active(&self) -> Vec<String> {
        let active = self.launches.iter().filter(|(_, launch)| !launch.state.is_terminal());
        active.map(|(id, _)| id.clone()).collect()
    }

    fn launches_on(&self, agent: usize) -> Vec<String> {
        let launches = self.launches.iter().filter(|(_, launch)| launch.agent == agent);
        launches.filter(|(_, launch)| !launch.state.is_terminal()).map(|(id, _)| id.clone()).collect()
    }
}

/// `RUN.N.K` with the last four digits of the run.
pub(super) fn short_id(launch: &str) -> &str {
    launch.get(32..).unwrap_or(launch)
}

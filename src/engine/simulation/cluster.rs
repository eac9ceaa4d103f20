//! Agents and a master that behave as Mesos may: calls are lost, updates repeated, agents unreachable for a while
//! or gone for good, masters replaced. What they say is never untrue.
//!
//! | file | |
//! |---|---|
//! | `master` | what is offered, what is done about calls, what the master knows |
//! | `launches` | what becomes of launches on their agents, and how it is said |
//! | `inject_faults` | what goes wrong of itself |

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

/// The framework's id, whatever happens.
pub(super) const FRAMEWORK: &str = "f";

/// Agents, a master, and what is under way between them and the scheduler.
pub(super) struct Cluster {
    rng: fastrand::Rng,
    pub(super) now: Duration,
    due: BTreeMap<(Duration, u64), SimEvent>,
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
    pub(super) ledger: Oracle,
}

struct Agent {
    id: String,
    total: Quantities,
    reach: Reachability,
    /// The master has heard of it since it took over.
    registered: bool,
    /// Until when nothing of it is offered: so the scheduler wished.
    refused: Duration,
}

/// Whether an agent can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reachability {
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

enum SimEvent {
    Call(Box<Call>, u64),
    Event(Event, u64),
    /// Offers are made, each second.
    Trade,
    Start(String),
    End(String),
    Killed(String),
    /// The first unacknowledged update is said again.
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
    pub(super) fn new(mut rng: fastrand::Rng, ledger: Oracle, storm: bool) -> Self {
        let agents = (0..rng.usize(1..4))
            .map(|_| Agent {
                id: String::new(),
                total: Quantities {
                    milli_cpus: 1000 * rng.u64(1..5),
                    mem_mib: 128 * rng.u64(2..9),
                    ports: vec![(8000, 8000 + rng.u64(0..3))],
                    ..Quantities::default()
                },
                reach: Reachability::Yes,
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
        cluster.after(Duration::ZERO, SimEvent::Trade);
        cluster.after(Duration::from_secs(5), SimEvent::Fault);
        cluster
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn after(&mut self, pause: Duration, due: SimEvent) {
        let number = self.number();
        self.due.insert((self.now + pause, number), due);
    }

    fn tell(&mut self, words: impl FnOnce() -> String) {
        let now = self.now;
        self.ledger.log(now, words);
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
    pub(super) fn disconnect(&mut self) {
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
        self.after(latency, SimEvent::Call(Box::new(call), stream));
    }

    /// An event is on its way; updates may overtake one another and come twice.
    fn say(&mut self, event: Event) {
        let stream = self.streams;
        let is_update = matches!(event, Event::Update(_));
        if is_update && self.chance(0.05) {
            let late = seconds(&mut self.rng, 0.1..5.0);
            self.after(late, SimEvent::Event(event.clone(), stream));
        }
        let pause = if is_update && self.chance(0.3) {
            seconds(&mut self.rng, 0.0..0.5)
        } else {
            Duration::from_millis(1)
        };
        self.after(pause, SimEvent::Event(event, stream));
    }

    fn happen(&mut self, due: SimEvent) {
        match due {
            SimEvent::Call(call, stream) if stream == self.streams && self.master_up => {
                self.handle_call(*call);
            }
            SimEvent::Call(..) => {}
            SimEvent::Event(event, stream) if stream == self.streams => {
                if let Some(listener) = &self.stream {
                    let words = match &event {
                        Event::Update(update) => {
                            Some(format!("update {} {}", short_id(&update.launch), update.state.name()))
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
            SimEvent::Event(..) => {}
            SimEvent::Trade => self.send_offers(),
            SimEvent::Start(launch) => self.start(&launch),
            SimEvent::End(launch) => self.end(&launch),
            SimEvent::Killed(launch) => self.killed(&launch),
            SimEvent::Resend(launch, number) => self.resend(&launch, number),
            SimEvent::Fault => self.inject_faults(),
            SimEvent::Unreachable(agent) => self.unreachable(agent),
            SimEvent::Return(agent) => self.agent_returns(agent),
            SimEvent::GoneByOperator(agent) => self.gone_by_operator(agent),
            SimEvent::MasterUp => {
                self.tell(|| "a master is up".to_owned());
                self.master_up = true;
            }
            SimEvent::Registers(agent) => self.registers(agent),
        }
    }

    fn is_gone(&self, agent: usize) -> bool {
        matches!(self.agents[agent].reach, Reachability::Gone { .. })
    }

    /// The update that is acknowledged by this; `None` when it was before.
    pub(super) fn acknowledged(&self, id: &str, uuid: &[u8]) -> Option<StatusUpdate> {
        let number: u64 = std::str::from_utf8(uuid).ok()?.parse().ok()?;
        let (state, _) = *self.launches.get(id)?.unacknowledged.iter().find(|(_, it)| *it == number)?;
        Some(self.status(id, state, self.reason_of_end(id, state), None, Some(number)))
    }

    /// Whether a launch's sandbox can be read.
    pub(super) fn is_reached(&self, id: &str) -> bool {
        self.launches.get(id).is_some_and(|launch| self.agents[launch.agent].reach == Reachability::Yes)
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
}

/// `RUN.N.K` with the last four digits of the run.
pub(super) fn short_id(launch: &str) -> &str {
    launch.get(32..).unwrap_or(launch)
}

//! The master: offers, calls, reconciliation, and the registration of agents.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::invariants::Invariant;
use super::super::oracle::End;
use super::{Agent, Cluster, FRAMEWORK, Launch, Reachability, SimEvent, seconds, short_id};
use borges_mesos::events::TaskState;
use borges_mesos::messages::scheduler::call::Type;
use borges_mesos::messages::task_status::Reason;
use borges_mesos::messages::{AgentId, Attribute, Filters, FrameworkId, Offer, OfferId, TaskInfo, value};
use borges_mesos::resources::Quantities;
use borges_mesos::{Call, Event};

impl Cluster {
    pub(super) fn free(&self, agent: usize) -> Quantities {
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

    pub(super) fn send_offers(&mut self) {
        self.after(Duration::from_secs(1), SimEvent::SendOffers);
        if !self.master_up || self.subscription.is_none() || self.suppressed {
            return;
        }
        let old = self.now.saturating_sub(Duration::from_secs(30));
        let stale: Vec<String> =
            self.offers.iter().filter(|(_, (.., since))| *since < old).map(|(id, _)| id.clone()).collect();
        for offer in stale {
            self.offers.remove(&offer);
            self.send_event(Event::Rescind(offer));
        }
        let mut offers = Vec::new();
        for agent in 0..self.agents.len() {
            let Agent { reachability, registered, refused_until, .. } = self.agents[agent];
            let ready = reachability == Reachability::Reachable && registered && refused_until <= self.now;
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
            self.send_event(Event::Offers(offers));
        }
    }

    pub(super) fn handle_call(&mut self, call: Call) {
        match Type::try_from(call.r#type.unwrap_or_default()).unwrap() {
            Type::Accept => {
                let accept = call.accept.unwrap();
                let offered: Vec<_> =
                    accept.offer_ids.iter().map(|offer| self.offers.remove(&offer.value)).collect();
                let mut agents: Vec<usize> = offered.iter().flatten().map(|(agent, ..)| *agent).collect();
                agents.dedup();
                assert!(agents.len() <= 1, "offers of several agents are accepted together");
                if let Some(&agent) = agents.first() {
                    self.filter(agent, accept.filters.as_ref());
                }
                // One rescinded offer invalidates the call.
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
                        self.filter(agent, decline.filters.as_ref());
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
                    let launches: Vec<String> = self.known_launches.iter().cloned().collect();
                    for launch in launches {
                        self.send_latest_status(&launch, Some(Reason::Reconciliation));
                    }
                }
                for task in tasks {
                    self.reconcile(&task.task_id.value, task.agent_id.map(|agent| agent.value));
                }
            }
            Type::Suppress => self.suppressed = true,
            Type::Revive => {
                self.suppressed = false;
                self.clear_filters();
            }
            other => panic!("unexpected call {other:?}"),
        }
    }

    /// Filters the remaining resources of an agent. Without a filter for 5 s.
    pub(super) fn filter(&mut self, agent: usize, filters: Option<&Filters>) {
        let seconds = filters.and_then(|filters| filters.refuse_seconds).unwrap_or(5.0);
        self.agents[agent].refused_until = self.now + Duration::from_secs_f64(seconds);
    }

    pub(super) fn clear_filters(&mut self) {
        self.agents.iter_mut().for_each(|agent| agent.refused_until = Duration::ZERO);
    }

    pub(super) fn accept(&mut self, agent: Option<usize>, task: TaskInfo) {
        let id = task.task_id.value;
        let reachable = agent.filter(|agent| self.agents[*agent].reachability == Reachability::Reachable);
        let Some(agent) = reachable.filter(|_| !self.chance(0.03)) else {
            self.unacknowledged_update(&id, TaskState::Dropped, Some(Reason::InvalidOffers), None);
            return;
        };
        let held = Quantities::of(&task.resources);
        assert!(self.free(agent).contains(&held), "{id} holds more than there is");
        let end = self.oracle.plan_end(&id, &mut self.rng);
        let before = self.launches.insert(
            id.clone(),
            Launch { agent, held, state: TaskState::Staging, end, unacknowledged: VecDeque::new() },
        );
        if before.is_some() {
            let message = format!("the launch {} is accepted twice", short_id(&id));
            self.oracle.violation(Invariant::UniqueLaunchId, message);
        }
        self.known_launches.insert(id.clone());
        let delay = seconds(&mut self.rng, 0.0..2.0);
        self.after(delay, SimEvent::Start(id));
    }

    /// Answers an explicit reconciliation. Source: Mesos, "Reconciliation".
    pub(super) fn reconcile(&mut self, id: &str, agent: Option<String>) {
        let reason = Some(Reason::Reconciliation);
        if self.known_launches.contains(id) {
            self.send_latest_status(id, reason);
            return;
        }
        let agent_index = agent.and_then(|name| self.agents.iter().position(|agent| agent.id == name));
        let Some(agent_index) = agent_index else {
            self.unacknowledged_update(id, TaskState::Unknown, reason, None);
            return;
        };
        let state = match self.agents[agent_index].reachability {
            Reachability::Reachable if self.agents[agent_index].registered => TaskState::Gone,
            Reachability::Unreachable { reported: true } => TaskState::Unreachable,
            Reachability::Gone { reported: true } => TaskState::GoneByOperator,
            Reachability::Reachable | Reachability::Unreachable { .. } | Reachability::Gone { .. } => return,
        };
        let agent = Some(self.agents[agent_index].id.clone());
        self.unacknowledged_update(id, state, reason, agent);
    }

    pub(super) fn send_latest_status(&mut self, id: &str, reason: Option<Reason>) {
        let Some(launch) = self.launches.get(id) else { return };
        let agent = launch.agent;
        let state = match self.agents[agent].reachability {
            Reachability::Reachable => launch.state,
            // The master does not know the new state yet.
            Reachability::Unreachable { reported: false } | Reachability::Gone { reported: false } => return,
            Reachability::Unreachable { reported: true } => TaskState::Unreachable,
            Reachability::Gone { reported: true } => TaskState::GoneByOperator,
        };
        let reason = match (state, self.oracle.end(id)) {
            (TaskState::Failed, Some(End::InfraFailure)) => Some(Reason::AgentRestarted),
            _ => reason,
        };
        let agent = Some(self.agents[agent].id.clone());
        self.unacknowledged_update(id, state, reason, agent);
    }

    /// An agent registers with its launches.
    pub(super) fn registers(&mut self, agent: usize) {
        if self.agents[agent].reachability != Reachability::Reachable {
            return;
        }
        if !self.master_up {
            self.after(Duration::from_secs(1), SimEvent::Registers(agent));
            return;
        }
        self.agents[agent].registered = true;
        for id in self.launches_on(agent) {
            self.known_launches.insert(id.clone());
            self.send_latest_status(&id, Some(Reason::AgentReregistered));
        }
        let unacknowledged: Vec<String> = self
            .launches
            .iter()
            .filter(|(_, launch)| launch.agent == agent && !launch.unacknowledged.is_empty())
            .map(|(id, _)| id.clone())
            .collect();
        self.known_launches.extend(unacknowledged);
    }
}

/// The attribute `rack` of an agent: `r0` or `r1`.
fn rack(agent: usize) -> Attribute {
    Attribute {
        name: "rack".to_owned(),
        r#type: value::Type::Text as i32,
        text: Some(value::Text { value: format!("r{}", agent % 2) }),
        ..Attribute::default()
    }
}

//! The injected faults: partitioned and lost agents, replaced masters, broken streams.

use std::time::Duration;

use super::super::oracle::End;
use super::{Agent, Cluster, Reachability, SimEvent, seconds};
use borges_mesos::Event;
use borges_mesos::events::TaskState;
use borges_mesos::messages::task_status::Reason;

impl Cluster {
    /// Injects a random fault and schedules the next one.
    pub(super) fn inject_faults(&mut self) {
        let next = seconds(&mut self.rng, 1.0..20.0);
        self.after(next, SimEvent::Fault);
        if !self.faults_enabled {
            return;
        }
        match self.rng.u32(0..12) {
            0 => {
                let agent = self.rng.usize(0..self.agents.len());
                if self.agents[agent].reachability == Reachability::Reachable {
                    self.log(|| format!("agent {agent} is unreachable"));
                    self.agents[agent].reachability = Reachability::Unreachable { reported: false };
                    self.after(Duration::from_secs(75), SimEvent::Unreachable(agent));
                    let return_delay = seconds(&mut self.rng, 1.0..200.0);
                    self.after(return_delay, SimEvent::Return(agent));
                }
            }
            1 => {
                let agent = self.rng.usize(0..self.agents.len());
                if self.agents[agent].reachability == Reachability::Reachable {
                    self.log(|| format!("agent {agent} is gone"));
                    self.agents[agent].reachability = Reachability::Gone { reported: false };
                    let (now, launches) = (self.now, self.launches_on(agent));
                    for id in launches {
                        if matches!(self.launches[&id].state, TaskState::Running | TaskState::Killing) {
                            self.oracle.on_launch_ended(now, &id, End::Vanished);
                        }
                    }
                    let detection = seconds(&mut self.rng, 10.0..200.0);
                    self.after(detection, SimEvent::GoneByOperator(agent));
                }
            }
            2 => {
                self.log(|| "the master is replaced".to_owned());
                self.disconnect();
                self.known_launches.clear();
                self.master_up = false;
                let up = seconds(&mut self.rng, 0.1..20.0);
                self.after(up, SimEvent::MasterUp);
                for agent in 0..self.agents.len() {
                    self.agents[agent].registered = false;
                    let registers = up + seconds(&mut self.rng, 0.0..30.0);
                    self.after(registers, SimEvent::Registers(agent));
                }
            }
            3 | 4 => {
                self.log(|| "the stream breaks".to_owned());
                self.disconnect();
            }
            5..8 => {
                if let Some(offer) = self.offers.keys().next().cloned() {
                    self.offers.remove(&offer);
                    self.send_event(Event::Rescind(offer));
                }
            }
            _ => {}
        }
    }

    pub(super) fn unreachable(&mut self, agent: usize) {
        if self.agents[agent].reachability != (Reachability::Unreachable { reported: false }) {
            return;
        }
        self.agents[agent].reachability = Reachability::Unreachable { reported: true };
        self.take_back_offers(agent);
        let name = self.agents[agent].id.clone();
        for id in self.launches_on(agent) {
            self.unacknowledged_update(
                &id,
                TaskState::Unreachable,
                Some(Reason::AgentRemoved),
                Some(name.clone()),
            );
        }
    }

    pub(super) fn take_back_offers(&mut self, agent: usize) {
        let offers: Vec<String> =
            self.offers.iter().filter(|(_, (at, ..))| *at == agent).map(|(id, _)| id.clone()).collect();
        for offer in offers {
            self.offers.remove(&offer);
            self.send_event(Event::Rescind(offer));
        }
    }

    pub(super) fn agent_returns(&mut self, agent: usize) {
        if !matches!(self.agents[agent].reachability, Reachability::Unreachable { .. }) {
            return;
        }
        self.log(|| format!("agent {agent} is back"));
        let reported = self.agents[agent].reachability == Reachability::Unreachable { reported: true };
        self.agents[agent].reachability = Reachability::Reachable;
        if reported || !self.agents[agent].registered {
            self.registers(agent);
        }
    }

    /// The operator reports an agent as gone, and another agent replaces it.
    pub(super) fn gone_by_operator(&mut self, agent: usize) {
        self.log(|| format!("agent {agent} is reported as gone"));
        self.agents[agent].reachability = Reachability::Gone { reported: true };
        self.take_back_offers(agent);
        for (id, launch) in &self.launches {
            if launch.agent == agent && !launch.unacknowledged.is_empty() {
                self.oracle.mark_uncertain(id);
            }
        }
        let name = self.agents[agent].id.clone();
        for id in self.launches_on(agent) {
            self.unacknowledged_update(&id, TaskState::GoneByOperator, None, Some(name.clone()));
            if let Some(launch) = self.launches.get_mut(&id) {
                launch.state = TaskState::Gone;
            }
        }
        let total = self.agents[agent].total.clone();
        let id = format!("a{}", self.agents.len());
        let refused_until = Duration::ZERO;
        self.agents.push(Agent {
            id,
            total,
            reachability: Reachability::Reachable,
            registered: true,
            refused_until,
        });
    }
}

//! What goes wrong of itself: agents that are away or gone, masters that are replaced, streams that break.

use std::time::Duration;

use super::super::oracle::End;
use super::{Agent, Cluster, Reachability, SimEvent, seconds};
use borges_mesos::Event;
use borges_mesos::events::TaskState;
use borges_mesos::messages::task_status::Reason;

impl Cluster {
    /// What may go wrong of itself.
    pub(super) fn inject_faults(&mut self) {
        let next = seconds(&mut self.rng, 1.0..20.0);
        self.after(next, SimEvent::Fault);
        if !self.storm {
            return;
        }
        match self.rng.u32(0..12) {
            0 => {
                let agent = self.rng.usize(0..self.agents.len());
                if self.agents[agent].reach == Reachability::Yes {
                    self.tell(|| format!("agent {agent} is not reached"));
                    self.agents[agent].reach = Reachability::No { told: false };
                    self.after(Duration::from_secs(75), SimEvent::Unreachable(agent));
                    let back = seconds(&mut self.rng, 1.0..200.0);
                    self.after(back, SimEvent::Return(agent));
                }
            }
            1 => {
                let agent = self.rng.usize(0..self.agents.len());
                if self.agents[agent].reach == Reachability::Yes {
                    self.tell(|| format!("agent {agent} is no more"));
                    self.agents[agent].reach = Reachability::Gone { told: false };
                    let (now, launches) = (self.now, self.on(agent));
                    for id in launches {
                        if matches!(self.launches[&id].state, TaskState::Running | TaskState::Killing) {
                            self.ledger.ended(now, &id, End::Vanished);
                        }
                    }
                    let noticed = seconds(&mut self.rng, 10.0..200.0);
                    self.after(noticed, SimEvent::GoneByOperator(agent));
                }
            }
            2 => {
                self.tell(|| "the master is replaced".to_owned());
                self.disconnect();
                self.known.clear();
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
                self.tell(|| "the stream breaks".to_owned());
                self.disconnect();
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

    pub(super) fn unreachable(&mut self, agent: usize) {
        if self.agents[agent].reach != (Reachability::No { told: false }) {
            return;
        }
        self.agents[agent].reach = Reachability::No { told: true };
        self.take_back_offers(agent);
        let name = self.agents[agent].id.clone();
        for id in self.on(agent) {
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
            self.say(Event::Rescind(offer));
        }
    }

    pub(super) fn agent_returns(&mut self, agent: usize) {
        if !matches!(self.agents[agent].reach, Reachability::No { .. }) {
            return;
        }
        self.tell(|| format!("agent {agent} is back"));
        let told = self.agents[agent].reach == Reachability::No { told: true };
        self.agents[agent].reach = Reachability::Yes;
        if told || !self.agents[agent].registered {
            self.registers(agent);
        }
    }

    /// The operator's word: whatever ran there does not. Another machine takes its place.
    pub(super) fn gone_by_operator(&mut self, agent: usize) {
        self.tell(|| format!("agent {agent} is said to be gone"));
        self.agents[agent].reach = Reachability::Gone { told: true };
        self.take_back_offers(agent);
        for (id, launch) in &self.launches {
            if launch.agent == agent && !launch.unacknowledged.is_empty() {
                self.ledger.is_uncertain(id);
            }
        }
        let name = self.agents[agent].id.clone();
        for id in self.on(agent) {
            self.unacknowledged_update(&id, TaskState::GoneByOperator, None, Some(name.clone()));
            if let Some(launch) = self.launches.get_mut(&id) {
                launch.state = TaskState::Gone;
            }
        }
        let total = self.agents[agent].total.clone();
        let id = format!("a{}", self.agents.len());
        let refused = Duration::ZERO;
        self.agents.push(Agent { id, total, reach: Reachability::Yes, registered: true, refused });
    }
}

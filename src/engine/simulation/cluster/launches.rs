//! The launches on their agents, and their status updates until they are acknowledged.

use std::time::Duration;

use bytes::Bytes;

use super::super::oracle::End;
use super::{Cluster, Reachability, SimEvent, seconds};
use borges_mesos::events::TaskState;
use borges_mesos::messages::task_status::Reason;
use borges_mesos::messages::{AgentId, TaskId, TaskStatus};
use borges_mesos::{Event, StatusUpdate};

impl Cluster {
    pub(super) fn start(&mut self, id: &str) {
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
        let active_on_agent: Vec<String> = self
            .launches
            .iter()
            .filter(|(_, other)| other.agent == agent)
            .filter(|(_, other)| matches!(other.state, TaskState::Running | TaskState::Killing))
            .map(|(id, _)| id.clone())
            .collect();
        self.oracle.on_launch_started(now, id);
        self.oracle.check_peers(id, &active_on_agent);
        self.update(id, TaskState::Running);
        let run_time = self.oracle.run_time(id, &mut self.rng);
        self.after(run_time, SimEvent::End(id.to_owned()));
    }

    pub(super) fn end(&mut self, id: &str) {
        let Some(launch) = self.launches.get(id) else { return };
        let (state, end) = (launch.state, launch.end);
        if self.is_gone(launch.agent) || !matches!(state, TaskState::Running | TaskState::Killing) {
            return;
        }
        let now = self.now;
        self.oracle.on_launch_ended(now, id, end);
        let state = match end {
            End::Exit(0) => TaskState::Finished,
            End::Exit(_) | End::InfraFailure => TaskState::Failed,
            End::Refused => TaskState::Error,
            End::Killed | End::Vanished | End::NotStarted => TaskState::Killed,
        };
        self.update(id, state);
    }

    pub(super) fn killed(&mut self, id: &str) {
        let Some(launch) = self.launches.get(id).filter(|launch| !self.is_gone(launch.agent)) else { return };
        match launch.state {
            TaskState::Killing => {
                let now = self.now;
                self.oracle.on_launch_ended(now, id, End::Killed);
            }
            TaskState::Staging => {}
            _ => return,
        }
        self.update(id, TaskState::Killed);
    }

    pub(super) fn kill(&mut self, id: &str, agent: Option<String>) {
        if !self.known_launches.contains(id) {
            self.reconcile(id, agent);
            return;
        }
        let Some(launch) = self.launches.get(id) else { return };
        let (at, state) = (launch.agent, launch.state);
        // A kill with a wrong agent is ignored. A kill to an unreachable agent is lost.
        if agent.is_some_and(|agent| agent != self.agents[at].id)
            || self.agents[at].reachability != Reachability::Reachable
            || self.chance(0.2)
        {
            return;
        }
        if state == TaskState::Running {
            self.update(id, TaskState::Killing);
        }
        if matches!(state, TaskState::Staging | TaskState::Running) {
            let grace = seconds(&mut self.rng, 0.0..3.0);
            self.after(grace, SimEvent::Killed(id.to_owned()));
        }
    }

    /// Changes the state of a launch. Its agent sends the update until it is acknowledged.
    pub(super) fn update(&mut self, id: &str, state: TaskState) {
        let number = self.number();
        let Some(launch) = self.launches.get_mut(id) else { return };
        launch.state = state;
        launch.unacknowledged.push_back((state, number));
        if launch.unacknowledged.len() == 1 {
            self.resend(id, number);
        }
    }

    pub(super) fn resend(&mut self, id: &str, number: u64) {
        let Some(launch) = self.launches.get(id) else { return };
        let Some(&(state, first)) = launch.unacknowledged.front() else { return };
        let agent = launch.agent;
        if first != number || self.is_gone(agent) {
            return;
        }
        if self.agents[agent].reachability == Reachability::Reachable
            && self.agents[agent].registered
            && self.master_up
        {
            let reason = self.reason_of_end(id, state);
            let agent = Some(self.agents[agent].id.clone());
            self.send_status(id, state, reason, agent, Some(number));
        }
        let interval = Duration::from_secs(10);
        self.after(interval, SimEvent::Resend(id.to_owned(), number));
    }

    /// Sends an update of the master, which is not acknowledged.
    pub(super) fn unacknowledged_update(
        &mut self,
        id: &str,
        state: TaskState,
        reason: Option<Reason>,
        agent: Option<String>,
    ) {
        self.send_status(id, state, reason, agent, None);
    }

    pub(super) fn reason_of_end(&self, id: &str, state: TaskState) -> Option<Reason> {
        (state == TaskState::Failed).then(|| match self.oracle.end(id) {
            Some(End::InfraFailure) => Reason::AgentRestarted,
            _ => Reason::CommandExecutorFailed,
        })
    }

    pub(super) fn send_status(
        &mut self,
        id: &str,
        state: TaskState,
        reason: Option<Reason>,
        agent: Option<String>,
        number: Option<u64>,
    ) {
        let status = self.status(id, state, reason, agent, number);
        self.send_event(Event::Update(Box::new(status)));
    }

    pub(super) fn status(
        &self,
        id: &str,
        state: TaskState,
        reason: Option<Reason>,
        agent: Option<String>,
        number: Option<u64>,
    ) -> StatusUpdate {
        let message = self.oracle.executor_message(id).filter(|_| state == TaskState::Failed);
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
}

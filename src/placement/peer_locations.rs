//! The agents of running tasks that placement constraints compare with each other.

use std::collections::HashMap;
use std::sync::Arc;

use super::Agent;
use borges_task::{Requirements, ResourceRequest, RunId, TaskId};

/// A task that is compared with others.
#[derive(Debug, Clone, PartialEq)]
pub enum Peer {
    /// It is on this agent.
    Known(Arc<Agent>),
    /// It is on an agent that has offered nothing yet.
    Unknown,
}

/// Tasks that are out on agents and have peers: those of their run that ask for the same.
#[derive(Debug, Default, Clone)]
pub struct PeerLocations {
    /// By agent id, as last offered.
    agents: HashMap<String, Arc<Agent>>,
    /// The agents of the tasks of each group.
    groups: HashMap<Group, HashMap<TaskId, String>>,
    group_of: HashMap<TaskId, Group>,
}

type Group = (RunId, Arc<Requirements>);

impl PeerLocations {
    /// An agent is as this offer of it says.
    pub fn update_agent(&mut self, agent: &Arc<Agent>) {
        match self.agents.get_mut(&agent.id) {
            Some(existing) if existing == agent => {}
            Some(existing) => *existing = agent.clone(),
            None => {
                self.agents.insert(agent.id.clone(), agent.clone());
            }
        }
    }

    /// A task is out on an agent; one that no constraint compares is not remembered.
    pub fn insert(&mut self, task: TaskId, request: &ResourceRequest, agent: &str) {
        let Some(group) = group(request) else { return };
        self.groups.entry(group.clone()).or_default().insert(task, agent.to_owned());
        self.group_of.insert(task, group);
    }

    /// A task is out no longer.
    pub fn remove(&mut self, task: TaskId) {
        let Some(group) = self.group_of.remove(&task) else { return };
        if let Some(tasks) = self.groups.get_mut(&group) {
            tasks.remove(&task);
            if tasks.is_empty() {
                self.groups.remove(&group);
            }
        }
    }

    /// The peers of tasks with this request.
    pub(crate) fn peers(&self, request: &ResourceRequest) -> Vec<Peer> {
        let peer = |agent: &String| self.agents.get(agent).cloned().map_or(Peer::Unknown, Peer::Known);
        let tasks = group(request).and_then(|group| self.groups.get(&group));
        tasks.into_iter().flat_map(HashMap::values).map(peer).collect()
    }
}

fn group(request: &ResourceRequest) -> Option<Group> {
    Some((request.constraint_group?, request.requirements.clone()?))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn peers_share_a_run_and_requirements() {
        let (run, other) = (RunId(Uuid::from_u128(1)), RunId(Uuid::from_u128(2)));
        let request = |run| ResourceRequest {
            requirements: Some(Arc::default()),
            constraint_group: Some(run),
            ..ResourceRequest::default()
        };
        let mut locations = PeerLocations::default();
        locations.insert(run.task(1), &request(run), "a");
        locations.insert(run.task(2), &ResourceRequest::default(), "a");
        locations.insert(other.task(1), &request(other), "a");
        assert_eq!(locations.peers(&request(run)), [Peer::Unknown]);
        let agent = Arc::new(Agent { id: "a".to_owned(), ..Agent::default() });
        locations.update_agent(&agent);
        assert_eq!(locations.peers(&request(run)), [Peer::Known(agent)]);
        locations.remove(run.task(1));
        locations.remove(run.task(2));
        assert_eq!(locations.peers(&request(run)), []);
        assert_eq!(locations.peers(&ResourceRequest::default()), []);
    }
}

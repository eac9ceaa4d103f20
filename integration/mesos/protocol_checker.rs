//! Checks a scheduler's calls against the protocol of Mesos.

use std::collections::{BTreeMap, BTreeSet};

use borges_mesos::Call;
use borges_mesos::messages::scheduler::{Event, call::Type, event};
use bytes::Bytes;

use super::scripted_master::FRAMEWORK;

/// The state of the connection as far as it binds a scheduler, and the violations so far.
#[derive(Debug, Default)]
pub(crate) struct ProtocolChecker {
    /// Whether SUBSCRIBED was sent in the current subscription.
    subscribed: bool,
    subscriptions: u32,
    /// The agents of the offers without an answer.
    offers: BTreeMap<String, String>,
    /// The agents of rescinded offers: an answer may have been sent before the rescind arrived.
    withdrawn: BTreeMap<String, String>,
    /// The agents of all launches.
    launches: BTreeMap<String, String>,
    ended: BTreeSet<String>,
    /// Launches that must be reconciled in this subscription.
    unreconciled: BTreeSet<String>,
    /// Updates without an acknowledgement, once for each time they were sent: uuid, launch, agent.
    unacknowledged: Vec<(Bytes, String, String)>,
    violations: Vec<String>,
}

impl ProtocolChecker {
    /// The violations so far.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.clone()
    }

    /// What the scheduler still has to answer: offers, updates, launches to reconcile.
    pub(crate) fn outstanding(&self) -> Vec<String> {
        let offers = self.offers.keys().map(|offer| format!("{offer} is not answered"));
        let unacknowledged = self
            .unacknowledged
            .iter()
            .map(|(_, launch, _)| format!("an update of {launch} is not acknowledged"));
        let unreconciled = self.unreconciled.iter().map(|launch| format!("{launch} is not reconciled"));
        offers.chain(unacknowledged).chain(unreconciled).collect()
    }

    /// The connection is lost, and its offers are void.
    pub(crate) fn disconnected(&mut self) {
        self.subscribed = false;
        self.offers.clear();
        self.unacknowledged.clear();
    }

    pub(crate) fn sent(&mut self, event: &Event) {
        match event.r#type() {
            event::Type::Subscribed => {
                self.subscribed = true;
                self.unreconciled =
                    self.launches.keys().filter(|launch| !self.ended.contains(*launch)).cloned().collect();
            }
            event::Type::Offers => {
                for offer in event.offers.iter().flat_map(|offers| &offers.offers) {
                    self.offers.insert(offer.id.value.clone(), offer.agent_id.value.clone());
                }
            }
            event::Type::Rescind => {
                if let Some(rescind) = &event.rescind {
                    let offer = &rescind.offer_id.value;
                    let agent = self.offers.remove(offer);
                    self.withdrawn.extend(agent.map(|agent| (offer.clone(), agent)));
                }
            }
            event::Type::Update => {
                let status = &event.update.as_ref().expect("an update").status;
                let (launch, agent) = (&status.task_id.value, status.agent_id.as_ref().expect("an agent"));
                if let Some(uuid) = &status.uuid {
                    self.unacknowledged.push((uuid.clone(), launch.clone(), agent.value.clone()));
                }
                if borges_mesos::events::TaskState::from_wire(status.state).is_terminal() {
                    self.ended.insert(launch.clone());
                    self.unreconciled.remove(launch);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn received(&mut self, call: &Call) {
        let kind = call.r#type();
        let framework = call.framework_id.as_ref().map(|id| id.value.as_str());
        if kind == Type::Subscribe {
            self.subscriptions += 1;
            let own = call.subscribe.as_ref().and_then(|subscribe| subscribe.framework_info.id.as_ref());
            let same = framework == own.map(|id| id.value.as_str());
            let known = framework == Some(FRAMEWORK) || self.launches.is_empty() && framework.is_none();
            self.check(same && known, "SUBSCRIBE without the framework id it was given");
            return;
        }
        self.check(self.subscribed, &format!("{} before SUBSCRIBED", kind.as_str_name()));
        self.check(framework == Some(FRAMEWORK), &format!("{} without the framework id", kind.as_str_name()));
        match kind {
            Type::Accept => {
                let accept = call.accept.as_ref().expect("an accept");
                let mut agents = BTreeSet::new();
                for offer in &accept.offer_ids {
                    let agent = self.answered(&offer.value);
                    self.check(agent.is_some(), "ACCEPT of an unknown offer");
                    agents.extend(agent);
                }
                self.check(agents.len() < 2, "ACCEPT of offers of several agents");
                let launches = accept.operations.iter().filter_map(|operation| operation.launch.as_ref());
                for task in launches.flat_map(|launch| &launch.task_infos) {
                    let (id, agent) = (task.task_id.value.clone(), task.agent_id.value.clone());
                    self.check(agents.is_empty() || agents.contains(&agent), "a launch on another agent");
                    let role = |r: &borges_mesos::messages::Resource| {
                        r.allocation_info.as_ref().is_some_and(|info| info.role.is_some())
                    };
                    self.check(task.resources.iter().all(role), "resources that are not those offered");
                    let is_new = self.launches.insert(id, agent).is_none();
                    self.check(is_new, "a task id is reused");
                }
            }
            Type::Decline => {
                for offer in &call.decline.as_ref().expect("a decline").offer_ids {
                    let known = self.answered(&offer.value).is_some();
                    self.check(known, "DECLINE of an unknown offer");
                }
            }
            Type::Acknowledge => {
                let said = call.acknowledge.as_ref().expect("an acknowledgement");
                let meant = (said.uuid.clone(), said.task_id.value.clone(), said.agent_id.value.clone());
                let unacknowledged =
                    self.unacknowledged.iter().position(|unacknowledged| *unacknowledged == meant);
                self.check(unacknowledged.is_some(), "an unexpected ACKNOWLEDGE");
                if let Some(unacknowledged) = unacknowledged {
                    self.unacknowledged.remove(unacknowledged);
                }
            }
            Type::Reconcile => {
                for task in &call.reconcile.as_ref().expect("a question").tasks {
                    self.unreconciled.remove(&task.task_id.value);
                }
            }
            Type::Kill => {
                let kill = call.kill.as_ref().expect("a kill");
                let agent = kill.agent_id.as_ref().map(|agent| &agent.value);
                let right = agent.is_none() || agent == self.launches.get(&kill.task_id.value);
                self.check(right, "KILL at another agent");
            }
            Type::Teardown => self.check(false, "TEARDOWN without an operator"),
            _ => {}
        }
    }

    /// Removes an offer that is answered; its agent, or `None` if there is no such offer.
    fn answered(&mut self, offer: &str) -> Option<String> {
        self.offers.remove(offer).or_else(|| self.withdrawn.remove(offer))
    }

    fn check(&mut self, holds: bool, violation: &str) {
        if !holds {
            self.violations.push(violation.to_owned());
        }
    }
}

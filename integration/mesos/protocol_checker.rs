//! Holds a scheduler's calls against what Mesos asks of it.

use std::collections::{BTreeMap, BTreeSet};

use borges_mesos::Call;
use borges_mesos::messages::scheduler::{Event, call::Type, event};
use bytes::Bytes;

use super::scripted_master::FRAMEWORK;

/// What has been said, as far as it binds a scheduler, and which of its calls were wrong.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// SUBSCRIBED has been sent in the subscription that stands.
    subscribed: bool,
    subscriptions: u32,
    /// Offers that are to be answered: their agents.
    offers: BTreeMap<String, String>,
    /// Offers that were taken back: an answer may have been on its way.
    withdrawn: BTreeMap<String, String>,
    /// Launches there have been: their agents.
    launches: BTreeMap<String, String>,
    ended: BTreeSet<String>,
    /// Launches to be asked about in this subscription.
    unsure: BTreeSet<String>,
    /// Updates to be acknowledged, as often as they were sent: uuid, launch, agent.
    owed: Vec<(Bytes, String, String)>,
    faults: Vec<String>,
}

impl Judge {
    /// What was wrong so far.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.faults.clone()
    }

    /// What is still to be done: offers, acknowledgements, questions.
    pub(crate) fn debts(&self) -> Vec<String> {
        let offers = self.offers.keys().map(|offer| format!("{offer} is not answered"));
        let owed =
            self.owed.iter().map(|(_, launch, _)| format!("an update of {launch} is not acknowledged"));
        let unsure = self.unsure.iter().map(|launch| format!("{launch} is not asked about"));
        offers.chain(owed).chain(unsure).collect()
    }

    /// The connection is gone, and offers with it.
    pub(crate) fn lost(&mut self) {
        self.subscribed = false;
        self.offers.clear();
        self.owed.clear();
    }

    pub(crate) fn said(&mut self, event: &Event) {
        match event.r#type() {
            event::Type::Subscribed => {
                self.subscribed = true;
                self.unsure =
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
                    self.owed.push((uuid.clone(), launch.clone(), agent.value.clone()));
                }
                if borges_mesos::events::TaskState::from_wire(status.state).is_terminal() {
                    self.ended.insert(launch.clone());
                    self.unsure.remove(launch);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn called(&mut self, call: &Call) {
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
                    self.check(agent.is_some(), "ACCEPT of an offer that is none");
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
                    self.check(is_new, "a task id for the second time");
                }
            }
            Type::Decline => {
                for offer in &call.decline.as_ref().expect("a decline").offer_ids {
                    let known = self.answered(&offer.value).is_some();
                    self.check(known, "DECLINE of an offer that is none");
                }
            }
            Type::Acknowledge => {
                let said = call.acknowledge.as_ref().expect("an acknowledgement");
                let meant = (said.uuid.clone(), said.task_id.value.clone(), said.agent_id.value.clone());
                let owed = self.owed.iter().position(|owed| *owed == meant);
                self.check(owed.is_some(), "an ACKNOWLEDGE that nobody waits for");
                if let Some(owed) = owed {
                    self.owed.remove(owed);
                }
            }
            Type::Reconcile => {
                for task in &call.reconcile.as_ref().expect("a question").tasks {
                    self.unsure.remove(&task.task_id.value);
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

    /// The agent of an offer that is answered; `None` when it was none.
    fn answered(&mut self, offer: &str) -> Option<String> {
        self.offers.remove(offer).or_else(|| self.withdrawn.remove(offer))
    }

    fn check(&mut self, holds: bool, fault: &str) {
        if !holds {
            self.faults.push(fault.to_owned());
        }
    }
}

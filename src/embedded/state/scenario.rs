//! [`Scenario`], a state machine with a log of its inputs and actions, for tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::action::Action;
use super::agent::{Agent, Identity};
use super::updates::serial_of;
use crate::model::{ClientId, Exit, StartReport, Timestamps};
use borges_mesos::calls;
use borges_mesos::messages::framework_info::{Capability, capability};
use borges_mesos::messages::scheduler::{Call, Event};
use borges_mesos::messages::{AgentId, CommandInfo, FrameworkId, FrameworkInfo, TaskId, TaskInfo};
use borges_mesos::resources::Quantities;

/// A state machine of 4 CPUs and 1000 MiB, and a log of its inputs and actions.
pub(super) struct Scenario {
    pub(super) agent: Agent,
    at: Duration,
    pub(super) log: String,
    /// The last offer of each client.
    pub(super) offers: BTreeMap<ClientId, String>,
    /// The uuid of the last update of each launch, and of the one before it.
    uuids: BTreeMap<String, Vec<Bytes>>,
    pub(super) keys: BTreeMap<String, u64>,
}

impl Scenario {
    pub(super) fn new() -> Self {
        Self::with(false)
    }

    pub(super) fn with(end_with_client: bool) -> Self {
        let incarnation = Uuid::from_u64_pair(1, 2);
        let identity = Identity { agent: "local".into(), hostname: "h".into(), incarnation };
        let total = Quantities { milli_cpus: 4000, mem_mib: 1000, ..Quantities::default() };
        let now = Timestamps { elapsed: Duration::ZERO, wall: 0.0 };
        Self {
            agent: Agent::new(identity, total, end_with_client, now),
            at: Duration::ZERO,
            log: String::new(),
            offers: BTreeMap::new(),
            uuids: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    fn now(&self) -> Timestamps {
        Timestamps { elapsed: self.at, wall: self.at.as_secs_f64() }
    }

    /// Runs one step, and logs the actions that it causes.
    pub(super) fn step(&mut self, input: &str, act: impl FnOnce(&mut Agent, Timestamps, &mut Vec<Action>)) {
        let (now, mut actions) = (self.now(), Vec::new());
        writeln!(self.log, "{input}").unwrap();
        act(&mut self.agent, now, &mut actions);
        self.agent.send_offers(now, &mut actions);
        for action in actions {
            let line = self.format_action(action);
            writeln!(self.log, "    {line}").unwrap();
        }
    }

    fn format_action(&mut self, action: Action) -> String {
        match action {
            Action::Send(client, event) => format!("{client} < {}", self.format_event(client, *event)),
            Action::Close(client) => format!("{client} closed"),
            Action::Launch(launch) => {
                self.keys.insert(launch.id.to_string(), launch.key);
                format!("start {} {:?}", launch.id, launch.spec.arguments)
            }
            Action::Signal(key, stage) => format!("signal {} {stage:?}", self.name(key)),
            Action::RecordStop(key, stop_reason) => format!("record stop {} {stop_reason:?}", self.name(key)),
            Action::LookUpLaunch(_, launch) => format!("look up {launch}"),
            Action::Shutdown => "shut down".to_owned(),
        }
    }

    fn name(&self, key: u64) -> &str {
        self.keys.iter().find(|(_, other)| **other == key).map_or("?", |(name, _)| name)
    }

    fn format_event(&mut self, client: ClientId, event: Event) -> String {
        let name = event.r#type().as_str_name();
        if let Some(subscribed) = event.subscribed {
            return format!("{name} {}", subscribed.framework_id.value);
        }
        if let Some(error) = event.error {
            return format!("{name} {}", error.message);
        }
        if let Some(offers) = event.offers {
            let offer = &offers.offers[0];
            self.offers.insert(client, offer.id.value.clone());
            let amounts = Quantities::of(&offer.resources);
            return format!("{name} cpus {} mem {}", amounts.milli_cpus, amounts.mem_mib);
        }
        let Some(update) = event.update else { return name.to_owned() };
        let status = update.status;
        let launch = status.task_id.value.clone();
        let mut line = format!("{name} {launch} {}", status.state().as_str_name());
        if let Some(uuid) = status.uuid.clone() {
            write!(line, " #{}", serial_of(&self.agent.identity, &uuid).unwrap()).unwrap();
            self.uuids.entry(launch).or_default().push(uuid);
        }
        if status.reason.is_some() {
            write!(line, " {}", status.reason().as_str_name()).unwrap();
        }
        if let Some(message) = &status.message {
            write!(line, " \"{message}\"").unwrap();
        }
        for resource in status.limitation.iter().flat_map(|limitation| &limitation.resources) {
            write!(line, ", at {} {}", resource.name, resource.scalar.unwrap().value).unwrap();
        }
        line
    }

    pub(super) fn subscribe(&mut self, client: ClientId, info: FrameworkInfo) {
        self.step(&format!("{client} SUBSCRIBE"), |agent, now, actions| {
            agent.connected(client);
            agent.call(client, calls::subscribe(info, vec![]), now, actions);
        });
    }

    pub(super) fn call(&mut self, client: ClientId, call: Call) {
        let input = format!("{client} {}", call.r#type().as_str_name());
        self.step(&input, |agent, now, actions| agent.call(client, call, now, actions));
    }

    pub(super) fn accept(&mut self, client: ClientId, tasks: Vec<TaskInfo>, refuse: Option<u64>) {
        let offer = self.offers[&client].clone();
        self.call(client, calls::accept("f", [offer], tasks, refuse.map(Duration::from_secs)));
    }

    /// Reports that a launch runs.
    pub(super) fn runs(&mut self, launch: &str) {
        let key = self.keys[launch];
        self.step(&format!("{launch} runs"), |agent, now, actions| {
            agent.started(key, StartReport::Running, now, actions);
        });
    }

    pub(super) fn ends(&mut self, launch: &str, exit: Exit) {
        let key = self.keys[launch];
        self.step(&format!("{launch} {exit}"), |agent, now, actions| {
            agent.exited(key, exit, None, now, actions);
        });
    }

    /// Acknowledges the last update of a launch.
    pub(super) fn acknowledge(&mut self, client: ClientId, launch: &str) {
        let uuid = self.uuids[launch].last().unwrap().clone();
        let mut call = calls::kill("f", launch, None, None);
        call.r#type = Some(borges_mesos::messages::scheduler::call::Type::Acknowledge as i32);
        call.acknowledge = Some(borges_mesos::messages::scheduler::call::Acknowledge {
            agent_id: AgentId { value: "local".into() },
            task_id: TaskId { value: launch.into() },
            uuid,
        });
        self.call(client, call);
    }

    /// Lets time pass from tick to tick, as the driver does.
    pub(super) fn pass(&mut self, seconds: u64) {
        let end = self.at + Duration::from_secs(seconds);
        while let Some(next) = self.agent.next_tick().filter(|next| *next <= end) {
            self.at = next;
            self.step(&format!("at {}s", next.as_secs_f64()), Agent::tick);
        }
        self.at = end;
    }
}

pub(super) fn framework(id: &str, capabilities: &[capability::Type]) -> FrameworkInfo {
    let capabilities = capabilities.iter().map(|kind| Capability { r#type: Some(*kind as i32) }).collect();
    let id = Some(FrameworkId { value: id.to_owned() }).filter(|id| !id.value.is_empty());
    FrameworkInfo { id, capabilities, ..FrameworkInfo::default() }
}

/// A framework with the capabilities of Borges: partition aware, and with `TASK_KILLING`.
pub(super) fn borges_framework() -> FrameworkInfo {
    framework("f", &[capability::Type::PartitionAware, capability::Type::TaskKillingState])
}

pub(super) fn task(id: &str, milli_cpus: u64) -> TaskInfo {
    let amounts = Quantities { milli_cpus, mem_mib: 100, ..Quantities::default() };
    TaskInfo {
        task_id: TaskId { value: id.into() },
        agent_id: AgentId { value: "local".into() },
        resources: amounts.to_resources(None),
        command: Some(CommandInfo { shell: Some(false), value: Some("sh".into()), ..CommandInfo::default() }),
        ..TaskInfo::default()
    }
}

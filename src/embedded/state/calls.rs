//! Execution of the scheduler's calls.

use std::cmp::Reverse;
use std::rc::Rc;
use std::time::Duration;

use super::action::{Action, send};
use super::agent::{Agent, Framework, HEARTBEAT_INTERVAL, Timer};
use super::offers::{refuse_duration, shortage};
use super::task::{KILL_GRACE, Task, Update};
use super::updates::{serial_of, unreliable_status};
use crate::launch_spec::{Launch, LaunchSpec, OutputLimit};
use crate::model::{ClientId, LaunchHistory, StopReason, Timestamps, is_valid_id};
use borges_mesos::events::TaskState;
use borges_mesos::messages::framework_info::capability::Type as Capability;
use borges_mesos::messages::scheduler::call::{self, Type};
use borges_mesos::messages::scheduler::{Call, Event, event};
use borges_mesos::messages::task_status::Reason;
use borges_mesos::messages::{Filters, FrameworkId, FrameworkInfo, KillPolicy, TaskInfo, offer};
use borges_mesos::resources::Quantities;
use borges_mesos::task_info::MAX_OUTPUT_LABEL;

impl Agent {
    /// Executes a client's call.
    ///
    /// An invalid call is answered with ERROR, and the connection is closed. An unsupported call is logged.
    pub(crate) fn call(&mut self, client: ClientId, call: Call, now: Timestamps, actions: &mut Vec<Action>) {
        let number = call.r#type.unwrap_or_default();
        let kind = Type::try_from(number).unwrap_or_default();
        if kind == Type::Subscribe {
            return match call.subscribe {
                Some(subscribe) => self.subscribe(client, subscribe, call.framework_id, now, actions),
                None => self.reject(client, "a SUBSCRIBE call without a framework", now, actions),
            };
        }
        let Some(Some(framework)) = self.clients.get(&client).cloned() else {
            return self.reject(client, "Framework is not subscribed", now, actions);
        };
        if call.framework_id.as_ref().is_none_or(|id| *id.value != *framework) {
            return self.reject(client, "Framework cannot be found", now, actions);
        }
        let result = match kind {
            Type::Accept => call.accept.map(|accept| self.accept(&framework, accept, now, actions)),
            Type::Decline => call.decline.map(|decline| self.decline(&framework, &decline, now)),
            Type::Acknowledge => {
                call.acknowledge.map(|acknowledge| self.acknowledge(&framework, &acknowledge, now, actions))
            }
            Type::Kill => call.kill.map(|kill| self.kill(&framework, kill, now, actions)),
            Type::Reconcile => {
                call.reconcile.map(|reconcile| self.reconcile(&framework, reconcile, now, actions))
            }
            Type::Revive => self.frameworks.get_mut(&framework).map(|framework| {
                framework.suppressed = false;
                framework.filters.clear();
            }),
            Type::Suppress => {
                self.frameworks.get_mut(&framework).map(|framework| framework.suppressed = true)
            }
            Type::UpdateFramework => call.update_framework.map(|update| {
                if let Some(framework) = self.frameworks.get_mut(&framework) {
                    framework.update_info(&update.framework_info);
                }
            }),
            Type::Teardown => {
                self.teardown(&framework, client, now, actions);
                Some(())
            }
            Type::Subscribe
            | Type::Unknown
            | Type::AcceptInverseOffers
            | Type::DeclineInverseOffers
            | Type::Shutdown
            | Type::AcknowledgeOperationStatus
            | Type::ReconcileOperations
            | Type::Message
            | Type::Request => {
                log::warn!("a call of type {number} ({}) does nothing here", kind.as_str_name());
                Some(())
            }
        };
        if result.is_none() {
            self.reject(
                client,
                &format!("a call of type {} without what belongs to it", kind.as_str_name()),
                now,
                actions,
            );
        }
    }

    /// Sends an ERROR and closes the connection.
    pub(crate) fn reject(
        &mut self,
        client: ClientId,
        message: &str,
        now: Timestamps,
        actions: &mut Vec<Action>,
    ) {
        let error = Some(event::Error { message: message.to_owned() });
        send(client, event::Type::Error, Event { error, ..Event::default() }, actions);
        actions.push(Action::Close(client));
        self.closed(client, now, actions);
    }

    fn subscribe(
        &mut self,
        client: ClientId,
        subscribe: call::Subscribe,
        id: Option<FrameworkId>,
        now: Timestamps,
        actions: &mut Vec<Action>,
    ) {
        let info = subscribe.framework_info;
        let requested_id = id.or_else(|| info.id.clone()).map(|id| id.value).filter(|id| !id.is_empty());
        let name: Rc<str> = match requested_id {
            Some(id) if !is_valid_id(&id) => {
                return self.reject(client, &format!("`{id}` is no framework id"), now, actions);
            }
            Some(id) => id.into(),
            None => {
                let serial = self.next_serial();
                format!("{}-{serial:04}", self.identity.incarnation).into()
            }
        };
        if self.frameworks.get(&name).is_some_and(|framework| framework.removed) {
            return self.reject(client, "Framework has been removed", now, actions);
        }
        if let Some(Some(other)) = self.clients.get(&client).cloned() {
            self.unsubscribe(&other, client);
        }
        if let Some(old) = self.frameworks.get(&name).and_then(|framework| framework.client) {
            self.unsubscribe(&name, old);
            self.clients.insert(old, None);
            // The new client is registered already, so the agent is not left without clients.
            self.reject(old, "Framework failed over", now, actions);
        }
        self.clients.insert(client, Some(name.clone()));
        let framework = self.frameworks.entry(name.clone()).or_default();
        framework.update_info(&info);
        framework.client = Some(client);
        framework.suppressed = !subscribe.suppressed_roles.is_empty();
        let mut tasks: Vec<u64> = framework.tasks.values().copied().collect();
        tasks.sort_unstable();
        let subscribed = Some(event::Subscribed {
            framework_id: FrameworkId { value: name.to_string() },
            heartbeat_interval_seconds: Some(HEARTBEAT_INTERVAL.as_secs_f64()),
            master_info: None,
        });
        send(client, event::Type::Subscribed, Event { subscribed, ..Event::default() }, actions);
        self.timers.push(Reverse((now.elapsed + HEARTBEAT_INTERVAL, Timer::Heartbeat(client))));
        for key in tasks {
            self.send_front(key, now, actions);
        }
    }

    fn accept(&mut self, name: &Rc<str>, accept: call::Accept, now: Timestamps, actions: &mut Vec<Action>) {
        let mut resources = Quantities::default();
        let mut valid = !accept.offer_ids.is_empty();
        for id in &accept.offer_ids {
            match self.offers.take_offer(&id.value, name) {
                Some(amounts) => resources.add(&amounts),
                None => valid = false,
            }
        }
        for operation in accept.operations {
            let kind = operation.r#type();
            for task in operation.launch.map(|launch| launch.task_infos).unwrap_or_default() {
                if valid {
                    self.launch(name, task, &mut resources, now, actions);
                } else {
                    let state = self.never_started_state(name);
                    let message = "the task was launched with an offer that is no longer valid".to_owned();
                    let update = unreliable_status(state, Reason::InvalidOffers, message, now);
                    self.send_unreliable(name, &task.task_id.value, &update, actions);
                }
            }
            for task in operation.launch_group.map(|group| group.task_group.tasks).unwrap_or_default() {
                let message = "the embedded cluster runs single tasks, not groups".to_owned();
                let update = unreliable_status(TaskState::Error, Reason::TaskGroupInvalid, message, now);
                self.send_unreliable(name, &task.task_id.value, &update, actions);
            }
            if !matches!(kind, offer::operation::Type::Launch | offer::operation::Type::LaunchGroup) {
                log::warn!("an operation of type {} does nothing here", kind.as_str_name());
            }
        }
        self.decline_resources(name, resources, accept.filters.as_ref(), now);
    }

    /// Launches one task with resources of an accepted offer.
    fn launch(
        &mut self,
        name: &Rc<str>,
        info: TaskInfo,
        offered: &mut Quantities,
        now: Timestamps,
        actions: &mut Vec<Action>,
    ) {
        let id = info.task_id.value.clone();
        if let Some(key) = self.frameworks.get(name).and_then(|framework| framework.tasks.get(id.as_str())) {
            log::info!("the launch `{id}` is a repeat");
            return self.send_latest_status(*key, now, actions);
        }
        let grace = info.kill_policy.as_ref().and_then(grace_period).unwrap_or(KILL_GRACE);
        let max_completion_time = info.max_completion_time.map(|max| duration_from_wire(max.nanoseconds));
        let wrong_agent = (*info.agent_id.value != *self.identity.agent)
            .then(|| format!("the agent is `{}`, not `{}`", self.identity.agent, info.agent_id.value));
        let output = self.frameworks.get(name).map(|framework| framework.output).unwrap_or_default();
        let spec =
            wrong_agent.map_or(Ok(()), Err).and_then(|()| LaunchSpec::of(info, output)).and_then(|spec| {
                let shortage = shortage(&spec.resources, offered);
                if shortage.is_empty() { Ok(spec) } else { Err(shortage) }
            });
        let spec = match spec {
            Ok(spec) => spec,
            Err(message) => {
                let update = unreliable_status(TaskState::Error, Reason::TaskInvalid, message, now);
                return self.send_unreliable(name, &id, &update, actions);
            }
        };
        offered.subtract(&spec.resources);
        let key = self.next_serial();
        let mut task = Task::new(name.clone(), id.into(), spec.resources.clone());
        task.grace = grace;
        task.max_completion_time = max_completion_time;
        let launch = Launch { key, framework: name.clone(), id: task.launch.clone(), spec };
        if let Some(framework) = self.frameworks.get_mut(name) {
            framework.tasks.insert(task.launch.clone(), key);
        }
        self.tasks.insert(key, task);
        self.live_tasks += 1;
        actions.push(Action::Launch(Box::new(launch)));
    }

    fn decline(&mut self, name: &Rc<str>, decline: &call::Decline, now: Timestamps) {
        let mut resources = Quantities::default();
        for id in &decline.offer_ids {
            if let Some(amounts) = self.offers.take_offer(&id.value, name) {
                resources.add(&amounts);
            }
        }
        self.decline_resources(name, resources, decline.filters.as_ref(), now);
    }

    /// Frees declined resources, and filters them for the framework.
    fn decline_resources(
        &mut self,
        name: &str,
        declined: Quantities,
        filters: Option<&Filters>,
        now: Timestamps,
    ) {
        if declined == Quantities::default() {
            return;
        }
        self.offers.release(&declined);
        let framework = self.frameworks.get_mut(name);
        if let (Some(duration), Some(framework)) = (refuse_duration(filters), framework) {
            let until = now.elapsed.saturating_add(duration);
            if framework.filters.add(declined, until) {
                self.timers.push(Reverse((until, Timer::FilterExpired)));
            }
        }
    }

    fn acknowledge(
        &mut self,
        name: &str,
        acknowledge: &call::Acknowledge,
        now: Timestamps,
        actions: &mut Vec<Action>,
    ) {
        let Some(key) = self.key_of(name, &acknowledge.task_id.value) else { return };
        let Some(serial) = serial_of(&self.identity, &acknowledge.uuid) else { return };
        let Some(task) = self.tasks.get_mut(&key) else { return };
        if task.acknowledge(serial) {
            self.send_front(key, now, actions);
            self.remove_if_complete(key);
        }
    }

    fn kill(&mut self, name: &Rc<str>, kill: call::Kill, now: Timestamps, actions: &mut Vec<Action>) {
        if kill.agent_id.as_ref().is_some_and(|agent| *agent.value != *self.identity.agent) {
            log::warn!("a KILL of `{}` names another agent", kill.task_id.value);
            return;
        }
        match self.key_of(name, &kill.task_id.value) {
            Some(key) => {
                self.stop(
                    key,
                    StopReason::Killed,
                    kill.kill_policy.as_ref().and_then(grace_period),
                    now,
                    actions,
                );
            }
            None => self.look_up_launch(name, kill.task_id.value, now, actions),
        }
    }

    fn reconcile(
        &mut self,
        name: &Rc<str>,
        reconcile: call::Reconcile,
        now: Timestamps,
        actions: &mut Vec<Action>,
    ) {
        if reconcile.tasks.is_empty() {
            let Some(framework) = self.frameworks.get(name) else { return };
            let mut tasks: Vec<u64> = framework.tasks.values().copied().collect();
            tasks.sort_unstable();
            for key in tasks {
                self.send_latest_status(key, now, actions);
            }
        }
        for task in reconcile.tasks {
            match self.key_of(name, &task.task_id.value) {
                Some(key) => self.send_latest_status(key, now, actions),
                None => self.look_up_launch(name, task.task_id.value, now, actions),
            }
        }
    }

    /// Answers from the files of a launch that is not in memory.
    fn look_up_launch(&mut self, name: &Rc<str>, launch: String, now: Timestamps, actions: &mut Vec<Action>) {
        if is_valid_id(&launch) {
            actions.push(Action::LookUpLaunch(name.clone(), launch));
        } else {
            self.launch_looked_up(name, &launch, LaunchHistory::Never, now, actions);
        }
    }

    /// Answers a reconciliation with the latest status of a task.
    fn send_latest_status(&self, key: u64, now: Timestamps, actions: &mut Vec<Action>) {
        let Some(task) = self.tasks.get(&key) else { return };
        let latest = task.latest();
        // A task that is being started has no update yet.
        let state = latest.map_or(TaskState::Staging, |update| update.state);
        let message = latest.and_then(|update| update.message.clone());
        let message = message.unwrap_or_else(|| "reconciliation: latest state".to_owned());
        let limit = latest.and_then(|update| update.limit);
        let update = Update { limit, ..unreliable_status(state, Reason::Reconciliation, message, now) };
        self.send_unreliable(&task.framework, &task.launch, &update, actions);
    }

    fn teardown(&mut self, name: &Rc<str>, client: ClientId, now: Timestamps, actions: &mut Vec<Action>) {
        let Some(framework) = self.frameworks.get_mut(name) else { return };
        framework.removed = true;
        framework.capabilities.task_killing = false;
        let mut tasks: Vec<u64> = framework.tasks.values().copied().collect();
        tasks.sort_unstable();
        for key in tasks {
            if let Some(task) = self.tasks.get_mut(&key) {
                task.silent = true;
            }
            self.stop(key, StopReason::Killed, None, now, actions);
            self.remove_if_complete(key);
        }
        actions.push(Action::Close(client));
        self.closed(client, now, actions);
    }

    /// The key of a framework's task.
    fn key_of(&self, framework: &str, launch: &str) -> Option<u64> {
        self.frameworks.get(framework)?.tasks.get(launch).copied()
    }

    /// The state of a task that was lost before it started.
    fn never_started_state(&self, framework: &str) -> TaskState {
        let partition_aware =
            self.frameworks.get(framework).is_some_and(|framework| framework.capabilities.partition_aware);
        if partition_aware { TaskState::Dropped } else { TaskState::Lost }
    }
}

impl Framework {
    /// Takes over the capabilities, the role and the output limit of a `FrameworkInfo`.
    fn update_info(&mut self, info: &FrameworkInfo) {
        let has = |kind: Capability| info.capabilities.iter().any(|capability| capability.r#type() == kind);
        self.capabilities.task_killing = has(Capability::TaskKillingState);
        self.capabilities.partition_aware = has(Capability::PartitionAware);
        let labels = info.labels.iter().flat_map(|labels| &labels.labels);
        let max_output = labels
            .filter(|label| label.key == MAX_OUTPUT_LABEL)
            .find_map(|label| label.value.as_ref()?.parse().ok());
        self.output = max_output.map_or(OutputLimit::Unlimited, OutputLimit::Capped);
        self.role = info.roles.first().cloned().unwrap_or_else(|| info.role().to_owned());
    }
}

/// The grace period of a kill policy.
fn grace_period(policy: &KillPolicy) -> Option<Duration> {
    policy.grace_period.as_ref().map(|grace| duration_from_wire(grace.nanoseconds))
}

/// A duration of Mesos; zero if negative.
fn duration_from_wire(nanoseconds: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default())
}

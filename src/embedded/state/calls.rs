//! What each call does.

use std::cmp::Reverse;
use std::rc::Rc;
use std::time::Duration;

use super::offers::{refused_for, shortage};
use super::task::{KILL_GRACE, Task, Update};
use super::timers::Timer;
use super::updates::{send, serial_of, unreliable_status};
use super::{Action, Agent, ClientId, Framework, HEARTBEAT, Launch, StopReason, Timestamps};
use crate::launch_spec::LaunchSpec;
use crate::limits::OutputLimit;
use crate::paths::is_name;
use borges_mesos::events::TaskState;
use borges_mesos::messages::framework_info::capability::Type as Capability;
use borges_mesos::messages::scheduler::call::{self, Type};
use borges_mesos::messages::scheduler::{Call, Event, event};
use borges_mesos::messages::task_status::Reason;
use borges_mesos::messages::{Filters, FrameworkId, FrameworkInfo, KillPolicy, TaskInfo, offer};
use borges_mesos::resources::Quantities;
use borges_mesos::task_info::MAX_OUTPUT_LABEL;

impl Agent {
    /// Does what a client says.
    ///
    /// Nonsense is answered with ERROR and the end of the connection; what we do not do is logged.
    pub(crate) fn call(&mut self, peer: ClientId, call: Call, now: Timestamps, out: &mut Vec<Action>) {
        let number = call.r#type.unwrap_or_default();
        let kind = Type::try_from(number).unwrap_or_default();
        if kind == Type::Subscribe {
            return match call.subscribe {
                Some(subscribe) => self.subscribe(peer, subscribe, call.framework_id, now, out),
                None => self.refuse(peer, "a SUBSCRIBE call without a framework", now, out),
            };
        }
        let Some(Some(framework)) = self.peers.get(&peer).cloned() else {
            return self.refuse(peer, "Framework is not subscribed", now, out);
        };
        if call.framework_id.as_ref().is_none_or(|id| *id.value != *framework) {
            return self.refuse(peer, "Framework cannot be found", now, out);
        }
        let done = match kind {
            Type::Accept => call.accept.map(|accept| self.accept(&framework, accept, now, out)),
            Type::Decline => call.decline.map(|decline| self.decline(&framework, &decline, now)),
            Type::Acknowledge => {
                call.acknowledge.map(|acknowledge| self.acknowledge(&framework, &acknowledge, now, out))
            }
            Type::Kill => call.kill.map(|kill| self.kill(&framework, kill, now, out)),
            Type::Reconcile => {
                call.reconcile.map(|reconcile| self.reconcile(&framework, reconcile, now, out))
            }
            Type::Revive => self.frameworks.get_mut(&framework).map(|framework| {
                framework.suppressed = false;
                framework.refusals.lift();
            }),
            Type::Suppress => self.frameworks.get_mut(&framework).map(|it| it.suppressed = true),
            Type::UpdateFramework => call.update_framework.map(|update| {
                if let Some(framework) = self.frameworks.get_mut(&framework) {
                    framework.describe(&update.framework_info);
                }
            }),
            Type::Teardown => {
                self.teardown(&framework, peer, now, out);
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
        if done.is_none() {
            self.refuse(
                peer,
                &format!("a call of type {} without what belongs to it", kind.as_str_name()),
                now,
                out,
            );
        }
    }

    /// Ends a connection that makes no sense.
    pub(crate) fn refuse(&mut self, peer: ClientId, message: &str, now: Timestamps, out: &mut Vec<Action>) {
        let error = Some(event::Error { message: message.to_owned() });
        send(peer, event::Type::Error, Event { error, ..Event::default() }, out);
        out.push(Action::Close(peer));
        self.closed(peer, now, out);
    }

    fn subscribe(
        &mut self,
        peer: ClientId,
        subscribe: call::Subscribe,
        id: Option<FrameworkId>,
        now: Timestamps,
        out: &mut Vec<Action>,
    ) {
        let info = subscribe.framework_info;
        let given = id.or_else(|| info.id.clone()).map(|id| id.value).filter(|id| !id.is_empty());
        let name: Rc<str> = match given {
            Some(id) if !is_name(&id) => {
                return self.refuse(peer, &format!("`{id}` is no framework id"), now, out);
            }
            Some(id) => id.into(),
            None => {
                let serial = self.next();
                format!("{}-{serial:04}", self.identity.incarnation).into()
            }
        };
        if self.frameworks.get(&name).is_some_and(|framework| framework.removed) {
            return self.refuse(peer, "Framework has been removed", now, out);
        }
        if let Some(Some(other)) = self.peers.get(&peer).cloned() {
            self.unsubscribe(&other, peer);
        }
        if let Some(old) = self.frameworks.get(&name).and_then(|framework| framework.peer) {
            self.unsubscribe(&name, old);
            self.peers.insert(old, None);
            // The new one is a client already: the old one's end is not the last one's.
            self.refuse(old, "Framework failed over", now, out);
        }
        self.peers.insert(peer, Some(name.clone()));
        let framework = self.frameworks.entry(name.clone()).or_default();
        framework.describe(&info);
        framework.peer = Some(peer);
        framework.suppressed = !subscribe.suppressed_roles.is_empty();
        let mut tasks: Vec<u64> = framework.tasks.values().copied().collect();
        tasks.sort_unstable();
        let subscribed = Some(event::Subscribed {
            framework_id: FrameworkId { value: name.to_string() },
            heartbeat_interval_seconds: Some(HEARTBEAT.as_secs_f64()),
            master_info: None,
        });
        send(peer, event::Type::Subscribed, Event { subscribed, ..Event::default() }, out);
        self.timers.push(Reverse((now.elapsed + HEARTBEAT, Timer::Heartbeat(peer))));
        for key in tasks {
            self.send_front(key, now, out);
        }
    }

    fn accept(&mut self, name: &Rc<str>, accept: call::Accept, now: Timestamps, out: &mut Vec<Action>) {
        let mut pool = Quantities::default();
        let mut valid = !accept.offer_ids.is_empty();
        for id in &accept.offer_ids {
            match self.offers.answered(&id.value, name) {
                Some(amounts) => pool.add(&amounts),
                None => valid = false,
            }
        }
        for operation in accept.operations {
            let kind = operation.r#type();
            for task in operation.launch.map(|launch| launch.task_infos).unwrap_or_default() {
                if valid {
                    self.launch(name, task, &mut pool, now, out);
                } else {
                    let state = self.never_started(name);
                    let message = "the task was launched with an offer that is no longer valid".to_owned();
                    let update = unreliable_status(state, Reason::InvalidOffers, message, now);
                    self.send_unreliable(name, &task.task_id.value, &update, out);
                }
            }
            for task in operation.launch_group.map(|group| group.task_group.tasks).unwrap_or_default() {
                let message = "the embedded cluster runs single tasks, not groups".to_owned();
                let update = unreliable_status(TaskState::Error, Reason::TaskGroupInvalid, message, now);
                self.send_unreliable(name, &task.task_id.value, &update, out);
            }
            if !matches!(kind, offer::operation::Type::Launch | offer::operation::Type::LaunchGroup) {
                log::warn!("an operation of type {} does nothing here", kind.as_str_name());
            }
        }
        self.decline_amounts(name, pool, accept.filters.as_ref(), now);
    }

    /// Starts one task on what is left of an accepted offer.
    fn launch(
        &mut self,
        name: &Rc<str>,
        info: TaskInfo,
        pool: &mut Quantities,
        now: Timestamps,
        out: &mut Vec<Action>,
    ) {
        let id = info.task_id.value.clone();
        if let Some(key) = self.frameworks.get(name).and_then(|framework| framework.tasks.get(id.as_str())) {
            log::info!("the launch `{id}` is a repeat");
            return self.tell(*key, now, out);
        }
        let grace = info.kill_policy.as_ref().and_then(grace).unwrap_or(KILL_GRACE);
        let limit = info.max_completion_time.map(|limit| nanoseconds(limit.nanoseconds));
        let agent = (*info.agent_id.value != *self.identity.agent)
            .then(|| format!("the agent is `{}`, not `{}`", self.identity.agent, info.agent_id.value));
        let output = self.frameworks.get(name).map(|framework| framework.output).unwrap_or_default();
        let work = agent.map_or(Ok(()), Err).and_then(|()| LaunchSpec::of(info, output)).and_then(|work| {
            let shortage = shortage(&work.held, pool);
            if shortage.is_empty() { Ok(work) } else { Err(shortage) }
        });
        let work = match work {
            Ok(work) => work,
            Err(message) => {
                let update = unreliable_status(TaskState::Error, Reason::TaskInvalid, message, now);
                return self.send_unreliable(name, &id, &update, out);
            }
        };
        pool.subtract(&work.held);
        let key = self.next();
        let mut task = Task::new(name.clone(), id.into(), work.held.clone());
        task.grace = grace;
        task.limit = limit;
        let launch = Launch { key, framework: name.clone(), id: task.launch.clone(), work };
        if let Some(framework) = self.frameworks.get_mut(name) {
            framework.tasks.insert(task.launch.clone(), key);
        }
        self.tasks.insert(key, task);
        self.alive += 1;
        out.push(Action::Launch(Box::new(launch)));
    }

    fn decline(&mut self, name: &Rc<str>, decline: &call::Decline, now: Timestamps) {
        let mut pool = Quantities::default();
        for id in &decline.offer_ids {
            if let Some(amounts) = self.offers.answered(&id.value, name) {
                pool.add(&amounts);
            }
        }
        self.decline_amounts(name, pool, decline.filters.as_ref(), now);
    }

    /// Gives back what an answer left, and remembers that it was not wanted.
    fn decline_amounts(&mut self, name: &str, left: Quantities, filters: Option<&Filters>, now: Timestamps) {
        if left == Quantities::default() {
            return;
        }
        self.offers.release(&left);
        let framework = self.frameworks.get_mut(name);
        if let (Some(refuse), Some(framework)) = (refused_for(filters), framework) {
            let until = now.elapsed.saturating_add(refuse);
            if framework.refusals.push(left, until) {
                self.timers.push(Reverse((until, Timer::Refusal)));
            }
        }
    }

    fn acknowledge(
        &mut self,
        name: &str,
        acknowledge: &call::Acknowledge,
        now: Timestamps,
        out: &mut Vec<Action>,
    ) {
        let Some(key) = self.key(name, &acknowledge.task_id.value) else { return };
        let Some(serial) = serial_of(&self.identity, &acknowledge.uuid) else { return };
        let Some(task) = self.tasks.get_mut(&key) else { return };
        if task.acknowledge(serial) {
            self.send_front(key, now, out);
            self.forget_if_over(key);
        }
    }

    fn kill(&mut self, name: &Rc<str>, kill: call::Kill, now: Timestamps, out: &mut Vec<Action>) {
        if kill.agent_id.as_ref().is_some_and(|agent| *agent.value != *self.identity.agent) {
            log::warn!("a KILL of `{}` names another agent", kill.task_id.value);
            return;
        }
        match self.key(name, &kill.task_id.value) {
            Some(key) => {
                self.stop(key, StopReason::Killed, kill.kill_policy.as_ref().and_then(grace), now, out);
            }
            None => self.recall(name, kill.task_id.value, now, out),
        }
    }

    fn reconcile(
        &mut self,
        name: &Rc<str>,
        reconcile: call::Reconcile,
        now: Timestamps,
        out: &mut Vec<Action>,
    ) {
        if reconcile.tasks.is_empty() {
            let Some(framework) = self.frameworks.get(name) else { return };
            let mut tasks: Vec<u64> = framework.tasks.values().copied().collect();
            tasks.sort_unstable();
            for key in tasks {
                self.tell(key, now, out);
            }
        }
        for task in reconcile.tasks {
            match self.key(name, &task.task_id.value) {
                Some(key) => self.tell(key, now, out),
                None => self.recall(name, task.task_id.value, now, out),
            }
        }
    }

    fn recall(&mut self, name: &Rc<str>, launch: String, now: Timestamps, out: &mut Vec<Action>) {
        if is_name(&launch) {
            out.push(Action::LookUpLaunch(name.clone(), launch));
        } else {
            self.launch_looked_up(name, &launch, super::LaunchHistory::Never, now, out);
        }
    }

    /// Answers with what a task is.
    fn tell(&self, key: u64, now: Timestamps, out: &mut Vec<Action>) {
        let Some(task) = self.tasks.get(&key) else { return };
        let latest = task.latest();
        // What is being made ready has no update yet.
        let state = latest.map_or(TaskState::Staging, |update| update.state);
        let message = latest.and_then(|update| update.message.clone());
        let message = message.unwrap_or_else(|| "reconciliation: latest state".to_owned());
        let limit = latest.and_then(|update| update.limit);
        let update = Update { limit, ..unreliable_status(state, Reason::Reconciliation, message, now) };
        self.send_unreliable(&task.framework, &task.launch, &update, out);
    }

    fn teardown(&mut self, name: &Rc<str>, peer: ClientId, now: Timestamps, out: &mut Vec<Action>) {
        let Some(framework) = self.frameworks.get_mut(name) else { return };
        framework.removed = true;
        framework.able.task_killing = false;
        let mut tasks: Vec<u64> = framework.tasks.values().copied().collect();
        tasks.sort_unstable();
        for key in tasks {
            if let Some(task) = self.tasks.get_mut(&key) {
                task.silent = true;
            }
            self.stop(key, StopReason::Killed, None, now, out);
            self.forget_if_over(key);
        }
        out.push(Action::Close(peer));
        self.closed(peer, now, out);
    }

    fn key(&self, framework: &str, launch: &str) -> Option<u64> {
        self.frameworks.get(framework)?.tasks.get(launch).copied()
    }

    /// The state of a task that the cluster lost before it started.
    fn never_started(&self, framework: &str) -> TaskState {
        let aware = self.frameworks.get(framework).is_some_and(|framework| framework.able.partition_aware);
        if aware { TaskState::Dropped } else { TaskState::Lost }
    }
}

impl Framework {
    fn describe(&mut self, info: &FrameworkInfo) {
        let has =
            |wanted: Capability| info.capabilities.iter().any(|capability| capability.r#type() == wanted);
        self.able.task_killing = has(Capability::TaskKillingState);
        self.able.partition_aware = has(Capability::PartitionAware);
        let labels = info.labels.iter().flat_map(|labels| &labels.labels);
        let most = labels
            .filter(|label| label.key == MAX_OUTPUT_LABEL)
            .find_map(|label| label.value.as_ref()?.parse().ok());
        self.output = most.map_or(OutputLimit::Unlimited, OutputLimit::Capped);
        self.role = info.roles.first().cloned().unwrap_or_else(|| info.role().to_owned());
    }
}

fn grace(policy: &KillPolicy) -> Option<Duration> {
    policy.grace_period.as_ref().map(|grace| nanoseconds(grace.nanoseconds))
}

/// A duration from the wire; a negative one is none.
fn nanoseconds(nanoseconds: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default())
}

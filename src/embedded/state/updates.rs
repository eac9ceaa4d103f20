//! What a scheduler is told of its tasks.

use std::cmp::Reverse;

use bytes::Bytes;
use uuid::Uuid;

use super::task::{Task, UPDATE_RESEND, Update};
use super::timers::Timer;
use super::{Action, Agent, ClientId, Identity, StopReason, Timestamps};
use crate::limits::LimitExceeded;
use borges_mesos::events::TaskState;
use borges_mesos::messages::scheduler::{Event, event, event::Type};
use borges_mesos::messages::task_status::{Reason, Source};
use borges_mesos::messages::{AgentId, ExecutorId, TaskId, TaskResourceLimitation, TaskStatus};
use borges_mesos::resources::Quantities;

impl Agent {
    /// Adds to a task's stream of updates.
    pub(super) fn update(
        &mut self,
        key: u64,
        state: TaskState,
        reason: Option<Reason>,
        message: Option<String>,
        now: Timestamps,
        out: &mut Vec<Action>,
    ) {
        let serial = self.next();
        let Some(task) = self.tasks.get_mut(&key) else { return };
        let limit = task.stop.and_then(StopReason::limit).filter(|_| state == TaskState::Failed);
        if !task.silent && task.push(Update { serial, state, reason, message, limit, wall: now.wall }) {
            self.send_front(key, now, out);
        }
        self.forget_if_over(key);
    }

    pub(super) fn forget_if_over(&mut self, key: u64) {
        if self.tasks.get(&key).is_some_and(Task::is_over)
            && let Some(task) = self.tasks.remove(&key)
            && let Some(framework) = self.frameworks.get_mut(&task.framework)
        {
            framework.tasks.remove(&task.launch);
        }
    }

    /// Sends the update under way, if somebody listens, and again later if nobody acknowledges.
    pub(super) fn send_front(&mut self, key: u64, now: Timestamps, out: &mut Vec<Action>) {
        let Some(task) = self.tasks.get_mut(&key) else { return };
        task.resend_at = None;
        let Some(peer) = self.frameworks.get(&task.framework).and_then(|framework| framework.peer) else {
            return;
        };
        let Some(update) = task.front() else { return };
        let status = TaskStatus {
            executor_id: Some(ExecutorId { value: task.launch.to_string() }),
            uuid: Some(uuid(&self.identity, update.serial)),
            source: Some(Source::Executor as i32),
            ..status(&self.identity, &task.launch, update)
        };
        send_update(peer, status, out);
        let at = now.elapsed + UPDATE_RESEND;
        task.resend_at = Some(at);
        self.timers.push(Reverse((at, Timer::Resend(key))));
    }

    /// Sends a status that is part of no stream: no uuid, no acknowledgement, from the master.
    pub(super) fn send_unreliable(
        &self,
        framework: &str,
        launch: &str,
        update: &Update,
        out: &mut Vec<Action>,
    ) {
        let Some(peer) = self.frameworks.get(framework).and_then(|framework| framework.peer) else { return };
        send_update(peer, status(&self.identity, launch, update), out);
    }
}

/// A status that is part of no stream.
pub(super) fn unreliable_status(
    state: TaskState,
    reason: Reason,
    message: String,
    now: Timestamps,
) -> Update {
    let (reason, message) = (Some(reason), Some(message));
    Update { serial: 0, state, reason, message, limit: None, wall: now.wall }
}

pub(super) fn status(identity: &Identity, launch: &str, update: &Update) -> TaskStatus {
    TaskStatus {
        task_id: TaskId { value: launch.to_owned() },
        state: update.state.to_wire(),
        message: update.message.clone(),
        source: Some(Source::Master as i32),
        reason: update.reason.map(|reason| reason as i32),
        agent_id: Some(AgentId { value: identity.agent.clone() }),
        timestamp: Some(update.wall),
        limitation: update.limit.map(limitation),
        ..TaskStatus::default()
    }
}

/// What of a limit is in whole MiB, as Mesos tells it.
fn limitation(excess: LimitExceeded) -> TaskResourceLimitation {
    let amounts = match excess {
        LimitExceeded::Memory(mem_mib) => Quantities { mem_mib, ..Quantities::default() },
        LimitExceeded::Output(_, bytes) => {
            Quantities { disk_mib: bytes.div_ceil(1 << 20), ..Quantities::default() }
        }
    };
    TaskResourceLimitation { resources: amounts.to_resources(None) }
}

/// Names an update: half the agent's incarnation, half the update's number.
pub(super) fn uuid(identity: &Identity, serial: u64) -> Bytes {
    let (_, random) = identity.incarnation.as_u64_pair();
    Bytes::copy_from_slice(Uuid::from_u64_pair(random, serial).as_bytes())
}

/// The number that [`uuid`] has in it, if it is one of this agent's.
pub(super) fn serial_of(identity: &Identity, uuid: &[u8]) -> Option<u64> {
    let (random, serial) = Uuid::from_slice(uuid).ok()?.as_u64_pair();
    (random == identity.incarnation.as_u64_pair().1).then_some(serial)
}

pub(super) fn send_update(peer: ClientId, status: TaskStatus, out: &mut Vec<Action>) {
    let update = Some(event::Update { status });
    send(peer, Type::Update, Event { update, ..Event::default() }, out);
}

pub(super) fn send(peer: ClientId, kind: Type, event: Event, out: &mut Vec<Action>) {
    out.push(Action::Send(peer, Box::new(Event { r#type: Some(kind as i32), ..event })));
}

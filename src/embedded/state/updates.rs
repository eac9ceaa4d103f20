//! Status updates: a task's stream of acknowledged updates, and updates outside of it.

use std::cmp::Reverse;

use bytes::Bytes;
use uuid::Uuid;

use super::action::{Action, send};
use super::agent::{Agent, Identity, Timer};
use super::task::{Task, UPDATE_RESEND, Update};
use crate::model::{ClientId, LimitExceeded, StopReason, Timestamps};
use borges_mesos::events::TaskState;
use borges_mesos::messages::scheduler::{Event, event, event::Type};
use borges_mesos::messages::task_status::{Reason, Source};
use borges_mesos::messages::{AgentId, ExecutorId, TaskId, TaskResourceLimitation, TaskStatus};
use borges_mesos::resources::Quantities;

impl Agent {
    /// Appends an update to a task's stream, and sends it if no other is unacknowledged.
    pub(super) fn update(
        &mut self,
        key: u64,
        state: TaskState,
        reason: Option<Reason>,
        message: Option<String>,
        now: Timestamps,
        actions: &mut Vec<Action>,
    ) {
        let serial = self.next_serial();
        let Some(task) = self.tasks.get_mut(&key) else { return };
        let limit = task.stop_reason.and_then(StopReason::limit).filter(|_| state == TaskState::Failed);
        if !task.silent && task.push(Update { serial, state, reason, message, limit, wall: now.wall }) {
            self.send_front(key, now, actions);
        }
        self.remove_if_complete(key);
    }

    /// Removes a task whose process has ended and whose updates are acknowledged.
    pub(super) fn remove_if_complete(&mut self, key: u64) {
        if self.tasks.get(&key).is_some_and(Task::is_complete)
            && let Some(task) = self.tasks.remove(&key)
            && let Some(framework) = self.frameworks.get_mut(&task.framework)
        {
            framework.tasks.remove(&task.launch);
        }
    }

    /// Sends the first unacknowledged update if the framework is connected, and sets the timer that resends it.
    pub(super) fn send_front(&mut self, key: u64, now: Timestamps, actions: &mut Vec<Action>) {
        let Some(task) = self.tasks.get_mut(&key) else { return };
        task.resend_at = None;
        let Some(client) = self.frameworks.get(&task.framework).and_then(|framework| framework.client) else {
            return;
        };
        let Some(update) = task.front() else { return };
        let status = TaskStatus {
            executor_id: Some(ExecutorId { value: task.launch.to_string() }),
            uuid: Some(update_uuid(&self.identity, update.serial)),
            source: Some(Source::Executor as i32),
            ..status(&self.identity, &task.launch, update)
        };
        send_update(client, status, actions);
        let at = now.elapsed + UPDATE_RESEND;
        task.resend_at = Some(at);
        self.timers.push(Reverse((at, Timer::Resend(key))));
    }

    /// Sends a status that is not part of the stream: from the master, without uuid, not to be acknowledged.
    pub(super) fn send_unreliable(
        &self,
        framework: &str,
        launch: &str,
        update: &Update,
        actions: &mut Vec<Action>,
    ) {
        let Some(client) = self.frameworks.get(framework).and_then(|framework| framework.client) else {
            return;
        };
        send_update(client, status(&self.identity, launch, update), actions);
    }
}

/// An update that is not part of a stream.
pub(super) fn unreliable_status(
    state: TaskState,
    reason: Reason,
    message: String,
    now: Timestamps,
) -> Update {
    let (reason, message) = (Some(reason), Some(message));
    Update { serial: 0, state, reason, message, limit: None, wall: now.wall }
}

fn status(identity: &Identity, launch: &str, update: &Update) -> TaskStatus {
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

/// The exceeded limit as Mesos' resources, in MiB (rounded up).
fn limitation(exceeded: LimitExceeded) -> TaskResourceLimitation {
    let amounts = match exceeded {
        LimitExceeded::Memory(mem_mib) => Quantities { mem_mib, ..Quantities::default() },
        LimitExceeded::Output(_, bytes) => {
            Quantities { disk_mib: bytes.div_ceil(1 << 20), ..Quantities::default() }
        }
    };
    TaskResourceLimitation { resources: amounts.to_resources(None) }
}

/// The uuid of an update: half of the agent's incarnation, and the update's serial number.
pub(super) fn update_uuid(identity: &Identity, serial: u64) -> Bytes {
    let (_, random) = identity.incarnation.as_u64_pair();
    Bytes::copy_from_slice(Uuid::from_u64_pair(random, serial).as_bytes())
}

/// The serial number in a uuid of [`update_uuid`]; `None` if it is not of this agent.
pub(super) fn serial_of(identity: &Identity, uuid: &[u8]) -> Option<u64> {
    let (random, serial) = Uuid::from_slice(uuid).ok()?.as_u64_pair();
    (random == identity.incarnation.as_u64_pair().1).then_some(serial)
}

fn send_update(client: ClientId, status: TaskStatus, actions: &mut Vec<Action>) {
    let update = Some(event::Update { status });
    send(client, Type::Update, Event { update, ..Event::default() }, actions);
}

//! The messages between the scheduler and the supervisors of tasks.

use actix::Message;

use borges_mesos::StatusUpdate;
use borges_store::TaskRecord;
use borges_task::{Input, LaunchId, TaskId};

/// To a supervisor: the scheduler accepts an offer for the next launch of the task. The intent of that launch is stored.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Placed {
    pub(super) agent: String,
    pub(super) framework: String,
}

/// To a supervisor: the cluster sent a status update for a launch of the task.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct StatusUpdated {
    pub(super) launch: LaunchId,
    pub(super) update: Box<StatusUpdate>,
}

/// To a supervisor: any other input of the state machine.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct TaskInput(pub(super) Input);

/// To the scheduler: the task needs an offer again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct TaskQueued(pub(super) TaskId);

/// To the scheduler: the state of the task has changed, and the new state is stored.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct TaskChanged(pub(super) TaskRecord);

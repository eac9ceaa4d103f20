//! The requests that the engine sends to the scheduler. Their replies are in `replies`.

use std::sync::Arc;

use actix::Message;
use bytes::Bytes;

use super::super::counters::Counters;
use super::super::error::{PersistError, SubmitError};
use super::replies::{
    DirectoryRead, FileRead, RunAccepted, RunOutputs, RunProgress, Stats, TaskProgress, WaitingGroup,
};
use borges_plan::{CacheMode, Plan};
use borges_task::{LaunchId, RunId, TaskId};

/// A document to be run.
#[derive(Debug)]
pub struct Submission {
    /// The title of the document.
    pub title: String,
    /// The document, byte for byte.
    pub document: Bytes,
    /// The plan of the document.
    pub plan: Plan,
    /// The idempotency key that the client chose. The same document under the same key is the same run: it is not
    /// launched again.
    pub key: Option<String>,
    /// Which tasks are answered from the result cache.
    pub caching: CacheMode,
}

/// Run a document. Answered once every task of the run is stored.
#[derive(Debug, Message)]
#[rtype(result = "Result<RunAccepted, SubmitError>")]
pub(crate) struct SubmitDocument(pub(crate) Submission);

/// Kill a task. Answered once the request is stored, with `false` if the task does not exist.
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, PersistError>")]
pub(crate) struct KillTask(pub(crate) TaskId);

/// Kill all tasks of a run. Answered once the request is stored, with `false` if the run does not exist.
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, PersistError>")]
pub(crate) struct KillRun(pub(crate) RunId);

/// Read at most `length` bytes of each file in the sandbox of a launch, from its offset. Answered in the same order.
#[derive(Debug, Message)]
#[rtype(result = "Vec<FileRead>")]
pub(crate) struct ReadOutput {
    pub(crate) launch: LaunchId,
    pub(crate) files: Vec<(Arc<str>, u64)>,
    pub(crate) length: usize,
}

/// List a directory in the sandbox of a launch.
#[derive(Debug, Message)]
#[rtype(result = "DirectoryRead")]
pub(crate) struct ListFiles {
    pub(crate) launch: LaunchId,
    pub(crate) path: Arc<str>,
}

/// Read the file with this number in the payload of a launch. Answered with `None` unless the launch is active.
#[derive(Debug, Message)]
#[rtype(result = "Option<Bytes>")]
pub(crate) struct ReadPayloadFile {
    pub(crate) launch: LaunchId,
    pub(crate) number: usize,
}

/// Close the subscription and do not subscribe again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Disconnect;

/// List the tasks of a run that wait for an offer, grouped by reason.
#[derive(Debug, Message)]
#[rtype(result = "Vec<WaitingGroup>")]
pub(crate) struct ListWaiting(pub(crate) RunId);

/// List at most `limit` runs that are older than `before`, newest first.
#[derive(Debug, Message)]
#[rtype(result = "Vec<RunProgress>")]
pub(crate) struct ListRuns {
    pub(crate) before: Option<RunId>,
    pub(crate) limit: usize,
}

/// Describe a run.
#[derive(Debug, Message)]
#[rtype(result = "Option<RunProgress>")]
pub(crate) struct GetRun(pub(crate) RunId);

/// List at most `limit` tasks after `after`, of `run` or of all runs, in order.
#[derive(Debug, Message)]
#[rtype(result = "Vec<TaskProgress>")]
pub(crate) struct ListTasks {
    pub(crate) run: Option<RunId>,
    pub(crate) after: Option<TaskId>,
    pub(crate) limit: usize,
}

/// List the running tasks of a run, or of all runs, with the attempts of their current launches.
#[derive(Debug, Message)]
#[rtype(result = "Vec<(TaskId, u32)>")]
pub(crate) struct ListRunning(pub(crate) Option<RunId>);

/// Describe a task.
#[derive(Debug, Message)]
#[rtype(result = "Option<TaskProgress>")]
pub(crate) struct GetTask(pub(crate) TaskId);

/// Read the values and files that a run has produced so far.
#[derive(Debug, Message)]
#[rtype(result = "Option<RunOutputs>")]
pub(crate) struct GetRunOutputs(pub(crate) RunId);

/// Count runs, tasks and offers.
#[derive(Debug, Message)]
#[rtype(result = "Stats")]
pub(crate) struct GetStats(pub(crate) Arc<Counters>);

//! The records of a store and their bytes.
//!
//! Each record is one byte of version and its fields, encoded by postcard. postcard stores no names, so adding,
//! removing or moving a field is a new version.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::event::LoggedEvent;
use borges_plan::{CacheMode, Recipes};
use borges_task::{BackoffTimer, Edge, History, LaunchId, RunId, RunState, State, TaskId, TaskSpec};

/// A run, as it was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its id.
    pub id: RunId,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// What the document is called: a file's name, or empty.
    pub title: String,
    /// The document, byte for byte.
    pub document: Bytes,
    /// The client's own name for this submission, by which it can safely be repeated.
    pub key: Option<String>,
    /// Its tasks, in the order of their numbers.
    pub tasks: Vec<Arc<TaskSpec>>,
    /// The dependencies between its tasks.
    pub edges: Vec<Edge>,
    /// How its tasks are put together; in the order of their numbers.
    pub recipes: Recipes,
    /// Which of them are not run again where a result is kept.
    pub caching: CacheMode,
}

/// What has become of a task that has been launched, or that ended without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Its id.
    pub id: TaskId,
    /// Where it stands.
    pub state: State,
    /// The history of its launches.
    pub history: History,
    /// The agent of its last launch.
    pub agent: Option<String>,
    /// What the cluster said of it last, in words.
    pub message: Option<String>,
    /// The pause before its next launch, of one that is delayed.
    pub pause: Option<BackoffTimer>,
}

/// A launch that may have been accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchIntent {
    /// The launch.
    pub launch: LaunchId,
    /// The agent it was meant for: a cluster that has forgotten a launch can say of a known agent that it is not
    /// there, and of an unknown one nothing. `None` in what an older Borges saved.
    pub agent: Option<String>,
}

/// The state of a run that does not follow from its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunMarker {
    /// A person wants it ended as a whole.
    KillRequested,
    /// It has ended, and its end was published.
    Ended {
        /// How.
        state: RunState,
        /// When; `None` in what an older Borges saved.
        at: Option<Timestamp>,
    },
}

/// The output files of an ended task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultRecord {
    /// The task.
    pub task: TaskId,
    /// Which of its launches.
    pub attempt: u32,
    /// The block's name, or `line-14`.
    pub block: Arc<str>,
    /// The block's line.
    pub line: u32,
    /// Which instance of the block.
    pub index: u32,
    /// What is in its sandbox.
    pub files: Vec<ResultFile>,
}

/// An output file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultFile {
    /// Within the sandbox.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content. `None` if the file exceeds the value limit, or its head was truncated.
    pub sha256: Option<[u8; 32]>,
}

impl VersionedRecord for ResultRecord {
    const NAME: &'static str = "result";
}

/// Something to be made durable.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteOp {
    /// A run was accepted.
    Run(Arc<RunRecord>),
    /// These launches may be accepted from now on, each on its agent.
    Intents(Vec<LaunchIntent>),
    /// A task has changed.
    Task(TaskRecord),
    /// What tasks have left that have ended.
    Results(Vec<ResultRecord>),
    /// What is to be known of a run from now on.
    MarkRun(RunId, RunMarker),
    /// Events, with sequence numbers that continue those stored before, without a gap.
    Events(Vec<LoggedEvent>),
    /// The cluster gave us this framework id.
    Framework(String),
    /// These runs are kept no longer, nor what has happened in them.
    DeleteRuns(Vec<RunId>),
}

/// All that is stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// Runs, oldest first.
    pub runs: Vec<RunRecord>,
    /// Launches that may have been accepted, in order.
    pub intents: Vec<LaunchIntent>,
    /// Tasks that have changed since they were accepted, in order.
    pub tasks: Vec<TaskRecord>,
    /// Tasks of which it is known what they have left, in order.
    pub results: Vec<TaskId>,
    /// What is to be known of runs besides, in order.
    pub run_markers: Vec<(RunId, RunMarker)>,
    /// The sequence number of the last event. 0 if there is none.
    pub last_seq: u64,
    /// The framework id.
    pub framework: Option<String>,
}

/// A kind of value.
pub(super) trait VersionedRecord: Serialize + DeserializeOwned {
    /// As in "the store holds a … that cannot be read".
    const NAME: &'static str;
    /// The version that is written.
    const VERSION: u8 = 1;

    /// The version, then the fields.
    fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        postcard::to_extend(self, vec![Self::VERSION]).map_err(|error| corrupt::<Self>(&error))
    }

    /// The value of these bytes.
    fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        let Some((&version, fields)) = bytes.split_first() else {
            return Err(StoreError::Corrupt { record: Self::NAME, reason: "it is empty".to_owned() });
        };
        if version != Self::VERSION {
            return Err(StoreError::UnsupportedVersion { record: Self::NAME, version });
        }
        postcard::from_bytes(fields).map_err(|error| corrupt::<Self>(&error))
    }
}

fn corrupt<V: VersionedRecord>(error: &postcard::Error) -> StoreError {
    StoreError::Corrupt { record: V::NAME, reason: error.to_string() }
}

impl VersionedRecord for RunRecord {
    const NAME: &'static str = "run";
}

/// What is stored of an intent, by its launch.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredIntent {
    pub(super) agent: Option<String>,
}

/// Something there is one of.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredString(pub(super) String);

impl VersionedRecord for StoredString {
    const NAME: &'static str = "framework's id";
}

impl VersionedRecord for StoredIntent {
    const NAME: &'static str = "intent to launch";
}

impl VersionedRecord for RunMarker {
    const NAME: &'static str = "mark of a run";
}

impl VersionedRecord for TaskRecord {
    const NAME: &'static str = "task";
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn record() -> TaskRecord {
        let history =
            History { attempt: 2, failures: 1, early_exits: 1, exit_code: Some(143), ..History::default() };
        TaskRecord {
            id: RunId(Uuid::from_u128(7)).task(3),
            state: State::Killed,
            history,
            agent: Some("a".to_owned()),
            message: None,
            pause: None,
        }
    }

    /// The bytes are those of the format: a change of them is a new version.
    #[test]
    fn task_records_have_fixed_bytes() {
        let bytes = |pause: &[u8]| {
            let id = [16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 3];
            let rest = [10, 2, 1, 1, 1, 158, 2, 0, 0, 1, 1, b'a', 0];
            [&[1][..], &id, &rest, pause].concat()
        };
        assert_eq!(record().to_bytes().unwrap(), bytes(&[0]));
        assert_eq!(TaskRecord::from_bytes(&bytes(&[0])).unwrap(), record());
        let pause = BackoffTimer::new(std::time::Duration::from_secs(3), Timestamp::UNIX_EPOCH);
        let delayed = TaskRecord { pause: Some(pause), ..record() };
        let stored = [&[1, 20][..], b"1970-01-01T00:00:03Z", &[3, 0]].concat();
        assert_eq!(delayed.to_bytes().unwrap(), bytes(&stored));
        assert_eq!(TaskRecord::from_bytes(&bytes(&stored)).unwrap(), delayed);
    }

    #[test]
    fn result_records_have_fixed_bytes() {
        let file = |size, sha256| ResultFile { path: "block/value".to_owned(), size, sha256 };
        let result = ResultRecord {
            task: RunId(Uuid::from_u128(7)).task(3),
            attempt: 2,
            block: "b".into(),
            line: 14,
            index: 1,
            files: vec![file(5, Some([9; 32])), file(300, None)],
        };
        let bytes = [
            &[1, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 3, 2, 1, b'b', 14, 1, 2][..],
            &[&[11][..], b"block/value", &[5, 1], &[9; 32]].concat(),
            &[&[11][..], b"block/value", &[172, 2, 0]].concat(),
        ]
        .concat();
        assert_eq!(result.to_bytes().unwrap(), bytes);
        assert_eq!(ResultRecord::from_bytes(&bytes).unwrap(), result);
    }

    #[test]
    fn run_markers_have_fixed_bytes() {
        let ended = RunMarker::Ended { state: RunState::Killed, at: Some(Timestamp::UNIX_EPOCH) };
        let bytes = [&[1, 1, 3, 1, 20][..], b"1970-01-01T00:00:00Z"].concat();
        assert_eq!((ended.to_bytes().unwrap(), RunMarker::from_bytes(&bytes).unwrap()), (bytes, ended));
        assert_eq!(RunMarker::from_bytes(&[1, 0]).unwrap(), RunMarker::KillRequested);
    }

    #[test]
    fn unreadable_records_are_named() {
        let error = |bytes: &[u8]| TaskRecord::from_bytes(bytes).unwrap_err().to_string();
        assert!(error(&[]).contains("it is empty"));
        assert!(error(&[1, 16, 0]).contains("cannot be read"));
        assert!(error(&[9, 16]).contains("of version 9"));
    }
}

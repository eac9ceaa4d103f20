//! The replies of the scheduler to the requests of the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use borges_mesos::{Chunk, SandboxError, SandboxFile};
use borges_plan::{Files, RunResults, StatusNote, UpdatedDocument, Values, write_back};
use borges_store::RunRecord;
use borges_task::{RunId, RunState, State};

/// A run that was accepted. It is stored with all of its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunAccepted {
    /// The id of the run.
    pub run: RunId,
}

/// Some bytes of a file in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileRead {
    /// The bytes that were read.
    Bytes {
        /// Offset of the first byte. It is larger than the requested offset if the bytes between were truncated.
        from: u64,
        /// Empty at the end of the file. More may be written later.
        bytes: Bytes,
        /// The size of the file in bytes.
        size: u64,
    },
    /// The file does not exist: nothing was written yet, or the block never started.
    NotFound,
    /// The path is a directory.
    Directory,
    /// The path does not lead to a file of the sandbox.
    BadPath(String),
    /// The file exists and cannot be read. The text is the reason.
    Unreadable(String),
}

impl From<Result<Chunk, SandboxError>> for FileRead {
    fn from(read: Result<Chunk, SandboxError>) -> Self {
        match read {
            Ok(Chunk { offset, bytes, size }) => Self::Bytes { from: offset, bytes, size },
            Err(SandboxError::Missing(_)) => Self::NotFound,
            Err(SandboxError::Directory(_)) => Self::Directory,
            Err(error @ SandboxError::BadPath(_)) => Self::BadPath(error.to_string()),
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }
}

/// A directory of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryRead {
    /// The files of the directory, ordered by name.
    Files(Vec<SandboxFile>),
    /// The directory does not exist.
    NotFound,
    /// The path does not lead to a directory of the sandbox.
    BadPath(String),
    /// The directory exists and cannot be read. The text is the reason.
    Unreadable(String),
}

impl From<Result<Vec<SandboxFile>, SandboxError>> for DirectoryRead {
    fn from(read: Result<Vec<SandboxFile>, SandboxError>) -> Self {
        match read {
            Ok(files) => Self::Files(files),
            Err(SandboxError::Missing(_)) => Self::NotFound,
            Err(error @ SandboxError::BadPath(_)) => Self::BadPath(error.to_string()),
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }
}

/// Tasks that wait for an offer for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingGroup {
    /// The block that has waited longest: its name, or `line-14`.
    pub block: Arc<str>,
    /// The line of that block.
    pub line: u32,
    /// How long that block has waited.
    pub waited: Duration,
    /// The number of tasks in the group.
    pub tasks: usize,
    /// The reason, in the words of the document.
    pub reason: String,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunProgress {
    /// The id of the run.
    pub run: RunId,
    /// The title of the document.
    pub title: String,
    /// When the run was accepted.
    pub accepted: Timestamp,
    /// The state of the run.
    pub state: RunState,
    /// The number of tasks.
    pub tasks: usize,
    /// The number of tasks that have ended.
    pub ended: usize,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskProgress {
    /// The id of the task: `RUN.N`.
    pub task: String,
    /// The id of the run.
    pub run: RunId,
    /// The name of the block, or `line-14`.
    pub block: String,
    /// The line of the block.
    pub line: u32,
    /// The index of the instance of the block.
    pub index: u32,
    /// The state of the task.
    pub state: State,
    /// The number of the last launch. 0 before the first.
    pub attempt: u32,
    /// The agent of the last launch.
    pub agent: Option<String>,
    /// The exit code of the last launch that ended.
    pub exit_code: Option<i32>,
    /// The last message of the cluster about the task.
    pub message: Option<String>,
    /// Why the task is not running yet.
    pub reason: Option<String>,
    /// How long the task has been in its state, in seconds since the start of the server at most.
    pub seconds: u64,
}

/// The numbers of runs, tasks and offers at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// The time since the start of the engine.
    pub uptime: Duration,
    /// The number of runs in each state, for all states.
    pub runs: Vec<(RunState, usize)>,
    /// The number of tasks in each state, for all states.
    pub tasks: Vec<(State, usize)>,
    /// Offers that are not answered yet.
    pub offers_held: usize,
    /// The id of the framework. `None` before the first subscription.
    pub framework: Option<String>,
    /// Why there is no subscription. `None` while subscribed.
    pub disconnected: Option<String>,
    /// The message that tasks wait without any offer, and for how long. `None` if there are offers.
    pub starvation: Option<(String, Duration)>,
    /// The time since the last event of the cluster. `None` if there was none.
    pub since_last_event: Option<Duration>,
}

/// The results of a run so far, to be written into its document.
#[derive(Debug, Clone)]
pub struct RunOutputs {
    pub(super) record: Arc<RunRecord>,
    pub(super) values: Values,
    pub(super) files: Files,
    pub(super) status_notes: BTreeMap<u32, StatusNote>,
    pub(super) unchanged: BTreeSet<u32>,
    pub(super) missing_results: Vec<String>,
    pub(super) write_problems: Vec<String>,
}

impl RunOutputs {
    /// The document of the run with its results. `current` is the edited document, if the client sent it. With `emacs_compatible`
    /// there are no status notes about blocks that failed.
    pub fn document(&self, current: Option<&[u8]>, emacs_compatible: bool) -> UpdatedDocument {
        let RunRecord { document, tasks, recipes, .. } = &*self.record;
        let Self {
            values,
            files,
            status_notes: notes,
            unchanged: untouched,
            missing_results,
            write_problems,
            ..
        } = self;
        let run_results = RunResults { recipes, tasks, values, files, notes, untouched, emacs_compatible };
        let mut updated = write_back(document, current.unwrap_or(document), &run_results);
        updated.missing.extend(missing_results.iter().chain(write_problems).cloned());
        updated
    }
}

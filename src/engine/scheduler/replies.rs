//! The replies of the scheduler to the requests of the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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

/// A run, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunSummary {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub run: RunId,
    /// What its document is called.
    pub title: String,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub accepted: Timestamp,
    /// How it stands.
    pub state: RunState,
    /// How many tasks it has.
    pub tasks: usize,
    /// How many of them nothing more happens to.
    pub ended: usize,
}

/// A task, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskSummary {
    /// Its id: `RUN.N`.
    pub task: String,
    /// Its run.
    #[schema(value_type = String, format = "uuid")]
    pub run: RunId,
    /// The block's name, or `line-14`.
    pub block: String,
    /// The block's line.
    pub line: u32,
    /// Which instance of the block.
    pub index: u32,
    /// Where it stands.
    pub state: State,
    /// The number of its last launch; 0 before the first.
    pub attempt: u32,
    /// The agent of its last launch.
    pub agent: Option<String>,
    /// Of its last launch that ended.
    pub exit_code: Option<i32>,
    /// What the cluster said of it last, in words.
    pub message: Option<String>,
    /// Why it does not run, if it does not run yet.
    pub reason: Option<String>,
    /// How long it is in its state, in seconds, as far as this server has seen.
    #[serde(default)]
    pub seconds: u64,
}

/// How many there are of everything, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// Since when this engine runs.
    pub uptime: Duration,
    /// Runs in each state, all states.
    pub runs: Vec<(RunState, usize)>,
    /// Tasks in each state, all states.
    pub tasks: Vec<(State, usize)>,
    /// Offers that are not answered yet.
    pub offers_held: usize,
    /// The framework's id, once the cluster has given it.
    pub framework: Option<String>,
    /// Why there is no subscription, when there is none.
    pub trouble: Option<String>,
    /// That nothing is offered while something waits, in words, and for how long.
    pub no_offers: Option<(String, Duration)>,
    /// How long ago the cluster last said something.
    pub silence: Option<Duration>,
}

/// What a run has yielded.
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
    /// The document of the run with its results; `current` is what has become of it since, if that is known.
    /// `as_emacs`: nothing is noted of blocks that failed of themselves.
    pub fn document(&self, current: Option<&[u8]>, as_emacs: bool) -> UpdatedDocument {
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
        let run_results = RunResults { recipes, tasks, values, files, notes, untouched, as_emacs };
        let mut updated = write_back(document, current.unwrap_or(document), &run_results);
        updated.missing.extend(missing_results.iter().chain(write_problems).cloned());
        updated
    }
}

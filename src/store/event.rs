//! What has happened, as it is told: numbered entries, one a change of state.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use borges_task::{RunId, RunState, State, TaskId};

/// Something that happened, numbered.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum LoggedEvent {
    /// A task is in a new state.
    Task(TaskEvent),
    /// A run has ended.
    Run(RunEnded),
}

/// A change of a task's state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskEvent {
    /// Counts all that has happened on this store, from 1; 0 until it is saved.
    pub seq: u64,
    /// When it happened.
    pub time: Timestamp,
    /// The run.
    pub run: RunId,
    /// The task; `RUN.N` as JSON.
    #[serde(serialize_with = "text")]
    pub task: TaskId,
    /// The block's name, or `line-14`.
    pub block: Arc<str>,
    /// The block's line.
    pub line: u32,
    /// Which instance of the block.
    pub index: u32,
    /// The number of its last launch; 0 before the first.
    pub attempt: u32,
    /// Where it stands now.
    pub state: State,
    /// Why, in the document's words.
    pub reason: Option<String>,
    /// What the cluster said, in its words.
    pub message: Option<String>,
    /// The agent of its last launch.
    pub agent: Option<String>,
    /// Of its last launch that ended.
    pub exit_code: Option<i32>,
}

/// A run has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunEnded {
    /// As [`TaskEvent::seq`].
    pub seq: u64,
    /// When it ended.
    pub time: Timestamp,
    /// The run.
    pub run: RunId,
    /// How.
    pub state: RunState,
}

impl LoggedEvent {
    /// Its number.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Task(frame) => frame.seq,
            Self::Run(ended) => ended.seq,
        }
    }

    /// The run it is about.
    pub fn run(&self) -> RunId {
        match self {
            Self::Task(frame) => frame.run,
            Self::Run(ended) => ended.run,
        }
    }

    /// When it happened.
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Task(frame) => frame.time,
            Self::Run(ended) => ended.time,
        }
    }

    /// Gives it its number.
    pub fn set_seq(&mut self, number: u64) {
        match self {
            Self::Task(frame) => frame.seq = number,
            Self::Run(ended) => ended.seq = number,
        }
    }
}

fn text<S: Serializer>(id: &TaskId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(id)
}

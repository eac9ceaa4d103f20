//! The events of the event log: changes of task states and ends of runs, each with a sequence number.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use borges_task::{RunId, RunState, State, TaskId};

/// An event with its sequence number.
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
    /// The sequence number in this store, from 1. 0 until the event is stored.
    pub seq: u64,
    /// When it happened.
    pub time: Timestamp,
    /// The run.
    pub run: RunId,
    /// The task; `RUN.N` as JSON.
    #[serde(serialize_with = "serialize_text")]
    pub task: TaskId,
    /// The block's name, or `line-14`.
    pub block: Arc<str>,
    /// The block's line.
    pub line: u32,
    /// Which instance of the block.
    pub index: u32,
    /// The number of its last launch; 0 before the first.
    pub attempt: u32,
    /// The new state.
    pub state: State,
    /// The reason, in terms of the document.
    pub reason: Option<String>,
    /// The message of the cluster.
    pub message: Option<String>,
    /// The agent of its last launch.
    pub agent: Option<String>,
    /// The exit code of the last launch that ended.
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
    /// The final state.
    pub state: RunState,
}

impl LoggedEvent {
    /// The sequence number.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Task(event) => event.seq,
            Self::Run(ended) => ended.seq,
        }
    }

    /// The run of the event.
    pub fn run(&self) -> RunId {
        match self {
            Self::Task(event) => event.run,
            Self::Run(ended) => ended.run,
        }
    }

    /// When it happened.
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Task(event) => event.time,
            Self::Run(ended) => ended.time,
        }
    }

    /// Sets the sequence number.
    pub fn set_seq(&mut self, seq: u64) {
        match self {
            Self::Task(event) => event.seq = seq,
            Self::Run(ended) => ended.seq = seq,
        }
    }
}

fn serialize_text<S: Serializer>(id: &TaskId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(id)
}

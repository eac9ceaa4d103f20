//! Runs and submitted documents.

use borges_task::{RunId, RunState, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A submitted document: what was scheduled, what was skipped, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SubmitResponse {
    /// The new run; `null` for a dry run.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub run: Option<RunId>,
    /// The number of tasks.
    pub scheduled: usize,
    /// The tasks and the skipped blocks, in the order of their lines.
    pub blocks: Vec<BlockSummary>,
    /// The warnings about the document, each with its line.
    pub warnings: Vec<String>,
}

/// A block of a submitted document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlockSummary {
    /// The block's name, or `line-14`.
    pub block: String,
    /// The id of its task; `null` for a skipped block and in a dry run.
    pub task: Option<String>,
    /// The line of its `#+begin_src`.
    pub line: u32,
    /// The number of the instance, from 1.
    pub index: u32,
    /// The state in which its task begins.
    pub state: State,
    /// Why it is skipped, or where its cached result comes from.
    pub reason: Option<String>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunSummary {
    /// The id of the run.
    #[schema(value_type = String, format = "uuid")]
    pub run: RunId,
    /// The name of the document; may be empty.
    pub title: String,
    /// When the server accepted it.
    #[schema(value_type = String, format = DateTime)]
    pub accepted: Timestamp,
    /// The state of the run.
    pub state: RunState,
    /// The number of its tasks.
    pub tasks: usize,
    /// The number of its tasks in a terminal state.
    pub ended: usize,
}

/// A page of runs, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<RunSummary>,
    /// The value of `after` that asks for the next page; `null` on the last one.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub next: Option<RunId>,
}

/// A run and its waiting tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunDetails {
    /// The run.
    #[serde(flatten)]
    pub run: RunSummary,
    /// The tasks that wait for the cluster, grouped by their reason.
    #[serde(default)]
    #[schema(required = true)]
    pub waiting: Vec<WaitingTasks>,
}

/// Tasks that wait for the same reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WaitingTasks {
    /// The block that has waited longest.
    pub block: String,
    /// The line of that block.
    pub line: u32,
    /// How long that block has waited, in seconds.
    pub seconds: f64,
    /// The number of tasks in the group.
    pub tasks: usize,
    /// The reason, in the words of the document.
    pub reason: String,
}

/// The answer to `DELETE /org/{run}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunKillResponse {
    /// The id of the run.
    #[schema(value_type = String, format = "uuid")]
    pub run: RunId,
    /// Always `true`.
    pub killing: bool,
}

//! Tasks.

use borges_task::{RunId, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskSummary {
    /// The id of the task: `RUN.N`.
    pub task: String,
    /// The id of its run.
    #[schema(value_type = String, format = "uuid")]
    pub run: RunId,
    /// The block's name, or `line-14`.
    pub block: String,
    /// The line of the block's `#+begin_src`.
    pub line: u32,
    /// The number of the instance, from 1.
    pub index: u32,
    /// The state of the task.
    pub state: State,
    /// The number of its last launch; 0 before the first.
    pub attempt: u32,
    /// The agent of its last launch.
    pub agent: Option<String>,
    /// The exit code of its last launch that ended.
    pub exit_code: Option<i32>,
    /// The cluster's last message about it.
    pub message: Option<String>,
    /// Why it does not run yet; `null` for a task that has started.
    pub reason: Option<String>,
    /// How long it has been in its state, in seconds, since the start of the server at most.
    #[serde(default)]
    pub seconds: u64,
}

/// A page of tasks, in the order of runs and of blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<TaskSummary>,
    /// The value of `after` that asks for the next page; `null` on the last one.
    pub next: Option<String>,
}

/// The answer to `DELETE /tasks/{task}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskKillResponse {
    /// The id of the task.
    pub task: String,
    /// Always `true`.
    pub killing: bool,
}

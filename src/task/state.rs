//! The states of tasks and runs, the history of a task, and the condition of a launch as a cluster reports it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for a person's approval.
    Held,
    /// Waits for another block.
    Blocked,
    /// Waits for an offer.
    Queued,
    /// Waits for the pause before another launch to end.
    Delayed,
    /// Accepted an offer; the cluster has not said yet that it runs.
    Launching,
    /// Runs.
    Running,
    /// Its agent cannot be reached; it may still run.
    Unreachable,
    /// Is being killed.
    Killing,
    /// Ended well. Final.
    Finished,
    /// Ended badly, and is not tried again. Final.
    Failed,
    /// Was killed on request. Final.
    Killed,
    /// Was never launched, and will not be. Final.
    Skipped,
}

impl State {
    /// Every state, in the order in which a task usually passes through them.
    pub const ALL: [Self; 12] = [
        Self::Held,
        Self::Blocked,
        Self::Queued,
        Self::Delayed,
        Self::Launching,
        Self::Running,
        Self::Unreachable,
        Self::Killing,
        Self::Finished,
        Self::Failed,
        Self::Killed,
        Self::Skipped,
    ];

    /// Nothing more happens to a task in this state.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Killed | Self::Skipped)
    }

    /// A launch of a task in this state may be known to a cluster.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Launching | Self::Running | Self::Unreachable | Self::Killing)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Held => "held",
            Self::Blocked => "blocked",
            Self::Queued => "queued",
            Self::Delayed => "delayed",
            Self::Launching => "launching",
            Self::Running => "running",
            Self::Unreachable => "unreachable",
            Self::Killing => "killing",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::Skipped => "skipped",
        })
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Some task is not in a final state.
    Running,
    /// Every task finished or was skipped, and none failed.
    Finished,
    /// Some task failed, or was killed for itself.
    Failed,
    /// The run was killed as a whole.
    Killed,
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Killed => "killed",
        })
    }
}

/// What a cluster says of a launch. The names are Mesos' task states; how a status update's state and
/// reason become one of these is the wire's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Condition {
    /// Staging or starting: the agent has it, it does not run yet.
    Starting,
    /// Runs.
    Running,
    /// A kill is under way.
    Killing,
    /// Ended with exit code 0.
    Finished,
    /// Ended otherwise, by its own doing.
    Failed,
    /// Ended because it was killed on our request.
    Killed,
    /// The request itself is wrong: trying again gives the same.
    Rejected,
    /// Ended, or never started, by the cluster's doing: not the block's fault.
    Gone,
    /// May or may not run: nobody can tell now.
    Lost,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 9] = [
        Self::Starting,
        Self::Running,
        Self::Killing,
        Self::Finished,
        Self::Failed,
        Self::Killed,
        Self::Rejected,
        Self::Gone,
        Self::Lost,
    ];
}

/// What has been of a task so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// Launches so far; the current one is the last.
    pub attempt: u32,
    /// Tries the block has used up by its own failures.
    pub failures: u32,
    /// Launches in a row, up to now, that ended before they had run a healthy while.
    pub early_exits: u32,
    /// Exit code of the last launch that ended: the block's, or 128 + signal.
    pub exit_code: Option<i32>,
    /// How long the current launch has run.
    pub runtime: Duration,
}

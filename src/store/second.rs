//! Runs as the second version stored them: a task wished nothing of its agent but amounts.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use borges_plan::RecipesV4;
use borges_task::{Command, Edge, Policy, Resources, RunId, TaskSpec};

#[derive(Deserialize)]
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) accepted: Timestamp,
    pub(super) title: String,
    pub(super) document: Bytes,
    pub(super) key: Option<String>,
    pub(super) tasks: Vec<Task>,
    pub(super) edges: Vec<Edge>,
    pub(super) recipes: RecipesV4,
}

#[derive(Deserialize)]
pub(super) struct Task {
    number: u32,
    block: Arc<str>,
    line: u32,
    index: u32,
    command: Command,
    resources: Resources,
    policy: Arc<Policy>,
    held: bool,
    mem_is_limit: bool,
}

impl From<Task> for TaskSpec {
    fn from(task: Task) -> Self {
        let Task {
            number,
            block,
            line,
            index,
            command,
            resources,
            policy,
            held: requires_approval,
            mem_is_limit: enforce_memory,
        } = task;
        Self {
            number,
            block,
            line,
            index,
            command,
            resources,
            policy,
            requires_approval,
            enforce_memory,
            requirements: None,
        }
    }
}

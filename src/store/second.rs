//! Runs as the second version stored them: a task wished nothing of its agent but amounts.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use super::record::RunRecord;
use crate::spec::{Caching, RecipesOfOne};
use crate::task::{Command, Edge, Policy, Resources, RunId, TaskSpec};

#[derive(Deserialize)]
pub(super) struct Run {
    id: RunId,
    accepted: Timestamp,
    title: String,
    document: Bytes,
    key: Option<String>,
    tasks: Vec<Task>,
    edges: Vec<Edge>,
    recipes: RecipesOfOne,
}

#[derive(Deserialize)]
struct Task {
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

impl From<Run> for RunRecord {
    fn from(run: Run) -> Self {
        let Run { id, accepted, title, document, key, tasks, edges, recipes } = run;
        let tasks = tasks.into_iter().map(|task| Arc::new(task.into())).collect();
        Self {
            id,
            accepted,
            title,
            document,
            key,
            tasks,
            edges,
            recipes: recipes.into(),
            caching: Caching::Asked,
        }
    }
}

impl From<Task> for TaskSpec {
    fn from(task: Task) -> Self {
        let Task { number, block, line, index, command, resources, policy, held, mem_is_limit } = task;
        Self { number, block, line, index, command, resources, policy, held, mem_is_limit, wishes: None }
    }
}

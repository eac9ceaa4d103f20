//! Runs as the third version stored them: no run was told what need not be run again.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use super::second;
use borges_plan::RecipesV4;
use borges_task::{Edge, RunId, TaskSpec};

#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) accepted: Timestamp,
    pub(super) title: String,
    pub(super) document: Bytes,
    pub(super) key: Option<String>,
    pub(super) tasks: Vec<Arc<TaskSpec>>,
    pub(super) edges: Vec<Edge>,
    pub(super) recipes: RecipesV4,
}

/// No task wished anything of its agent but amounts.
impl From<second::Run> for Run {
    fn from(run: second::Run) -> Self {
        let second::Run { id, accepted, title, document, key, tasks, edges, recipes } = run;
        let tasks = tasks.into_iter().map(|task| Arc::new(task.into())).collect();
        Self { id, accepted, title, document, key, tasks, edges, recipes }
    }
}

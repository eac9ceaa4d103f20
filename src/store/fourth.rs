//! Runs as the fourth version stored them: a block was one task.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use super::record::RunRecord;
use crate::spec::{Caching, RecipesOfOne};
use crate::task::{Edge, RunId, TaskSpec};

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
    pub(super) recipes: RecipesOfOne,
    pub(super) caching: Caching,
}

impl From<Run> for RunRecord {
    fn from(run: Run) -> Self {
        let Run { id, accepted, title, document, key, tasks, edges, recipes, caching } = run;
        Self { id, accepted, title, document, key, tasks, edges, recipes: recipes.into(), caching }
    }
}

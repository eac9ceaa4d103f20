//! Runs as the fourth version stored them: a block was one task.

use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use super::record::RunRecord;
use super::third;
use borges_plan::CacheMode;

/// What the third version stored, and which tasks are not run again: a record's fields stand one after another.
#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
pub(super) struct Run {
    pub(super) third: third::Run,
    pub(super) caching: CacheMode,
}

impl From<Run> for RunRecord {
    fn from(Run { third, caching }: Run) -> Self {
        let third::Run { id, accepted, title, document, key, tasks, edges, recipes } = third;
        Self { id, accepted, title, document, key, tasks, edges, recipes: recipes.into(), caching }
    }
}

/// No run was told what need not be run again.
impl From<third::Run> for Run {
    fn from(third: third::Run) -> Self {
        Self { third, caching: CacheMode::OptIn }
    }
}

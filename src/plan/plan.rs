//! The plan of a document: its tasks, their dependencies and recipes, and the skipped blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use borges_task::{Edge, TaskSpec};

use super::diagnostic::Diagnostic;
use super::recipe::Recipes;

/// What a document comes down to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// What runs, in document order, numbered from 1.
    pub tasks: Vec<Arc<TaskSpec>>,
    /// The files of those tasks whose blocks stand in another file than the document, by number; their lines are
    /// those of that file.
    pub included: BTreeMap<u32, Arc<str>>,
    /// How they are put together, and what becomes of what they yield.
    pub recipes: Recipes,
    /// Who waits for whom; no circles; at most one edge between two tasks; sorted.
    pub edges: Vec<Edge>,
    /// What does not run, in document order.
    pub skipped: Vec<SkippedBlock>,
    /// What is odd, in document order.
    pub warnings: Vec<Diagnostic>,
}

/// A block that does not run, though the document is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedBlock {
    /// Its name, or `line-14`.
    pub block: String,
    /// The file it stands in, if it is not the document itself.
    pub file: Option<Arc<str>>,
    /// Line of its `#+begin_src`.
    pub line: u32,
    /// Why.
    pub reason: String,
}

impl SkippedBlock {
    /// For a person: `line 7`, or `line 7 of part.org`.
    pub fn location(&self) -> String {
        match &self.file {
            None => format!("line {}", self.line),
            Some(file) => format!("line {} of {file}", self.line),
        }
    }
}

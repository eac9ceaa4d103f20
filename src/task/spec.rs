//! One task of a run as its document describes it, and the dependencies between tasks.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ids::RunId;
use super::policy::Policy;
use super::resource_request::{Port, Requirements, ResourceRequest};
use super::resources::Resources;

/// One task of a run, as its document asks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Its number in the run, from 1, in document order.
    pub number: u32,
    /// The block's name, or `line-14` for a block without one.
    pub block: Arc<str>,
    /// Line of the block's `#+begin_src`, from 1.
    pub line: u32,
    /// Which instance of the block it is, from 1.
    pub index: u32,
    /// What to run.
    pub command: Command,
    /// What it needs while it runs.
    pub resources: Resources,
    /// What is done when a launch of it ends; nearly all tasks of a run share one.
    pub policy: Arc<Policy>,
    /// Waits for a person's approval before its first launch.
    pub requires_approval: bool,
    /// Its memory is a limit to be enforced, not only an amount to reckon with: the document asks for so much.
    pub enforce_memory: bool,
    /// What it asks of its agent beside amounts; nothing for most.
    pub requirements: Option<Arc<Requirements>>,
}

impl TaskSpec {
    /// The resource request of this task as a task of `run`.
    pub fn resource_request(&self, run: RunId) -> ResourceRequest {
        ResourceRequest {
            resources: self.resources,
            max_runtime: self.policy.timeout,
            requirements: self.requirements.clone(),
            constraint_group: self.is_grouped().then_some(run),
        }
    }

    /// Whether a constraint compares this task with other tasks of its run.
    pub fn is_grouped(&self) -> bool {
        let is_relational = |requirements: &Arc<Requirements>| {
            requirements.constraints.iter().any(|it| it.operator.is_relational())
        };
        self.requirements.as_ref().is_some_and(is_relational)
    }

    /// The ports it listens on.
    pub fn ports(&self) -> &[Port] {
        self.requirements.as_ref().map_or(&[], |requirements| &requirements.ports)
    }
}

/// A program and its input.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Command {
    /// A program's path, or its name to be looked up on the `PATH` of the machine, or the image, it runs on.
    pub program: Arc<str>,
    /// Arguments after the program's name; [`Command::BODY`] stands for the body's file.
    pub arguments: Arc<[String]>,
    /// Variables set for it, beside those every block gets.
    pub environment: Arc<[(String, String)]>,
    /// Working directory: absolute, or below the sandbox; `None` is the sandbox itself.
    pub directory: Option<Arc<str>>,
    /// The Docker image it runs in, on the machine's own network; `None` is the machine itself.
    pub image: Option<Arc<str>>,
    /// The block's code; the tasks of a run share one piece of memory.
    pub body: Bytes,
    /// Files that lie in its sandbox beside the body before it starts. They are put together for each launch, and
    /// not stored.
    #[serde(skip)]
    pub files: Vec<InputFile>,
    /// The file it reads as its standard input, seen from the sandbox; `None` is an empty input. As `files`, of a
    /// launch only.
    #[serde(skip)]
    pub stdin: Option<String>,
}

/// A file that is put into a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// Where it lies, seen from the sandbox: relative, without `..`.
    pub path: String,
    /// Its permissions: `0o644`, or `0o755` for a program.
    pub mode: u32,
    /// What it holds.
    pub bytes: Bytes,
}

impl Command {
    /// Where the body lies, seen from the sandbox.
    pub const BODY: &str = "block/body";

    /// Bytes of its code and its files.
    pub fn size(&self) -> usize {
        self.body.len() + self.files.iter().map(|file| file.bytes.len()).sum::<usize>()
    }
}

/// One task waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edge {
    /// Number of the task that is waited for.
    pub from: u32,
    /// Number of the task that waits.
    pub to: u32,
    /// What it waits for.
    pub requirement: DependencyKind,
}

/// What a waiting task needs of the task it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DependencyKind {
    /// Its end, whatever it is.
    Completed,
    /// Its success; for a service, that it runs. Without it the waiting task is skipped.
    Succeeded,
}

//! Files in sandboxes and results.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A directory of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listing {
    /// Its entries, in the order of names.
    pub files: Vec<FileInfo>,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileInfo {
    /// The name within the directory.
    pub name: String,
    /// The size, in bytes.
    pub size: u64,
    /// `file`, `directory`, `link` or `other`.
    #[schema(value_type = String)]
    pub kind: Cow<'static, str>,
}

/// The results of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResultPage {
    /// One element for each task that was launched and has ended, in order.
    pub results: Vec<TaskResult>,
}

/// The output files of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskResult {
    /// The id of the task.
    pub task: String,
    /// The block's name, or `line-14`.
    pub block: String,
    /// The line of the block's `#+begin_src`.
    pub line: u32,
    /// The number of the instance, from 1.
    pub index: u32,
    /// The number of the launch that wrote the files.
    pub attempt: u32,
    /// The files.
    pub files: Vec<ResultFileInfo>,
}

/// An output file of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResultFileInfo {
    /// The path within the sandbox: the file is at `/tasks/{task}/files/{path}`.
    pub path: String,
    /// The size, in bytes.
    pub size: u64,
    /// The SHA-256 of its content; `null` if the file exceeds 8 MiB.
    pub sha256: Option<String>,
}

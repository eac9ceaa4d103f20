//! The queue of ended tasks whose output files are not indexed yet, and the reading of those files.
//!
//! The index lists the output files of each ended task with their sizes and hashes. It is served without loading the run.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::sandbox_output::{MAX_VALUE_BYTES, READ_CHUNK};
use borges_babel::VALUE;
use borges_mesos::{Sandbox, SandboxError, SandboxLocation};
use borges_store::{ResultFile, ResultRecord};
use borges_task::TaskId;

/// The output files that are indexed.
const OUTPUT_FILES: [&str; 3] = ["block/stdout", "block/stderr", VALUE];
/// Tasks that are indexed in one batch.
pub(super) const BATCH_SIZE: usize = 64;
/// The pause after a sandbox could not be read.
const RETRY_DELAY: Duration = Duration::from_secs(30);

/// The tasks that are not in the index yet.
#[derive(Debug, Default)]
pub(super) struct ResultIndexer {
    queue: VecDeque<TaskId>,
    /// Whether a batch is being indexed.
    busy: bool,
    /// The time before which no batch begins.
    not_before: Duration,
}

impl ResultIndexer {
    /// Replaces the queue. The tasks are indexed in the order of their ids.
    pub(super) fn reset(&mut self, tasks: BTreeSet<TaskId>) {
        self.queue = tasks.into_iter().collect();
    }

    /// Adds a task that has ended.
    pub(super) fn push(&mut self, task: TaskId) {
        self.queue.push_back(task);
    }

    /// The next task. `None` if the queue is empty.
    pub(super) fn pop(&mut self) -> Option<TaskId> {
        self.queue.pop_front()
    }

    /// Whether a batch may begin.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        !self.busy && !self.queue.is_empty() && now >= self.not_before
    }

    /// A batch begins.
    pub(super) fn begin_batch(&mut self) {
        self.busy = true;
    }

    /// Queues the tasks again whose sandboxes could not be read.
    pub(super) fn retry(&mut self, unreadable: Vec<TaskId>, now: Duration) {
        if !unreadable.is_empty() {
            self.not_before = now + RETRY_DELAY;
            self.queue.extend(unreadable);
        }
    }

    /// A batch has ended. Whether the next one is full and should begin now.
    pub(super) fn end_batch(&mut self) -> bool {
        self.busy = false;
        self.queue.len() >= BATCH_SIZE
    }
}

/// Reads the output files of each launch. Returns the complete records and the tasks whose sandboxes are unreadable.
pub(super) async fn read_batch(
    sandbox: Rc<dyn Sandbox>,
    batch: Vec<(ResultRecord, Option<SandboxLocation>)>,
) -> (Vec<ResultRecord>, Vec<TaskId>) {
    let (mut records, mut unreadable) = (Vec::with_capacity(batch.len()), Vec::new());
    for (record, location) in batch {
        match output_files(&sandbox, location.as_ref()).await {
            Ok(files) => records.push(ResultRecord { files, ..record }),
            Err(error) => {
                log::debug!("the result of {} cannot be looked at: {error}", record.task);
                unreadable.push(record.task);
            }
        }
    }
    (records, unreadable)
}

/// The output files of a launch. Empty if it has no sandbox.
async fn output_files(
    sandbox: &Rc<dyn Sandbox>,
    location: Option<&SandboxLocation>,
) -> Result<Vec<ResultFile>, SandboxError> {
    let mut files = Vec::new();
    let Some(location) = location else { return Ok(files) };
    for path in OUTPUT_FILES {
        match result_file(sandbox, location, path).await {
            Ok(file) if file.size == 0 && path != VALUE => {}
            Ok(file) => files.push(file),
            // A block can replace its output file by a directory or a link.
            Err(SandboxError::Missing(_) | SandboxError::Directory(_) | SandboxError::BadPath(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// The size of a file and its hash. The hash is `None` above [`MAX_VALUE_BYTES`] or if the head was truncated.
async fn result_file(
    sandbox: &Rc<dyn Sandbox>,
    location: &SandboxLocation,
    path: &str,
) -> Result<ResultFile, SandboxError> {
    let mut hash = Sha256::new();
    let mut offset = 0;
    loop {
        let chunk = sandbox.read(location, path, offset, READ_CHUNK).await?;
        let is_hashed = chunk.offset == offset && chunk.size <= MAX_VALUE_BYTES;
        hash.update(&chunk.bytes);
        offset += chunk.bytes.len() as u64;
        if !is_hashed || chunk.bytes.is_empty() || offset >= chunk.size {
            let sha256 = is_hashed.then(|| hash.finalize().into());
            return Ok(ResultFile { path: path.to_owned(), size: chunk.size, sha256 });
        }
        tokio::task::yield_now().await;
    }
}

//! The index of results: of each ended task which files it has left, how large they are, and what is in them by a
//! hash. It is read without its run.
//!
//! Whatever ended is put into it some time later, in batches: nobody waits for it, and a later life goes on where
//! an earlier one was killed.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context};
use sha2::{Digest, Sha256};

use super::Scheduler;
use super::task_outputs::{MAX_VALUE_BYTES, READ_CHUNK};
use borges_babel::VALUE;
use borges_mesos::{Sandbox, SandboxError, SandboxLocation};
use borges_store::{ResultFile, ResultRecord, WriteOp};
use borges_task::TaskId;

/// What blocks leave.
const FILES: [&str; 3] = ["block/stdout", "block/stderr", VALUE];
/// Tasks that are looked at in one go.
const TOGETHER: usize = 64;
/// When something could not be read, that is tried again after so long.
const AGAIN: Duration = Duration::from_secs(30);

/// What is not in the index yet.
#[derive(Debug, Default)]
pub(super) struct ResultIndexer {
    open: VecDeque<TaskId>,
    /// A batch is under way.
    busy: bool,
    /// Before that time nothing is tried.
    not_before: Duration,
}

impl Scheduler {
    /// Of what an earlier life has left, all that ended and is not in the index.
    pub(super) fn queue_unindexed(&mut self, known: Vec<TaskId>) {
        let known: BTreeSet<TaskId> = known.into_iter().collect();
        let runs = self.runs.values();
        let ended = runs.flat_map(super::super::run::Run::tasks).filter(|task| task.row.state.is_terminal());
        let open = ended.filter(|task| task.row.history.attempt > 0 && !known.contains(&task.id));
        self.index.open = open.map(|task| task.id).collect();
        self.index.open.make_contiguous().sort_unstable();
    }

    /// A task has ended.
    pub(super) fn queue_for_index(&mut self, id: TaskId) {
        if self.keeps_results && self.task(id).is_some_and(|task| task.row.history.attempt > 0) {
            self.index.open.push_back(id);
        }
    }

    /// Puts some of what ended into the index, if anything is to be put there.
    pub(super) fn index_results(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.clock.elapsed();
        if !self.keeps_results || self.index.busy || self.index.open.is_empty() || now < self.index.not_before
        {
            return;
        }
        let mut batch = Vec::new();
        while batch.len() < TOGETHER
            && let Some(id) = self.index.open.pop_front()
        {
            let Some(task) = self.task(id) else { continue };
            let (spec, attempt) = (task.spec.clone(), task.row.history.attempt);
            let (block, line, index) = (spec.block.clone(), spec.line, spec.index);
            let record = ResultRecord { task: id, attempt, block, line, index, files: Vec::new() };
            batch.push((record, self.sandbox_of(id.launch(attempt))));
        }
        self.index.busy = true;
        let sandbox = self.deps.sandbox.clone();
        let looked_at = async move {
            let (mut found, mut unread) = (Vec::with_capacity(batch.len()), Vec::new());
            for (record, place) in batch {
                match left(&sandbox, place.as_ref()).await {
                    Ok(files) => found.push(ResultRecord { files, ..record }),
                    Err(error) => {
                        log::debug!("the result of {} cannot be looked at: {error}", record.task);
                        unread.push(record.task);
                    }
                }
            }
            (found, unread)
        };
        ctx.spawn(looked_at.into_actor(self).map(move |(found, unread), this, ctx| {
            if !unread.is_empty() {
                this.index.not_before = this.deps.clock.elapsed() + AGAIN;
                this.index.open.extend(unread);
            }
            this.save(vec![WriteOp::Results(found)], Vec::new(), ctx, |this, ctx| {
                this.index.busy = false;
                if this.index.open.len() >= TOGETHER {
                    this.index_results(ctx);
                }
            });
        }));
    }
}

/// What a launch has left.
async fn left(
    sandbox: &Rc<dyn Sandbox>,
    place: Option<&SandboxLocation>,
) -> Result<Vec<ResultFile>, SandboxError> {
    let mut files = Vec::new();
    let Some(place) = place else { return Ok(files) };
    for path in FILES {
        match looked_at(sandbox, place, path).await {
            Ok(file) if file.size == 0 && path != VALUE => {}
            Ok(file) => files.push(file),
            // A block may have put anything in its place.
            Err(SandboxError::Missing(_) | SandboxError::Directory(_) | SandboxError::BadPath(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// A file's size, and its hash where it is no larger than what may be handed on.
async fn looked_at(
    sandbox: &Rc<dyn Sandbox>,
    place: &SandboxLocation,
    path: &str,
) -> Result<ResultFile, SandboxError> {
    let mut hash = Sha256::new();
    let mut read = 0;
    loop {
        let chunk = sandbox.read(place, path, read, READ_CHUNK).await?;
        let whole = chunk.offset == read && chunk.size <= MAX_VALUE_BYTES;
        hash.update(&chunk.bytes);
        read += chunk.bytes.len() as u64;
        if !whole || chunk.bytes.is_empty() || read >= chunk.size {
            let sha256 = whole.then(|| hash.finalize().into());
            return Ok(ResultFile { path: path.to_owned(), size: chunk.size, sha256 });
        }
        tokio::task::yield_now().await;
    }
}

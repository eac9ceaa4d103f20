//! What people ask.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseActFuture, ResponseFuture};
use bytes::Bytes;
use futures_util::future::{FutureExt, join_all, ready};

use super::super::run::{Run, TaskView};
use super::super::store_writer::PersistError;
use super::super::subscription::ClusterCall;
use super::super::supervisor::{TaskInput, task_event};
use super::Scheduler;
use borges_mesos::{Chunk, SandboxError, SandboxFile, SandboxLocation};
use borges_placement::PendingReason;
use borges_plan::{CacheMode, Plan};
use borges_store::{RunMarker, RunRecord, WriteOp};
use borges_task::{Input, LaunchId, ResourceRequest, RunId, State, TaskId};

/// From a submission that cannot be saved to the end of all: time for its answer.
const SHUTDOWN_DELAY: Duration = Duration::from_millis(500);

/// A document to be run.
#[derive(Debug)]
pub struct Submission {
    /// What the document is called.
    pub title: String,
    /// The document, byte for byte.
    pub document: Bytes,
    /// What it comes down to.
    pub plan: Plan,
    /// The client's own name for this submission. The same document under the same key again is the same run,
    /// and nothing is launched for it.
    pub key: Option<String>,
    /// Which of its tasks are not run again where a result is kept.
    pub caching: CacheMode,
}

/// Run this document. Answered once every task of it is on disk.
#[derive(Debug, Message)]
#[rtype(result = "Result<RunAccepted, SubmitError>")]
pub(crate) struct SubmitDocument(pub(crate) Submission);

/// A run was accepted: nothing of it is lost from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunAccepted {
    /// Its id.
    pub run: RunId,
}

/// Why a document was not accepted.
#[derive(Debug)]
pub(crate) enum SubmitError {
    /// It could not be saved.
    Unsaved(PersistError),
    /// Another document was accepted under its key, as this run.
    KeyReused(RunId),
}

/// End this task; answered once that wish is saved, with `false` when there is no such task.
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, PersistError>")]
pub(crate) struct KillTask(pub(crate) TaskId);

/// End every task of this run; answered once that wish is saved, with `false` when there is no such run.
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, PersistError>")]
pub(crate) struct KillRun(pub(crate) RunId);

/// Pieces of files of a launch's sandbox, each at most `length` bytes from its offset; answered in order.
#[derive(Debug, Message)]
#[rtype(result = "Vec<FileRead>")]
pub(crate) struct ReadOutput {
    pub(crate) launch: LaunchId,
    pub(crate) files: Vec<(Arc<str>, u64)>,
    pub(crate) length: usize,
}

/// A piece of a file of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileRead {
    /// Bytes of it.
    Bytes {
        /// Where they begin: at the offset asked for, or behind it, when what lay between is not kept any more.
        from: u64,
        /// None at the end, where more may come.
        bytes: Bytes,
        /// The size of the file.
        size: u64,
    },
    /// There is no such file: nothing was written yet, or the block never started.
    NotFound,
    /// It is a directory.
    Directory,
    /// It is no path that leads to a file of the sandbox.
    BadPath(String),
    /// It is there, and cannot be read: why, in words.
    Unreadable(String),
}

impl From<Result<Chunk, SandboxError>> for FileRead {
    fn from(read: Result<Chunk, SandboxError>) -> Self {
        match read {
            Ok(Chunk { offset, bytes, size }) => Self::Bytes { from: offset, bytes, size },
            Err(SandboxError::Missing(_)) => Self::NotFound,
            Err(SandboxError::Directory(_)) => Self::Directory,
            Err(error @ SandboxError::BadPath(_)) => Self::BadPath(error.to_string()),
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }
}

/// What does this directory of a launch's sandbox hold?
#[derive(Debug, Message)]
#[rtype(result = "DirectoryRead")]
pub(crate) struct ListFiles {
    pub(crate) launch: LaunchId,
    pub(crate) path: Arc<str>,
}

/// A directory of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryRead {
    /// What it holds, in the order of names.
    Files(Vec<SandboxFile>),
    /// There is no such directory.
    NotFound,
    /// It is no path that leads to a directory of the sandbox.
    BadPath(String),
    /// It is there, and cannot be read: why, in words.
    Unreadable(String),
}

impl From<Result<Vec<SandboxFile>, SandboxError>> for DirectoryRead {
    fn from(read: Result<Vec<SandboxFile>, SandboxError>) -> Self {
        match read {
            Ok(files) => Self::Files(files),
            Err(SandboxError::Missing(_)) => Self::NotFound,
            Err(error @ SandboxError::BadPath(_)) => Self::BadPath(error.to_string()),
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }
}

/// Leave the cluster.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Disconnect;

/// What of this run waits for an offer, and why?
#[derive(Debug, Message)]
#[rtype(result = "Vec<WaitingGroup>")]
pub(crate) struct ListWaiting(pub(crate) RunId);

/// Tasks that wait for an offer for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingGroup {
    /// The name of the block that has waited longest, or its `line-14`.
    pub block: Arc<str>,
    /// That block's line.
    pub line: u32,
    /// How long it has waited.
    pub waited: Duration,
    /// How many tasks wait, this one included.
    pub tasks: usize,
    /// Why, in the document's words.
    pub reason: String,
}

impl Handler<SubmitDocument> for Scheduler {
    type Result = ResponseActFuture<Self, Result<RunAccepted, SubmitError>>;

    fn handle(&mut self, SubmitDocument(submission): SubmitDocument, _: &mut Context<Self>) -> Self::Result {
        let Submission { title, document, plan, key, caching } = submission;
        if let Some(first) = key.as_ref().and_then(|key| self.idempotency_keys.get(key)) {
            let run = first.id;
            // Only some of its blocks are another wish.
            let is_same = first.document == document
                && first.tasks == plan.tasks
                && first.recipes == plan.recipes
                && first.caching == caching;
            if !is_same {
                return Box::pin(ready(Err(SubmitError::KeyReused(run))).into_actor(self));
            }
            // It may be on its way to the disk still.
            let saved = self.deps.keeper.save(Vec::new(), Vec::new());
            let answer =
                saved.map(move |saved| saved.map(|_| RunAccepted { run }).map_err(SubmitError::Unsaved));
            return Box::pin(answer.into_actor(self));
        }
        let record = Arc::new(RunRecord {
            id: RunId(self.deps.clock.uuid()),
            accepted: self.deps.clock.now(),
            title,
            document,
            key,
            tasks: plan.tasks,
            edges: plan.edges,
            recipes: plan.recipes,
            caching,
        });
        if let Some(key) = &record.key {
            self.idempotency_keys.insert(key.clone(), record.clone());
        }
        let run = Run::new(record.clone(), self.deps.clock.elapsed());
        let told = run
            .tasks()
            .map(|task| task_event(&record, task.spec, &task.record(), &self.deps.clock))
            .collect();
        let saved = self.deps.keeper.save(vec![WriteOp::Run(record)], told);
        Box::pin(saved.into_actor(self).map(move |saved, this, ctx| {
            let _news = saved.map_err(|unsaved| {
                // Who asked is answered first.
                let reason = unsaved.clone();
                ctx.run_later(SHUTDOWN_DELAY, move |this, _| this.abort(&reason));
                SubmitError::Unsaved(unsaved)
            })?;
            let id = run.record.id;
            let free: Vec<_> =
                run.tasks().filter(|task| task.row.state == State::Queued).map(|task| task.id).collect();
            this.runs.insert(id, run);
            this.waiting += free.len();
            this.resolve_and_enqueue(free, ctx);
            this.finish_run_if_done(id, ctx);
            this.match_or_request_offers();
            Ok(RunAccepted { run: id })
        }))
    }
}

impl Handler<KillTask> for Scheduler {
    type Result = ResponseFuture<Result<bool, PersistError>>;

    fn handle(&mut self, KillTask(id): KillTask, ctx: &mut Context<Self>) -> Self::Result {
        if self.task(id).is_none() {
            return Box::pin(ready(Ok(false)));
        }
        if let Some(supervisor) = self.supervisors.get(&id) {
            // It answers when it has saved; one that dies meanwhile has not.
            let asked = supervisor.send(TaskInput(Input::KillRequested));
            return Box::pin(asked.map(|asked| asked.map(|()| true).map_err(|_| PersistError::Closed)));
        }
        self.apply(id, Input::KillRequested, ctx);
        // Saves keep their order: when this one is answered, so is what came of it.
        let saved = self.deps.keeper.save(Vec::new(), Vec::new());
        Box::pin(saved.map(|saved| saved.map(|_| true)))
    }
}

impl Handler<KillRun> for Scheduler {
    type Result = ResponseActFuture<Self, Result<bool, PersistError>>;

    fn handle(&mut self, KillRun(id): KillRun, _: &mut Context<Self>) -> Self::Result {
        let Some(run) = self.runs.get_mut(&id) else {
            return Box::pin(ready(Ok(false)).into_actor(self));
        };
        if run.is_done() {
            return Box::pin(ready(Ok(true)).into_actor(self));
        }
        run.mark = Some(RunMarker::KillRequested);
        let saved = self.deps.keeper.save(vec![WriteOp::MarkRun(id, RunMarker::KillRequested)], Vec::new());
        Box::pin(saved.into_actor(self).map(move |saved, this, ctx| {
            saved?;
            this.kill_active_tasks(id, ctx);
            Ok(true)
        }))
    }
}

impl Scheduler {
    /// Ends every task of a run that has not ended.
    pub(super) fn kill_active_tasks(&mut self, id: RunId, ctx: &mut Context<Self>) {
        let Some(run) = self.runs.get(&id) else { return };
        let open: Vec<TaskId> =
            run.tasks().filter(|task| !task.row.state.is_terminal()).map(|task| task.id).collect();
        for task in open {
            self.apply(task, Input::KillRequested, ctx);
        }
    }
}

impl Handler<Disconnect> for Scheduler {
    type Result = ();

    fn handle(&mut self, _: Disconnect, _: &mut Context<Self>) {
        self.send_to_cluster(ClusterCall::Disconnect);
        self.disconnecting = true;
    }
}

impl Handler<ReadOutput> for Scheduler {
    type Result = ResponseFuture<Vec<FileRead>>;

    fn handle(&mut self, message: ReadOutput, _: &mut Context<Self>) -> Self::Result {
        let ReadOutput { launch, files, length } = message;
        let Some(place) = self.sandbox_of(launch) else {
            // Never launched: nothing was written.
            return Box::pin(ready(vec![FileRead::NotFound; files.len()]));
        };
        let read = |(path, offset): (Arc<str>, u64)| {
            self.deps.sandbox.read(&place, &path, offset, length).map(FileRead::from)
        };
        Box::pin(join_all(files.into_iter().map(read)))
    }
}

impl Handler<ListFiles> for Scheduler {
    type Result = ResponseFuture<DirectoryRead>;

    fn handle(&mut self, ListFiles { launch, path }: ListFiles, _: &mut Context<Self>) -> Self::Result {
        match self.sandbox_of(launch) {
            Some(place) => Box::pin(self.deps.sandbox.list(&place, &path).map(DirectoryRead::from)),
            None => Box::pin(ready(DirectoryRead::NotFound)),
        }
    }
}

impl Scheduler {
    /// Where a launch's sandbox is; `None` for one that was never launched.
    pub(super) fn sandbox_of(&self, launch: LaunchId) -> Option<SandboxLocation> {
        let agent = self.task(launch.task)?.row.agent.clone()?;
        Some(SandboxLocation {
            agent,
            framework: self.market.framework.clone()?,
            executor: launch.to_string(),
        })
    }
}

impl Handler<ListWaiting> for Scheduler {
    type Result = Vec<WaitingGroup>;

    fn handle(&mut self, ListWaiting(id): ListWaiting, _: &mut Context<Self>) -> Vec<WaitingGroup> {
        let now = self.deps.clock.elapsed();
        let Some(run) = self.runs.get(&id) else { return Vec::new() };
        let offered = self.offer_history();
        // What asks for the same waits for the same reason.
        let mut groups: HashMap<ResourceRequest, WaitingGroup> = HashMap::new();
        for TaskView { spec, row, .. } in run.tasks().filter(|task| task.row.state == State::Queued) {
            let waited = now.saturating_sub(row.since);
            let group = groups.entry(spec.resource_request(id)).or_insert_with_key(|demand| WaitingGroup {
                block: spec.block.clone(),
                line: spec.line,
                waited,
                tasks: 0,
                reason: PendingReason::queued(demand, &offered).to_string(),
            });
            group.tasks += 1;
            if waited > group.waited {
                (group.block, group.line, group.waited) = (spec.block.clone(), spec.line, waited);
            }
        }
        let mut groups: Vec<WaitingGroup> = groups.into_values().collect();
        groups.sort_unstable_by_key(|group| (std::cmp::Reverse(group.waited), group.line));
        groups
    }
}

//! Handles the commands of clients: submit, kill, disconnect, and requests to sandboxes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, ResponseFuture};
use futures_util::future::{FutureExt, join_all, ready};

use super::super::error::{PersistError, SubmitError};
use super::super::messages::TaskInput;
use super::super::run::{Run, TaskView};
use super::super::subscription::ClusterCall;
use super::super::supervisor::task_event;
use super::Scheduler;
use super::messages::{
    Disconnect, KillRun, KillTask, ListFiles, ListWaiting, ReadOutput, Submission, SubmitDocument,
};
use super::replies::{DirectoryRead, FileRead, RunAccepted, WaitingGroup};
use borges_mesos::SandboxLocation;
use borges_placement::PendingReason;
use borges_store::{RunMarker, RunRecord, WriteOp};
use borges_task::{Input, LaunchId, ResourceRequest, RunId, State, TaskId};

/// The delay between a failed store and the shutdown, so that the client gets its answer.
const SHUTDOWN_DELAY: Duration = Duration::from_millis(500);

impl Handler<SubmitDocument> for Scheduler {
    type Result = ResponseActFuture<Self, Result<RunAccepted, SubmitError>>;

    fn handle(&mut self, SubmitDocument(submission): SubmitDocument, _: &mut Context<Self>) -> Self::Result {
        let Submission { title, document, plan, key, caching } = submission;
        if let Some(earlier) = key.as_ref().and_then(|key| self.idempotency_keys.get(key)) {
            let run = earlier.id;
            // A different selection of blocks is a different submission.
            let is_same = earlier.document == document
                && earlier.tasks == plan.tasks
                && earlier.recipes == plan.recipes
                && earlier.caching == caching;
            if !is_same {
                return Box::pin(ready(Err(SubmitError::KeyReused(run))).into_actor(self));
            }
            // The earlier submission may not be stored yet. Writes are committed in order.
            let persisted = self.deps.store.save(Vec::new(), Vec::new());
            let reply = persisted
                .map(move |persisted| persisted.map(|_| RunAccepted { run }).map_err(SubmitError::Persist));
            return Box::pin(reply.into_actor(self));
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
        let events = run
            .tasks()
            .map(|task| task_event(&record, task.spec, &task.record(), &self.deps.clock))
            .collect();
        let persisted = self.deps.store.save(vec![WriteOp::Run(record)], events);
        Box::pin(persisted.into_actor(self).map(move |persisted, this, ctx| {
            let _committed = persisted.map_err(|error| {
                // The client is answered first.
                let reason = error.clone();
                ctx.run_later(SHUTDOWN_DELAY, move |this, _| this.abort(&reason));
                SubmitError::Persist(error)
            })?;
            let id = run.record.id;
            let queued: Vec<_> =
                run.tasks().filter(|task| task.entry.state == State::Queued).map(|task| task.id).collect();
            this.runs.insert(id, run);
            this.waiting += queued.len();
            this.resolve_and_enqueue(queued, ctx);
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
            // A supervisor answers after it has stored the request. If it stops before, the request is lost.
            let sent = supervisor.send(TaskInput(Input::KillRequested));
            return Box::pin(sent.map(|sent| sent.map(|()| true).map_err(|_| PersistError::Closed)));
        }
        self.apply(id, Input::KillRequested, ctx);
        // Writes are committed in order: when this one is answered, so is the one of `apply`.
        let persisted = self.deps.store.save(Vec::new(), Vec::new());
        Box::pin(persisted.map(|persisted| persisted.map(|_| true)))
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
        run.marker = Some(RunMarker::KillRequested);
        let persisted =
            self.deps.store.save(vec![WriteOp::MarkRun(id, RunMarker::KillRequested)], Vec::new());
        Box::pin(persisted.into_actor(self).map(move |persisted, this, ctx| {
            persisted?;
            this.kill_active_tasks(id, ctx);
            Ok(true)
        }))
    }
}

impl Scheduler {
    /// Kills every task of a run that has not ended.
    pub(super) fn kill_active_tasks(&mut self, id: RunId, ctx: &mut Context<Self>) {
        let Some(run) = self.runs.get(&id) else { return };
        let active: Vec<TaskId> =
            run.tasks().filter(|task| !task.entry.state.is_terminal()).map(|task| task.id).collect();
        for task in active {
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
        let Some(location) = self.sandbox_of(launch) else {
            // The launch does not exist, so it has written nothing.
            return Box::pin(ready(vec![FileRead::NotFound; files.len()]));
        };
        let read = |(path, offset): (Arc<str>, u64)| {
            self.deps.sandbox.read(&location, &path, offset, length).map(FileRead::from)
        };
        Box::pin(join_all(files.into_iter().map(read)))
    }
}

impl Handler<ListFiles> for Scheduler {
    type Result = ResponseFuture<DirectoryRead>;

    fn handle(&mut self, ListFiles { launch, path }: ListFiles, _: &mut Context<Self>) -> Self::Result {
        match self.sandbox_of(launch) {
            Some(location) => Box::pin(self.deps.sandbox.list(&location, &path).map(DirectoryRead::from)),
            None => Box::pin(ready(DirectoryRead::NotFound)),
        }
    }
}

impl Scheduler {
    /// The location of the sandbox of a launch. `None` if the task was never launched.
    pub(super) fn sandbox_of(&self, launch: LaunchId) -> Option<SandboxLocation> {
        let agent = self.task(launch.task)?.entry.agent.clone()?;
        Some(SandboxLocation {
            agent,
            framework: self.offer_pool.framework.clone()?,
            executor: launch.to_string(),
        })
    }
}

impl Handler<ListWaiting> for Scheduler {
    type Result = Vec<WaitingGroup>;

    fn handle(&mut self, ListWaiting(id): ListWaiting, _: &mut Context<Self>) -> Vec<WaitingGroup> {
        let now = self.deps.clock.elapsed();
        let Some(run) = self.runs.get(&id) else { return Vec::new() };
        let offer_history = self.offer_history();
        // Tasks with equal requests wait for the same reason.
        let mut groups: HashMap<ResourceRequest, WaitingGroup> = HashMap::new();
        for TaskView { spec, entry, .. } in run.tasks().filter(|task| task.entry.state == State::Queued) {
            let waited = now.saturating_sub(entry.since);
            let group = groups.entry(spec.resource_request(id)).or_insert_with_key(|request| WaitingGroup {
                block: spec.block.clone(),
                line: spec.line,
                waited,
                tasks: 0,
                reason: PendingReason::queued(request, &offer_history).to_string(),
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

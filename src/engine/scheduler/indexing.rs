//! Indexes the output files of ended tasks in batches, in the background. A restart continues with the unindexed tasks.

use std::collections::BTreeSet;

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context};

use super::super::run::Run;
use super::Scheduler;
use super::result_index::{BATCH_SIZE, read_batch};
use borges_store::{ResultRecord, WriteOp};
use borges_task::TaskId;

impl Scheduler {
    /// After a restart: queues the ended tasks that are not in the index.
    pub(super) fn queue_unindexed(&mut self, indexed: Vec<TaskId>) {
        let indexed: BTreeSet<TaskId> = indexed.into_iter().collect();
        let tasks = self.runs.values().flat_map(Run::tasks);
        let launched = tasks.filter(|task| task.entry.state.is_terminal() && task.entry.history.attempt > 0);
        let unindexed = launched.map(|task| task.id).filter(|id| !indexed.contains(id)).collect();
        self.result_indexer.reset(unindexed);
    }

    /// Queues a task that has ended.
    pub(super) fn queue_for_index(&mut self, id: TaskId) {
        if self.index_results && self.task(id).is_some_and(|task| task.entry.history.attempt > 0) {
            self.result_indexer.push(id);
        }
    }

    /// Indexes the next batch, if one is due.
    pub(super) fn index_next_batch(&mut self, ctx: &mut Context<Self>) {
        if !self.index_results || !self.result_indexer.is_due(self.deps.clock.elapsed()) {
            return;
        }
        let mut batch = Vec::new();
        while batch.len() < BATCH_SIZE
            && let Some(id) = self.result_indexer.pop()
        {
            let Some(task) = self.task(id) else { continue };
            let (spec, attempt) = (task.spec.clone(), task.entry.history.attempt);
            let (block, line, index) = (spec.block.clone(), spec.line, spec.index);
            let record = ResultRecord { task: id, attempt, block, line, index, files: Vec::new() };
            batch.push((record, self.sandbox_of(id.launch(attempt))));
        }
        self.result_indexer.begin_batch();
        let read = read_batch(self.deps.sandbox.clone(), batch);
        ctx.spawn(read.into_actor(self).map(move |(records, unreadable), this, ctx| {
            this.result_indexer.retry(unreadable, this.deps.clock.elapsed());
            this.save(vec![WriteOp::Results(records)], Vec::new(), ctx, |this, ctx| {
                if this.result_indexer.end_batch() {
                    this.index_next_batch(ctx);
                }
            });
        }));
    }
}

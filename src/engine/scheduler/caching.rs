//! What need not be run again, and what is kept for that.
//!
//! A task of which this may be is looked for when all is known that goes into it: first in the document, where its result
//! stands with its hash, then among the results that are kept. What ends well is kept before anybody hears of its end.

use std::sync::Arc;

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context};
use tokio::task::spawn_blocking;

use super::super::run::{Run, TaskView};
use super::Scheduler;
use super::task_outputs::{SandboxOutput, read_sandbox_output};
use borges_babel::BlockResult;
use borges_plan::{CacheKey, EMBEDDED_ORIGIN};
use borges_store::{Cache, CachedResult};
use borges_task::{Command, Input, State, TaskId};

impl Scheduler {
    /// Whether it is looked for what a task comes to before it is launched.
    pub(super) fn is_cacheable(&self, id: TaskId) -> bool {
        let Some(run) = self.runs.get(&id.run) else { return false };
        run.task(id.number).is_some_and(|TaskView { spec, row, .. }| {
            row.history.attempt == 0 && run.record.recipes.is_cacheable(spec, run.record.caching)
        })
    }

    /// Looks for what a task that is run by `command` comes to; what is not found is queued.
    pub(super) fn lookup_cache(&mut self, id: TaskId, command: &Command, ctx: &mut Context<Self>) {
        if let Some(run) = self.runs.get_mut(&id.run)
            && let Some(finished) = run.embedded_result(id.number)
        {
            return self.complete_from_cache(id, finished, EMBEDDED_ORIGIN.to_owned(), ctx);
        }
        let Some(cache) = self.cache.clone() else {
            self.queue(vec![id]);
            return self.match_or_request_offers();
        };
        let (key, now) = (CacheKey::of(command), self.deps.clock.now());
        let found = spawn_blocking(move || cache.get(&key, Some(now)));
        ctx.spawn(found.into_actor(self).map(move |found, this, ctx| {
            let Some(run) = this.runs.get(&id.run) else { return };
            if run.task(id.number).is_none_or(|task| task.row.state != State::Queued) {
                return;
            }
            let known = found.ok().flatten().and_then(|kept| {
                let origin = kept.origin();
                let finished = run.finished(id.number, Ok(SandboxOutput::from(kept))).ok()?;
                run.result_file_exists(id.number, &finished).then_some((finished, origin))
            });
            match known {
                Some((finished, origin)) => this.complete_from_cache(id, finished, origin, ctx),
                None => {
                    this.queue(vec![id]);
                    this.match_or_request_offers();
                }
            }
        }));
    }

    /// A task is over without having been run.
    fn complete_from_cache(
        &mut self,
        id: TaskId,
        finished: BlockResult,
        origin: String,
        ctx: &mut Context<Self>,
    ) {
        if let Some(run) = self.runs.get_mut(&id.run) {
            run.values.insert(id.number, Arc::new(finished));
        }
        self.set_row(id, |row| row.message = Some(origin));
        self.apply(id, Input::CacheHit, ctx);
    }

    /// Keeps what a task has left that ended well, if it is one of those; `false` while that is under way: then what
    /// follows from its end comes after it.
    pub(super) fn cache_result(&mut self, id: TaskId, ctx: &mut Context<Self>) -> bool {
        let (Some(cache), Some(run)) = (self.cache.clone(), self.runs.get_mut(&id.run)) else { return true };
        let Some(TaskView { spec, row, .. }) = run.task(id.number) else { return true };
        let attempt = row.history.attempt;
        let is_kept = row.state == State::Finished && attempt > 0;
        if !is_kept
            || !run.record.recipes.should_store(spec, run.record.caching)
            || !run.results_cached.insert(id.number)
        {
            return true;
        }
        let Some(place) = self.sandbox_of(id.launch(attempt)) else { return true };
        let Some(run) = self.runs.get(&id.run) else { return true };
        // In a later life what went into it has to be read again.
        let unread = run.unresolved(run.record.recipes.dependencies(id.number));
        self.read_outputs(id.run, unread, Vec::new(), ctx, move |this, ctx| {
            let sandbox = this.deps.sandbox.clone();
            let Some(run) = this.runs.get(&id.run) else { return };
            let Some(TaskView { spec, .. }) = run.task(id.number) else { return };
            let key = run.command(spec).map(|command| CacheKey::of(&command));
            // Of what nobody has asked for nobody needs to hear.
            let is_asked = run.record.recipes.is_cacheable(spec, run.record.caching);
            let level = if is_asked { log::Level::Warn } else { log::Level::Debug };
            let (block, line, at) = (spec.block.clone(), spec.line, this.deps.clock.now());
            let kept = async move {
                let (key, SandboxOutput { stdout, value }) =
                    (key?, read_sandbox_output(&*sandbox, &place).await?);
                let kept = CachedResult { run: id.run, block, line, at, stdout, value };
                let kept = spawn_blocking(move || cache.insert(&key, &kept)).await;
                kept.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
            };
            ctx.spawn(kept.into_actor(this).map(move |kept, this, ctx| {
                if let Err(why) = kept {
                    log::log!(level, "the result of {id} is not kept: {why}");
                }
                this.propagate(id, ctx);
            }));
        });
        false
    }
}

impl Run {
    /// What the document carries for a task, if that still holds; then it stays there as it is.
    fn embedded_result(&mut self, number: u32) -> Option<BlockResult> {
        if self.embedded_results.is_none() {
            self.embedded_results =
                Some(Arc::new(self.record.recipes.embedded_results(&self.record.document)));
        }
        let carried = self.embedded_results.clone()?;
        let carried = carried.get(&number)?;
        let spec = self.task(number)?.spec;
        if !self.record.recipes.is_valid(carried, spec, &self.values, &self.files) {
            return None;
        }
        self.results_unchanged.insert(number);
        Some(carried.block_result())
    }

    /// What a task came to that was not run, in a later life: found where it was found before. What the document carries
    /// is among the values then.
    pub(super) fn reload_cached(&mut self, number: u32, cache: Option<&Cache>) -> Option<SandboxOutput> {
        let TaskView { spec, row, .. } = self.task(number)?;
        if row.state != State::Finished || row.history.attempt > 0 {
            return None;
        }
        let key = self.command(spec).ok().map(|command| CacheKey::of(&command));
        if let Some(finished) = self.embedded_result(number) {
            self.values.insert(number, Arc::new(finished));
            return None;
        }
        // Once, and only after a restart: the others can wait for a file.
        cache?.get(&key?, None).map(SandboxOutput::from)
    }

    /// Whether a file that the block itself has written is still there.
    fn result_file_exists(&self, number: u32, finished: &BlockResult) -> bool {
        let Some(file) = finished.file.as_ref().filter(|file| file.bytes.is_none()) else { return true };
        let path = self.record.recipes.result_path(number, &file.name);
        path.is_none_or(|path| std::path::Path::new(&path).exists())
    }
}

impl From<CachedResult> for SandboxOutput {
    fn from(CachedResult { stdout, value, .. }: CachedResult) -> Self {
        Self { stdout, value }
    }
}

//! The result cache: answers tasks from stored results, and stores the results of finished tasks.
//!
//! Once all inputs of a cacheable task are resolved, its result is looked up, first in the document (by `#+RESULTS[hash]`),
//! then in the cache. The result of a finished task is stored before its end is propagated.

use std::sync::Arc;

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context};
use tokio::task::spawn_blocking;

use super::super::run::{Run, TaskView};
use super::Scheduler;
use super::sandbox_output::{SandboxOutput, read_sandbox_output};
use borges_babel::BlockResult;
use borges_plan::{CacheKey, EMBEDDED_ORIGIN};
use borges_store::{Cache, CachedResult};
use borges_task::{Command, Input, State, TaskId};

impl Scheduler {
    /// Whether the cache is consulted before the task is launched.
    pub(super) fn is_cacheable(&self, id: TaskId) -> bool {
        let Some(run) = self.runs.get(&id.run) else { return false };
        run.task(id.number).is_some_and(|TaskView { spec, entry, .. }| {
            entry.history.attempt == 0 && run.record.recipes.is_cacheable(spec, run.record.caching)
        })
    }

    /// Looks up the result of a task with this command. Queues the task on a cache miss.
    pub(super) fn lookup_cache(&mut self, id: TaskId, command: &Command, ctx: &mut Context<Self>) {
        if let Some(run) = self.runs.get_mut(&id.run)
            && let Some(result) = run.embedded_result(id.number)
        {
            return self.complete_from_cache(id, result, EMBEDDED_ORIGIN.to_owned(), ctx);
        }
        let Some(cache) = self.cache.clone() else {
            self.queue(vec![id]);
            return self.match_or_request_offers();
        };
        let (key, now) = (CacheKey::of(command), self.deps.clock.now());
        let lookup = spawn_blocking(move || cache.get(&key, Some(now)));
        ctx.spawn(lookup.into_actor(self).map(move |lookup, this, ctx| {
            let Some(run) = this.runs.get(&id.run) else { return };
            if run.task(id.number).is_none_or(|task| task.entry.state != State::Queued) {
                return;
            }
            let cached = lookup.ok().flatten().and_then(|stored| {
                let origin = stored.origin();
                let result = run.result(id.number, Ok(SandboxOutput::from(stored))).ok()?;
                run.result_file_exists(id.number, &result).then_some((result, origin))
            });
            match cached {
                Some((result, origin)) => this.complete_from_cache(id, result, origin, ctx),
                None => {
                    this.queue(vec![id]);
                    this.match_or_request_offers();
                }
            }
        }));
    }

    /// Ends a task with a cached result, without a launch.
    fn complete_from_cache(
        &mut self,
        id: TaskId,
        result: BlockResult,
        origin: String,
        ctx: &mut Context<Self>,
    ) {
        if let Some(run) = self.runs.get_mut(&id.run) {
            run.values.insert(id.number, Arc::new(result));
        }
        self.update_entry(id, |entry| entry.message = Some(origin));
        self.apply(id, Input::CacheHit, ctx);
    }

    /// Stores the result of a finished task in the cache, if it is to be cached. `false` if the write has begun:
    /// [`Scheduler::propagate`] is called again when it has ended.
    pub(super) fn cache_result(&mut self, id: TaskId, ctx: &mut Context<Self>) -> bool {
        let (Some(cache), Some(run)) = (self.cache.clone(), self.runs.get_mut(&id.run)) else { return true };
        let Some(TaskView { spec, entry, .. }) = run.task(id.number) else { return true };
        let attempt = entry.history.attempt;
        let is_successful = entry.state == State::Finished && attempt > 0;
        if !is_successful
            || !run.record.recipes.should_store(spec, run.record.caching)
            || !run.results_cached.insert(id.number)
        {
            return true;
        }
        let Some(location) = self.sandbox_of(id.launch(attempt)) else { return true };
        let Some(run) = self.runs.get(&id.run) else { return true };
        // After a restart the inputs have to be read again, because the cache key depends on them.
        let unresolved = run.unresolved(run.record.recipes.dependencies(id.number));
        self.read_outputs(id.run, unresolved, Vec::new(), ctx, move |this, ctx| {
            let sandbox = this.deps.sandbox.clone();
            let Some(run) = this.runs.get(&id.run) else { return };
            let Some(TaskView { spec, .. }) = run.task(id.number) else { return };
            let key = run.command(spec).map(|command| CacheKey::of(&command));
            // Without `:cache` the user did not ask for the entry, so its failure is not a warning.
            let is_requested = run.record.recipes.is_cacheable(spec, run.record.caching);
            let level = if is_requested { log::Level::Warn } else { log::Level::Debug };
            let (block, line, at) = (spec.block.clone(), spec.line, this.deps.clock.now());
            let stored = async move {
                let (key, SandboxOutput { stdout, value }) =
                    (key?, read_sandbox_output(&*sandbox, &location).await?);
                let stored = CachedResult { run: id.run, block, line, at, stdout, value };
                let stored = spawn_blocking(move || cache.insert(&key, &stored)).await;
                stored.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
            };
            ctx.spawn(stored.into_actor(this).map(move |stored, this, ctx| {
                if let Err(error) = stored {
                    log::log!(level, "the result of {id} is not kept: {error}");
                }
                this.propagate(id, ctx);
            }));
        });
        false
    }
}

impl Run {
    /// The result of a task that the document contains, if its hash is still valid. It is then left unchanged.
    fn embedded_result(&mut self, number: u32) -> Option<BlockResult> {
        if self.embedded_results.is_none() {
            self.embedded_results =
                Some(Arc::new(self.record.recipes.embedded_results(&self.record.document)));
        }
        let embedded = self.embedded_results.clone()?;
        let embedded = embedded.get(&number)?;
        let spec = self.task(number)?.spec;
        if !self.record.recipes.is_valid(embedded, spec, &self.values, &self.files) {
            return None;
        }
        self.results_unchanged.insert(number);
        Some(embedded.block_result())
    }

    /// After a restart: looks up the result of a task that was a cache hit. `None` if it is not in the cache, or if it is
    /// embedded in the document and now in `values`.
    pub(super) fn reload_cached(&mut self, number: u32, cache: Option<&Cache>) -> Option<SandboxOutput> {
        let TaskView { spec, entry, .. } = self.task(number)?;
        if entry.state != State::Finished || entry.history.attempt > 0 {
            return None;
        }
        let key = self.command(spec).ok().map(|command| CacheKey::of(&command));
        if let Some(result) = self.embedded_result(number) {
            self.values.insert(number, Arc::new(result));
            return None;
        }
        // Blocking, but only once a task after a restart.
        cache?.get(&key?, None).map(SandboxOutput::from)
    }

    /// Whether the result file still exists, if the block itself has written it.
    fn result_file_exists(&self, number: u32, result: &BlockResult) -> bool {
        let Some(file) = result.file.as_ref().filter(|file| file.bytes.is_none()) else { return true };
        let path = self.record.recipes.result_path(number, &file.name);
        path.is_none_or(|path| std::path::Path::new(&path).exists())
    }
}

//! Computes the results of tasks from their sandboxes: for dependent tasks, for result files, and for the document.
//!
//! Results are not stored. After a restart they are computed again from the sandboxes and the recipes.

use std::sync::Arc;

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture};
use bytes::Bytes;
use futures_util::future::{join_all, ready};

use super::super::run::{Run, TaskView};
use super::Scheduler;
use super::messages::GetRunOutputs;
use super::replies::RunOutputs;
use super::sandbox_output::{
    MAX_VALUE_BYTES, SandboxOutput, SandboxOutputs, VALUE_TOO_LARGE, read_sandbox_output,
};
use borges_babel::Execution;
use borges_mesos::SandboxLocation;
use borges_mesos::status::is_plain_exit;
use borges_plan::{Files, StatusNote, TaskOutcome, note};
use borges_task::{Input, RunId, State, TaskId, TaskSpec};

impl Scheduler {
    /// Queues tasks for offers after their inputs have been read.
    pub(super) fn resolve_and_enqueue(&mut self, tasks: Vec<TaskId>, ctx: &mut Context<Self>) {
        let mut ready = Vec::with_capacity(tasks.len());
        for id in tasks {
            let Some(run) = self.runs.get(&id.run) else { continue };
            let recipes = &run.record.recipes;
            let unresolved = run.unresolved(recipes.dependencies(id.number));
            let files = recipes.external_files(id.number);
            let is_cacheable = self.is_cacheable(id);
            if unresolved.is_empty() && files.is_empty() && !is_cacheable {
                ready.push(id);
                continue;
            }
            self.resolving_inputs.insert(id);
            self.read_outputs(id.run, unresolved, files.into_iter().collect(), ctx, move |this, ctx| {
                if this.task(id).is_none_or(|task| task.entry.state != State::Queued) {
                    return;
                }
                let Some(run) = this.runs.get(&id.run) else { return };
                let reason = match run.task(id.number).map(|task| run.command(task.spec)) {
                    Some(Err(reason)) => run.missing_input(id.number).unwrap_or(reason),
                    Some(Ok(command)) if command.size() as u64 > 2 * MAX_VALUE_BYTES => {
                        format!("what goes into it is {} bytes: {}", command.size(), VALUE_TOO_LARGE)
                    }
                    Some(Ok(command)) if is_cacheable => return this.lookup_cache(id, &command, ctx),
                    Some(Ok(_)) => {
                        this.queue(vec![id]);
                        this.match_or_request_offers();
                        return;
                    }
                    None => return,
                };
                this.update_entry(id, |entry| entry.message = Some(reason));
                this.apply(id, Input::InputUnavailable, ctx);
            });
        }
        self.queue(ready);
    }

    /// Reads the outputs of the tasks `unresolved`, which are in topological order, and files beside the document. Then
    /// calls `then`.
    ///
    /// Equal reads in flight are shared, because thousands of blocks with the same input can become ready together.
    pub(super) fn read_outputs(
        &mut self,
        id: RunId,
        unresolved: Vec<u32>,
        files: Vec<String>,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, &mut Context<Self>) + 'static,
    ) {
        let key = (id, unresolved, files);
        let continuations = self.reads_in_flight.entry(key.clone()).or_default();
        continuations.push(Box::new(then));
        if continuations.len() > 1 {
            return;
        }
        let (id, unresolved, files) = key.clone();
        let read = self.read_all(id, unresolved, files);
        ctx.spawn(read.into_actor(self).map(move |(outputs, files), this, ctx| {
            this.record_outputs(id, outputs, files);
            for then in this.reads_in_flight.remove(&key).unwrap_or_default() {
                then(this, ctx);
            }
        }));
    }

    /// Reads the inputs of a task that are not in memory.
    pub(super) fn read_inputs(&self, id: TaskId) -> impl Future<Output = (SandboxOutputs, Files)> + use<> {
        let inputs = self.runs.get(&id.run).map(|run| {
            let files = run.record.recipes.external_files(id.number);
            let files = files.into_iter().filter(|path| !run.files.contains_key(path));
            (run.unresolved(run.record.recipes.dependencies(id.number)), files.collect())
        });
        let (unresolved, files) = inputs.unwrap_or_default();
        self.read_all(id.run, unresolved, files)
    }

    /// Reads the outputs of tasks and files beside the document.
    fn read_all(
        &self,
        id: RunId,
        unresolved: Vec<u32>,
        files: Vec<String>,
    ) -> impl Future<Output = (SandboxOutputs, Files)> + use<> {
        let sandbox = self.deps.sandbox.clone();
        let locations: Vec<(u32, Option<SandboxLocation>)> = unresolved
            .into_iter()
            .map(|number| {
                let task = id.task(number);
                let attempt = self.task(task).map_or(0, |task| task.entry.history.attempt);
                (number, self.sandbox_of(task.launch(attempt)).filter(|_| attempt > 0))
            })
            .collect();
        async move {
            let read = locations.into_iter().map(|(number, location)| {
                let sandbox = sandbox.clone();
                async move {
                    match location {
                        Some(location) => (number, read_sandbox_output(&*sandbox, &location).await),
                        None => (number, Err("it was never launched".to_owned())),
                    }
                }
            });
            let outputs = join_all(read).await;
            let mut contents = Files::new();
            for path in files {
                let read = tokio::fs::read(&path).await;
                let read = read.map(Bytes::from).map_err(|error| format!("`{path}` cannot be read: {error}"));
                contents.insert(path, read);
            }
            (outputs, contents)
        }
    }

    /// Stores outputs and files that were read in the run.
    pub(super) fn record_outputs(&mut self, id: RunId, outputs: SandboxOutputs, files: Files) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.files.extend(files);
        for (number, output) in outputs {
            let output =
                output.or_else(|reason| run.reload_cached(number, self.cache.as_ref()).ok_or(reason));
            if run.values.contains_key(&number) {
                continue;
            }
            match run.result(number, output) {
                Ok(result) => drop(run.values.insert(number, Arc::new(result))),
                Err(reason) => drop(run.unavailable.insert(number, reason)),
            }
        }
    }

    /// Writes the result file of an ended task, if it has one. `false` if the write has begun: [`Scheduler::propagate`] is
    /// called again when it has ended.
    pub(super) fn write_result_file(&mut self, id: TaskId, ctx: &mut Context<Self>) -> bool {
        let Some(run) = self.runs.get_mut(&id.run) else { return true };
        let Some(TaskView { entry, .. }) = run.task(id.number) else { return true };
        let has_result = match entry.state {
            State::Finished => true,
            State::Failed => entry.history.attempt > 0,
            _ => false,
        };
        if !has_result
            || !run.record.recipes.has_result_file(id.number)
            || !run.results_written.insert(id.number)
        {
            return true;
        }
        let unresolved = run.unresolved([id.number]);
        self.read_outputs(id.run, unresolved, Vec::new(), ctx, move |this, ctx| {
            let Some(run) = this.runs.get(&id.run) else { return };
            let file = run.values.get(&id.number).and_then(|result| result.file.clone());
            let path = file.as_ref().and_then(|file| run.record.recipes.result_path(id.number, &file.name));
            let (Some(file), Some(path)) = (file, path) else { return this.propagate(id, ctx) };
            let written = write_file(path, file.bytes, file.mode);
            ctx.spawn(written.into_actor(this).map(move |written, this, ctx| {
                if let Err(reason) = written
                    && let Some(run) = this.runs.get_mut(&id.run)
                {
                    run.write_errors.insert(id.number, reason);
                }
                this.propagate(id, ctx);
            }));
        });
        false
    }
}

impl Run {
    /// The result of a task with this output.
    pub(super) fn result(
        &self,
        number: u32,
        output: Result<SandboxOutput, String>,
    ) -> Result<borges_babel::BlockResult, String> {
        let output = output?;
        let TaskView { spec, entry, .. } = self.task(number).ok_or("there is no such task")?;
        let execution = Execution {
            exit_code: entry.history.exit_code.unwrap_or_default(),
            stdout: &output.stdout,
            value: output.value.as_deref(),
        };
        self.record.recipes.result(spec, &self.values, &self.files, &execution)
    }

    /// Why an input of a task is unavailable. `None` if no input is.
    fn missing_input(&self, number: u32) -> Option<String> {
        let dependencies = self.record.recipes.dependencies(number);
        let (from, reason) =
            dependencies.iter().find_map(|from| Some((*from, self.unavailable.get(from)?)))?;
        let TaskSpec { block, line, .. } = &**self.task(from)?.spec;
        Some(format!("it takes the value of `{block}` (line {line}), which cannot be had: {reason}"))
    }
}

/// Writes the result file of a block. Without `bytes`, checks that the block has written the file.
async fn write_file(path: String, bytes: Option<Vec<u8>>, mode: Option<u32>) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let Some(bytes) = bytes else {
        let exists = tokio::fs::try_exists(&path).await.unwrap_or_default();
        return if exists { Ok(()) } else { Err(format!("`{path}`, its `:file`, is not there")) };
    };
    let written = async {
        if let Some(parent) = std::path::Path::new(&path).parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        tokio::fs::write(&path, bytes).await?;
        if let Some(mode) = mode {
            tokio::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).await?;
        }
        Ok(())
    };
    written
        .await
        .map_err(|error: std::io::Error| format!("`{path}`, its `:file`, cannot be written: {error}"))
}

impl Handler<GetRunOutputs> for Scheduler {
    type Result = ResponseActFuture<Self, Option<RunOutputs>>;

    fn handle(&mut self, GetRunOutputs(id): GetRunOutputs, _: &mut Context<Self>) -> Self::Result {
        let Some(run) = self.runs.get(&id) else {
            return Box::pin(ready(None).into_actor(self));
        };
        let ended = run.tasks().filter(|TaskView { entry, .. }| {
            entry.state == State::Finished || (entry.state.is_terminal() && entry.history.attempt > 0)
        });
        let unresolved = run.unresolved(ended.map(|task| task.id.number));
        let read = self.read_all(id, unresolved, Vec::new());
        Box::pin(read.into_actor(self).map(move |(outputs, files), this, _| {
            this.record_outputs(id, outputs, files);
            let run = this.runs.get(&id)?;
            Some(RunOutputs {
                record: run.record.clone(),
                values: run.values.clone(),
                files: run.files.clone(),
                status_notes: run.tasks().filter_map(status_note).collect(),
                unchanged: run.results_unchanged.clone(),
                missing_results: run
                    .unavailable
                    .iter()
                    .filter_map(|(number, reason)| missing_result(run, *number, reason))
                    .collect(),
                write_problems: run
                    .write_errors
                    .iter()
                    .filter_map(|(number, reason)| problem(run, *number, reason))
                    .collect(),
            })
        }))
    }
}

/// The status note that the document shows for a task, with the number of the task.
fn status_note(TaskView { id, entry, .. }: TaskView<'_>) -> Option<(u32, StatusNote)> {
    let outcome = TaskOutcome {
        state: entry.state,
        launched: entry.history.attempt > 0,
        exit_code: entry.history.exit_code,
        message: entry.message.as_deref().filter(|message| !is_plain_exit(message)),
    };
    Some((id.number, note(outcome)?))
}

fn missing_result(run: &Run, number: u32, reason: &str) -> Option<String> {
    problem(run, number, &format!("its result is not written: {reason}"))
}

fn problem(run: &Run, number: u32, reason: &str) -> Option<String> {
    let TaskView { spec, .. } = run.task(number)?;
    Some(format!("{}: line {}: {reason}", spec.block, spec.line))
}

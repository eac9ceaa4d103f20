//! What tasks have yielded: read out of their sandboxes for those that it goes into, for the files that are to be
//! written, and for the document.
//!
//! Nothing of it is stored: a sandbox and the recipe give it again, also to a later life.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseActFuture};
use bytes::Bytes;
use futures_util::future::{join_all, ready};

use super::super::run::{Run, TaskView};
use super::Scheduler;
use borges_babel::{Execution, VALUE};
use borges_mesos::status::is_plain_exit;
use borges_mesos::{Sandbox, SandboxError, SandboxLocation};
use borges_plan::{Files, RunResults, StatusNote, TaskOutcome, UpdatedDocument, Values, note, write_back};
use borges_store::RunRecord;
use borges_task::{Input, RunId, State, TaskId, TaskSpec};

/// What has this run yielded so far?
#[derive(Debug, Message)]
#[rtype(result = "Option<RunOutputs>")]
pub(crate) struct GetRunOutputs(pub(crate) RunId);

/// What a run has yielded.
#[derive(Debug, Clone)]
pub struct RunOutputs {
    record: Arc<RunRecord>,
    values: Values,
    files: Files,
    notes: BTreeMap<u32, StatusNote>,
    untouched: BTreeSet<u32>,
    lost: Vec<String>,
    troubles: Vec<String>,
}

impl RunOutputs {
    /// The document of the run with its results; `current` is what has become of it since, if that is known.
    /// `as_emacs`: nothing is noted of blocks that failed of themselves.
    pub fn document(&self, current: Option<&[u8]>, as_emacs: bool) -> UpdatedDocument {
        let RunRecord { document, tasks, recipes, .. } = &*self.record;
        let Self { values, files, notes, untouched, lost, troubles, .. } = self;
        let yielded =
            RunResults { recipes, tasks, values, files, notes, untouched, emacs_compatible: as_emacs };
        let mut returned = write_back(document, current.unwrap_or(document), &yielded);
        returned.missing.extend(lost.iter().chain(troubles).cloned());
        returned
    }
}

/// The most that a block may hand on to another, or into the document, bytes: what is larger belongs into a file.
pub(super) const MAX_VALUE_BYTES: u64 = 8 << 20;
/// How much is read at once.
pub(super) const READ_CHUNK: usize = 1 << 20;

/// What a task has left in its sandbox.
#[derive(Debug, Clone)]
pub(super) struct SandboxOutput {
    pub(super) stdout: Bytes,
    pub(super) value: Option<Bytes>,
}

/// Tasks of a run, and files, that are being read.
pub(super) type ReadKey = (RunId, Vec<u32>, Vec<String>);
/// What is to be done then.
pub(super) type Continuation = Box<dyn FnOnce(&mut Scheduler, &mut Context<Scheduler>)>;

/// What tasks have left, by number, or why it cannot be read.
pub(super) type SandboxOutputs = Vec<(u32, Result<SandboxOutput, String>)>;

impl Scheduler {
    /// Puts tasks into the queue for offers, once all is known that goes into them.
    pub(super) fn resolve_and_enqueue(&mut self, tasks: Vec<TaskId>, ctx: &mut Context<Self>) {
        let mut ready = Vec::with_capacity(tasks.len());
        for id in tasks {
            let Some(run) = self.runs.get(&id.run) else { continue };
            let recipes = &run.record.recipes;
            let unread = run.unresolved(recipes.dependencies(id.number));
            let files = recipes.external_files(id.number);
            let may_be_known = self.is_cacheable(id);
            if unread.is_empty() && files.is_empty() && !may_be_known {
                ready.push(id);
                continue;
            }
            self.resolving_inputs.insert(id);
            self.read_outputs(id.run, unread, files.into_iter().collect(), ctx, move |this, ctx| {
                if this.task(id).is_none_or(|task| task.row.state != State::Queued) {
                    return;
                }
                let Some(run) = this.runs.get(&id.run) else { return };
                let why = match run.task(id.number).map(|task| run.command(task.spec)) {
                    Some(Err(why)) => run.why_lost(id.number).unwrap_or(why),
                    Some(Ok(command)) if command.size() as u64 > 2 * MAX_VALUE_BYTES => {
                        format!("what goes into it is {} bytes: {}", command.size(), TOO_MUCH)
                    }
                    Some(Ok(command)) if may_be_known => return this.lookup_cache(id, &command, ctx),
                    Some(Ok(_)) => {
                        this.queue(vec![id]);
                        this.match_or_request_offers();
                        return;
                    }
                    None => return,
                };
                this.set_row(id, |row| row.message = Some(why));
                this.apply(id, Input::InputUnavailable, ctx);
            });
        }
        self.queue(ready);
    }

    /// Reads what these tasks have left, each after what goes into it, and files beside the document; then `then`.
    ///
    /// What is being read already is not read once more: a value may go into thousands of blocks, all of which are free
    /// to go at the same moment.
    pub(super) fn read_outputs(
        &mut self,
        id: RunId,
        unread: Vec<u32>,
        files: Vec<String>,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, &mut Context<Self>) + 'static,
    ) {
        let wanted = (id, unread, files);
        let waiting = self.reads_in_flight.entry(wanted.clone()).or_default();
        waiting.push(Box::new(then));
        if waiting.len() > 1 {
            return;
        }
        let (id, unread, files) = wanted.clone();
        let gathered = self.read_all(id, unread, files);
        ctx.spawn(gathered.into_actor(self).map(move |(left, files), this, ctx| {
            this.record_outputs(id, left, files);
            for then in this.reads_in_flight.remove(&wanted).unwrap_or_default() {
                then(this, ctx);
            }
        }));
    }

    /// What goes into a task, as far as it is not known.
    pub(super) fn read_inputs(&self, id: TaskId) -> impl Future<Output = (SandboxOutputs, Files)> + use<> {
        let wanted = self.runs.get(&id.run).map(|run| {
            let files = run.record.recipes.external_files(id.number);
            let files = files.into_iter().filter(|path| !run.files.contains_key(path));
            (run.unresolved(run.record.recipes.dependencies(id.number)), files.collect())
        });
        let (unread, files) = wanted.unwrap_or_default();
        self.read_all(id.run, unread, files)
    }

    /// What is asked for, once it is read.
    fn read_all(
        &self,
        id: RunId,
        unread: Vec<u32>,
        files: Vec<String>,
    ) -> impl Future<Output = (SandboxOutputs, Files)> + use<> {
        let sandbox = self.deps.sandbox.clone();
        let places: Vec<(u32, Option<SandboxLocation>)> = unread
            .into_iter()
            .map(|number| {
                let task = id.task(number);
                let attempt = self.task(task).map_or(0, |task| task.row.history.attempt);
                (number, self.sandbox_of(task.launch(attempt)).filter(|_| attempt > 0))
            })
            .collect();
        async move {
            let read = places.into_iter().map(|(number, place)| {
                let sandbox = sandbox.clone();
                async move {
                    match place {
                        Some(place) => (number, read_sandbox_output(&*sandbox, &place).await),
                        None => (number, Err("it was never launched".to_owned())),
                    }
                }
            });
            let left = join_all(read).await;
            let mut contents = Files::new();
            for path in files {
                let read = tokio::fs::read(&path).await;
                let read = read.map(Bytes::from).map_err(|error| format!("`{path}` cannot be read: {error}"));
                contents.insert(path, read);
            }
            (left, contents)
        }
    }

    /// Takes up what was read.
    pub(super) fn record_outputs(&mut self, id: RunId, left: SandboxOutputs, files: Files) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.files.extend(files);
        for (number, left) in left {
            let left = left.or_else(|why| run.reload_cached(number, self.cache.as_ref()).ok_or(why));
            if run.values.contains_key(&number) {
                continue;
            }
            match run.finished(number, left) {
                Ok(finished) => drop(run.values.insert(number, Arc::new(finished))),
                Err(why) => drop(run.unavailable.insert(number, why)),
            }
        }
    }

    /// Writes the file that an ended task yields, if it yields one; `false` while that is under way: then what follows
    /// from its end comes after it.
    pub(super) fn write_result_file(&mut self, id: TaskId, ctx: &mut Context<Self>) -> bool {
        let Some(run) = self.runs.get_mut(&id.run) else { return true };
        let Some(TaskView { row, .. }) = run.task(id.number) else { return true };
        let over = match row.state {
            State::Finished => true,
            State::Failed => row.history.attempt > 0,
            _ => false,
        };
        if !over || !run.record.recipes.has_result_file(id.number) || !run.results_written.insert(id.number) {
            return true;
        }
        let unread = run.unresolved([id.number]);
        self.read_outputs(id.run, unread, Vec::new(), ctx, move |this, ctx| {
            let Some(run) = this.runs.get(&id.run) else { return };
            let file = run.values.get(&id.number).and_then(|finished| finished.file.clone());
            let path = file.as_ref().and_then(|file| run.record.recipes.result_path(id.number, &file.name));
            let (Some(file), Some(path)) = (file, path) else { return this.propagate(id, ctx) };
            let written = write(path, file.bytes, file.mode);
            ctx.spawn(written.into_actor(this).map(move |written, this, ctx| {
                if let Err(why) = written
                    && let Some(run) = this.runs.get_mut(&id.run)
                {
                    run.write_errors.insert(id.number, why);
                }
                this.propagate(id, ctx);
            }));
        });
        false
    }
}

/// What to do with what is too large.
const TOO_MUCH: &str = "hand on a file instead, by its name";

impl Run {
    /// What a task that left this has yielded.
    pub(super) fn finished(
        &self,
        number: u32,
        left: Result<SandboxOutput, String>,
    ) -> Result<borges_babel::BlockResult, String> {
        let left = left?;
        let TaskView { spec, row, .. } = self.task(number).ok_or("there is no such task")?;
        let ended = Execution {
            exit_code: row.history.exit_code.unwrap_or_default(),
            stdout: &left.stdout,
            value: left.value.as_deref(),
        };
        self.record.recipes.result(spec, &self.values, &self.files, &ended)
    }

    /// Why something that goes into a task cannot be had.
    fn why_lost(&self, number: u32) -> Option<String> {
        let needed = self.record.recipes.dependencies(number);
        let (from, why) = needed.iter().find_map(|from| Some((*from, self.unavailable.get(from)?)))?;
        let TaskSpec { block, line, .. } = &**self.task(from)?.spec;
        Some(format!("it takes the value of `{block}` (line {line}), which cannot be had: {why}"))
    }
}

/// What a task has left in its sandbox.
pub(super) async fn read_sandbox_output(
    sandbox: &dyn Sandbox,
    place: &SandboxLocation,
) -> Result<SandboxOutput, String> {
    let value = whole(sandbox, place, VALUE).await?;
    let stdout = whole(sandbox, place, "block/stdout").await?;
    Ok(SandboxOutput { stdout: stdout.unwrap_or_default(), value })
}

/// A file of a sandbox, whole; `None` where there is none.
async fn whole(sandbox: &dyn Sandbox, place: &SandboxLocation, path: &str) -> Result<Option<Bytes>, String> {
    let mut whole: Vec<u8> = Vec::new();
    loop {
        let chunk = match sandbox.read(place, path, whole.len() as u64, READ_CHUNK).await {
            Ok(chunk) => chunk,
            Err(SandboxError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        if chunk.size > MAX_VALUE_BYTES {
            return Err(format!(
                "it is {} bytes, and at most {MAX_VALUE_BYTES} are taken: {TOO_MUCH}",
                chunk.size
            ));
        }
        if chunk.bytes.is_empty() {
            return Ok(Some(whole.into()));
        }
        let all = whole.is_empty() && chunk.bytes.len() as u64 >= chunk.size;
        if all {
            return Ok(Some(chunk.bytes));
        }
        whole.extend_from_slice(&chunk.bytes);
    }
}

/// Writes the file of a block; without bytes the block itself has written it, or should have.
async fn write(path: String, bytes: Option<Vec<u8>>, mode: Option<u32>) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let Some(bytes) = bytes else {
        let there = tokio::fs::try_exists(&path).await.unwrap_or_default();
        return if there { Ok(()) } else { Err(format!("`{path}`, its `:file`, is not there")) };
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
        let ended = run.tasks().filter(|TaskView { row, .. }| {
            row.state == State::Finished || (row.state.is_terminal() && row.history.attempt > 0)
        });
        let unread = run.unresolved(ended.map(|task| task.id.number));
        let gathered = self.read_all(id, unread, Vec::new());
        Box::pin(gathered.into_actor(self).map(move |(left, files), this, _| {
            this.record_outputs(id, left, files);
            let run = this.runs.get(&id)?;
            Some(RunOutputs {
                record: run.record.clone(),
                values: run.values.clone(),
                files: run.files.clone(),
                notes: run.tasks().filter_map(noted).collect(),
                untouched: run.results_unchanged.clone(),
                lost: run.unavailable.iter().filter_map(|(number, why)| lost(run, *number, why)).collect(),
                troubles: run
                    .write_errors
                    .iter()
                    .filter_map(|(number, why)| trouble(run, *number, why))
                    .collect(),
            })
        }))
    }
}

/// What the document notes of a task, by its number.
fn noted(TaskView { id, row, .. }: TaskView<'_>) -> Option<(u32, StatusNote)> {
    let ending = TaskOutcome {
        state: row.state,
        launched: row.history.attempt > 0,
        exit_code: row.history.exit_code,
        message: row.message.as_deref().filter(|words| !is_plain_exit(words)),
    };
    Some((id.number, note(ending)?))
}

fn lost(run: &Run, number: u32, why: &str) -> Option<String> {
    trouble(run, number, &format!("its result is not written: {why}"))
}

fn trouble(run: &Run, number: u32, why: &str) -> Option<String> {
    let TaskView { spec, .. } = run.task(number)?;
    Some(format!("{}: line {}: {why}", spec.block, spec.line))
}

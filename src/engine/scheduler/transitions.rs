//! What happens to tasks, and what follows for those that wait for them.

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context, Handler};

use super::super::run::{TaskEntry, TaskView};
use super::super::supervisor::{TaskChanged, TaskInput, TaskQueued, task_event};
use super::super::tell;
use super::Scheduler;
use borges_store::{LoggedEvent, RunEnded, RunMarker, TaskRecord, WriteOp};
use borges_task::{Effect, Input, RunId, RunState, State, TaskId, step};

impl Scheduler {
    /// Something happened to a task: its supervisor's business, if it has one.
    pub(super) fn apply(&mut self, id: TaskId, input: Input, ctx: &mut Context<Self>) {
        if let Some(supervisor) = self.supervisors.get(&id) {
            tell(supervisor, TaskInput(input));
            return;
        }
        let Some(task) = self.task(id) else { return };
        let before = task.row.state;
        let step = step(before, input, &task.row.history, &task.spec.policy);
        let now = self.deps.clock.elapsed();
        let Some(row) = self.runs.get_mut(&id.run).and_then(|run| run.row_mut(id.number)) else { return };
        *row = TaskEntry { state: step.next, history: step.history, since: now, ..row.clone() };
        self.count_waiting(id, before, step.next);
        let Some(run) = self.runs.get(&id.run) else { return };
        let Some(task) = run.task(id.number) else { return };
        let record = task.record();
        let mut told = Vec::new();
        if step.effects.contains(&Effect::Publish) {
            told.push(task_event(&run.record, task.spec, &record, &self.deps.clock));
        }
        if step.effects.contains(&Effect::Persist) {
            self.save(vec![WriteOp::Task(record)], told, ctx, move |this, ctx| {
                this.perform(id, step.effects, ctx);
            });
        } else {
            self.deps.keeper.append_events(told);
            self.perform(id, step.effects, ctx);
        }
    }

    /// Saves, then does `then`, then tells.
    pub(super) fn save(
        &self,
        writes: Vec<WriteOp>,
        told: Vec<LoggedEvent>,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, &mut Context<Self>) + 'static,
    ) {
        let saved = self.deps.keeper.save(writes, told);
        ctx.spawn(saved.into_actor(self).map(move |saved, this, ctx| match saved {
            Ok(_news) => then(this, ctx),
            Err(unsaved) => this.abort(&unsaved),
        }));
    }

    pub(super) fn perform(&mut self, id: TaskId, effects: &[Effect], ctx: &mut Context<Self>) {
        for effect in effects {
            match effect {
                // Done before, or of no meaning before a first launch.
                Effect::Persist | Effect::StartBackoff | Effect::Kill | Effect::Reconcile => {}
                Effect::Enqueue => self.resolve_and_enqueue(vec![id], ctx),
                // Who follows hears of it: it was saved as news.
                Effect::Publish => self.propagate(id, ctx),
            }
        }
        self.match_or_request_offers();
    }

    /// A task is in a new state, and that is saved.
    pub(super) fn on_task_changed(&mut self, task: TaskRecord, ctx: &mut Context<Self>) {
        let TaskRecord { id, state, history, agent, message, pause } = task;
        self.arm_timeouts(id.launch(history.attempt), state);
        self.set_row(id, |row| {
            *row = TaskEntry { state, history, agent, message, since: row.since, pause: pause.map(Box::new) };
        });
        if state.is_terminal() {
            self.supervisors.remove(&id);
            self.queue_for_index(id);
        }
        self.propagate(id, ctx);
    }

    /// A task's new state is known to all: what follows for the tasks that wait for it, and for the run.
    ///
    /// A file that it yields is written before anybody else goes on.
    pub(super) fn propagate(&mut self, id: TaskId, ctx: &mut Context<Self>) {
        if !self.cache_result(id, ctx) || !self.write_result_file(id, ctx) {
            return;
        }
        let Some(run) = self.runs.get_mut(&id.run) else { return };
        let told = run.propagate(id.number);
        let why = run.task(id.number).map(|TaskView { spec, row, .. }| {
            let (block, line) = (&spec.block, spec.line);
            match row.state {
                State::Failed => format!("it requires `{block}` (line {line}), which failed"),
                state => format!("it requires `{block}` (line {line}), which was {state}"),
            }
        });
        for (number, input) in told {
            let waiting = id.run.task(number);
            if input == Input::DependencyFailed {
                self.set_row(waiting, |row| row.message.clone_from(&why));
            }
            self.apply(waiting, input, ctx);
        }
        self.finish_run_if_done(id.run, ctx);
    }

    pub(super) fn finish_run_if_done(&mut self, id: RunId, ctx: &mut Context<Self>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let state = run.state();
        if state == RunState::Running || matches!(run.mark, Some(RunMarker::Ended { .. })) {
            return;
        }
        let now = self.deps.clock.now();
        let mark = RunMarker::Ended { state, at: Some(now) };
        run.mark = Some(mark);
        let ended = LoggedEvent::Run(RunEnded { seq: 0, time: now, run: id, state });
        self.save(vec![WriteOp::MarkRun(id, mark)], vec![ended], ctx, |_, _| {});
    }
}

impl Handler<TaskQueued> for Scheduler {
    type Result = ();

    fn handle(&mut self, TaskQueued(id): TaskQueued, ctx: &mut Context<Self>) {
        self.set_row(id, |row| row.state = State::Queued);
        self.resolve_and_enqueue(vec![id], ctx);
        self.match_or_request_offers();
    }
}

impl Handler<TaskChanged> for Scheduler {
    type Result = ();

    fn handle(&mut self, TaskChanged(task): TaskChanged, ctx: &mut Context<Self>) {
        self.on_task_changed(task, ctx);
    }
}

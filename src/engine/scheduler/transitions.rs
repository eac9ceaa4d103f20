//! State changes of tasks, and their effects on dependent tasks and on the run.

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context, Handler};

use super::super::messages::{TaskChanged, TaskInput, TaskQueued};
use super::super::run::{TaskEntry, TaskView};
use super::super::supervisor::task_event;
use super::super::tell;
use super::Scheduler;
use borges_store::{LoggedEvent, RunEnded, RunMarker, TaskRecord, WriteOp};
use borges_task::{Effect, Input, RunId, RunState, State, TaskId, step};

impl Scheduler {
    /// Applies an input to a task: by its supervisor if it has one, otherwise here.
    pub(super) fn apply(&mut self, id: TaskId, input: Input, ctx: &mut Context<Self>) {
        if let Some(supervisor) = self.supervisors.get(&id) {
            tell(supervisor, TaskInput(input));
            return;
        }
        let Some(task) = self.task(id) else { return };
        let before = task.entry.state;
        let step = step(before, input, &task.entry.history, &task.spec.policy);
        let now = self.deps.clock.elapsed();
        let Some(entry) = self.runs.get_mut(&id.run).and_then(|run| run.entry_mut(id.number)) else { return };
        *entry = TaskEntry { state: step.next, history: step.history, since: now, ..entry.clone() };
        self.count_waiting(id, before, step.next);
        let Some(run) = self.runs.get(&id.run) else { return };
        let Some(task) = run.task(id.number) else { return };
        let record = task.record();
        let mut events = Vec::new();
        if step.effects.contains(&Effect::Publish) {
            events.push(task_event(&run.record, task.spec, &record, &self.deps.clock));
        }
        if step.effects.contains(&Effect::Persist) {
            self.save(vec![WriteOp::Task(record)], events, ctx, move |this, ctx| {
                this.perform(id, step.effects, ctx);
            });
        } else {
            self.deps.store.append_events(events);
            self.perform(id, step.effects, ctx);
        }
    }

    /// Stores `writes` and `events`, then calls `then`, then publishes the events.
    pub(super) fn save(
        &self,
        writes: Vec<WriteOp>,
        events: Vec<LoggedEvent>,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, &mut Context<Self>) + 'static,
    ) {
        let persisted = self.deps.store.save(writes, events);
        ctx.spawn(persisted.into_actor(self).map(move |persisted, this, ctx| match persisted {
            Ok(_committed) => then(this, ctx),
            Err(error) => this.abort(&error),
        }));
    }

    pub(super) fn perform(&mut self, id: TaskId, effects: &[Effect], ctx: &mut Context<Self>) {
        for effect in effects {
            match effect {
                // `Persist` is done. The others have no meaning before the first launch.
                Effect::Persist | Effect::StartBackoff | Effect::Kill | Effect::Reconcile => {}
                Effect::Enqueue => self.resolve_and_enqueue(vec![id], ctx),
                // The event is published when the committed events are dropped.
                Effect::Publish => self.propagate(id, ctx),
            }
        }
        self.match_or_request_offers();
    }

    /// The supervisor of a task has stored a new state.
    pub(super) fn on_task_changed(&mut self, task: TaskRecord, ctx: &mut Context<Self>) {
        let TaskRecord { id, state, history, agent, message, pause } = task;
        self.arm_timeouts(id.launch(history.attempt), state);
        self.update_entry(id, |entry| {
            *entry =
                TaskEntry { state, history, agent, message, since: entry.since, pause: pause.map(Box::new) };
        });
        if state.is_terminal() {
            self.supervisors.remove(&id);
            self.queue_for_index(id);
        }
        self.propagate(id, ctx);
    }

    /// Propagates a new state to the dependent tasks and to the run, after the result of the task is cached and its result
    /// file is written.
    pub(super) fn propagate(&mut self, id: TaskId, ctx: &mut Context<Self>) {
        if !self.cache_result(id, ctx) || !self.write_result_file(id, ctx) {
            return;
        }
        let Some(run) = self.runs.get_mut(&id.run) else { return };
        let inputs = run.propagate(id.number);
        let message = run.task(id.number).map(|TaskView { spec, entry, .. }| {
            let (block, line) = (&spec.block, spec.line);
            match entry.state {
                State::Failed => format!("it requires `{block}` (line {line}), which failed"),
                state => format!("it requires `{block}` (line {line}), which was {state}"),
            }
        });
        for (number, input) in inputs {
            let waiting = id.run.task(number);
            if input == Input::DependencyFailed {
                self.update_entry(waiting, |entry| entry.message.clone_from(&message));
            }
            self.apply(waiting, input, ctx);
        }
        self.finish_run_if_done(id.run, ctx);
    }

    pub(super) fn finish_run_if_done(&mut self, id: RunId, ctx: &mut Context<Self>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let state = run.state();
        if state == RunState::Running || matches!(run.marker, Some(RunMarker::Ended { .. })) {
            return;
        }
        let now = self.deps.clock.now();
        let marker = RunMarker::Ended { state, at: Some(now) };
        run.marker = Some(marker);
        let event = LoggedEvent::Run(RunEnded { seq: 0, time: now, run: id, state });
        self.save(vec![WriteOp::MarkRun(id, marker)], vec![event], ctx, |_, _| {});
    }
}

impl Handler<TaskQueued> for Scheduler {
    type Result = ();

    fn handle(&mut self, TaskQueued(id): TaskQueued, ctx: &mut Context<Self>) {
        self.update_entry(id, |entry| entry.state = State::Queued);
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

//! What happens to tasks, and what follows for those that wait for them.

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context, Handler};

use super::super::feed::{RunEnded, RunState};
use super::super::run::{Row, TaskView};
use super::super::supervisor::{Happened, TaskChanged, TaskQueued, frame};
use super::super::{tell, tell_recipient};
use super::Scheduler;
use crate::store::{TaskRecord, Write};
use crate::task::{Effect, Input, RunId, State, TaskId, step};

impl Scheduler {
    /// Something happened to a task: its supervisor's business, if it has one.
    pub(super) fn happen(&mut self, id: TaskId, input: Input, ctx: &mut Context<Self>) {
        if let Some(supervisor) = self.supervisors.get(&id) {
            tell(supervisor, Happened(input));
            return;
        }
        let Some(task) = self.task(id) else { return };
        let before = task.row.state;
        let step = step(before, input, &task.row.history, &task.spec.policy);
        let now = self.wires.clock.elapsed();
        let Some(row) = self.runs.get_mut(&id.run).and_then(|run| run.row_mut(id.number)) else { return };
        *row = Row { state: step.next, history: step.history, since: now, ..row.clone() };
        self.count_waiting(id, before, step.next);
        if step.effects.contains(&Effect::Save) {
            let Some(record) = self.task(id).map(|task| task.record()) else { return };
            let saved = self.wires.keeper.save(vec![Write::Task(record)]);
            ctx.spawn(saved.into_actor(self).map(move |saved, this, ctx| match saved {
                Ok(()) => this.perform(id, step.effects, ctx),
                Err(unsaved) => this.fail(&unsaved),
            }));
        } else {
            self.perform(id, step.effects, ctx);
        }
    }

    pub(super) fn perform(&mut self, id: TaskId, effects: &[Effect], ctx: &mut Context<Self>) {
        for effect in effects {
            match effect {
                // Done before, or of no meaning before a first launch.
                Effect::Save | Effect::Pause | Effect::Kill | Effect::Reconcile => {}
                Effect::Queue => self.enqueue(vec![id]),
                Effect::Publish => {
                    if let Some(run) = self.runs.get(&id.run)
                        && let Some(task) = run.task(id.number)
                    {
                        let frame = frame(&run.record, task.spec, &task.record(), None, &self.wires.clock);
                        tell_recipient(&self.wires.feed, frame);
                    }
                    self.pass_on(id, ctx);
                }
            }
        }
        self.trade();
    }

    /// A task's new state is known to all: what follows for the tasks that wait for it, and for the run.
    pub(super) fn pass_on(&mut self, id: TaskId, ctx: &mut Context<Self>) {
        let Some(run) = self.runs.get_mut(&id.run) else { return };
        let told = run.passed_on(id.number);
        let why = run.task(id.number).map(|TaskView { spec, row, .. }| {
            let (block, line) = (&spec.block, spec.line);
            match row.state {
                State::Failed => format!("it requires `{block}` (line {line}), which failed"),
                state => format!("it requires `{block}` (line {line}), which was {state}"),
            }
        });
        for (number, input) in told {
            let waiting = id.run.task(number);
            if input == Input::Deprived {
                self.set_row(waiting, |row| row.message.clone_from(&why));
            }
            self.happen(waiting, input, ctx);
        }
        self.end_if_over(id.run);
    }

    pub(super) fn end_if_over(&mut self, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        let state = run.state();
        if state != RunState::Running {
            let ended = RunEnded { seq: 0, time: self.wires.clock.now(), run: id, state };
            tell_recipient(&self.run_ends, ended);
        }
    }
}

impl Handler<TaskQueued> for Scheduler {
    type Result = ();

    fn handle(&mut self, TaskQueued(id): TaskQueued, _: &mut Context<Self>) {
        self.set_row(id, |row| row.state = State::Queued);
        self.enqueue(vec![id]);
        self.trade();
    }
}

impl Handler<TaskChanged> for Scheduler {
    type Result = ();

    fn handle(&mut self, TaskChanged(task): TaskChanged, ctx: &mut Context<Self>) {
        let TaskRecord { id, state, history, agent, message } = task;
        self.set_row(id, |row| *row = Row { state, history, agent, message, since: row.since });
        if state.is_final() {
            self.supervisors.remove(&id);
        }
        self.pass_on(id, ctx);
    }
}

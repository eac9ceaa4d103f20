//! Takes up what an earlier life has left.
//!
//! Nothing is launched by it: what may run is asked about once the cluster answers, and what waits goes into
//! the queue as if it had just come.

use std::collections::HashMap;
use std::sync::Arc;

use actix::Context;

use super::super::failpoints::{Failpoint, is_enabled};
use super::super::run::Run;
use super::Scheduler;
use borges_store::{LaunchIntent, RunMarker, Snapshot, TaskRecord};
use borges_task::{RunId, State, TaskId};

impl Scheduler {
    pub(super) fn recover(&mut self, contents: Snapshot, ctx: &mut Context<Self>) {
        let Snapshot { runs, intents, tasks, results, run_markers, framework, last_seq: _ } = contents;
        let marks: HashMap<RunId, RunMarker> = run_markers.into_iter().collect();
        self.market.framework = framework;
        let mut tasks_of: HashMap<RunId, Vec<TaskRecord>> = HashMap::new();
        for task in tasks {
            tasks_of.entry(task.id.run).or_default().push(task);
        }
        let mut intents_of: HashMap<RunId, Vec<LaunchIntent>> = HashMap::new();
        for intent in intents.into_iter().filter(|_| !is_enabled(Failpoint::SkipIntentReconcile)) {
            intents_of.entry(intent.launch.task.run).or_default().push(intent);
        }
        let now = self.deps.clock.elapsed();
        for record in runs {
            let id = record.id;
            let tasks = tasks_of.remove(&id).unwrap_or_default();
            let intents = intents_of.remove(&id).unwrap_or_default();
            let record = Arc::new(record);
            if let Some(key) = &record.key {
                self.idempotency_keys.insert(key.clone(), record.clone());
            }
            self.runs.insert(id, Run::restored(record, tasks, intents, marks.get(&id).copied(), now));
            self.take_up(id, ctx);
        }
        if self.keeps_results {
            self.queue_unindexed(results);
        }
    }

    fn take_up(&mut self, id: RunId, ctx: &mut Context<Self>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let stands: Vec<(TaskId, State)> = run.tasks().map(|task| (task.id, task.row.state)).collect();
        // What each task had come to is passed on anew: whoever waits for it may not have heard.
        let told: Vec<_> = stands.iter().flat_map(|(task, _)| run.propagate(task.number)).collect();
        let waiting: Vec<TaskId> =
            stands.iter().filter(|(_, state)| *state == State::Queued).map(|(task, _)| *task).collect();
        self.waiting += waiting.len();
        self.resolve_and_enqueue(waiting, ctx);
        for (task, state) in stands {
            match state {
                State::Launching | State::Running | State::Unreachable | State::Killing => {
                    self.supervisor_of(task);
                    self.track_location(task);
                    if let Some(attempt) = self.task(task).map(|task| task.row.history.attempt) {
                        self.arm_timeouts(task.launch(attempt), state);
                    }
                }
                // It knows how long its pause is still to be.
                State::Delayed => drop(self.supervisor_of(task)),
                State::Held
                | State::Blocked
                | State::Queued
                | State::Finished
                | State::Failed
                | State::Killed
                | State::Skipped => {}
            }
        }
        for (number, input) in told {
            self.apply(id.task(number), input, ctx);
        }
        if self.runs.get(&id).is_some_and(|run| run.mark == Some(RunMarker::KillRequested)) {
            self.kill_active_tasks(id, ctx);
        }
        // The last task's end was saved, the run's perhaps not.
        self.finish_run_if_done(id, ctx);
    }
}

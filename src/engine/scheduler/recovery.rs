//! Restores the runs of the store after a restart.
//!
//! Recovery launches nothing: launches that may be running are reconciled once subscribed, and queued tasks are queued
//! again.

use std::collections::HashMap;
use std::sync::Arc;

use actix::Context;

use super::super::failpoints::{Failpoint, is_enabled};
use super::super::run::Run;
use super::Scheduler;
use borges_store::{LaunchIntent, RunMarker, Snapshot, TaskRecord};
use borges_task::{RunId, State, TaskId};

impl Scheduler {
    pub(super) fn recover(&mut self, snapshot: Snapshot, ctx: &mut Context<Self>) {
        let Snapshot { runs, intents, tasks, results, run_markers, framework, last_seq: _ } = snapshot;
        let marks: HashMap<RunId, RunMarker> = run_markers.into_iter().collect();
        self.offer_pool.framework = framework;
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
            self.recover_run(id, ctx);
        }
        if self.index_results {
            self.queue_unindexed(results);
        }
    }

    fn recover_run(&mut self, id: RunId, ctx: &mut Context<Self>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let states: Vec<(TaskId, State)> = run.tasks().map(|task| (task.id, task.entry.state)).collect();
        // Propagate every state again, because the propagation itself is not stored.
        let inputs: Vec<_> = states.iter().flat_map(|(task, _)| run.propagate(task.number)).collect();
        let waiting: Vec<TaskId> =
            states.iter().filter(|(_, state)| *state == State::Queued).map(|(task, _)| *task).collect();
        self.waiting += waiting.len();
        self.resolve_and_enqueue(waiting, ctx);
        for (task, state) in states {
            match state {
                State::Launching | State::Running | State::Unreachable | State::Killing => {
                    self.supervisor_of(task);
                    self.track_location(task);
                    if let Some(attempt) = self.task(task).map(|task| task.entry.history.attempt) {
                        self.arm_timeouts(task.launch(attempt), state);
                    }
                }
                // The supervisor continues the stored backoff.
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
        for (number, input) in inputs {
            self.apply(id.task(number), input, ctx);
        }
        if self.runs.get(&id).is_some_and(|run| run.marker == Some(RunMarker::KillRequested)) {
            self.kill_active_tasks(id, ctx);
        }
        // The end of the last task may be stored without the end of the run.
        self.finish_run_if_done(id, ctx);
    }
}

//! Answers queries about runs and tasks, and counts them.

use std::collections::BTreeMap;

use actix::{Context, Handler};

use super::super::run::{Run, TaskView};
use super::Scheduler;
use super::messages::{GetRun, GetStats, GetTask, ListRunning, ListRuns, ListTasks};
use super::replies::{RunProgress, Stats, TaskProgress};
use borges_placement::OfferHistory;
use borges_task::{RunId, RunState, State, TaskId};

impl Scheduler {
    fn run_summary(run: &Run) -> RunProgress {
        RunProgress {
            run: run.record.id,
            title: run.record.title.clone(),
            accepted: run.record.accepted,
            state: run.state(),
            tasks: run.record.tasks.len(),
            ended: run.tasks().filter(|task| task.entry.state.is_terminal()).count(),
        }
    }

    fn task_summary(&self, run: &Run, task: TaskView<'_>, offer_history: &OfferHistory<'_>) -> TaskProgress {
        let TaskView { id, spec, entry } = task;
        TaskProgress {
            task: id.to_string(),
            run: id.run,
            block: spec.block.to_string(),
            line: spec.line,
            index: spec.index,
            state: entry.state,
            attempt: entry.history.attempt,
            agent: entry.agent.clone(),
            exit_code: entry.history.exit_code,
            message: entry.message.clone(),
            reason: self.pending_reason(run, task, offer_history),
            seconds: self.deps.clock.elapsed().saturating_sub(entry.since).as_secs(),
        }
    }
}

impl Handler<ListRuns> for Scheduler {
    type Result = Vec<RunProgress>;

    fn handle(&mut self, ListRuns { before, limit }: ListRuns, _: &mut Context<Self>) -> Vec<RunProgress> {
        let mut ids: Vec<&RunId> =
            self.runs.keys().filter(|id| before.is_none_or(|before| **id < before)).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.into_iter().take(limit).filter_map(|id| self.runs.get(id)).map(Self::run_summary).collect()
    }
}

impl Handler<GetRun> for Scheduler {
    type Result = Option<RunProgress>;

    fn handle(&mut self, GetRun(id): GetRun, _: &mut Context<Self>) -> Option<RunProgress> {
        self.runs.get(&id).map(Self::run_summary)
    }
}

impl Handler<ListTasks> for Scheduler {
    type Result = Vec<TaskProgress>;

    fn handle(&mut self, message: ListTasks, _: &mut Context<Self>) -> Vec<TaskProgress> {
        let ListTasks { run, after, limit } = message;
        let mut ids: Vec<RunId> = match run {
            Some(run) => vec![run],
            None => self.runs.keys().copied().collect(),
        };
        ids.retain(|id| after.is_none_or(|after| *id >= after.run));
        ids.sort_unstable();
        let offer_history = self.offer_history();
        ids.iter()
            .filter_map(|id| self.runs.get(id))
            .flat_map(|run| run.tasks().map(move |task| (run, task)))
            .filter(|(_, task)| after.is_none_or(|after| task.id > after))
            .take(limit)
            .map(|(run, task)| self.task_summary(run, task, &offer_history))
            .collect()
    }
}

impl Handler<ListRunning> for Scheduler {
    type Result = Vec<(TaskId, u32)>;

    fn handle(&mut self, ListRunning(run): ListRunning, _: &mut Context<Self>) -> Self::Result {
        // Every launched task that has not ended has a supervisor.
        self.supervisors
            .keys()
            .filter(|id| run.is_none_or(|run| id.run == run))
            .filter_map(|&id| self.task(id))
            .filter(|task| matches!(task.entry.state, State::Running | State::Unreachable | State::Killing))
            .map(|task| (task.id, task.entry.history.attempt))
            .collect()
    }
}

impl Handler<GetTask> for Scheduler {
    type Result = Option<TaskProgress>;

    fn handle(&mut self, GetTask(id): GetTask, _: &mut Context<Self>) -> Option<TaskProgress> {
        let run = self.runs.get(&id.run)?;
        Some(self.task_summary(run, run.task(id.number)?, &self.offer_history()))
    }
}

impl Handler<GetStats> for Scheduler {
    type Result = actix::MessageResult<GetStats>;

    fn handle(&mut self, GetStats(counters): GetStats, _: &mut Context<Self>) -> Self::Result {
        let mut runs = [RunState::Running, RunState::Finished, RunState::Failed, RunState::Killed]
            .map(|state| (state, 0))
            .to_vec();
        let mut tasks: BTreeMap<State, usize> = State::ALL.iter().map(|&state| (state, 0)).collect();
        for run in self.runs.values() {
            let state = run.state();
            runs.iter_mut().filter(|(counted, _)| *counted == state).for_each(|(_, count)| *count += 1);
            for task in run.tasks() {
                *tasks.entry(task.entry.state).or_default() += 1;
            }
        }
        let now = self.deps.clock.elapsed();
        actix::MessageResult(Stats {
            uptime: now,
            runs,
            tasks: tasks.into_iter().collect(),
            offers_held: self.offer_pool.held(),
            framework: self.offer_pool.framework.clone(),
            disconnected: self.disconnected.as_ref().map(|(reason, _)| reason.clone()),
            starvation: self
                .starvation_message()
                .zip(self.starved_since().map(|since| now.saturating_sub(since))),
            since_last_event: counters.since_last_event(now),
        })
    }
}

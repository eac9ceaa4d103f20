//! What people ask about runs and tasks.

use actix::{Context, Handler, Message};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::run::{Run, TaskView};
use super::Scheduler;
use crate::placement::OfferHistory;
use crate::task::{RunId, RunState, State, TaskId};

/// Which runs are there? Newest first, those before `before`, at most `limit`.
#[derive(Debug, Message)]
#[rtype(result = "Vec<RunShown>")]
pub(in crate::actors) struct ListRuns {
    pub(in crate::actors) before: Option<RunId>,
    pub(in crate::actors) limit: usize,
}

/// How does this run stand?
#[derive(Debug, Message)]
#[rtype(result = "Option<RunShown>")]
pub(in crate::actors) struct ShowRun(pub(in crate::actors) RunId);

/// The tasks of a run, or of all runs, in order, after `after`, at most `limit`.
#[derive(Debug, Message)]
#[rtype(result = "Vec<TaskShown>")]
pub(in crate::actors) struct ListTasks {
    pub(in crate::actors) run: Option<RunId>,
    pub(in crate::actors) after: Option<TaskId>,
    pub(in crate::actors) limit: usize,
}

/// Which tasks of a run, or of all runs, run now? With the numbers of their launches.
#[derive(Debug, Message)]
#[rtype(result = "Vec<(TaskId, u32)>")]
pub(in crate::actors) struct ListRunning(pub(in crate::actors) Option<RunId>);

/// How does this task stand?
#[derive(Debug, Message)]
#[rtype(result = "Option<TaskShown>")]
pub(in crate::actors) struct ShowTask(pub(in crate::actors) TaskId);

/// A run, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunShown {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub run: RunId,
    /// What its document is called.
    pub title: String,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub accepted: Timestamp,
    /// How it stands.
    pub state: RunState,
    /// How many tasks it has.
    pub tasks: usize,
    /// How many of them nothing more happens to.
    pub ended: usize,
}

/// A task, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskShown {
    /// Its id: `RUN.N`.
    pub task: String,
    /// Its run.
    #[schema(value_type = String, format = "uuid")]
    pub run: RunId,
    /// The block's name, or `line-14`.
    pub block: String,
    /// The block's line.
    pub line: u32,
    /// Which instance of the block.
    pub index: u32,
    /// Where it stands.
    pub state: State,
    /// The number of its last launch; 0 before the first.
    pub attempt: u32,
    /// The agent of its last launch.
    pub agent: Option<String>,
    /// Of its last launch that ended.
    pub exit_code: Option<i32>,
    /// What the cluster said of it last, in words.
    pub message: Option<String>,
    /// Why it does not run, if it does not run yet.
    pub reason: Option<String>,
    /// How long it is in its state, in seconds, as far as this server has seen.
    #[serde(default)]
    pub seconds: u64,
}

impl Scheduler {
    fn show_run(run: &Run) -> RunShown {
        RunShown {
            run: run.record.id,
            title: run.record.title.clone(),
            accepted: run.record.accepted,
            state: run.state(),
            tasks: run.record.tasks.len(),
            ended: run.tasks().filter(|task| task.row.state.is_terminal()).count(),
        }
    }

    fn show_task(&self, run: &Run, task: TaskView<'_>, offered: &OfferHistory<'_>) -> TaskShown {
        let TaskView { id, spec, row } = task;
        TaskShown {
            task: id.to_string(),
            run: id.run,
            block: spec.block.to_string(),
            line: spec.line,
            index: spec.index,
            state: row.state,
            attempt: row.history.attempt,
            agent: row.agent.clone(),
            exit_code: row.history.exit_code,
            message: row.message.clone(),
            reason: self.why(run, task, offered),
            seconds: self.wires.clock.elapsed().saturating_sub(row.since).as_secs(),
        }
    }
}

impl Handler<ListRuns> for Scheduler {
    type Result = Vec<RunShown>;

    fn handle(&mut self, ListRuns { before, limit }: ListRuns, _: &mut Context<Self>) -> Vec<RunShown> {
        let mut ids: Vec<&RunId> =
            self.runs.keys().filter(|id| before.is_none_or(|before| **id < before)).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.into_iter().take(limit).filter_map(|id| self.runs.get(id)).map(Self::show_run).collect()
    }
}

impl Handler<ShowRun> for Scheduler {
    type Result = Option<RunShown>;

    fn handle(&mut self, ShowRun(id): ShowRun, _: &mut Context<Self>) -> Option<RunShown> {
        self.runs.get(&id).map(Self::show_run)
    }
}

impl Handler<ListTasks> for Scheduler {
    type Result = Vec<TaskShown>;

    fn handle(&mut self, message: ListTasks, _: &mut Context<Self>) -> Vec<TaskShown> {
        let ListTasks { run, after, limit } = message;
        let mut ids: Vec<RunId> = match run {
            Some(run) => vec![run],
            None => self.runs.keys().copied().collect(),
        };
        ids.retain(|id| after.is_none_or(|after| *id >= after.run));
        ids.sort_unstable();
        let offered = self.offered();
        ids.iter()
            .filter_map(|id| self.runs.get(id))
            .flat_map(|run| run.tasks().map(move |task| (run, task)))
            .filter(|(_, task)| after.is_none_or(|after| task.id > after))
            .take(limit)
            .map(|(run, task)| self.show_task(run, task, &offered))
            .collect()
    }
}

impl Handler<ListRunning> for Scheduler {
    type Result = Vec<(TaskId, u32)>;

    fn handle(&mut self, ListRunning(run): ListRunning, _: &mut Context<Self>) -> Self::Result {
        // Whatever has been launched and has not ended has a supervisor.
        self.supervisors
            .keys()
            .filter(|id| run.is_none_or(|run| id.run == run))
            .filter_map(|&id| self.task(id))
            .filter(|task| matches!(task.row.state, State::Running | State::Unreachable | State::Killing))
            .map(|task| (task.id, task.row.history.attempt))
            .collect()
    }
}

impl Handler<ShowTask> for Scheduler {
    type Result = Option<TaskShown>;

    fn handle(&mut self, ShowTask(id): ShowTask, _: &mut Context<Self>) -> Option<TaskShown> {
        let run = self.runs.get(&id.run)?;
        Some(self.show_task(run, run.task(id.number)?, &self.offered()))
    }
}

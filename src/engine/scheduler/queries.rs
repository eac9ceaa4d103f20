//! What people ask about runs and tasks.

use actix::{Context, Handler, Message};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::run::{Run, TaskView};
use super::Scheduler;
use borges_placement::OfferHistory;
use borges_task::{RunId, RunState, State, TaskId};

/// Which runs are there? Newest first, those before `before`, at most `limit`.
#[derive(Debug, Message)]
#[rtype(result = "Vec<RunSummary>")]
pub(crate) struct ListRuns {
    pub(crate) before: Option<RunId>,
    pub(crate) limit: usize,
}

/// How does this run stand?
#[derive(Debug, Message)]
#[rtype(result = "Option<RunSummary>")]
pub(crate) struct GetRun(pub(crate) RunId);

/// The tasks of a run, or of all runs, in order, after `after`, at most `limit`.
#[derive(Debug, Message)]
#[rtype(result = "Vec<TaskSummary>")]
pub(crate) struct ListTasks {
    pub(crate) run: Option<RunId>,
    pub(crate) after: Option<TaskId>,
    pub(crate) limit: usize,
}

/// Which tasks of a run, or of all runs, run now? With the numbers of their launches.
#[derive(Debug, Message)]
#[rtype(result = "Vec<(TaskId, u32)>")]
pub(crate) struct ListRunning(pub(crate) Option<RunId>);

/// How does this task stand?
#[derive(Debug, Message)]
#[rtype(result = "Option<TaskSummary>")]
pub(crate) struct GetTask(pub(crate) TaskId);

/// A run, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunSummary {
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
pub struct TaskSummary {
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
    fn show_run(run: &Run) -> RunSummary {
        RunSummary {
            run: run.record.id,
            title: run.record.title.clone(),
            accepted: run.record.accepted,
            state: run.state(),
            tasks: run.record.tasks.len(),
            ended: run.tasks().filter(|task| task.row.state.is_terminal()).count(),
        }
    }

    fn show_task(&self, run: &Run, task: TaskView<'_>, offered: &OfferHistory<'_>) -> TaskSummary {
        let TaskView { id, spec, row } = task;
        TaskSummary {
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
            reason: self.pending_reason(run, task, offered),
            seconds: self.deps.clock.elapsed().saturating_sub(row.since).as_secs(),
        }
    }
}

impl Handler<ListRuns> for Scheduler {
    type Result = Vec<RunSummary>;

    fn handle(&mut self, ListRuns { before, limit }: ListRuns, _: &mut Context<Self>) -> Vec<RunSummary> {
        let mut ids: Vec<&RunId> =
            self.runs.keys().filter(|id| before.is_none_or(|before| **id < before)).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.into_iter().take(limit).filter_map(|id| self.runs.get(id)).map(Self::show_run).collect()
    }
}

impl Handler<GetRun> for Scheduler {
    type Result = Option<RunSummary>;

    fn handle(&mut self, GetRun(id): GetRun, _: &mut Context<Self>) -> Option<RunSummary> {
        self.runs.get(&id).map(Self::show_run)
    }
}

impl Handler<ListTasks> for Scheduler {
    type Result = Vec<TaskSummary>;

    fn handle(&mut self, message: ListTasks, _: &mut Context<Self>) -> Vec<TaskSummary> {
        let ListTasks { run, after, limit } = message;
        let mut ids: Vec<RunId> = match run {
            Some(run) => vec![run],
            None => self.runs.keys().copied().collect(),
        };
        ids.retain(|id| after.is_none_or(|after| *id >= after.run));
        ids.sort_unstable();
        let offered = self.offer_history();
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

impl Handler<GetTask> for Scheduler {
    type Result = Option<TaskSummary>;

    fn handle(&mut self, GetTask(id): GetTask, _: &mut Context<Self>) -> Option<TaskSummary> {
        let run = self.runs.get(&id.run)?;
        Some(self.show_task(run, run.task(id.number)?, &self.offer_history()))
    }
}

//! One run as the scheduler keeps it: a row a task, the open waits, how many tasks are still open.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use borges_plan::{DependencyTracker, EmbeddedResult, Files, Values};
use borges_store::{LaunchIntent, RunMarker, RunRecord, TaskRecord};
use borges_task::{
    BackoffTimer, Command, History, Input, LaunchId, RunState, State, TaskId, TaskSpec, index_of,
};

/// A run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) record: Arc<RunRecord>,
    rows: Vec<TaskEntry>,
    progress: DependencyTracker,
    open: usize,
    /// What is to be known of it besides.
    pub(super) mark: Option<RunMarker>,
    /// What its sandboxes and its document take, bytes; known some time after its end.
    pub(super) bytes: Option<u64>,
    /// What its tasks have yielded, as far as anybody has asked.
    pub(super) values: Values,
    /// Why what some have yielded cannot be had.
    pub(super) unavailable: BTreeMap<u32, String>,
    /// What else went wrong with what some have yielded.
    pub(super) write_errors: BTreeMap<u32, String>,
    /// The files it reads.
    pub(super) files: Files,
    /// Tasks of which what follows from their end is under way: a file is being written.
    pub(super) results_written: HashSet<u32>,
    /// Tasks of which what they left is kept, or cannot be.
    pub(super) results_cached: HashSet<u32>,
    /// Results that its document carries; looked for when the first is of use.
    pub(super) embedded_results: Option<Arc<BTreeMap<u32, EmbeddedResult>>>,
    /// Tasks whose results stay in the document as they are.
    pub(super) results_unchanged: BTreeSet<u32>,
}

/// What the scheduler knows of a task.
#[derive(Debug, Clone)]
pub(super) struct TaskEntry {
    pub(super) state: State,
    pub(super) history: History,
    pub(super) agent: Option<String>,
    pub(super) message: Option<String>,
    /// Since when it is in this state, by the clock's elapsed time.
    pub(super) since: Duration,
    /// The pause before its next launch, while it is delayed.
    pub(super) pause: Option<Box<BackoffTimer>>,
}

/// A task, looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct TaskView<'a> {
    pub(super) id: TaskId,
    pub(super) spec: &'a Arc<TaskSpec>,
    pub(super) row: &'a TaskEntry,
}

impl Run {
    /// A run that was accepted just now: every task waits for others, for approval, or is free to go.
    pub(super) fn new(record: Arc<RunRecord>, now: Duration) -> Self {
        let progress = DependencyTracker::new(record.tasks.len(), &record.edges);
        let row = |spec: &Arc<TaskSpec>| {
            let state = match (spec.requires_approval, progress.is_ready(spec.number)) {
                (true, _) => State::Held,
                (false, true) => State::Queued,
                (false, false) => State::Blocked,
            };
            TaskEntry {
                state,
                history: History::default(),
                agent: None,
                message: None,
                since: now,
                pause: None,
            }
        };
        let rows: Vec<TaskEntry> = record.tasks.iter().map(row).collect();
        Self {
            open: rows.len(),
            rows,
            progress,
            mark: None,
            bytes: None,
            values: Values::new(),
            unavailable: BTreeMap::new(),
            write_errors: BTreeMap::new(),
            files: Files::new(),
            results_written: HashSet::new(),
            results_cached: HashSet::new(),
            embedded_results: None,
            results_unchanged: BTreeSet::new(),
            record,
        }
    }

    /// A run of an earlier life, as the store has it: `tasks` are those of it that had changed, `intents` its
    /// launches that may have been accepted.
    ///
    /// A task of whose last launch nothing was saved but the intent may run: it is launching, as far as anyone
    /// can tell, until the cluster says otherwise.
    pub(super) fn restored(
        record: Arc<RunRecord>,
        tasks: impl IntoIterator<Item = TaskRecord>,
        intents: impl IntoIterator<Item = LaunchIntent>,
        mark: Option<RunMarker>,
        now: Duration,
    ) -> Self {
        let mut run = Self { mark, ..Self::new(record, now) };
        for TaskRecord { id, state, history, agent, message, pause } in tasks {
            if let Some(row) = run.row_mut(id.number) {
                *row = TaskEntry { state, history, agent, message, since: now, pause: pause.map(Box::new) };
            }
        }
        for LaunchIntent { launch: LaunchId { task, attempt }, agent } in intents {
            if let Some(row) = run.row_mut(task.number)
                && row.history.attempt < attempt
                && !row.state.is_terminal()
            {
                row.state = State::Launching;
                row.history.attempt = attempt;
                row.agent = agent;
            }
        }
        run
    }

    pub(super) fn task(&self, number: u32) -> Option<TaskView<'_>> {
        let place = index_of(number)?;
        Some(TaskView {
            id: self.record.id.task(number),
            spec: self.record.tasks.get(place)?,
            row: self.rows.get(place)?,
        })
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = TaskView<'_>> {
        self.record.tasks.iter().zip(&self.rows).map(|(spec, row)| TaskView {
            id: self.record.id.task(spec.number),
            spec,
            row,
        })
    }

    pub(super) fn row_mut(&mut self, number: u32) -> Option<&mut TaskEntry> {
        self.rows.get_mut(index_of(number)?)
    }

    /// The tasks whose values have to be read before those of `numbers` can be told, themselves included, each after
    /// what it needs.
    pub(super) fn unresolved(&self, numbers: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let mut unread = Vec::new();
        let mut seen = HashSet::new();
        // A task stands here twice: before what it needs is looked at, and after.
        let mut open: Vec<(u32, bool)> = numbers.into_iter().map(|number| (number, false)).collect();
        while let Some((number, ready)) = open.pop() {
            if ready {
                unread.push(number);
            } else if !self.values.contains_key(&number)
                && !self.unavailable.contains_key(&number)
                && seen.insert(number)
            {
                open.push((number, true));
                open.extend(
                    self.record.recipes.dependencies(number).into_iter().map(|needed| (needed, false)),
                );
            }
        }
        unread
    }

    /// What is run for a task, once all that goes into it is known.
    pub(super) fn command(&self, spec: &TaskSpec) -> Result<Command, String> {
        self.record.recipes.command(spec, &self.values, &self.files)
    }

    /// Nothing more happens to any of its tasks.
    pub(super) fn is_done(&self) -> bool {
        self.open == 0
    }

    /// A task has been seen in the state its row has: what happens to those that wait for it.
    ///
    /// To be called once for each change of state.
    pub(super) fn propagate(&mut self, number: u32) -> Vec<(u32, Input)> {
        let Some(task) = self.task(number) else { return Vec::new() };
        let (state, ensure) = (task.row.state, task.spec.policy.ensure);
        if state.is_terminal() {
            self.open = self.open.saturating_sub(1);
        }
        self.progress.changed(number, state, ensure)
    }

    /// The tasks for which this one waits still.
    pub(super) fn waits_for(&self, number: u32) -> impl Iterator<Item = u32> + '_ {
        self.progress.unmet(number)
    }

    /// How the run stands.
    pub(super) fn state(&self) -> RunState {
        let failed = |row: &TaskEntry| matches!(row.state, State::Failed | State::Killed);
        match self.mark {
            Some(RunMarker::Ended { state, .. }) => state,
            _ if !self.is_done() => RunState::Running,
            Some(RunMarker::KillRequested) => RunState::Killed,
            None if self.rows.iter().any(failed) => RunState::Failed,
            None => RunState::Finished,
        }
    }
}

impl TaskView<'_> {
    /// What is stored of it.
    pub(super) fn record(&self) -> TaskRecord {
        TaskRecord {
            id: self.id,
            state: self.row.state,
            history: self.row.history,
            agent: self.row.agent.clone(),
            message: self.row.message.clone(),
            pause: self.row.pause.as_deref().copied(),
        }
    }
}

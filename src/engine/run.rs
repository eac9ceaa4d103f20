//! A run in the memory of the scheduler: an entry a task, the unmet dependencies, and the number of unfinished tasks.

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
    entries: Vec<TaskEntry>,
    dependencies: DependencyTracker,
    open_tasks: usize,
    /// Whether the run was killed or has ended, as it is stored.
    pub(super) marker: Option<RunMarker>,
    /// The size of the sandboxes and the document in bytes. `None` until it is measured after the end of the run.
    pub(super) bytes: Option<u64>,
    /// The results of tasks that were read so far, by number.
    pub(super) values: Values,
    /// Why the results of tasks are unavailable, by number.
    pub(super) unavailable: BTreeMap<u32, String>,
    /// Why result files could not be written, by the number of the task.
    pub(super) write_errors: BTreeMap<u32, String>,
    /// The files beside the document that tasks read.
    pub(super) files: Files,
    /// Ended tasks whose result file was or is being written. Dependents are released after the write.
    pub(super) results_written: HashSet<u32>,
    /// Ended tasks whose result was or is being stored in the cache.
    pub(super) results_cached: HashSet<u32>,
    /// The results that the document contains. `None` until the first look-up.
    pub(super) embedded_results: Option<Arc<BTreeMap<u32, EmbeddedResult>>>,
    /// Tasks whose results in the document are valid and stay unchanged.
    pub(super) results_unchanged: BTreeSet<u32>,
}

/// The state of a task.
#[derive(Debug, Clone)]
pub(super) struct TaskEntry {
    pub(super) state: State,
    pub(super) history: History,
    pub(super) agent: Option<String>,
    pub(super) message: Option<String>,
    /// When the task entered this state, by the elapsed time of the clock.
    pub(super) since: Duration,
    /// The backoff before the next launch, while the task is delayed.
    pub(super) pause: Option<Box<BackoffTimer>>,
}

/// A task of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct TaskView<'a> {
    pub(super) id: TaskId,
    pub(super) spec: &'a Arc<TaskSpec>,
    pub(super) entry: &'a TaskEntry,
}

impl Run {
    /// A new run: each task is blocked, held for approval, or queued.
    pub(super) fn new(record: Arc<RunRecord>, now: Duration) -> Self {
        let dependencies = DependencyTracker::new(record.tasks.len(), &record.edges);
        let entry = |spec: &Arc<TaskSpec>| {
            let state = match (spec.requires_approval, dependencies.is_ready(spec.number)) {
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
        let entries: Vec<TaskEntry> = record.tasks.iter().map(entry).collect();
        Self {
            open_tasks: entries.len(),
            entries,
            dependencies,
            marker: None,
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

    /// A run from the store. `tasks` are the tasks that had changed, `intents` the launches that may have been accepted.
    ///
    /// A task whose last launch has only an intent may be running. It is restored as launching, until the cluster answers.
    pub(super) fn restored(
        record: Arc<RunRecord>,
        tasks: impl IntoIterator<Item = TaskRecord>,
        intents: impl IntoIterator<Item = LaunchIntent>,
        marker: Option<RunMarker>,
        now: Duration,
    ) -> Self {
        let mut run = Self { marker, ..Self::new(record, now) };
        for TaskRecord { id, state, history, agent, message, pause } in tasks {
            if let Some(entry) = run.entry_mut(id.number) {
                *entry = TaskEntry { state, history, agent, message, since: now, pause: pause.map(Box::new) };
            }
        }
        for LaunchIntent { launch: LaunchId { task, attempt }, agent } in intents {
            if let Some(entry) = run.entry_mut(task.number)
                && entry.history.attempt < attempt
                && !entry.state.is_terminal()
            {
                entry.state = State::Launching;
                entry.history.attempt = attempt;
                entry.agent = agent;
            }
        }
        run
    }

    pub(super) fn task(&self, number: u32) -> Option<TaskView<'_>> {
        let index = index_of(number)?;
        Some(TaskView {
            id: self.record.id.task(number),
            spec: self.record.tasks.get(index)?,
            entry: self.entries.get(index)?,
        })
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = TaskView<'_>> {
        self.record.tasks.iter().zip(&self.entries).map(|(spec, entry)| TaskView {
            id: self.record.id.task(spec.number),
            spec,
            entry,
        })
    }

    pub(super) fn entry_mut(&mut self, number: u32) -> Option<&mut TaskEntry> {
        self.entries.get_mut(index_of(number)?)
    }

    /// The tasks whose results have to be read for the results of `numbers`, which are included. In topological order.
    pub(super) fn unresolved(&self, numbers: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let mut unresolved = Vec::new();
        let mut visited = HashSet::new();
        // Each task is pushed twice: before and after its dependencies.
        let mut stack: Vec<(u32, bool)> = numbers.into_iter().map(|number| (number, false)).collect();
        while let Some((number, is_expanded)) = stack.pop() {
            if is_expanded {
                unresolved.push(number);
            } else if !self.values.contains_key(&number)
                && !self.unavailable.contains_key(&number)
                && visited.insert(number)
            {
                stack.push((number, true));
                stack.extend(
                    self.record
                        .recipes
                        .dependencies(number)
                        .into_iter()
                        .map(|dependency| (dependency, false)),
                );
            }
        }
        unresolved
    }

    /// The command of a task. `Err` if an input is unavailable.
    pub(super) fn command(&self, spec: &TaskSpec) -> Result<Command, String> {
        self.record.recipes.command(spec, &self.values, &self.files)
    }

    /// Whether all tasks have ended.
    pub(super) fn is_done(&self) -> bool {
        self.open_tasks == 0
    }

    /// The inputs of dependent tasks after the state of a task has changed.
    ///
    /// Call this once for each change of state.
    pub(super) fn propagate(&mut self, number: u32) -> Vec<(u32, Input)> {
        let Some(task) = self.task(number) else { return Vec::new() };
        let (state, ensure) = (task.entry.state, task.spec.policy.ensure);
        if state.is_terminal() {
            self.open_tasks = self.open_tasks.saturating_sub(1);
        }
        self.dependencies.changed(number, state, ensure)
    }

    /// The unmet dependencies of a task.
    pub(super) fn unmet_dependencies(&self, number: u32) -> impl Iterator<Item = u32> + '_ {
        self.dependencies.unmet(number)
    }

    /// The state of the run.
    pub(super) fn state(&self) -> RunState {
        let has_failed = |entry: &TaskEntry| matches!(entry.state, State::Failed | State::Killed);
        match self.marker {
            Some(RunMarker::Ended { state, .. }) => state,
            _ if !self.is_done() => RunState::Running,
            Some(RunMarker::KillRequested) => RunState::Killed,
            None if self.entries.iter().any(has_failed) => RunState::Failed,
            None => RunState::Finished,
        }
    }
}

impl TaskView<'_> {
    /// The record of the task in the store.
    pub(super) fn record(&self) -> TaskRecord {
        TaskRecord {
            id: self.id,
            state: self.entry.state,
            history: self.entry.history,
            agent: self.entry.agent.clone(),
            message: self.entry.message.clone(),
            pause: self.entry.pause.as_deref().copied(),
        }
    }
}

//! Whether a store is whole: what `borges check-store` asks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::redb_store::RedbStore;
use super::{Snapshot, Store, StoreError};
use borges_task::{RunId, TaskId, index_of};

/// What a store holds, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// Runs in it.
    pub runs: usize,
    /// Tasks of these, as their documents ask for them.
    pub tasks: usize,
    /// Launches that may have been accepted.
    pub launches: usize,
    /// Tasks of which it is known what they have left.
    pub results: usize,
    /// Changes of state that can be told again.
    pub entries: usize,
    /// Bytes of the file.
    pub bytes: u64,
    /// How many of them hold nothing.
    pub free: u64,
    /// It was not closed: what was half written was undone, as it should be.
    pub repaired: bool,
    /// What is wrong, in words; nothing when it is whole.
    pub faults: Vec<String>,
}

/// Looks at all of the store in the file `path`, which nobody may have open.
///
/// # Errors
/// When it cannot be read at all.
pub fn check(path: &Path) -> Result<CheckReport, StoreError> {
    let (store, repaired) = RedbStore::open_and_check(path)?;
    let contents = store.load()?;
    let mut checked = CheckReport { repaired, ..of(&contents) };
    checked.bytes = std::fs::metadata(path).map_or(0, |file| file.len());
    checked.free = store.free_bytes(checked.bytes)?;
    for run in &contents.runs {
        checked.results += store.results(run.id)?.len();
    }
    let mut last = 0;
    loop {
        let entries = store.entries(last)?;
        let Some(entry) = entries.last() else { break };
        last = entry.seq();
        checked.entries += entries.len();
    }
    if last != contents.last_entry {
        checked.faults.push(format!("its feed ends at {last}, not at {}", contents.last_entry));
    }
    Ok(checked)
}

/// What the rows say of one another.
fn of(contents: &Snapshot) -> CheckReport {
    let runs: BTreeMap<RunId, usize> = contents.runs.iter().map(|run| (run.id, run.tasks.len())).collect();
    let is_known = |task: TaskId| {
        runs.get(&task.run).is_some_and(|&tasks| index_of(task.number).is_some_and(|place| place < tasks))
    };
    let mut faults = Vec::new();
    for task in contents.tasks.iter().map(|task| task.id).filter(|&task| !is_known(task)) {
        faults.push(format!("task {task} is in no run"));
    }
    for task in contents.results.iter().filter(|&&task| !is_known(task)) {
        faults.push(format!("task {task} has left a result, and is in no run"));
    }
    let strays: BTreeSet<TaskId> =
        contents.intents.iter().map(|intent| intent.launch.task).filter(|&task| !is_known(task)).collect();
    faults.extend(strays.iter().map(|task| format!("task {task} was launched, and is in no run")));
    for run in contents.marks.iter().map(|(run, _)| run).filter(|run| !runs.contains_key(run)) {
        faults.push(format!("run {run} has a mark, and is not there"));
    }
    for run in &contents.runs {
        let numbers = run.tasks.iter().map(|task| task.number);
        if !numbers.eq(1..=u32::try_from(run.tasks.len()).unwrap_or(u32::MAX)) {
            faults.push(format!("the tasks of run {} are not numbered from 1", run.id));
        }
    }
    CheckReport {
        runs: contents.runs.len(),
        tasks: contents.runs.iter().map(|run| run.tasks.len()).sum(),
        launches: contents.intents.len(),
        faults,
        ..CheckReport::default()
    }
}

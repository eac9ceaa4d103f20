//! The consistency check behind `borges check-store`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::redb_store::RedbStore;
use super::{Snapshot, Store, StoreError};
use borges_task::{RunId, TaskId, index_of};

/// The contents of a store in numbers, and its faults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// Runs in it.
    pub runs: usize,
    /// Tasks of these, as their documents ask for them.
    pub tasks: usize,
    /// Launches that may have been accepted.
    pub launches: usize,
    /// Indexed results.
    pub results: usize,
    /// Events.
    pub events: usize,
    /// Bytes of the file.
    pub bytes: u64,
    /// Free bytes of the file.
    pub free: u64,
    /// Whether the store was not closed properly, and redb repaired it.
    pub repaired: bool,
    /// The faults as text. Empty if the store is consistent.
    pub faults: Vec<String>,
}

/// Checks the store in the file `path`, which no process may have open.
///
/// # Errors
/// When it cannot be read at all.
pub fn check(path: &Path) -> Result<CheckReport, StoreError> {
    let (store, repaired) = RedbStore::open_and_check(path)?;
    let contents = store.load()?;
    let mut report = CheckReport { repaired, ..check_references(&contents) };
    report.bytes = std::fs::metadata(path).map_or(0, |file| file.len());
    report.free = store.free_bytes(report.bytes)?;
    for run in &contents.runs {
        report.results += store.results(run.id)?.len();
    }
    let mut last = 0;
    loop {
        let events = store.events(last)?;
        let Some(event) = events.last() else { break };
        last = event.seq();
        report.events += events.len();
    }
    if last != contents.last_seq {
        report.faults.push(format!("its feed ends at {last}, not at {}", contents.last_seq));
    }
    Ok(report)
}

/// Checks the references between the records.
fn check_references(contents: &Snapshot) -> CheckReport {
    let runs: BTreeMap<RunId, usize> = contents.runs.iter().map(|run| (run.id, run.tasks.len())).collect();
    let is_known = |task: TaskId| {
        runs.get(&task.run).is_some_and(|&tasks| index_of(task.number).is_some_and(|index| index < tasks))
    };
    let mut faults = Vec::new();
    for task in contents.tasks.iter().map(|task| task.id).filter(|&task| !is_known(task)) {
        faults.push(format!("task {task} is in no run"));
    }
    for task in contents.results.iter().filter(|&&task| !is_known(task)) {
        faults.push(format!("task {task} has left a result, and is in no run"));
    }
    let orphans: BTreeSet<TaskId> =
        contents.intents.iter().map(|intent| intent.launch.task).filter(|&task| !is_known(task)).collect();
    faults.extend(orphans.iter().map(|task| format!("task {task} was launched, and is in no run")));
    for run in contents.run_markers.iter().map(|(run, _)| run).filter(|run| !runs.contains_key(run)) {
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

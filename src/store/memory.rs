//! The store in memory, for tests and simulations.

use std::collections::BTreeMap;

use super::event_codec::{BATCH_LEN, pack, unpack};
use super::{LoggedEvent, ResultRecord, Snapshot, Store, StoreError, TaskRecord, WriteOp};
use borges_task::{RunId, TaskId};

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    contents: Snapshot,
    /// Encoded batches of events, by the sequence number of their first event.
    events: BTreeMap<u64, Vec<u8>>,
    results: BTreeMap<TaskId, ResultRecord>,
}

impl MemoryStore {
    /// The stored intent of a launch.
    pub fn intent(&self, launch: borges_task::LaunchId) -> Option<&super::LaunchIntent> {
        let intents = &self.contents.intents;
        intents.binary_search_by_key(&launch, |intent| intent.launch).ok().map(|index| &intents[index])
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, writes: &[WriteOp]) -> Result<(), StoreError> {
        let contents = &mut self.contents;
        for write in writes {
            match write {
                WriteOp::Run(run) => put(&mut contents.runs, run.as_ref().clone(), |run| run.id),
                WriteOp::Intents(intents) => {
                    for intent in intents {
                        put(&mut contents.intents, intent.clone(), |intent| intent.launch);
                    }
                }
                WriteOp::Task(task) => put(&mut contents.tasks, task.clone(), |task| task.id),
                WriteOp::Results(results) => {
                    self.results.extend(results.iter().map(|result| (result.task, result.clone())));
                }
                WriteOp::MarkRun(run, marker) => {
                    put(&mut contents.run_markers, (*run, *marker), |(run, _)| *run);
                }
                WriteOp::Events(events) => {
                    for batch in events.chunks(BATCH_LEN) {
                        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { continue };
                        self.events.insert(first.seq(), pack(batch)?);
                        contents.last_seq = last.seq();
                    }
                }
                WriteOp::DeleteRuns(deleted) => {
                    contents.runs.retain(|run| !deleted.contains(&run.id));
                    contents.intents.retain(|intent| !deleted.contains(&intent.launch.task.run));
                    contents.tasks.retain(|task| !deleted.contains(&task.id.run));
                    self.results.retain(|task, _| !deleted.contains(&task.run));
                    contents.run_markers.retain(|(run, _)| !deleted.contains(run));
                    let last = self.events.last_key_value().map(|(&first, _)| first);
                    let mut retained = BTreeMap::new();
                    for (&first, packed) in &self.events {
                        let is_in_stored_run =
                            |event: &LoggedEvent| contents.runs.iter().any(|run| run.id == event.run());
                        if Some(first) == last || unpack(first, packed)?.iter().any(is_in_stored_run) {
                            retained.insert(first, packed.clone());
                        }
                    }
                    self.events = retained;
                }
                WriteOp::Framework(id) => contents.framework = Some(id.clone()),
            }
        }
        Ok(())
    }

    fn load(&self) -> Result<Snapshot, StoreError> {
        Ok(Snapshot { results: self.results.keys().copied().collect(), ..self.contents.clone() })
    }

    fn task(&self, task: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        let tasks = &self.contents.tasks;
        Ok(tasks.binary_search_by_key(&task, |task| task.id).ok().map(|index| tasks[index].clone()))
    }

    fn results(&self, run: RunId) -> Result<Vec<ResultRecord>, StoreError> {
        let all = self.results.range(run.task(0)..=run.task(u32::MAX));
        Ok(all.map(|(_, result)| result.clone()).collect())
    }

    fn events(&self, after: u64) -> Result<Vec<LoggedEvent>, StoreError> {
        let from = self.events.range(..=after.saturating_add(1)).next_back().map_or(0, |(&first, _)| first);
        for (&first, packed) in self.events.range(from..) {
            let mut events = unpack(first, packed)?;
            events.retain(|event| event.seq() > after);
            if !events.is_empty() {
                return Ok(events);
            }
        }
        Ok(Vec::new())
    }
}

/// Puts `item` into a list sorted by `key`, in place of one with the same key.
fn put<T, K: Ord>(list: &mut Vec<T>, item: T, key: impl Fn(&T) -> K) {
    match list.binary_search_by_key(&key(&item), &key) {
        Ok(at) => list[at] = item,
        Err(at) => list.insert(at, item),
    }
}

//! A store in memory: for tests and simulations.

use std::collections::BTreeMap;

use super::packed::{TOGETHER, pack, unpack};
use super::{Contents, Entry, ResultRecord, Store, StoreError, TaskRecord, Write};
use crate::task::{RunId, TaskId};

/// Forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore {
    contents: Contents,
    /// Packed entries, by the number of the first: a run may have a great many.
    entries: BTreeMap<u64, Vec<u8>>,
    results: BTreeMap<TaskId, ResultRecord>,
}

#[cfg(test)]
impl MemoryStore {
    /// What is stored of a launch that may have been accepted.
    pub(crate) fn intent(&self, launch: crate::task::LaunchId) -> Option<&super::Intent> {
        let intents = &self.contents.intents;
        intents.binary_search_by_key(&launch, |intent| intent.launch).ok().map(|place| &intents[place])
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let contents = &mut self.contents;
        for write in writes {
            match write {
                Write::Run(run) => put(&mut contents.runs, run.as_ref().clone(), |run| run.id),
                Write::Intents(intents) => {
                    for intent in intents {
                        put(&mut contents.intents, intent.clone(), |intent| intent.launch);
                    }
                }
                Write::Task(task) => put(&mut contents.tasks, task.clone(), |task| task.id),
                Write::Results(results) => {
                    self.results.extend(results.iter().map(|result| (result.task, result.clone())));
                }
                Write::Mark(run, mark) => put(&mut contents.marks, (*run, *mark), |(run, _)| *run),
                Write::Entries(entries) => {
                    for entries in entries.chunks(TOGETHER) {
                        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { continue };
                        self.entries.insert(first.seq(), pack(entries)?);
                        contents.last_entry = last.seq();
                    }
                }
                Write::Forget(forgotten) => {
                    contents.runs.retain(|run| !forgotten.contains(&run.id));
                    contents.intents.retain(|intent| !forgotten.contains(&intent.launch.task.run));
                    contents.tasks.retain(|task| !forgotten.contains(&task.id.run));
                    self.results.retain(|task, _| !forgotten.contains(&task.run));
                    contents.marks.retain(|(run, _)| !forgotten.contains(run));
                    let last = self.entries.last_key_value().map(|(&first, _)| first);
                    let mut kept = BTreeMap::new();
                    for (&first, packed) in &self.entries {
                        let is_of_use = |entry: &Entry| contents.runs.iter().any(|run| run.id == entry.run());
                        if Some(first) == last || unpack(first, packed)?.iter().any(is_of_use) {
                            kept.insert(first, packed.clone());
                        }
                    }
                    self.entries = kept;
                }
                Write::Framework(id) => contents.framework = Some(id.clone()),
            }
        }
        Ok(())
    }

    fn load(&self) -> Result<Contents, StoreError> {
        Ok(Contents { results: self.results.keys().copied().collect(), ..self.contents.clone() })
    }

    fn task(&self, task: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        let tasks = &self.contents.tasks;
        Ok(tasks.binary_search_by_key(&task, |task| task.id).ok().map(|place| tasks[place].clone()))
    }

    fn results(&self, run: RunId) -> Result<Vec<ResultRecord>, StoreError> {
        let all = self.results.range(run.task(0)..=run.task(u32::MAX));
        Ok(all.map(|(_, result)| result.clone()).collect())
    }

    fn entries(&self, after: u64) -> Result<Vec<Entry>, StoreError> {
        let from = self.entries.range(..=after.saturating_add(1)).next_back().map_or(0, |(&first, _)| first);
        for (&first, packed) in self.entries.range(from..) {
            let mut entries = unpack(first, packed)?;
            entries.retain(|entry| entry.seq() > after);
            if !entries.is_empty() {
                return Ok(entries);
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

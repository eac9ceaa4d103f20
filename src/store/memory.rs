//! A store in memory: for tests and simulations.

use std::collections::BTreeMap;

use super::packed::{TOGETHER, pack, unpack};
use super::{Contents, Entry, Store, StoreError, Write};

/// Forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore {
    contents: Contents,
    /// Packed entries, by the number of the first: a run may have a great many.
    entries: BTreeMap<u64, Vec<u8>>,
}

impl Store for MemoryStore {
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let contents = &mut self.contents;
        for write in writes {
            match write {
                Write::Run(run) => put(&mut contents.runs, run.as_ref().clone(), |run| run.id),
                Write::Intents(launches) => {
                    for &launch in launches {
                        put(&mut contents.intents, launch, |&launch| launch);
                    }
                }
                Write::Task(task) => put(&mut contents.tasks, task.clone(), |task| task.id),
                Write::Mark(run, mark) => put(&mut contents.marks, (*run, *mark), |(run, _)| *run),
                Write::Entries(entries) => {
                    for entries in entries.chunks(TOGETHER) {
                        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { continue };
                        self.entries.insert(first.seq(), pack(entries)?);
                        contents.last_entry = last.seq();
                    }
                }
                Write::Framework(id) => contents.framework = Some(id.clone()),
            }
        }
        Ok(())
    }

    fn load(&self) -> Result<Contents, StoreError> {
        Ok(self.contents.clone())
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

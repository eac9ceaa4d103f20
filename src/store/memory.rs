//! A store in memory: for tests and simulations.

use super::{Contents, Store, StoreError, Write};

/// Forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore {
    contents: Contents,
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
                Write::Framework(id) => contents.framework = Some(id.clone()),
            }
        }
        Ok(())
    }

    fn load(&self) -> Result<Contents, StoreError> {
        Ok(self.contents.clone())
    }
}

/// Puts `item` into a list sorted by `key`, in place of one with the same key.
fn put<T, K: Ord>(list: &mut Vec<T>, item: T, key: impl Fn(&T) -> K) {
    match list.binary_search_by_key(&key(&item), &key) {
        Ok(at) => list[at] = item,
        Err(at) => list.insert(at, item),
    }
}

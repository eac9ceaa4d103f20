//! The store on disk, by redb: one file, one writer, a commit is an fsync.

use std::path::Path;

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError,
};

use super::packed::{TOGETHER, pack, unpack};
use super::record::Value;
use super::{Contents, Entry, RunMark, RunRecord, Store, StoreError, TaskRecord, Write, launch_key};
use crate::task::{LaunchId, RunId, TaskId};

/// Run id → run.
const RUNS: TableDefinition<[u8; 16], &[u8]> = TableDefinition::new("runs");
/// Launch id → nothing: it may have been accepted.
const INTENTS: TableDefinition<[u8; 24], ()> = TableDefinition::new("intents");
/// Task id (as a launch id with attempt 0) → task.
const TASKS: TableDefinition<[u8; 24], &[u8]> = TableDefinition::new("tasks");
/// Run id → what is to be known of it besides.
const MARKS: TableDefinition<[u8; 16], &[u8]> = TableDefinition::new("marks");
/// Number of the first → entries, packed.
const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
/// Name → value, for what there is one of.
const SINGLE: TableDefinition<&str, &str> = TableDefinition::new("single");
/// The name of the framework id among those.
const FRAMEWORK: &str = "framework";

/// Pages kept in memory, bytes: what is written is seldom read again.
const CACHE: usize = 16 << 20;

/// A store in a file.
#[derive(Debug)]
pub struct DurableStore {
    database: Database,
}

impl DurableStore {
    /// Opens the store in the file `path`; makes it where there is none.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = || path.display().to_string();
        let database =
            Database::builder().set_cache_size(CACHE).create(path).map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: shown() },
                error => StoreError::Unopened { path: shown(), why: error.to_string() },
            })?;
        Ok(Self { database })
    }

    fn write(&self, writes: &[Write]) -> Result<(), Fault> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut runs = transaction.open_table(RUNS)?;
            let mut intents = transaction.open_table(INTENTS)?;
            let mut tasks = transaction.open_table(TASKS)?;
            let mut told = transaction.open_table(ENTRIES)?;
            for write in writes {
                match write {
                    Write::Run(run) => {
                        runs.insert(run.id.0.as_bytes(), run.to_bytes().map_err(Fault::Value)?.as_slice())?;
                    }
                    Write::Intents(launches) => {
                        for &launch in launches {
                            intents.insert(launch_key(launch), ())?;
                        }
                    }
                    Write::Task(task) => {
                        tasks.insert(task_key(task.id), task.to_bytes().map_err(Fault::Value)?.as_slice())?;
                    }
                    Write::Mark(run, mark) => {
                        let mut marks = transaction.open_table(MARKS)?;
                        marks.insert(run.0.as_bytes(), mark.to_bytes().map_err(Fault::Value)?.as_slice())?;
                    }
                    Write::Entries(entries) => {
                        for entries in entries.chunks(TOGETHER) {
                            let first = entries.first().map_or(0, Entry::seq);
                            told.insert(first, pack(entries).map_err(Fault::Value)?.as_slice())?;
                        }
                    }
                    Write::Framework(id) => {
                        transaction.open_table(SINGLE)?.insert(FRAMEWORK, id.as_str())?;
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn read(&self) -> Result<Contents, Fault> {
        let transaction = self.database.begin_read()?;
        let mut contents = Contents::default();
        if let Some(runs) = existing(transaction.open_table(RUNS))? {
            for entry in runs.iter()? {
                contents.runs.push(RunRecord::from_bytes(entry?.1.value()).map_err(Fault::Value)?);
            }
        }
        if let Some(intents) = existing(transaction.open_table(INTENTS))? {
            for entry in intents.iter()? {
                contents.intents.push(launch_of(entry?.0.value()));
            }
        }
        if let Some(tasks) = existing(transaction.open_table(TASKS))? {
            for entry in tasks.iter()? {
                contents.tasks.push(TaskRecord::from_bytes(entry?.1.value()).map_err(Fault::Value)?);
            }
        }
        if let Some(marks) = existing(transaction.open_table(MARKS))? {
            for entry in marks.iter()? {
                let (run, mark) = entry?;
                let run = RunId(uuid::Uuid::from_bytes(run.value()));
                contents.marks.push((run, RunMark::from_bytes(mark.value()).map_err(Fault::Value)?));
            }
        }
        if let Some(told) = existing(transaction.open_table(ENTRIES))?
            && let Some((first, packed)) = told.last()?
        {
            let entries = unpack(first.value(), packed.value()).map_err(Fault::Value)?;
            contents.last_entry = entries.last().map_or(0, Entry::seq);
        }
        if let Some(single) = existing(transaction.open_table(SINGLE))? {
            contents.framework = single.get(FRAMEWORK)?.map(|id| id.value().to_owned());
        }
        Ok(contents)
    }

    fn read_entries(&self, after: u64) -> Result<Vec<Entry>, Fault> {
        let transaction = self.database.begin_read()?;
        let Some(told) = existing(transaction.open_table(ENTRIES))? else { return Ok(Vec::new()) };
        let holds_next = told.range(..=after.saturating_add(1))?.next_back().transpose()?;
        let from = holds_next.map_or(0, |(first, _)| first.value());
        for row in told.range(from..)? {
            let (first, packed) = row?;
            let mut entries = unpack(first.value(), packed.value()).map_err(Fault::Value)?;
            entries.retain(|entry| entry.seq() > after);
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        Ok(Vec::new())
    }
}

impl Store for DurableStore {
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.write(writes).map_err(|fault| fault.while_being("written"))
    }

    fn load(&self) -> Result<Contents, StoreError> {
        self.read().map_err(|fault| fault.while_being("read"))
    }

    fn entries(&self, after: u64) -> Result<Vec<Entry>, StoreError> {
        self.read_entries(after).map_err(|fault| fault.while_being("read"))
    }
}

/// redb's many errors, and our own.
enum Fault {
    Redb(redb::Error),
    Value(StoreError),
}

impl Fault {
    fn while_being(self, doing: &'static str) -> StoreError {
        match self {
            Self::Redb(error) => StoreError::Failed { doing, why: error.to_string() },
            Self::Value(error) => error,
        }
    }
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

/// `None` for a table that nothing was ever written to.
fn existing<T>(table: Result<T, TableError>) -> Result<Option<T>, TableError> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn task_key(task: TaskId) -> [u8; 24] {
    launch_key(task.launch(0))
}

fn launch_of(key: [u8; 24]) -> LaunchId {
    let mut run = [0; 16];
    run.copy_from_slice(&key[..16]);
    let number = |at: usize| u32::from_be_bytes([key[at], key[at + 1], key[at + 2], key[at + 3]]);
    RunId(uuid::Uuid::from_bytes(run)).task(number(16)).launch(number(20))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::super::MemoryStore;
    use super::*;
    use crate::store::{Frame, RunEnded};
    use crate::task::{History, RunState, State};

    fn writes() -> Vec<Write> {
        let run = RunId(Uuid::from_u128(5));
        let task = |number, state| {
            Write::Task(TaskRecord {
                id: run.task(number),
                state,
                history: History { attempt: 1, ..History::default() },
                agent: None,
                message: Some("Command exited with status 3".to_owned()),
            })
        };
        vec![
            Write::Run(Arc::new(RunRecord {
                id: run,
                accepted: Timestamp::UNIX_EPOCH,
                title: "hello.org".to_owned(),
                document: Bytes::from_static(b"#+begin_src sh\n\xff\n"),
                key: Some("once".to_owned()),
                tasks: Vec::new(),
                edges: Vec::new(),
            })),
            Write::Intents(vec![run.task(2).launch(1), run.task(1).launch(1)]),
            task(2, State::Running),
            task(1, State::Running),
            task(2, State::Failed),
            Write::Mark(run, RunMark::KillAsked),
            Write::Mark(run, RunMark::Ended(RunState::Killed)),
            Write::Framework("f-0001".to_owned()),
        ]
    }

    /// So many frames, and the end of a run.
    fn entries(from: u64, frames: u64) -> Vec<Entry> {
        let run = RunId(Uuid::from_u128(5));
        let frame = |seq| {
            Entry::Task(Frame {
                seq,
                time: Timestamp::UNIX_EPOCH,
                run,
                task: run.task(1),
                block: "a".into(),
                line: 1,
                index: 1,
                attempt: 0,
                state: State::Queued,
                reason: None,
                message: None,
                agent: None,
                exit_code: None,
            })
        };
        let seq = from + frames;
        let ended = RunEnded { seq, time: Timestamp::UNIX_EPOCH, run, state: RunState::Finished };
        (from..seq).map(frame).chain([Entry::Run(ended)]).collect()
    }

    fn numbers(store: &dyn Store, after: u64) -> Vec<u64> {
        store.entries(after).unwrap().iter().map(Entry::seq).collect()
    }

    #[test]
    fn entries_are_read_on_from_any_number() {
        let folder = tempfile::tempdir().unwrap();
        let mut durable = DurableStore::open(&folder.path().join("store.redb")).unwrap();
        let mut memory = MemoryStore::default();
        for store in [&mut durable as &mut dyn Store, &mut memory] {
            assert_eq!(numbers(store, 0), [0; 0]);
            for writes in [entries(1, 1), entries(3, 599), entries(603, 0)] {
                store.commit(&[Write::Entries(writes)]).unwrap();
            }
            assert_eq!(store.load().unwrap().last_entry, 603);
            assert_eq!(numbers(store, 0), [1, 2]);
            assert_eq!(numbers(store, 1), [2]);
            assert_eq!(store.entries(2).unwrap(), entries(3, 599)[..TOGETHER]);
            assert_eq!(numbers(store, 600), [601, 602]);
            assert_eq!(store.entries(602).unwrap(), entries(603, 0));
            assert_eq!(numbers(store, 603), [0; 0]);
            assert_eq!(numbers(store, u64::MAX), [0; 0]);
        }
    }

    #[test]
    fn both_stores_give_back_what_they_took() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let mut durable = DurableStore::open(&path).unwrap();
        let mut memory = MemoryStore::default();
        assert_eq!(durable.load().unwrap(), Contents::default());
        for store in [&mut durable as &mut dyn Store, &mut memory] {
            for write in writes() {
                store.commit(&[write]).unwrap();
            }
        }
        drop(durable);
        let contents = DurableStore::open(&path).unwrap().load().unwrap();
        assert_eq!(contents, memory.load().unwrap());
        assert_eq!(
            contents.tasks.iter().map(|task| task.state).collect::<Vec<_>>(),
            [State::Running, State::Failed]
        );
    }

    #[test]
    fn a_store_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let _owner = DurableStore::open(&path).unwrap();
        assert!(matches!(DurableStore::open(&path), Err(StoreError::InUse { .. })));
    }

    #[test]
    fn what_is_no_store_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        std::fs::write(&path, "a letter").unwrap();
        assert!(matches!(DurableStore::open(&path), Err(StoreError::Unopened { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"a letter");
    }
}

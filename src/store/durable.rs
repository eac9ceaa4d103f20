//! The store on disk, by redb: one file, one writer, a commit is an fsync.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError,
};

use super::packed::{TOGETHER, pack, unpack};
use super::record::{Meant, Named, Value};
use super::{
    Contents, Entry, Intent, ResultRecord, RunMark, RunRecord, Store, StoreError, TaskRecord, Write,
    launch_key,
};
use crate::task::{LaunchId, RunId, TaskId};

/// Run id → run.
const RUNS: TableDefinition<[u8; 16], &[u8]> = TableDefinition::new("runs");
/// Launch id → nothing: it may have been accepted. Only read: an older Borges wrote it.
const OLD_INTENTS: TableDefinition<[u8; 24], ()> = TableDefinition::new("intents");
/// Launch id → where: it may have been accepted.
const INTENTS: TableDefinition<[u8; 24], &[u8]> = TableDefinition::new("launches");
/// Task id (as a launch id with attempt 0) → task.
const TASKS: TableDefinition<[u8; 24], &[u8]> = TableDefinition::new("tasks");
/// Task id (as in [`TASKS`]) → what it has left.
const RESULTS: TableDefinition<[u8; 24], &[u8]> = TableDefinition::new("results");
/// Run id → what is to be known of it besides.
const MARKS: TableDefinition<[u8; 16], &[u8]> = TableDefinition::new("marks");
/// Number of the first → entries, packed.
const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
/// Name → value, for what there is one of. Only read: an older Borges wrote it.
const OLD_SINGLE: TableDefinition<&str, &str> = TableDefinition::new("single");
/// Name → value, for what there is one of.
const SINGLE: TableDefinition<&str, &[u8]> = TableDefinition::new("named");
/// The name of the framework id among those.
const FRAMEWORK: &str = "framework";

/// Pages kept in memory, bytes: what is written is seldom read again.
const CACHE: usize = 16 << 20;

/// Less than this is left free in a file, bytes.
#[cfg(not(test))]
const WORTH_IT: u64 = 16 << 20;
#[cfg(test)]
const WORTH_IT: u64 = 64 << 10;

/// A store in a file.
#[derive(Debug)]
pub struct DurableStore {
    database: Database,
}

impl DurableStore {
    /// Opens the store in the file `path`; makes it where there is none. Where most of it is free, it is made smaller.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // Of a file that was cut to nothing all is lost: that must not pass for a beginning.
        if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
            let why = "it is empty; if nothing of it is missed, remove it".to_owned();
            return Err(StoreError::Unopened { path: path.display().to_string(), why });
        }
        let is_new = !path.exists();
        let open = || Database::builder().set_cache_size(CACHE).create(path);
        let mut store = Self { database: opened(path, open)? };
        if is_new {
            // What is committed is of no use in a file that a crash has left without a name.
            let unnamed = |error: io::Error| StoreError::Unopened {
                path: path.display().to_string(),
                why: format!("its directory cannot be saved: {error}"),
            };
            let directory = path.parent().filter(|parent| *parent != Path::new(""));
            File::open(directory.unwrap_or(Path::new("."))).and_then(|it| it.sync_all()).map_err(unnamed)?;
            return Ok(store);
        }
        let size = || std::fs::metadata(path).map_or(0, |file| file.len());
        let before = size();
        match store.give_back(before) {
            Ok(false) => {}
            Ok(true) => log::info!("the store was {} MiB, and is {} MiB now", before >> 20, size() >> 20),
            Err(error) => {
                // It is as it was, but for a database that has seen an error and does nothing more.
                log::warn!("the store is not made smaller: {error}");
                drop(store);
                store = Self { database: opened(path, open)? };
            }
        }
        Ok(store)
    }

    /// Makes a file of `size` bytes smaller where that is worth the while.
    ///
    /// redb cuts off what is free at a file's end, but what lies there stays where it is.
    pub(super) fn give_back(&mut self, size: u64) -> Result<bool, StoreError> {
        let free = self.free(size)?;
        if free < WORTH_IT || free < size / 2 {
            return Ok(false);
        }
        let failed = |why| StoreError::Failed { doing: "written", why };
        match catch_unwind(AssertUnwindSafe(|| self.database.compact())) {
            Ok(compacted) => compacted.map_err(|error| failed(error.to_string())),
            Err(_) => Err(failed("it is damaged".to_owned())),
        }
    }

    /// How many bytes of a file of `size` are free.
    pub(super) fn free(&self, size: u64) -> Result<u64, StoreError> {
        let free = || -> Result<u64, Fault> {
            let stats = self.database.begin_write()?.stats()?;
            Ok(size.saturating_sub(stats.allocated_pages().saturating_mul(stats.page_size() as u64)))
        };
        free().map_err(|fault| fault.while_being("read"))
    }

    /// Opens the store in the file `path`, which must be there, and looks at all of it; `true` when it had not been
    /// closed, and was repaired.
    pub(super) fn open_whole(path: &Path) -> Result<(Self, bool), StoreError> {
        let repaired = Arc::new(AtomicBool::new(false));
        let seen = repaired.clone();
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE).set_repair_callback(move |_| seen.store(true, Relaxed));
        let database = opened(path, || {
            let mut database = builder.open(path)?;
            database.check_integrity()?;
            Ok(database)
        })?;
        Ok((Self { database }, repaired.load(Relaxed)))
    }

    /// A store in something that stands in for a file.
    #[cfg(test)]
    pub(super) fn within(backend: impl redb::StorageBackend) -> Result<Self, StoreError> {
        let path = Path::new("a file in memory");
        let open = || Database::builder().set_cache_size(CACHE).create_with_backend(backend);
        Ok(Self { database: opened(path, open)? })
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
                    Write::Intents(meant) => {
                        for Intent { launch, agent } in meant {
                            let meant = Meant { agent: agent.clone() }.to_bytes().map_err(Fault::Value)?;
                            intents.insert(launch_key(*launch), meant.as_slice())?;
                        }
                    }
                    Write::Task(task) => {
                        tasks.insert(task_key(task.id), task.to_bytes().map_err(Fault::Value)?.as_slice())?;
                    }
                    Write::Results(results) => {
                        let mut table = transaction.open_table(RESULTS)?;
                        for result in results {
                            let bytes = result.to_bytes().map_err(Fault::Value)?;
                            table.insert(task_key(result.task), bytes.as_slice())?;
                        }
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
                    Write::Forget(forgotten) => {
                        for &run in forgotten {
                            runs.remove(run.0.as_bytes())?;
                            let all = launches_of(run);
                            intents.retain_in(all.clone(), |_, _| false)?;
                            tasks.retain_in(all.clone(), |_, _| false)?;
                            transaction.open_table(RESULTS)?.retain_in(all.clone(), |_, _| false)?;
                            transaction.open_table(OLD_INTENTS)?.retain_in(all, |_, ()| false)?;
                            transaction.open_table(MARKS)?.remove(run.0.as_bytes())?;
                        }
                        forget_entries(&mut told, &runs)?;
                    }
                    Write::Framework(id) => {
                        let named = Named(id.clone()).to_bytes().map_err(Fault::Value)?;
                        transaction.open_table(SINGLE)?.insert(FRAMEWORK, named.as_slice())?;
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
        if let Some(intents) = existing(transaction.open_table(OLD_INTENTS))? {
            for entry in intents.iter()? {
                contents.intents.push(Intent { launch: launch_of(entry?.0.value()), agent: None });
            }
        }
        if let Some(intents) = existing(transaction.open_table(INTENTS))? {
            for entry in intents.iter()? {
                let (launch, meant) = entry?;
                let Meant { agent } = Meant::from_bytes(meant.value()).map_err(Fault::Value)?;
                contents.intents.push(Intent { launch: launch_of(launch.value()), agent });
            }
        }
        if let Some(tasks) = existing(transaction.open_table(TASKS))? {
            for entry in tasks.iter()? {
                contents.tasks.push(TaskRecord::from_bytes(entry?.1.value()).map_err(Fault::Value)?);
            }
        }
        if let Some(results) = existing(transaction.open_table(RESULTS))? {
            for entry in results.iter()? {
                contents.results.push(launch_of(entry?.0.value()).task);
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
        if let Some(single) = existing(transaction.open_table(OLD_SINGLE))? {
            contents.framework = single.get(FRAMEWORK)?.map(|id| id.value().to_owned());
        }
        if let Some(single) = existing(transaction.open_table(SINGLE))?
            && let Some(named) = single.get(FRAMEWORK)?
        {
            contents.framework = Some(Named::from_bytes(named.value()).map_err(Fault::Value)?.0);
        }
        Ok(contents)
    }

    fn read_task(&self, task: TaskId) -> Result<Option<TaskRecord>, Fault> {
        let transaction = self.database.begin_read()?;
        let Some(tasks) = existing(transaction.open_table(TASKS))? else { return Ok(None) };
        let stored = tasks.get(task_key(task))?;
        stored.map(|task| TaskRecord::from_bytes(task.value()).map_err(Fault::Value)).transpose()
    }

    fn read_results(&self, run: RunId) -> Result<Vec<ResultRecord>, Fault> {
        let transaction = self.database.begin_read()?;
        let Some(results) = existing(transaction.open_table(RESULTS))? else { return Ok(Vec::new()) };
        let rows = results.range(launches_of(run))?;
        rows.map(|row| ResultRecord::from_bytes(row?.1.value()).map_err(Fault::Value)).collect()
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
        let damaged =
            |_| Err(Fault::Value(StoreError::Damaged { what: "page", why: "it is torn".to_owned() }));
        catch_unwind(AssertUnwindSafe(|| self.read()))
            .unwrap_or_else(damaged)
            .map_err(|fault| fault.while_being("read"))
    }

    fn task(&self, task: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.read_task(task).map_err(|fault| fault.while_being("read"))
    }

    fn results(&self, run: RunId) -> Result<Vec<ResultRecord>, StoreError> {
        self.read_results(run).map_err(|fault| fault.while_being("read"))
    }

    fn entries(&self, after: u64) -> Result<Vec<Entry>, StoreError> {
        self.read_entries(after).map_err(|fault| fault.while_being("read"))
    }
}

/// A database, or why there is none. What is damaged can make the database's own code panic: that is an answer, too.
fn opened(
    path: &Path,
    open: impl FnOnce() -> Result<Database, DatabaseError>,
) -> Result<Database, StoreError> {
    let shown = || path.display().to_string();
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => Err(StoreError::InUse { path: shown() }),
        Ok(Err(error)) => Err(StoreError::Unopened { path: shown(), why: error.to_string() }),
        Err(_) => Err(StoreError::Unopened { path: shown(), why: "it is damaged".to_owned() }),
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

/// Removes the entries of which nothing is about a run there is; but for the last, whose number counts.
fn forget_entries(
    told: &mut redb::Table<'_, u64, &'static [u8]>,
    runs: &redb::Table<'_, [u8; 16], &'static [u8]>,
) -> Result<(), Fault> {
    let last = told.last()?.map(|(first, _)| first.value());
    let mut forgotten = Vec::new();
    for row in told.iter()? {
        let (first, packed) = row?;
        let first = first.value();
        let entries = unpack(first, packed.value()).map_err(Fault::Value)?;
        let mut is_of_use = Some(first) == last;
        for run in entries.chunk_by(|a, b| a.run() == b.run()).filter_map(|entries| entries.first()) {
            is_of_use = is_of_use || runs.get(run.run().0.as_bytes())?.is_some();
        }
        if !is_of_use {
            forgotten.push(first);
        }
    }
    for first in forgotten {
        told.remove(first)?;
    }
    Ok(())
}

/// The keys of all tasks and launches of a run.
fn launches_of(run: RunId) -> std::ops::RangeInclusive<[u8; 24]> {
    launch_key(run.task(0).launch(0))..=launch_key(run.task(u32::MAX).launch(u32::MAX))
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
    use bytes::Bytes;
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::super::MemoryStore;
    use super::*;
    use crate::store::{Frame, ResultFile, RunEnded};
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
                pause: None,
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
                recipes: crate::spec::Recipes::default(),
                caching: crate::spec::Caching::Asked,
            })),
            Write::Results([2, 1].map(|number| result(run.task(number))).into()),
            Write::Intents(
                [2, 1]
                    .map(|number| Intent {
                        launch: run.task(number).launch(1),
                        agent: (number == 2).then(|| "a".to_owned()),
                    })
                    .into(),
            ),
            task(2, State::Running),
            task(1, State::Running),
            task(2, State::Failed),
            Write::Mark(run, RunMark::KillAsked),
            Write::Mark(run, RunMark::Ended { state: RunState::Killed, at: Some(Timestamp::UNIX_EPOCH) }),
            Write::Framework("f-0001".to_owned()),
        ]
    }

    /// So many frames, and the end of a run.
    fn result(task: TaskId) -> ResultRecord {
        let file = ResultFile { path: "block/stdout".to_owned(), size: 5, sha256: Some([7; 32]) };
        ResultRecord { task, attempt: 1, block: "b".into(), line: 2, index: 1, files: vec![file] }
    }

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
        let durable = DurableStore::open(&path).unwrap();
        let contents = durable.load().unwrap();
        assert_eq!(contents, memory.load().unwrap());
        let run = RunId(Uuid::from_u128(5));
        for store in [&durable as &dyn Store, &memory] {
            assert_eq!(store.results(run).unwrap(), [1, 2].map(|number| result(run.task(number))));
            assert_eq!(store.results(RunId(Uuid::from_u128(4))).unwrap(), []);
        }
        assert_eq!(contents.results, [1, 2].map(|number| run.task(number)));
        assert_eq!(
            contents.tasks.iter().map(|task| task.state).collect::<Vec<_>>(),
            [State::Running, State::Failed]
        );
    }

    /// What is forgotten leaves nothing behind, and what stays is whole; numbers are never given twice.
    #[test]
    fn runs_are_forgotten_with_all_that_is_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let mut durable = DurableStore::open(&folder.path().join("store.redb")).unwrap();
        let mut memory = MemoryStore::default();
        let other = RunId(Uuid::from_u128(6));
        let of_other = |entry: Entry| match entry {
            Entry::Task(frame) => Entry::Task(Frame { run: other, task: other.task(1), ..frame }),
            Entry::Run(ended) => Entry::Run(RunEnded { run: other, ..ended }),
        };
        let mixed = entries(500, 2).into_iter().chain(entries(503, 0).into_iter().map(of_other)).collect();
        for store in [&mut durable as &mut dyn Store, &mut memory] {
            store.commit(&writes()).unwrap();
            let Write::Run(run) = &writes()[0] else { panic!("a run") };
            let kept = RunRecord { id: other, ..run.as_ref().clone() };
            store.commit(&[Write::Run(Arc::new(kept))]).unwrap();
            store.commit(&[Write::Entries(entries(1, 498))]).unwrap();
            store.commit(&[Write::Entries(Vec::clone(&mixed))]).unwrap();
            store.commit(&[Write::Entries(entries(504, 0))]).unwrap();
            store.commit(&[Write::Forget(vec![RunId(Uuid::from_u128(5))])]).unwrap();
            let contents = store.load().unwrap();
            assert_eq!(contents.runs.iter().map(|run| run.id).collect::<Vec<_>>(), [other]);
            assert_eq!((contents.tasks, contents.intents, contents.marks), Default::default());
            assert_eq!(contents.results, []);
            assert_eq!(store.results(RunId(Uuid::from_u128(5))).unwrap(), []);
            assert_eq!(contents.last_entry, 504);
            assert_eq!(numbers(store, 0), [500, 501, 502, 503]);
            assert_eq!(numbers(store, 503), [504]);
        }
    }

    /// A whole store that an earlier Borges has left, unpacked.
    fn old(name: &str) -> (tempfile::TempDir, DurableStore) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let packed = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/old")).join(name);
        let unpacked = std::process::Command::new("gzip").arg("-dc").arg(packed).output().unwrap();
        assert!(unpacked.status.success(), "gzip is needed");
        std::fs::write(&path, unpacked.stdout).unwrap();
        let store = DurableStore::open(&path).unwrap();
        (folder, store)
    }

    /// A whole store as the first version left it, killed while a block ran: it must be read for ever.
    #[test]
    fn a_store_of_the_first_version_is_read() {
        let (_folder, mut store) = old("store-1.redb.gz");
        let contents = store.load().unwrap();
        let blocks: Vec<_> = contents.runs[0].tasks.iter().map(|task| &*task.block).collect();
        assert_eq!(blocks, ["well", "badly", "left-out", "service", "fits-nowhere", "line-22"]);
        assert_eq!(contents.runs[0].key.as_deref(), Some("once"));
        assert!(contents.runs[0].document.starts_with(b"#+TITLE: an old document"));
        let states: Vec<_> = contents.tasks.iter().map(|task| (task.id.number, task.state)).collect();
        let expected = [
            (1, State::Finished),
            (2, State::Failed),
            (3, State::Skipped),
            (4, State::Running),
            (1, State::Finished),
        ];
        assert_eq!(states, expected);
        assert_eq!(contents.tasks[1].history.exit_code, Some(3));
        assert!(contents.intents.iter().all(|intent| intent.agent.is_none()));
        assert_eq!(contents.intents.len(), 5);
        assert_eq!(
            contents.marks,
            [(contents.runs[1].id, RunMark::Ended { state: RunState::Finished, at: None })]
        );
        assert!(contents.framework.is_some());
        assert_eq!(store.entries(0).unwrap()[0].seq(), 1);
        // What it says now is said in today's words.
        store.commit(&[Write::Run(Arc::new(contents.runs[0].clone()))]).unwrap();
        store.commit(&[Write::Forget(vec![contents.runs[0].id])]).unwrap();
        assert_eq!(store.load().unwrap().intents.len(), 1);
    }

    /// What was forgotten makes the file smaller at the next start, wherever in it the rest lies.
    #[test]
    fn room_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let size = || std::fs::metadata(&path).unwrap().len();
        let Write::Run(run) = &writes()[0] else { panic!("a run") };
        let run = |number: u128| {
            let id = RunId(Uuid::from_u128(number));
            let document = Bytes::from(vec![b'x'; 100_000]);
            Write::Run(Arc::new(RunRecord { id, document, ..run.as_ref().clone() }))
        };
        let mut store = DurableStore::open(&path).unwrap();
        for number in 1..=40 {
            store.commit(&[run(number)]).unwrap();
        }
        let all: Vec<RunId> = store.load().unwrap().runs.iter().map(|run| run.id).collect();
        drop(store);
        let full = size();
        let mut store = DurableStore::open(&path).unwrap();
        assert!(size() >= full, "nothing is free yet");
        // The last one lies where the file ends.
        store.commit(&[Write::Forget(all[..39].to_vec())]).unwrap();
        let kept = store.load().unwrap();
        drop(store);
        assert!(size() > full / 2, "of itself it stays as large: {} of {full}", size());
        let store = DurableStore::open(&path).unwrap();
        assert_eq!(store.load().unwrap(), kept);
        assert!(size() < full / 4, "{} bytes of {full} for one run of 40", size());
        drop(store);
        assert_eq!(DurableStore::open(&path).unwrap().load().unwrap(), kept);
    }

    /// One of the second, when a task wished nothing of its agent but amounts.
    #[test]
    fn a_store_of_the_second_version_is_read() {
        let (_folder, mut store) = old("store-2.redb.gz");
        let contents = store.load().unwrap();
        let run = &contents.runs[0];
        let blocks: Vec<_> = run.tasks.iter().map(|task| &*task.block).collect();
        let expected = ["well", "with-value", "badly", "left-out", "service", "fits-nowhere", "second-part"];
        assert_eq!(blocks, expected);
        assert!(run.tasks.iter().all(|task| task.wishes.is_none()));
        let well = &run.tasks[0];
        assert_eq!((well.resources.mem, well.mem_is_limit, well.policy.priority), (100, true, 2));
        assert_eq!(run.tasks[6].command.environment[..], [("A".to_owned(), "1".to_owned())]);
        assert_eq!(run.recipes.needs(2), [1].into(), "its value is that of another");
        assert_eq!((run.edges.len(), contents.tasks.len()), (2, 6));
        store.commit(&[Write::Run(Arc::new(run.clone()))]).unwrap();
        assert_eq!(store.load().unwrap(), contents, "it is the same when it is written by today's");
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

//! The tables of a store on disk: the format, the layout, and how a batch of writes is stored and read.

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError, TableHandle};

use super::event_codec::{BATCH_LEN, pack, unpack};
use super::record::{StoredIntent, StoredString, VersionedRecord};
use super::{
    LaunchIntent, LoggedEvent, ResultRecord, RunMarker, RunRecord, Snapshot, StoreError, TaskRecord, WriteOp,
    launch_key,
};
use borges_task::{LaunchId, RunId, TaskId};

/// The table whose name says that a redb file is a store of Borges: [`VERSION`] → the version of the format.
const FORMAT: TableDefinition<&str, u32> = TableDefinition::new("borges-store");
/// The only key of [`FORMAT`].
const VERSION: &str = "version";
/// The version of the format that is written. It counts changes of tables and keys; each value has a version of its own.
pub(super) const FORMAT_VERSION: u32 = 1;
/// Run id → run.
const RUNS: TableDefinition<[u8; 16], &[u8]> = TableDefinition::new("runs");
/// Launch id → the agent of a launch that may have been accepted.
const INTENTS: TableDefinition<[u8; 24], &[u8]> = TableDefinition::new("intents");
/// Task id (as a launch id with attempt 0) → task.
const TASKS: TableDefinition<[u8; 24], &[u8]> = TableDefinition::new("tasks");
/// Task id (as in [`TASKS`]) → what it has left.
const RESULTS: TableDefinition<[u8; 24], &[u8]> = TableDefinition::new("results");
/// Run id → what is to be known of it besides.
const MARKS: TableDefinition<[u8; 16], &[u8]> = TableDefinition::new("marks");
/// Sequence number of the first event → a batch of events.
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
/// Name → value, for values that exist once.
const SINGLE: TableDefinition<&str, &[u8]> = TableDefinition::new("single");
/// The name of the framework id in [`SINGLE`].
const FRAMEWORK: &str = "framework";

/// The format of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// No table was ever written: a new store, or one whose creation was cut off.
    Empty,
    /// A store of this version.
    Version(u32),
    /// There are tables, and none of them names a format: a Borges before 0.1.0 wrote them.
    Unmarked,
}

/// Reads the format of a database.
pub(super) fn format(database: &Database) -> Result<Format, AccessError> {
    let transaction = database.begin_read()?;
    if let Some(format) = existing(transaction.open_table(FORMAT))?
        && let Some(version) = format.get(VERSION)?
    {
        return Ok(Format::Version(version.value()));
    }
    let is_marker = |table: &redb::UntypedTableHandle| table.name() == FORMAT.name();
    Ok(if transaction.list_tables()?.all(|table| is_marker(&table)) {
        Format::Empty
    } else {
        Format::Unmarked
    })
}

/// Marks an empty database as a store of this format; on disk when it returns.
pub(super) fn write_format(database: &Database) -> Result<(), AccessError> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.open_table(FORMAT)?.insert(VERSION, FORMAT_VERSION)?;
    transaction.commit()?;
    Ok(())
}

/// Makes all of `writes` durable, or none.
pub(super) fn write(database: &Database, writes: &[WriteOp]) -> Result<(), AccessError> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut runs = transaction.open_table(RUNS)?;
        let mut intents = transaction.open_table(INTENTS)?;
        let mut tasks = transaction.open_table(TASKS)?;
        let mut event_table = transaction.open_table(EVENTS)?;
        for write in writes {
            match write {
                WriteOp::Run(run) => {
                    runs.insert(run.id.0.as_bytes(), run.to_bytes().map_err(AccessError::Value)?.as_slice())?;
                }
                WriteOp::Intents(launch_intents) => {
                    for LaunchIntent { launch, agent } in launch_intents {
                        let stored_intent =
                            StoredIntent { agent: agent.clone() }.to_bytes().map_err(AccessError::Value)?;
                        intents.insert(launch_key(*launch), stored_intent.as_slice())?;
                    }
                }
                WriteOp::Task(task) => {
                    tasks
                        .insert(task_key(task.id), task.to_bytes().map_err(AccessError::Value)?.as_slice())?;
                }
                WriteOp::Results(results) => {
                    let mut table = transaction.open_table(RESULTS)?;
                    for result in results {
                        let bytes = result.to_bytes().map_err(AccessError::Value)?;
                        table.insert(task_key(result.task), bytes.as_slice())?;
                    }
                }
                WriteOp::MarkRun(run, marker) => {
                    let mut run_markers = transaction.open_table(MARKS)?;
                    run_markers.insert(
                        run.0.as_bytes(),
                        marker.to_bytes().map_err(AccessError::Value)?.as_slice(),
                    )?;
                }
                WriteOp::Events(new_events) => {
                    for batch in new_events.chunks(BATCH_LEN) {
                        let first = batch.first().map_or(0, LoggedEvent::seq);
                        event_table.insert(first, pack(batch).map_err(AccessError::Value)?.as_slice())?;
                    }
                }
                WriteOp::DeleteRuns(deleted) => {
                    for &run in deleted {
                        runs.remove(run.0.as_bytes())?;
                        let all = launches_of(run);
                        intents.retain_in(all.clone(), |_, _| false)?;
                        tasks.retain_in(all.clone(), |_, _| false)?;
                        transaction.open_table(RESULTS)?.retain_in(all, |_, _| false)?;
                        transaction.open_table(MARKS)?.remove(run.0.as_bytes())?;
                    }
                    delete_unused_events(&mut event_table, &runs)?;
                }
                WriteOp::Framework(id) => {
                    let framework_id = StoredString(id.clone()).to_bytes().map_err(AccessError::Value)?;
                    transaction.open_table(SINGLE)?.insert(FRAMEWORK, framework_id.as_slice())?;
                }
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Reads everything except the events.
pub(super) fn read(database: &Database) -> Result<Snapshot, AccessError> {
    let transaction = database.begin_read()?;
    let mut contents = Snapshot::default();
    if let Some(runs) = existing(transaction.open_table(RUNS))? {
        for row in runs.iter()? {
            contents.runs.push(RunRecord::from_bytes(row?.1.value()).map_err(AccessError::Value)?);
        }
    }
    if let Some(intents) = existing(transaction.open_table(INTENTS))? {
        for row in intents.iter()? {
            let (launch, stored_intent) = row?;
            let StoredIntent { agent } =
                StoredIntent::from_bytes(stored_intent.value()).map_err(AccessError::Value)?;
            contents.intents.push(LaunchIntent { launch: launch_of(launch.value()), agent });
        }
    }
    if let Some(tasks) = existing(transaction.open_table(TASKS))? {
        for row in tasks.iter()? {
            contents.tasks.push(TaskRecord::from_bytes(row?.1.value()).map_err(AccessError::Value)?);
        }
    }
    if let Some(results) = existing(transaction.open_table(RESULTS))? {
        for row in results.iter()? {
            contents.results.push(launch_of(row?.0.value()).task);
        }
    }
    if let Some(run_markers) = existing(transaction.open_table(MARKS))? {
        for row in run_markers.iter()? {
            let (run, marker) = row?;
            let run = RunId(uuid::Uuid::from_bytes(run.value()));
            contents
                .run_markers
                .push((run, RunMarker::from_bytes(marker.value()).map_err(AccessError::Value)?));
        }
    }
    if let Some(events) = existing(transaction.open_table(EVENTS))?
        && let Some((first, packed)) = events.last()?
    {
        let events = unpack(first.value(), packed.value()).map_err(AccessError::Value)?;
        contents.last_seq = events.last().map_or(0, LoggedEvent::seq);
    }
    if let Some(single) = existing(transaction.open_table(SINGLE))?
        && let Some(framework_id) = single.get(FRAMEWORK)?
    {
        contents.framework =
            Some(StoredString::from_bytes(framework_id.value()).map_err(AccessError::Value)?.0);
    }
    Ok(contents)
}

/// The task as it was written last.
pub(super) fn read_task(database: &Database, task: TaskId) -> Result<Option<TaskRecord>, AccessError> {
    let transaction = database.begin_read()?;
    let Some(tasks) = existing(transaction.open_table(TASKS))? else { return Ok(None) };
    let stored = tasks.get(task_key(task))?;
    stored.map(|task| TaskRecord::from_bytes(task.value()).map_err(AccessError::Value)).transpose()
}

/// What the ended tasks of a run have left.
pub(super) fn read_results(database: &Database, run: RunId) -> Result<Vec<ResultRecord>, AccessError> {
    let transaction = database.begin_read()?;
    let Some(results) = existing(transaction.open_table(RESULTS))? else { return Ok(Vec::new()) };
    let rows = results.range(launches_of(run))?;
    rows.map(|row| ResultRecord::from_bytes(row?.1.value()).map_err(AccessError::Value)).collect()
}

/// The next events after the sequence number `after`.
pub(super) fn read_events(database: &Database, after: u64) -> Result<Vec<LoggedEvent>, AccessError> {
    let transaction = database.begin_read()?;
    let Some(events) = existing(transaction.open_table(EVENTS))? else { return Ok(Vec::new()) };
    let holds_next = events.range(..=after.saturating_add(1))?.next_back().transpose()?;
    let from = holds_next.map_or(0, |(first, _)| first.value());
    for row in events.range(from..)? {
        let (first, packed) = row?;
        let mut events = unpack(first.value(), packed.value()).map_err(AccessError::Value)?;
        events.retain(|event| event.seq() > after);
        if !events.is_empty() {
            return Ok(events);
        }
    }
    Ok(Vec::new())
}

/// Deletes event batches that concern only deleted runs. The last batch stays: it holds the highest sequence number.
fn delete_unused_events(
    events: &mut redb::Table<'_, u64, &'static [u8]>,
    runs: &redb::Table<'_, [u8; 16], &'static [u8]>,
) -> Result<(), AccessError> {
    let last = events.last()?.map(|(first, _)| first.value());
    let mut deleted = Vec::new();
    for row in events.iter()? {
        let (first, packed) = row?;
        let first = first.value();
        let events = unpack(first, packed.value()).map_err(AccessError::Value)?;
        let mut is_in_use = Some(first) == last;
        for run in events.chunk_by(|a, b| a.run() == b.run()).filter_map(|events| events.first()) {
            is_in_use = is_in_use || runs.get(run.run().0.as_bytes())?.is_some();
        }
        if !is_in_use {
            deleted.push(first);
        }
    }
    for first in deleted {
        events.remove(first)?;
    }
    Ok(())
}

/// The keys of all tasks and launches of a run.
fn launches_of(run: RunId) -> std::ops::RangeInclusive<[u8; 24]> {
    launch_key(run.task(0).launch(0))..=launch_key(run.task(u32::MAX).launch(u32::MAX))
}

/// `None` for a table that nothing was ever written to.
fn existing<T>(table: Result<T, TableError>) -> Result<Option<T>, AccessError> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
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

/// redb's many errors, and our own.
pub(super) enum AccessError {
    Redb(redb::Error),
    Value(StoreError),
}

impl AccessError {
    pub(super) fn context(self, operation: &'static str) -> StoreError {
        match self {
            Self::Redb(error) => StoreError::Io { operation, reason: error.to_string() },
            Self::Value(error) => error,
        }
    }
}

impl<E: Into<redb::Error>> From<E> for AccessError {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

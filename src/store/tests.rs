//! Both stores: they return what was committed, and only a store of this format is opened.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use super::event_codec::BATCH_LEN;
use super::*;
use borges_task::{History, RunState, State};

fn writes() -> Vec<WriteOp> {
    let run = RunId(Uuid::from_u128(5));
    let task = |number, state| {
        WriteOp::Task(TaskRecord {
            id: run.task(number),
            state,
            history: History { attempt: 1, ..History::default() },
            agent: None,
            message: Some("Command exited with status 3".to_owned()),
            pause: None,
        })
    };
    vec![
        WriteOp::Run(Arc::new(RunRecord {
            id: run,
            accepted: Timestamp::UNIX_EPOCH,
            title: "hello.org".to_owned(),
            document: Bytes::from_static(b"#+begin_src sh\n\xff\n"),
            key: Some("once".to_owned()),
            tasks: Vec::new(),
            edges: Vec::new(),
            recipes: borges_plan::Recipes::default(),
            caching: borges_plan::CacheMode::OptIn,
        })),
        WriteOp::Results([2, 1].map(|number| result(run.task(number))).into()),
        WriteOp::Intents(
            [2, 1]
                .map(|number| LaunchIntent {
                    launch: run.task(number).launch(1),
                    agent: (number == 2).then(|| "a".to_owned()),
                })
                .into(),
        ),
        task(2, State::Running),
        task(1, State::Running),
        task(2, State::Failed),
        WriteOp::MarkRun(run, RunMarker::KillRequested),
        WriteOp::MarkRun(run, RunMarker::Ended { state: RunState::Killed, at: Some(Timestamp::UNIX_EPOCH) }),
        WriteOp::Framework("f-0001".to_owned()),
    ]
}

fn result(task: TaskId) -> ResultRecord {
    let file = ResultFile { path: "block/stdout".to_owned(), size: 5, sha256: Some([7; 32]) };
    ResultRecord { task, attempt: 1, block: "b".into(), line: 2, index: 1, files: vec![file] }
}

/// Task events from a sequence number on, and the end of a run.
fn events(from: u64, frames: u64) -> Vec<LoggedEvent> {
    let run = RunId(Uuid::from_u128(5));
    let event = |seq| {
        LoggedEvent::Task(TaskEvent {
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
    (from..seq).map(event).chain([LoggedEvent::Run(ended)]).collect()
}

fn sequence_numbers(store: &dyn Store, after: u64) -> Vec<u64> {
    store.events(after).unwrap().iter().map(LoggedEvent::seq).collect()
}

#[test]
fn events_are_read_from_any_sequence_number() {
    let directory = tempfile::tempdir().unwrap();
    let mut durable = RedbStore::open(&directory.path().join("store.redb")).unwrap();
    let mut memory = MemoryStore::default();
    for store in [&mut durable as &mut dyn Store, &mut memory] {
        assert_eq!(sequence_numbers(store, 0), [0; 0]);
        for writes in [events(1, 1), events(3, 599), events(603, 0)] {
            store.commit(&[WriteOp::Events(writes)]).unwrap();
        }
        assert_eq!(store.load().unwrap().last_seq, 603);
        assert_eq!(sequence_numbers(store, 0), [1, 2]);
        assert_eq!(sequence_numbers(store, 1), [2]);
        assert_eq!(store.events(2).unwrap(), events(3, 599)[..BATCH_LEN]);
        assert_eq!(sequence_numbers(store, 600), [601, 602]);
        assert_eq!(store.events(602).unwrap(), events(603, 0));
        assert_eq!(sequence_numbers(store, 603), [0; 0]);
        assert_eq!(sequence_numbers(store, u64::MAX), [0; 0]);
    }
}

#[test]
fn both_stores_return_committed_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let mut durable = RedbStore::open(&path).unwrap();
    let mut memory = MemoryStore::default();
    assert_eq!(durable.load().unwrap(), Snapshot::default());
    for store in [&mut durable as &mut dyn Store, &mut memory] {
        for write in writes() {
            store.commit(&[write]).unwrap();
        }
    }
    drop(durable);
    let durable = RedbStore::open(&path).unwrap();
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
fn deleted_runs_leave_no_records() {
    let directory = tempfile::tempdir().unwrap();
    let mut durable = RedbStore::open(&directory.path().join("store.redb")).unwrap();
    let mut memory = MemoryStore::default();
    let other = RunId(Uuid::from_u128(6));
    let of_other = |event: LoggedEvent| match event {
        LoggedEvent::Task(event) => LoggedEvent::Task(TaskEvent { run: other, task: other.task(1), ..event }),
        LoggedEvent::Run(ended) => LoggedEvent::Run(RunEnded { run: other, ..ended }),
    };
    let mixed = events(500, 2).into_iter().chain(events(503, 0).into_iter().map(of_other)).collect();
    for store in [&mut durable as &mut dyn Store, &mut memory] {
        store.commit(&writes()).unwrap();
        let WriteOp::Run(run) = &writes()[0] else { panic!("a run") };
        let retained = RunRecord { id: other, ..run.as_ref().clone() };
        store.commit(&[WriteOp::Run(Arc::new(retained))]).unwrap();
        store.commit(&[WriteOp::Events(events(1, 498))]).unwrap();
        store.commit(&[WriteOp::Events(Vec::clone(&mixed))]).unwrap();
        store.commit(&[WriteOp::Events(events(504, 0))]).unwrap();
        store.commit(&[WriteOp::DeleteRuns(vec![RunId(Uuid::from_u128(5))])]).unwrap();
        let contents = store.load().unwrap();
        assert_eq!(contents.runs.iter().map(|run| run.id).collect::<Vec<_>>(), [other]);
        assert_eq!((contents.tasks, contents.intents, contents.run_markers), Default::default());
        assert_eq!(contents.results, []);
        assert_eq!(store.results(RunId(Uuid::from_u128(5))).unwrap(), []);
        assert_eq!(contents.last_seq, 504);
        assert_eq!(sequence_numbers(store, 0), [500, 501, 502, 503]);
        assert_eq!(sequence_numbers(store, 503), [504]);
    }
}

/// What was forgotten makes the file smaller at the next start, wherever in it the rest lies.
#[test]
fn files_are_compacted_at_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let size = || std::fs::metadata(&path).unwrap().len();
    let WriteOp::Run(run) = &writes()[0] else { panic!("a run") };
    let run = |number: u128| {
        let id = RunId(Uuid::from_u128(number));
        let document = Bytes::from(vec![b'x'; 100_000]);
        WriteOp::Run(Arc::new(RunRecord { id, document, ..run.as_ref().clone() }))
    };
    let mut store = RedbStore::open(&path).unwrap();
    for number in 1..=40 {
        store.commit(&[run(number)]).unwrap();
    }
    let all: Vec<RunId> = store.load().unwrap().runs.iter().map(|run| run.id).collect();
    drop(store);
    let full = size();
    let mut store = RedbStore::open(&path).unwrap();
    assert!(size() >= full, "nothing is free yet");
    // The last one lies where the file ends.
    store.commit(&[WriteOp::DeleteRuns(all[..39].to_vec())]).unwrap();
    let retained = store.load().unwrap();
    drop(store);
    assert!(size() > full / 2, "of itself it stays as large: {} of {full}", size());
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.load().unwrap(), retained);
    assert!(size() < full / 4, "{} bytes of {full} for one run of 40", size());
    drop(store);
    assert_eq!(RedbStore::open(&path).unwrap().load().unwrap(), retained);
}

/// Writes a redb file that has this table with this number.
fn redb_file(path: &Path, table: &str, number: u32) {
    let table: redb::TableDefinition<&str, u32> = redb::TableDefinition::new(table);
    let transaction = redb::Database::create(path).unwrap().begin_write().unwrap();
    transaction.open_table(table).unwrap().insert("version", number).unwrap();
    transaction.commit().unwrap();
}

#[test]
fn other_formats_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    for (table, version, expected) in [
        ("runs", 1, "was written by a Borges before 0.1.0"),
        ("borges-store", 2, "has format 2, and this Borges reads format 1: use a newer Borges"),
    ] {
        redb_file(&path, table, version);
        let refusal = RedbStore::open(&path).unwrap_err().to_string();
        assert!(refusal.contains(expected) && refusal.contains("store.redb"), "{refusal}");
        assert_eq!(check(&path).unwrap_err().to_string(), refusal);
        assert_eq!(RedbStore::open(&path).unwrap_err().to_string(), refusal, "it is as it was");
        std::fs::remove_file(&path).unwrap();
    }
}

/// A crash between the creation of the file and its mark leaves a file that is a new store.
#[test]
fn unmarked_new_file_becomes_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    drop(redb::Database::create(&path).unwrap());
    RedbStore::open(&path).unwrap().commit(&writes()).unwrap();
    assert_eq!(RedbStore::open(&path).unwrap().load().unwrap().runs.len(), 1);
}

#[test]
fn second_open_of_a_store_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let _owner = RedbStore::open(&path).unwrap();
    assert!(matches!(RedbStore::open(&path), Err(StoreError::InUse { .. })));
}

#[test]
fn foreign_files_are_not_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    std::fs::write(&path, "a letter").unwrap();
    assert!(matches!(RedbStore::open(&path), Err(StoreError::CannotOpen { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"a letter");
}

//! The store on a file system that fails, or dies, at each of its operations: what was committed is there when it is
//! opened again, and what was not is there wholly or not at all.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jiff::Timestamp;
use redb::StorageBackend;
use uuid::Uuid;

use super::redb_store::RedbStore;
use super::{
    LaunchIntent, LoggedEvent, MemoryStore, RunEnded, RunMarker, RunRecord, Snapshot, Store, TaskRecord,
    WriteOp,
};
use borges_task::{History, RunId, RunState, State};

/// A file in memory of which only what was synced is certain to survive.
#[derive(Debug, Clone, Default)]
struct File(Arc<Mutex<FileState>>);

#[derive(Debug, Default)]
struct FileState {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Since the last sync: lengths and pieces, in order.
    unsynced: Vec<Change>,
    operations: u64,
    /// The operation from which on nothing works any more.
    dies_at: Option<u64>,
    /// The one operation that fails.
    fails_at: Option<u64>,
}

#[derive(Debug, Clone)]
enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl FileState {
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        let dead = self.dies_at.is_some_and(|at| self.operations >= at);
        if dead || self.fails_at == Some(self.operations) {
            return Err(io::Error::other("input/output error"));
        }
        Ok(())
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.unsynced.push(change);
    }

    /// What is on the disk after a crash: all that was synced, and of the rest what chance wants, whole or torn.
    fn after_crash(&self, rng: &mut fastrand::Rng) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        for change in &self.unsynced {
            match change {
                Change::Write(at, data) if rng.u8(..) < 85 => {
                    apply(&mut bytes, &Change::Write(*at, data[..rng.usize(..=data.len())].to_vec()));
                }
                Change::Write(..) if rng.bool() => {}
                change => apply(&mut bytes, change),
            }
        }
        bytes
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => bytes.resize(*length, 0),
        Change::Write(at, data) => {
            // A piece behind an end that did not survive has made the file as long again.
            let end = at + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(data);
        }
    }
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        let state = self.0.lock().unwrap();
        let data = state.now.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.operate()?;
        state.change(Change::Length(usize::try_from(length).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.operate()?;
        state.synced = state.now.clone();
        state.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.operate()?;
        state.change(Change::Write(usize::try_from(offset).unwrap(), data.to_vec()));
        Ok(())
    }
}

/// Commits as a run of some blocks makes them, and another run's, which is forgotten.
fn script() -> Vec<Vec<WriteOp>> {
    let run = |number: u128| RunId(Uuid::from_u128(number));
    let accepted = |number| {
        WriteOp::Run(Arc::new(RunRecord {
            id: run(number),
            accepted: Timestamp::UNIX_EPOCH,
            title: String::new(),
            document: Bytes::from(vec![b'x'; 9_000]),
            key: None,
            tasks: Vec::new(),
            edges: Vec::new(),
            recipes: borges_plan::Recipes::default(),
            caching: borges_plan::CacheMode::OptIn,
        }))
    };
    let task = |number, state| {
        WriteOp::Task(TaskRecord {
            id: run(2).task(number),
            state,
            history: History { attempt: 1, ..History::default() },
            agent: Some("a".to_owned()),
            message: None,
            pause: None,
        })
    };
    let ended_event = |seq| {
        let ended = RunEnded { seq, time: Timestamp::UNIX_EPOCH, run: run(2), state: RunState::Finished };
        WriteOp::Events(vec![LoggedEvent::Run(ended)])
    };
    let mut script =
        vec![vec![accepted(1), ended_event(1)], vec![WriteOp::Framework("f".to_owned())], vec![accepted(2)]];
    for number in 1..=6 {
        let launch = run(2).task(number).launch(1);
        script.push(vec![WriteOp::Intents(vec![LaunchIntent { launch, agent: Some("a".to_owned()) }])]);
        let seq = u64::from(number) * 2;
        script.push(vec![task(number, State::Running), ended_event(seq)]);
        script.push(vec![task(number, State::Finished), ended_event(seq + 1)]);
    }
    let ended = RunMarker::Ended { state: RunState::Finished, at: Some(Timestamp::UNIX_EPOCH) };
    script.push(vec![WriteOp::MarkRun(run(2), ended), ended_event(14)]);
    script.push(vec![WriteOp::DeleteRuns(vec![run(1)])]);
    script
}

/// What a store holds after each number of commits.
fn expected(script: &[Vec<WriteOp>]) -> Vec<Snapshot> {
    let mut store = MemoryStore::default();
    let mut contents = vec![store.load().unwrap()];
    for writes in script {
        store.commit(writes).unwrap();
        contents.push(store.load().unwrap());
    }
    contents
}

/// Commits the script to a new store in `file`; how many commits were answered well.
fn commit(file: &File, script: &[Vec<WriteOp>]) -> usize {
    let Ok(mut store) = RedbStore::with_backend(file.clone()) else { return 0 };
    script.iter().take_while(|writes| store.commit(writes).is_ok()).count()
}

/// A store that was large once, made smaller: whatever happens meanwhile, it holds what it held.
#[test]
fn compaction_survives_crashes_at_every_operation() {
    let accepted = |number: u128| {
        let WriteOp::Run(run) = &script()[0][0] else { panic!("a run") };
        let document = Bytes::from(vec![b'x'; 40_000]);
        let id = RunId(Uuid::from_u128(number));
        WriteOp::Run(Arc::new(RunRecord { id, document, ..run.as_ref().clone() }))
    };
    let large = File::default();
    let mut store = RedbStore::with_backend(large.clone()).unwrap();
    for number in 10..30 {
        store.commit(&[accepted(number)]).unwrap();
    }
    for writes in script() {
        store.commit(&writes).unwrap();
    }
    store
        .commit(&[WriteOp::DeleteRuns((10..29).map(|number| RunId(Uuid::from_u128(number))).collect())])
        .unwrap();
    let expected = store.load().unwrap();
    drop(store);
    let bytes = large.0.lock().unwrap().now.clone();
    let compact = |dies_at, fails_at| {
        let state = FileState {
            now: bytes.clone(),
            synced: bytes.clone(),
            dies_at,
            fails_at,
            ..FileState::default()
        };
        let file = File(Arc::new(Mutex::new(state)));
        // Who opens it may be disturbed by it, too.
        if let Ok(mut store) = RedbStore::with_backend(file.clone()) {
            let _ignored = store.compact(bytes.len() as u64);
        }
        file
    };
    let whole = compact(None, None);
    let operations = whole.0.lock().unwrap().operations;
    let after = whole.0.lock().unwrap().now.len();
    assert!(after < bytes.len() / 2, "{after} of {} bytes", bytes.len());
    for at in 1..=operations {
        for chance in 0..3 {
            let dies = (chance > 0).then_some(at);
            let file = compact(dies, (chance == 0).then_some(at));
            let bytes = file.0.lock().unwrap().after_crash(&mut fastrand::Rng::with_seed(at * 4 + chance));
            let survived = File(Arc::new(Mutex::new(FileState {
                now: bytes.clone(),
                synced: bytes,
                ..FileState::default()
            })));
            let contents = RedbStore::with_backend(survived).and_then(|store| store.load());
            assert_eq!(contents.unwrap(), expected, "operation {at}, chance {chance}");
        }
    }
    println!(
        "{operations} operations from {} to {after} bytes, {} crashes and failures",
        bytes.len(),
        operations * 3
    );
}

#[test]
fn commits_survive_crashes_at_every_operation() {
    let script = script();
    let expected = expected(&script);
    let whole = File::default();
    assert_eq!(commit(&whole, &script), script.len());
    let operations = whole.0.lock().unwrap().operations;
    let (mut unopened, mut kept, mut points) = (0, 0, 0);
    for at in 1..=operations {
        for chance in 0..4 {
            let file = File::default();
            if chance == 0 {
                file.0.lock().unwrap().fails_at = Some(at);
            } else {
                file.0.lock().unwrap().dies_at = Some(at);
            }
            let acknowledged = commit(&file, &script);
            let mut rng = fastrand::Rng::with_seed(at * 4 + chance);
            let survived = File::default();
            let bytes = file.0.lock().unwrap().after_crash(&mut rng);
            *survived.0.lock().unwrap() =
                FileState { now: bytes.clone(), synced: bytes, ..FileState::default() };
            points += 1;
            match RedbStore::with_backend(survived) {
                Ok(store) => {
                    let contents = store.load().unwrap();
                    let is_before = contents == expected[acknowledged];
                    let is_after = expected.get(acknowledged + 1).is_some_and(|after| contents == *after);
                    assert!(
                        is_before || is_after,
                        "operation {at}, chance {chance}: {acknowledged} were answered"
                    );
                    kept += usize::from(is_after);
                }
                // Its very making was interrupted: nothing was promised yet.
                Err(error) => {
                    assert_eq!(acknowledged, 0, "operation {at}, chance {chance}: {error}");
                    unopened += 1;
                }
            }
        }
    }
    println!(
        "{operations} operations, {points} crashes and failures: {kept} kept what was not answered, {unopened} were no store yet"
    );
}

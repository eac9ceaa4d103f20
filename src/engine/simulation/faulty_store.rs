//! What survives a life, and the fuse that ends one at a chosen operation.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use borges_store::{
    LoggedEvent, MemoryStore, ResultRecord, Snapshot, Store, StoreError, TaskRecord, WriteOp,
};
use borges_task::{RunId, TaskId};

/// How an operation goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultMode {
    /// The server dies before it.
    CrashBefore,
    /// The server dies after it.
    CrashAfter,
    /// It fails, and says so.
    ReturnError,
}

/// What an operation of the server does to the world outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpOutcome {
    /// It happens.
    Done,
    /// It happens, and nobody hears of it.
    AppliedThenCrashed,
    /// It does not happen, and that is said.
    Failed,
    /// It does not happen, and nobody hears.
    Nothing,
}

/// Counts operations, and ends the life at one of them.
#[derive(Debug, Default)]
pub(super) struct CrashPoint {
    operations: AtomicU64,
    blown: AtomicBool,
    /// The operation, from 1, at which something goes wrong, and what.
    chosen: Mutex<Option<(u64, FaultMode)>>,
    names: Mutex<Vec<String>>,
    pub(super) over: Notify,
}

impl CrashPoint {
    pub(super) fn at(operation: u64, wrong: FaultMode) -> Arc<Self> {
        Arc::new(Self { chosen: Mutex::new(Some((operation, wrong))), ..Self::default() })
    }

    /// From now on nothing reaches the world, as of a process that is dead.
    pub(super) fn trip(&self) {
        self.blown.store(true, SeqCst);
        self.over.notify_one();
    }

    pub(super) fn is_tripped(&self) -> bool {
        self.blown.load(SeqCst)
    }

    /// An operation that the server does now.
    pub(super) fn hit(&self, name: impl FnOnce() -> String) -> OpOutcome {
        if self.is_tripped() {
            return OpOutcome::Nothing;
        }
        let number = self.operations.fetch_add(1, SeqCst) + 1;
        self.names.lock().unwrap().push(name());
        match *self.chosen.lock().unwrap() {
            Some((at, wrong)) if at == number => match wrong {
                FaultMode::CrashBefore => {
                    self.trip();
                    OpOutcome::Nothing
                }
                FaultMode::CrashAfter => {
                    self.trip();
                    OpOutcome::AppliedThenCrashed
                }
                FaultMode::ReturnError => OpOutcome::Failed,
            },
            _ => OpOutcome::Done,
        }
    }

    /// The operations there were, in order.
    pub(super) fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().clone()
    }
}

/// What is durable. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<MemoryStore>>);

impl Disk {
    pub(super) fn store(&self) -> MutexGuard<'_, MemoryStore> {
        self.0.lock().unwrap()
    }
}

/// The store of one life.
#[derive(Debug)]
pub(super) struct FaultyStore {
    pub(super) disk: Disk,
    pub(super) fuse: Arc<CrashPoint>,
}

impl Store for FaultyStore {
    fn commit(&mut self, writes: &[WriteOp]) -> Result<(), StoreError> {
        let failed = || StoreError::Io { operation: "written", reason: "no space left on device".to_owned() };
        match self.fuse.hit(|| name(writes)) {
            OpOutcome::Done => self.disk.store().commit(writes),
            OpOutcome::AppliedThenCrashed => {
                self.disk.store().commit(writes)?;
                Err(failed())
            }
            OpOutcome::Failed | OpOutcome::Nothing => Err(failed()),
        }
    }

    fn load(&self) -> Result<Snapshot, StoreError> {
        self.disk.store().load()
    }

    fn task(&self, task: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.disk.store().task(task)
    }

    fn results(&self, run: RunId) -> Result<Vec<ResultRecord>, StoreError> {
        self.disk.store().results(run)
    }

    fn events(&self, after: u64) -> Result<Vec<LoggedEvent>, StoreError> {
        self.disk.store().events(after)
    }
}

/// What a commit is for, in words.
fn name(writes: &[WriteOp]) -> String {
    let of = |write: &WriteOp| match write {
        WriteOp::Run(_) => "run".to_owned(),
        WriteOp::Intents(intents) => {
            let launch = |launch: borges_task::LaunchId| format!("{}.{}", launch.task.number, launch.attempt);
            let intents: Vec<_> = intents.iter().map(|intent| launch(intent.launch)).collect();
            format!("intent {}", intents.join(" "))
        }
        WriteOp::Task(task) => format!("{} {}", task.id.number, task.state),
        WriteOp::Results(results) => format!("{} results", results.len()),
        WriteOp::MarkRun(_, mark) => format!("{mark:?}"),
        WriteOp::Events(entries) => format!("{} entries", entries.len()),
        WriteOp::Framework(_) => "framework".to_owned(),
        WriteOp::DeleteRuns(runs) => format!("forget {} runs", runs.len()),
    };
    format!("save {}", writes.iter().map(of).collect::<Vec<_>>().join(", "))
}

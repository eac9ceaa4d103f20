//! The disk that survives a crash, and the crash point that ends a server process at a chosen operation.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use borges_store::{
    LoggedEvent, MemoryStore, ResultRecord, Snapshot, Store, StoreError, TaskRecord, WriteOp,
};
use borges_task::{RunId, TaskId};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultMode {
    /// The server crashes before the operation.
    CrashBefore,
    /// The server crashes after the operation.
    CrashAfter,
    /// The operation returns an error.
    ReturnError,
}

/// The outcome of an operation of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpOutcome {
    /// The operation is applied.
    Applied,
    /// The operation is applied, and the server crashes before it learns of it.
    AppliedThenCrashed,
    /// The operation is not applied and returns an error.
    Failed,
    /// The operation is not applied, because the server has crashed.
    Dropped,
}

/// Counts the operations of a server process and fails one of them.
#[derive(Debug, Default)]
pub(super) struct CrashPoint {
    operations: AtomicU64,
    tripped: AtomicBool,
    /// The number of the operation that fails, from 1, and how.
    target: Mutex<Option<(u64, FaultMode)>>,
    operation_names: Mutex<Vec<String>>,
    pub(super) crashed: Notify,
}

impl CrashPoint {
    pub(super) fn at(operation: u64, mode: FaultMode) -> Arc<Self> {
        Arc::new(Self { target: Mutex::new(Some((operation, mode))), ..Self::default() })
    }

    /// Crashes the process: no more operations are applied.
    pub(super) fn trip(&self) {
        self.tripped.store(true, SeqCst);
        self.crashed.notify_one();
    }

    pub(super) fn is_tripped(&self) -> bool {
        self.tripped.load(SeqCst)
    }

    /// Records an operation and returns its outcome.
    pub(super) fn record(&self, name: impl FnOnce() -> String) -> OpOutcome {
        if self.is_tripped() {
            return OpOutcome::Dropped;
        }
        let number = self.operations.fetch_add(1, SeqCst) + 1;
        self.operation_names.lock().unwrap().push(name());
        match *self.target.lock().unwrap() {
            Some((at, mode)) if at == number => match mode {
                FaultMode::CrashBefore => {
                    self.trip();
                    OpOutcome::Dropped
                }
                FaultMode::CrashAfter => {
                    self.trip();
                    OpOutcome::AppliedThenCrashed
                }
                FaultMode::ReturnError => OpOutcome::Failed,
            },
            _ => OpOutcome::Applied,
        }
    }

    /// The names of the operations so far, in order.
    pub(super) fn operation_names(&self) -> Vec<String> {
        self.operation_names.lock().unwrap().clone()
    }
}

/// The disk. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<MemoryStore>>);

impl Disk {
    pub(super) fn store(&self) -> MutexGuard<'_, MemoryStore> {
        self.0.lock().unwrap()
    }
}

/// The store of one server process.
#[derive(Debug)]
pub(super) struct FaultyStore {
    pub(super) disk: Disk,
    pub(super) crash_point: Arc<CrashPoint>,
}

impl Store for FaultyStore {
    fn commit(&mut self, writes: &[WriteOp]) -> Result<(), StoreError> {
        let failed = || StoreError::Io { operation: "written", reason: "no space left on device".to_owned() };
        match self.crash_point.record(|| name(writes)) {
            OpOutcome::Applied => self.disk.store().commit(writes),
            OpOutcome::AppliedThenCrashed => {
                self.disk.store().commit(writes)?;
                Err(failed())
            }
            OpOutcome::Failed | OpOutcome::Dropped => Err(failed()),
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

/// The name of a commit.
fn name(writes: &[WriteOp]) -> String {
    let description = |write: &WriteOp| match write {
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
    format!("save {}", writes.iter().map(description).collect::<Vec<_>>().join(", "))
}

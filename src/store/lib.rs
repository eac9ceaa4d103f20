//! The durable store of runs, launch intents, task states, results and events.
//!
//! Callers commit batches of [`WriteOp`]s, each of them atomically, and load a [`Snapshot`] at a start. The store does
//! not know its callers, nor when they commit.
//!
//! | file | |
//! |---|---|
//! | `record` | the stored records and their encoding |
//! | `event` | the events of the event log |
//! | `retention` | which ended runs have expired (pure) |
//! | `result_cache` | the result cache, which outlives runs |
//! | `check` | the consistency check of a store |
//! | `event_codec` | the encoding of batches of events |
//! | `redb_store` | the store on disk, in a redb file |
//! | `tables` | the tables of the store on disk |
//! | `memory` | the store in memory, for tests and simulations |

mod check;
#[cfg(test)]
mod crash_consistency_tests;
mod event;
mod event_codec;
mod memory;
mod record;
mod redb_store;
mod result_cache;
mod retention;
mod tables;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use check::{CheckReport, check};
pub use event::{LoggedEvent, RunEnded, TaskEvent};
pub use memory::MemoryStore;
pub use record::{
    LaunchIntent, ResultFile, ResultRecord, RunMarker, RunRecord, Snapshot, TaskRecord, WriteOp,
};
pub use redb_store::RedbStore;
pub use result_cache::{Cache, CachedResult};
pub use retention::{EndedRun, expired};

use borges_task::{LaunchId, RunId, TaskId};

/// A durable store.
pub trait Store: Send {
    /// Makes all of `writes` durable, or none. After `Ok` they survive a crash.
    fn commit(&mut self, writes: &[WriteOp]) -> Result<(), StoreError>;

    /// Everything that was committed, except the events.
    fn load(&self) -> Result<Snapshot, StoreError>;

    /// The task as it was committed last; `None` if it never was.
    fn task(&self, task: TaskId) -> Result<Option<TaskRecord>, StoreError>;

    /// The indexed results of a run, in the order of tasks. Does not read the run itself.
    fn results(&self, run: RunId) -> Result<Vec<ResultRecord>, StoreError>;

    /// The next events with sequence numbers above `after`, in order, a batch at a time. Empty at the end.
    fn events(&self, after: u64) -> Result<Vec<LoggedEvent>, StoreError>;
}

/// Why the store could not be opened, read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another Borges has the store open.
    #[error("the store `{path}` is in use by another Borges")]
    InUse {
        /// The store's file.
        path: String,
    },
    /// The file cannot be opened.
    #[error("the store `{path}` cannot be opened: {reason}")]
    CannotOpen {
        /// The store's file.
        path: String,
        /// The error of the file system or of the database.
        reason: String,
    },
    /// The file has the format of a Borges before 0.1.0.
    #[error(
        "the store `{path}` was written by a Borges before 0.1.0, in a format that this one does not read: \
         move the file away, or set another `borges_data`; its runs stay readable by the Borges that wrote it"
    )]
    OlderFormat {
        /// The store's file.
        path: String,
    },
    /// The file has the format of a later Borges.
    #[error(
        "the store `{path}` has format {version}, and this Borges reads format {}: use a newer Borges",
        tables::FORMAT_VERSION
    )]
    NewerFormat {
        /// The store's file.
        path: String,
        /// The version of its format.
        version: u32,
    },
    /// Reading or writing failed: a full disk, a broken one.
    #[error("the store cannot be {operation}: {reason}")]
    Io {
        /// `read` or `written`.
        operation: &'static str,
        /// The error of the file system or of the database.
        reason: String,
    },
    /// A value was written by a later Borges.
    #[error(
        "the store holds a {record} of version {version}, which this Borges cannot read; use a newer one"
    )]
    UnsupportedVersion {
        /// The kind of the value.
        record: &'static str,
        /// The version of the value.
        version: u8,
    },
    /// A value cannot be read.
    #[error("the store holds a {record} that cannot be read: {reason}")]
    Corrupt {
        /// The kind of the value.
        record: &'static str,
        /// How it is damaged.
        reason: String,
    },
}

/// The launch's key in order of runs, tasks, attempts.
fn launch_key(launch: LaunchId) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(launch.task.run.0.as_bytes());
    key[16..20].copy_from_slice(&launch.task.number.to_be_bytes());
    key[20..].copy_from_slice(&launch.attempt.to_be_bytes());
    key
}

//! What must survive: runs, launches that were meant, what became of tasks.
//!
//! A narrow wall: batches of [`WriteOp`]s go in, each wholly or not at all; [`Snapshot`] come out at a start.
//! The room knows nothing of who saves, nor when.
//!
//! | file | |
//! |---|---|
//! | `record` | what is stored, and its bytes, version first |
//! | `event` | what has happened, as it is told |
//! | `retention` | which ended runs are kept no longer (pure) |
//! | `result_cache` | results that are kept beyond their runs |
//! | `foreseen` | which tasks of a document would not be run |
//! | `check` | whether a store is whole |
//! | `event_codec` | entries in the bytes they are stored in |
//! | `redb_store` | on disk, by redb |
//! | `tables` | what lies where in it, and how it gets there |
//! | `memory` | in memory, for tests and simulations |

mod check;
#[cfg(test)]
mod crash_consistency_tests;
mod event;
mod event_codec;
mod foreseen;
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
pub use foreseen::predict_cache_hits;
pub use memory::MemoryStore;
pub use record::{
    LaunchIntent, ResultFile, ResultRecord, RunMarker, RunRecord, Snapshot, TaskRecord, WriteOp,
};
pub use redb_store::RedbStore;
pub use result_cache::{Cache, CachedResult};
pub use retention::{EndedRun, expired};

use borges_task::{LaunchId, RunId, TaskId};

/// Keeps what must survive.
pub trait Store: Send {
    /// Makes all of `writes` durable, or none; when it returns well, they survive a crash.
    fn commit(&mut self, writes: &[WriteOp]) -> Result<(), StoreError>;

    /// Everything that was committed, but the entries.
    fn load(&self) -> Result<Snapshot, StoreError>;

    /// The task as it was committed last; `None` if it never was.
    fn task(&self, task: TaskId) -> Result<Option<TaskRecord>, StoreError>;

    /// What the ended tasks of a run have left, in order, as far as that is known; without reading the run.
    fn results(&self, run: RunId) -> Result<Vec<ResultRecord>, StoreError>;

    /// Entries with numbers above `after`, in order: the next ones there are, some at a time; none at the end.
    fn entries(&self, after: u64) -> Result<Vec<LoggedEvent>, StoreError>;
}

/// Why something could not be saved or read.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another Borges has the store open.
    #[error("the store `{path}` is in use by another Borges")]
    InUse {
        /// The store's file.
        path: String,
    },
    /// The file cannot be opened.
    #[error("the store `{path}` cannot be opened: {why}")]
    CannotOpen {
        /// The store's file.
        path: String,
        /// What the file system, or the database, says.
        why: String,
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
    #[error("the store cannot be {doing}: {why}")]
    Io {
        /// `read` or `written`.
        doing: &'static str,
        /// What the file system, or the database, says.
        why: String,
    },
    /// A value was written by a later Borges.
    #[error("the store holds a {what} of version {version}, which this Borges cannot read; use a newer one")]
    UnsupportedVersion {
        /// What the value is.
        what: &'static str,
        /// The version it has.
        version: u8,
    },
    /// A value cannot be read.
    #[error("the store holds a {what} that cannot be read: {why}")]
    Corrupt {
        /// What the value is.
        what: &'static str,
        /// How it is damaged.
        why: String,
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

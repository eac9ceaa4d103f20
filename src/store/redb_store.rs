//! The store on disk, by redb: one file, one writer, a commit is an fsync.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use redb::{Database, DatabaseError};

use super::tables::{self, AccessError, FORMAT_VERSION, Format};
use super::{LoggedEvent, ResultRecord, Snapshot, Store, StoreError, TaskRecord, WriteOp};
use borges_task::{RunId, TaskId};

/// Pages kept in memory, bytes: what is written is seldom read again.
const PAGE_CACHE_LEN: usize = 16 << 20;

/// Less than this is left free in a file, bytes.
#[cfg(not(test))]
const MIN_FREE_BYTES: u64 = 16 << 20;
#[cfg(test)]
const MIN_FREE_BYTES: u64 = 64 << 10;

/// A store in a file.
#[derive(Debug)]
pub struct RedbStore {
    database: Database,
}

impl RedbStore {
    /// Opens the store in the file `path`; makes it where there is none. Where most of it is free, it is made smaller.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // Of a file that was cut to nothing all is lost: that must not pass for a beginning.
        if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
            let reason = "it is empty; if nothing of it is missed, remove it".to_owned();
            return Err(StoreError::CannotOpen { path: path.display().to_string(), reason });
        }
        let is_new = !path.exists();
        let open = || Database::builder().set_cache_size(PAGE_CACHE_LEN).create(path);
        let mut store = Self { database: open_database(path, open)? };
        store.require_format(path)?;
        if is_new {
            // What is committed is of no use in a file that a crash has left without a name.
            let not_durable = |error: io::Error| StoreError::CannotOpen {
                path: path.display().to_string(),
                reason: format!("its directory cannot be saved: {error}"),
            };
            let directory = path.parent().filter(|parent| *parent != Path::new(""));
            File::open(directory.unwrap_or(Path::new(".")))
                .and_then(|it| it.sync_all())
                .map_err(not_durable)?;
            return Ok(store);
        }
        let size = || std::fs::metadata(path).map_or(0, |file| file.len());
        let before = size();
        match store.compact(before) {
            Ok(false) => {}
            Ok(true) => log::info!("the store was {} MiB, and is {} MiB now", before >> 20, size() >> 20),
            Err(error) => {
                // It is as it was, but for a database that has seen an error and does nothing more.
                log::warn!("the store is not made smaller: {error}");
                drop(store);
                store = Self { database: open_database(path, open)? };
            }
        }
        Ok(store)
    }

    /// Makes a file of `size` bytes smaller where that is worth the while.
    ///
    /// redb cuts off what is free at a file's end, but what lies there stays where it is.
    pub(super) fn compact(&mut self, size: u64) -> Result<bool, StoreError> {
        let free = self.free_bytes(size)?;
        if free < MIN_FREE_BYTES || free < size / 2 {
            return Ok(false);
        }
        let write_error = |reason| StoreError::Io { operation: "written", reason };
        match catch_unwind(AssertUnwindSafe(|| self.database.compact())) {
            Ok(compacted) => compacted.map_err(|error| write_error(error.to_string())),
            Err(_) => Err(write_error("it is damaged".to_owned())),
        }
    }

    /// How many bytes of a file of `size` are free.
    pub(super) fn free_bytes(&self, size: u64) -> Result<u64, StoreError> {
        let free = || -> Result<u64, AccessError> {
            let stats = self.database.begin_write()?.stats()?;
            Ok(size.saturating_sub(stats.allocated_pages().saturating_mul(stats.page_size() as u64)))
        };
        free().map_err(|error| error.context("read"))
    }

    /// Opens the store in the file `path`, which must be there, and looks at all of it; `true` when it had not been
    /// closed, and was repaired.
    pub(super) fn open_and_check(path: &Path) -> Result<(Self, bool), StoreError> {
        let repaired = Arc::new(AtomicBool::new(false));
        let repair_flag = repaired.clone();
        let mut builder = Database::builder();
        builder.set_cache_size(PAGE_CACHE_LEN).set_repair_callback(move |_| repair_flag.store(true, Relaxed));
        let database = open_database(path, || {
            let mut database = builder.open(path)?;
            database.check_integrity()?;
            Ok(database)
        })?;
        let store = Self { database };
        store.require_format(path)?;
        Ok((store, repaired.load(Relaxed)))
    }

    /// A store in something that stands in for a file.
    #[cfg(test)]
    pub(super) fn with_backend(backend: impl redb::StorageBackend) -> Result<Self, StoreError> {
        let path = Path::new("a file in memory");
        let open = || Database::builder().set_cache_size(PAGE_CACHE_LEN).create_with_backend(backend);
        let store = Self { database: open_database(path, open)? };
        store.require_format(path)?;
        Ok(store)
    }

    /// Marks an empty store with the format; refuses one of another format, and leaves it as it is.
    fn require_format(&self, path: &Path) -> Result<(), StoreError> {
        let path = || path.display().to_string();
        match catch_corruption(|| tables::format(&self.database)).map_err(|error| error.context("read"))? {
            Format::Version(FORMAT_VERSION) => Ok(()),
            Format::Empty => tables::write_format(&self.database).map_err(|error| error.context("written")),
            Format::Version(version) => Err(StoreError::NewerFormat { path: path(), version }),
            Format::Unmarked => Err(StoreError::OlderFormat { path: path() }),
        }
    }
}

impl Store for RedbStore {
    fn commit(&mut self, writes: &[WriteOp]) -> Result<(), StoreError> {
        tables::write(&self.database, writes).map_err(|error| error.context("written"))
    }

    fn load(&self) -> Result<Snapshot, StoreError> {
        catch_corruption(|| tables::read(&self.database)).map_err(|error| error.context("read"))
    }

    fn task(&self, task: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        tables::read_task(&self.database, task).map_err(|error| error.context("read"))
    }

    fn results(&self, run: RunId) -> Result<Vec<ResultRecord>, StoreError> {
        tables::read_results(&self.database, run).map_err(|error| error.context("read"))
    }

    fn events(&self, after: u64) -> Result<Vec<LoggedEvent>, StoreError> {
        tables::read_events(&self.database, after).map_err(|error| error.context("read"))
    }
}

/// Reads from a database. A damaged page can make the database's own code panic: that is an error, too.
fn catch_corruption<T>(read: impl FnOnce() -> Result<T, AccessError>) -> Result<T, AccessError> {
    let corrupt =
        |_| Err(AccessError::Value(StoreError::Corrupt { record: "page", reason: "it is torn".to_owned() }));
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(corrupt)
}

/// A database, or why there is none. What is damaged can make the database's own code panic: that is an answer, too.
fn open_database(
    path: &Path,
    open: impl FnOnce() -> Result<Database, DatabaseError>,
) -> Result<Database, StoreError> {
    let display_path = || path.display().to_string();
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => Err(StoreError::InUse { path: display_path() }),
        Ok(Err(error)) => Err(StoreError::CannotOpen { path: display_path(), reason: error.to_string() }),
        Err(_) => Err(StoreError::CannotOpen { path: display_path(), reason: "it is damaged".to_owned() }),
    }
}

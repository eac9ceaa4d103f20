//! The result cache: results by cache key, one file each, shared by all processes that use one state directory.
//!
//! A file is renamed into place, and ends with a hash of its content. It is not synced, because a torn file is a cache
//! miss. Results that were not used for the retention time are evicted, the least recently used first.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::VersionedRecord;
use borges_plan::{CacheKey, CachedOutput};
use borges_task::RunId;

/// What a block left that ended well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedResult {
    /// The run it was run in.
    pub run: RunId,
    /// The block's name there.
    pub block: Arc<str>,
    /// The block's line there.
    pub line: u32,
    /// When it ended.
    pub at: Timestamp,
    /// What it printed.
    pub stdout: Bytes,
    /// Its value, where it left one.
    pub value: Option<Bytes>,
}

impl VersionedRecord for CachedResult {
    const NAME: &'static str = "kept result";
}

impl CachedResult {
    /// Where it comes from, for a person.
    pub fn origin(&self) -> String {
        let Self { run, block, line, at, .. } = self;
        format!("cached from run {run} (`{block}`, line {line}, {at:.0})")
    }
}

/// The files.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

/// Bytes of the hash at a file's end.
const HASH_LEN: usize = 32;

impl Cache {
    /// That of the state directory `data`, where it is made when something is kept.
    pub fn new(data: &Path) -> Self {
        Self { directory: data.join("results") }
    }

    fn path(&self, key: &CacheKey) -> PathBuf {
        let name = key.to_string();
        self.directory.join(&name[..2]).join(name)
    }

    /// What is kept under `key`; what cannot be read is not there. `now`: somebody wants it, so that it stays.
    pub fn get(&self, key: &CacheKey, now: Option<Timestamp>) -> Option<CachedResult> {
        let path = self.path(key);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    log::warn!("{}: {error}", path.display());
                }
                return None;
            }
        };
        let (cached, hash) = bytes.split_last_chunk::<HASH_LEN>()?;
        if *hash != <[u8; HASH_LEN]>::from(Sha256::digest(cached)) {
            log::warn!("{}: it is torn", path.display());
            return None;
        }
        if let Some(now) = now {
            let touched = File::open(&path).and_then(|file| file.set_modified(now.into()));
            if let Err(error) = touched {
                log::debug!("{}: {error}", path.display());
            }
        }
        // Written by a later Borges, it is none of ours.
        CachedResult::from_bytes(cached).map_err(|error| log::debug!("{}: {error}", path.display())).ok()
    }

    /// The output under `key`, for a prediction: it does not count as a use.
    pub fn peek(&self, key: &CacheKey) -> Option<CachedOutput> {
        let cached = self.get(key, None)?;
        let origin = cached.origin();
        Some(CachedOutput { stdout: cached.stdout, value: cached.value, origin })
    }

    /// Keeps this under `key`, in place of what may be there.
    pub fn insert(&self, key: &CacheKey, cached: &CachedResult) -> io::Result<()> {
        let path = self.path(key);
        let Some(directory) = path.parent() else { return Ok(()) };
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let bytes = cached.to_bytes().map_err(io::Error::other)?;
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(directory)?;
        file.write_all(&bytes)?;
        file.write_all(&Sha256::digest(&bytes))?;
        file.persist(&path)?;
        Ok(())
    }

    /// Removes what nobody has asked for longer than `time`, and then, the longest unasked first, what is more than
    /// `bytes`; how many files.
    pub fn evict(&self, time: Duration, bytes: u64, now: Timestamp) -> io::Result<usize> {
        let mut files: Vec<(Timestamp, u64, PathBuf)> = Vec::new();
        let directories = match fs::read_dir(&self.directory) {
            Ok(directories) => directories,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        for directory in directories {
            for file in fs::read_dir(directory?.path())? {
                let file = file?;
                // Another Borges may have removed it meanwhile.
                let Ok(metadata) = file.metadata() else { continue };
                let at = metadata.modified().ok().and_then(|at| at.try_into().ok()).unwrap_or_default();
                files.push((at, metadata.len(), file.path()));
            }
        }
        files.sort_unstable();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        let mut removed = 0;
        for (at, size, path) in files {
            let age = Duration::try_from(now.duration_since(at)).unwrap_or_default();
            if age <= time && total <= bytes {
                break;
            }
            total -= size;
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => removed += 1,
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn cached(stdout: &'static str) -> CachedResult {
        CachedResult {
            run: RunId(Uuid::from_u128(7)),
            block: "b".into(),
            line: 2,
            at: Timestamp::UNIX_EPOCH,
            stdout: stdout.into(),
            value: None,
        }
    }

    #[test]
    fn torn_results_are_cache_misses() {
        let data = tempfile::tempdir().unwrap();
        let (cache, key, now) = (Cache::new(data.path()), CacheKey([7; 32]), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(cache.get(&key, now), None);
        cache.insert(&key, &cached("one")).unwrap();
        cache.insert(&key, &cached("two")).unwrap();
        assert_eq!(cache.get(&key, now), Some(cached("two")));
        assert_eq!(cache.get(&CacheKey([8; 32]), now), None);
        let path = cache.path(&key);
        let whole = fs::read(&path).unwrap();
        for torn in [&whole[..0], &whole[..whole.len() - 1], &[&whole[..9], b"x", &whole[10..]].concat()] {
            fs::write(&path, torn).unwrap();
            assert_eq!(cache.get(&key, now), None);
        }
    }

    /// Bytes as version 1 wrote them; they must be read for ever.
    #[test]
    fn results_of_version_1_are_read() {
        let run = [16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        let bytes = [&[1][..], &run, &[1, b'b', 2, 20], b"1970-01-01T00:00:00Z", &[3], b"two", &[0]].concat();
        assert_eq!(CachedResult::from_bytes(&bytes).unwrap(), cached("two"));
    }

    #[test]
    fn least_recently_used_results_are_evicted() {
        let data = tempfile::tempdir().unwrap();
        let cache = Cache::new(data.path());
        let hour = |n: i64| Timestamp::from_second(n * 3600).unwrap();
        let key = |n: i64| CacheKey([u8::try_from(n).unwrap(); 32]);
        for n in 1..=4 {
            cache.insert(&key(n), &cached("x")).unwrap();
            assert!(cache.get(&key(n), Some(hour(n))).is_some());
        }
        let stored =
            |cache: &Cache| (1..=4).filter(|n| cache.get(&key(*n), None).is_some()).collect::<Vec<_>>();
        let size = fs::metadata(cache.path(&key(1))).unwrap().len();
        let hours = |n: u64| Duration::from_secs(n * 3600);
        assert_eq!(cache.evict(hours(9), 4 * size, hour(5)).unwrap(), 0);
        cache.evict(hours(3), 4 * size, hour(5)).unwrap();
        assert_eq!(stored(&cache), [2, 3, 4]);
        cache.get(&key(2), Some(hour(5)));
        cache.evict(hours(9), 2 * size, hour(5)).unwrap();
        assert_eq!(stored(&cache), [2, 4]);
    }
}

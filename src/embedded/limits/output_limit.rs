//! Output limits: measures a block's output streams, truncates them at its end, and frees the old part of a service's
//! streams.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FallocateFlags, OFlags, fallocate};

use crate::launch_spec::{OutputLimit, TAIL_BYTES};
use crate::model::{LimitExceeded, Stream};

/// The shortest interval between two checks.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Holes are multiples of this many bytes, so that they are aligned to the blocks of file systems.
const HOLE_BYTES: u64 = 1 << 20;

/// The state of a running block's output checks.
#[derive(Debug, Default)]
pub(crate) struct OutputWatcher {
    /// Bytes at the beginning of each stream that are freed.
    freed: [u64; 2],
}

/// The result of a check.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OutputCheck {
    /// The block has written more than its limit.
    Exceeded(LimitExceeded),
    /// The output is within its limit; the next check is due after this time.
    Within(Duration),
}

impl OutputWatcher {
    /// The longest interval between two checks.
    pub(crate) const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(1);

    /// Checks the streams of a sandbox, and frees the old part of a service's streams.
    pub(crate) fn check(&mut self, sandbox: &Path, output: OutputLimit) -> OutputCheck {
        let mut interval = Self::MAX_CHECK_INTERVAL;
        for (stream, freed) in Stream::BOTH.into_iter().zip(&mut self.freed) {
            let size = size(sandbox, stream);
            match output {
                OutputLimit::Unlimited => {}
                OutputLimit::Capped(max) if size > max => {
                    return OutputCheck::Exceeded(LimitExceeded::Output(stream, max));
                }
                OutputLimit::Capped(max) => interval = interval.min(time_to_write(max - size)),
                OutputLimit::Tail => {
                    let end = size.saturating_sub(TAIL_BYTES) / HOLE_BYTES * HOLE_BYTES;
                    if end > *freed {
                        match punch_hole(&sandbox.join(stream.file()), *freed, end) {
                            Ok(()) => *freed = end,
                            Err(error) => {
                                log::warn!(
                                    "what {} has written cannot be given back: {error}",
                                    sandbox.display()
                                );
                                // Not retried until another hole's worth of output is written.
                                *freed = end;
                            }
                        }
                    }
                }
            }
        }
        OutputCheck::Within(interval)
    }
}

/// Truncates the streams of an ended block to their limit. Returns the first stream's limit that was exceeded.
pub(super) fn truncate(sandbox: &Path, output: OutputLimit) -> Option<LimitExceeded> {
    let OutputLimit::Capped(max) = output else { return None };
    let mut exceeded = None;
    for stream in Stream::BOTH {
        if size(sandbox, stream) > max {
            exceeded.get_or_insert(LimitExceeded::Output(stream, max));
            if let Err(error) = open(&sandbox.join(stream.file())).and_then(|file| file.set_len(max)) {
                log::warn!("`{}` in {} cannot be cut off: {error}", stream.file(), sandbox.display());
            }
        }
    }
    exceeded
}

/// The size of a stream's file in bytes; 0 if it does not exist.
fn size(sandbox: &Path, stream: Stream) -> u64 {
    rustix::fs::lstat(sandbox.join(stream.file()))
        .map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or_default())
}

/// The shortest time in which a block could write `bytes`, at 1 GB/s.
fn time_to_write(bytes: u64) -> Duration {
    Duration::from_nanos(bytes).max(MIN_CHECK_INTERVAL)
}

/// Opens a file for writing; fails if the block has replaced it by a symbolic link.
fn open(file: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    OpenOptions::new().write(true).custom_flags(flags).open(file)
}

/// Frees the bytes of a file from `from` to `to`: they read as zeros, and the other bytes keep their offsets.
fn punch_hole(file: &Path, from: u64, to: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(open(file)?, flags, from, to - from)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn sandbox() -> tempfile::TempDir {
        let sandbox = tempfile::tempdir().unwrap();
        std::fs::create_dir(sandbox.path().join("block")).unwrap();
        for stream in Stream::BOTH {
            std::fs::write(sandbox.path().join(stream.file()), "").unwrap();
        }
        sandbox
    }

    #[test]
    fn streams_over_their_limit_are_found_and_truncated() {
        let sandbox = sandbox();
        std::fs::write(sandbox.path().join("block/stderr"), "12345").unwrap();
        let check = |max| OutputWatcher::default().check(sandbox.path(), OutputLimit::Capped(max));
        assert_eq!(check(5), OutputCheck::Within(MIN_CHECK_INTERVAL));
        assert_eq!(check(1 << 40), OutputCheck::Within(OutputWatcher::MAX_CHECK_INTERVAL));
        let exceeded = LimitExceeded::Output(Stream::Stderr, 4);
        assert_eq!(check(4), OutputCheck::Exceeded(exceeded));
        assert_eq!(truncate(sandbox.path(), OutputLimit::Capped(5)), None);
        assert_eq!(truncate(sandbox.path(), OutputLimit::Capped(4)), Some(exceeded));
        assert_eq!(std::fs::read(sandbox.path().join("block/stderr")).unwrap(), b"1234");
        // Files outside of the sandbox are not truncated.
        let elsewhere = sandbox.path().join("elsewhere");
        std::fs::write(&elsewhere, "12345").unwrap();
        std::fs::remove_file(sandbox.path().join("block/stdout")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", sandbox.path().join("block/stdout")).unwrap();
        truncate(sandbox.path(), OutputLimit::Capped(1));
        assert_eq!(std::fs::read(&elsewhere).unwrap(), b"12345");
    }

    #[test]
    fn services_keep_the_tail_of_their_output_at_its_offset() {
        let sandbox = sandbox();
        let file = sandbox.path().join("block/stdout");
        let size = TAIL_BYTES + 5 * HOLE_BYTES + 17;
        let bytes: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251 + 1).unwrap()).collect();
        std::fs::write(&file, &bytes).unwrap();
        let mut watcher = OutputWatcher::default();
        for _ in 0..2 {
            assert_eq!(
                watcher.check(sandbox.path(), OutputLimit::Tail),
                OutputCheck::Within(OutputWatcher::MAX_CHECK_INTERVAL)
            );
            let content = std::fs::read(&file).unwrap();
            let first = usize::try_from(5 * HOLE_BYTES).unwrap();
            assert!(content[..first].iter().all(|byte| *byte == 0) && content[first..] == bytes[first..]);
            assert!(std::fs::metadata(&file).unwrap().blocks() * 512 <= TAIL_BYTES + 2 * HOLE_BYTES);
        }
    }
}

//! How much a block has written, and what is done about too much of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FallocateFlags, OFlags, fallocate};

use super::{LimitExceeded, OutputLimit, Stream, TAIL_BYTES};

/// How often at most.
const SHORTEST_LOOK: Duration = Duration::from_millis(50);
/// Holes are punched of so many bytes at least, and begin and end where blocks of file systems do.
const HOLE: u64 = 1 << 20;

/// What a running block has written, as it was seen last.
#[derive(Debug, Default)]
pub(crate) struct OutputWatcher {
    /// Bytes at the beginning of each stream that were given back.
    freed: [u64; 2],
}

/// What a look at them has found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OutputCheck {
    /// More than is allowed.
    Excess(LimitExceeded),
    /// Nothing that matters; to be looked at again after this time.
    Well(Duration),
}

impl OutputWatcher {
    /// How often what a block has written is looked at, at least.
    pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(1);

    /// Looks at the streams in a sandbox: gives back what a service need not keep.
    pub(crate) fn check(&mut self, sandbox: &Path, output: OutputLimit) -> OutputCheck {
        let mut again = Self::CHECK_INTERVAL;
        for (stream, freed) in Stream::BOTH.into_iter().zip(&mut self.freed) {
            let size = size(sandbox, stream);
            match output {
                OutputLimit::Unlimited => {}
                OutputLimit::Capped(most) if size > most => {
                    return OutputCheck::Excess(LimitExceeded::Output(stream, most));
                }
                OutputLimit::Capped(most) => again = again.min(time_to_write(most - size)),
                OutputLimit::Tail => {
                    let end = size.saturating_sub(TAIL_BYTES) / HOLE * HOLE;
                    if end > *freed {
                        match punch(&sandbox.join(stream.file()), *freed, end) {
                            Ok(()) => *freed = end,
                            Err(error) => {
                                log::warn!(
                                    "what {} has written cannot be given back: {error}",
                                    sandbox.display()
                                );
                                // Not tried again before as much more was written.
                                *freed = end;
                            }
                        }
                    }
                }
            }
        }
        OutputCheck::Well(again)
    }
}

/// At the end of a block: cuts its streams off where they may be no longer; whether one was.
pub(super) fn truncate(sandbox: &Path, output: OutputLimit) -> Option<LimitExceeded> {
    let OutputLimit::Capped(most) = output else { return None };
    let mut excess = None;
    for stream in Stream::BOTH {
        if size(sandbox, stream) > most {
            excess.get_or_insert(LimitExceeded::Output(stream, most));
            if let Err(error) = open(&sandbox.join(stream.file())).and_then(|file| file.set_len(most)) {
                log::warn!("`{}` in {} cannot be cut off: {error}", stream.file(), sandbox.display());
            }
        }
    }
    excess
}

fn size(sandbox: &Path, stream: Stream) -> u64 {
    rustix::fs::lstat(sandbox.join(stream.file()))
        .map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or_default())
}

/// How long a block needs at least to write so much, a gigabyte a second.
fn time_to_write(bytes: u64) -> Duration {
    Duration::from_nanos(bytes).max(SHORTEST_LOOK)
}

/// Not through a link that a block has put in its place.
fn open(file: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    OpenOptions::new().write(true).custom_flags(flags).open(file)
}

/// Gives back the bytes of a file from `from` to `to`: they read as zeros from then on, and all others keep their
/// places.
fn punch(file: &Path, from: u64, to: u64) -> io::Result<()> {
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
    fn what_is_too_much_is_found_and_cut_off() {
        let sandbox = sandbox();
        std::fs::write(sandbox.path().join("block/stderr"), "12345").unwrap();
        let look = |most| OutputWatcher::default().check(sandbox.path(), OutputLimit::Capped(most));
        assert_eq!(look(5), OutputCheck::Well(SHORTEST_LOOK));
        assert_eq!(look(1 << 40), OutputCheck::Well(OutputWatcher::CHECK_INTERVAL));
        let excess = LimitExceeded::Output(Stream::Stderr, 4);
        assert_eq!(look(4), OutputCheck::Excess(excess));
        assert_eq!(truncate(sandbox.path(), OutputLimit::Capped(5)), None);
        assert_eq!(truncate(sandbox.path(), OutputLimit::Capped(4)), Some(excess));
        assert_eq!(std::fs::read(sandbox.path().join("block/stderr")).unwrap(), b"1234");
        // What does not lie in the sandbox is not cut.
        let elsewhere = sandbox.path().join("elsewhere");
        std::fs::write(&elsewhere, "12345").unwrap();
        std::fs::remove_file(sandbox.path().join("block/stdout")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", sandbox.path().join("block/stdout")).unwrap();
        truncate(sandbox.path(), OutputLimit::Capped(1));
        assert_eq!(std::fs::read(&elsewhere).unwrap(), b"12345");
    }

    #[test]
    fn a_service_keeps_its_last_words_where_they_were() {
        let sandbox = sandbox();
        let file = sandbox.path().join("block/stdout");
        let whole = TAIL_BYTES + 5 * HOLE + 17;
        let bytes: Vec<u8> = (0..whole).map(|n| u8::try_from(n % 251 + 1).unwrap()).collect();
        std::fs::write(&file, &bytes).unwrap();
        let mut streams = OutputWatcher::default();
        for _ in 0..2 {
            assert_eq!(
                streams.check(sandbox.path(), OutputLimit::Tail),
                OutputCheck::Well(OutputWatcher::CHECK_INTERVAL)
            );
            let now = std::fs::read(&file).unwrap();
            let first = usize::try_from(5 * HOLE).unwrap();
            assert!(now[..first].iter().all(|byte| *byte == 0) && now[first..] == bytes[first..]);
            assert!(std::fs::metadata(&file).unwrap().blocks() * 512 <= TAIL_BYTES + 2 * HOLE);
        }
    }
}

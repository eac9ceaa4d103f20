//! How much a block has written, and what is done about too much of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FallocateFlags, OFlags, fallocate};

use super::{Excess, KEPT, Output, Stream};

/// How often at most.
const SHORTEST_LOOK: Duration = Duration::from_millis(50);
/// Holes are punched of so many bytes at least, and begin and end where blocks of file systems do.
const HOLE: u64 = 1 << 20;

/// What a running block has written, as it was seen last.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Bytes at the beginning of each stream that were given back.
    freed: [u64; 2],
}

/// What a look at them has found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// More than is allowed.
    Excess(Excess),
    /// Nothing that matters; to be looked at again after this time.
    Well(Duration),
}

impl Streams {
    /// How often what a block has written is looked at, at least.
    pub(crate) const LOOK: Duration = Duration::from_secs(1);

    /// Looks at the streams in a sandbox: gives back what a service need not keep.
    pub(crate) fn look(&mut self, sandbox: &Path, output: Output) -> Found {
        let mut again = Self::LOOK;
        for (stream, freed) in Stream::BOTH.into_iter().zip(&mut self.freed) {
            let size = size(sandbox, stream);
            match output {
                Output::Unlimited => {}
                Output::Whole(most) if size > most => return Found::Excess(Excess::Output(stream, most)),
                Output::Whole(most) => again = again.min(time_to_write(most - size)),
                Output::Last => {
                    let end = size.saturating_sub(KEPT) / HOLE * HOLE;
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
        Found::Well(again)
    }
}

/// At the end of a block: cuts its streams off where they may be no longer; whether one was.
pub(super) fn cut(sandbox: &Path, output: Output) -> Option<Excess> {
    let Output::Whole(most) = output else { return None };
    let mut excess = None;
    for stream in Stream::BOTH {
        if size(sandbox, stream) > most {
            excess.get_or_insert(Excess::Output(stream, most));
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
        let look = |most| Streams::default().look(sandbox.path(), Output::Whole(most));
        assert_eq!(look(5), Found::Well(SHORTEST_LOOK));
        assert_eq!(look(1 << 40), Found::Well(Streams::LOOK));
        let excess = Excess::Output(Stream::Stderr, 4);
        assert_eq!(look(4), Found::Excess(excess));
        assert_eq!(cut(sandbox.path(), Output::Whole(5)), None);
        assert_eq!(cut(sandbox.path(), Output::Whole(4)), Some(excess));
        assert_eq!(std::fs::read(sandbox.path().join("block/stderr")).unwrap(), b"1234");
        // What does not lie in the sandbox is not cut.
        let elsewhere = sandbox.path().join("elsewhere");
        std::fs::write(&elsewhere, "12345").unwrap();
        std::fs::remove_file(sandbox.path().join("block/stdout")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", sandbox.path().join("block/stdout")).unwrap();
        cut(sandbox.path(), Output::Whole(1));
        assert_eq!(std::fs::read(&elsewhere).unwrap(), b"12345");
    }

    #[test]
    fn a_service_keeps_its_last_words_where_they_were() {
        let sandbox = sandbox();
        let file = sandbox.path().join("block/stdout");
        let whole = KEPT + 5 * HOLE + 17;
        let bytes: Vec<u8> = (0..whole).map(|n| u8::try_from(n % 251 + 1).unwrap()).collect();
        std::fs::write(&file, &bytes).unwrap();
        let mut streams = Streams::default();
        for _ in 0..2 {
            assert_eq!(streams.look(sandbox.path(), Output::Last), Found::Well(Streams::LOOK));
            let now = std::fs::read(&file).unwrap();
            let first = usize::try_from(5 * HOLE).unwrap();
            assert!(now[..first].iter().all(|byte| *byte == 0) && now[first..] == bytes[first..]);
            assert!(std::fs::metadata(&file).unwrap().blocks() * 512 <= KEPT + 2 * HOLE);
        }
    }
}

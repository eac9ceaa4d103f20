//! What a launch may use: memory that the kernel enforces, output that is bounded.
//!
//! | file | |
//! |---|---|
//! | `mod` | the limits of a launch, and how they are gone beyond (pure) |
//! | `cgroup_mounts` | where control groups of memory may be made (pure) |
//! | `cgroup` | control groups, made and asked |
//! | `exec_in_cgroup` | the way of a block into its group |
//! | `output_limit` | how much a block has written; what is cut off, and what is given back |
//! | `finish` | what is to be seen to when a block has ended |

mod cgexec;
mod cgroup;
mod cgroup_mounts;
mod finish;
mod output_limit;

use std::fmt;

pub(super) use cgexec::{ENTER, exec_in_cgroup};
pub(super) use cgroup::{Cgroup, CgroupRoot};
pub(super) use finish::check_at_exit;
pub(super) use output_limit::{OutputCheck, OutputWatcher};

/// Bytes of each stream of a service that are kept, at least.
pub(crate) const TAIL_BYTES: u64 = 20 << 20;

/// What a launch may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    /// MiB, where the document asked for so much.
    pub(crate) memory: Option<u64>,
    pub(crate) output: OutputLimit,
}

/// How much of each stream of a block is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OutputLimit {
    /// All, however much.
    #[default]
    Unlimited,
    /// All; with more than so many bytes the block fails.
    Capped(u64),
    /// The last [`TAIL_BYTES`] bytes: it may write for ever.
    Tail,
}

/// A limit that was gone beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitExceeded {
    /// So many MiB.
    Memory(u64),
    /// So many bytes of one of its streams.
    Output(Stream, u64),
}

/// What a block writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(crate) const BOTH: [Self; 2] = [Self::Stdout, Self::Stderr];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// Its file, seen from the sandbox.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Stdout => "block/stdout",
            Self::Stderr => "block/stderr",
        }
    }
}

/// For those who come after: `memory 64 whole 1073741824`.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mib) = self.memory {
            write!(f, "memory {mib} ")?;
        }
        match self.output {
            OutputLimit::Unlimited => Ok(()),
            OutputLimit::Capped(bytes) => write!(f, "whole {bytes}"),
            OutputLimit::Tail => write!(f, "last {TAIL_BYTES}"),
        }
    }
}

impl Limits {
    /// Reads what is written for those who come after; what is not understood is no limit.
    pub(crate) fn read(text: &str) -> Self {
        let mut limits = Self::default();
        let mut words = text.split_ascii_whitespace();
        while let (Some(word), Some(amount)) = (words.next(), words.next()) {
            match (word, amount.parse()) {
                ("memory", Ok(mib)) => limits.memory = Some(mib),
                ("whole", Ok(bytes)) => limits.output = OutputLimit::Capped(bytes),
                ("last", Ok(_)) => limits.output = OutputLimit::Tail,
                _ => {}
            }
        }
        limits
    }
}

/// As Mesos puts it where Mesos has the limit, too.
impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(mib) => write!(f, "Memory limit exceeded: Requested: {mib}MB"),
            Self::Output(stream, bytes) => {
                write!(
                    f,
                    "it wrote more to its {} than `borges_max_output` allows: {bytes} bytes",
                    stream.name()
                )
            }
        }
    }
}

impl LimitExceeded {
    /// For those who come after: `memory 64`, `stdout 1073741824`.
    pub(crate) fn to_text(self) -> String {
        match self {
            Self::Memory(mib) => format!("memory {mib}"),
            Self::Output(stream, bytes) => format!("{} {bytes}", stream.name()),
        }
    }

    /// Reads [`Self::to_text`].
    pub(crate) fn parse(note: &str) -> Option<Self> {
        let (word, amount) = note.trim_end().split_once(' ')?;
        let amount = amount.parse().ok()?;
        if word == "memory" {
            return Some(Self::Memory(amount));
        }
        let stream = Stream::BOTH.into_iter().find(|stream| stream.name() == word)?;
        Some(Self::Output(stream, amount))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_excesses_come_back_from_their_texts() {
        for memory in [None, Some(64)] {
            for output in [OutputLimit::Unlimited, OutputLimit::Capped(1 << 30), OutputLimit::Tail] {
                let limits = Limits { memory, output };
                assert_eq!(Limits::read(&limits.to_string()), limits);
            }
        }
        assert_eq!(Limits::read("memory much whole"), Limits::default());
        for excess in [LimitExceeded::Memory(64), LimitExceeded::Output(Stream::Stderr, 7)] {
            assert_eq!(LimitExceeded::parse(&excess.to_text()), Some(excess));
        }
        assert_eq!(LimitExceeded::parse("killed\n"), None);
    }

    #[test]
    fn excesses_are_worded() {
        insta::assert_snapshot!(LimitExceeded::Memory(64), @"Memory limit exceeded: Requested: 64MB");
        insta::assert_snapshot!(LimitExceeded::Output(Stream::Stdout, 5), @"it wrote more to its stdout than `borges_max_output` allows: 5 bytes");
    }
}

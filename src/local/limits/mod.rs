//! What a launch may use: memory that the kernel enforces, output that is bounded.
//!
//! | file | |
//! |---|---|
//! | `mod` | the limits of a launch, and how they are gone beyond (pure) |
//! | `place` | where control groups of memory may be made (pure) |
//! | `group` | control groups, made and asked |
//! | `enter` | the way of a block into its group |
//! | `streams` | how much a block has written; what is cut off, and what is given back |
//! | `end` | what is to be seen to when a block has ended |

mod end;
mod enter;
mod group;
mod place;
mod streams;

use std::fmt;

pub(super) use end::settle;
pub(super) use enter::{ENTER, enter};
pub(super) use group::{Group, Groups};
pub(super) use streams::{Found, Streams};

/// Bytes of each stream of a service that are kept, at least.
pub(crate) const KEPT: u64 = 20 << 20;

/// What a launch may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    /// MiB, where the document asked for so much.
    pub(crate) memory: Option<u64>,
    pub(crate) output: Output,
}

/// How much of each stream of a block is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Output {
    /// All, however much.
    #[default]
    Unlimited,
    /// All; with more than so many bytes the block fails.
    Whole(u64),
    /// The last [`KEPT`] bytes: it may write for ever.
    Last,
}

/// A limit that was gone beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
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
            Output::Unlimited => Ok(()),
            Output::Whole(bytes) => write!(f, "whole {bytes}"),
            Output::Last => write!(f, "last {KEPT}"),
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
                ("whole", Ok(bytes)) => limits.output = Output::Whole(bytes),
                ("last", Ok(_)) => limits.output = Output::Last,
                _ => {}
            }
        }
        limits
    }
}

/// As Mesos puts it where Mesos has the limit, too.
impl fmt::Display for Excess {
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

impl Excess {
    /// For those who come after: `memory 64`, `stdout 1073741824`.
    pub(crate) fn note(self) -> String {
        match self {
            Self::Memory(mib) => format!("memory {mib}"),
            Self::Output(stream, bytes) => format!("{} {bytes}", stream.name()),
        }
    }

    /// Reads [`Self::note`].
    pub(crate) fn of_note(note: &str) -> Option<Self> {
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
            for output in [Output::Unlimited, Output::Whole(1 << 30), Output::Last] {
                let limits = Limits { memory, output };
                assert_eq!(Limits::read(&limits.to_string()), limits);
            }
        }
        assert_eq!(Limits::read("memory much whole"), Limits::default());
        for excess in [Excess::Memory(64), Excess::Output(Stream::Stderr, 7)] {
            assert_eq!(Excess::of_note(&excess.note()), Some(excess));
        }
        assert_eq!(Excess::of_note("killed\n"), None);
    }

    #[test]
    fn excesses_are_worded() {
        insta::assert_snapshot!(Excess::Memory(64), @"Memory limit exceeded: Requested: 64MB");
        insta::assert_snapshot!(Excess::Output(Stream::Stdout, 5), @"it wrote more to its stdout than `borges_max_output` allows: 5 bytes");
    }
}

//! What a task asks for.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Policy, Requirements};

/// One task of a run, as its document asks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Its number in the run, from 1, in document order.
    pub number: u32,
    /// The block's name, or `line-14` for a block without one.
    pub block: Arc<str>,
    /// Line of the block's `#+begin_src`, from 1.
    pub line: u32,
    /// Which instance of the block it is, from 1.
    pub index: u32,
    /// What to run.
    pub command: Command,
    /// What it needs while it runs.
    pub resources: Resources,
    /// What is done when a launch of it ends; nearly all tasks of a run share one.
    pub policy: Arc<Policy>,
    /// Waits for a person's approval before its first launch.
    pub requires_approval: bool,
    /// Its memory is a limit to be enforced, not only an amount to reckon with: the document asks for so much.
    pub enforce_memory: bool,
    /// What it asks of its agent beside amounts; nothing for most.
    pub requirements: Option<Arc<Requirements>>,
}

/// A program and its input.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Command {
    /// A program's path, or its name to be looked up on the `PATH` of the machine, or the image, it runs on.
    pub program: Arc<str>,
    /// Arguments after the program's name; [`Command::BODY_ARG`] stands for the body's file.
    pub arguments: Arc<[String]>,
    /// Variables set for it, beside those every block gets.
    pub environment: Arc<[(String, String)]>,
    /// Working directory: absolute, or below the sandbox; `None` is the sandbox itself.
    pub directory: Option<Arc<str>>,
    /// The Docker image it runs in, on the machine's own network; `None` is the machine itself.
    pub image: Option<Arc<str>>,
    /// The block's code; the tasks of a run share one piece of memory.
    pub body: Bytes,
    /// Files that lie in its sandbox beside the body before it starts. They are put together for each launch, and
    /// not stored.
    #[serde(skip)]
    pub files: Vec<InputFile>,
    /// The file it reads as its standard input, seen from the sandbox; `None` is an empty input. As `files`, of a
    /// launch only.
    #[serde(skip)]
    pub stdin: Option<String>,
}

/// A file that is put into a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// Where it lies, seen from the sandbox: relative, without `..`.
    pub path: String,
    /// Its permissions: `0o644`, or `0o755` for a program.
    pub mode: u32,
    /// What it holds.
    pub bytes: Bytes,
}

impl Command {
    /// Where the body lies, seen from the sandbox.
    pub const BODY: &str = "block/body";

    /// Bytes of its code and its files.
    pub fn size(&self) -> usize {
        self.body.len() + self.files.iter().map(|file| file.bytes.len()).sum::<usize>()
    }
}

/// Amounts of what an agent offers and a task takes; integers, because cluster arithmetic in floats drifts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a cpu; a cpu is a share, not a core.
    pub milli_cpus: u64,
    /// Memory, MiB.
    pub mem: u64,
    /// Disk, MiB.
    pub disk: u64,
    /// Whole GPUs.
    pub gpus: u64,
}

impl Resources {
    /// Whether `self` leaves room for `wanted` in every kind.
    pub fn contains(&self, wanted: &Self) -> bool {
        self.milli_cpus >= wanted.milli_cpus
            && self.mem >= wanted.mem
            && self.disk >= wanted.disk
            && self.gpus >= wanted.gpus
    }

    /// What is left after `taken`; `None` when there is less than that.
    pub fn checked_sub(&self, taken: &Self) -> Option<Self> {
        Some(Self {
            milli_cpus: self.milli_cpus.checked_sub(taken.milli_cpus)?,
            mem: self.mem.checked_sub(taken.mem)?,
            disk: self.disk.checked_sub(taken.disk)?,
            gpus: self.gpus.checked_sub(taken.gpus)?,
        })
    }

    /// The smaller of the two in each kind.
    #[must_use]
    pub fn elementwise_min(&self, other: &Self) -> Self {
        Self {
            milli_cpus: self.milli_cpus.min(other.milli_cpus),
            mem: self.mem.min(other.mem),
            disk: self.disk.min(other.disk),
            gpus: self.gpus.min(other.gpus),
        }
    }

    /// Both together.
    #[must_use]
    pub fn saturating_add(&self, other: &Self) -> Self {
        Self {
            milli_cpus: self.milli_cpus.saturating_add(other.milli_cpus),
            mem: self.mem.saturating_add(other.mem),
            disk: self.disk.saturating_add(other.disk),
            gpus: self.gpus.saturating_add(other.gpus),
        }
    }

    /// The larger of the two in each kind.
    #[must_use]
    pub fn elementwise_max(&self, other: &Self) -> Self {
        Self {
            milli_cpus: self.milli_cpus.max(other.milli_cpus),
            mem: self.mem.max(other.mem),
            disk: self.disk.max(other.disk),
            gpus: self.gpus.max(other.gpus),
        }
    }
}

/// As `cpu 0.5, mem 64`; kinds of which nothing is asked are left out.
impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpu {}, mem {}", Cpus(self.milli_cpus), self.mem)?;
        for (name, amount) in [("disk", self.disk), ("gpus", self.gpus)] {
            if amount > 0 {
                write!(f, ", {name} {amount}")?;
            }
        }
        Ok(())
    }
}

/// Milli-cpus written as cpus, without needless zeros.
struct Cpus(u64);

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// One task waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edge {
    /// Number of the task that is waited for.
    pub from: u32,
    /// Number of the task that waits.
    pub to: u32,
    /// What it waits for.
    pub requirement: DependencyKind,
}

/// What a waiting task needs of the task it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DependencyKind {
    /// Its end, whatever it is.
    Completed,
    /// Its success; for a service, that it runs. Without it the waiting task is skipped.
    Succeeded,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_they_are_written_in_documents() {
        let text = |milli_cpus, mem, disk| Resources { milli_cpus, mem, disk, gpus: 0 }.to_string();
        assert_eq!(text(1000, 56, 0), "cpu 1, mem 56");
        assert_eq!(text(500, 2048, 10), "cpu 0.5, mem 2048, disk 10");
        assert_eq!(text(10_010, 0, 0), "cpu 10.01, mem 0");
    }

    #[test]
    fn nothing_is_taken_that_is_not_there() {
        let little = Resources { milli_cpus: 500, mem: 64, ..Resources::default() };
        let much = Resources { milli_cpus: 250, mem: 65, ..Resources::default() };
        assert!(!little.contains(&much));
        assert_eq!(little.checked_sub(&much), None);
        assert_eq!(little.checked_sub(&little), Some(Resources::default()));
    }
}

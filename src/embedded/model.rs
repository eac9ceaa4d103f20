//! The data types that the state machine shares with the files that execute its actions.
//!
//! Plain data, without processes, files or clocks: how a process exits, why a launch is stopped, and what is known of
//! a launch.

use std::fmt;
use std::time::Duration;

use rustix::process::Pid;

use borges_mesos::messages::task_status::Reason;
use borges_mesos::signals;

/// The number of a client's connection; never reused by one agent.
pub(crate) type ClientId = u64;

/// The current time on two clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timestamps {
    /// Since the agent started, on a monotonic clock: for timers.
    pub(crate) elapsed: Duration,
    /// Seconds since 1970: for status updates.
    pub(crate) wall: f64,
}

/// How a block's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The process exited with this code.
    Code(i32),
    /// This signal terminated the process.
    Signal(i32),
    /// The exit status is lost.
    Unknown,
}

impl Exit {
    /// The content of `block/exit`: the code, or 128 + signal; `None` if the status is lost.
    pub(crate) fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(signal) => Some(128_i32.saturating_add(signal)),
            Self::Unknown => None,
        }
    }
}

/// Mesos' wording, to follow the word "Command".
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with status {code}"),
            Self::Signal(signal) => match signals::name(*signal) {
                Some(name) => write!(f, "terminated with signal {name}"),
                None => write!(f, "terminated with signal {signal}"),
            },
            Self::Unknown => write!(f, "ended unseen: exit status lost"),
        }
    }
}

/// The result of waiting for any child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitResult {
    /// This child has exited. It is still a zombie, so its process id is not reused yet.
    Exited(Pid, Exit),
    /// There are children, and none has exited.
    StillRunning,
    /// There are no children.
    NoChildren,
}

/// An output stream of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(crate) const BOTH: [Self; 2] = [Self::Stdout, Self::Stderr];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// The stream's file, relative to the sandbox.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Stdout => "block/stdout",
            Self::Stderr => "block/stderr",
        }
    }
}

/// A limit that a block has exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitExceeded {
    /// The memory limit, in MiB.
    Memory(u64),
    /// The limit of one output stream, in bytes.
    Output(Stream, u64),
}

/// Mesos' wording where Mesos has the same limit.
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
    /// The text of a stop note: `memory 64` or `stdout 1073741824`.
    pub(crate) fn to_text(self) -> String {
        match self {
            Self::Memory(mib) => format!("memory {mib}"),
            Self::Output(stream, bytes) => format!("{} {bytes}", stream.name()),
        }
    }

    /// Reads [`Self::to_text`]; `None` for any other text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (word, amount) = text.trim_end().split_once(' ')?;
        let amount = amount.parse().ok()?;
        if word == "memory" {
            return Some(Self::Memory(amount));
        }
        let stream = Stream::BOTH.into_iter().find(|stream| stream.name() == word)?;
        Some(Self::Output(stream, amount))
    }
}

/// Why a block was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// A KILL call, or the last client of an agent that ends with its client has disconnected.
    Killed,
    /// The task's `max_completion_time` is over.
    TimedOut,
    /// The block has exceeded a limit.
    LimitExceeded(LimitExceeded),
}

impl StopReason {
    /// The exceeded limit; `None` for other reasons.
    pub(crate) fn limit(self) -> Option<LimitExceeded> {
        match self {
            Self::LimitExceeded(exceeded) => Some(exceeded),
            Self::Killed | Self::TimedOut => None,
        }
    }
}

/// The signal that stops a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KillStage {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// The state of a launch according to the files of its executor's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LaunchHistory {
    /// There is no directory of this launch.
    Never,
    /// The directory was made, and the process never started.
    NotStarted,
    /// The process ended; with the reason if it was stopped.
    Ended(Exit, Option<StopReason>),
    /// The container could not be run, for this reason; with the reason if it was stopped.
    Failed(String, Option<StopReason>),
}

/// The report on a launch that is being started.
#[derive(Debug, PartialEq)]
pub(crate) enum StartReport {
    /// The container is being made, and another report follows.
    Starting,
    /// The block runs.
    Running,
    /// There is a launch of this name already; nothing was started.
    AlreadyLaunched(LaunchHistory),
    /// The launch could not be started, or its container failed: Mesos' reason, and a message.
    Failed(Reason, String),
}

/// Whether an id can name a directory: Mesos' rule for task ids.
pub(crate) fn is_valid_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 255
        && id != "."
        && id != ".."
        && !id.contains(|c: char| c == '/' || c == '\\' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_worded_as_in_mesos() {
        let text = |exit: Exit| format!("{:?} Command {exit}", exit.code());
        insta::assert_snapshot!(text(Exit::Code(3)), @"Some(3) Command exited with status 3");
        insta::assert_snapshot!(text(Exit::Signal(9)), @"Some(137) Command terminated with signal Killed");
        insta::assert_snapshot!(text(Exit::Signal(15)), @"Some(143) Command terminated with signal Terminated");
        insta::assert_snapshot!(text(Exit::Signal(31)), @"Some(159) Command terminated with signal Bad system call");
        insta::assert_snapshot!(text(Exit::Signal(35)), @"Some(163) Command terminated with signal 35");
        insta::assert_snapshot!(text(Exit::Unknown), @"None Command ended unseen: exit status lost");
    }

    #[test]
    fn exceeded_limits_survive_the_round_trip_through_text() {
        for exceeded in [LimitExceeded::Memory(64), LimitExceeded::Output(Stream::Stderr, 7)] {
            assert_eq!(LimitExceeded::parse(&exceeded.to_text()), Some(exceeded));
        }
        assert_eq!(LimitExceeded::parse("killed\n"), None);
    }

    #[test]
    fn exceeded_limits_have_messages() {
        insta::assert_snapshot!(LimitExceeded::Memory(64), @"Memory limit exceeded: Requested: 64MB");
        insta::assert_snapshot!(LimitExceeded::Output(Stream::Stdout, 5), @"it wrote more to its stdout than `borges_max_output` allows: 5 bytes");
    }

    #[test]
    fn ids_that_leave_their_directory_are_invalid() {
        for good in ["r.1.1", "a b", "ö", "..."] {
            assert!(is_valid_id(good), "{good:?}");
        }
        for bad in ["", ".", "..", "a/b", "a\\b", "a\nb", "\0", &"a".repeat(256)] {
            assert!(!is_valid_id(bad), "{bad:?}");
        }
    }
}

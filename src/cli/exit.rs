//! What the process ends with.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// All well.
    Success,
    /// Some block failed.
    BlockFailed,
    /// The document, or the call, is wrong.
    InvalidInput,
    /// The cluster is out of reach, or something waited for longer than it was allowed to.
    Unavailable,
    /// A person, or a signal, ended it.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::BlockFailed => 1,
            Exit::InvalidInput => 2,
            Exit::Unavailable => 3,
            Exit::Interrupted => 130,
        })
    }
}

//! The exit codes of the program.

use std::process::ExitCode;

/// The outcome of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// No block failed.
    Success,
    /// At least one block failed.
    BlockFailed,
    /// The document or the command line has an error.
    InvalidInput,
    /// The cluster or the server is unreachable, or a block waited longer than `--max-wait`.
    Unavailable,
    /// A signal interrupted the command.
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

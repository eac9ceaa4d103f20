//! How a process ended.

use std::fmt;

use borges_mesos::signals;

/// How a block's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It ended by itself, with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// Nobody saw it.
    Unknown,
}

impl Exit {
    /// What `block/exit` says: the code, or 128 + signal.
    pub(crate) fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(signal) => Some(128_i32.saturating_add(signal)),
            Self::Unknown => None,
        }
    }
}

/// As Mesos puts it after the word "Command".
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_worded_as_mesos_words_them() {
        let words = |exit: Exit| format!("{:?} Command {exit}", exit.code());
        insta::assert_snapshot!(words(Exit::Code(3)), @"Some(3) Command exited with status 3");
        insta::assert_snapshot!(words(Exit::Signal(9)), @"Some(137) Command terminated with signal Killed");
        insta::assert_snapshot!(words(Exit::Signal(15)), @"Some(143) Command terminated with signal Terminated");
        insta::assert_snapshot!(words(Exit::Signal(31)), @"Some(159) Command terminated with signal Bad system call");
        insta::assert_snapshot!(words(Exit::Signal(35)), @"Some(163) Command terminated with signal 35");
        insta::assert_snapshot!(words(Exit::Unknown), @"None Command ended unseen: exit status lost");
    }
}

//! The version of the protocol between an agent and its clients.
//!
//! An agent outlives the server that started it, so a newer server may meet an older agent. The starter of an agent
//! writes the version into a file beside the socket, and passes it to the agent, which refuses a version that it does
//! not speak. A client reads the file before its first call. It leaves an agent of another version alone: an agent without
//! clients and blocks ends by itself, and the next client starts a new one.

use std::fs;
use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::path::Path;

/// The version that a new agent is started with. It counts changes of messages and of the process table.
pub(crate) const PROTOCOL: u32 = 1;

/// The versions that this program speaks, as a client and as an agent.
pub(crate) const SPOKEN: RangeInclusive<u32> = 1..=PROTOCOL;

/// The name of the file in the agent's own directory.
pub(crate) const FILE: &str = "protocol";

/// Why a running agent cannot be used: its version, and those that this program speaks.
#[derive(Debug, thiserror::Error)]
#[error(
    "the agent that runs there speaks protocol {agent}, and this Borges speaks {newest}: \
     a new agent is started when the blocks of the old one have ended"
)]
pub(crate) struct OtherProtocol {
    agent: u32,
    newest: u32,
}

/// Checks the version of the agent whose own directory is `directory`.
///
/// A file that is absent or damaged counts as version 0.
pub(crate) fn check(directory: &Path) -> io::Result<()> {
    let agent = match fs::read_to_string(directory.join(FILE)) {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    if SPOKEN.contains(&agent) {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::Unsupported, OtherProtocol { agent, newest: PROTOCOL }))
}

/// Writes the version of the agent that is started next. The caller holds the lock of the directory.
pub(crate) fn announce(directory: &Path) -> io::Result<()> {
    fs::write(directory.join(FILE), format!("{PROTOCOL}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_spoken_versions_pass() {
        let directory = tempfile::tempdir().unwrap();
        let check = || check(directory.path()).map_err(|error| error.to_string());
        assert!(check().unwrap_err().contains("speaks protocol 0, and this Borges speaks 1"));
        announce(directory.path()).unwrap();
        assert_eq!(check(), Ok(()));
        for (text, version) in [("2\n", 2), ("0", 0), ("one", 0)] {
            fs::write(directory.path().join(FILE), text).unwrap();
            assert!(check().unwrap_err().contains(&format!("speaks protocol {version},")), "{text}");
        }
    }
}

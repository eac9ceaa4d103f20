//! The stop note, a file beside a sandbox that says why its block was stopped.

use std::fs;
use std::io;
use std::path::Path;

use super::model::{LimitExceeded, StopReason};
use super::os;
use super::paths::stop_note_in;

const KILLED: &str = "killed";
const TIMED_OUT: &str = "overrun";

/// Writes the stop note in an executor's directory, unless there is one.
pub(crate) fn write(executor: &Path, stop_reason: StopReason) -> io::Result<()> {
    let file = stop_note_in(executor);
    if file.exists() {
        return Ok(());
    }
    let text = match stop_reason {
        StopReason::Killed => KILLED.to_owned(),
        StopReason::TimedOut => TIMED_OUT.to_owned(),
        StopReason::LimitExceeded(exceeded) => exceeded.to_text(),
    };
    // Atomic, because a truncated note could be valid, with another meaning.
    os::write_atomic(&file, (text + "\n").as_bytes())
}

/// Reads the stop note; `None` if there is none.
pub(crate) fn read(executor: &Path) -> Option<StopReason> {
    let note = fs::read_to_string(stop_note_in(executor)).ok()?;
    Some(match note.trim_end() {
        TIMED_OUT => StopReason::TimedOut,
        note => LimitExceeded::parse(note).map_or(StopReason::Killed, StopReason::LimitExceeded),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_note_is_kept() {
        for stop_reason in
            [StopReason::Killed, StopReason::TimedOut, StopReason::LimitExceeded(LimitExceeded::Memory(7))]
        {
            let executor = tempfile::tempdir().unwrap();
            assert_eq!(read(executor.path()), None);
            write(executor.path(), stop_reason).unwrap();
            write(executor.path(), StopReason::Killed).unwrap();
            assert_eq!(read(executor.path()), Some(stop_reason));
        }
    }
}

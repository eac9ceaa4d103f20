//! The note beside a sandbox that says why its block was told to end, or was ended.

use std::fs;
use std::io;
use std::path::Path;

use super::limits::LimitExceeded;
use super::os;
use super::paths::stopped_in;
use super::state::StopReason;

const KILLED: &str = "killed";
const OVERRUN: &str = "overrun";

/// Notes why the block of an executor's directory ends; the first note stays.
pub(crate) fn write(executor: &Path, stop: StopReason) -> io::Result<()> {
    let file = stopped_in(executor);
    if file.exists() {
        return Ok(());
    }
    let word = match stop {
        StopReason::Killed => KILLED.to_owned(),
        StopReason::TimedOut => OVERRUN.to_owned(),
        StopReason::LimitExceeded(excess) => excess.to_text(),
    };
    // Half a note would be another one.
    os::write_atomic(&file, (word + "\n").as_bytes())
}

/// Reads the note, if there is one.
pub(crate) fn read(executor: &Path) -> Option<StopReason> {
    let note = fs::read_to_string(stopped_in(executor)).ok()?;
    Some(match note.trim_end() {
        OVERRUN => StopReason::TimedOut,
        note => LimitExceeded::parse(note).map_or(StopReason::Killed, StopReason::LimitExceeded),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_note_stays() {
        for stop in
            [StopReason::Killed, StopReason::TimedOut, StopReason::LimitExceeded(LimitExceeded::Memory(7))]
        {
            let executor = tempfile::tempdir().unwrap();
            assert_eq!(read(executor.path()), None);
            write(executor.path(), stop).unwrap();
            write(executor.path(), StopReason::Killed).unwrap();
            assert_eq!(read(executor.path()), Some(stop));
        }
    }
}

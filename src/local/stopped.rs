//! The note beside a sandbox that says why its block was told to end, or was ended.

use std::fs;
use std::io;
use std::path::Path;

use super::layout::stopped_in;
use super::limits::Excess;
use super::state::Stop;
use super::system;

const KILLED: &str = "killed";
const OVERRUN: &str = "overrun";

/// Notes why the block of an executor's directory ends; the first note stays.
pub(crate) fn write(executor: &Path, stop: Stop) -> io::Result<()> {
    let file = stopped_in(executor);
    if file.exists() {
        return Ok(());
    }
    let word = match stop {
        Stop::Killed => KILLED.to_owned(),
        Stop::Overrun => OVERRUN.to_owned(),
        Stop::Exceeded(excess) => excess.note(),
    };
    // Half a note would be another one.
    system::put(&file, (word + "\n").as_bytes())
}

/// Reads the note, if there is one.
pub(crate) fn read(executor: &Path) -> Option<Stop> {
    let note = fs::read_to_string(stopped_in(executor)).ok()?;
    Some(match note.trim_end() {
        OVERRUN => Stop::Overrun,
        note => Excess::of_note(note).map_or(Stop::Killed, Stop::Exceeded),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_note_stays() {
        for stop in [Stop::Killed, Stop::Overrun, Stop::Exceeded(Excess::Memory(7))] {
            let executor = tempfile::tempdir().unwrap();
            assert_eq!(read(executor.path()), None);
            write(executor.path(), stop).unwrap();
            write(executor.path(), Stop::Killed).unwrap();
            assert_eq!(read(executor.path()), Some(stop));
        }
    }
}

//! The history of a launch, read from the files of its executor's directory.

use std::path::Path;

use crate::container::shim_state;
use crate::model::{Exit, LaunchHistory, Stream};
use crate::paths::sandbox_in;
use crate::{os, reap, stop_note};

/// Reads the history of a launch.
pub(super) fn read(executor: &Path) -> LaunchHistory {
    if !executor.is_dir() {
        return LaunchHistory::Never;
    }
    let stop_reason = stop_note::read(executor);
    if let Some((_, message)) = shim_state::read_error(executor) {
        return LaunchHistory::Failed(message, stop_reason);
    }
    let sandbox = sandbox_in(executor.to_owned());
    match reap::read_exit(&sandbox) {
        Some(exit) => LaunchHistory::Ended(exit, stop_reason),
        // The stderr file is the last one that is made before the start.
        None if !sandbox.join(Stream::Stderr.file()).exists() => LaunchHistory::NotStarted,
        None => LaunchHistory::Ended(Exit::Unknown, stop_reason),
    }
}

/// Records that a launch never started, by removing its stderr file. To be called only if the process cannot have run.
pub(crate) fn record_never_started(executor: &Path) {
    let sandbox = sandbox_in(executor.to_owned());
    if !os::fail_point_unstarted()
        && !shim_state::is_container(executor)
        && reap::read_exit(&sandbox).is_none()
        && let Err(error) = os::remove(&sandbox.join(Stream::Stderr.file()))
    {
        log::debug!("it is not noted that {} never started: {error}", executor.display());
    }
}

//! What the disk knows of a launch.

use std::path::Path;

use super::{Processes, STDERR};
use crate::container::shim_state;
use crate::exit::Exit;
use crate::paths::sandbox_in;
use crate::state::{LaunchHistory, StopReason};
use crate::{os, reap, stop_note};

/// Notes of a launch that was about to be started that this never came to pass: who knows that nobody can have seen it
/// run may say so.
pub(crate) fn never_started(executor: &Path) {
    let sandbox = sandbox_in(executor.to_owned());
    if !os::fail_point_unstarted()
        && !shim_state::is_container(executor)
        && reap::read_exit(&sandbox).is_none()
        && let Err(error) = os::remove(&sandbox.join(STDERR))
    {
        log::debug!("it is not noted that {} never started: {error}", executor.display());
    }
}

impl Processes {
    /// What the disk knows of a launch.
    pub(crate) fn launch_history(&self, framework: &str, launch: &str) -> LaunchHistory {
        let executor = self.layout.executor(framework, launch);
        if !executor.is_dir() {
            return LaunchHistory::Never;
        }
        let stop = self.stopped(framework, launch);
        if let Some((_, message)) = shim_state::read_error(&executor) {
            return LaunchHistory::Failed(message, stop);
        }
        let sandbox = sandbox_in(executor);
        match reap::read_exit(&sandbox) {
            Some(exit) => LaunchHistory::Ended(exit, stop),
            // The last file before a start.
            None if !sandbox.join(STDERR).exists() => LaunchHistory::NotStarted,
            None => LaunchHistory::Ended(Exit::Unknown, stop),
        }
    }

    /// Whether a launch was told to end, by whichever agent.
    pub(crate) fn stopped(&self, framework: &str, launch: &str) -> Option<StopReason> {
        stop_note::read(&self.layout.executor(framework, launch))
    }
}

//! What the disk knows of a launch.

use std::path::Path;

use super::{Processes, STDERR};
use crate::local::container::notes;
use crate::local::exit::Exit;
use crate::local::layout::sandbox_in;
use crate::local::state::{Past, Stop};
use crate::local::{end, stopped, system};

/// Notes of a launch that was about to be started that this never came to pass: who knows that nobody can have seen it
/// run may say so.
pub(crate) fn never_started(executor: &Path) {
    let sandbox = sandbox_in(executor.to_owned());
    if !system::forgets_unstarted()
        && !notes::is_container(executor)
        && end::read_exit(&sandbox).is_none()
        && let Err(error) = system::remove(&sandbox.join(STDERR))
    {
        log::debug!("it is not noted that {} never started: {error}", executor.display());
    }
}

impl Processes {
    /// What the disk knows of a launch.
    pub(crate) fn past(&self, framework: &str, launch: &str) -> Past {
        let executor = self.layout.executor(framework, launch);
        if !executor.is_dir() {
            return Past::Never;
        }
        let stop = self.stopped(framework, launch);
        if let Some((_, message)) = notes::trouble(&executor) {
            return Past::Failed(message, stop);
        }
        let sandbox = sandbox_in(executor);
        match end::read_exit(&sandbox) {
            Some(exit) => Past::Ended(exit, stop),
            // The last file before a start.
            None if !sandbox.join(STDERR).exists() => Past::NotStarted,
            None => Past::Ended(Exit::Lost, stop),
        }
    }

    /// Whether a launch was told to end, by whichever agent.
    pub(crate) fn stopped(&self, framework: &str, launch: &str) -> Option<Stop> {
        stopped::read(&self.layout.executor(framework, launch))
    }
}

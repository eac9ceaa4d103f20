//! What the disk knows of a launch.

use super::{Processes, STDERR};
use crate::local::container::notes;
use crate::local::exit::Exit;
use crate::local::layout::sandbox_in;
use crate::local::state::{Past, Stop};
use crate::local::{end, stopped};

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

//! What the disk knows of a launch.

use std::fs;

use super::{OVERRUN, Processes, STDERR};
use crate::local::container::notes;
use crate::local::end;
use crate::local::exit::Exit;
use crate::local::layout::{sandbox_in, stopped_in};
use crate::local::state::{Past, Stop};

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
        match fs::read(stopped_in(&self.layout.executor(framework, launch))).ok()?.as_slice() {
            OVERRUN => Some(Stop::Overrun),
            _ => Some(Stop::Killed),
        }
    }
}

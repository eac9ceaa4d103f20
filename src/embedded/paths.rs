//! [`Paths`], the files in an agent's directory. Sandboxes have the paths that they have on a Mesos agent.

use std::path::{Path, PathBuf};

/// The absolute path of an agent's directory.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    root: PathBuf,
}

impl Paths {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory of the agent's own files, which only its user can read.
    pub(crate) fn agent(&self) -> PathBuf {
        self.root.join("agent")
    }

    /// The lock file: locked while an agent starts or shuts down.
    pub(crate) fn lock(&self) -> PathBuf {
        self.agent().join("lock")
    }

    /// The log of agent and reaper.
    pub(crate) fn log(&self) -> PathBuf {
        self.agent().join("log")
    }

    /// The directory of process tables: one for each pair of reaper and agent, named by their session.
    pub(crate) fn tables(&self) -> PathBuf {
        self.agent().join("tables")
    }

    /// The directory that contains the directories of a framework's executors.
    pub(crate) fn executors(&self, framework: &str) -> PathBuf {
        let mut path = self.root.join("frameworks");
        path.push(framework);
        path.push("executors");
        path
    }

    /// The executor's directory of a launch. Its creation claims the launch.
    pub(crate) fn executor(&self, framework: &str, launch: &str) -> PathBuf {
        let mut path = self.executors(framework);
        path.push(launch);
        path
    }

    /// A launch's sandbox.
    pub(crate) fn sandbox(&self, framework: &str, launch: &str) -> PathBuf {
        sandbox_in(self.executor(framework, launch))
    }
}

/// The sandbox within an executor's directory.
pub(crate) fn sandbox_in(mut executor: PathBuf) -> PathBuf {
    executor.push("runs");
    executor.push("latest");
    executor
}

/// The stop note in an executor's directory.
pub(crate) fn stop_note_in(executor: &Path) -> PathBuf {
    executor.join("stopped")
}

/// The name of the socket in [`Paths::agent`].
pub(crate) const SOCKET: &str = "socket";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandboxes_have_the_paths_of_a_mesos_agent() {
        let sandbox = Paths::new("/s").sandbox("f", "r.1.1");
        assert_eq!(sandbox, Path::new("/s/frameworks/f/executors/r.1.1/runs/latest"));
    }
}

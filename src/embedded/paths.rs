//! Where things lie under an agent's directory; sandboxes as on a Mesos agent.

use std::path::{Path, PathBuf};

/// The directory of an agent, absolute.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    root: PathBuf,
}

impl Paths {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The agent's own files; only its user may look in.
    pub(crate) fn agent(&self) -> PathBuf {
        self.root.join("agent")
    }

    /// Held while an agent is started, or ends.
    pub(crate) fn lock(&self) -> PathBuf {
        self.agent().join("lock")
    }

    /// What agent and reaper have to say.
    pub(crate) fn log(&self) -> PathBuf {
        self.agent().join("log")
    }

    /// One table for each pair of reaper and agent, named by their session: which process is which launch.
    pub(crate) fn tables(&self) -> PathBuf {
        self.agent().join("tables")
    }

    /// The directories of a framework's executors.
    pub(crate) fn executors(&self, framework: &str) -> PathBuf {
        let mut path = self.root.join("frameworks");
        path.push(framework);
        path.push("executors");
        path
    }

    /// The directory whose making claims a launch.
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

/// Where, within an executor's directory, it is noted that its block was told to end.
pub(crate) fn stopped_in(executor: &Path) -> PathBuf {
    executor.join("stopped")
}

/// The name of the socket in [`Paths::agent`].
pub(crate) const SOCKET: &str = "socket";

/// Whether an id can name a directory: what Mesos demands of task ids.
pub(crate) fn is_name(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 255
        && id != "."
        && id != ".."
        && !id.contains(|c: char| c == '/' || c == '\\' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandboxes_lie_as_on_a_mesos_agent() {
        let sandbox = Paths::new("/s").sandbox("f", "r.1.1");
        assert_eq!(sandbox, Path::new("/s/frameworks/f/executors/r.1.1/runs/latest"));
    }

    #[test]
    fn a_name_stays_where_it_is_put() {
        for good in ["r.1.1", "a b", "ö", "..."] {
            assert!(is_name(good), "{good:?}");
        }
        for bad in ["", ".", "..", "a/b", "a\\b", "a\nb", "\0", &"a".repeat(256)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}

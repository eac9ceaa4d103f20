//! The files beside a sandbox through which agent and shim exchange their state; they outlive both.
//!
//! | file | written by | says |
//! |---|---|---|
//! | `container` | the agent, before the start | the launch is a container's, and how to call `docker` |
//! | `started` | the shim | the container has started |
//! | `trouble` | the shim | the container could not be run, and why |
//!
//! The exit code is in the sandbox, as for every block.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::create::{MEMORY_OPTION, container_name};
use crate::os;
use crate::paths::sandbox_in;
use crate::reap;

const CONTAINER: &str = "container";
const STARTED: &str = "started";
const ERROR: &str = "trouble";

/// What a shim needs to know of its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerSpec {
    /// The container's name.
    pub(crate) name: String,
    /// The image, for messages.
    pub(crate) image: String,
    /// The interpreter, for messages.
    pub(crate) program: String,
    /// The arguments of `docker` that create it.
    pub(crate) create: Vec<OsString>,
}

impl ContainerSpec {
    /// The specification of a launch's container.
    pub(crate) fn new(launch: &str, image: &str, program: &str, create: Vec<OsString>) -> Self {
        Self { name: container_name(launch), image: image.to_owned(), program: program.to_owned(), create }
    }

    /// Writes the file, readable by its user only, because it contains environment variables.
    pub(crate) fn write(&self, executor: &Path) -> io::Result<()> {
        let mut bytes = Vec::new();
        let texts = [&self.name, &self.image, &self.program].map(String::as_bytes);
        for word in texts.into_iter().chain(self.create.iter().map(|word| word.as_bytes())) {
            bytes.extend_from_slice(word);
            bytes.push(0);
        }
        let path = executor.join(CONTAINER);
        let mut file = os::open_file(File::options().write(true).create_new(true), 0o600, &path)?;
        os::write(&mut file, &path, &bytes)
    }

    /// Reads the file; `None` if the launch is not a container's, or the file is incomplete.
    pub(crate) fn read(executor: &Path) -> Option<Self> {
        let bytes = fs::read(executor.join(CONTAINER)).ok()?;
        let mut words = bytes.strip_suffix(&[0])?.split(|byte| *byte == 0).map(<[u8]>::to_vec);
        let mut text = || String::from_utf8(words.next()?).ok();
        let (name, image, program) = (text()?, text()?, text()?);
        Some(Self { name, image, program, create: words.map(OsString::from_vec).collect() })
    }
}

impl ContainerSpec {
    /// The memory limit in MiB; `None` if there is none.
    pub(super) fn memory_limit(&self) -> Option<u64> {
        let at = self.create.iter().position(|argument| argument == MEMORY_OPTION)?;
        self.create.get(at + 1)?.to_str()?.strip_suffix('m')?.parse().ok()
    }
}

/// Whether a launch is a container's.
pub(crate) fn is_container(executor: &Path) -> bool {
    executor.join(CONTAINER).exists()
}

/// Whether a launch is a container's and has not ended, so that it needs a shim.
pub(crate) fn needs_shim(executor: &Path) -> bool {
    is_container(executor)
        && read_error(executor).is_none()
        && reap::read_exit(&sandbox_in(executor.to_owned())).is_none()
}

/// Whether the container of a launch has started.
pub(crate) fn has_started(executor: &Path) -> bool {
    executor.join(STARTED).exists()
}

/// Records that the container has started.
pub(super) fn write_started(executor: &Path) -> io::Result<()> {
    os::write_atomic(&executor.join(STARTED), b"")
}

/// Why a container could not be run, and the exit code that this counts as, if any.
pub(crate) fn read_error(executor: &Path) -> Option<(Option<i32>, String)> {
    let text = fs::read_to_string(executor.join(ERROR)).ok()?;
    let (code, message) = text.split_once('\n')?;
    Some((code.parse().ok(), message.to_owned()))
}

/// Records why a container could not be run. The file is written atomically.
pub(super) fn write_error(executor: &Path, code: Option<i32>, message: &str) -> io::Result<()> {
    let code = code.map_or_else(|| "-".to_owned(), |code| code.to_string());
    os::write_atomic(&executor.join(ERROR), format!("{code}\n{message}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_specs_are_read_completely_or_not_at_all() {
        let executor = tempfile::tempdir().unwrap();
        let read = || ContainerSpec::read(executor.path());
        assert_eq!((read(), needs_shim(executor.path())), (None, false));
        let strange = OsString::from_vec(b"\xff\n ".to_vec());
        let spec =
            ContainerSpec::new("r.1.1", "redis", "sh", vec!["create".into(), OsString::new(), strange]);
        spec.write(executor.path()).unwrap();
        assert_eq!(read(), Some(spec.clone()));
        assert!(spec.write(executor.path()).is_err(), "once");
        assert!(needs_shim(executor.path()));
        let file = executor.path().join(CONTAINER);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(read(), None);
        for code in [None, Some(127)] {
            write_error(executor.path(), code, "why\nnot").unwrap();
            assert_eq!(read_error(executor.path()), Some((code, "why\nnot".to_owned())));
        }
        assert!(!needs_shim(executor.path()));
    }
}

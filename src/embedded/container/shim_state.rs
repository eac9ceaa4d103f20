//! The files beside a sandbox by which agent and stand-in understand each other, across the death of either.
//!
//! | file | written by | says |
//! |---|---|---|
//! | `container` | the agent, at the claim | this launch is a container's: how `docker` is to be called |
//! | `started` | the stand-in | the container runs, or did |
//! | `read_error` | the stand-in | why the launch did not end as a block does |
//!
//! The exit code is in the sandbox, as every block's.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::create;
use crate::os;
use crate::paths::sandbox_in;
use crate::reap;

const CONTAINER: &str = "container";
const STARTED: &str = "started";
const TROUBLE: &str = "trouble";

/// What a stand-in is told of its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerSpec {
    /// The container's name.
    pub(crate) name: String,
    /// The image, for messages.
    pub(crate) image: String,
    /// The interpreter, for messages.
    pub(crate) program: String,
    /// The arguments of `docker` that make it.
    pub(crate) create: Vec<OsString>,
}

impl ContainerSpec {
    /// An order for a container of `launch`.
    pub(crate) fn new(launch: &str, image: &str, program: &str, create: Vec<OsString>) -> Self {
        Self { name: create::name(launch), image: image.to_owned(), program: program.to_owned(), create }
    }

    /// Writes the order down, for its user only: there are variables in it.
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

    /// Reads the order of a launch; `None` when it is no container's, or was not written to its end.
    pub(crate) fn read(executor: &Path) -> Option<Self> {
        let bytes = fs::read(executor.join(CONTAINER)).ok()?;
        let mut words = bytes.strip_suffix(&[0])?.split(|byte| *byte == 0).map(<[u8]>::to_vec);
        let mut text = || String::from_utf8(words.next()?).ok();
        let (name, image, program) = (text()?, text()?, text()?);
        Some(Self { name, image, program, create: words.map(OsString::from_vec).collect() })
    }
}

impl ContainerSpec {
    /// How much memory the container may have, MiB, where that is limited.
    pub(super) fn memory(&self) -> Option<u64> {
        let at = self.create.iter().position(|word| word == create::MEMORY)?;
        self.create.get(at + 1)?.to_str()?.strip_suffix('m')?.parse().ok()
    }
}

/// Whether a launch is a container's.
pub(crate) fn is_container(executor: &Path) -> bool {
    executor.join(CONTAINER).exists()
}

/// Whether a container's launch is not over: somebody has to stand in for it.
pub(crate) fn is_open(executor: &Path) -> bool {
    is_container(executor)
        && read_error(executor).is_none()
        && reap::read_exit(&sandbox_in(executor.to_owned())).is_none()
}

/// Whether the container of a launch was seen to run.
pub(crate) fn has_started(executor: &Path) -> bool {
    executor.join(STARTED).exists()
}

/// Notes that the container runs.
pub(super) fn write_started(executor: &Path) -> io::Result<()> {
    os::write_atomic(&executor.join(STARTED), b"")
}

/// Why a launch did not end as a block does, and the exit code that it counts as, if any.
pub(crate) fn read_error(executor: &Path) -> Option<(Option<i32>, String)> {
    let text = fs::read_to_string(executor.join(TROUBLE)).ok()?;
    let (code, message) = text.split_once('\n')?;
    Some((code.parse().ok(), message.to_owned()))
}

/// Notes why a launch did not end as a block does, whole.
pub(super) fn write_error(executor: &Path, code: Option<i32>, message: &str) -> io::Result<()> {
    let code = code.map_or_else(|| "-".to_owned(), |code| code.to_string());
    os::write_atomic(&executor.join(TROUBLE), format!("{code}\n{message}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_comes_back_whole_or_not_at_all() {
        let executor = tempfile::tempdir().unwrap();
        let read = || ContainerSpec::read(executor.path());
        assert_eq!((read(), is_open(executor.path())), (None, false));
        let strange = OsString::from_vec(b"\xff\n ".to_vec());
        let order =
            ContainerSpec::new("r.1.1", "redis", "sh", vec!["create".into(), OsString::new(), strange]);
        order.write(executor.path()).unwrap();
        assert_eq!(read(), Some(order.clone()));
        assert!(order.write(executor.path()).is_err(), "once");
        assert!(is_open(executor.path()));
        let file = executor.path().join(CONTAINER);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(read(), None);
        for code in [None, Some(127)] {
            write_error(executor.path(), code, "why\nnot").unwrap();
            assert_eq!(read_error(executor.path()), Some((code, "why\nnot".to_owned())));
        }
        assert!(!is_open(executor.path()));
    }
}

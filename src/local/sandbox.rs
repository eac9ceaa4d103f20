//! The embedded cluster's sandboxes are on this machine: [`LocalSandbox`] just reads them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use futures_util::future::{FutureExt, LocalBoxFuture, ready};
use rustix::fs::OFlags;

use super::layout::{Layout, is_name};
use crate::mesos::master::{Chunk, Place, Sandbox, SandboxError};

/// Reads the sandboxes of the agent in one directory, with or without an agent.
#[derive(Debug, Clone)]
pub struct LocalSandbox {
    layout: Layout,
}

impl LocalSandbox {
    /// The sandboxes of the agent in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { layout: Layout::new(directory) }
    }

    /// Where a launch's sandbox lies; `None` when the ids are none.
    pub fn path(&self, place: &Place) -> Option<PathBuf> {
        let good = is_name(&place.framework) && is_name(&place.executor);
        good.then(|| self.layout.sandbox(&place.framework, &place.executor))
    }

    /// Removes all that is left of a launch that has ended. That there is nothing is no error.
    pub fn remove(&self, place: &Place) -> io::Result<()> {
        if self.path(place).is_none() {
            return Ok(());
        }
        match fs::remove_dir_all(self.layout.executor(&place.framework, &place.executor)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn chunk(&self, place: &Place, path: &str, offset: u64, length: usize) -> Result<Chunk, SandboxError> {
        let plain = |component: Component| matches!(component, Component::Normal(_) | Component::CurDir);
        let sandbox = self.path(place).filter(|_| Path::new(path).components().all(plain));
        let sandbox = sandbox.ok_or_else(|| SandboxError::BadPath(path.to_owned()))?;
        let file = sandbox.join(path);
        match read(&file, offset, length) {
            Ok(Some(chunk)) => Ok(chunk),
            Ok(None) => Err(SandboxError::BadPath(path.to_owned())),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Err(SandboxError::Missing(path.to_owned()))
            }
            Err(source) => Err(SandboxError::Unreadable { path: path.to_owned(), source }),
        }
    }
}

impl Sandbox for LocalSandbox {
    /// Reads at once: the bytes are in the page cache, and a thread would cost more.
    fn read(
        &self,
        place: &Place,
        path: &str,
        offset: u64,
        length: usize,
    ) -> LocalBoxFuture<'static, Result<Chunk, SandboxError>> {
        ready(self.chunk(place, path, offset, length)).boxed_local()
    }
}

/// `None` for what is no file.
fn read(path: &Path, offset: u64, length: usize) -> io::Result<Option<Chunk>> {
    // Without waiting: a block may have put a pipe there.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let size = metadata.len();
    let there = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(there)];
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(read);
    Ok(Some(Chunk { bytes: Bytes::from(bytes), size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_in_pieces_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let sandbox = LocalSandbox::new(directory.path());
        let place = Place { agent: "local".into(), framework: "f".into(), executor: "r.1.1".into() };
        let block = sandbox.path(&place).unwrap().join("block");
        fs::create_dir_all(&block).unwrap();
        fs::write(block.join("stdout"), "0123456789").unwrap();
        let socket = std::os::unix::net::UnixListener::bind(block.join("socket")).unwrap();
        let read = |path: &str, offset, length| match sandbox.chunk(&place, path, offset, length) {
            Ok(chunk) => format!("{} of {}", chunk.bytes.escape_ascii(), chunk.size),
            Err(error) => error.to_string(),
        };
        insta::assert_snapshot!(read("block/stdout", 0, 4), @"0123 of 10");
        insta::assert_snapshot!(read("block/stdout", 8, 1 << 40), @"89 of 10");
        insta::assert_snapshot!(read("block/stdout", 10, 4), @" of 10");
        insta::assert_snapshot!(read("block/stdout", u64::MAX, 4), @" of 10");
        insta::assert_snapshot!(read("block/stderr", 0, 4), @"the sandbox has no file `block/stderr`");
        insta::assert_snapshot!(read("block", 0, 4), @"`block` is not the path of a file within a sandbox: write it relative, without `..`");
        insta::assert_snapshot!(read("../x", 0, 4), @"`../x` is not the path of a file within a sandbox: write it relative, without `..`");
        insta::assert_snapshot!(read("/etc/passwd", 0, 4), @"`/etc/passwd` is not the path of a file within a sandbox: write it relative, without `..`");
        assert!(read("block/socket", 0, 4).contains("cannot be read"), "{}", read("block/socket", 0, 4));
        drop(socket);
        sandbox.remove(&place).unwrap();
        sandbox.remove(&place).unwrap();
        insta::assert_snapshot!(read("block/stdout", 0, 4), @"the sandbox has no file `block/stdout`");
    }
}

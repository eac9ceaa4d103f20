//! [`LocalSandbox`], which reads the files of the embedded cluster's sandboxes directly.

use std::fs::{File, Metadata, remove_dir_all};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use futures_util::future::{FutureExt, LocalBoxFuture, ready};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tokio::task::spawn_blocking;

use super::model::{Stream, is_valid_id};
use super::paths::Paths;
use borges_mesos::master::{Chunk, FileKind, Sandbox, SandboxError, SandboxFile, SandboxLocation};

/// The sandboxes in one agent's directory, whether the agent runs or not.
#[derive(Debug, Clone)]
pub struct LocalSandbox {
    paths: Paths,
}

impl LocalSandbox {
    /// The sandboxes of the agent in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { paths: Paths::new(directory) }
    }

    /// The path of a launch's sandbox; `None` if an id is invalid.
    pub fn path(&self, location: &SandboxLocation) -> Option<PathBuf> {
        let is_valid = is_valid_id(&location.framework) && is_valid_id(&location.executor);
        is_valid.then(|| self.paths.sandbox(&location.framework, &location.executor))
    }

    /// Removes the directory of an ended launch; `Ok` if there is none.
    pub fn remove(&self, location: &SandboxLocation) -> io::Result<()> {
        if self.path(location).is_none() {
            return Ok(());
        }
        match remove_dir_all(self.paths.executor(&location.framework, &location.executor)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens a file of a launch's sandbox without blocking. Links that lead out of the sandbox are refused.
    fn open(&self, location: &SandboxLocation, path: &str) -> Result<(File, Metadata), SandboxError> {
        let bad_path = || SandboxError::BadPath(path.to_owned());
        let is_plain = |component: Component| matches!(component, Component::Normal(_) | Component::CurDir);
        let is_inside = Path::new(path).components().all(is_plain) && !path.contains('\0');
        let sandbox = self.path(location).filter(|_| is_inside).ok_or_else(bad_path)?;
        let file = open_beneath(&sandbox, path).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => SandboxError::Missing(path.to_owned()),
            // A link that leads outside, links in a circle, a socket, a name too long for a file.
            Errno::XDEV | Errno::LOOP | Errno::NXIO | Errno::NAMETOOLONG | Errno::INVAL => bad_path(),
            errno => SandboxError::Unreadable { path: path.to_owned(), source: errno.into() },
        })?;
        let metadata =
            file.metadata().map_err(|source| SandboxError::Unreadable { path: path.to_owned(), source })?;
        Ok((file, metadata))
    }

    /// Reads a part of a file.
    fn read_chunk(
        &self,
        location: &SandboxLocation,
        path: &str,
        offset: u64,
        length: usize,
    ) -> Result<Chunk, SandboxError> {
        let (file, metadata) = self.open(location, path)?;
        if metadata.is_dir() {
            return Err(SandboxError::Directory(path.to_owned()));
        }
        if !metadata.is_file() {
            return Err(SandboxError::BadPath(path.to_owned()));
        }
        let offset = match Stream::BOTH.iter().find(|stream| stream.file() == path) {
            Some(_) => offset.max(data_start(&file, &metadata)),
            None => offset,
        };
        read_at(&file, metadata.len(), offset, length)
            .map_err(|source| SandboxError::Unreadable { path: path.to_owned(), source })
    }

    /// Lists a directory.
    fn list_files(&self, location: &SandboxLocation, path: &str) -> Result<Vec<SandboxFile>, SandboxError> {
        let (directory, metadata) = self.open(location, if path.is_empty() { "." } else { path })?;
        if !metadata.is_dir() {
            return Err(SandboxError::BadPath(path.to_owned()));
        }
        read_directory(&directory)
            .map_err(|source| SandboxError::Unreadable { path: path.to_owned(), source })
    }
}

impl Sandbox for LocalSandbox {
    /// Reads synchronously: the bytes are usually in the page cache, and a thread would cost more.
    fn read(
        &self,
        location: &SandboxLocation,
        path: &str,
        offset: u64,
        length: usize,
    ) -> LocalBoxFuture<'static, Result<Chunk, SandboxError>> {
        ready(self.read_chunk(location, path, offset, length)).boxed_local()
    }

    fn list(
        &self,
        location: &SandboxLocation,
        path: &str,
    ) -> LocalBoxFuture<'static, Result<Vec<SandboxFile>, SandboxError>> {
        ready(self.list_files(location, path)).boxed_local()
    }

    /// Runs on a blocking thread, because there may be many files.
    fn size(&self, locations: Vec<SandboxLocation>) -> LocalBoxFuture<'static, u64> {
        let paths = self.paths.clone();
        let sum = move || locations.iter().map(|location| bytes_in(&executor(&paths, location))).sum();
        spawn_blocking(sum).map(Result::unwrap_or_default).boxed_local()
    }

    fn discard(&self, locations: Vec<SandboxLocation>) -> LocalBoxFuture<'static, io::Result<()>> {
        let this = self.clone();
        let discard = move || locations.iter().try_for_each(|location| this.remove(location));
        spawn_blocking(discard)
            .map(|result| result.unwrap_or_else(|error| Err(io::Error::other(error))))
            .boxed_local()
    }
}

/// The executor's directory of a launch.
fn executor(paths: &Paths, location: &SandboxLocation) -> PathBuf {
    paths.executor(&location.framework, &location.executor)
}

/// The disk space of all files in a directory, in bytes, without unreadable ones. Links are not followed.
fn bytes_in(directory: &Path) -> u64 {
    let mut bytes = 0_u64;
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes = bytes.saturating_add(metadata.blocks().saturating_mul(512));
            if metadata.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    bytes
}

/// Opens `path` beneath `directory`. The kernel refuses links that lead out, even if a block changes them
/// concurrently.
fn open_beneath(directory: &Path, path: &str) -> Result<File, Errno> {
    let directory = fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // Non-blocking, because the file may be a pipe.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        match fs::openat2(&directory, path, flags, Mode::empty(), beneath) {
            // A file on the path was renamed concurrently.
            Err(Errno::AGAIN) if tries < 8 => tries += 1,
            opened => return opened.map(File::from),
        }
    }
}

/// The files of a directory, sorted by name.
fn read_directory(directory: &File) -> io::Result<Vec<SandboxFile>> {
    let mut files = Vec::new();
    for entry in fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Removed concurrently.
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Link,
            _ => FileKind::Other,
        };
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        files.push(SandboxFile { name: name.to_string_lossy().into_owned(), size, kind });
    }
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// The offset of a stream's first byte that is not freed, see [`OutputWatcher`](super::limits::OutputWatcher).
fn data_start(file: &File, metadata: &Metadata) -> u64 {
    // Most files have no hole, which their metadata shows.
    if metadata.blocks().saturating_mul(512) >= metadata.len() {
        return 0;
    }
    fs::seek(file, fs::SeekFrom::Data(0)).unwrap_or_default()
}

/// Reads up to `length` bytes of a file of this size.
fn read_at(file: &File, size: u64, offset: u64, length: usize) -> io::Result<Chunk> {
    let available = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(available)];
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
    Ok(Chunk { offset, bytes: Bytes::from(bytes), size })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sandbox with the stdout of a block.
    fn sandbox_with_stdout() -> (tempfile::TempDir, LocalSandbox, SandboxLocation, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let sandbox = LocalSandbox::new(directory.path());
        let location =
            SandboxLocation { agent: "local".into(), framework: "f".into(), executor: "r.1.1".into() };
        let root = sandbox.path(&location).unwrap();
        std::fs::create_dir_all(root.join("block")).unwrap();
        std::fs::write(root.join("block/stdout"), "0123456789").unwrap();
        (directory, sandbox, location, root)
    }

    #[test]
    fn only_files_of_the_sandbox_are_read() {
        let (_directory, sandbox, location, root) = sandbox_with_stdout();
        let socket = std::os::unix::net::UnixListener::bind(root.join("block/socket")).unwrap();
        let read = |path: &str, offset, length| match sandbox.read_chunk(&location, path, offset, length) {
            Ok(chunk) => format!("{} of {}", chunk.bytes.escape_ascii(), chunk.size),
            Err(error) => error.to_string(),
        };
        insta::assert_snapshot!(read("block/stdout", 0, 4), @"0123 of 10");
        insta::assert_snapshot!(read("block/stdout", 8, 1 << 40), @"89 of 10");
        insta::assert_snapshot!(read("block/stdout", 10, 4), @" of 10");
        insta::assert_snapshot!(read("block/stdout", u64::MAX, 4), @" of 10");
        insta::assert_snapshot!(read("block/stderr", 0, 4), @"the sandbox has no file `block/stderr`");
        insta::assert_snapshot!(read("block/stdout/x", 0, 4), @"the sandbox has no file `block/stdout/x`");
        insta::assert_snapshot!(read("block", 0, 4), @"`block` is a directory");
        for bad in [
            "../x",
            "block/../../x",
            "/etc/passwd",
            "a\0b",
            "block/socket",
            &"x/".repeat(5000),
            &"x".repeat(300),
        ] {
            let message = format!(
                "`{bad}` is not the path of a file within a sandbox: write it relative, without `..`"
            );
            assert_eq!(read(bad, 0, 4), message);
        }
        drop(socket);
        sandbox.remove(&location).unwrap();
        sandbox.remove(&location).unwrap();
        insta::assert_snapshot!(read("block/stdout", 0, 4), @"the sandbox has no file `block/stdout`");
    }

    #[test]
    fn freed_parts_are_skipped_in_streams_only() {
        let (_directory, sandbox, location, root) = sandbox_with_stdout();
        let hole = 1 << 20;
        for name in ["block/stdout", "block/other"] {
            let file = File::options().write(true).create(true).truncate(true).open(root.join(name)).unwrap();
            file.write_all_at(b"kept", hole).unwrap();
        }
        let chunk = |path: &str, offset| sandbox.read_chunk(&location, path, offset, 3).unwrap();
        for offset in [0, 5, hole] {
            assert_eq!(
                chunk("block/stdout", offset),
                Chunk { offset: hole, bytes: "kep".into(), size: hole + 4 }
            );
        }
        assert_eq!(chunk("block/stdout", hole + 1).bytes, "ept");
        assert_eq!(chunk("block/other", 5), Chunk { offset: 5, bytes: "\0\0\0".into(), size: hole + 4 });
    }

    #[test]
    fn links_out_of_the_sandbox_and_devices_are_refused() {
        use std::os::unix::fs::symlink;
        let (directory, sandbox, location, root) = sandbox_with_stdout();
        std::fs::write(directory.path().join("secret"), "secret").unwrap();
        std::fs::create_dir(root.join("deep")).unwrap();
        symlink("../block/stdout", root.join("deep/inside")).unwrap();
        symlink(directory.path().join("secret"), root.join("absolute")).unwrap();
        symlink("../../../../../../secret", root.join("relative")).unwrap();
        symlink(directory.path(), root.join("folder")).unwrap();
        symlink("circle", root.join("circle")).unwrap();
        symlink("/proc/self/environ", root.join("magic")).unwrap();
        symlink("/dev/zero", root.join("device")).unwrap();
        let (fifo, mode) = (FileType::Fifo, Mode::from_raw_mode(0o600));
        fs::mknodat(fs::CWD, root.join("pipe"), fifo, mode, 0).unwrap();
        let read = |path: &str| sandbox.read_chunk(&location, path, 0, 3).map(|chunk| chunk.bytes);
        assert_eq!(read("deep/inside").unwrap(), "012");
        assert_eq!(read("./deep//inside").unwrap(), "012");
        for bad in ["absolute", "relative", "folder/secret", "circle", "magic", "device", "pipe"] {
            assert!(matches!(read(bad), Err(SandboxError::BadPath(_))), "{bad}: {:?}", read(bad));
        }
        assert!(matches!(sandbox.list_files(&location, "folder"), Err(SandboxError::BadPath(_))));
    }

    #[test]
    fn directories_are_listed() {
        let (_directory, sandbox, location, root) = sandbox_with_stdout();
        std::os::unix::fs::symlink("block", root.join("link")).unwrap();
        let list = |path: &str| match sandbox.list_files(&location, path) {
            Ok(files) => {
                files.iter().map(|f| format!("{} {} {:?}\n", f.name, f.size.min(10), f.kind)).collect()
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(list("block"), "stdout 10 File\n");
        assert!(list("").contains("Directory\nlink 5 Link\n"), "{}", list(""));
        assert_eq!(list("block/"), list("link"));
        assert_eq!(list("nowhere"), "the sandbox has no file `nowhere`");
        assert!(list("block/stdout").contains("is not the path"), "{}", list("block/stdout"));
        assert!(list("..").contains("is not the path"));
    }
}

//! The embedded cluster's sandboxes are on this machine: [`LocalSandbox`] just reads them.

use std::fs::{File, Metadata, remove_dir_all};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use futures_util::future::{FutureExt, LocalBoxFuture, ready};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tokio::task::spawn_blocking;

use super::limits::Stream;
use super::paths::{Paths, is_name};
use borges_mesos::master::{Chunk, FileKind, Sandbox, SandboxError, SandboxFile, SandboxLocation};

/// Reads the sandboxes of the agent in one directory, with or without an agent.
#[derive(Debug, Clone)]
pub struct LocalSandbox {
    layout: Paths,
}

impl LocalSandbox {
    /// The sandboxes of the agent in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { layout: Paths::new(directory) }
    }

    /// Where a launch's sandbox lies; `None` when the ids are none.
    pub fn path(&self, place: &SandboxLocation) -> Option<PathBuf> {
        let good = is_name(&place.framework) && is_name(&place.executor);
        good.then(|| self.layout.sandbox(&place.framework, &place.executor))
    }

    /// Removes all that is left of a launch that has ended. That there is nothing is no error.
    pub fn remove(&self, place: &SandboxLocation) -> io::Result<()> {
        if self.path(place).is_none() {
            return Ok(());
        }
        match remove_dir_all(self.layout.executor(&place.framework, &place.executor)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens `path` of a launch's sandbox: nothing outside it, by whatever links, and without waiting.
    fn open(&self, place: &SandboxLocation, path: &str) -> Result<(File, Metadata), SandboxError> {
        let bad = || SandboxError::BadPath(path.to_owned());
        let plain = |component: Component| matches!(component, Component::Normal(_) | Component::CurDir);
        let good = Path::new(path).components().all(plain) && !path.contains('\0');
        let sandbox = self.path(place).filter(|_| good).ok_or_else(bad)?;
        let file = open_beneath(&sandbox, path).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => SandboxError::Missing(path.to_owned()),
            // A link that leads outside, links in a circle, a socket, a name too long for a file.
            Errno::XDEV | Errno::LOOP | Errno::NXIO | Errno::NAMETOOLONG | Errno::INVAL => bad(),
            errno => SandboxError::Unreadable { path: path.to_owned(), source: errno.into() },
        })?;
        let metadata =
            file.metadata().map_err(|source| SandboxError::Unreadable { path: path.to_owned(), source })?;
        Ok((file, metadata))
    }

    fn chunk(
        &self,
        place: &SandboxLocation,
        path: &str,
        offset: u64,
        length: usize,
    ) -> Result<Chunk, SandboxError> {
        let (file, metadata) = self.open(place, path)?;
        if metadata.is_dir() {
            return Err(SandboxError::Directory(path.to_owned()));
        }
        if !metadata.is_file() {
            return Err(SandboxError::BadPath(path.to_owned()));
        }
        let offset = match Stream::BOTH.iter().find(|stream| stream.file() == path) {
            Some(_) => offset.max(kept_from(&file, &metadata)),
            None => offset,
        };
        read(&file, metadata.len(), offset, length)
            .map_err(|source| SandboxError::Unreadable { path: path.to_owned(), source })
    }

    fn files(&self, place: &SandboxLocation, path: &str) -> Result<Vec<SandboxFile>, SandboxError> {
        let (directory, metadata) = self.open(place, if path.is_empty() { "." } else { path })?;
        if !metadata.is_dir() {
            return Err(SandboxError::BadPath(path.to_owned()));
        }
        listed(&directory).map_err(|source| SandboxError::Unreadable { path: path.to_owned(), source })
    }
}

impl Sandbox for LocalSandbox {
    /// Reads at once: the bytes are in the page cache, and a thread would cost more.
    fn read(
        &self,
        place: &SandboxLocation,
        path: &str,
        offset: u64,
        length: usize,
    ) -> LocalBoxFuture<'static, Result<Chunk, SandboxError>> {
        ready(self.chunk(place, path, offset, length)).boxed_local()
    }

    fn list(
        &self,
        place: &SandboxLocation,
        path: &str,
    ) -> LocalBoxFuture<'static, Result<Vec<SandboxFile>, SandboxError>> {
        ready(self.files(place, path)).boxed_local()
    }

    /// On a thread that may wait: there may be a great many files.
    fn size(&self, places: Vec<SandboxLocation>) -> LocalBoxFuture<'static, u64> {
        let layout = self.layout.clone();
        let measure = move || places.iter().map(|place| bytes_in(&executor(&layout, place))).sum();
        spawn_blocking(measure).map(Result::unwrap_or_default).boxed_local()
    }

    fn discard(&self, places: Vec<SandboxLocation>) -> LocalBoxFuture<'static, io::Result<()>> {
        let this = self.clone();
        let discard = move || places.iter().try_for_each(|place| this.remove(place));
        spawn_blocking(discard)
            .map(|done| done.unwrap_or_else(|error| Err(io::Error::other(error))))
            .boxed_local()
    }
}

fn executor(layout: &Paths, place: &SandboxLocation) -> PathBuf {
    layout.executor(&place.framework, &place.executor)
}

/// Bytes on the disk of all that lies in a directory; of what cannot be looked at, none. No link is followed.
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

/// Opens `path` beneath `directory`. The kernel sees to it that no link leads out, also of a block that changes
/// its links just now.
fn open_beneath(directory: &Path, path: &str) -> Result<File, Errno> {
    let directory = fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // Without waiting: a block may have put a pipe there.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        match fs::openat2(&directory, path, flags, Mode::empty(), beneath) {
            // Something was renamed meanwhile.
            Err(Errno::AGAIN) if tries < 8 => tries += 1,
            opened => return opened.map(File::from),
        }
    }
}

/// What a directory holds, in the order of names.
fn listed(directory: &File) -> io::Result<Vec<SandboxFile>> {
    let mut files = Vec::new();
    for entry in fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // It was there a moment ago.
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

/// Where a stream begins of which the beginning was given back. See [`OutputWatcher`](super::limits::Streams).
fn kept_from(file: &File, metadata: &Metadata) -> u64 {
    // Seldom, and to be seen without another call.
    if metadata.blocks().saturating_mul(512) >= metadata.len() {
        return 0;
    }
    fs::seek(file, fs::SeekFrom::Data(0)).unwrap_or_default()
}

fn read(file: &File, size: u64, offset: u64, length: usize) -> io::Result<Chunk> {
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
    Ok(Chunk { offset, bytes: Bytes::from(bytes), size })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sandbox with a block's files in it, and a way to read them.
    fn place() -> (tempfile::TempDir, LocalSandbox, SandboxLocation, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let sandbox = LocalSandbox::new(directory.path());
        let place =
            SandboxLocation { agent: "local".into(), framework: "f".into(), executor: "r.1.1".into() };
        let root = sandbox.path(&place).unwrap();
        std::fs::create_dir_all(root.join("block")).unwrap();
        std::fs::write(root.join("block/stdout"), "0123456789").unwrap();
        (directory, sandbox, place, root)
    }

    #[test]
    fn files_are_read_in_pieces_and_nothing_else_is() {
        let (_directory, sandbox, place, root) = place();
        let socket = std::os::unix::net::UnixListener::bind(root.join("block/socket")).unwrap();
        let read = |path: &str, offset, length| match sandbox.chunk(&place, path, offset, length) {
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
            let said = format!(
                "`{bad}` is not the path of a file within a sandbox: write it relative, without `..`"
            );
            assert_eq!(read(bad, 0, 4), said);
        }
        drop(socket);
        sandbox.remove(&place).unwrap();
        sandbox.remove(&place).unwrap();
        insta::assert_snapshot!(read("block/stdout", 0, 4), @"the sandbox has no file `block/stdout`");
    }

    #[test]
    fn what_is_given_back_is_passed_over_in_streams_only() {
        let (_directory, sandbox, place, root) = place();
        let hole = 1 << 20;
        for name in ["block/stdout", "block/other"] {
            let file = File::options().write(true).create(true).truncate(true).open(root.join(name)).unwrap();
            file.write_all_at(b"kept", hole).unwrap();
        }
        let chunk = |path: &str, offset| sandbox.chunk(&place, path, offset, 3).unwrap();
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
    fn no_link_leads_out_and_nothing_is_waited_for() {
        use std::os::unix::fs::symlink;
        let (directory, sandbox, place, root) = place();
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
        let read = |path: &str| sandbox.chunk(&place, path, 0, 3).map(|chunk| chunk.bytes);
        assert_eq!(read("deep/inside").unwrap(), "012");
        assert_eq!(read("./deep//inside").unwrap(), "012");
        for bad in ["absolute", "relative", "folder/secret", "circle", "magic", "device", "pipe"] {
            assert!(matches!(read(bad), Err(SandboxError::BadPath(_))), "{bad}: {:?}", read(bad));
        }
        assert!(matches!(sandbox.files(&place, "folder"), Err(SandboxError::BadPath(_))));
    }

    #[test]
    fn a_directory_tells_what_it_holds() {
        let (_directory, sandbox, place, root) = place();
        std::os::unix::fs::symlink("block", root.join("link")).unwrap();
        let told = |path: &str| match sandbox.files(&place, path) {
            Ok(files) => {
                files.iter().map(|f| format!("{} {} {:?}\n", f.name, f.size.min(10), f.kind)).collect()
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(told("block"), "stdout 10 File\n");
        assert!(told("").contains("Directory\nlink 5 Link\n"), "{}", told(""));
        assert_eq!(told("block/"), told("link"));
        assert_eq!(told("nowhere"), "the sandbox has no file `nowhere`");
        assert!(told("block/stdout").contains("is not the path"), "{}", told("block/stdout"));
        assert!(told("..").contains("is not the path"));
    }
}

//! Local copies of the output of ended launches.
//!
//! ```text
//! LAUNCH/stdout, stderr, exit, value   a complete copy
//! .LAUNCH/…                            a copy in progress
//! .LAUNCH.want                         a requested copy: the agent's id and the framework's id
//! ```

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::PathBuf;

use super::master::{Chunk, FileKind, SandboxError, SandboxFile, SandboxLocation};
use borges_task::LaunchId;

/// Copies of launches, by their names.
#[derive(Debug, Clone)]
pub(super) struct OutputArchive {
    directory: PathBuf,
}

impl OutputArchive {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The launches whose copies were requested and are not complete, such as after a restart.
    pub(super) fn pending(&self) -> io::Result<Vec<SandboxLocation>> {
        let mut pending = Vec::new();
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(pending),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(executor) = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(".want"))
            else {
                continue;
            };
            let content = fs::read_to_string(entry.path())?;
            if let Some((agent, framework)) = content.trim_end().split_once('\n') {
                pending.push(SandboxLocation {
                    agent: agent.to_owned(),
                    framework: framework.to_owned(),
                    executor: executor.to_owned(),
                });
            }
        }
        Ok(pending)
    }

    /// Records that a copy is requested. `false` if it is complete or already requested.
    pub(super) fn request(&self, location: &SandboxLocation) -> io::Result<bool> {
        let Some(marker) = self.marker_path(location) else { return Ok(false) };
        if marker.exists() || self.complete_path(location).is_some() {
            return Ok(false);
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        fs::write(marker, format!("{}\n{}\n", location.agent, location.framework))?;
        Ok(true)
    }

    /// Creates an empty directory for a copy in progress.
    pub(super) fn create_partial(&self, location: &SandboxLocation) -> io::Result<PathBuf> {
        let partial_path =
            self.partial_path(location).ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
        match fs::remove_dir_all(&partial_path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&partial_path)?;
        Ok(partial_path)
    }

    /// Marks the copy as complete.
    pub(super) fn commit(&self, location: &SandboxLocation) -> io::Result<()> {
        if let (Some(partial_path), Some(complete_path)) = (self.partial_path(location), self.path(location))
        {
            // The files are synced. Their names must be synced too, before the marker is removed.
            File::open(&partial_path)?.sync_all()?;
            fs::rename(partial_path, complete_path)?;
            File::open(&self.directory)?.sync_all()?;
        }
        self.cancel(location);
        Ok(())
    }

    /// Withdraws the request for a copy.
    pub(super) fn cancel(&self, location: &SandboxLocation) {
        if let Some(marker) = self.marker_path(location)
            && let Err(error) = fs::remove_file(&marker)
        {
            log::warn!("`{}` cannot be removed: {error}", marker.display());
        }
    }

    /// Reads from a complete copy; `None` if there is no complete copy, or if this file is never copied.
    pub(super) fn read(
        &self,
        location: &SandboxLocation,
        path: &str,
        offset: u64,
        length: usize,
    ) -> Option<Result<Chunk, SandboxError>> {
        let file = self
            .complete_path(location)?
            .join(path.strip_prefix("block/").filter(|name| !name.contains('/'))?);
        if path == "block/body" {
            return None;
        }
        let unreadable = |source| SandboxError::Unreadable { path: path.to_owned(), source };
        let file = match File::open(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Some(Err(SandboxError::Missing(path.to_owned())));
            }
            opened => opened.map_err(unreadable),
        };
        Some(file.and_then(|file| read_chunk(&file, offset, length).map_err(unreadable)))
    }

    /// The copied files of a directory of the sandbox; `None` without a complete copy.
    pub(super) fn list(&self, location: &SandboxLocation, path: &str) -> Option<Vec<SandboxFile>> {
        let complete_path = self.complete_path(location)?;
        match path {
            "" => Some(vec![SandboxFile { name: "block".to_owned(), size: 0, kind: FileKind::Directory }]),
            "block" => {
                let mut files: Vec<SandboxFile> = fs::read_dir(complete_path)
                    .ok()?
                    .filter_map(|entry| {
                        let entry = entry.ok()?;
                        let name = entry.file_name().to_str()?.to_owned();
                        Some(SandboxFile { name, size: entry.metadata().ok()?.len(), kind: FileKind::File })
                    })
                    .collect();
                files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                Some(files)
            }
            _ => None,
        }
    }

    /// Bytes that a complete copy takes on disk.
    pub(super) fn size(&self, location: &SandboxLocation) -> u64 {
        let files = self
            .complete_path(location)
            .and_then(|complete_path| fs::read_dir(complete_path).ok())
            .into_iter()
            .flatten();
        files.flatten().filter_map(|file| file.metadata().ok()).map(|file| file.blocks() * 512).sum()
    }

    /// Removes a copy, complete or not. A missing copy is no error.
    pub(super) fn remove(&self, location: &SandboxLocation) -> io::Result<()> {
        let ignore_missing = |removed: io::Result<()>| match removed {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        if let Some(marker) = self.marker_path(location) {
            ignore_missing(fs::remove_file(marker))?;
        }
        for directory in [self.partial_path(location), self.path(location)].into_iter().flatten() {
            ignore_missing(fs::remove_dir_all(directory))?;
        }
        Ok(())
    }

    /// The path of a launch's copy; `None` if the executor's id is not a launch id.
    fn path(&self, location: &SandboxLocation) -> Option<PathBuf> {
        let launch: LaunchId = location.executor.parse().ok()?;
        Some(self.directory.join(launch.to_string()))
    }

    fn complete_path(&self, location: &SandboxLocation) -> Option<PathBuf> {
        self.path(location).filter(|path| path.is_dir())
    }

    fn partial_path(&self, location: &SandboxLocation) -> Option<PathBuf> {
        let launch: LaunchId = location.executor.parse().ok()?;
        Some(self.directory.join(format!(".{launch}")))
    }

    fn marker_path(&self, location: &SandboxLocation) -> Option<PathBuf> {
        let launch: LaunchId = location.executor.parse().ok()?;
        Some(self.directory.join(format!(".{launch}.want")))
    }
}

fn read_chunk(file: &File, offset: u64, length: usize) -> io::Result<Chunk> {
    let size = file.metadata()?.len();
    let available = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(available)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(Chunk { offset, bytes: bytes.into(), size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_readable_once_committed() {
        let directory = tempfile::tempdir().unwrap();
        let archive = OutputArchive::new(directory.path().join("outputs"));
        let executor = "00000000-0000-0000-0000-000000000001.1.1".to_owned();
        let location = SandboxLocation { agent: "a".into(), framework: "f".into(), executor };
        assert!(archive.pending().unwrap().is_empty());
        assert!(archive.request(&location).unwrap() && !archive.request(&location).unwrap());
        assert_eq!(archive.pending().unwrap(), std::slice::from_ref(&location));
        let partial_path = archive.create_partial(&location).unwrap();
        fs::write(partial_path.join("stdout"), "0123456789").unwrap();
        assert!(archive.read(&location, "block/stdout", 0, 4).is_none());
        archive.commit(&location).unwrap();
        assert!(archive.pending().unwrap().is_empty() && !archive.request(&location).unwrap());
        let read = |path, offset, length| match archive.read(&location, path, offset, length)? {
            Ok(chunk) => Some(format!("{} of {}", chunk.bytes.escape_ascii(), chunk.size)),
            Err(error) => Some(error.to_string()),
        };
        assert_eq!(read("block/stdout", 8, 100).as_deref(), Some("89 of 10"));
        assert_eq!(read("block/stdout", 99, 100).as_deref(), Some(" of 10"));
        assert_eq!(read("block/value", 0, 1).as_deref(), Some("the sandbox has no file `block/value`"));
        assert_eq!(read("out.png", 0, 1), None);
        let names: Vec<_> =
            archive.list(&location, "block").unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["stdout"]);
    }
}

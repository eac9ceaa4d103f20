//! Copies of what blocks have written, in a directory of ours.
//!
//! ```text
//! LAUNCH/stdout, stderr, exit, value   a whole copy
//! .LAUNCH/…                            one that is being made
//! .LAUNCH.want                         whose copy is still to be made: the agent's id, the framework's
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

    /// Whose copies an earlier life has left to be made.
    pub(super) fn pending(&self) -> io::Result<Vec<SandboxLocation>> {
        let mut wanted = Vec::new();
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(wanted),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(executor) = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(".want"))
            else {
                continue;
            };
            let said = fs::read_to_string(entry.path())?;
            if let Some((agent, framework)) = said.trim_end().split_once('\n') {
                wanted.push(SandboxLocation {
                    agent: agent.to_owned(),
                    framework: framework.to_owned(),
                    executor: executor.to_owned(),
                });
            }
        }
        Ok(wanted)
    }

    /// Notes that a copy is to be made; false when there is one, or it is noted already.
    pub(super) fn request(&self, place: &SandboxLocation) -> io::Result<bool> {
        let Some(want) = self.want_file(place) else { return Ok(false) };
        if want.exists() || self.whole(place).is_some() {
            return Ok(false);
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        fs::write(want, format!("{}\n{}\n", place.agent, place.framework))?;
        Ok(true)
    }

    /// An empty directory for a copy.
    pub(super) fn create_partial(&self, place: &SandboxLocation) -> io::Result<PathBuf> {
        let part = self.part(place).ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
        match fs::remove_dir_all(&part) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&part)?;
        Ok(part)
    }

    /// The copy is whole.
    pub(super) fn commit(&self, place: &SandboxLocation) -> io::Result<()> {
        if let (Some(part), Some(whole)) = (self.part(place), self.path(place)) {
            // Its files are on the disk; so must their names be, before it is forgotten that there is one to be made.
            File::open(&part)?.sync_all()?;
            fs::rename(part, whole)?;
            File::open(&self.directory)?.sync_all()?;
        }
        self.cancel(place);
        Ok(())
    }

    /// No copy is to be made any more.
    pub(super) fn cancel(&self, place: &SandboxLocation) {
        if let Some(want) = self.want_file(place)
            && let Err(error) = fs::remove_file(&want)
        {
            log::warn!("`{}` cannot be removed: {error}", want.display());
        }
    }

    /// Reads from a whole copy; `None` where there is none of this file.
    pub(super) fn read(
        &self,
        place: &SandboxLocation,
        path: &str,
        offset: u64,
        length: usize,
    ) -> Option<Result<Chunk, SandboxError>> {
        let file = self.whole(place)?.join(path.strip_prefix("block/").filter(|name| !name.contains('/'))?);
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
        Some(file.and_then(|file| piece(&file, offset, length).map_err(unreadable)))
    }

    /// What there is of a directory of the sandbox; `None` without a whole copy.
    pub(super) fn list(&self, place: &SandboxLocation, path: &str) -> Option<Vec<SandboxFile>> {
        let whole = self.whole(place)?;
        match path {
            "" => Some(vec![SandboxFile { name: "block".to_owned(), size: 0, kind: FileKind::Directory }]),
            "block" => {
                let mut files: Vec<SandboxFile> = fs::read_dir(whole)
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

    /// Bytes on the disk of a whole copy.
    pub(super) fn size(&self, place: &SandboxLocation) -> u64 {
        let files = self.whole(place).and_then(|whole| fs::read_dir(whole).ok()).into_iter().flatten();
        files.flatten().filter_map(|file| file.metadata().ok()).map(|file| file.blocks() * 512).sum()
    }

    /// Removes what there is of a copy; that there is none is no error.
    pub(super) fn remove(&self, place: &SandboxLocation) -> io::Result<()> {
        let there = |removed: io::Result<()>| match removed {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        if let Some(want) = self.want_file(place) {
            there(fs::remove_file(want))?;
        }
        for directory in [self.part(place), self.path(place)].into_iter().flatten() {
            there(fs::remove_dir_all(directory))?;
        }
        Ok(())
    }

    /// Where the copy of a launch lies; `None` for an executor that is no launch of ours.
    fn path(&self, place: &SandboxLocation) -> Option<PathBuf> {
        let launch: LaunchId = place.executor.parse().ok()?;
        Some(self.directory.join(launch.to_string()))
    }

    fn whole(&self, place: &SandboxLocation) -> Option<PathBuf> {
        self.path(place).filter(|path| path.is_dir())
    }

    fn part(&self, place: &SandboxLocation) -> Option<PathBuf> {
        let launch: LaunchId = place.executor.parse().ok()?;
        Some(self.directory.join(format!(".{launch}")))
    }

    fn want_file(&self, place: &SandboxLocation) -> Option<PathBuf> {
        let launch: LaunchId = place.executor.parse().ok()?;
        Some(self.directory.join(format!(".{launch}.want")))
    }
}

fn piece(file: &File, offset: u64, length: usize) -> io::Result<Chunk> {
    let size = file.metadata()?.len();
    let there = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(there)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(Chunk { offset, bytes: bytes.into(), size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_read_once_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let copies = OutputArchive::new(directory.path().join("outputs"));
        let executor = "00000000-0000-0000-0000-000000000001.1.1".to_owned();
        let place = SandboxLocation { agent: "a".into(), framework: "f".into(), executor };
        assert!(copies.pending().unwrap().is_empty());
        assert!(copies.request(&place).unwrap() && !copies.request(&place).unwrap());
        assert_eq!(copies.pending().unwrap(), std::slice::from_ref(&place));
        let part = copies.create_partial(&place).unwrap();
        fs::write(part.join("stdout"), "0123456789").unwrap();
        assert!(copies.read(&place, "block/stdout", 0, 4).is_none());
        copies.commit(&place).unwrap();
        assert!(copies.pending().unwrap().is_empty() && !copies.request(&place).unwrap());
        let read = |path, offset, length| match copies.read(&place, path, offset, length)? {
            Ok(chunk) => Some(format!("{} of {}", chunk.bytes.escape_ascii(), chunk.size)),
            Err(error) => Some(error.to_string()),
        };
        assert_eq!(read("block/stdout", 8, 100).as_deref(), Some("89 of 10"));
        assert_eq!(read("block/stdout", 99, 100).as_deref(), Some(" of 10"));
        assert_eq!(read("block/value", 0, 1).as_deref(), Some("the sandbox has no file `block/value`"));
        assert_eq!(read("out.png", 0, 1), None);
        let names: Vec<_> = copies.list(&place, "block").unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["stdout"]);
    }
}

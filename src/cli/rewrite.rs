//! Replaces a document by its text with results, atomically; or compares the two for `--check`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use bytes::Bytes;
use similar::TextDiff;

use super::exit::Exit;
use super::input;
use borges_plan::UpdatedDocument;

/// Applies `with_results` to the current text of the document, and writes the outcome if it differs. Prints what
/// could not be written.
pub(super) async fn rewrite(
    path: &Path,
    with_results: impl AsyncFn(Bytes) -> Result<UpdatedDocument, Exit>,
) -> Result<(), Exit> {
    let name = input::display_name(path);
    // An editor may save the document while the results are inserted: start again with the new text.
    for _ in 0..MAX_ATTEMPTS {
        let current = Bytes::from(input::contents(path)?);
        let UpdatedDocument { text, missing } = with_results(current.clone()).await?;
        if input::contents(path)? != current {
            continue;
        }
        for note in missing {
            eprintln!("{note}");
        }
        if text == current {
            return Ok(());
        }
        return replace(path, &text).map_err(|error| {
            eprintln!("{name}: error: the results cannot be written: {error}");
            Exit::InvalidInput
        });
    }
    eprintln!("{name}: error: the results cannot be written: it changes all the time");
    Err(Exit::InvalidInput)
}

/// Compares the results in a document with those of a run, and prints a diff. `Err` if they differ.
pub(super) async fn check(
    path: &Path,
    with_results: impl AsyncFn(Bytes) -> Result<UpdatedDocument, Exit>,
) -> Result<(), Exit> {
    let name = input::display_name(path);
    let current = Bytes::from(input::contents(path)?);
    let UpdatedDocument { text, missing } = with_results(current.clone()).await?;
    for note in &missing {
        eprintln!("{note}");
    }
    let (before, after) = (String::from_utf8_lossy(&current), String::from_utf8_lossy(&text));
    print!("{}", TextDiff::from_lines(&*before, &*after).unified_diff().header(&name, "as it came out now"));
    if current == text && missing.is_empty() { Ok(()) } else { Err(Exit::BlockFailed) }
}

/// How often to start again after the document has changed.
const MAX_ATTEMPTS: usize = 5;

/// Replaces a file by one of the same owner and mode. A symbolic link stays: its target is replaced.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let metadata = fs::metadata(&path)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".borges-").tempfile_in(directory)?;
    file.write_all(text)?;
    file.as_file().set_permissions(metadata.permissions())?;
    if (metadata.uid(), metadata.gid())
        != (file.as_file().metadata()?.uid(), file.as_file().metadata()?.gid())
    {
        // Only root may give a file to another owner. Without that right, write into the existing file.
        if chown(file.path(), Some(metadata.uid()), Some(metadata.gid())).is_err() {
            return fs::write(&path, text);
        }
        file.as_file().set_permissions(metadata.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(&path)?;
    // Without this sync, a crash of the machine may restore the old document.
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn rewrite_preserves_mode_and_symbolic_link() {
        let directory = tempfile::tempdir().unwrap();
        let (document, link) = (directory.path().join("a.org"), directory.path().join("b.org"));
        fs::write(&document, "old").unwrap();
        fs::set_permissions(&document, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("a.org", &link).unwrap();
        let with_results = async |current: Bytes| {
            Ok(UpdatedDocument { text: [&current, &b" new"[..]].concat(), missing: Vec::new() })
        };
        assert!(futures_util::FutureExt::now_or_never(rewrite(&link, with_results)).unwrap().is_ok());
        assert_eq!(fs::read_to_string(&document).unwrap(), "old new");
        assert_eq!(fs::metadata(&document).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}

//! Writes a document with its results in place of the document, whole or not at all; or compares the two.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use bytes::Bytes;
use similar::TextDiff;

use super::exit::Exit;
use super::input;
use borges_plan::UpdatedDocument;

/// Writes what `with_results` makes of the document as it lies there now; says what is wrong. Where nothing changes,
/// nothing is written.
pub(super) async fn rewrite(
    path: &Path,
    with_results: impl AsyncFn(Bytes) -> Result<UpdatedDocument, Exit>,
) -> Result<(), Exit> {
    let name = input::shown(path);
    // Somebody may save the document while its results are put into what was read of it.
    for _ in 0..TRIES {
        let current = Bytes::from(input::contents(path)?);
        let UpdatedDocument { text, missing } = with_results(current.clone()).await?;
        if input::contents(path)? != current {
            continue;
        }
        for why in missing {
            eprintln!("{why}");
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

/// Compares the results that a document carries with those of a run, and shows where they differ.
pub(super) async fn check(
    path: &Path,
    with_results: impl AsyncFn(Bytes) -> Result<UpdatedDocument, Exit>,
) -> Result<(), Exit> {
    let name = input::shown(path);
    let current = Bytes::from(input::contents(path)?);
    let UpdatedDocument { text, missing } = with_results(current.clone()).await?;
    for why in &missing {
        eprintln!("{why}");
    }
    let (carried, came) = (String::from_utf8_lossy(&current), String::from_utf8_lossy(&text));
    print!("{}", TextDiff::from_lines(&*carried, &*came).unified_diff().header(&name, "as it came out now"));
    if current == text && missing.is_empty() { Ok(()) } else { Err(Exit::BlockFailed) }
}

/// How often a document is read anew that has changed meanwhile.
const TRIES: usize = 5;

/// Another file of the same name, owner and mode; what is a symbolic link stays one.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let before = fs::metadata(&path)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".borges-").tempfile_in(directory)?;
    file.write_all(text)?;
    file.as_file().set_permissions(before.permissions())?;
    if (before.uid(), before.gid()) != (file.as_file().metadata()?.uid(), file.as_file().metadata()?.gid()) {
        // Of another owner who lets us write: who may not give files away leaves it to them by content alone.
        if chown(file.path(), Some(before.uid()), Some(before.gid())).is_err() {
            return fs::write(&path, text);
        }
        file.as_file().set_permissions(before.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(&path)?;
    // Without it a crash of the machine may bring back the document as it was before.
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_document_keeps_its_mode_and_its_link() {
        let directory = tempfile::tempdir().unwrap();
        let (document, link) = (directory.path().join("a.org"), directory.path().join("b.org"));
        fs::write(&document, "old").unwrap();
        fs::set_permissions(&document, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("a.org", &link).unwrap();
        let results = async |current: Bytes| {
            Ok(UpdatedDocument { text: [&current, &b" new"[..]].concat(), missing: Vec::new() })
        };
        assert!(futures_util::FutureExt::now_or_never(rewrite(&link, results)).unwrap().is_ok());
        assert_eq!(fs::read_to_string(&document).unwrap(), "old new");
        assert_eq!(fs::metadata(&document).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}

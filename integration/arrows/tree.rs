//! The files of a source tree, each with its room.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::paths;

/// A source file.
pub(crate) struct Source {
    /// As a person would open it: `src/offer/fit.rs`.
    pub(crate) file: String,
    /// Where it stands in the crate: `["offer", "fit"]`; empty for `lib.rs` and `main.rs`.
    pub(crate) module: Vec<String>,
    /// Its first module, or `lib`, or `main`.
    pub(crate) room: String,
    /// What it says.
    pub(crate) text: String,
}

/// Every file under `src`, but those that are compiled for tests only.
pub(crate) fn sources(src: &Path) -> io::Result<Vec<Source>> {
    let mut files = Vec::new();
    walk(src, &mut files)?;
    files.sort();
    let mut read = Vec::new();
    for path in files {
        let inner = path.strip_prefix(src).unwrap_or(&path);
        read.push(source(&format!("src/{}", inner.display()), fs::read_to_string(&path)?));
    }
    let tests: BTreeSet<Vec<String>> =
        read.iter().flat_map(|source| paths::test_modules(&source.text, &source.module)).collect();
    read.retain(|source| !tests.iter().any(|test| source.module.starts_with(test)));
    Ok(read)
}

/// A source of this text, were it the file named (`src/…`).
pub(crate) fn source(file: &str, text: String) -> Source {
    let inner = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
    let room = module[0].clone();
    if module.last().is_some_and(|last| last == "mod") || matches!(inner, "lib" | "main") {
        module.pop();
    }
    Source { file: file.to_owned(), module, room, text }
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

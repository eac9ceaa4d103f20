//! Reads the files of `#+INCLUDE:` and `#+SETUPFILE:` from disk. A path is relative to the file that names it.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::exit::Exit;
use borges_org::{self as org, File, ResolveError, SourceBytes, SourceMap};
use borges_plan::Severity;

/// The document `source` with its includes and setupfiles inserted, and the map to the original places. `name` is
/// the document's name in messages, `path` its path.
pub(super) fn resolve_includes(
    name: &str,
    path: &Path,
    source: &Bytes,
) -> Result<(SourceBytes, SourceMap), Exit> {
    let id = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    // A file is displayed by its path as written, and identified by its canonical path.
    let mut directories = vec![(id.display().to_string(), parent_of(path))];
    let mut read = |from: &str, target: &str| {
        let directory = directories.iter().find(|(id, _)| id == from).map(|(_, directory)| directory.clone());
        let path = directory.unwrap_or_default().join(expand_home(target));
        let name = path.display().to_string();
        let contents = path.canonicalize().and_then(|canonical| Ok((fs::read(&canonical)?, canonical)));
        let (text, canonical) = contents.map_err(|error| format!("`{name}` cannot be read: {error}"))?;
        let id = canonical.display().to_string();
        directories.push((id.clone(), parent_of(&path)));
        Ok(File { name, id, text: text.into() })
    };
    org::resolve(source, &id.display().to_string(), &mut read).map_err(|error| {
        eprint!("{}", error_message(name, &error));
        Exit::InvalidInput
    })
}

/// A resolved text for a server, which reads no files: its `#+INCLUDE:` and `#+SETUPFILE:` lines become comments.
/// The position of every other byte is unchanged.
pub(super) fn with_includes_commented(source: &Bytes) -> Bytes {
    let names_file = |keyword: &&org::Keyword| matches!(keyword.key.as_str(), "SETUPFILE" | "INCLUDE");
    let document = org::parse(source.clone(), &[]);
    let lines: HashSet<u32> =
        document.keywords.iter().filter(names_file).map(|keyword| keyword.at.line).collect();
    if lines.is_empty() {
        return source.clone();
    }
    let mut bytes = source.to_vec();
    for (_, line) in (1..).zip(bytes.split_mut(|&byte| byte == b'\n')).filter(|(n, _)| lines.contains(n)) {
        if let Some(start) = line.windows(2).position(|pair| pair == b"#+") {
            line[start + 1] = b' ';
        }
    }
    bytes.into()
}

fn error_message(name: &str, ResolveError { place, excerpt, text, help }: &ResolveError) -> String {
    let file = place.file.as_deref().unwrap_or(name);
    let org::Position { line, column } = place.at;
    format!("{file}:{line}:{column}: {}: {text}\n{excerpt}\n  {help}\n", Severity::Error)
}

fn parent_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

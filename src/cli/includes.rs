//! Files that a document names, from disk: each lies relative to the one that names it.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::exit::Exit;
use borges_org::{self as org, File, ResolveError, SourceBytes, SourceMap};
use borges_plan::Severity;

/// The document `source` with the files put in that it names. `name` is the document for messages, `path` where
/// it lies.
pub(super) fn resolve_includes(
    name: &str,
    path: &Path,
    source: &Bytes,
) -> Result<(SourceBytes, SourceMap), Exit> {
    let id = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    // Files are called as the document's own path makes them, and known by where they really lie.
    let mut folders = vec![(id.display().to_string(), folder(path))];
    let mut read = |from: &str, target: &str| {
        let folder = folders.iter().find(|(id, _)| id == from).map(|(_, folder)| folder.clone());
        let path = folder.unwrap_or_default().join(home(target));
        let shown = path.display().to_string();
        let read = path.canonicalize().and_then(|canonical| Ok((fs::read(&canonical)?, canonical)));
        let (text, canonical) = read.map_err(|error| format!("`{shown}` cannot be read: {error}"))?;
        let id = canonical.display().to_string();
        folders.push((id.clone(), self::folder(&path)));
        Ok(File { name: shown, id, text: text.into() })
    };
    org::resolve(source, &id.display().to_string(), &mut read).map_err(|wrong| {
        eprint!("{}", told(name, &wrong));
        Exit::InvalidInput
    })
}

/// A text with its files put in, for who cannot read those: the lines that name them are comments in it, and
/// every other byte is where it was.
pub(super) fn with_includes_commented(source: &Bytes) -> Bytes {
    let named = |keyword: &&org::Keyword| matches!(keyword.key.as_str(), "SETUPFILE" | "INCLUDE");
    let document = org::parse(source.clone(), &[]);
    let lines: HashSet<u32> = document.keywords.iter().filter(named).map(|keyword| keyword.at.line).collect();
    if lines.is_empty() {
        return source.clone();
    }
    let mut bytes = source.to_vec();
    for (_, line) in (1..).zip(bytes.split_mut(|&byte| byte == b'\n')).filter(|(n, _)| lines.contains(n)) {
        if let Some(mark) = line.windows(2).position(|pair| pair == b"#+") {
            line[mark + 1] = b' ';
        }
    }
    bytes.into()
}

fn told(name: &str, ResolveError { place, excerpt, text, help }: &ResolveError) -> String {
    let file = place.file.as_deref().unwrap_or(name);
    let org::Position { line, column } = place.at;
    format!("{file}:{line}:{column}: {}: {text}\n{excerpt}\n  {help}\n", Severity::Error)
}

fn folder(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

fn home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

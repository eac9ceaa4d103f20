//! Files that blocks hand to each other in the directory of their document.
//!
//! Emacs runs one block after another, and so a block may read what one above it has written. Here both would start at
//! once. So a block that names the same file as a block above it waits for that one's end, where one of the two says in
//! its header that the file is its own: by `:file`, `:dir`, `:in-file`, `:db`, or a reference into that file.

use std::collections::HashMap;

use borges_org::{Block, Position};
use borges_task::DependencyKind;

use super::dependency::Dependency;
use super::unit::{Disposition, InputSource, Unit};

/// The waits that come of files; `order` is that of the document.
pub(super) fn file_dependencies(candidates: &[Unit], order: &[usize], directory: &str) -> Vec<Dependency> {
    // Who names a file in its header, by the file.
    let mut files: HashMap<String, NamedFile> = HashMap::new();
    for &place in order {
        for (file, _) in headers(&candidates[place], directory) {
            files.entry(file).or_default();
        }
    }
    if files.is_empty() {
        return Vec::new();
    }
    let mut waits = Vec::new();
    for &place in order {
        let candidate = &candidates[place];
        let Disposition::Runs { body, .. } = &candidate.disposition else { continue };
        let at = Position { line: candidate.block.begin_line, column: 0 };
        let own = headers(candidate, directory);
        let mut wait = |from: usize| {
            if from != place {
                waits.push(Dependency { from, to: place, requirement: DependencyKind::Completed, at });
            }
        };
        for word in words(body) {
            if let Some(named) = files.get_mut(word) {
                named.writer.into_iter().for_each(&mut wait);
                if named.mentions.last() != Some(&place) && named.mentions.len() < MENTIONS {
                    named.mentions.push(place);
                }
            }
        }
        for (file, writes) in own {
            let Some(named) = files.get_mut(&file) else { continue };
            named.writer.into_iter().for_each(&mut wait);
            if writes {
                named.writer = Some(place);
            } else {
                named.mentions.drain(..).for_each(&mut wait);
                named.mentions.push(place);
            }
        }
    }
    waits
}

/// More blocks than this that name a file are not all waited for.
const MENTIONS: usize = 1000;

/// A file that is named in a header.
#[derive(Default)]
struct NamedFile {
    /// The last candidate so far that writes it, as its header says.
    writer: Option<usize>,
    /// The candidates so far that name it in their code.
    mentions: Vec<usize>,
}

/// The files that the header of a candidate names, seen from the document, and whether it writes them.
fn headers(candidate: &Unit, directory: &str) -> Vec<(String, bool)> {
    let Disposition::Runs { inputs, .. } = &candidate.disposition else { return Vec::new() };
    let mut files: Vec<(String, bool)> = Vec::new();
    for (key, writes) in [(":file", true), (":dir", false), (":in-file", false), (":db", false)] {
        let relative = value(&candidate.block, key).filter(|path| !path.starts_with(['/', '~', '.']));
        files.extend(relative.map(|path| (path.trim_end_matches('/').to_owned(), writes)));
    }
    for given in inputs.iter().flat_map(|inputs| inputs.all()) {
        if let InputSource::File { path, .. } = given {
            let path =
                path.strip_prefix(directory).map_or(path.as_str(), |path| path.trim_start_matches('/'));
            files.push((path.to_owned(), false));
        }
    }
    files
}

fn value<'a>(block: &'a Block, key: &str) -> Option<&'a str> {
    let param = block.params.iter().find(|param| param.key == key)?;
    Some(param.text.as_str()).filter(|text| !text.is_empty())
}

/// The words of a code that may be paths.
fn words(code: &[u8]) -> impl Iterator<Item = &str> {
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte) || byte >= 0x80;
    code.split(move |&byte| !is_path(byte))
        .filter(|word| !word.is_empty())
        .filter_map(|word| std::str::from_utf8(word).ok())
        .map(|word| word.trim_start_matches("./").trim_end_matches(['.', '/']))
}

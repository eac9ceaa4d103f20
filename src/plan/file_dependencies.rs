//! Derives dependencies from files that blocks share in the directory of their document.
//!
//! Emacs runs one block after another, so a block may read a file that an earlier block has written. Here both would start
//! at once. So a block that names the same file as an earlier block waits for the end of that block, if one of the two
//! names the file in its header: by `:file`, `:dir`, `:in-file`, `:db`, or a reference into that file.

use std::collections::HashMap;

use borges_org::{Block, Position};
use borges_task::DependencyKind;

use super::dependency::Dependency;
use super::unit::{Disposition, InputSource, Unit};

/// The dependencies through files; `order` is the order of the units in the document.
pub(super) fn file_dependencies(units: &[Unit], order: &[usize], directory: &str) -> Vec<Dependency> {
    // The units that name a file in their header, by file.
    let mut files: HashMap<String, NamedFile> = HashMap::new();
    for &index in order {
        for (file, _) in header_files(&units[index], directory) {
            files.entry(file).or_default();
        }
    }
    if files.is_empty() {
        return Vec::new();
    }
    let mut dependencies = Vec::new();
    for &index in order {
        let unit = &units[index];
        let Disposition::Runs { body, .. } = &unit.disposition else { continue };
        let at = Position { line: unit.block.begin_line, column: 0 };
        let header_files = header_files(unit, directory);
        let mut dependency = |from: usize| {
            if from != index {
                dependencies.push(Dependency { from, to: index, requirement: DependencyKind::Completed, at });
            }
        };
        for word in words(body) {
            if let Some(named) = files.get_mut(word) {
                named.writer.into_iter().for_each(&mut dependency);
                if named.mentions.last() != Some(&index) && named.mentions.len() < MAX_MENTIONS {
                    named.mentions.push(index);
                }
            }
        }
        for (file, writes) in header_files {
            let Some(named) = files.get_mut(&file) else { continue };
            named.writer.into_iter().for_each(&mut dependency);
            if writes {
                named.writer = Some(index);
            } else {
                named.mentions.drain(..).for_each(&mut dependency);
                named.mentions.push(index);
            }
        }
    }
    dependencies
}

/// The maximum number of units per file that a writer depends on.
const MAX_MENTIONS: usize = 1000;

/// A file that is named in a header.
#[derive(Default)]
struct NamedFile {
    /// The last unit so far that writes it, as its header says.
    writer: Option<usize>,
    /// The units so far that name it in their code.
    mentions: Vec<usize>,
}

/// The files that the header of a unit names, seen from the document, and whether it writes them.
fn header_files(unit: &Unit, directory: &str) -> Vec<(String, bool)> {
    let Disposition::Runs { inputs, .. } = &unit.disposition else { return Vec::new() };
    let mut files: Vec<(String, bool)> = Vec::new();
    for (key, writes) in [(":file", true), (":dir", false), (":in-file", false), (":db", false)] {
        let relative = value(&unit.block, key).filter(|path| !path.starts_with(['/', '~', '.']));
        files.extend(relative.map(|path| (path.trim_end_matches('/').to_owned(), writes)));
    }
    for input in inputs.iter().flat_map(|inputs| inputs.all()) {
        if let InputSource::File { path, .. } = input {
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

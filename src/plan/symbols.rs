//! What blocks, and all else that runs, are called, and whom they wait for by these names.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use borges_org::{Block, Position, SourceLocation, SourceMap, suggest};
use borges_task::DependencyKind;

use super::arguments::{DependencyArg, Reference};
use super::dependency::Dependency;
use super::diagnostic::Diagnostic;

/// The document's blocks by name, and what the others are called.
#[derive(Debug)]
pub(super) struct SymbolTable<'a> {
    blocks: &'a [Block],
    /// Where the lines of the document come from.
    pub(super) places: &'a SourceMap,
    by_name: HashMap<String, Vec<usize>>,
    /// What is not a block but runs: calls and the like, with their lines, behind the blocks.
    others: Vec<(String, u32)>,
    /// How many times the nearest name may still be looked for, among all: more errors than that are not shown.
    searches: Cell<usize>,
}

/// A reference is looked up twice where it is wrong.
const SEARCHES: usize = 2 * Diagnostic::MAX_SHOWN;

/// What a block is called: its name, or `line-14`; of another file, `part.org:line-14`.
fn display_name(block: &Block, places: &SourceMap) -> String {
    if let Some(name) = block.name.as_ref().filter(|name| !name.is_empty()) {
        return name.clone();
    }
    let SourceLocation { file, at } = places.locate(Position { line: block.begin_line, column: 0 });
    let file = file.map(|file| format!("{file}:")).unwrap_or_default();
    format!("{file}line-{}", at.line)
}

impl<'a> SymbolTable<'a> {
    /// Takes up the names of `blocks`, whose lines come from `places`; a name used twice draws a warning for each
    /// block after the first.
    pub(super) fn of(blocks: &'a [Block], places: &'a SourceMap, problems: &mut Vec<Diagnostic>) -> Self {
        let by_name = HashMap::with_capacity(blocks.len());
        let others = Vec::new();
        let mut names = Self { blocks, places, by_name, others, searches: Cell::new(SEARCHES) };
        for (place, block) in blocks.iter().enumerate() {
            let name = display_name(block, places);
            let first = names.by_name.get(&name).and_then(|others| others.first());
            if let Some(first) = first.map(|&first| names.line(first)) {
                let at = Position { line: block.first_line, column: 1 };
                let text = format!("the block at line {first} is called `{name}` too");
                problems.push(Diagnostic::warning(at, text, ""));
            }
            names.by_name.entry(name).or_default().push(place);
        }
        names
    }

    /// Takes up something behind the blocks, and behind what was taken up before.
    pub(super) fn add(&mut self, title: String, line: u32) {
        self.others.push((title, line));
    }

    /// What something on `line` is called that has no name: `line-14`, the second such `line-14.2`.
    pub(super) fn line_title(&self, line: u32) -> String {
        let SourceLocation { file, at } = self.places.locate(Position { line, column: 0 });
        let file = file.map(|file| format!("{file}:")).unwrap_or_default();
        // What stands on one line is taken up together.
        let before = self.others.iter().rev().take_while(|(_, other)| *other == line).count();
        let more = if before > 0 { format!(".{}", before + 1) } else { String::new() };
        format!("{file}line-{}{more}", at.line)
    }

    /// Whether a block is called so.
    pub(super) fn is_block(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// What the candidate at `location` is called.
    pub(super) fn title(&self, place: usize) -> String {
        match self.blocks.get(place) {
            Some(block) => display_name(block, self.places),
            None => self.other(place).map(|(title, _)| title.clone()).unwrap_or_default(),
        }
    }

    /// Where the candidate at `location` begins, for a person: `7`, or `7 of part.org`.
    pub(super) fn line(&self, place: usize) -> String {
        self.places.line(self.begin_line(place))
    }

    /// The file the candidate at `location` stands in, if it is not the document itself, and its line there.
    pub(super) fn location(&self, place: usize) -> (Option<Arc<str>>, u32) {
        let SourceLocation { file, at } =
            self.places.locate(Position { line: self.begin_line(place), column: 0 });
        (file, at.line)
    }

    /// Whether a line is one of the document itself, and not of a file that was put into it.
    pub(super) fn is_own(&self, line: u32) -> bool {
        self.places.locate(Position { line, column: 0 }).file.is_none()
    }

    fn begin_line(&self, place: usize) -> u32 {
        match self.blocks.get(place) {
            Some(block) => block.begin_line,
            None => self.other(place).map_or(0, |&(_, line)| line),
        }
    }

    fn other(&self, place: usize) -> Option<&(String, u32)> {
        self.others.get(place.checked_sub(self.blocks.len())?)
    }

    /// The one block of this name; `Err` says what is wrong and what to write.
    pub(super) fn find(&self, name: &str) -> Result<usize, (String, String)> {
        match self.by_name.get(name).map(Vec::as_slice) {
            Some([place]) => Ok(*place),
            Some(places) if !places.is_empty() => {
                let lines: Vec<_> = places.iter().map(|&place| self.line(place)).collect();
                let text =
                    format!("{} blocks are called `{name}`: at lines {}", places.len(), lines.join(", "));
                Err((text, "Give each a name of its own.".to_owned()))
            }
            _ => {
                let left = self.searches.get();
                self.searches.set(left.saturating_sub(1));
                let near =
                    if left > 0 { suggest(name, self.by_name.keys().map(String::as_str)) } else { None };
                let help = match near {
                    Some(near) => format!("Did you mean `{near}`?"),
                    None => "Name it with a line `#+name:` above its `#+begin_src`.".to_owned(),
                };
                Err((format!("no block is called `{name}`"), help))
            }
        }
    }

    /// The waits that the references of the block at `location` make.
    pub(super) fn waits(
        &self,
        place: usize,
        references: &[Reference],
        problems: &mut Vec<Diagnostic>,
    ) -> Vec<Dependency> {
        let mut waits = Vec::with_capacity(references.len());
        for Reference { name, order, at } in references {
            match self.find(name) {
                Ok(other) => waits.push(match order {
                    DependencyArg::Requires => {
                        Dependency { from: other, to: place, requirement: DependencyKind::Succeeded, at: *at }
                    }
                    DependencyArg::After => {
                        Dependency { from: other, to: place, requirement: DependencyKind::Completed, at: *at }
                    }
                    DependencyArg::Before => {
                        Dependency { from: place, to: other, requirement: DependencyKind::Completed, at: *at }
                    }
                }),
                Err((text, help)) => problems.push(Diagnostic::error(*at, text, help)),
            }
        }
        waits
    }
}

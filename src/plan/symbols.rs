//! The symbol table of a document: names of blocks and calls, and the dependencies that references by name create.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use borges_org::{Block, Position, SourceLocation, SourceMap, suggest};
use borges_task::DependencyKind;

use super::arguments::{DependencyArg, Reference};
use super::dependency::Dependency;
use super::diagnostic::Diagnostic;

/// The names of a document's blocks, and the titles of its calls.
#[derive(Debug)]
pub(super) struct SymbolTable<'a> {
    blocks: &'a [Block],
    /// The file and line that each line of the document comes from.
    pub(super) source_map: &'a SourceMap,
    by_name: HashMap<String, Vec<usize>>,
    /// The titles and lines of units other than blocks; their indices follow those of the blocks.
    calls: Vec<(String, u32)>,
    /// How many times the nearest name may still be looked for, among all: more errors than that are not shown.
    searches: Cell<usize>,
}

/// A reference is looked up twice where it is wrong.
const SEARCHES: usize = 2 * Diagnostic::MAX_SHOWN;

/// What a block is called: its name, or `line-14`; of another file, `part.org:line-14`.
fn display_name(block: &Block, source_map: &SourceMap) -> String {
    if let Some(name) = block.name.as_ref().filter(|name| !name.is_empty()) {
        return name.clone();
    }
    let SourceLocation { file, at } = source_map.locate(Position { line: block.begin_line, column: 0 });
    let file = file.map(|file| format!("{file}:")).unwrap_or_default();
    format!("{file}line-{}", at.line)
}

impl<'a> SymbolTable<'a> {
    /// Takes up the names of `blocks`, whose lines come from `source_map`; a name used twice draws a warning for each
    /// block after the first.
    pub(super) fn of(
        blocks: &'a [Block],
        source_map: &'a SourceMap,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let by_name = HashMap::with_capacity(blocks.len());
        let calls = Vec::new();
        let mut names = Self { blocks, source_map, by_name, calls, searches: Cell::new(SEARCHES) };
        for (index, block) in blocks.iter().enumerate() {
            let name = display_name(block, source_map);
            let first = names.by_name.get(&name).and_then(|calls| calls.first());
            if let Some(first) = first.map(|&first| names.line(first)) {
                let at = Position { line: block.first_line, column: 1 };
                let text = format!("the block at line {first} is called `{name}` too");
                diagnostics.push(Diagnostic::warning(at, text, ""));
            }
            names.by_name.entry(name).or_default().push(index);
        }
        names
    }

    /// Takes up something behind the blocks, and behind what was taken up before.
    pub(super) fn add(&mut self, title: String, line: u32) {
        self.calls.push((title, line));
    }

    /// What something on `line` is called that has no name: `line-14`, the second such `line-14.2`.
    pub(super) fn line_title(&self, line: u32) -> String {
        let SourceLocation { file, at } = self.source_map.locate(Position { line, column: 0 });
        let file = file.map(|file| format!("{file}:")).unwrap_or_default();
        // What stands on one line is taken up together.
        let before = self.calls.iter().rev().take_while(|(_, other)| *other == line).count();
        let more = if before > 0 { format!(".{}", before + 1) } else { String::new() };
        format!("{file}line-{}{more}", at.line)
    }

    /// Whether a block is called so.
    pub(super) fn is_block(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// What the unit at `index` is called.
    pub(super) fn title(&self, index: usize) -> String {
        match self.blocks.get(index) {
            Some(block) => display_name(block, self.source_map),
            None => self.other(index).map(|(title, _)| title.clone()).unwrap_or_default(),
        }
    }

    /// Where the unit at `index` begins, for a person: `7`, or `7 of part.org`.
    pub(super) fn line(&self, index: usize) -> String {
        self.source_map.line(self.begin_line(index))
    }

    /// The file the unit at `index` stands in, if it is not the document itself, and its line there.
    pub(super) fn location(&self, index: usize) -> (Option<Arc<str>>, u32) {
        let SourceLocation { file, at } =
            self.source_map.locate(Position { line: self.begin_line(index), column: 0 });
        (file, at.line)
    }

    /// Whether a line is one of the document itself, and not of a file that was put into it.
    pub(super) fn is_own(&self, line: u32) -> bool {
        self.source_map.locate(Position { line, column: 0 }).file.is_none()
    }

    fn begin_line(&self, index: usize) -> u32 {
        match self.blocks.get(index) {
            Some(block) => block.begin_line,
            None => self.other(index).map_or(0, |&(_, line)| line),
        }
    }

    fn other(&self, index: usize) -> Option<&(String, u32)> {
        self.calls.get(index.checked_sub(self.blocks.len())?)
    }

    /// The one block of this name; `Err` says what is wrong and what to write.
    pub(super) fn find(&self, name: &str) -> Result<usize, (String, String)> {
        match self.by_name.get(name).map(Vec::as_slice) {
            Some([index]) => Ok(*index),
            Some(source_map) if !source_map.is_empty() => {
                let lines: Vec<_> = source_map.iter().map(|&index| self.line(index)).collect();
                let text =
                    format!("{} blocks are called `{name}`: at lines {}", source_map.len(), lines.join(", "));
                Err((text, "Give each a name of its own.".to_owned()))
            }
            _ => {
                let left = self.searches.get();
                self.searches.set(left.saturating_sub(1));
                let suggestion =
                    if left > 0 { suggest(name, self.by_name.keys().map(String::as_str)) } else { None };
                let help = match suggestion {
                    Some(suggestion) => format!("Did you mean `{suggestion}`?"),
                    None => "Name it with a line `#+name:` above its `#+begin_src`.".to_owned(),
                };
                Err((format!("no block is called `{name}`"), help))
            }
        }
    }

    /// The dependencies that the references of the block at `index` create.
    pub(super) fn dependencies(
        &self,
        index: usize,
        references: &[Reference],
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<Dependency> {
        let mut dependencies = Vec::with_capacity(references.len());
        for Reference { name, kind, at } in references {
            match self.find(name) {
                Ok(other) => dependencies.push(match kind {
                    DependencyArg::Requires => {
                        Dependency { from: other, to: index, requirement: DependencyKind::Succeeded, at: *at }
                    }
                    DependencyArg::After => {
                        Dependency { from: other, to: index, requirement: DependencyKind::Completed, at: *at }
                    }
                    DependencyArg::Before => {
                        Dependency { from: index, to: other, requirement: DependencyKind::Completed, at: *at }
                    }
                }),
                Err((text, help)) => diagnostics.push(Diagnostic::error(*at, text, help)),
            }
        }
        dependencies
    }
}

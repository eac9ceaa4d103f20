//! What blocks are called, and whom they wait for by these names.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::org::{Block, NowebCall, Place, Places, Position, nearest};
use crate::task::Requirement;

use super::arguments::{Order, Reference};
use super::graph::Wait;
use super::problem::Problem;

/// The document's blocks by name.
#[derive(Debug)]
pub(super) struct Names<'a> {
    blocks: &'a [Block],
    /// Where the lines of the document come from.
    pub(super) places: &'a Places,
    by_name: HashMap<String, Vec<usize>>,
    /// How many times the nearest name may still be looked for, among all: more errors than that are not shown.
    searches: Cell<usize>,
}

/// A reference is looked up twice where it is wrong.
const SEARCHES: usize = 2 * Problem::AT_MOST;

/// What a block is called: its name, or `line-14`; of another file, `part.org:line-14`.
fn title(block: &Block, places: &Places) -> String {
    if let Some(name) = block.name.as_ref().filter(|name| !name.is_empty()) {
        return name.clone();
    }
    let Place { file, at } = places.of(Position { line: block.begin_line, column: 0 });
    let file = file.map(|file| format!("{file}:")).unwrap_or_default();
    format!("{file}line-{}", at.line)
}

impl<'a> Names<'a> {
    /// Takes up the names of `blocks`, whose lines come from `places`; a name used twice draws a warning for each
    /// block after the first.
    pub(super) fn of(blocks: &'a [Block], places: &'a Places, problems: &mut Vec<Problem>) -> Self {
        let by_name = HashMap::with_capacity(blocks.len());
        let mut names = Self { blocks, places, by_name, searches: Cell::new(SEARCHES) };
        for (place, block) in blocks.iter().enumerate() {
            let name = title(block, places);
            let first = names.by_name.get(&name).and_then(|others| others.first());
            if let Some(first) = first.map(|&first| names.line(first)) {
                let at = Position { line: block.first_line, column: 1 };
                let text = format!("the block at line {first} is called `{name}` too");
                problems.push(Problem::warning(at, text, ""));
            }
            names.by_name.entry(name).or_default().push(place);
        }
        names
    }

    /// What the block at `place` is called.
    pub(super) fn title(&self, place: usize) -> String {
        self.blocks.get(place).map(|block| title(block, self.places)).unwrap_or_default()
    }

    /// Where the block at `place` begins, for a person: `7`, or `7 of part.org`.
    pub(super) fn line(&self, place: usize) -> String {
        self.blocks.get(place).map(|block| self.places.line(block.begin_line)).unwrap_or_default()
    }

    /// The file the block at `place` stands in, if it is not the document itself, and its line there.
    pub(super) fn place(&self, place: usize) -> (Option<Arc<str>>, u32) {
        let line = self.blocks.get(place).map_or(0, |block| block.begin_line);
        let Place { file, at } = self.places.of(Position { line, column: 0 });
        (file, at.line)
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
                    if left > 0 { nearest(name, self.by_name.keys().map(String::as_str)) } else { None };
                let help = match near {
                    Some(near) => format!("Did you mean `{near}`?"),
                    None => "Name it with a line `#+name:` above its `#+begin_src`.".to_owned(),
                };
                Err((format!("no block is called `{name}`"), help))
            }
        }
    }

    /// The waits that the references of the block at `place` make.
    pub(super) fn waits(
        &self,
        place: usize,
        references: &[Reference],
        problems: &mut Vec<Problem>,
    ) -> Vec<Wait> {
        let mut waits = Vec::with_capacity(references.len());
        for Reference { name, order, at } in references {
            match self.find(name) {
                Ok(other) => waits.push(match order {
                    Order::Requires => {
                        Wait { from: other, to: place, requirement: Requirement::Success, at: *at }
                    }
                    Order::After => Wait { from: other, to: place, requirement: Requirement::End, at: *at },
                    Order::Before => Wait { from: place, to: other, requirement: Requirement::End, at: *at },
                }),
                Err((text, help)) => problems.push(Problem::error(*at, text, help)),
            }
        }
        waits
    }

    /// The waits for the results that the code of the block at `place` is put together from.
    pub(super) fn calls(&self, place: usize, calls: &[NowebCall], problems: &mut Vec<Problem>) -> Vec<Wait> {
        let wait = |NowebCall { name, at, .. }: &NowebCall| match self.find(name) {
            Ok(from) => Some(Wait { from, to: place, requirement: Requirement::Success, at: *at }),
            Err((text, help)) => {
                problems.push(Problem::error(*at, text, help));
                None
            }
        };
        calls.iter().filter_map(wait).collect()
    }
}

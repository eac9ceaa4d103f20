//! The lines of one section, each with its kind, its indentation, and the line that would end it.
//!
//! The ends are found in one pass from the last line to the first, so that a lookup takes constant time even if many
//! lines begin a block that never ends.

use std::collections::HashMap;

use super::line::{self, Block, Delimiter, Kind};
use super::text::{Text, is_blank, to_u32};

/// No line.
pub(super) const NO_LINE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Line {
    /// Where it begins, in the document.
    start: u32,
    /// Columns before its first character that is no blank. Unlike elsewhere, a tab is 8 of them wherever it
    /// stands: so Org has measured lists since 9.6, to depend on nothing that is displayed.
    indent: u32,
    /// The line that would end it; for an item, its number among the items.
    end_or_item: u32,
    kind: Kind,
    ends: Ends,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Nothing,
    Block,
    Dynamic,
    DynamicWithColon,
}

/// The lines of a section, numbered from 0.
#[derive(Debug, Default)]
pub(super) struct Lines {
    records: Vec<Line>,
    /// Where the last line ends.
    end: usize,
    /// Number of the first line in the document, from 1.
    first: u32,
    /// The lines that look like the beginning of a source block.
    pub(super) sources: Vec<u32>,
    names: HashMap<String, u32>,
    next: Vec<u32>,
}

impl Lines {
    /// Reads the lines of `text` from byte `start` to `end`; the first is line `first` of the document.
    pub(super) fn fill(&mut self, text: Text<'_>, start: usize, end: usize, first: u32) {
        self.records.clear();
        self.sources.clear();
        self.names.clear();
        self.end = end;
        self.first = first;
        let mut environments = false;
        let mut at = start;
        while at < end {
            let (content, next) = text.line(at);
            let blanks = indentation(content).0;
            let indent = blanks + 7 * memchr::memchr_iter(b'\t', &content[..blanks]).count();
            let reading = line::read(content, blanks);
            if reading.kind == Kind::Begin(Block::Src) {
                let after = content.get(blanks + "#+begin_src".len());
                if after.is_none_or(|&b| is_blank(b)) {
                    self.sources.push(self.len());
                }
            }
            environments |= reading.kind == Kind::Latex;
            let (end_or_item, ends) = match reading.delimiter {
                Delimiter::Nothing => (NO_LINE, Ends::Nothing),
                Delimiter::Opens(name) => (self.intern(name), Ends::Nothing),
                Delimiter::Closes(name) => (self.intern(name), Ends::Block),
                Delimiter::ClosesDynamic => (NO_LINE, Ends::Dynamic),
                Delimiter::ClosesDynamicWithColon => (NO_LINE, Ends::DynamicWithColon),
            };
            self.records.push(Line {
                start: to_u32(at),
                indent: to_u32(indent),
                end_or_item,
                kind: reading.kind,
                ends,
            });
            at = next;
        }
        self.link_ends();
        if environments {
            self.link_environments(text);
        }
    }

    fn intern(&mut self, name: String) -> u32 {
        let fresh = to_u32(self.names.len());
        *self.names.entry(name).or_insert(fresh)
    }

    fn link_ends(&mut self) {
        self.next.clear();
        self.next.resize(self.names.len(), NO_LINE);
        let (mut dynamic, mut dynamic_with_colon, mut drawer) = (NO_LINE, NO_LINE, NO_LINE);
        for n in (0..self.len()).rev() {
            let line = &mut self.records[n as usize];
            match line.kind {
                Kind::Begin(_) => line.end_or_item = self.next[line.end_or_item as usize],
                Kind::Dynamic | Kind::DynamicBare => line.end_or_item = dynamic,
                Kind::Drawer => line.end_or_item = drawer,
                Kind::DrawerEnd => line.end_or_item = std::mem::replace(&mut drawer, n),
                _ => {}
            }
            match line.ends {
                Ends::Nothing => {}
                Ends::Block => {
                    self.next[line.end_or_item as usize] = n;
                    line.end_or_item = NO_LINE;
                }
                Ends::Dynamic => {
                    // A list looks for the colon: `Lines::skipped_in_list`.
                    line.end_or_item = dynamic_with_colon;
                    dynamic = n;
                }
                Ends::DynamicWithColon => {
                    dynamic = n;
                    dynamic_with_colon = n;
                }
            }
        }
    }

    fn link_environments(&mut self, text: Text<'_>) {
        let mut next = HashMap::new();
        for n in (0..self.len()).rev() {
            let line = self.records[n as usize];
            if let Some(name) = line::latex_end(self.content(text, n)) {
                next.insert(name, n);
            }
            if line.kind == Kind::Latex {
                let line::Reading { delimiter: Delimiter::Opens(name), .. } = self.reread(text, n) else {
                    continue;
                };
                self.records[n as usize].end_or_item = next.get(&name).copied().unwrap_or(NO_LINE);
            }
        }
    }

    fn reread(&self, text: Text<'_>, n: u32) -> line::Reading {
        let content = self.content(text, n);
        line::read(content, indentation(content).0)
    }

    pub(super) fn len(&self) -> u32 {
        to_u32(self.records.len())
    }

    pub(super) fn kind(&self, n: u32) -> Kind {
        self.records.get(n as usize).map_or(Kind::Blank, |line| line.kind)
    }

    pub(super) fn indent(&self, n: u32) -> u32 {
        self.records[n as usize].indent
    }

    /// The line that ends what line `n` begins, if it stands before line `limit`.
    pub(super) fn end_before(&self, n: u32, limit: u32) -> Option<u32> {
        let end = self.records[n as usize].end_or_item;
        (end < limit).then_some(end)
    }

    /// The last line of what a list passes over without looking for items, beginning at line `n`.
    pub(super) fn skipped_in_list(&self, n: u32, limit: u32) -> u32 {
        let line = self.records[n as usize];
        let end = match line.kind {
            Kind::Begin(Block::Starred) => NO_LINE,
            Kind::Begin(_) | Kind::Drawer => line.end_or_item,
            Kind::Dynamic | Kind::DynamicBare => match self.records.get(line.end_or_item as usize) {
                Some(end) if end.ends == Ends::Dynamic => end.end_or_item,
                _ => line.end_or_item,
            },
            _ => NO_LINE,
        };
        if end < limit { end } else { n }
    }

    pub(super) fn item(&self, n: u32) -> u32 {
        self.records[n as usize].end_or_item
    }

    pub(super) fn set_item(&mut self, n: u32, item: u32) {
        self.records[n as usize].end_or_item = item;
    }

    /// Its number in the document, from 1.
    pub(super) fn number(&self, n: u32) -> u32 {
        self.first.saturating_add(n)
    }

    /// Where it begins, in the document.
    pub(super) fn start(&self, n: u32) -> usize {
        self.records.get(n as usize).map_or(self.end, |line| line.start as usize)
    }

    /// The line without its end.
    pub(super) fn content<'a>(&self, text: Text<'a>, n: u32) -> &'a [u8] {
        let line = &text.bytes[self.start(n)..self.start(n + 1)];
        match line.strip_suffix(b"\n") {
            Some(line) => text.without_cr(line),
            None => line,
        }
    }
}

/// How many blanks a line begins with, and how many columns they take.
pub(super) fn indentation(line: &[u8]) -> (usize, usize) {
    let mut columns = 0;
    for (n, &byte) in line.iter().enumerate() {
        match byte {
            b' ' => columns += 1,
            b'\t' => columns += 8 - columns % 8,
            _ => return (n, columns),
        }
    }
    (line.len(), columns)
}

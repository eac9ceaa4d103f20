//! Finds where the result of a block or a call stands in a document, or where a new one belongs, as Emacs does.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::document::Document;
use super::lines::indentation;
use super::tree::Element;

/// What a result belongs to, by its number in the lists of its [`Document`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// [`Document::blocks`]
    Block(usize),
    /// [`Document::calls`]
    Call(usize),
    /// [`Document::inline_blocks`]
    InlineBlock(usize),
    /// [`Document::inline_calls`]
    InlineCall(usize),
}

/// The place of a result below its block or call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Bytes of the document that are replaced: the old result, and where the keyword has to be written anew, that
    /// too.
    pub old: Range<usize>,
    /// What is written there first: a blank line and `#+RESULTS:` where there was none.
    pub before: String,
    /// What is written after the result: a blank line where something would come too close.
    pub after: &'static str,
    /// Columns that the result's lines are indented by.
    pub indent: usize,
}

/// The place of a result within text, right behind its block or call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineSlot {
    /// Bytes of the document that are replaced: the old result's macro.
    pub old: Range<usize>,
    /// There is no old result: a blank comes first.
    pub new: bool,
}

/// Finds places in one document; what many of them ask for is looked up once.
#[derive(Debug)]
pub struct ResultLocator<'d> {
    document: &'d Document,
    text: &'d [u8],
    crlf: bool,
    /// `#+RESULTS:` lines, in order.
    results_lines: Vec<ResultsLine>,
    /// Nodes of the calls.
    calls: Vec<usize>,
}

/// A `#+RESULTS[hash]: name` line.
#[derive(Debug)]
struct ResultsLine {
    span: Range<usize>,
    name: String,
    hash: Option<String>,
    /// The element it stands at: itself, or what it is affiliated to.
    node: usize,
}

impl<'d> ResultLocator<'d> {
    /// The places in `document`, which was read from `text`.
    pub fn new(document: &'d Document, text: &'d [u8]) -> Self {
        let tree = &document.tree;
        let nodes_of =
            |element| (0..tree.nodes().len()).filter(move |&node| tree.nodes()[node].element == element);
        let crlf = super::text::Text::new(text).crlf;
        let mut locator = Self {
            document,
            text,
            crlf,
            results_lines: Vec::new(),
            calls: nodes_of(Element::Call).collect(),
        };
        locator.results_lines = locator.find_results_lines();
        locator
    }

    /// The hash that stands at the result of `target`, if it has a result with one.
    pub fn hash(&self, target: Target) -> Option<&str> {
        let (node, name) = self.node(target)?;
        self.results_line(node, name).and_then(|line| line.hash.as_deref())
    }

    /// The hash of the result of `target`, and the element that is the result, if it is not empty; `None` without a hash.
    pub fn existing_result(&self, target: Target) -> Option<(&str, Option<usize>)> {
        let (node, name) = self.node(target)?;
        let line = self.results_line(node, name)?;
        let hash = line.hash.as_deref()?;
        let start = line.span.end;
        if self.text[line_at(self.text, start)].trim_ascii().is_empty() {
            return Some((hash, None));
        }
        let is_alone = self.document.tree.nodes()[line.node].element == Element::Keyword;
        Some((hash, if is_alone { self.node_at(start) } else { Some(line.node) }))
    }

    /// The place of the result of a block or call that stands on lines of its own. `append` and `prepend` keep the
    /// old result; where its hash becomes another one, the keyword is written anew.
    pub fn slot(&self, target: Target, keep: Keep, hash: Hash) -> Option<Slot> {
        let (node, name) = self.node(target)?;
        let new = match hash {
            Hash::Set(hash) => Some(hash),
            Hash::Keep | Hash::Remove => None,
        };
        let Some(line) = self.results_line(node, name) else { return Some(self.new_slot(node, name, new)) };
        if hash != Hash::Keep && line.hash.as_deref() != new {
            return Some(self.slot_with_new_keyword(line, node, name, new));
        }
        let indent = indentation(&self.text[line.span.clone()]).1;
        let start = line.span.end;
        let end = self.result_end(line);
        let old = match keep {
            Keep::Nothing => start..end,
            Keep::Before => end..end,
            Keep::After => start..start,
        };
        // A keyword at the end of a text without a last newline.
        let unterminated = !self.text[..start].ends_with(b"\n");
        let before = if unterminated { self.newline().to_owned() } else { String::new() };
        Some(Slot { old, before, after: "", indent })
    }

    /// The place of a result within text.
    pub fn inline(&self, target: Target) -> Option<InlineSlot> {
        let span = match target {
            Target::InlineBlock(n) => &self.document.inline_blocks.get(n)?.span,
            Target::InlineCall(n) => &self.document.inline_calls.get(n)?.span,
            Target::Block(_) | Target::Call(_) => return None,
        };
        let end = span.end;
        let rest = self.text.get(end..)?;
        // An old result may stand on the next line of the same paragraph.
        let blanks = rest.iter().take_while(|&&b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
        let newlines = memchr::memchr_iter(b'\n', &rest[..blanks]).count();
        let next = &rest[blanks..];
        if newlines <= 1
            && starts_with(next, b"{{{results(")
            && let Some(length) = macro_length(next)
        {
            return Some(InlineSlot { old: end + blanks..end + blanks + length, new: false });
        }
        Some(InlineSlot { old: end..end, new: true })
    }

    /// What the document's lines end in.
    pub fn newline(&self) -> &'static str {
        if self.crlf { "\r\n" } else { "\n" }
    }

    fn node(&self, target: Target) -> Option<(usize, Option<&str>)> {
        match target {
            Target::Block(n) => {
                let block = self.document.blocks.get(n)?;
                Some((block.node, block.name.as_deref().filter(|name| !name.is_empty())))
            }
            Target::Call(n) => {
                let node = *self.calls.get(n)?;
                Some((node, self.call_name(node)))
            }
            Target::InlineBlock(_) | Target::InlineCall(_) => None,
        }
    }

    /// The name that `#+name:` gives a call.
    fn call_name(&self, node: usize) -> Option<&'d str> {
        let document: &'d Document = self.document;
        let affiliated = std::str::from_utf8(document.tree.affiliated(node)).ok()?;
        affiliated.lines().rev().find_map(|line| {
            let line = line.trim_start().strip_prefix("#+")?;
            let (key, value) = line.split_once(':')?;
            (key.eq_ignore_ascii_case("name") && !value.trim().is_empty()).then(|| value.trim())
        })
    }

    /// The line that stands at the result of a block or call: one of its name, or the one that follows what has none.
    fn results_line(&self, node: usize, name: Option<&str>) -> Option<&ResultsLine> {
        if let Some(name) = name {
            return self.results_lines.iter().find(|line| line.name.eq_ignore_ascii_case(name));
        }
        let next = self.document.tree.next(node)?;
        let span = self.document.tree.span(node).end..self.own_start(next) + 1;
        let from = self.results_lines.partition_point(|line| line.span.start < span.start);
        let mut lines = self.results_lines[from..].iter().take_while(|line| line.node == next);
        lines.find(|line| line.name.is_empty())
    }

    /// Where an element goes on after its affiliated keywords.
    fn own_start(&self, node: usize) -> usize {
        self.document.tree.span(node).start + self.document.tree.affiliated(node).len()
    }

    /// The end of the old result of a keyword.
    fn result_end(&self, line: &ResultsLine) -> usize {
        let start = line.span.end;
        let first = line_at(self.text, start);
        let line_text = self.text[first.clone()].trim_ascii();
        if line_text.is_empty() {
            return start;
        }
        if is_link(line_text) {
            return first.end;
        }
        let tree = &self.document.tree;
        let result = if tree.nodes()[line.node].element == Element::Keyword {
            // Nothing that it could be affiliated to follows, but a drawer or a headline may.
            self.node_at(start)
        } else {
            Some(line.node)
        };
        let Some(result) = result else { return start };
        let is_replaced = matches!(
            tree.nodes()[result].element,
            Element::Drawer
                | Element::Example
                | Element::Export
                | Element::FixedWidth
                | Element::Special
                | Element::Source
                | Element::Item
                | Element::List
                | Element::Table
                | Element::Latex
        );
        if is_replaced { self.trimmed(tree.span(result)).end.max(start) } else { start }
    }

    /// The element that begins at byte `at`.
    fn node_at(&self, at: usize) -> Option<usize> {
        let tree = &self.document.tree;
        let mut low = 0;
        let mut high = tree.nodes().len();
        while low < high {
            let middle = usize::midpoint(low, high);
            if tree.span(middle).start < at { low = middle + 1 } else { high = middle }
        }
        (low < tree.nodes().len() && tree.span(low).start == at).then_some(low)
    }

    /// Without the blank lines at its end.
    fn trimmed(&self, span: Range<usize>) -> Range<usize> {
        let last_byte =
            self.text[span.clone()].iter().rposition(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
        let last = span.start + last_byte.unwrap_or(0);
        span.start..line_at(self.text, last).end
    }

    /// Where a result is to stand that has no place yet: below, after a blank line.
    fn new_slot(&self, node: usize, name: Option<&str>, hash: Option<&str>) -> Slot {
        let newline = self.newline();
        let at = self.trimmed(self.document.tree.span(node)).end;
        let unterminated = !self.text[..at].ends_with(b"\n");
        let indent = self.indent_below(node);
        let keyword = keyword(name, hash);
        let mut before = String::new();
        if unterminated {
            before += newline;
        }
        before += &format!("{newline}{}{keyword}{newline}", blanks(indent));
        Slot { old: at..at, before, after: self.space_after(at), indent }
    }

    /// The same place with a new keyword, for the hash is another one.
    fn slot_with_new_keyword(
        &self,
        line: &ResultsLine,
        node: usize,
        name: Option<&str>,
        hash: Option<&str>,
    ) -> Slot {
        let tree = &self.document.tree;
        let element = &tree.nodes()[line.node];
        let end = match element.element {
            Element::Keyword => line.span.end,
            _ => self.trimmed(tree.span(line.node)).end,
        };
        let indent = self.indent_below(node);
        let newline = self.newline();
        let before = format!("{}{}{newline}", blanks(indent), keyword(name, hash));
        Slot { old: line.span.start..end, before, after: self.space_after(end), indent }
    }

    /// What keeps a new result apart from what follows at byte `at`.
    fn space_after(&self, at: usize) -> &'static str {
        let next = &self.text[line_at(self.text, at)];
        let blank = next.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
        if blank { "" } else { self.newline() }
    }

    /// Columns that a line below a block or call is indented by: as the block is, and in an item as its text.
    fn indent_below(&self, node: usize) -> usize {
        let start = self.document.tree.span(node).start;
        let line = line_at(self.text, start);
        if line.start == start || self.text[line.start..start].iter().all(|b| matches!(b, b' ' | b'\t')) {
            return indentation(&self.text[line]).1;
        }
        // It begins behind a bullet.
        indentation(&self.text[line.start..start]).1 + 2
    }

    /// The lines that stand at results: keywords of their own, or affiliated to what follows.
    fn find_results_lines(&self) -> Vec<ResultsLine> {
        let mut lines = Vec::new();
        let tree = &self.document.tree;
        let mut node = 0;
        let finder = memchr::memmem::Finder::new(b"#+");
        for at in finder.find_iter(self.text) {
            if !starts_with(&self.text[at..], b"#+results") {
                continue;
            }
            let span = line_at(self.text, at);
            if !self.text[span.start..at].iter().all(|b| matches!(b, b' ' | b'\t')) {
                continue;
            }
            while node + 1 < tree.nodes().len() && tree.span(node + 1).start <= span.start {
                node += 1;
            }
            let affiliated = tree.span(node).start..self.own_start(node);
            let is_results_line = match tree.nodes().get(node).map(|node| node.element) {
                Some(Element::Keyword | Element::Plain) => true,
                _ => affiliated.contains(&span.start),
            };
            if let Some((name, hash)) = read_keyword(&self.text[at..span.end]).filter(|_| is_results_line) {
                lines.push(ResultsLine { span, name, hash, node });
            }
        }
        lines
    }
}

/// What becomes of the hash of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash<'a> {
    /// It is this one.
    Set(&'a str),
    /// One that stands there stays.
    Keep,
    /// It has none.
    Remove,
}

/// What of an old result stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It is replaced.
    Nothing,
    /// The new one comes after it.
    Before,
    /// The new one comes before it.
    After,
}

fn keyword(name: Option<&str>, hash: Option<&str>) -> String {
    let hash = hash.map_or(String::new(), |hash| format!("[{hash}]"));
    let name = name.map_or(String::new(), |name| format!(" {name}"));
    format!("#+RESULTS{hash}:{name}")
}

fn blanks(columns: usize) -> String {
    // As Emacs indents: tabs are of 8 columns.
    format!("{}{}", "\t".repeat(columns / 8), " ".repeat(columns % 8))
}

/// Name and hash of a line from its `#+` on.
fn read_keyword(line: &[u8]) -> Option<(String, Option<String>)> {
    let line = String::from_utf8_lossy(line);
    let rest = line.get("#+results".len()..)?;
    let (hash_part, name) = rest.split_once(':')?;
    let hash = hash_part.strip_prefix('[').and_then(|hash| hash.strip_suffix(']'));
    if !hash_part.is_empty() && hash.is_none() {
        return None;
    }
    let hash = hash.map(|hash| hash.rsplit(' ').next().unwrap_or_default().to_owned());
    Some((name.trim_matches([' ', '\t', '\r', '\n']).to_owned(), hash))
}

/// The line that byte `at` is on, its end included.
fn line_at(text: &[u8], at: usize) -> Range<usize> {
    let at = at.min(text.len());
    let start = memchr::memrchr(b'\n', &text[..at]).map_or(0, |n| n + 1);
    let end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |n| at + n + 1);
    start..end
}

fn starts_with(bytes: &[u8], lower: &[u8]) -> bool {
    bytes.get(..lower.len()).is_some_and(|head| head.eq_ignore_ascii_case(lower))
}

/// A line that holds a link in brackets and nothing else.
fn is_link(line: &[u8]) -> bool {
    let Some(inner) = line.strip_prefix(b"[[").and_then(|line| line.strip_suffix(b"]]")) else {
        return false;
    };
    let mut parts = 0;
    let mut rest = inner;
    while let Some(at) = memchr::memmem::find(rest, b"][") {
        parts += 1;
        rest = &rest[at + 2..];
    }
    let brackets = inner.iter().filter(|&&b| b == b'[' || b == b']').count();
    parts <= 1 && brackets == 2 * parts && !inner.is_empty()
}

/// The length of the macro call that begins here.
fn macro_length(text: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, b")}}}").map(|at| at + 4)
}

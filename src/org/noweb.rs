//! `<<name>>` in bodies: found, and replaced by the bodies they name, as `org-babel-expand-noweb-references`
//! does when a block is to run.
//!
//! Two ways from Emacs, each told in `integration/org/DIFFERENCES.org`: what a name stands for depends on the
//! document alone, not on what was expanded before; and what is expanded is bounded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use memchr::memmem;

use super::coderef::CoderefStripper;
use super::document::{Block, Document, Position, Value};
use super::expansion_error::{ExpansionError, ExpansionErrorKind, MAX_DEPTH};
use super::heading;
use super::placeholder;
use super::reference::{self, NowebCall, reference};
use super::text::{Text, decode, to_u32};

/// A body as it would run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpandedBody<'a> {
    /// Its code.
    pub text: Cow<'a, [u8]>,
    /// The first reference that nothing in the document answers to, which has become nothing: its place, and
    /// what it names.
    pub missing: Option<(Position, String)>,
    /// References that want the result of a block, in the order in which their [gaps](Gap) stand in the text.
    pub calls: Vec<NowebCall>,
}

/// A body with the references in it replaced.
#[derive(Debug, Default)]
struct Expansion {
    text: Vec<u8>,
    missing: Option<(Position, String)>,
}

/// How many calls of a body are told: more help nobody.
const CALLS: usize = 20;
/// Bytes that any document may expand to, and how many more for each byte of it.
const BUDGET: (usize, usize) = (64 << 20, 8);

/// The bodies of a document, as they would run.
#[derive(Debug)]
pub struct BodyExpander<'d> {
    text: Text<'d>,
    blocks: &'d [Block],
    /// The first block that a reference to each name finds; names in small letters.
    names: HashMap<String, usize>,
    /// What is under headings with a `CUSTOM_ID`; looked for when first asked for.
    headings: Option<HashMap<String, Range<usize>>>,
    /// Blocks by their `:noweb-ref`, in document order.
    shared: HashMap<&'d str, Vec<usize>>,
    known: HashMap<usize, Rc<Expansion>>,
    /// The references seen so far that want a result.
    calls: Vec<NowebCall>,
    /// The blocks that are being expanded, outermost first.
    open: Vec<usize>,
    budget: usize,
    labels: CoderefStripper,
    /// Where each line begins; counted when first asked for.
    lines: Option<Vec<u32>>,
}

impl<'d> BodyExpander<'d> {
    /// The bodies of `document`, which was read from `source`.
    pub fn new(source: &'d [u8], document: &'d Document) -> Self {
        let (text, blocks) = (Text::new(source), &document.blocks);
        let mut names = HashMap::new();
        let mut shared: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, block) in blocks.iter().enumerate() {
            let begin = document.tree.content_start(block.node).saturating_sub(text.mark);
            for name in reference::names_above(&text, begin) {
                names.entry(name).or_insert(place);
            }
            if let Some(Value::Text(reference)) = value(block, ":noweb-ref")
                && !block.commented
            {
                shared.entry(reference).or_default().push(place);
            }
        }
        let budget = source.len().saturating_mul(BUDGET.1).saturating_add(BUDGET.0);
        let (known, calls, open, labels) =
            (HashMap::new(), Vec::new(), Vec::new(), CoderefStripper::default());
        Self { text, blocks, names, headings: None, shared, known, calls, open, budget, labels, lines: None }
    }

    /// The code that would run: references expanded where `:noweb` says so, `(ref:label)`s taken off.
    ///
    /// `place` is the block's among the document's blocks; where there is none, the code is empty.
    pub fn run_body(&mut self, place: usize) -> Result<ExpandedBody<'d>, ExpansionError> {
        let Some(block) = self.blocks.get(place) else {
            return Ok(ExpandedBody { text: Cow::Borrowed(b""), missing: None, calls: Vec::new() });
        };
        if !expands(block) {
            let text = self.labels.strip(block, &block.body);
            return Ok(ExpandedBody { text, missing: None, calls: Vec::new() });
        }
        let expansion = self.expanded(place)?;
        let text = Cow::Owned(self.labels.strip(block, &expansion.text).into_owned());
        let calls = self.calls_in(&text);
        Ok(ExpandedBody { text, missing: expansion.missing.clone(), calls })
    }

    /// The body with its references expanded, whatever its `:noweb` says; and the first calls in it, which have
    /// become nothing.
    pub(super) fn expand(&mut self, place: usize) -> Result<(Vec<u8>, Vec<NowebCall>), ExpansionError> {
        let expansion = self.expanded(place)?;
        let mut calls: Vec<NowebCall> = Vec::new();
        for call in self.calls_in(&expansion.text) {
            if calls.len() < CALLS && !calls.contains(&call) {
                calls.push(call);
            }
        }
        Ok((placeholder::without(&expansion.text), calls))
    }

    fn calls_in(&self, text: &[u8]) -> Vec<NowebCall> {
        placeholder::gaps(text).filter_map(|gap| self.calls.get(gap.number)).cloned().collect()
    }

    fn expanded(&mut self, place: usize) -> Result<Rc<Expansion>, ExpansionError> {
        if let Some(known) = self.known.get(&place) {
            return Ok(Rc::clone(known));
        }
        self.open.push(place);
        let result = self.replace(place).map(Rc::new);
        self.open.pop();
        let expansion = result?;
        self.known.insert(place, Rc::clone(&expansion));
        Ok(expansion)
    }

    fn replace(&mut self, place: usize) -> Result<Expansion, ExpansionError> {
        let block = &self.blocks[place];
        let first = block.begin_line.saturating_add(1);
        let prefixed = match value(block, ":noweb-prefix") {
            None => true,
            Some(Value::None) => false,
            Some(Value::Text(text)) => text != "no" && text != "nil",
            Some(_) => true,
        };
        let mut out = Expansion::default();
        self.spend(block.body.len(), first)?;
        for (number, line) in (first..).zip(block.body.split(|&b| b == b'\n')) {
            if number > first {
                out.text.push(b'\n');
            }
            let mut from = 0;
            while let Some((open, close)) = reference(line, from) {
                let prefix = &line[from..open];
                out.text.extend_from_slice(prefix);
                let id = decode(&line[open + 2..close - 2]);
                if let Some((name, arguments)) = NowebCall::read(&id) {
                    let at = self.find(&id, number);
                    self.spend(prefix.len().saturating_add(128), number)?;
                    placeholder::write(self.calls.len(), prefixed, &mut out.text);
                    self.calls.push(NowebCall { name: name.to_owned(), arguments: arguments.to_owned(), at });
                    from = close;
                    continue;
                }
                let filling = self.filling(&id, number, &mut out)?;
                if prefixed {
                    let lines = memchr::memchr2_iter(b'\n', b'\r', &filling).count();
                    let cost = filling.len().saturating_add(lines.saturating_mul(prefix.len()));
                    self.spend(cost.saturating_add(64), number)?;
                    for (n, piece) in filling.split(|&b| b == b'\n' || b == b'\r').enumerate() {
                        if n > 0 {
                            out.text.push(b'\n');
                            out.text.extend_from_slice(prefix);
                        }
                        out.text.extend_from_slice(piece);
                    }
                } else {
                    self.spend(filling.len().saturating_add(64), number)?;
                    out.text.extend_from_slice(&filling);
                }
                from = close;
            }
            out.text.extend_from_slice(&line[from..]);
        }
        Ok(out)
    }

    /// What the reference to `id` on line `number` stands for.
    fn filling(&mut self, id: &str, number: u32, out: &mut Expansion) -> Result<Vec<u8>, ExpansionError> {
        // A heading stands for all that is under it, as it is written.
        let headings = self.headings.get_or_insert_with(|| heading::by_custom_id(self.text));
        if let Some(range) = headings.get(&id.to_lowercase()) {
            let section = shown(self.text, &self.text.bytes[range.clone()]);
            self.spend(section.len(), number)?;
            return Ok(section);
        }
        // A name stands for its block, unless that is commented; a block without a name of its own lends
        // itself by `:noweb-ref`.
        let named = self.names.get(&id.to_lowercase()).filter(|&&place| !self.blocks[place].commented);
        let places = match named {
            Some(&place) => vec![place],
            None => self.shared.get(id).cloned().unwrap_or_default(),
        };
        if places.is_empty() && out.missing.is_none() {
            out.missing = Some((self.find(id, number), id.to_owned()));
        }
        let mut text = Vec::new();
        for (n, &place) in places.iter().enumerate() {
            let block = &self.blocks[place];
            if let Some((_, why)) = &block.error {
                return Err(self.trouble(id, number, ExpansionErrorKind::Unreadable(why.clone())));
            }
            if expands(block) {
                if let Some(start) = self.open.iter().position(|&open| open == place) {
                    let lines = self.open[start..].iter().map(|&open| self.blocks[open].begin_line).collect();
                    return Err(self.trouble(id, number, ExpansionErrorKind::Cycle(lines)));
                }
                if self.open.len() >= MAX_DEPTH {
                    return Err(self.trouble(id, number, ExpansionErrorKind::TooDeep));
                }
                let expansion = self.expanded(place)?;
                self.spend(expansion.text.len(), number)?;
                text.extend_from_slice(&expansion.text);
                out.missing = out.missing.take().or_else(|| expansion.missing.clone());
            } else {
                self.spend(block.body.len(), number)?;
                text.extend_from_slice(&block.body);
            }
            if n + 1 < places.len() {
                let separator = match value(block, ":noweb-sep") {
                    Some(Value::Text(separator)) => separator.as_bytes(),
                    _ => b"\n",
                };
                self.spend(separator.len(), number)?;
                text.extend_from_slice(separator);
            }
        }
        Ok(text)
    }

    fn spend(&mut self, cost: usize, number: u32) -> Result<(), ExpansionError> {
        self.budget = self.budget.saturating_sub(cost);
        if self.budget > 0 {
            return Ok(());
        }
        Err(ExpansionError { at: Position { line: number, column: 0 }, kind: ExpansionErrorKind::TooLarge })
    }

    fn trouble(&mut self, id: &str, number: u32, kind: ExpansionErrorKind) -> ExpansionError {
        ExpansionError { at: self.find(id, number), kind }
    }

    /// Where the reference to `id` on line `number` stands.
    fn find(&mut self, id: &str, number: u32) -> Position {
        let text = self.text;
        let starts = self.lines.get_or_insert_with(|| {
            std::iter::once(0)
                .chain(memchr::memchr_iter(b'\n', text.bytes).map(|end| to_u32(end + 1)))
                .collect()
        });
        let start =
            starts.get(number.saturating_sub(1) as usize).map_or(text.bytes.len(), |&start| start as usize);
        let line = text.line(start).0;
        match memmem::find(line, format!("<<{id}>>").as_bytes()) {
            Some(at) => Position::in_line(line, number, at),
            None => Position { line: number, column: 0 },
        }
    }
}

/// `bytes` with newlines for line ends.
fn shown(text: Text<'_>, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) if text.crlf => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            _ => out.extend_from_slice(line),
        }
    }
    out
}

/// The value in force of a block's argument.
fn value<'b>(block: &'b Block, key: &str) -> Option<&'b Value> {
    block.params.iter().find(|param| param.key == key).map(|param| &param.value)
}

/// Whether `:noweb` asks for references to be expanded when the block runs.
pub(super) fn expands(block: &Block) -> bool {
    let Some(Value::Text(words)) = value(block, ":noweb") else { return false };
    let asks = |word| matches!(word, "yes" | "no-export" | "strip-export" | "eval" | "strip-tangle");
    words.split_whitespace().any(asks)
}

#[cfg(test)]
mod tests;

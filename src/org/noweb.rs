//! Expands noweb references: each `<<name>>` in a body is replaced by the bodies that it names, as
//! `org-babel-expand-noweb-references` does before a block runs.
//!
//! Two differences from Emacs are explained in `integration/org/DIFFERENCES.org`: the expansion of a name depends on
//! the document alone and not on earlier expansions, and the size of all expansions is bounded.

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
    /// References that want the result of a block, in the order in which their placeholders stand in the text.
    pub calls: Vec<NowebCall>,
}

/// A body with the references in it replaced.
#[derive(Debug, Default)]
struct Expansion {
    text: Vec<u8>,
    missing: Option<(Position, String)>,
}

/// Maximum number of calls that [`BodyExpander::expand`] returns.
const MAX_CALLS: usize = 20;
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
    noweb_refs: HashMap<&'d str, Vec<usize>>,
    expansions: HashMap<usize, Rc<Expansion>>,
    /// The references seen so far that want a result.
    calls: Vec<NowebCall>,
    /// The blocks that are being expanded, outermost first.
    expanding: Vec<usize>,
    budget: usize,
    coderefs: CoderefStripper,
    /// Where each line begins; counted when first asked for.
    line_starts: Option<Vec<u32>>,
}

impl<'d> BodyExpander<'d> {
    /// The bodies of `document`, which was read from `source`.
    pub fn new(source: &'d [u8], document: &'d Document) -> Self {
        let (text, blocks) = (Text::new(source), &document.blocks);
        let mut names = HashMap::new();
        let mut noweb_refs: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, block) in blocks.iter().enumerate() {
            let begin = document.tree.content_start(block.node).saturating_sub(text.mark);
            for name in reference::names_above(&text, begin) {
                names.entry(name).or_insert(index);
            }
            if let Some(Value::Text(reference)) = value(block, ":noweb-ref")
                && !block.commented
            {
                noweb_refs.entry(reference).or_default().push(index);
            }
        }
        let budget = source.len().saturating_mul(BUDGET.1).saturating_add(BUDGET.0);
        let (expansions, calls, expanding, coderefs) =
            (HashMap::new(), Vec::new(), Vec::new(), CoderefStripper::default());
        Self {
            text,
            blocks,
            names,
            headings: None,
            noweb_refs,
            expansions,
            calls,
            expanding,
            budget,
            coderefs,
            line_starts: None,
        }
    }

    /// The code that would run: references expanded where `:noweb` says so, `(ref:label)`s taken off.
    ///
    /// `index` is the block's among the document's blocks; where there is none, the code is empty.
    pub fn run_body(&mut self, index: usize) -> Result<ExpandedBody<'d>, ExpansionError> {
        let Some(block) = self.blocks.get(index) else {
            return Ok(ExpandedBody { text: Cow::Borrowed(b""), missing: None, calls: Vec::new() });
        };
        if !expands(block) {
            let text = self.coderefs.strip(block, &block.body);
            return Ok(ExpandedBody { text, missing: None, calls: Vec::new() });
        }
        let expansion = self.expansion(index)?;
        let text = Cow::Owned(self.coderefs.strip(block, &expansion.text).into_owned());
        let calls = self.calls_in(&text);
        Ok(ExpandedBody { text, missing: expansion.missing.clone(), calls })
    }

    /// The body with its references expanded, whatever its `:noweb` says; and the first calls in it, which have
    /// become nothing.
    pub(super) fn expand(&mut self, index: usize) -> Result<(Vec<u8>, Vec<NowebCall>), ExpansionError> {
        let expansion = self.expansion(index)?;
        let mut calls: Vec<NowebCall> = Vec::new();
        for call in self.calls_in(&expansion.text) {
            if calls.len() < MAX_CALLS && !calls.contains(&call) {
                calls.push(call);
            }
        }
        Ok((placeholder::without(&expansion.text), calls))
    }

    fn calls_in(&self, text: &[u8]) -> Vec<NowebCall> {
        placeholder::placeholders(text)
            .filter_map(|placeholder| self.calls.get(placeholder.number))
            .cloned()
            .collect()
    }

    fn expansion(&mut self, index: usize) -> Result<Rc<Expansion>, ExpansionError> {
        if let Some(expansion) = self.expansions.get(&index) {
            return Ok(Rc::clone(expansion));
        }
        self.expanding.push(index);
        let result = self.expand_references(index).map(Rc::new);
        self.expanding.pop();
        let expansion = result?;
        self.expansions.insert(index, Rc::clone(&expansion));
        Ok(expansion)
    }

    fn expand_references(&mut self, index: usize) -> Result<Expansion, ExpansionError> {
        let block = &self.blocks[index];
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
                    let at = self.locate(&id, number);
                    self.spend(prefix.len().saturating_add(128), number)?;
                    placeholder::write(self.calls.len(), prefixed, &mut out.text);
                    self.calls.push(NowebCall { name: name.to_owned(), arguments: arguments.to_owned(), at });
                    from = close;
                    continue;
                }
                let replacement = self.replacement(&id, number, &mut out)?;
                if prefixed {
                    let lines = memchr::memchr2_iter(b'\n', b'\r', &replacement).count();
                    let cost = replacement.len().saturating_add(lines.saturating_mul(prefix.len()));
                    self.spend(cost.saturating_add(64), number)?;
                    for (n, piece) in replacement.split(|&b| b == b'\n' || b == b'\r').enumerate() {
                        if n > 0 {
                            out.text.push(b'\n');
                            out.text.extend_from_slice(prefix);
                        }
                        out.text.extend_from_slice(piece);
                    }
                } else {
                    self.spend(replacement.len().saturating_add(64), number)?;
                    out.text.extend_from_slice(&replacement);
                }
                from = close;
            }
            out.text.extend_from_slice(&line[from..]);
        }
        Ok(out)
    }

    /// What the reference to `id` on line `number` stands for.
    fn replacement(&mut self, id: &str, number: u32, out: &mut Expansion) -> Result<Vec<u8>, ExpansionError> {
        // A heading stands for all that is under it, as it is written.
        let headings = self.headings.get_or_insert_with(|| heading::by_custom_id(self.text));
        if let Some(range) = headings.get(&id.to_lowercase()) {
            let section = with_newlines(self.text, &self.text.bytes[range.clone()]);
            self.spend(section.len(), number)?;
            return Ok(section);
        }
        // A name stands for its block, unless that is commented; a block without a name of its own lends
        // itself by `:noweb-ref`.
        let named = self.names.get(&id.to_lowercase()).filter(|&&index| !self.blocks[index].commented);
        let indices = match named {
            Some(&index) => vec![index],
            None => self.noweb_refs.get(id).cloned().unwrap_or_default(),
        };
        if indices.is_empty() && out.missing.is_none() {
            out.missing = Some((self.locate(id, number), id.to_owned()));
        }
        let mut text = Vec::new();
        for (n, &index) in indices.iter().enumerate() {
            let block = &self.blocks[index];
            if let Some((_, why)) = &block.error {
                return Err(self.error(id, number, ExpansionErrorKind::Unreadable(why.clone())));
            }
            if expands(block) {
                if let Some(start) = self.expanding.iter().position(|&block| block == index) {
                    let lines =
                        self.expanding[start..].iter().map(|&block| self.blocks[block].begin_line).collect();
                    return Err(self.error(id, number, ExpansionErrorKind::Cycle(lines)));
                }
                if self.expanding.len() >= MAX_DEPTH {
                    return Err(self.error(id, number, ExpansionErrorKind::TooDeep));
                }
                let expansion = self.expansion(index)?;
                self.spend(expansion.text.len(), number)?;
                text.extend_from_slice(&expansion.text);
                out.missing = out.missing.take().or_else(|| expansion.missing.clone());
            } else {
                self.spend(block.body.len(), number)?;
                text.extend_from_slice(&block.body);
            }
            if n + 1 < indices.len() {
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

    fn error(&mut self, id: &str, number: u32, kind: ExpansionErrorKind) -> ExpansionError {
        ExpansionError { at: self.locate(id, number), kind }
    }

    /// Where the reference to `id` on line `number` stands.
    fn locate(&mut self, id: &str, number: u32) -> Position {
        let text = self.text;
        let starts = self.line_starts.get_or_insert_with(|| {
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
fn with_newlines(text: Text<'_>, bytes: &[u8]) -> Vec<u8> {
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
    let is_expanding = |word| matches!(word, "yes" | "no-export" | "strip-export" | "eval" | "strip-tangle");
    words.split_whitespace().any(is_expanding)
}

#[cfg(test)]
mod tests;

//! The header of a source block: its affiliated keywords and its `#+begin_src` line.

use std::ops::Range;

use super::document::{Block, Position};
use super::grammar::{self, Rule};
use super::lines::indentation;
use super::text::{decode, to_u32};

/// A source block whose header arguments and body are still to be read.
#[derive(Debug, Default)]
pub(super) struct PendingBlock {
    pub(super) block: Block,
    /// Where `block.parameters` begins.
    pub(super) parameters_at: Position,
    /// Where each of `block.headers` begins.
    pub(super) headers_at: Vec<Position>,
    /// Bytes of the document between the first and the last line.
    pub(super) body: Range<usize>,
    /// Number of its scope in the outline.
    pub(super) scope: usize,
}

/// What `trim_matches` takes off values, as `org-trim` does.
const BLANKS: [char; 3] = [' ', '\t', '\r'];

/// Reads an affiliated keyword of the block.
pub(super) fn affiliated(pending: &mut PendingBlock, line: &[u8], number: u32) {
    let blanks = indentation(line).0;
    let line = decode(&line[blanks..]);
    let Some(pair) = grammar::read(Rule::affiliated, &line) else { return };
    let rest = grammar::after(&line, &pair);
    if grammar::part(&pair, Rule::naming).is_some() {
        pending.block.name = Some(rest.trim_matches(BLANKS).to_owned());
    } else if grammar::part(&pair, Rule::header).is_some() {
        let (value, at) = trimmed_value(&line, rest, blanks, number);
        pending.block.headers.push(value);
        pending.headers_at.push(at);
    }
}

/// Reads the block's first line.
pub(super) fn begin(pending: &mut PendingBlock, line: &[u8], number: u32) {
    let blanks = indentation(line).0;
    let line = decode(&line[blanks..]);
    let Some(pair) = grammar::read(Rule::src_begin, &line) else { return };
    let block = &mut pending.block;
    block.language = grammar::part(&pair, Rule::language).map(|language| language.as_str().to_owned());
    block.switches = grammar::part(&pair, Rule::switches).map(|switches| switches.as_str().trim().to_owned());
    let (value, at) = trimmed_value(&line, grammar::after(&line, &pair), blanks, number);
    block.parameters = Some(value).filter(|value| !value.is_empty());
    pending.parameters_at = at;
}

/// The end `rest` of `line` without blanks round it, and where it stands.
fn trimmed_value(line: &str, rest: &str, blanks: usize, number: u32) -> (String, Position) {
    let from = line.len() - rest.trim_start_matches(BLANKS).len();
    let column = to_u32(blanks + line[..from].chars().count()) + 1;
    (line[from..].trim_end_matches(BLANKS).to_owned(), Position { line: number, column })
}

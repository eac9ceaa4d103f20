//! Results into a document: what stands there already is replaced, every other byte stays.

use std::ops::Range;

use crate::org::{Document, Keep, Slots, Target};

use super::align;
use super::inserted::{Insertion, NotInline};
use super::text;

/// A result, and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// The block or call, in the document that is written.
    pub target: Target,
    /// Its value, and how it is written.
    pub insertion: Insertion<'a>,
    /// Emacs' hash of it, for `:cache yes`.
    pub hash: Option<&'a str>,
    /// What is noted above the result, of a block that ended as no block does that Emacs runs: the value of a line
    /// `#+attr_borges:`, which Emacs leaves alone.
    pub note: Option<&'a str>,
}

/// A document with results, and those that could not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The document.
    pub text: Vec<u8>,
    /// Results within text that cannot stand there, and why.
    pub refused: Vec<(Target, NotInline)>,
}

/// The keyword of notes.
const NOTE: &str = "#+attr_borges:";

/// Writes results into the document that was read from `source`. Each target may come once.
pub fn write(source: &[u8], document: &Document, outcomes: &[Outcome]) -> Written {
    let slots = Slots::new(document, source);
    let mut edits: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
    let mut refused = Vec::new();
    for outcome in outcomes {
        let results = outcome.insertion.results();
        if ["silent", "none"].iter().any(|word| results.has(word)) {
            continue;
        }
        match outcome.target {
            Target::Block(_) | Target::Call(_) => edits.extend(below(source, &slots, outcome)),
            Target::InlineBlock(_) | Target::InlineCall(_) => match outcome.insertion.inline() {
                Err(why) => refused.push((outcome.target, why)),
                Ok(result) => edits.extend(within(&slots, outcome.target, result.as_deref())),
            },
        }
    }
    edits.sort_by_key(|(span, _)| (span.start, span.end));
    let mut text = Vec::with_capacity(source.len());
    let mut at = 0;
    for (span, new) in edits {
        // Two results of one name: the later one stands.
        if span.start < at {
            continue;
        }
        text.extend_from_slice(&source[at..span.start]);
        text.extend_from_slice(&new);
        at = span.end;
    }
    text.extend_from_slice(&source[at..]);
    Written { text, refused }
}

/// The result of a block or call on lines of its own.
fn below(source: &[u8], slots: &Slots, outcome: &Outcome) -> Option<(Range<usize>, Vec<u8>)> {
    let results = outcome.insertion.results();
    let keep = match () {
        () if results.has("append") => Keep::Before,
        () if results.has("prepend") => Keep::After,
        () => Keep::Nothing,
    };
    let hash = outcome.hash.filter(|_| keep == Keep::Nothing);
    let mut slot = slots.slot(outcome.target, keep, hash)?;
    let mut lines = outcome.insertion.lines();
    let mut indent = slot.indent;
    if keep != Keep::Nothing && outcome.insertion.is_table() && !is_wrapped(outcome) {
        // A table that is next to it becomes one with it.
        let (old, merged) = merged(source, slot.old.start, keep, &lines);
        if old.is_empty() {
            lines = merged;
        } else {
            slot.old = old;
            lines = merged;
            indent = 0;
        }
    } else if keep == Keep::Before && outcome.insertion.value.is_list() {
        indent = 0;
    }
    let mut new = slot.before;
    if let Some(note) = outcome.note {
        new = noted(&new, note, slots.newline());
    }
    new += &indented(&lines, indent);
    let mut bytes = text::encode(&new.replace("\r\n", "\n"));
    bytes.extend_from_slice(if slot.after.is_empty() { b"" } else { b"\n" });
    Some((slot.old, with_newlines(bytes, slots.newline())))
}

/// A result within text.
fn within(slots: &Slots, target: Target, result: Option<&str>) -> Option<(Range<usize>, Vec<u8>)> {
    let slot = slots.inline(target)?;
    let blank = if slot.new { " " } else { "" };
    let bytes = text::encode(&format!("{blank}{}", result.unwrap_or_default()));
    Some((slot.old, with_newlines(bytes, slots.newline())))
}

/// Whether something stands round the lines.
fn is_wrapped(outcome: &Outcome) -> bool {
    let results = outcome.insertion.results();
    outcome.insertion.arguments.has(":wrap")
        || ["html", "latex", "org", "code", "drawer"].iter().any(|word| results.has(word))
}

/// The lines of a table together with those next to byte `at`: which bytes these are, and what they become.
fn merged(source: &[u8], at: usize, keep: Keep, lines: &str) -> (Range<usize>, String) {
    let mut old = at..at;
    loop {
        let next = match keep {
            Keep::Before => line_before(source, old.start),
            _ => line_after(source, old.end),
        };
        let Some(line) = next.filter(|line| align::is_table(&text::decode(&source[line.clone()]))) else {
            break;
        };
        old = line.start.min(old.start)..line.end.max(old.end);
    }
    let there = text::decode(&source[old.clone()]).replace("\r\n", "\n");
    let all = if keep == Keep::Before { there + lines } else { lines.to_owned() + &there };
    (old, align::align(&all))
}

fn line_before(source: &[u8], at: usize) -> Option<Range<usize>> {
    let end = at.checked_sub(1)?;
    let start = memchr::memrchr(b'\n', &source[..end]).map_or(0, |n| n + 1);
    Some(start..at)
}

fn line_after(source: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = source.get(at..).filter(|rest| !rest.is_empty())?;
    Some(at..memchr::memchr(b'\n', rest).map_or(source.len(), |n| at + n + 1))
}

/// The keyword with a note above it; where the keyword stays as it is there is no room for one.
fn noted(before: &str, note: &str, newline: &str) -> String {
    match before.rfind("#+RESULTS") {
        None => before.to_owned(),
        Some(at) => {
            let start = before[..at].rfind('\n').map_or(0, |n| n + 1);
            let blanks = &before[start..at];
            format!("{}{blanks}{NOTE} {note}{newline}{}", &before[..start], &before[start..])
        }
    }
}

/// Moves lines to the right, but for blank ones.
fn indented(lines: &str, columns: usize) -> String {
    if columns == 0 {
        return lines.to_owned();
    }
    let line = |line: &str| {
        let inner = line.trim_start_matches([' ', '\t']);
        if inner.trim_end_matches(['\n', '\r']).is_empty() {
            return line[line.len() - (inner.len())..].to_owned();
        }
        let own = line[..line.len() - inner.len()].chars().fold(0, |column, c| match c {
            '\t' => column + 8 - column % 8,
            _ => column + 1,
        });
        let all = own + columns;
        format!("{}{}{inner}", "\t".repeat(all / 8), " ".repeat(all % 8))
    };
    lines.split_inclusive('\n').map(line).collect()
}

fn with_newlines(bytes: Vec<u8>, newline: &str) -> Vec<u8> {
    if newline == "\n" {
        return bytes;
    }
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => {
                out.extend_from_slice(line);
                out.extend_from_slice(newline.as_bytes());
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}

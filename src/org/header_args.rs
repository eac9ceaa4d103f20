//! Splits a line of header arguments, as `org-babel-parse-header-arguments` does.
//!
//! The splitter is written by hand: the end of a value (unclosed quotes, brackets that close across quotes, a colon
//! after a blank) is defined by how Emacs scans the text. All brackets are paired in one pass, so the time is linear.

use std::ops::Range;

use super::document::{Origin, Param, Position, Value};
use super::lisp;

/// Header arguments as written, and where each part of them stands.
#[derive(Debug, Default, Clone)]
pub(super) struct HeaderText {
    pub(super) text: String,
    /// Where the text that begins at a byte offset stands, in ascending order.
    parts: Vec<(usize, Position, Origin)>,
}

impl HeaderText {
    pub(super) fn new(text: &str, at: Position, origin: Origin) -> Self {
        let mut header = Self::default();
        header.append(text, at, origin);
        header
    }

    /// Appends what stands elsewhere, after a blank.
    pub(super) fn append(&mut self, text: &str, at: Position, origin: Origin) {
        if !self.parts.is_empty() {
            self.text.push(' ');
        }
        self.parts.push((self.text.len(), at, origin));
        self.text.push_str(text);
    }
}

/// Follows a text from left to right and tells where its bytes stand.
struct Cursor<'w> {
    header: &'w HeaderText,
    part: usize,
    /// Last place asked for.
    offset: usize,
    column: u32,
}

impl<'w> Cursor<'w> {
    fn new(header: &'w HeaderText) -> Self {
        Self { header, part: 0, offset: 0, column: header.parts.first().map_or(0, |(_, at, _)| at.column) }
    }

    /// The position of byte `offset`, which is not before the one asked for last.
    fn at(&mut self, offset: usize) -> Position {
        let parts = &self.header.parts;
        while let Some(&(from, at, _)) = parts.get(self.part + 1).filter(|&&(from, ..)| from <= offset) {
            self.part += 1;
            self.offset = from;
            self.column = at.column;
        }
        let passed = self.header.text.get(self.offset..offset).unwrap_or_default().chars().count();
        self.column = self.column.saturating_add(super::text::to_u32(passed));
        self.offset = offset;
        Position { line: parts.get(self.part).map_or(0, |(_, at, _)| at.line), column: self.column }
    }
}

/// Reads header arguments.
pub(super) fn parse(header: &HeaderText) -> Result<Vec<Param>, (Position, String)> {
    let mut params = Vec::new();
    let text = header.text.as_str();
    if text.chars().all(|c| " \t\r\n".contains(c)) {
        return Ok(params);
    }
    let mut cursor = Cursor::new(header);
    let pieces = split(text, Split::Keys);
    if pieces.is_empty() {
        return Err((cursor.at(0), "these header arguments have no key: write `:key value`".into()));
    }
    for (n, piece) in pieces.into_iter().enumerate() {
        // The splitting has eaten the colons of all keys but the first.
        let colon = if n == 0 { "" } else { ":" };
        let (key, cell, skipped) = key_and_cell(&text[piece.clone()], n > 0);
        let at = cursor.at(if n == 0 { piece.start + skipped } else { piece.start - 1 });
        let key = format!("{colon}{key}");
        let origin = header.parts.get(cursor.part).map_or(Origin::Block, |&(_, _, origin)| origin);
        let lisp = cell.is_some_and(lisp::is_code);
        let (value, text) = cell.map_or((Value::None, String::new()), lisp::read);
        let param = Param { key, value, text, lisp, at, origin };
        if param.key == ":var" { variables(param, &mut params) } else { params.push(param) }
    }
    Ok(params)
}

/// What Emacs takes for blanks between a key and its value.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\u{0c}' | '\t' | '\n' | '\r' | '\u{0b}')
}

/// Key, value if there is one, and what was skipped before the key.
///
/// `after_colon` says that the key's colon stands before `piece`.
fn key_and_cell(piece: &str, after_colon: bool) -> (&str, Option<&str>, usize) {
    let trimmed = if after_colon { piece } else { piece.trim_start_matches(is_space) };
    let key = trimmed.split(is_space).next().unwrap_or_default();
    let cell = trimmed[key.len()..].trim_start_matches(is_space);
    let cell = cell.split('\n').next().unwrap_or_default().trim_end_matches(is_space);
    if cell.is_empty() {
        (piece.trim_end_matches(is_space), None, 0)
    } else {
        (key, Some(cell), piece.len() - trimmed.len())
    }
}

/// Splits the value of a `:var` into a parameter for each assignment.
fn variables(param: Param, params: &mut Vec<Param>) {
    let before = params.len();
    let mut assignments: Vec<String> = Vec::new();
    for piece in split(&param.text, Split::Blanks) {
        let piece = &param.text[piece];
        match assignments.last_mut().filter(|last| last.ends_with('=') || piece.starts_with('=')) {
            Some(last) => last.push_str(piece),
            None => assignments.push(piece.to_owned()),
        }
    }
    for assignment in assignments {
        let text = assignment.trim_matches([' ', '\t', '\r', '\n']).to_owned();
        let value = Value::Text(text.clone());
        let lisp = text.split_once('=').is_some_and(|(_, value)| lisp::is_code(value.trim_start()));
        params.push(Param { key: param.key.clone(), value, text, lisp, at: param.at, origin: param.origin });
    }
    if params.len() == before {
        params.push(Param { value: Value::None, text: String::new(), ..param });
    }
}

/// What to split on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    /// A colon after a space or tab; both go.
    Keys,
    /// A space.
    Blanks,
}

/// The parts of `text` between separators that are neither quoted nor in brackets.
pub(super) fn split(text: &str, on: Split) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let partners = bracket_partners(bytes);
    let mut pieces = Vec::new();
    let mut partner = partners.iter().peekable();
    let mut no_more_quotes = false;
    let (mut start, mut at) = (0, 0);
    while at < bytes.len() {
        let before = at.checked_sub(1).map(|n| bytes[n]);
        let separator = match on {
            Split::Keys => bytes[at] == b':' && matches!(before, Some(b' ' | b'\t')),
            Split::Blanks => bytes[at] == b' ',
        };
        if separator {
            let end = if on == Split::Keys { at - 1 } else { at };
            if start < end {
                pieces.push(start..end);
            }
            start = at + 1;
            at = start;
            continue;
        }
        at = match bytes[at] {
            b'(' | b'[' => {
                while partner.next_if(|&&(open, _)| open < at).is_some() {}
                partner.next_if(|&&(open, _)| open == at).map_or(at + 1, |&(_, close)| close + 1)
            }
            b'"' if before != Some(b'\\') && !no_more_quotes => {
                let close = closing_quote(bytes, at);
                no_more_quotes = close.is_none();
                close.unwrap_or(at) + 1
            }
            _ => at + 1,
        };
    }
    if start < bytes.len() {
        pieces.push(start..bytes.len());
    }
    pieces
}

/// The first quote from `open` on that stands after something else than a backslash.
fn closing_quote(bytes: &[u8], open: usize) -> Option<usize> {
    (open + 1..bytes.len()).find(|&n| bytes[n] == b'"' && bytes[n - 1] != b'\\')
}

/// Brackets and the brackets that close them, by the position of the first; a closing one of the wrong kind
/// is passed over, and quotes protect nothing here.
fn bracket_partners(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut open: Vec<usize> = Vec::new();
    let mut partners = Vec::new();
    let Some(first) = memchr::memchr2(b'(', b'[', bytes) else { return partners };
    for (n, &byte) in bytes.iter().enumerate().skip(first) {
        let opening = match byte {
            b'(' | b'[' => {
                open.push(n);
                continue;
            }
            b')' => b'(',
            b']' => b'[',
            _ => continue,
        };
        if let Some(start) = open.pop_if(|start| bytes[*start] == opening) {
            partners.push((start, n));
        }
    }
    partners.sort_unstable();
    partners
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String, u32)> {
        let header = HeaderText::new(text, Position { line: 1, column: 1 }, Origin::Block);
        let params = parse(&header).unwrap();
        params.into_iter().map(|p| (p.key, p.text, p.at.column)).collect()
    }

    #[rstest::rstest]
    #[case::simple(":cpu 1 :mem 2", &[(":cpu", "1", 1), (":mem", "2", 8)])]
    #[case::no_value(":dockerize :cpu 2", &[(":dockerize", "", 1), (":cpu", "2", 12)])]
    #[case::no_colon("sh :cpu 1", &[("sh", "", 1), (":cpu", "1", 4)])]
    #[case::colons_in_values(":image repo:5000/a:b :dir /ssh:u@h:", &[(":image", "repo:5000/a:b", 1), (":dir", "/ssh:u@h:", 22)])]
    #[case::odd_keys(":a:b 2 : 3 :é 4 ::x 5", &[(":a:b", "2", 1), (":", "3", 8), (":é", "4", 12), ("::x", "5", 17)])]
    #[case::brackets(":x [1 :y 2] :z (a :b)", &[(":x", "[1 :y 2]", 1), (":z", "(a :b)", 13)])]
    #[case::open_bracket(":a (x :b 2", &[(":a", "(x", 1), (":b", "2", 7)])]
    #[case::wrong_bracket(":a (x] :b) :c 1", &[(":a", "(x] :b)", 1), (":c", "1", 12)])]
    #[case::open_quote(":a \"x :b 2", &[(":a", "\"x", 1), (":b", "2", 7)])]
    #[case::quotes(":a \"x :b\" :c \"\" :d 1", &[(":a", "x :b", 1), (":c", "", 11), (":d", "1", 17)])]
    #[case::two_quotes(":a \"x\" \"y\"", &[(":a", "\"x\" \"y\"", 1)])]
    #[case::wide_blanks(":a b\u{a0}c :d\u{3000}e f", &[(":a", "b\u{a0}c", 1), (":d\u{3000}e", "f", 8)])]
    #[case::tabs(":a\t1\t:b 2", &[(":a", "1", 1), (":b", "2", 6)])]
    #[case::variables(":var a=1 b=\"x y\" c = 3 :m 1", &[(":var", "a=1", 1), (":var", "b=\"x y\"", 1), (":var", "c=3", 1), (":m", "1", 24)])]
    #[case::lone_variable(":var :m 1", &[(":var", "", 1), (":m", "1", 6)])]
    fn header_arguments_are_split(#[case] text: &str, #[case] expected: &[(&str, &str, u32)]) {
        let expected: Vec<_> = expected.iter().map(|&(k, v, c)| (k.to_owned(), v.to_owned(), c)).collect();
        assert_eq!(read(text), expected);
    }

    #[test]
    fn parts_keep_their_positions() {
        let mut header = HeaderText::new(":a 1", Position { line: 3, column: 20 }, Origin::Document);
        header.append(":b 2 :c 3", Position { line: 9, column: 7 }, Origin::Setup);
        let params = parse(&header).unwrap();
        let positions: Vec<_> = params.iter().map(|p| (p.key.as_str(), p.at.line, p.at.column)).collect();
        assert_eq!(positions, [(":a", 3, 20), (":b", 9, 7), (":c", 9, 12)]);
    }

    #[test]
    fn a_lone_colon_after_a_blank_is_an_error() {
        let header = HeaderText::new(" :", Position { line: 1, column: 1 }, Origin::Block);
        assert!(parse(&header).is_err());
    }
}

//! A line of a document with a caret under a column, for messages.

use super::document::Position;
use super::text::{Text, decode};

/// How many characters of a long line are shown.
const WIDTH: usize = 100;

/// The line of `source` that `at` is on, and under it a caret at its column; empty where there is no such line.
///
/// Of a long line only what is around the column is shown. Bytes that are no UTF-8 are shown as U+FFFD,
/// control characters but tabs as `?`; a column of 0 has no caret.
pub fn snippet(source: &[u8], at: Position) -> String {
    let text = Text::new(source);
    let line = text.bytes.split(|&b| b == b'\n').nth((at.line as usize).saturating_sub(1));
    let Some(line) = line.filter(|_| at.line > 0) else { return String::new() };
    let line = decode(line.strip_suffix(b"\r").unwrap_or(line));
    let column = at.column as usize;
    let length = line.chars().count();
    let caret = column.saturating_sub(1).min(length);
    let start = if length <= WIDTH { 0 } else { caret.saturating_sub(WIDTH / 2).min(length - WIDTH) };
    let visible: Vec<char> = line.chars().skip(start).take(WIDTH).map(printable).collect();
    let (before, after) = (if start > 0 { "…" } else { "" }, if start + WIDTH < length { "…" } else { "" });
    let mut out = String::from(before);
    out.extend(&visible);
    out.push_str(after);
    if column > 0 {
        out.push('\n');
        out.extend(before.chars().map(|_| ' '));
        out.extend(visible.iter().take(caret - start).map(|&c| if c == '\t' { '\t' } else { ' ' }));
        out.push('^');
    }
    out
}

fn printable(c: char) -> char {
    if c.is_control() && c != '\t' { '?' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32) -> Position {
        Position { line, column }
    }

    #[test]
    fn a_caret_marks_the_column() {
        assert_eq!(snippet("a\r\n\tä :cpu x\r\nb".as_bytes(), at(2, 4)), "\tä :cpu x\n\t  ^");
        assert_eq!(snippet(b"abc", at(1, 4)), "abc\n   ^");
        assert_eq!(snippet(b"abc", at(1, 0)), "abc");
    }

    #[test]
    fn invalid_bytes_are_replaced() {
        assert_eq!(snippet(b"\xef\xbb\xbfa\xff\x1b\0b", at(1, 5)), "a\u{fffd}??b\n    ^");
    }

    #[test]
    fn long_lines_are_cut() {
        let line = "x".repeat(500);
        let shown = snippet(line.as_bytes(), at(1, 300));
        let (text, caret) = shown.split_once('\n').unwrap();
        assert_eq!(text.chars().count(), 102);
        assert_eq!(caret.chars().count(), 52);
        assert!(snippet(line.as_bytes(), at(1, 1)).starts_with('x'));
        assert!(snippet(line.as_bytes(), at(1, 501)).ends_with('^'));
    }

    #[test]
    fn a_missing_line_is_empty() {
        assert_eq!(snippet(b"a", at(3, 1)), "");
        assert_eq!(snippet(b"", at(0, 0)), "");
    }
}

//! The code of a block. Comma escapes and common indentation are removed, as Emacs does before it runs the code.

use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::lines::indentation;
use super::text::{characters, decode, is_blank, is_whitespace};

/// Bytes between a block's first and last line, with newlines for line ends and without comma escapes.
pub(super) fn unescape(bytes: &[u8], crlf: bool) -> Cow<'_, [u8]> {
    if !crlf && memmem::find(bytes, b",*").is_none() && memmem::find(bytes, b",#+").is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        let start = line.iter().position(|&b| !is_blank(b)).unwrap_or(0);
        let commas = line[start..].iter().take_while(|&&b| b == b',').count();
        let escaped = &line[start + commas..];
        let line = if commas > 0 && (escaped.starts_with(b"*") || escaped.starts_with(b"#+")) {
            out.extend_from_slice(&line[..start + commas - 1]);
            escaped
        } else {
            line
        };
        match line.strip_suffix(b"\r\n") {
            Some(line) if crlf => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            _ => out.extend_from_slice(line),
        }
    }
    Cow::Owned(out)
}

/// The body without its last newline and, unless `keep`, without the indentation its lines share.
pub(super) fn normalize(body: &[u8], keep: bool) -> Cow<'_, [u8]> {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    let columns = if keep { None } else { common_indentation(body) };
    columns.and_then(|columns| dedent(body, columns)).map_or(Cow::Borrowed(body), Cow::Owned)
}

/// A text without the indentation its lines share, `org-remove-indentation`.
pub fn dedent_text(text: &str) -> String {
    let columns = common_indentation(text.as_bytes());
    let dedented = columns.and_then(|columns| dedent(text.as_bytes(), columns));
    dedented.map_or_else(|| text.to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The fewest columns a line that is not blank is indented by; `None` where that is none at all.
fn common_indentation(body: &[u8]) -> Option<usize> {
    let mut least = usize::MAX;
    let mut rest = body;
    while !rest.is_empty() {
        let (line, after) = split_line(rest);
        let (blanks, columns) = indentation(line);
        if starts_with_text(&line[blanks..]) {
            if columns == 0 {
                return None;
            }
            least = least.min(columns);
        }
        rest = after;
    }
    // Emacs looks for fewer columns than the text has places for point: a tab may be more than all of them.
    if least > body.len() / 4 {
        least = least.min(characters(body) as usize + 1);
    }
    Some(least)
}

/// Takes `columns` of indentation off every line; `None` if one that is not blank has fewer.
fn dedent(body: &[u8], columns: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while !rest.is_empty() {
        let (line, after) = split_line(rest);
        let (blanks, width) = indentation(line);
        if width >= columns {
            out.extend_from_slice(&line[offset_of_column(line, columns)..]);
        } else if blanks < line.len() {
            return None;
        }
        if line.len() < rest.len() {
            out.push(b'\n');
        }
        rest = after;
    }
    Some(out)
}

/// Where column `columns` of the indentation is; a tab that reaches over it stays.
fn offset_of_column(line: &[u8], columns: usize) -> usize {
    let mut column = 0;
    for (n, &byte) in line.iter().enumerate() {
        let next = if byte == b'\t' { column + 8 - column % 8 } else { column + 1 };
        if column >= columns || next > columns {
            return n;
        }
        column = next;
    }
    line.len()
}

fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b'\n', bytes) {
        Some(n) => (&bytes[..n], &bytes[n + 1..]),
        None => (bytes, &[]),
    }
}

/// Whether something stands there that Emacs does not count as whitespace.
fn starts_with_text(bytes: &[u8]) -> bool {
    match bytes.first() {
        None => false,
        Some(b) if b.is_ascii() => !is_whitespace(char::from(*b)),
        Some(_) => {
            let character = &bytes[..bytes.len().min(4)];
            decode(character).chars().next().is_some_and(|c| !is_whitespace(c))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> String {
        String::from_utf8(normalize(&unescape(text.as_bytes(), false), false).into_owned()).unwrap()
    }

    #[test]
    fn one_comma_is_removed_before_stars_and_keywords() {
        assert_eq!(body(",* a\n,,* b\n  ,#+c\n,# d\n, e\n,#+\n"), "* a\n,* b\n  #+c\n,# d\n, e\n#+");
    }

    #[test]
    fn crlf_becomes_a_newline() {
        assert_eq!(&*unescape(b"a\r\n,*b\r\nc\rd\r\n", true), b"a\n*b\nc\rd\n");
        assert_eq!(&*unescape(b"a\r\n\0\xff", false), b"a\r\n\0\xff");
    }

    #[test]
    fn common_indentation_is_removed() {
        assert_eq!(body("    a\n\n  \n       \n      b\n"), "a\n\n\n   \n  b");
        assert_eq!(body("a\n  \nb\n"), "a\n  \nb");
        assert_eq!(body("\tall:\n\t\tcc\n"), "all:\n\tcc");
    }

    #[test]
    fn a_tab_across_the_common_indentation_is_kept() {
        assert_eq!(body("    all:\n\tcc\n"), "all:\n\tcc");
    }

    #[test]
    fn a_tab_wider_than_the_body_is_kept() {
        assert_eq!(body("\tif\n"), "\tif");
        assert_eq!(body("\telse: x\n"), "else: x");
        assert_eq!(body("\t\n"), "\t");
    }

    #[test]
    fn blank_lines_alone_become_empty() {
        assert_eq!(body("  \n  \n"), "\n");
        assert_eq!(body("\n\n"), "\n");
        assert_eq!(body(""), "");
    }

    #[test]
    fn a_line_of_other_whitespace_has_no_indentation() {
        assert_eq!(body("  a\n\u{a0}\n"), "  a\n\u{a0}");
    }
}

//! The bytes of a document as Emacs reads them: byte order mark, line ends, characters.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};

/// A document's bytes, and how its lines end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    /// Without a byte order mark.
    pub(super) bytes: &'a [u8],
    /// CRLF ends lines; otherwise a CR belongs to its line.
    pub(super) crlf: bool,
    /// How many bytes of a byte order mark stand before `bytes`.
    pub(super) mark: usize,
}

/// A byte order mark in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl<'a> Text<'a> {
    pub(super) fn new(source: &'a [u8]) -> Self {
        let mark = if source.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let bytes = &source[mark..];
        // Lines are counted in 32 bits; what lies beyond 4 GiB is not read.
        let bytes = &bytes[..bytes.len().min(u32::MAX as usize - BYTE_ORDER_MARK.len())];
        Self { bytes, crlf: ends_in_crlf(bytes, mark > 0), mark }
    }

    /// The line that begins at `start`, without its end, and where the next one begins.
    pub(super) fn line(&self, start: usize) -> (&'a [u8], usize) {
        let rest = &self.bytes[start..];
        match memchr(b'\n', rest) {
            Some(n) => (self.without_cr(&rest[..n]), start + n + 1),
            None => (rest, self.bytes.len()),
        }
    }

    /// The lines, without their ends.
    pub(super) fn lines(self) -> impl Iterator<Item = &'a [u8]> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = Some(at).filter(|&at| at < self.bytes.len())?;
            let (line, next) = self.line(start);
            at = next;
            Some(line)
        })
    }

    /// `line`, which ended in a newline, without the CR of a CRLF.
    pub(super) fn without_cr(&self, line: &'a [u8]) -> &'a [u8] {
        if self.crlf { line.strip_suffix(b"\r").unwrap_or(line) } else { line }
    }
}

/// Whether CRLF is how lines end: all of them, or, of a text in UTF-8, all before the first character beyond ASCII,
/// which is how far Emacs looks.
fn ends_in_crlf(bytes: &[u8], marked: bool) -> bool {
    let crlf = |n: usize| n > 0 && bytes[n - 1] == b'\r';
    let Some(first) = memchr(b'\n', bytes).filter(|&n| crlf(n)) else { return false };
    let ascii = bytes.iter().position(|byte| !byte.is_ascii()).unwrap_or(bytes.len());
    let ascii_prefix_decides = !marked && first < ascii && std::str::from_utf8(bytes).is_ok();
    let examined = if ascii_prefix_decides { &bytes[..ascii] } else { bytes };
    memchr_iter(b'\n', examined).all(crlf)
}

/// Bytes as text: each byte that is no UTF-8 becomes one U+FFFD, as Emacs counts them.
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(text)
}

/// How many bytes are no UTF-8.
pub(super) fn invalid_bytes(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Ok(_) => 0,
        Err(_) => bytes.utf8_chunks().map(|chunk| chunk.invalid().len()).sum(),
    }
}

/// How many characters `bytes` are, counted as [`decode`] does.
pub(super) fn characters(bytes: &[u8]) -> u32 {
    u32::try_from(decode(bytes).chars().count()).unwrap_or(u32::MAX)
}

/// A count or an index as the 32 bits it is kept in.
pub(super) fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Blanks in the sense of Org: space and tab.
pub(super) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// What Emacs' regexps call whitespace in Org text; `white` of the grammar.
pub(super) fn is_whitespace(c: char) -> bool {
    matches!(
        c,
        '\t' | '\n' | '\u{0c}' | '\r' | ' ' | '\u{a0}' | '\u{2000}'
            ..='\u{200b}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

/// `line` without blanks at its end.
pub(super) fn trim_end(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|&b| !is_blank(b)).map_or(0, |n| n + 1);
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::all(b"a\r\nb\r\n", true)]
    #[case::no_end(b"a\r\nb", true)]
    #[case::one_newline(b"a\r\nb\n", false)]
    #[case::none(b"a", false)]
    #[case::lone_return(b"a\r\nb\rc\r\n", true)]
    #[case::newline_after_ascii(b"a\r\n\xc3\xa9\nb\r\n", true)]
    #[case::newline_before(b"a\r\nb\n\xc3\xa9\r\n", false)]
    #[case::newline_after_a_first_line(b"\xc3\xa9\r\nb\n", false)]
    #[case::all_after_a_first_line(b"\xc3\xa9\r\nb\rc\r\n", true)]
    #[case::marked(b"\xef\xbb\xbfa\r\n\xc3\xa9\nb\r\n", false)]
    #[case::marked_with_lone_return(b"\xef\xbb\xbf\xc3\xa9\r\nb\rc\r\n", true)]
    #[case::no_utf_8(b"a\r\n\xc3\xa9\xff\nb\r\n", false)]
    #[case::no_utf_8_with_lone_return(b"\xff\r\nb\rc\r\n", true)]
    fn line_ends_are_detected(#[case] source: &[u8], #[case] crlf: bool) {
        assert_eq!(Text::new(source).crlf, crlf);
    }

    #[test]
    fn a_byte_order_mark_is_removed() {
        assert_eq!(Text::new(b"\xef\xbb\xbfa").bytes, b"a");
    }

    #[test]
    fn each_invalid_byte_is_one_character() {
        assert_eq!(decode(b"a\xff\xe2\x82z"), "a\u{fffd}\u{fffd}\u{fffd}z");
        assert_eq!(characters(b"a\xff\xe2\x82z"), 5);
        assert_eq!(invalid_bytes(b"a\xff\xe2\x82z"), 3);
        assert_eq!(characters("äöü".as_bytes()), 3);
    }
}

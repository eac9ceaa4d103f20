//! Reads `#+call: name[inside](arguments) end` lines.

use super::brackets::Brackets;
use super::document::{Call, Context, Position};
use super::text::{Text, decode};

/// Reads the call on the line that begins at byte `start`; its element begins at `at`. Returns too whether it goes
/// on on the next line.
pub(super) fn read<'a>(
    text: Text<'a>,
    start: usize,
    brackets: &mut Brackets<'a>,
    at: Position,
) -> (Call, bool) {
    let bytes = text.bytes;
    let line_end = |from: usize| memchr::memchr(b'\n', &bytes[from..]).map_or(bytes.len(), |n| from + n);
    let next = (line_end(start) + 1).min(bytes.len());
    let colon = memchr::memchr(b':', &bytes[start..next]).map_or(next, |n| start + n + 1);
    let from = skip(&bytes[..next], colon, b" \t");
    // As in Emacs, a name without brackets takes the line end along, and then what follows it.
    let name_end = bytes[from..next].iter().position(|b| b"[]()".contains(b)).map_or(next, |n| from + n);
    let (inside, after) = brackets.contents(b'[', name_end).map_or((None, name_end), |(s, n)| (Some(s), n));
    let (arguments, after) = brackets.contents(b'(', after).map_or((None, after), |(s, n)| (Some(s), n));
    let end = &bytes[after..line_end(after)];
    let call = Call {
        name: non_blank(to_text(text, &bytes[from..name_end])),
        inside_header: inside.map(|inside| to_text(text, inside)),
        arguments: arguments.and_then(|arguments| non_blank(to_text(text, arguments))),
        end_header: non_blank(to_text(text, end).trim_matches([' ', '\t', '\n', '\r']).to_owned()),
        at,
        span: start + text.mark..line_end(start) + text.mark,
        context: Context::default(),
    };
    (call, after >= next)
}

/// The first byte from `at` on that is none of `these`.
pub(super) fn skip(bytes: &[u8], at: usize, these: &[u8]) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|b| !these.contains(b)).unwrap_or(rest.len())
}

/// As Emacs shows it: characters, and newlines for line ends.
pub(super) fn to_text(text: Text<'_>, bytes: &[u8]) -> String {
    let decoded = decode(bytes);
    if text.crlf { decoded.replace("\r\n", "\n") } else { decoded.into_owned() }
}

/// `None` if only blanks are in it.
pub(super) fn non_blank(text: String) -> Option<String> {
    (!text.chars().all(|c| " \t\n\r".contains(c))).then_some(text)
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[test]
    fn call_lines_are_read() {
        // What Org 9.8.9 says of these lines.
        let source = "#+call: foo\n\n#+call: bar[:a b](x=1\ny=2) :results raw\n\n#+name: n\n\
                      #+call: baz(a) b\n\n#+call:\n\n#+call: q[:x](\n\ntext\n";
        let calls = parse(source.as_bytes(), &[]).calls;
        let lines: Vec<_> = calls
            .iter()
            .map(|call| {
                format!(
                    "{:?} {:?} {:?} {:?} {}",
                    call.name, call.inside_header, call.arguments, call.end_header, call.at.line
                )
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        Some("foo\n") None None None 1
        Some("bar") Some(":a b") Some("x=1\ny=2") Some(":results raw") 3
        Some("baz") None Some("a") Some("b") 6
        None None None None 9
        Some("q") Some(":x") None Some("(") 11
        "#);
    }
}

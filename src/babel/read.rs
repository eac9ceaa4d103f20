//! Reads texts as values, as Emacs reads a table cell, a header argument, or the output of a program.

use super::generic;
use super::lisp;
use super::value::Value;

/// What Emacs' regular expressions count as blank.
const BLANK: [char; 4] = [' ', '\t', '\n', '\r'];

/// Reads a text as `org-babel-read` does where it evaluates nothing: a number becomes one, a text in double quotes
/// loses them, all else stays as it is.
pub fn read(text: &str) -> Value {
    if text.trim_matches(BLANK).is_empty() {
        return Value::text(text);
    }
    number(text).or_else(|| quoted(text)).unwrap_or_else(|| Value::text(text))
}

/// Reads a cell of a table that a program printed, `org-babel-string-read`: as [`read`], one pair of quotes more
/// taken off.
pub(super) fn cell(text: &str) -> Value {
    let inner = text.trim().strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match inner.filter(|inner| !inner.is_empty() && !text.contains('\n')) {
        Some(inner) => read(inner),
        None => read(text),
    }
}

/// Reads what a program printed, `org-babel-script-escape`: a list in the notation of most languages becomes one.
pub fn script(text: &str) -> Value {
    let is_enclosed_by = |open, close| text.len() >= 2 && text.starts_with(open) && text.ends_with(close);
    if is_enclosed_by('[', ']') || is_enclosed_by('{', '}') || is_enclosed_by('(', ')') {
        // Where Emacs' reader stops at an error, the text itself is the value.
        let Some(inner) = escape(text) else { return Value::text(text) };
        return data(&inner).unwrap_or_else(|| Value::Text(format!("'{inner}")));
    }
    if text.chars().nth(2).is_some() && (is_enclosed_by('\'', '\'') || is_enclosed_by('"', '"')) {
        let Some(inner) = escape(text) else { return Value::text(text) };
        return evaluated(&inner);
    }
    evaluated(text)
}

/// Reads what Emacs would evaluate where it is data all the same: `'(…)`, `'a`. What would have to be evaluated
/// stays a text.
pub fn evaluated(text: &str) -> Value {
    if text.trim_matches(BLANK).is_empty() || number(text).is_some() {
        return read(text);
    }
    match text.chars().next() {
        Some('\'' | '`') => data(&text[1..]).unwrap_or_else(|| Value::text(text)),
        Some('[') => match lisp::read(text) {
            Some((value, _)) => value,
            None => Value::text(text),
        },
        _ => read(text),
    }
}

/// The first datum of `text`.
pub(super) fn data(text: &str) -> Option<Value> {
    lisp::read(text).map(|(value, _)| value)
}

/// The number that the whole of `text` is.
pub(super) fn number(text: &str) -> Option<Value> {
    let trimmed = text.trim_matches(BLANK);
    if trimmed.is_empty() || !trimmed.bytes().all(|b| b.is_ascii_digit() || b"e.+-".contains(&b)) {
        return None;
    }
    lisp::number(trimmed)
}

/// The text that `text` holds in double quotes, blanks around them.
fn quoted(text: &str) -> Option<Value> {
    let inner = text.trim_start_matches(|c: char| c == '\n' || is_space(c));
    if !inner.starts_with('"') {
        return None;
    }
    let (value, rest) = lisp::read(inner)?;
    rest.chars().all(is_space).then_some(value)
}

fn is_space(c: char) -> bool {
    c.is_whitespace()
}

/// The notation of Python, Ruby and their like in that of Lisp: brackets become parentheses, commas blanks, quotes
/// double ones. `None` where Emacs gives up.
pub(super) fn escape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 8);
    let (mut single, mut double, mut backslash) = (false, false, false);
    for c in text.chars() {
        if backslash {
            backslash = false;
            match c {
                '\'' if single => out.push('\''),
                '"' if single => out.push_str("\\\\\\\""),
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                c => {
                    out.push_str("\\\\");
                    out.push(c);
                }
            }
            continue;
        }
        let is_quoted = single || double;
        match c {
            '[' | '{' if !is_quoted => out.push('('),
            ']' | '}' if !is_quoted => out.push(')'),
            ',' if !is_quoted => out.push(' '),
            '\'' if double => out.push('\''),
            '\'' => {
                single = !single;
                out.push('"');
            }
            '"' if single => out.push_str("\\\""),
            '"' => {
                double = !double;
                out.push('"');
            }
            '\\' if is_quoted => backslash = true,
            '\\' => return None,
            c => out.push(c),
        }
    }
    (!single && !double).then_some(out)
}

/// A list that a program of another language printed.
pub(super) fn parse_list(text: &str, is_missing: fn(&Value) -> bool) -> Value {
    match script(text) {
        Value::List(items) => {
            let rule = |item: Value| if is_missing(&item) { Value::rule() } else { item };
            Value::List(items.into_iter().map(rule).collect())
        }
        value => value,
    }
}

/// Words of a list, or the words of a text.
pub(super) fn words(value: Option<&Value>) -> Vec<String> {
    match value {
        None | Some(Value::Nil) => Vec::new(),
        Some(Value::List(items)) => items
            .iter()
            .map(|item| match item {
                Value::Symbol(name) => name.clone(),
                item => generic::echo(item),
            })
            .collect(),
        Some(value) => generic::echo(value).split_whitespace().map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("007", "7")]
    #[case("1e3", "1000.0")]
    #[case("1.500", "1.5")]
    #[case("+5", "5")]
    #[case(" 12 ", "12")]
    #[case("1 2", "\"1 2\"")]
    #[case("1-2", "\"1-2\"")]
    #[case("e", "\"e\"")]
    #[case("", "\"\"")]
    #[case("  ", "\"  \"")]
    #[case("\"a b\"", "\"a b\"")]
    #[case("\"a\" \"b\"", "\"\\\"a\\\" \\\"b\\\"\"")]
    #[case("(a)", "\"(a)\"")]
    #[case("'a", "\"'a\"")]
    #[case("123456789012345678901234567890", "123456789012345678901234567890")]
    fn cells_are_read(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(read(text).prin1(), expected);
    }

    #[rstest::rstest]
    #[case("[1, 'a', \"b\"]", "(1 \"a\" \"b\")")]
    #[case("[[1, 2], None]", "((1 2) None)")]
    #[case("(1, (2, 3))", "(1 (2 3))")]
    #[case("['it\\'s', 'q\"']", "(\"it's\" \"q\\\"\")")]
    #[case("['a\\nb']", "(\"a\\\\nb\")")]
    #[case("{'a': 1}", "(\"a\" : 1)")]
    #[case("[b'a']", "(b \"a\")")]
    #[case("[]", "nil")]
    #[case("[1", "\"[1\"")]
    #[case("'text'", "\"text\"")]
    #[case("\"text\"", "\"text\"")]
    #[case("plain", "\"plain\"")]
    #[case("7", "7")]
    #[case("[\\d]", "\"[\\\\d]\"")]
    #[case("[1][2]", "(1)")]
    fn script_values_are_read(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(script(text).prin1(), expected);
    }

    #[test]
    fn table_cells_lose_their_quotes() {
        assert_eq!(cell("\"a\"").prin1(), "\"a\"");
        assert_eq!(cell("\"7\"").prin1(), "7");
        assert_eq!(cell("a\"").prin1(), "\"a\\\"\"");
        assert_eq!(cell("\"\"").prin1(), "\"\"");
    }
}

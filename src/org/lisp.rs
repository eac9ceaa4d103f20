//! Reads the value of a header argument as Emacs' Lisp reader does: a number, a quoted string, or plain text.

use super::document::Value;

/// Reads a value; returns it, and its text without quotes.
pub(super) fn read(cell: &str) -> (Value, String) {
    if let Some(number) = number(cell) {
        return (number, cell.to_owned());
    }
    let text = string(cell).unwrap_or_else(|| cell.to_owned());
    (Value::Text(text.clone()), text)
}

/// Whether Emacs evaluates such a value: it begins like a form, a quoted form or a vector.
pub(super) fn is_code(cell: &str) -> bool {
    cell.starts_with(['(', '\'', '`', '['])
}

/// An integer or float in the notation of Emacs Lisp. Integers of more than 64 bits stay text.
fn number(cell: &str) -> Option<Value> {
    let digits = cell.strip_prefix(['+', '-']).unwrap_or(cell);
    let until = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let whole = until(digits);
    let rest = &digits[whole..];
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    let fraction = until(rest);
    let rest = &rest[fraction..];
    if rest.is_empty() && whole > 0 && fraction == 0 {
        return cell.trim_end_matches('.').parse().ok().map(Value::Integer);
    }
    let exponent = match rest.strip_prefix('e') {
        None => rest.is_empty(),
        Some(power) => {
            let power = power.strip_prefix(['+', '-']).unwrap_or(power);
            !power.is_empty() && power.bytes().all(|b| b.is_ascii_digit())
        }
    };
    let float = exponent && whole + fraction > 0;
    if float { cell.parse().ok().map(Value::Float) } else { None }
}

/// A string in double quotes that is the whole of `cell`, its escapes read.
fn string(cell: &str) -> Option<String> {
    let inner = cell.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => return None,
            '\\' => escape(&mut rest, &mut text)?,
            c => text.push(c),
        }
    }
    Some(text)
}

fn escape(rest: &mut std::str::Chars<'_>, text: &mut String) -> Option<()> {
    let c = match rest.next()? {
        // An escaped blank or line end is nothing.
        ' ' | '\n' => return Some(()),
        'a' => '\u{7}',
        'b' => '\u{8}',
        't' => '\t',
        'n' => '\n',
        'v' => '\u{b}',
        'f' => '\u{c}',
        'r' => '\r',
        'e' => '\u{1b}',
        's' => ' ',
        'd' => '\u{7f}',
        'x' => digits(rest, "", 16, usize::MAX)?,
        'u' => code_point(rest, 4)?,
        'U' => code_point(rest, 8)?,
        c @ '0'..='7' => digits(rest, c.encode_utf8(&mut [0; 4]), 8, 2)?,
        c => c,
    };
    text.push(c);
    Some(())
}

fn code_point(rest: &mut std::str::Chars<'_>, length: usize) -> Option<char> {
    let code = rest.as_str().get(..length)?;
    let c = char::from_u32(u32::from_str_radix(code, 16).ok()?)?;
    *rest = rest.as_str()[length..].chars();
    Some(c)
}

/// Up to `limit` more digits.
fn digits(rest: &mut std::str::Chars<'_>, first: &str, radix: u32, limit: usize) -> Option<char> {
    let text = rest.as_str();
    let length = text.bytes().take(limit).take_while(|&b| char::from(b).is_digit(radix)).count();
    *rest = text[length..].chars();
    let code = format!("{first}{}", &text[..length]);
    char::from_u32(u32::from_str_radix(&code, radix).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("(concat \"a\" \"b\")", true)]
    #[case("'(1 2)", true)]
    #[case("`a", true)]
    #[case("[1 2]", true)]
    #[case("\"(a)\"", false)]
    #[case("f(1)", false)]
    #[case("t[0]", false)]
    #[case("", false)]
    fn code_is_recognised(#[case] cell: &str, #[case] expected: bool) {
        assert_eq!(is_code(cell), expected);
    }

    #[rstest::rstest]
    #[case("007", Value::Integer(7))]
    #[case("+3", Value::Integer(3))]
    #[case("-0", Value::Integer(0))]
    #[case("1.", Value::Integer(1))]
    #[case("1e3", Value::Float(1000.0))]
    #[case("0.50", Value::Float(0.5))]
    #[case(".5", Value::Float(0.5))]
    #[case("-.5e-1", Value::Float(-0.05))]
    #[case("1.e3", Value::Float(1000.0))]
    #[case(".e3", Value::Text(".e3".into()))]
    #[case("1-2", Value::Text("1-2".into()))]
    #[case("0x10", Value::Text("0x10".into()))]
    #[case("-", Value::Text("-".into()))]
    #[case(".", Value::Text(".".into()))]
    #[case("e", Value::Text("e".into()))]
    #[case("1E3", Value::Text("1E3".into()))]
    #[case("99999999999999999999", Value::Text("99999999999999999999".into()))]
    #[case("\"1\"", Value::Text("1".into()))]
    #[case("\"a\\\"b\\n\"", Value::Text("a\"b\n".into()))]
    #[case("\"\\u00e9\\x41\\102\"", Value::Text("éAB".into()))]
    #[case("\"a\" \"b\"", Value::Text("\"a\" \"b\"".into()))]
    #[case("\"a\\\"", Value::Text("\"a\\\"".into()))]
    #[case("\"", Value::Text("\"".into()))]
    #[case("'a'", Value::Text("'a'".into()))]
    fn values_are_read(#[case] cell: &str, #[case] expected: Value) {
        assert_eq!(read(cell).0, expected);
    }
}

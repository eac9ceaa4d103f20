//! Values as Emacs prints them, and their digests.

use std::fmt::{self, Write};

use sha2::{Digest, Sha256};

use super::value::Value;
use super::{float, lisp};

impl Value {
    /// How Emacs prints it for its reader (`%S`): texts in quotes.
    pub fn prin1(&self) -> String {
        let mut out = String::new();
        self.print(&mut out, true);
        out
    }

    /// How Emacs shows it (`%s`): texts as they are.
    pub fn princ(&self) -> String {
        let mut out = String::new();
        self.print(&mut out, false);
        out
    }

    /// A digest of it, in hexadecimal: equal for equal values, and for no others.
    pub fn digest(&self) -> String {
        let digest = Sha256::digest(self.prin1().as_bytes());
        digest.iter().fold(String::new(), |mut hex, byte| {
            // Writing to a text does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    fn print(&self, out: &mut String, escape: bool) {
        match self {
            Self::Nil => out.push_str("nil"),
            Self::Integer(number) => out.push_str(&number.to_string()),
            Self::BigInteger(digits) => out.push_str(digits),
            Self::Float(number) => out.push_str(&float::print(*number)),
            Self::Text(text) if escape => quote(text, out),
            Self::Text(text) => out.push_str(text),
            Self::Symbol(name) if escape => symbol(name, out),
            Self::Symbol(name) => out.push_str(name),
            Self::List(items) => print_list(items, None, out, escape),
            Self::Dotted(items, end) => print_list(items, Some(end), out, escape),
            Self::Vector(items) => print_items(items, ['[', ']'], out, escape),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.princ())
    }
}

fn print_list(items: &[Value], end: Option<&Value>, out: &mut String, escape: bool) {
    let short = match items {
        [Value::Symbol(name), value] if end.is_none() => match name.as_str() {
            "quote" => Some(("'", value)),
            "function" => Some(("#'", value)),
            "`" => Some(("`", value)),
            "," => Some((",", value)),
            ",@" => Some((",@", value)),
            _ => None,
        },
        _ => None,
    };
    if let Some((mark, value)) = short {
        out.push_str(mark);
        value.print(out, escape);
        return;
    }
    print_items(items, ['(', ')'], out, escape);
    if let Some(end) = end {
        out.pop();
        out.push_str(" . ");
        end.print(out, escape);
        out.push(')');
    }
}

fn print_items(items: &[Value], brackets: [char; 2], out: &mut String, escape: bool) {
    out.push(brackets[0]);
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            out.push(' ');
        }
        item.print(out, escape);
    }
    out.push(brackets[1]);
}

/// A text in double quotes.
pub(super) fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// A symbol, with backslashes before what would make it something else.
fn symbol(name: &str, out: &mut String) {
    if name.is_empty() {
        out.push_str("##");
        return;
    }
    if lisp::number(name).is_some() {
        out.push('\\');
    }
    for c in name.chars() {
        let special = "\"\\';#(),.`[]?".contains(c) || c <= ' ' || c == '\u{a0}';
        if special {
            out.push('\\');
        }
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_printed_as_by_emacs() {
        let table = Value::list(vec![
            Value::list(vec!["a".into(), Value::Integer(1)]),
            Value::rule(),
            Value::list(vec![Value::Float(0.5), "q\"\\\n".into()]),
        ]);
        assert_eq!(table.prin1(), "((\"a\" 1) hline (0.5 \"q\\\"\\\\\n\"))");
        assert_eq!(table.princ(), "((a 1) hline (0.5 q\"\\\n))");
        let dotted = Value::Dotted(vec![1.into(), 2.into()], Box::new(3.into()));
        assert_eq!(dotted.prin1(), "(1 2 . 3)");
        assert_eq!(Value::Vector(vec![1.into(), "x".into()]).prin1(), "[1 \"x\"]");
        let quoted = Value::list(vec![Value::Symbol("quote".into()), Value::Symbol("a".into())]);
        assert_eq!(quoted.prin1(), "'a");
        assert_eq!(Value::list(vec![]).prin1(), "nil");
        assert_eq!(Value::Symbol("a b,c?d".into()).prin1(), "a\\ b\\,c\\?d");
        assert_eq!(Value::Symbol("12".into()).prin1(), "\\12");
    }

    #[test]
    fn only_equal_values_have_equal_digests() {
        let values = ["1".into(), Value::Integer(1), Value::Float(1.0), Value::Symbol("1".into())];
        for (n, one) in values.iter().enumerate() {
            for (m, other) in values.iter().enumerate() {
                assert_eq!(one.digest() == other.digest(), n == m, "{one:?} {other:?}");
            }
        }
        assert_eq!(Value::text("a").digest().len(), 64);
    }
}

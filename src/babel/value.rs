//! What a block yields, and what a variable holds.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::float;

/// A value as Emacs holds it: the result of a block, or what a `:var` is set to.
///
/// Texts are decoded by [`super::text::decode`]. A table is a list of rows, each a list or a [rule](Value::rule);
/// a list that is not one of rows is a list. A file is the text of its name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum Value {
    /// No value: `nil`, which is the empty list as well.
    #[default]
    Nil,
    /// An integer.
    Integer(i64),
    /// An integer of more than 64 bits: its digits.
    BigInteger(String),
    /// A number with a point or an exponent.
    Float(f64),
    /// Text.
    Text(String),
    /// A word that is no text: `t`, `hline`, or what is left of something that was torn apart.
    Symbol(String),
    /// A list that is not empty; see [`VersionedRecord::list`].
    List(Vec<Value>),
    /// A list with something else than an end behind it, as `(a . b)`.
    Dotted(Vec<Value>, Box<Value>),
    /// `[a b]`
    Vector(Vec<Value>),
}

impl Value {
    /// A list of these; [`VersionedRecord::Nil`] for none.
    pub fn list(items: Vec<Self>) -> Self {
        if items.is_empty() { Self::Nil } else { Self::List(items) }
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A row of a table that is a rule.
    pub fn rule() -> Self {
        Self::Symbol("hline".to_owned())
    }

    /// Whether it is a rule of a table.
    pub fn is_rule(&self) -> bool {
        matches!(self, Self::Symbol(name) if name == "hline")
    }

    /// The items, if it is a list, the empty one included.
    pub fn items(&self) -> Option<&[Self]> {
        match self {
            Self::Nil => Some(&[]),
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// Whether it is a list, ended properly or not.
    pub fn is_list(&self) -> bool {
        matches!(self, Self::Nil | Self::List(_) | Self::Dotted(..))
    }

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
            Self::Vector(items) => between(items, ['[', ']'], out, escape),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
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
    between(items, ['(', ')'], out, escape);
    if let Some(end) = end {
        out.pop();
        out.push_str(" . ");
        end.print(out, escape);
        out.push(')');
    }
}

fn between(items: &[Value], brackets: [char; 2], out: &mut String, escape: bool) {
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
    if super::lisp::number(name).is_some() {
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
    fn values_are_printed_as_emacs_prints_them() {
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
    fn equal_values_and_no_others_have_one_digest() {
        let values = ["1".into(), Value::Integer(1), Value::Float(1.0), Value::Symbol("1".into())];
        for (n, one) in values.iter().enumerate() {
            for (m, other) in values.iter().enumerate() {
                assert_eq!(one.digest() == other.digest(), n == m, "{one:?} {other:?}");
            }
        }
        assert_eq!(Value::text("a").digest().len(), 64);
    }
}

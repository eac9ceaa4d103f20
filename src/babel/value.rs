//! The values of blocks and variables, as Emacs holds them.

use serde::{Deserialize, Serialize};

/// A value as Emacs holds it: the result of a block, or what a `:var` is set to.
///
/// Texts are decoded by [`super::byte_text::decode`]. A table is a list of rows, each a list or a [rule](Value::rule);
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
    /// A list that is not empty; see [`Value::list`].
    List(Vec<Value>),
    /// A list with something else than an end behind it, as `(a . b)`.
    Dotted(Vec<Value>, Box<Value>),
    /// `[a b]`
    Vector(Vec<Value>),
}

impl Value {
    /// A list of these; [`Value::Nil`] for none.
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

//! The options of a plan: what a caller asks of a document, in addition to the document itself.

use borges_babel::{self as babel, Languages};
use borges_org::SourceMap;

/// What is asked of a document, beside what it says itself.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// Only these blocks, and those they require; empty means all.
    pub names: Vec<String>,
    /// The setupfile's languages.
    pub languages: Languages,
    /// Values of blocks' variables, in place of those they have.
    pub variables: Vec<Variable>,
    /// Emacs-lisp runs without `:eval yes` too: somebody wants of this document what Emacs makes of it.
    pub emacs_compatible: bool,
    /// Somebody can approve a block with `:eval query`; otherwise it is skipped.
    pub approval_available: bool,
    /// Blocks start here, and `:dir` is relative to it; `None` is each block's sandbox.
    pub directory: Option<String>,
    /// What `~` in `:dir` stands for.
    pub home: Option<String>,
    /// Files that the document names by `#+INCLUDE:` and `#+SETUPFILE:` have been put in; otherwise naming one is
    /// an error.
    pub files_read: bool,
    /// Where its lines come from, if files have been put into it.
    pub source_map: SourceMap,
}

/// A value for a variable of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub(super) block: String,
    pub(super) name: String,
    /// As a `:var` has it.
    pub(super) value: String,
}

impl Variable {
    /// Reads `block.name=value`; the value is a number, or a text with or without quotes.
    pub fn read(text: &str) -> Option<Self> {
        let (key, value) = text.split_once('=')?;
        Self::of(key, value)
    }

    /// The same, in two parts.
    pub fn of(key: &str, value: &str) -> Option<Self> {
        let (block, name) = key.rsplit_once('.')?;
        let is_text = babel::read(value) == babel::Value::text(value);
        let value = if is_text {
            format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
        } else {
            value.to_owned()
        };
        let filled = !block.is_empty() && !name.is_empty();
        filled.then(|| Self { block: block.to_owned(), name: name.to_owned(), value })
    }
}

//! The data types of a parsed document: blocks, calls, keywords, header arguments, positions.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::text::characters;
use super::tree::Tree;

/// A place in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1; 0 where only the line is known.
    pub column: u32,
}

impl Position {
    /// The position of byte `at` of a line, whose number is `number`.
    pub(super) fn in_line(line: &[u8], number: u32, at: usize) -> Self {
        Self { line: number, column: characters(&line[..at.min(line.len())]).saturating_add(1) }
    }
}

/// An Org document, read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    /// Keywords that stand alone (`#+TITLE: …`), in document order; those affiliated to a block belong to it.
    pub keywords: Vec<Keyword>,
    /// Source blocks, in document order.
    pub blocks: Vec<Block>,
    /// `#+call:` lines, in document order.
    pub calls: Vec<Call>,
    /// `call_name(…)` in text, in document order.
    pub inline_calls: Vec<Call>,
    /// `src_lang{…}` in text, in document order.
    pub inline_blocks: Vec<InlineBlock>,
    /// Lines `#+begin_src` that begin no block.
    pub unterminated_blocks: Vec<UnterminatedBlock>,
    /// Its elements, which are its text.
    pub tree: Tree,
}

/// `#+KEY: value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyword {
    /// In capitals.
    pub key: String,
    /// Without blanks at its ends.
    pub value: String,
    /// Where the value begins.
    pub at: Position,
    /// Under a `COMMENT` headline.
    pub commented: bool,
}

/// A call of a block: `name[inside](arguments)end`, the end in square brackets where it stands in text.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The block that is called.
    pub name: Option<String>,
    /// Header arguments for the block itself.
    pub inside_header: Option<String>,
    /// Its variables.
    pub arguments: Option<String>,
    /// Header arguments for what becomes of the result.
    pub end_header: Option<String>,
    /// Where it begins: its first affiliated keyword.
    pub at: Position,
    /// Its bytes in the document; of a call on a line of its own, those of the line.
    pub span: Range<usize>,
    /// What holds where it stands; inherited is what the language of the called block has there.
    pub context: Context,
}

/// What holds where a call, or code within text, stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Context {
    /// Under a `COMMENT` headline.
    pub commented: bool,
    /// Under a headline with the tag `ARCHIVE`.
    pub archived: bool,
    /// What is inherited there from property lines and drawers, unmerged.
    pub inherited: Arc<[Param]>,
}

/// `src_language[parameters]{body}`.
#[derive(Debug, Clone, PartialEq)]
pub struct InlineBlock {
    /// As written.
    pub language: String,
    /// Header arguments.
    pub parameters: Option<String>,
    /// Code.
    pub body: String,
    /// Where it begins.
    pub at: Position,
    /// Its bytes in the document.
    pub span: Range<usize>,
    /// What holds where it stands.
    pub context: Context,
}

/// A line `#+begin_src` that begins no block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnterminatedBlock {
    /// Its line, from 1.
    pub line: u32,
    /// Type of the element it is in, as Emacs names it; `paragraph` where the block has no end.
    pub within: &'static str,
}

/// A source block.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Block {
    /// Its number in the document's [`Tree`].
    pub node: usize,
    /// First word after `#+begin_src`, as written.
    pub language: Option<String>,
    /// From `#+name:`; `Some("")` where the keyword has no value.
    pub name: Option<String>,
    /// Switches of the begin line (`-n -r …`).
    pub switches: Option<String>,
    /// Rest of the begin line, as it stands.
    pub parameters: Option<String>,
    /// Values of its `#+header:` lines, in document order.
    pub headers: Vec<String>,
    /// Line of the first affiliated keyword, from 1.
    pub first_line: u32,
    /// Line of `#+begin_src`, from 1.
    pub begin_line: u32,
    /// Line of `#+end_src`, from 1.
    pub end_line: u32,
    /// Elements around it, outermost first, headlines left out, as Emacs names them.
    pub within: Vec<&'static str>,
    /// Under a `COMMENT` headline.
    pub commented: bool,
    /// Under a headline with the tag `ARCHIVE`.
    pub archived: bool,
    /// Code: comma escapes and common indentation taken off, last newline too; bytes as they stand otherwise.
    pub body: Bytes,
    /// Header arguments in force: merged as Babel merges them, Emacs' defaults left out.
    pub params: Arc<[Param]>,
    /// What it inherits from property lines and drawers, unmerged.
    pub inherited: Arc<[Param]>,
    /// Why its header arguments cannot be read, and where; `params` is then empty.
    pub error: Option<(Position, String)>,
}

/// A header argument: a key and what it is set to.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// As written, with its colon: `:cpu`.
    pub key: String,
    /// As Emacs reads it.
    pub value: Value,
    /// The value as written, without quotes.
    pub text: String,
    /// Emacs would evaluate the value, or that of the variable, as Lisp.
    pub lisp: bool,
    /// Where the key stands.
    pub at: Position,
    /// Where the argument comes from.
    pub origin: Origin,
}

/// Where a header argument comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Written on the block itself: its begin line or a `#+header:` line.
    Block,
    /// A property line or drawer of the document.
    Document,
    /// The setupfile; its position is one of that file.
    Setup,
}

/// The value of a header argument, as Emacs' reader leaves it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// The key stands alone.
    None,
    /// An integer.
    Integer(i64),
    /// A number with a point or an exponent.
    Float(f64),
    /// Anything else.
    Text(String),
}

/// A `header-args` property of the setupfile: a default for all documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderArgsProperty {
    /// The language it holds for, in lower case; `None` holds for all.
    pub language: Option<String>,
    /// The arguments, as written.
    pub value: String,
    /// Where the value begins, in the setupfile.
    pub at: Position,
}

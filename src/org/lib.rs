//! Parses Org text into a [`Document`]: its source blocks, calls and keywords, and the header arguments of each block.
//!
//! The result is what Emacs (Org 9.8.9) reads. The crate is pure: it knows text only, and no tasks, clusters, clocks or
//! files. All functions take time linear in the length of the text.
//!
//! | file | contents |
//! |---|---|
//! | `document` | data types of a parsed document |
//! | `tree` | the element tree, and edits of it |
//! | `source_bytes` | the bytes of a document, shared |
//! | `parse` | from bytes to a document |
//! | `text` | byte order mark, line ends, characters |
//! | `grammar` | `grammar/org.pest`, applied to one line |
//! | `line` | the kind of a line |
//! | `lines` | the lines of a section, and which line ends which |
//! | `element_parser` | the elements of a section |
//! | `list` | where list items end |
//! | `outline` | headlines and their property drawers |
//! | `block_header` | affiliated keywords and the begin line of a block |
//! | `body` | the code of a block: escapes and indentation |
//! | `call` | `#+call:` lines |
//! | `inline` | blocks and calls in text |
//! | `brackets` | pairs of brackets |
//! | `header_args` | splits a line of header arguments |
//! | `lisp` | numbers and strings among their values |
//! | `inherit` | inherited header arguments |
//! | `merge` | merged header arguments of a block |
//! | `call_args` | header arguments of called blocks and of inline code |
//! | `noweb` | expansion of noweb references |
//! | `placeholder` | results that are inserted into code before it runs |
//! | `reference` | syntax of noweb references |
//! | `expansion_error` | errors of the expansion |
//! | `heading` | levels of headlines; headings by `CUSTOM_ID` |
//! | `coderef` | removal of `(ref:label)` |
//! | `resolve` | insertion of included files and setupfiles |
//! | `include` | the value of an `#+INCLUDE:` line |
//! | `section` | the part of a file that an `#+INCLUDE:` line names |
//! | `source_map` | the file and line that a line comes from |
//! | `result_slot` | where a result stands, or belongs |
//! | `report` | a document as JSON |
//! | `suggest` | "did you mean" |
//! | `snippet` | a line with a caret under it, for messages |

// pest's parser without `std` names it.
extern crate alloc;

mod block_header;
mod body;
mod brackets;
mod call;
mod call_args;
mod coderef;
#[cfg(test)]
mod conformance_tests;
mod document;
mod element_parser;
mod expansion_error;
mod grammar;
mod header_args;
mod heading;
mod include;
mod inherit;
mod inline;
mod line;
mod lines;
mod lisp;
mod list;
mod merge;
mod noweb;
mod outline;
mod parse;
mod placeholder;
mod reference;
mod report;
mod resolve;
mod result_slot;
mod section;
mod snippet;
mod source_bytes;
mod source_map;
mod suggest;
mod text;
mod tree;

pub use body::dedent_text as dedent;
pub use call_args::{inline_params, merge_call_args, split_arguments};
pub use document::{
    Block, Call, Context, Document, HeaderArgsProperty, InlineBlock, Keyword, Origin, Param, Position,
    UnterminatedBlock, Value,
};
pub use expansion_error::{ExpansionError, ExpansionErrorKind};
pub use include::includes_text;
pub use noweb::{BodyExpander, ExpandedBody};
pub use parse::parse;
pub use placeholder::fill as fill_placeholders;
pub use reference::NowebCall;
pub use report::report;
pub use resolve::{File, Reader, ResolveError, resolve};
pub use result_slot::{Hash, InlineSlot, Keep, ResultLocator, Slot, Target};
pub use snippet::snippet;
pub use source_bytes::SourceBytes;
pub use source_map::{SourceLocation, SourceMap};
pub use suggest::suggest;
pub use tree::{Edit, Element, Node, Tree};

//! Org text → [`Document`]: which source blocks it holds, and what is asked for them.
//!
//! Emacs is the truth of what a block is. This room knows nothing but text: no tasks, no clusters, no
//! clock, no files. Everything in it takes time proportional to the text, whatever the text is.
//!
//! | file | |
//! |---|---|
//! | `document` | what reading a document yields |
//! | `tree` | the document as it is written, element by element, and edits of it |
//! | `source_bytes` | its bytes, shared |
//! | `parse` | the way from bytes to a document |
//! | `text` | bytes as Emacs sees them: byte order mark, line ends, characters |
//! | `grammar` | `grammar/org.pest`, asked about one line |
//! | `line` | what kind of line a line is |
//! | `lines` | the lines of a section, and which ends which |
//! | `element_parser` | the elements of a section: what holds what |
//! | `list` | where list items end |
//! | `outline` | headlines and their property drawers |
//! | `block_header` | a block's own lines |
//! | `body` | a block's code: escapes and indentation |
//! | `call` | `#+call:` lines |
//! | `inline` | blocks and calls within text |
//! | `brackets` | which bracket closes which |
//! | `header_args` | splitting a line of header arguments |
//! | `lisp` | numbers and strings among their values |
//! | `inherit` | what a block inherits |
//! | `merge` | which of a block's arguments hold |
//! | `call_args` | arguments that a call gives to a block, and those of code within text |
//! | `noweb` | bodies as they would run: references expanded |
//! | `placeholder` | where results are put into code before it runs |
//! | `reference` | where references stand, and what they say |
//! | `expansion_error` | why a body cannot be expanded |
//! | `heading` | headings that a reference may name |
//! | `coderef` | `(ref:label)`s taken off |
//! | `resolve` | a document with the files put in that it names |
//! | `include` | what an `#+INCLUDE:` line says |
//! | `result_slot` | where the result of a block stands, or is to stand |
//! | `section` | parts of a document by what they are called |
//! | `source_map` | which line of which file a line was |
//! | `report` | a document as JSON |
//! | `suggest` | the word that was most likely meant |
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
pub use placeholder::fill as fill_gaps;
pub use reference::NowebCall;
pub use report::report;
pub use resolve::{File, Reader, ResolveError, resolve};
pub use result_slot::{Hash, InlineSlot, Keep, ResultLocator, Slot, Target};
pub use snippet::snippet;
pub use source_bytes::SourceBytes;
pub use source_map::{SourceLocation, SourceMap};
pub use suggest::suggest;
pub use tree::{Edit, Element, Node, Tree};

//! Org text → [`Document`]: which source blocks it holds, and what is asked for them.
//!
//! Emacs is the truth of what a block is. This room knows nothing but text: no tasks, no clusters, no
//! clock, no files. Everything in it takes time proportional to the text, whatever the text is.
//!
//! | file | |
//! |---|---|
//! | `document` | what reading a document yields |
//! | `tree` | the document as it is written, element by element, and edits of it |
//! | `original` | its bytes, shared |
//! | `parse` | the way from bytes to a document |
//! | `text` | bytes as Emacs sees them: byte order mark, line ends, characters |
//! | `grammar` | `grammar/org.pest`, asked about one line |
//! | `line` | what kind of line a line is |
//! | `lines` | the lines of a section, and which ends which |
//! | `structure` | the elements of a section: what holds what |
//! | `list` | where list items end |
//! | `outline` | headlines and their property drawers |
//! | `source` | a block's own lines |
//! | `body` | a block's code: escapes and indentation |
//! | `call` | `#+call:` lines |
//! | `inline` | blocks and calls within text |
//! | `brackets` | which bracket closes which |
//! | `header_args` | splitting a line of header arguments |
//! | `lisp` | numbers and strings among their values |
//! | `inherit` | what a block inherits |
//! | `merge` | which of a block's arguments hold |
//! | `given` | arguments that a call gives to a block, and those of code within text |
//! | `noweb` | bodies as they would run: references expanded |
//! | `gap` | where results are put into code before it runs |
//! | `reference` | where references stand, and what they say |
//! | `trouble` | why a body cannot be expanded |
//! | `heading` | headings that a reference may name |
//! | `label` | `(ref:label)`s taken off |
//! | `resolve` | a document with the files put in that it names |
//! | `include` | what an `#+INCLUDE:` line says |
//! | `slot` | where the result of a block stands, or is to stand |
//! | `section` | parts of a document by what they are called |
//! | `places` | which line of which file a line was |
//! | `report` | a document as JSON |
//! | `nearest` | the word that was most likely meant |
//! | `excerpt` | a line with a caret under it, for messages |

mod body;
mod brackets;
mod call;
#[cfg(test)]
mod cases;
mod document;
mod excerpt;
mod gap;
mod given;
mod grammar;
mod header_args;
mod heading;
mod include;
mod inherit;
mod inline;
mod label;
mod line;
mod lines;
mod lisp;
mod list;
mod merge;
mod nearest;
mod noweb;
mod original;
mod outline;
mod parse;
mod places;
mod reference;
mod report;
mod resolve;
mod section;
mod slot;
mod source;
mod structure;
mod text;
mod tree;
mod trouble;

pub use body::dedent_text as dedent;
pub use document::{
    Block, Call, Document, InlineBlock, Keyword, LookAlike, Origin, Param, Position, Property, Surroundings,
    Value,
};
pub use excerpt::excerpt;
pub use gap::fill as fill_gaps;
pub use given::{called, inline_params, split_arguments};
pub use include::includes_text;
pub use nearest::nearest;
pub use noweb::{Bodies, Runnable};
pub use original::Original;
pub use parse::parse;
pub use places::{Place, Places};
pub use reference::NowebCall;
pub use report::report;
pub use resolve::{File, Reader, Unresolved, resolve};
pub use slot::{Hash, InlineSlot, Keep, Slot, Slots, Target};
pub use tree::{Edit, Element, Node, Tree};
pub use trouble::{Trouble, TroubleKind};

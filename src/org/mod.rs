//! Org text → [`Document`]: which source blocks it holds, and what is asked for them.
//!
//! Emacs is the truth of what a block is. This room knows nothing but text: no tasks, no clusters, no
//! clock, no files.
//!
//! | file | |
//! |---|---|
//! | `document` | what reading a document yields |

mod document;

pub use document::{Block, Document, Keyword, LookAlike, Origin, Param, Position, Property, Value};

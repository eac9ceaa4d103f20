//! What Org Babel knows: how a block of a language is run, what it yields, and how that is written into a document.
//!
//! Pure: runs nothing, and reads no file. The judge is Emacs with Org 9.8.9.
//!
//! | file | |
//! |---|---|
//! | `languages` | the table: which program runs a block, and what it needs by default |
//! | `arguments` | the header arguments in force for a block |
//! | `compose` | a block and its inputs → what is to be run; what it left behind → its value |
//! | `shells`, `scripts`, `filters`, `lisps`, `compiled`, `native` | the same, by kind of language |
//! | `colnames` | names of rows and columns, taken off what goes in, put back on what comes out |
//! | `apply_file_arg` | what `:file` makes of a value |
//! | `hash` | the hash of `#+RESULTS[hash]:` |
//! | `reference` | what a variable refers to |
//! | `element`, `index` | named elements → values, and parts of them |
//! | `format_result` | a value → the text under `#+RESULTS:` |
//! | `insert_results` | results into a document |
//! | `result_note` | what is noted in the result of a block that did not end well |
//! | `align` | tables in Org's notation |
//! | `value` | what a block yields, and what a variable holds |
//! | `read` | cells, and lists in the notation of other languages → values |
//! | `import` | printed tables → values |
//! | `generic` | tables as plain text |
//! | `lisp` | Emacs' reader of data |
//! | `float` | floating-point numbers as Emacs prints them |
//! | `byte_text` | bytes as characters and back |

mod align;
mod arguments;
pub mod byte_text;
mod colnames;
mod compiled;
mod compiled_other;
mod compose;
mod element;
mod emacs_lisp;
mod file_result;
mod filters;
mod float;
mod format_result;
mod generic;
mod hash;
mod import;
mod index;
mod insert_results;
mod invocation;
mod languages;
mod lisp;
mod print;
mod read;
mod reference;
mod result_note;
mod scripts;
mod shells;
mod value;

pub use arguments::{Arguments, Results};
pub use colnames::rows;
pub use compose::{collect, compose};
pub use element::element;
pub use file_result::{BlockResult, ResultFile, apply_file_arg, link};
pub use format_result::{InlineError, Insertion};
pub use hash::hash;
pub use index::index;
pub use insert_results::{ResultUpdate, UpdatedText, insert_results};
pub use invocation::{BODY, Execution, File, Invocation, Source, VALUE};
pub use languages::{Language, Languages, ParseLanguageError};
pub use read::{evaluated, read, script};
pub use reference::Reference;
pub use value::Value;

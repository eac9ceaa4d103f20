//! Org Babel: how a block of a language is run, how its value is read, and how that value is written into a document.
//!
//! The results are those of Emacs with Org 9.8.9. The crate is pure: it runs no program and reads no file.
//!
//! | file | contents |
//! |---|---|
//! | `languages` | the program that runs a language, and its default resources |
//! | `arguments` | the header arguments of a block |
//! | `invocation` | data types: source, invocation, execution |
//! | `compose` | from a block and its inputs to an invocation; from its output to a value |
//! | `shells`, `scripts`, `filters`, `emacs_lisp`, `compiled`, `compiled_other` | the same, by kind of language |
//! | `colnames` | names of rows and columns: stripped from inputs, restored on values |
//! | `file_result` | `:file`: the value and the file of a block |
//! | `hash` | the hash of `#+RESULTS[hash]:` |
//! | `reference` | syntax of references in variables |
//! | `element`, `index` | values of named elements, and parts of them |
//! | `format_result` | from a value to the text under `#+RESULTS:` |
//! | `insert_results` | results inserted into a document |
//! | `result_note` | notes in the results of blocks that failed or were skipped |
//! | `notation` | tables, lists and example blocks in Org's notation |
//! | `align` | tables in Org's notation, aligned |
//! | `value` | values of blocks and variables |
//! | `print` | values as Emacs prints them |
//! | `read` | values of cells, and of lists in the notation of other languages |
//! | `import` | values of printed tables |
//! | `generic` | values as plain text |
//! | `lisp` | Emacs' reader of data |
//! | `float` | floating-point numbers as Emacs prints them |
//! | `byte_text` | bytes as characters, without loss |

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
mod notation;
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

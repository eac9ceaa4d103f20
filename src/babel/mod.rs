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
//! | `names` | names of rows and columns, taken off what goes in, put back on what comes out |
//! | `finish` | what `:file` makes of a value |
//! | `hash` | the hash of `#+RESULTS[hash]:` |
//! | `reference` | what a variable refers to |
//! | `element`, `index` | named elements → values, and parts of them |
//! | `inserted` | a value → the text under `#+RESULTS:` |
//! | `written` | results into a document |
//! | `note` | what is noted in the result of a block that did not end well |
//! | `align` | tables in Org's notation |
//! | `value` | what a block yields, and what a variable holds |
//! | `read` | cells, and lists in the notation of other languages → values |
//! | `import` | printed tables → values |
//! | `generic` | tables as plain text |
//! | `lisp` | Emacs' reader of data |
//! | `float` | floating-point numbers as Emacs prints them |
//! | `text` | bytes as characters and back |

mod align;
mod arguments;
mod compiled;
mod compose;
mod element;
mod filters;
mod finish;
mod float;
mod generic;
mod hash;
mod import;
mod index;
mod inserted;
mod languages;
mod lisp;
mod lisps;
mod names;
mod native;
mod note;
mod read;
mod reference;
mod scripts;
mod shells;
pub mod text;
mod value;
mod written;

pub use arguments::{Arguments, Results};
pub use compose::{BODY, Composed, Ended, File, Source, VALUE, collect, compose};
pub use element::element;
pub use finish::{Finished, Product, finish, link};
pub use hash::hash;
pub use index::index;
pub use inserted::{Insertion, NotInline};
pub use languages::{BadLanguage, Language, Languages};
pub use names::rows;
pub use read::{evaluated, read, script};
pub use reference::Reference;
pub use value::Value;
pub use written::{Outcome, Written, write};

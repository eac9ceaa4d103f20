//! What Org Babel knows of languages.
//!
//! Pure: says how a block of a language is run; runs nothing.
//!
//! | file | |
//! |---|---|
//! | `languages` | the table: which program runs a block, and what it needs by default |

mod languages;

pub use languages::{BadLanguage, Language, Languages};

//! Interpreters: the body is a file, or the value of a function that code round it calls and writes down.
//!
//! | file | |
//! |---|---|
//! | `python`, `ruby`, `perl`, `js`, `lua`, `r` | a language each |

pub(super) mod js;
pub(super) mod lua;
pub(super) mod perl;
pub(super) mod python;
pub(super) mod r;
pub(super) mod ruby;

use super::invocation::{Execution, Expansion, Invocation};
use super::value::Value;

/// A language that is known by its command alone.
pub(super) fn plain(inside: &Expansion) -> Invocation {
    let (program, arguments) = (inside.language.program.clone(), inside.language.arguments.clone());
    Invocation::script(program, arguments, &inside.expanded([]))
}

/// What such a language printed.
pub(super) fn printed(inside: &Expansion, ended: &Execution) -> Value {
    inside.restore_names(inside.imported(&ended.printed()))
}

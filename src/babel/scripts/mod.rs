//! Script languages. The body is run as a file, or as a function whose value the code around it writes to
//! `block/value`.
//!
//! | file | contents |
//! |---|---|
//! | `python`, `ruby`, `perl`, `js`, `lua`, `r` | one language each |

pub(super) mod js;
pub(super) mod lua;
pub(super) mod perl;
pub(super) mod python;
pub(super) mod r;
pub(super) mod ruby;

use super::invocation::{Execution, Expansion, Invocation};
use super::value::Value;

/// A language that is known by its command alone.
pub(super) fn compose_plain(expansion: &Expansion) -> Invocation {
    let (program, arguments) = (expansion.language.program.clone(), expansion.language.arguments.clone());
    Invocation::script(program, arguments, &expansion.expanded_body([]))
}

/// What such a language printed.
pub(super) fn collect_plain(expansion: &Expansion, execution: &Execution) -> Value {
    expansion.restore_names(expansion.imported(&execution.printed()))
}

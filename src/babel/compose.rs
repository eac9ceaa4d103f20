//! Chooses by the language how a block and its inputs become an invocation, and how its output becomes a value.

use super::invocation::{Execution, Expansion, Invocation, Source};
use super::languages::Dialect;
use super::value::Value;
use super::{colnames, compiled, compiled_other, emacs_lisp, filters, scripts, shells};

/// What is to be run for a block.
pub fn compose(source: &Source) -> Invocation {
    let (variables, names) = colnames::strip(source.variables, source.arguments);
    let expansion = Expansion { variables: &variables, names: &names, ..Expansion::of(source) };
    match source.language.dialect() {
        Dialect::Plain => scripts::compose_plain(&expansion),
        Dialect::Shell(_) => shells::compose(&expansion),
        Dialect::Python => scripts::python::compose(&expansion),
        Dialect::Ruby => scripts::ruby::compose(&expansion),
        Dialect::Perl => scripts::perl::compose(&expansion),
        Dialect::Js => scripts::js::compose(&expansion),
        Dialect::Lua => scripts::lua::compose(&expansion),
        Dialect::R => scripts::r::compose(&expansion),
        Dialect::Awk | Dialect::Sed => filters::compose(&expansion),
        Dialect::Sqlite => filters::sqlite::compose(&expansion),
        Dialect::Lisp => emacs_lisp::compose(&expansion),
        Dialect::C | Dialect::Cpp => compiled::compose(&expansion),
        Dialect::Go | Dialect::Rust | Dialect::Java | Dialect::Make => compiled_other::compose(&expansion),
    }
}

/// The value of a block, as Emacs holds it before it is written anywhere.
///
/// A block that failed has one all the same: what it printed, or nothing.
pub fn collect(source: &Source, execution: &Execution) -> Value {
    let (variables, names) = colnames::strip(source.variables, source.arguments);
    let expansion = Expansion { variables: &variables, names: &names, ..Expansion::of(source) };
    let results = source.arguments.results();
    if results.has("discard") {
        return Value::Nil;
    }
    let value = match source.language.dialect() {
        Dialect::Plain => scripts::collect_plain(&expansion, execution),
        Dialect::Shell(_) => shells::collect(&expansion, execution),
        Dialect::Python => scripts::python::collect(&expansion, execution),
        Dialect::Ruby => scripts::ruby::collect(&expansion, execution),
        Dialect::Perl => scripts::perl::collect(&expansion, execution),
        Dialect::Js => scripts::js::collect(&expansion, execution),
        Dialect::Lua => scripts::lua::collect(&expansion, execution),
        Dialect::R => scripts::r::collect(&expansion, execution),
        Dialect::Awk | Dialect::Sed => filters::collect(&expansion, execution),
        Dialect::Sqlite => filters::sqlite::collect(&expansion, execution),
        Dialect::Lisp => emacs_lisp::collect(&expansion, execution),
        Dialect::C | Dialect::Cpp => compiled::collect(&expansion, execution),
        Dialect::Go | Dialect::Rust | Dialect::Java | Dialect::Make => {
            compiled_other::collect(&expansion, execution)
        }
    };
    if results.is_value() && (results.has("vector") || results.has("table")) && !value.is_list() {
        return Value::list(vec![Value::list(vec![value])]);
    }
    value
}

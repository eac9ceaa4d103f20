//! Chooses by the language how a block and its inputs become an invocation, and how its output becomes a value.

use super::invocation::{Execution, Expansion, Invocation, Source};
use super::languages::Dialect;
use super::value::Value;
use super::{colnames, compiled, compiled_other, emacs_lisp, filters, scripts, shells};

/// What is to be run for a block.
pub fn compose(source: &Source) -> Invocation {
    let (variables, names) = colnames::strip(source.variables, source.arguments);
    let inside = Expansion { variables: &variables, names: &names, ..Expansion::of(source) };
    match source.language.dialect() {
        Dialect::Plain => scripts::plain(&inside),
        Dialect::Shell(_) => shells::compose(&inside),
        Dialect::Python => scripts::python::compose(&inside),
        Dialect::Ruby => scripts::ruby::compose(&inside),
        Dialect::Perl => scripts::perl::compose(&inside),
        Dialect::Js => scripts::js::compose(&inside),
        Dialect::Lua => scripts::lua::compose(&inside),
        Dialect::R => scripts::r::compose(&inside),
        Dialect::Awk | Dialect::Sed => filters::compose(&inside),
        Dialect::Sqlite => filters::sqlite::compose(&inside),
        Dialect::Lisp => emacs_lisp::compose(&inside),
        Dialect::C | Dialect::Cpp => compiled::compose(&inside),
        Dialect::Go | Dialect::Rust | Dialect::Java | Dialect::Make => compiled_other::compose(&inside),
    }
}

/// The value of a block, as Emacs holds it before it is written anywhere.
///
/// A block that failed has one all the same: what it printed, or nothing.
pub fn collect(source: &Source, ended: &Execution) -> Value {
    let (variables, names) = colnames::strip(source.variables, source.arguments);
    let inside = Expansion { variables: &variables, names: &names, ..Expansion::of(source) };
    let results = source.arguments.results();
    if results.has("discard") {
        return Value::Nil;
    }
    let value = match source.language.dialect() {
        Dialect::Plain => scripts::printed(&inside, ended),
        Dialect::Shell(_) => shells::collect(&inside, ended),
        Dialect::Python => scripts::python::collect(&inside, ended),
        Dialect::Ruby => scripts::ruby::collect(&inside, ended),
        Dialect::Perl => scripts::perl::collect(&inside, ended),
        Dialect::Js => scripts::js::collect(&inside, ended),
        Dialect::Lua => scripts::lua::collect(&inside, ended),
        Dialect::R => scripts::r::collect(&inside, ended),
        Dialect::Awk | Dialect::Sed => filters::collect(&inside, ended),
        Dialect::Sqlite => filters::sqlite::collect(&inside, ended),
        Dialect::Lisp => emacs_lisp::collect(&inside, ended),
        Dialect::C | Dialect::Cpp => compiled::collect(&inside, ended),
        Dialect::Go | Dialect::Rust | Dialect::Java | Dialect::Make => {
            compiled_other::collect(&inside, ended)
        }
    };
    if results.is_value() && (results.has("vector") || results.has("table")) && !value.is_list() {
        return Value::list(vec![Value::list(vec![value])]);
    }
    value
}

//! Ruby.

use crate::invocation::{Execution, Expansion, Invocation};
use crate::read::parse_list;
use crate::value::Value;

pub(crate) fn compose(expansion: &Expansion) -> Invocation {
    let results = expansion.arguments.results();
    let mut code = expansion.expanded_body(assignments(expansion));
    if results.is_value() {
        let write = if results.has("pp") {
            "require 'pp'\nborges_text = PP.pp(borges_value, +'')"
        } else {
            "borges_text = borges_value.is_a?(String) ? borges_value : borges_value.inspect"
        };
        code = format!(
            "\nborges_value = (lambda do\n{code}\nend).call\n{write}\n\
             File.binwrite(File.join(ENV['MESOS_SANDBOX'], 'block/value'), borges_text)\n"
        );
    }
    let (program, arguments) = expansion.command(":ruby");
    Invocation::script(program, arguments, &code)
}

pub(crate) fn collect(expansion: &Expansion, execution: &Execution) -> Value {
    let raw =
        if expansion.arguments.results().is_value() { execution.written() } else { execution.printed() };
    let value = expansion.scalar_or(&raw, || parse_list(&raw, |item| *item == Value::Nil));
    expansion.restore_names(value)
}

/// Lines that set the variables.
pub(crate) fn assignments(expansion: &Expansion) -> Vec<String> {
    expansion.variables.iter().map(|(name, value)| format!("{name}={}", literal(value))).collect()
}

fn literal(value: &Value) -> String {
    match value {
        Value::Nil => "[]".to_owned(),
        Value::List(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", \n")),
        value if value.is_rule() => "nil".to_owned(),
        value => value.prin1(),
    }
}

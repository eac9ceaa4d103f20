//! Ruby.

use crate::invocation::{Execution, Expansion, Invocation};
use crate::read::parse_list;
use crate::value::Value;

pub(crate) fn compose(inside: &Expansion) -> Invocation {
    let results = inside.arguments.results();
    let mut code = inside.expanded(assignments(inside));
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
    let (program, arguments) = inside.command(":ruby");
    Invocation::script(program, arguments, &code)
}

pub(crate) fn collect(inside: &Expansion, ended: &Execution) -> Value {
    let raw = if inside.arguments.results().is_value() { ended.written() } else { ended.printed() };
    let value = inside.scalar_or(&raw, || parse_list(&raw, |item| *item == Value::Nil));
    inside.restore_names(value)
}

/// Lines that set the variables.
pub(crate) fn assignments(inside: &Expansion) -> Vec<String> {
    inside.variables.iter().map(|(name, value)| format!("{name}={}", written(value))).collect()
}

fn written(value: &Value) -> String {
    match value {
        Value::Nil => "[]".to_owned(),
        Value::List(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", \n")),
        value if value.is_rule() => "nil".to_owned(),
        value => value.prin1(),
    }
}

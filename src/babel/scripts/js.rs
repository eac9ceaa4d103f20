//! JavaScript, run by Node.js.

use crate::invocation::{Execution, Expansion, Invocation};
use crate::read;
use crate::value::Value;

pub(crate) fn compose(expansion: &Expansion) -> Invocation {
    let mut code = expansion.expanded_body(assignments(expansion));
    if expansion.arguments.results().is_value() {
        code = format!(
            "require('fs').writeFileSync(require('path').join(process.env.MESOS_SANDBOX, 'block/value'), \
             require('util').inspect(function(){{{code}\n}}()));"
        );
    }
    let (program, arguments) = expansion.command(":cmd");
    Invocation::script(program, arguments, &code)
}

/// What was printed belongs to the value, before it.
pub(crate) fn collect(expansion: &Expansion, execution: &Execution) -> Value {
    let mut raw = execution.printed();
    if expansion.arguments.results().is_value() {
        raw += &execution.written();
    }
    expansion.scalar_or(&raw, || parse_value(&raw))
}

/// A value in the notation of Node.js. Lists within it that Emacs cannot read leave it a text.
fn parse_value(raw: &str) -> Value {
    if !raw.starts_with('[') || !raw.ends_with(']') {
        return read::evaluated(raw);
    }
    let mut lisp = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => lisp.push('"'),
            '[' => lisp.push('('),
            ']' => lisp.push(')'),
            ',' if chars.peek().is_some_and(|c| c.is_whitespace()) => {
                chars.next();
                lisp.push(' ');
            }
            c => lisp.push(c),
        }
    }
    read::data(&lisp).unwrap_or_else(|| Value::text(raw))
}

/// Lines that set the variables.
pub(crate) fn assignments(expansion: &Expansion) -> Vec<String> {
    expansion.variables.iter().map(|(name, value)| format!("var {name}={};", literal(value))).collect()
}

fn literal(value: &Value) -> String {
    match value {
        Value::Nil => "[]".to_owned(),
        Value::List(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        value => value.prin1().replace('\n', "\\n"),
    }
}

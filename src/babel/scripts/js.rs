//! JavaScript, by Node.js.

use crate::invocation::{Execution, Expansion, Invocation};
use crate::read;
use crate::value::Value;

pub(crate) fn compose(inside: &Expansion) -> Invocation {
    let mut code = inside.expanded(assignments(inside));
    if inside.arguments.results().is_value() {
        code = format!(
            "require('fs').writeFileSync(require('path').join(process.env.MESOS_SANDBOX, 'block/value'), \
             require('util').inspect(function(){{{code}\n}}()));"
        );
    }
    let (program, arguments) = inside.command(":cmd");
    Invocation::script(program, arguments, &code)
}

/// What was printed belongs to the value, before it.
pub(crate) fn collect(inside: &Expansion, ended: &Execution) -> Value {
    let mut raw = ended.printed();
    if inside.arguments.results().is_value() {
        raw += &ended.written();
    }
    inside.scalar_or(&raw, || value(&raw))
}

/// A value in the notation of Node.js. Lists within it that Emacs cannot read leave it a text.
fn value(raw: &str) -> Value {
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
pub(crate) fn assignments(inside: &Expansion) -> Vec<String> {
    inside.variables.iter().map(|(name, value)| format!("var {name}={};", written(value))).collect()
}

fn written(value: &Value) -> String {
    match value {
        Value::Nil => "[]".to_owned(),
        Value::List(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", ")),
        value => value.prin1().replace('\n', "\\n"),
    }
}

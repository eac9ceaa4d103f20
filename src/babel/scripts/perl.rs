//! Perl.

use crate::import::{self, Separator};
use crate::invocation::{Execution, Expansion, Invocation};
use crate::value::Value;

/// Calls the body and writes down what it returns: an array one item a line, an array in it parted by tabs.
const WRITE: [&str; 2] = [
    "{\n    my $borges_body = sub {\n        ",
    r#"
    };
    open my $borges_out, '>', "$ENV{MESOS_SANDBOX}/block/value" or die "block/value: $!";
    my $borges_value = &$borges_body();
    select $borges_out;
    if (ref $borges_value eq 'ARRAY') {
        for my $item (@$borges_value) {
            print join("\t", ref $item eq 'ARRAY' ? @$item : $item), "\n";
        }
    } else {
        print $borges_value;
    }
}
"#,
];

pub(crate) fn compose(expansion: &Expansion) -> Invocation {
    let mut code = expansion.expanded_body(assignments(expansion));
    if expansion.arguments.results().is_value() {
        code = [WRITE[0], &code, WRITE[1]].concat();
    }
    let (program, arguments) = expansion.command(":perl");
    Invocation::script(program, arguments, &code)
}

pub(crate) fn collect(expansion: &Expansion, execution: &Execution) -> Value {
    let raw =
        if expansion.arguments.results().is_value() { execution.written() } else { execution.printed() };
    expansion.restore_names(expansion.scalar_or(&raw, || import::table(&raw, Separator::Tab)))
}

/// Lines that set the variables.
pub(crate) fn assignments(expansion: &Expansion) -> Vec<String> {
    let line = |(name, value): &(String, Value)| {
        let list = if value.is_list() { "\n" } else { "" };
        format!("my ${name}={list}{};\n", literal(value, 0))
    };
    expansion.variables.iter().map(line).collect()
}

fn literal(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let inner = match value.items() {
        Some(items) => {
            let items: String = items.iter().map(|item| literal(item, depth + 1)).collect();
            format!("[\n{items}{indent}]")
        }
        None => quoted(&value.princ()),
    };
    format!("{indent}{inner}{}", if depth > 0 { ",\n" } else { "" })
}

/// As Babel quotes it, where Perl then reads the same text.
fn quoted(text: &str) -> String {
    let mut depth = 0_i64;
    let balanced = text.chars().all(|c| {
        depth += i64::from(c == '(') - i64::from(c == ')');
        depth >= 0
    });
    if balanced && depth == 0 && !text.contains('\\') {
        format!("q({text})")
    } else {
        format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
    }
}

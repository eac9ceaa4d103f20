//! `SQLite`.

use crate::byte_text;
use crate::generic::{self, shell_quote};
use crate::import::{self, Separator};
use crate::invocation::{BODY, Execution, Expansion, Invocation};
use crate::read;
use crate::value::Value;

/// Stands in statements for where the sandbox is, which is known only there.
const SANDBOX: &str = "@MESOS_SANDBOX@";

/// Header arguments that are options of the program.
const OPTIONS: [&str; 8] = [":header", ":echo", ":bail", ":column", ":csv", ":html", ":line", ":list"];

pub(crate) fn compose(expansion: &Expansion) -> Invocation {
    let arguments = expansion.arguments;
    let mut files = Vec::new();
    let code = expanded_code(expansion, &mut |number, table| {
        let path = format!("block/table-{number}.csv");
        files.push((path.clone(), generic::csv(table)));
        format!("{SANDBOX}/{path}")
    });
    let mut words: Vec<String> = std::iter::once(&expansion.language.program)
        .chain(&expansion.language.arguments)
        .map(|word| shell_quote(word))
        .collect();
    words.push(if is_yes(expansion, ":colnames") { "-header" } else { "-noheader" }.to_owned());
    // Words of the shell, as in Babel.
    words.extend(arguments.text(":separator").map(|separator| format!("-separator {separator}")));
    words.extend(arguments.text(":nullvalue").map(|null| format!("-nullvalue {null}")));
    words.extend(OPTIONS.iter().filter(|key| arguments.has(key)).map(|key| format!("-{}", &key[1..])));
    if !has_output_format(expansion) {
        words.push("-csv".to_owned());
    }
    if is_yes(expansion, ":readonly") {
        words.push("-readonly".to_owned());
    }
    words.extend(arguments.text(":db"));
    let run = match files.as_slice() {
        [] => format!("exec {}\n", words.join(" ")),
        _ => format!("sed \"s|{SANDBOX}|$MESOS_SANDBOX|g\" | {}\n", words.join(" ")),
    };
    let body = byte_text::encode(&(code + "\n"));
    let mut invocation = Invocation {
        program: "sh".to_owned(),
        arguments: vec!["block/run".to_owned()],
        body,
        stdin: Some(BODY.to_owned()),
        ..Invocation::default()
    };
    invocation = invocation.with("block/run", 0o755, byte_text::encode(&run));
    for (path, table) in files {
        invocation = invocation.with(&path, 0o644, byte_text::encode(&table));
    }
    invocation
}

pub(crate) fn collect(expansion: &Expansion, execution: &Execution) -> Value {
    let raw = execution.printed();
    expansion.scalar_or(&raw, || {
        if raw.is_empty() {
            return Value::text("");
        }
        let separator = if has_output_format(expansion) { Separator::Guess } else { Separator::Comma };
        let mut rows: Vec<Option<Vec<String>>> = import::rows(&raw, separator);
        if is_yes(expansion, ":colnames") {
            rows.insert(1.min(rows.len()), None);
        }
        if let [Some(row)] = rows.as_slice()
            && let [cell] = row.as_slice()
        {
            return read::read(cell);
        }
        let row = |row: Option<Vec<String>>| match row {
            None => Value::rule(),
            Some(cells) => Value::list(cells.iter().map(|cell| read::read(cell)).collect()),
        };
        Value::list(rows.into_iter().map(row).collect())
    })
}

/// How a row is written is chosen by the block itself.
fn has_output_format(expansion: &Expansion) -> bool {
    [":csv", ":column", ":line", ":list", ":html", ":separator"]
        .iter()
        .any(|key| expansion.arguments.has(key))
}

fn is_yes(expansion: &Expansion, key: &str) -> bool {
    expansion.arguments.get(key) == Some(&Value::text("yes"))
}

/// The statements, `$x` replaced by the variable's text, a table by the path of a file that holds it.
pub(crate) fn expanded_code(
    expansion: &Expansion,
    file: &mut dyn FnMut(usize, &[Value]) -> String,
) -> String {
    let mut body = expansion.body.to_owned();
    for (number, (name, value)) in expansion.variables.iter().enumerate() {
        let text = match value.items() {
            Some(table) => file(number + 1, table),
            None => generic::echo(value),
        };
        body = body.replace(&format!("${name}"), &text);
    }
    let text = |key| expansion.arguments.text(key).unwrap_or_default();
    [text(":prologue"), body, text(":epilogue")].join("\n")
}

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

pub(crate) fn compose(inside: &Expansion) -> Invocation {
    let arguments = inside.arguments;
    let mut files = Vec::new();
    let code = expanded(inside, &mut |number, table| {
        let path = format!("block/table-{number}.csv");
        files.push((path.clone(), generic::csv(table)));
        format!("{SANDBOX}/{path}")
    });
    let mut words: Vec<String> = std::iter::once(&inside.language.program)
        .chain(&inside.language.arguments)
        .map(|word| shell_quote(word))
        .collect();
    words.push(if is_yes(inside, ":colnames") { "-header" } else { "-noheader" }.to_owned());
    // Words of the shell, as in Babel.
    words.extend(arguments.text(":separator").map(|separator| format!("-separator {separator}")));
    words.extend(arguments.text(":nullvalue").map(|null| format!("-nullvalue {null}")));
    words.extend(OPTIONS.iter().filter(|key| arguments.has(key)).map(|key| format!("-{}", &key[1..])));
    if !chosen(inside) {
        words.push("-csv".to_owned());
    }
    if is_yes(inside, ":readonly") {
        words.push("-readonly".to_owned());
    }
    words.extend(arguments.text(":db"));
    let run = match files.as_slice() {
        [] => format!("exec {}\n", words.join(" ")),
        _ => format!("sed \"s|{SANDBOX}|$MESOS_SANDBOX|g\" | {}\n", words.join(" ")),
    };
    let body = byte_text::encode(&(code + "\n"));
    let mut composed = Invocation {
        program: "sh".to_owned(),
        arguments: vec!["block/run".to_owned()],
        body,
        stdin: Some(BODY.to_owned()),
        ..Invocation::default()
    };
    composed = composed.with("block/run", 0o755, byte_text::encode(&run));
    for (path, table) in files {
        composed = composed.with(&path, 0o644, byte_text::encode(&table));
    }
    composed
}

pub(crate) fn collect(inside: &Expansion, ended: &Execution) -> Value {
    let raw = ended.printed();
    inside.scalar_or(&raw, || {
        if raw.is_empty() {
            return Value::text("");
        }
        let separator = if chosen(inside) { Separator::Guess } else { Separator::Comma };
        let mut rows: Vec<Option<Vec<String>>> = import::rows(&raw, separator);
        if is_yes(inside, ":colnames") {
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
fn chosen(inside: &Expansion) -> bool {
    [":csv", ":column", ":line", ":list", ":html", ":separator"].iter().any(|key| inside.arguments.has(key))
}

fn is_yes(inside: &Expansion, key: &str) -> bool {
    inside.arguments.get(key) == Some(&Value::text("yes"))
}

/// The statements, `$x` replaced by the variable's text, a table by the path of a file that holds it.
pub(crate) fn expanded(inside: &Expansion, file: &mut dyn FnMut(usize, &[Value]) -> String) -> String {
    let mut body = inside.body.to_owned();
    for (number, (name, value)) in inside.variables.iter().enumerate() {
        let text = match value.items() {
            Some(table) => file(number + 1, table),
            None => generic::echo(value),
        };
        body = body.replace(&format!("${name}"), &text);
    }
    let text = |key| inside.arguments.text(key).unwrap_or_default();
    [text(":prologue"), body, text(":epilogue")].join("\n")
}

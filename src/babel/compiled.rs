//! C and C++: compiled in the sandbox, then run.

use super::byte_text;
use super::invocation::{Execution, Expansion, Invocation};
use super::languages::Dialect;
use super::read::words;
use super::value::Value;

pub(super) fn compose(expansion: &Expansion) -> Invocation {
    let arguments = expansion.arguments;
    let source = match expansion.language.dialect() {
        Dialect::Cpp => "block/body.cpp",
        _ => "block/body.c",
    };
    let (program, first) = expansion.command(":compiler");
    let mut compile = vec![program];
    compile.extend(first);
    compile.push("-o \"$MESOS_SANDBOX/block/program\"".to_owned());
    compile.extend(text_or_words(arguments.get(":flags")));
    compile.push(format!("\"$MESOS_SANDBOX/{source}\""));
    compile.extend(text_or_words(arguments.get(":libs")));
    let run = arguments.text(":cmdline").map_or(String::new(), |words| format!(" {words}"));
    let run = format!("{} || exit\nexec \"$MESOS_SANDBOX/block/program\"{run}\n", compile.join(" "));
    Invocation {
        program: "sh".to_owned(),
        arguments: vec!["block/run".to_owned()],
        body: byte_text::encode(expansion.body),
        ..Invocation::default()
    }
    .with(source, 0o644, byte_text::encode(&expanded_code(expansion)))
    .with("block/run", 0o755, byte_text::encode(&run))
}

pub(super) fn collect(expansion: &Expansion, execution: &Execution) -> Value {
    let printed = dedented(&execution.printed());
    expansion.restore_names(expansion.imported(&printed))
}

/// A text, or the words of a list.
fn text_or_words(value: Option<&Value>) -> Vec<String> {
    match value {
        None | Some(Value::Nil) => Vec::new(),
        Some(list @ Value::List(_)) => words(Some(list)),
        Some(value) => vec![value.princ()],
    }
}

/// The whole of a source file.
pub(super) fn expanded_code(expansion: &Expansion) -> String {
    let arguments = expansion.arguments;
    let include = |name: &String| {
        if name.starts_with('<') { format!("#include {name}") } else { format!("#include \"{name}\"") }
    };
    let defines: Vec<String> = match arguments.get(":defines") {
        Some(value @ Value::Text(_)) => {
            let words = words(Some(value));
            words.chunks_exact(2).map(|pair| pair.join(" ")).collect()
        }
        other => words(other),
    };
    let lines = |lines: Vec<String>| lines.join("\n");
    let body = expansion.wrap_body();
    let body = if arguments.text(":main").as_deref() == Some("no") || has_main(&body) {
        body
    } else {
        format!("int main() {{\n{body}\nreturn 0;\n}}\n")
    };
    let mut parts = vec![
        lines(words(arguments.get(":includes")).iter().map(include).collect()),
        match arguments.get(":defines") {
            // Babel makes a line of what is not there.
            None | Some(Value::Nil) => String::new(),
            Some(_) => lines(defines.iter().map(|define| format!("#define {define}")).collect()),
        },
        lines(
            words(arguments.get(":namespaces"))
                .iter()
                .map(|name| format!("using namespace {name};"))
                .collect(),
        ),
        lines(expansion.variables.iter().map(declaration).collect()),
        lines(expansion.variables.iter().map(size_constants).collect()),
    ];
    let headers = &expansion.names.columns;
    parts.push(if headers.is_empty() { String::new() } else { COLUMN_NUMBER.to_owned() });
    parts.push(lines(headers.iter().map(|(name, names)| header(expansion, name, names)).collect()));
    parts.extend([body, "\n".to_owned()]);
    parts.join("\n")
}

/// A function called `main` is defined somewhere.
fn has_main(body: &str) -> bool {
    // `int main (…)`, or a word of other letters of `int` and `void` before it, on this line or those before.
    body.match_indices("main").any(|(at, _)| {
        let before = &body[..at];
        let word = before.trim_end_matches([' ', '\t', '\n', '\r']);
        let start = word.rfind(|c| !"intvod".contains(c)).map_or(0, |n| n + 1);
        let begins = word[..start].trim_end_matches([' ', '\t']);
        let after = body[at + 4..].trim_start_matches([' ', '\t']);
        start < word.len()
            && (begins.is_empty() || begins.ends_with('\n'))
            && after.starts_with('(')
            && after.lines().next().is_some_and(|line| line.contains(')'))
    })
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Type {
    Integer,
    Float,
    Text,
}

/// What all that is in it can be.
fn element_type(value: &Value) -> Option<Type> {
    match value {
        Value::Integer(_) | Value::BigInteger(_) => Some(Type::Integer),
        Value::Float(_) => Some(Type::Float),
        Value::Nil => None,
        Value::List(items) | Value::Vector(items) => items.iter().filter_map(element_type).max(),
        _ => Some(Type::Text),
    }
}

fn type_name(element_type: Option<Type>) -> &'static str {
    match element_type {
        Some(Type::Integer) => "int",
        Some(Type::Float) => "double",
        Some(Type::Text) | None => "const char*",
    }
}

fn declaration((name, value): &(String, Value)) -> String {
    let element_type = element_type(value);
    let one = |value: &Value| match element_type {
        Some(Type::Text) | None => format!("\"{}\"", value.princ()),
        _ => value.princ(),
    };
    let row = |cells: &[Value]| cells.iter().map(one).collect::<Vec<_>>().join(",");
    let (suffix, data) = match value.items() {
        Some(rows) if rows.first().is_none_or(Value::is_list) => {
            let width = rows.first().and_then(Value::items).map_or(0, <[_]>::len);
            let rows: Vec<String> =
                rows.iter().map(|cells| format!(" {{{}}}", row(cells.items().unwrap_or_default()))).collect();
            (format!("[{}][{width}]", rows.len()), format!("{{\n{}\n}}", rows.join(",\n")))
        }
        Some(items) => (format!("[{}]", items.len()), format!("{{{}}}", row(items))),
        None => (String::new(), one(value)),
    };
    format!("{} {name}{suffix} = {data};", type_name(element_type))
}

fn size_constants((name, value): &(String, Value)) -> String {
    match value.items() {
        None => String::new(),
        Some(rows) => match rows.first().and_then(Value::items) {
            Some(first) => {
                format!("const int {name}_rows = {};\nconst int {name}_cols = {};", rows.len(), first.len())
            }
            None => format!("const int {name}_cols = {};", rows.len()),
        },
    }
}

const COLUMN_NUMBER: &str = "
#ifndef _STRING_H
#include <string.h>
#endif
int get_column_num (int nbcols, const char** header, const char* column)
{
  int c;
  for (c=0; c<nbcols; c++)
    if (strcmp(header[c],column)==0)
      return c;
  return -1;
}
";

/// The names of a table's columns, and a function that finds cells by them.
fn header(expansion: &Expansion, name: &str, names: &Value) -> String {
    let names = names.items().unwrap_or_default();
    let table = expansion.variables.iter().find(|(other, _)| other == name).map(|(_, value)| value);
    let kind = type_name(table.and_then(element_type));
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{}\"", name.princ())).collect();
    format!(
        "const char* {name}_header[{0}] = {{{1}}};\n\
         {kind} {name}_h (int row, const char* col) {{ return {name}[row][get_column_num({0},{name}_header,col)]; }}",
        names.len(),
        quoted.join(",")
    )
}

/// Without the indentation that all lines share.
fn dedented(text: &str) -> String {
    borges_org::dedent(text)
}

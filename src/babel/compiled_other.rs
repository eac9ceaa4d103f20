//! Go, Rust, Java and make, which Babel does not define: variables become declarations before the body, and the
//! printed text is the value.

use super::byte_text;
use super::generic::{self, shell_quote};
use super::invocation::{BODY, Execution, Expansion, Invocation};
use super::languages::Dialect;
use super::value::Value;

pub(super) fn compose(expansion: &Expansion) -> Invocation {
    let (program, first) = expansion.command(":compiler");
    let command: Vec<String> = std::iter::once(program).chain(first).map(|word| shell_quote(&word)).collect();
    let command = command.join(" ");
    let words = |key: &str| expansion.arguments.text(key).map_or(String::new(), |words| format!(" {words}"));
    let (flags, cmdline) = (words(":flags"), words(":cmdline"));
    let (path, code, run) = match expansion.language.dialect() {
        Dialect::Go => (
            "block/main.go",
            go(expansion),
            format!("exec {command}{flags} \"$MESOS_SANDBOX/block/main.go\"{cmdline}"),
        ),
        Dialect::Rust => (
            "block/main.rs",
            rust(expansion),
            format!(
                "{command} --edition 2021{flags} -o \"$MESOS_SANDBOX/block/program\" \"$MESOS_SANDBOX/block/main.rs\" \
                 || exit\nexec \"$MESOS_SANDBOX/block/program\"{cmdline}"
            ),
        ),
        Dialect::Java => (
            "block/Main.java",
            java(expansion),
            format!("exec {command}{flags} \"$MESOS_SANDBOX/block/Main.java\"{cmdline}"),
        ),
        _ => (BODY, make(expansion), format!("exec {command} \"$MESOS_SANDBOX/{BODY}\"{flags}{cmdline}")),
    };
    let mut invocation = Invocation {
        program: "sh".to_owned(),
        arguments: vec!["block/run".to_owned()],
        body: byte_text::encode(if path == BODY { &code } else { expansion.body }),
        ..Invocation::default()
    };
    if path != BODY {
        invocation = invocation.with(path, 0o644, byte_text::encode(&code));
    }
    if let Some(value) = expansion.stdin {
        invocation =
            invocation.with("block/stdin", 0o644, byte_text::encode(&generic::text(value, "\t", None)));
        invocation.stdin = Some("block/stdin".to_owned());
    }
    invocation.with("block/run", 0o755, byte_text::encode(&(run + "\n")))
}

pub(super) fn collect(expansion: &Expansion, execution: &Execution) -> Value {
    expansion.restore_names(expansion.imported(&execution.printed()))
}

/// What a list holds: tables are lists of lists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Integer,
    Float,
    Text,
}

fn kind(value: &Value) -> Kind {
    match value {
        Value::Integer(_) => Kind::Integer,
        Value::Float(_) => Kind::Float,
        Value::List(items) => items.iter().map(kind).max().unwrap_or(Kind::Text),
        _ => Kind::Text,
    }
}

/// How deep its lists are: 0 for no list, 2 for a table.
fn depth(value: &Value) -> usize {
    match value.items() {
        None => 0,
        Some(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
    }
}

/// A literal, with `open` and `close` round lists of a depth.
fn literal(
    value: &Value,
    kind: Kind,
    depth: usize,
    brackets: &dyn Fn(usize) -> (String, &'static str),
) -> String {
    if depth == 0 {
        return match kind {
            Kind::Text => string(&value.princ()),
            Kind::Float => match value {
                Value::Integer(number) => format!("{number}.0"),
                other => other.princ(),
            },
            Kind::Integer => value.princ(),
        };
    }
    let (open, close) = brackets(depth);
    let items: Vec<String> = match value.items() {
        Some(items) => items.iter().map(|item| literal(item, kind, depth - 1, brackets)).collect(),
        None => vec![literal(value, kind, depth - 1, brackets)],
    };
    format!("{open}{}{close}", items.join(", "))
}

/// A text as all three languages read it.
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn go(expansion: &Expansion) -> String {
    let imports = super::read::words(expansion.arguments.get(":imports"));
    let mut head = String::new();
    for import in imports {
        head += &format!("import {}\n", string(import.trim_matches('"')));
    }
    let name = |kind| match kind {
        Kind::Integer => "int",
        Kind::Float => "float64",
        Kind::Text => "string",
    };
    let variables: String = (expansion.variables.iter())
        .map(|(variable, value)| {
            let (kind, depth) = (kind(value), depth(value));
            let open = |depth: usize| (format!("{}{}{{", "[]".repeat(depth), name(kind)), "}");
            format!("var {variable} = {}\n", literal(value, kind, depth, &open))
        })
        .collect();
    let body = expansion.wrap_body();
    let (package, body) = match body.trim_start().strip_prefix("package ") {
        Some(rest) => {
            let (name, rest) = rest.split_once('\n').unwrap_or((rest, ""));
            (name.trim().to_owned(), rest.to_owned())
        }
        None => ("main".to_owned(), body),
    };
    // Go wants its imports first.
    let (imports, rest) = go_imports(&body);
    let rest = if rest.contains("func main()") { rest } else { format!("func main() {{\n{rest}\n}}\n") };
    format!("package {package}\n{head}{imports}\n{variables}{rest}\n")
}

/// The imports at the beginning of a body, and the rest.
fn go_imports(body: &str) -> (String, String) {
    let mut imports = String::new();
    let mut rest = body;
    loop {
        let line = rest.split_inclusive('\n').next().unwrap_or_default();
        let trimmed = line.trim();
        let import_end = if trimmed.starts_with("import (") && !trimmed.contains(')') {
            rest.find(')').map(|end| end + 1)
        } else if trimmed.starts_with("import ") || trimmed.is_empty() || trimmed.starts_with("//") {
            Some(line.len()).filter(|&length| length > 0)
        } else {
            None
        };
        let Some(import_end) = import_end else { return (imports, rest.to_owned()) };
        imports += &rest[..import_end];
        imports.push('\n');
        rest = &rest[import_end..];
    }
}

fn rust(expansion: &Expansion) -> String {
    let name = |kind| match kind {
        Kind::Integer => "i64",
        Kind::Float => "f64",
        Kind::Text => "&str",
    };
    let variables: String = (expansion.variables.iter())
        .map(|(variable, value)| {
            let (kind, depth) = (kind(value), depth(value));
            let open = |_: usize| ("&[".to_owned(), "]");
            let of = format!("{}{}{}", "&[".repeat(depth), name(kind), "]".repeat(depth));
            let allowed = "#[allow(non_upper_case_globals, dead_code)]";
            format!("{allowed}\nconst {variable}: {of} = {};\n", literal(value, kind, depth, &open))
        })
        .collect();
    let body = expansion.wrap_body();
    // A body's own attributes of the crate come first.
    let attributes_end: usize = body
        .split_inclusive('\n')
        .take_while(|line| line.trim_start().starts_with("#!["))
        .map(str::len)
        .sum();
    let (attributes, body) = body.split_at(attributes_end);
    let main =
        if body.contains("fn main()") { body.to_owned() } else { format!("fn main() {{\n{body}\n}}\n") };
    format!("{attributes}{variables}{main}\n")
}

fn java(expansion: &Expansion) -> String {
    let name = |kind| match kind {
        Kind::Integer => "long",
        Kind::Float => "double",
        Kind::Text => "String",
    };
    let variables: String = (expansion.variables.iter())
        .map(|(variable, value)| {
            let (kind, depth) = (kind(value), depth(value));
            let open = |_: usize| ("{".to_owned(), "}");
            format!(
                "  static {}{} {variable} = {};\n",
                name(kind),
                "[]".repeat(depth),
                literal(value, kind, depth, &open)
            )
        })
        .collect();
    let body = expansion.wrap_body();
    let imports: String = body.split_inclusive('\n').take_while(|line| is_import(line)).collect();
    let rest = &body[imports.len()..];
    if let Some(class) = rest.find("class ").filter(|_| rest.contains("void main(")) {
        let open = rest[class..].find('{').map_or(rest.len(), |n| class + n + 1);
        return format!("{imports}{}\n{variables}{}\n", &rest[..open], &rest[open..]);
    }
    let methods = if rest.contains("void main(") {
        rest.to_owned()
    } else {
        format!("  public static void main(String[] args) throws Exception {{\n{rest}\n  }}\n")
    };
    format!("{imports}public class Main {{\n{variables}{methods}}}\n")
}

fn is_import(line: &str) -> bool {
    line.trim().is_empty()
        || line.trim_start().starts_with("import ")
        || line.trim_start().starts_with("package ")
}

/// Variables of make have one line each.
fn make(expansion: &Expansion) -> String {
    let line = |(name, value): &(String, Value)| {
        let text = generic::text(value, " ", None).replace(['\n', '\r'], " ");
        format!("{name} := {}", text.replace('$', "$$").replace('#', "\\#"))
    };
    let code = expansion.expanded_body(expansion.variables.iter().map(line));
    code + "\n"
}

//! Shells. The body is run as a file after assignments of the variables; its value is the exit code.

use super::generic::{self, shell_quote};
use super::invocation::{BODY, Execution, Expansion, Invocation, VALUE};
use super::languages::{Dialect, Shell};
use super::value::Value;

pub(super) fn compose(expansion: &Expansion) -> Invocation {
    let language = expansion.language;
    let code = expansion.expanded_body(assignments(expansion));
    let shebang = expansion.arguments.text(":shebang").filter(|line| !line.trim().is_empty());
    let cmdline = expansion.arguments.text(":cmdline");
    let mut invocation = if shebang.is_none() && cmdline.is_none() && expansion.stdin.is_none() {
        Invocation::script(language.program.clone(), language.arguments.clone(), &trim(&code))
    } else {
        let padded = expansion.arguments.text(":padline").as_deref() != Some("no");
        let first = shebang.clone().unwrap_or_else(|| format!("#!/usr/bin/env {}", language.program));
        let code = format!("{first}\n{}{code}", if padded { "\n" } else { "" });
        match shebang {
            Some(_) => Invocation {
                program: BODY.to_owned(),
                body: super::byte_text::encode(&code),
                ..Invocation::default()
            },
            None => Invocation::script(language.program.clone(), language.arguments.clone(), &code),
        }
    };
    if let Some(value) = expansion.stdin {
        let text = super::byte_text::encode(&generic::text(value, "\t", None));
        invocation = invocation.with("block/stdin", 0o644, text);
        invocation.stdin = Some("block/stdin".to_owned());
    }
    if cmdline.is_none() && !expansion.arguments.results().is_value_explicit() {
        return invocation;
    }
    // The words of `:cmdline` are the shell's; and the exit code is written down by who sees it.
    let words: Vec<String> = std::iter::once(&invocation.program)
        .chain(&invocation.arguments)
        .map(|word| if word == BODY { format!("\"$MESOS_SANDBOX/{BODY}\"") } else { shell_quote(word) })
        .chain(cmdline)
        .collect();
    let command = words.join(" ");
    let run = if expansion.arguments.results().is_value_explicit() {
        format!("{command}\necho \"$?\" >\"$MESOS_SANDBOX/{VALUE}\"\n")
    } else {
        format!("exec {command}\n")
    };
    invocation.program = String::from("sh");
    invocation.arguments = vec!["block/run".to_owned()];
    invocation.with("block/run", 0o755, super::byte_text::encode(&run))
}

pub(super) fn collect(expansion: &Expansion, execution: &Execution) -> Value {
    let text = if expansion.arguments.results().is_value_explicit() {
        let written = execution.written();
        match written.trim() {
            "" => execution.exit_code.to_string(),
            code => code.to_owned(),
        }
    } else {
        execution.printed()
    };
    expansion.restore_names(expansion.imported(&text))
}

/// Lines that set the variables.
pub(super) fn assignments(expansion: &Expansion) -> Vec<String> {
    let shell = match expansion.language.dialect() {
        Dialect::Shell(shell) => shell,
        _ => Shell::Plain,
    };
    shell_assignments(expansion, shell)
}

/// Lines that set the variables of `sh`.
pub(super) fn plain_assignments(expansion: &Expansion) -> Vec<String> {
    shell_assignments(expansion, Shell::Plain)
}

fn shell_assignments(expansion: &Expansion, shell: Shell) -> Vec<String> {
    let separator = expansion.arguments.text(":separator").unwrap_or_else(|| "\t".to_owned());
    let rules =
        expansion.arguments.text(":hlines").map_or(expansion.arguments.is_inline(), |word| word == "yes");
    let rule = expansion.arguments.text(":hline-string").unwrap_or_else(|| "hline".to_owned());
    let rule = rules.then_some(rule.as_str());
    let quoted = |value: &Value| shell_quote(&text(value, &separator, rule));
    let assignment = |(name, value): &(String, Value)| match (shell, value) {
        (Shell::Fish, value) => format!("set {name} {}", quoted(value)),
        (Shell::Arrays, Value::List(rows)) if rows[0].items().is_some_and(|row| row.len() > 1) => {
            let pairs = rows.iter().map(|row| match row {
                Value::List(cells) => {
                    let rest = Value::list(cells[1..].to_vec());
                    format!("{name}[{}]={}", quoted(&cells[0]), quoted(&rest))
                }
                other => format!("{name}[{}]=''", quoted(other)),
            });
            let pairs: Vec<String> = pairs.collect();
            format!("unset {name}\ndeclare -A {name}\n{}", pairs.join("\n"))
        }
        (Shell::Arrays, Value::List(items)) => {
            let items: Vec<String> = items.iter().map(quoted).collect();
            format!("unset {name}\ndeclare -a {name}=( {} )", items.join(" "))
        }
        (Shell::Plain | Shell::Arrays, value) => format!("{name}={}", quoted(value)),
    };
    expansion.variables.iter().map(assignment).collect()
}

/// A value in a shell's variable.
fn text(value: &Value, separator: &str, rule: Option<&str>) -> String {
    generic::text(value, separator, rule)
}

fn trim(code: &str) -> String {
    format!("{}\n", code.trim_matches([' ', '\t', '\n', '\r']))
}

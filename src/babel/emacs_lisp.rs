//! Emacs Lisp, by an Emacs of its own.

use super::invocation::{Execution, Expansion, Invocation};
use super::lisp;
use super::value::Value;

pub(super) fn compose(inside: &Expansion) -> Invocation {
    let results = inside.arguments.results();
    let body = expanded(inside);
    let body = if results.has("output") {
        format!("(let ((text (with-output-to-string {body}\n))) (princ text) text)")
    } else {
        format!("(progn {body}\n)")
    };
    let body = if results.has("code") || results.has("pp") { format!("(pp-to-string {body})") } else { body };
    let lexical = matches!(inside.arguments.text(":lexical").as_deref(), Some("yes" | "t"));
    let code = format!(
        ";; -*- lexical-binding: {} -*-\n\
         (let ((borges--value {body}))\n  \
         (with-temp-file (expand-file-name \"block/value\" (getenv \"MESOS_SANDBOX\"))\n    \
         (let ((print-level nil) (print-length nil) (coding-system-for-write 'utf-8-emacs-unix))\n      \
         (prin1 borges--value (current-buffer)))))\n",
        if lexical { "t" } else { "nil" }
    );
    Invocation::script(inside.language.program.clone(), inside.language.arguments.clone(), &code)
}

pub(super) fn collect(inside: &Expansion, ended: &Execution) -> Value {
    let results = inside.arguments.results();
    let written = ended.written();
    let value = match lisp::read(&written) {
        Some((value, _)) => value,
        // Of what cannot be read there is only how it is printed.
        None if ended.value.is_some() => Value::Symbol(written),
        None => return Value::Nil,
    };
    if !results.is_scalar() {
        return inside.restore_names(value);
    }
    Value::Text(if results.has("scalar") || results.has("verbatim") { value.prin1() } else { value.princ() })
}

/// The code with its variables.
pub(super) fn expanded(inside: &Expansion) -> String {
    if inside.variables.is_empty() {
        return format!("{}\n", inside.body);
    }
    let pairs: Vec<String> =
        inside.variables.iter().map(|(name, value)| format!("({name} '{})", value.prin1())).collect();
    let text = |key| inside.arguments.text(key);
    format!(
        "(let ({})\n{}{}{}\n)",
        pairs.join("\n      "),
        text(":prologue").map_or(String::new(), |text| text + "\n      "),
        inside.body,
        text(":epilogue").map_or(String::new(), |text| format!("\n      {text}\n")),
    )
}

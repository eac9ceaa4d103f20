//! Emacs Lisp, run by a separate Emacs.

use super::invocation::{Execution, Expansion, Invocation};
use super::lisp;
use super::value::Value;

pub(super) fn compose(expansion: &Expansion) -> Invocation {
    let results = expansion.arguments.results();
    let body = expanded_code(expansion);
    let body = if results.has("output") {
        format!("(let ((text (with-output-to-string {body}\n))) (princ text) text)")
    } else {
        format!("(progn {body}\n)")
    };
    let body = if results.has("code") || results.has("pp") { format!("(pp-to-string {body})") } else { body };
    let lexical = matches!(expansion.arguments.text(":lexical").as_deref(), Some("yes" | "t"));
    let code = format!(
        ";; -*- lexical-binding: {} -*-\n\
         (let ((borges--value {body}))\n  \
         (with-temp-file (expand-file-name \"block/value\" (getenv \"MESOS_SANDBOX\"))\n    \
         (let ((print-level nil) (print-length nil) (coding-system-for-write 'utf-8-emacs-unix))\n      \
         (prin1 borges--value (current-buffer)))))\n",
        if lexical { "t" } else { "nil" }
    );
    Invocation::script(expansion.language.program.clone(), expansion.language.arguments.clone(), &code)
}

pub(super) fn collect(expansion: &Expansion, execution: &Execution) -> Value {
    let results = expansion.arguments.results();
    let written = execution.written();
    let value = match lisp::read(&written) {
        Some((value, _)) => value,
        // Of what cannot be read there is only how it is printed.
        None if execution.value.is_some() => Value::Symbol(written),
        None => return Value::Nil,
    };
    if !results.is_scalar() {
        return expansion.restore_names(value);
    }
    Value::Text(if results.has("scalar") || results.has("verbatim") { value.prin1() } else { value.princ() })
}

/// The code with its variables.
pub(super) fn expanded_code(expansion: &Expansion) -> String {
    if expansion.variables.is_empty() {
        return format!("{}\n", expansion.body);
    }
    let pairs: Vec<String> =
        expansion.variables.iter().map(|(name, value)| format!("({name} '{})", value.prin1())).collect();
    let text = |key| expansion.arguments.text(key);
    format!(
        "(let ({})\n{}{}{}\n)",
        pairs.join("\n      "),
        text(":prologue").map_or(String::new(), |text| text + "\n      "),
        expansion.body,
        text(":epilogue").map_or(String::new(), |text| format!("\n      {text}\n")),
    )
}

//! What is wrong, shown to a person: where, what, the line with a caret, what to write instead.

use borges_config::ConfigError;
use borges_org as org;
use borges_plan::{Diagnostic, Severity};

/// Shows errors, or warnings, of the document `name`.
pub(super) fn show(name: &str, source: &[u8], problems: &[Diagnostic], severity: Severity) {
    eprint!("{}", Diagnostic::render_all(problems, severity, name, source));
}

/// Shows what is wrong with a setupfile, or with the environment.
pub(super) fn show_config_error(name: &str, setupfile: &[u8], error: &ConfigError) {
    let text = match error.at {
        Some(at) => {
            let head = format!("{name}:{}:{}: error: {}\n", at.line, at.column, error.text);
            head + org::snippet(setupfile, at).trim_end_matches('\n') + "\n"
        }
        None => format!("the environment: error: {}\n", error.text),
    };
    eprint!("{}", with_help(text, &error.help));
}

fn with_help(text: String, help: &str) -> String {
    if help.is_empty() { text } else { format!("{text}  {help}\n") }
}

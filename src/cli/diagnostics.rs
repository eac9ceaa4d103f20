//! Prints errors and warnings: the place, the message, the line with a caret, and a suggestion.

use borges_config::ConfigError;
use borges_org as org;
use borges_plan::{Diagnostic, Severity};

/// Prints the diagnostics of one severity for the document `name`.
pub(super) fn show(name: &str, source: &[u8], diagnostics: &[Diagnostic], severity: Severity) {
    eprint!("{}", Diagnostic::render_all(diagnostics, severity, name, source));
}

/// Prints an error of a setupfile or of the environment.
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

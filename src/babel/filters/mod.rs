//! Programs that read a text and write another: awk, sed, and sqlite, which reads statements.

pub(super) mod sqlite;

use super::generic::{self, shell_quote};
use super::invocation::{BODY, Execution, Expansion, Invocation};
use super::languages::Dialect;
use super::value::Value;

pub(super) fn compose(inside: &Expansion) -> Invocation {
    let language = inside.language;
    let is_awk = language.dialect() == Dialect::Awk;
    let code = if is_awk { inside.wrap_body() } else { inside.body.to_owned() };
    let variables: Vec<(String, String)> = (inside.variables.iter().filter(|_| is_awk))
        .map(|(name, value)| (name.clone(), generic::text(value, "	", None)))
        .collect();
    let cmd_line = inside.arguments.text(":cmd-line");
    let in_file = inside.arguments.text(":in-file");
    let mut composed = Invocation::script(language.program.clone(), language.arguments.clone(), &code);
    if cmd_line.is_none() && in_file.is_none() {
        composed.arguments.extend(
            variables.into_iter().flat_map(|(name, value)| ["-v".to_owned(), format!("{name}={value}")]),
        );
    } else {
        // Their words are a shell's.
        let mut words: Vec<String> = std::iter::once(&language.program)
            .chain(&language.arguments)
            .map(|word| shell_quote(word))
            .chain([format!("\"$MESOS_SANDBOX/{BODY}\"")])
            .collect();
        words.extend(cmd_line);
        words.extend(variables.into_iter().map(|(name, value)| format!("-v {name}={}", shell_quote(&value))));
        words.extend(in_file);
        let run = format!("exec {}\n", words.join(" "));
        composed.program = String::from("sh");
        composed.arguments = vec!["block/run".to_owned()];
        composed = composed.with("block/run", 0o755, super::byte_text::encode(&run));
    }
    // Without a `:stdin`, Babel gives them one empty line.
    let stdin = inside.stdin.map_or_else(|| "\n".to_owned(), |value| generic::text(value, "\t", None));
    composed.stdin = Some("block/stdin".to_owned());
    composed.with("block/stdin", 0o644, super::byte_text::encode(&stdin))
}

pub(super) fn collect(inside: &Expansion, ended: &Execution) -> Value {
    inside.restore_names(inside.imported(&ended.printed()))
}

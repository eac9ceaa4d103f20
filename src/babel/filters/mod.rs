//! Programs that transform their input: awk and sed, and sqlite, which reads statements.

pub(super) mod sqlite;

use super::generic::{self, shell_quote};
use super::invocation::{BODY, Execution, Expansion, Invocation};
use super::languages::Dialect;
use super::value::Value;

pub(super) fn compose(expansion: &Expansion) -> Invocation {
    let language = expansion.language;
    let is_awk = language.dialect() == Dialect::Awk;
    let code = if is_awk { expansion.wrap_body() } else { expansion.body.to_owned() };
    let variables: Vec<(String, String)> = (expansion.variables.iter().filter(|_| is_awk))
        .map(|(name, value)| (name.clone(), generic::text(value, "	", None)))
        .collect();
    let cmd_line = expansion.arguments.text(":cmd-line");
    let in_file = expansion.arguments.text(":in-file");
    let mut invocation = Invocation::script(language.program.clone(), language.arguments.clone(), &code);
    if cmd_line.is_none() && in_file.is_none() {
        invocation.arguments.extend(
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
        invocation.program = String::from("sh");
        invocation.arguments = vec!["block/run".to_owned()];
        invocation = invocation.with("block/run", 0o755, super::byte_text::encode(&run));
    }
    // Without a `:stdin`, Babel gives them one empty line.
    let stdin = expansion.stdin.map_or_else(|| "\n".to_owned(), |value| generic::text(value, "\t", None));
    invocation.stdin = Some("block/stdin".to_owned());
    invocation.with("block/stdin", 0o644, super::byte_text::encode(&stdin))
}

pub(super) fn collect(expansion: &Expansion, execution: &Execution) -> Value {
    expansion.restore_names(expansion.imported(&execution.printed()))
}

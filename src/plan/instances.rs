//! Blocks that are several tasks: `:instances`, `:each`.

use borges_babel::Arguments;
use borges_org::{Param, Position};

use super::dependency::Dependency;
use super::diagnostic::Diagnostic;
use super::symbols::SymbolTable;
use super::unit::{Disposition, Unit};

/// The most tasks that a document may come to.
const MOST_TASKS: u64 = 1_000_000;
/// The most waits of tasks for each other: where each of many waits for each of many others, they are soon more than
/// can be held.
const MOST_WAITS: u64 = 4_000_000;

/// How many tasks a candidate is; 1 for what does not run.
pub(super) fn count(candidate: &Unit) -> u32 {
    let Disposition::Runs { asked, inputs, .. } = &candidate.disposition else { return 1 };
    match inputs.as_ref().and_then(|inputs| inputs.each.as_ref()) {
        Some(each) => u32::try_from(each.rows.len()).unwrap_or(u32::MAX),
        None => asked.instances,
    }
}

/// Whether a candidate's value is that of several tasks, even if they are one.
pub(super) fn is_multi_instance(candidate: &Unit) -> bool {
    let Disposition::Runs { asked, inputs, .. } = &candidate.disposition else { return false };
    asked.instances > 1 || inputs.as_ref().is_some_and(|inputs| inputs.each.is_some())
}

/// What does not go together with being several tasks.
pub(super) fn check(candidate: &Unit, problems: &mut Vec<Diagnostic>) {
    if !is_multi_instance(candidate) {
        return;
    }
    let Disposition::Runs { asked, inputs, .. } = &candidate.disposition else { return };
    let param = |key: &str| candidate.block.params.iter().rfind(|param| param.key == key);
    let mut wrong = |param: Option<&Param>, text: String, help: &str| {
        if let Some(param) = param {
            problems.push(Diagnostic::error(param.at, text, help).of(param));
        }
    };
    if let Some(inputs) = inputs
        && let Some(each) = &inputs.each
    {
        if asked.instances > 1 {
            let key = if param(":instances").is_some() { ":instances" } else { ":procs" };
            let text = format!("`:each` makes a task of each row, and `{key}` several of the block");
            wrong(param(key), text, "Leave one of them out.");
        }
        if let Some(name) =
            each.names.iter().find(|name| inputs.variables.iter().any(|(other, _)| other == *name))
        {
            let text = format!("`{name}` is a variable of the block already: `:var {name}=…`");
            wrong(param(":each"), text, "Give the row another name.");
        }
    }
    if let Some(file) = Arguments::from_params(&candidate.block.params).file() {
        let text = format!("each of the block's tasks would write `{file}`");
        let help = "Leave `:file` out: let the block write a file that `$BORGES_INDEX` is in the name of, and print that name.";
        wrong(param(":file"), text, help);
    }
}

/// A block that comes to no task is skipped.
pub(super) fn skip_empty(candidate: &mut Unit) {
    if count(candidate) > 0 {
        return;
    }
    let each = candidate.block.params.iter().rfind(|param| param.key == ":each");
    let text = each.map_or("", |param| param.text.as_str());
    candidate.disposition = Disposition::Skipped(format!("`:each {text}` has no rows"));
}

/// Whether the tasks and their waits can be held; what is too much goes to `problems`.
pub(super) fn check_limits(
    candidates: &[Unit],
    waits: &[Dependency],
    names: &SymbolTable,
    problems: &mut Vec<Diagnostic>,
) {
    let counts: Vec<u64> = candidates.iter().map(|candidate| count(candidate).into()).collect();
    let mut all = 0;
    for (place, &count) in
        counts.iter().enumerate().filter(|(place, _)| super::unit::runs(&candidates[*place]))
    {
        all += count;
        if all > MOST_TASKS {
            let at = Position { line: candidates[place].block.begin_line, column: 1 };
            let text = format!(
                "with the {count} tasks of `{}` the document has {all}, and at most {MOST_TASKS} are taken",
                names.title(place)
            );
            problems.push(Diagnostic::error(at, text, "Split the document, or let each task do more."));
            return;
        }
    }
    let mut all = 0;
    for wait in waits {
        let (from, to) = (counts[wait.from], counts[wait.to]);
        all += from * to;
        if all > MOST_WAITS {
            let (waiting, other) = (names.title(wait.to), names.title(wait.from));
            let text =
                format!("each of the {to} tasks of `{waiting}` waits for each of the {from} of `{other}`");
            let help = format!(
                "Put a block between them that waits for `{other}`, and let `{waiting}` wait for that one alone."
            );
            problems.push(Diagnostic::error(wait.at, text, help));
            return;
        }
    }
}

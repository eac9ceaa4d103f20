//! Checks and counts the tasks of blocks with several instances: `:instances` and `:each`.

use borges_babel::Arguments;
use borges_org::{Param, Position};

use super::dependency::Dependency;
use super::diagnostic::Diagnostic;
use super::symbols::SymbolTable;
use super::unit::{Disposition, Unit};

/// The maximum number of tasks of a document.
const MAX_TASKS: u64 = 1_000_000;
/// The maximum number of dependencies between tasks. A dependency between two blocks with many instances counts once for
/// each pair of tasks.
const MAX_DEPENDENCIES: u64 = 4_000_000;

/// How many tasks a unit is; 1 for what does not run.
pub(super) fn count(unit: &Unit) -> u32 {
    let Disposition::Runs { block_options, inputs, .. } = &unit.disposition else { return 1 };
    match inputs.as_ref().and_then(|inputs| inputs.each.as_ref()) {
        Some(each) => u32::try_from(each.rows.len()).unwrap_or(u32::MAX),
        None => block_options.instances,
    }
}

/// Whether a unit's value is that of several tasks, even if they are one.
pub(super) fn is_multi_instance(unit: &Unit) -> bool {
    let Disposition::Runs { block_options, inputs, .. } = &unit.disposition else { return false };
    block_options.instances > 1 || inputs.as_ref().is_some_and(|inputs| inputs.each.is_some())
}

/// What does not go together with being several tasks.
pub(super) fn check(unit: &Unit, diagnostics: &mut Vec<Diagnostic>) {
    if !is_multi_instance(unit) {
        return;
    }
    let Disposition::Runs { block_options, inputs, .. } = &unit.disposition else { return };
    let param = |key: &str| unit.block.params.iter().rfind(|param| param.key == key);
    let mut error = |param: Option<&Param>, text: String, help: &str| {
        if let Some(param) = param {
            diagnostics.push(Diagnostic::error(param.at, text, help).of(param));
        }
    };
    if let Some(inputs) = inputs
        && let Some(each) = &inputs.each
    {
        if block_options.instances > 1 {
            let key = if param(":instances").is_some() { ":instances" } else { ":procs" };
            let text = format!("`:each` makes a task of each row, and `{key}` several of the block");
            error(param(key), text, "Leave one of them out.");
        }
        if let Some(name) =
            each.names.iter().find(|name| inputs.variables.iter().any(|(other, _)| other == *name))
        {
            let text = format!("`{name}` is a variable of the block already: `:var {name}=…`");
            error(param(":each"), text, "Give the row another name.");
        }
    }
    if let Some(file) = Arguments::from_params(&unit.block.params).file() {
        let text = format!("each of the block's tasks would write `{file}`");
        let help = "Leave `:file` out: let the block write a file that `$BORGES_INDEX` is in the name of, and print that name.";
        error(param(":file"), text, help);
    }
}

/// A block that comes to no task is skipped.
pub(super) fn skip_empty(unit: &mut Unit) {
    if count(unit) > 0 {
        return;
    }
    let each = unit.block.params.iter().rfind(|param| param.key == ":each");
    let text = each.map_or("", |param| param.text.as_str());
    unit.disposition = Disposition::Skipped(format!("`:each {text}` has no rows"));
}

/// Checks the numbers of tasks and dependencies against the limits.
pub(super) fn check_limits(
    units: &[Unit],
    dependencies: &[Dependency],
    symbols: &SymbolTable,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let counts: Vec<u64> = units.iter().map(|unit| count(unit).into()).collect();
    let mut total = 0;
    for (index, &count) in counts.iter().enumerate().filter(|(index, _)| super::unit::runs(&units[*index])) {
        total += count;
        if total > MAX_TASKS {
            let at = Position { line: units[index].block.begin_line, column: 1 };
            let text = format!(
                "with the {count} tasks of `{}` the document has {total}, and at most {MAX_TASKS} are taken",
                symbols.title(index)
            );
            diagnostics.push(Diagnostic::error(at, text, "Split the document, or let each task do more."));
            return;
        }
    }
    let mut total = 0;
    for dependency in dependencies {
        let (from, to) = (counts[dependency.from], counts[dependency.to]);
        total += from * to;
        if total > MAX_DEPENDENCIES {
            let (waiting, other) = (symbols.title(dependency.to), symbols.title(dependency.from));
            let text =
                format!("each of the {to} tasks of `{waiting}` waits for each of the {from} of `{other}`");
            let help = format!(
                "Put a block between them that waits for `{other}`, and let `{waiting}` wait for that one alone."
            );
            diagnostics.push(Diagnostic::error(dependency.at, text, help));
            return;
        }
    }
}

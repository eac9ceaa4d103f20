//! Selects the units that run: the requested blocks with their requirements, without dependents of skipped blocks.

use borges_org::Position;
use borges_task::DependencyKind;

use super::dependency::Dependency;
use super::diagnostic::Diagnostic;
use super::options::PlanOptions;
use super::symbols::SymbolTable;
use super::unit::{Disposition, Unit, runs};

/// Leaves out the blocks that were not asked for.
pub(super) fn select(
    candidates: &mut [Unit],
    names: &SymbolTable,
    waits: &[Dependency],
    request: &PlanOptions,
    problems: &mut Vec<Diagnostic>,
) {
    if request.names.is_empty() {
        return;
    }
    let mut chosen = vec![false; candidates.len()];
    let mut open = Vec::new();
    for name in &request.names {
        match names.find(name) {
            Ok(place) => open.push(place),
            // No place of the document is wrong, so the error has none.
            Err((text, help)) => problems.push(Diagnostic::error(Position::default(), text, help)),
        }
    }
    while let Some(place) = open.pop() {
        if !std::mem::replace(&mut chosen[place], true) {
            let needed =
                waits.iter().filter(|wait| wait.to == place && wait.requirement == DependencyKind::Succeeded);
            open.extend(needed.map(|wait| wait.from));
        }
    }
    for (candidate, chosen) in candidates.iter_mut().zip(chosen) {
        if !chosen {
            candidate.disposition = Disposition::Excluded;
        }
    }
}

/// A block that requires one that does not run cannot run either.
pub(super) fn skip_dependents(candidates: &mut [Unit], names: &SymbolTable, waits: &[Dependency]) {
    let mut needed_by = vec![Vec::new(); candidates.len()];
    for wait in waits.iter().filter(|wait| wait.requirement == DependencyKind::Succeeded) {
        needed_by[wait.from].push(wait.to);
    }
    let mut open: Vec<usize> = (0..candidates.len())
        .filter(|&place| matches!(candidates[place].disposition, Disposition::Skipped(_)))
        .collect();
    while let Some(place) = open.pop() {
        let (missing, line) = (names.title(place), names.line(place));
        let reason = format!("it requires `{missing}` (line {line}), which does not run");
        for &dependent in &needed_by[place] {
            if runs(&candidates[dependent]) {
                candidates[dependent].disposition = Disposition::Skipped(reason.clone());
                open.push(dependent);
            }
        }
    }
}

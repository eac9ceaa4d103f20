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
    units: &mut [Unit],
    symbols: &SymbolTable,
    dependencies: &[Dependency],
    options: &PlanOptions,
    diagnostics: &mut Vec<Diagnostic>,
) {
    if options.names.is_empty() {
        return;
    }
    let mut chosen = vec![false; units.len()];
    let mut open = Vec::new();
    for name in &options.names {
        match symbols.find(name) {
            Ok(index) => open.push(index),
            // No place of the document is wrong, so the error has none.
            Err((text, help)) => diagnostics.push(Diagnostic::error(Position::default(), text, help)),
        }
    }
    while let Some(index) = open.pop() {
        if !std::mem::replace(&mut chosen[index], true) {
            let needed = dependencies.iter().filter(|dependency| {
                dependency.to == index && dependency.requirement == DependencyKind::Succeeded
            });
            open.extend(needed.map(|dependency| dependency.from));
        }
    }
    for (unit, chosen) in units.iter_mut().zip(chosen) {
        if !chosen {
            unit.disposition = Disposition::Excluded;
        }
    }
}

/// A block that requires one that does not run cannot run either.
pub(super) fn skip_dependents(units: &mut [Unit], symbols: &SymbolTable, dependencies: &[Dependency]) {
    let mut needed_by = vec![Vec::new(); units.len()];
    for dependency in
        dependencies.iter().filter(|dependency| dependency.requirement == DependencyKind::Succeeded)
    {
        needed_by[dependency.from].push(dependency.to);
    }
    let mut open: Vec<usize> = (0..units.len())
        .filter(|&index| matches!(units[index].disposition, Disposition::Skipped(_)))
        .collect();
    while let Some(index) = open.pop() {
        let (missing, line) = (symbols.title(index), symbols.line(index));
        let reason = format!("it requires `{missing}` (line {line}), which does not run");
        for &dependent in &needed_by[index] {
            if runs(&units[dependent]) {
                units[dependent].disposition = Disposition::Skipped(reason.clone());
                open.push(dependent);
            }
        }
    }
}

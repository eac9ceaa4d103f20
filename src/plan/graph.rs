//! The dependency graph of the units: dependencies through inputs, and cycles.

use std::collections::HashMap;

use borges_org::Position;
use borges_task::DependencyKind;

use super::dependency::Dependency;
use super::diagnostic::Diagnostic;
use super::symbols::SymbolTable;
use super::unit::{Disposition, InputSource, Inputs, Unit};

/// The dependencies of the unit at `index` on the units of its inputs: variables, standard input, gaps in its code.
pub(super) fn input_dependencies(
    index: usize,
    unit: &Unit,
    inputs: &Inputs,
    all: &[Unit],
) -> Vec<Dependency> {
    let line = Position { line: unit.block.begin_line, column: 0 };
    let at = |key: &str| unit.block.params.iter().find(|param| param.key == key).map_or(line, |p| p.at);
    let gaps = inputs.gaps.iter().zip(inputs.gap_positions.iter().copied());
    let variables = inputs.variables.iter().map(|(_, input)| (input, at(":var")));
    let stdin = inputs.stdin.iter().map(|input| (input, at(":stdin")));
    let mut dependencies = Vec::new();
    for (input, at) in variables.chain(stdin).chain(gaps) {
        let dependency =
            |from: usize| Dependency { from, to: index, requirement: DependencyKind::Succeeded, at };
        match input {
            InputSource::Unit { unit: from, .. } => {
                dependencies.push(dependency(*from));
                // Other units see the value only after its `:post`, so they depend on that too.
                if let Some(Disposition::Runs { inputs, .. }) = all.get(*from).map(|unit| &unit.disposition) {
                    dependencies.extend(inputs.as_ref().and_then(|inputs| inputs.post).map(dependency));
                }
            }
            InputSource::BeforePost(from) => dependencies.push(dependency(*from)),
            InputSource::Value(_) | InputSource::File { .. } => {}
        }
    }
    dependencies
}

/// A cycle of dependencies, if one exists. Each element depends on the one before it, and the first on the last.
///
/// Kahn's algorithm removes all units that are in no cycle; the remaining units contain one.
pub(super) fn cycle(dependencies: &[Dependency]) -> Option<Vec<Dependency>> {
    let mut open_counts: HashMap<usize, usize> = HashMap::new();
    let mut dependents: HashMap<usize, Vec<&Dependency>> = HashMap::new();
    for dependency in dependencies {
        open_counts.entry(dependency.from).or_default();
        *open_counts.entry(dependency.to).or_default() += 1;
        dependents.entry(dependency.from).or_default().push(dependency);
    }
    let mut ready: Vec<usize> =
        open_counts.iter().filter(|(_, dependencies)| **dependencies == 0).map(|(&block, _)| block).collect();
    while let Some(block) = ready.pop() {
        open_counts.remove(&block);
        for dependency in dependents.get(&block).into_iter().flatten() {
            if let Some(count) = open_counts.get_mut(&dependency.to) {
                *count -= 1;
                if *count == 0 {
                    ready.push(dependency.to);
                }
            }
        }
    }
    // Every remaining unit depends on a remaining unit, so following dependencies backwards reaches a cycle.
    let back: HashMap<usize, &Dependency> = dependencies
        .iter()
        .rev()
        .filter(|dependency| open_counts.contains_key(&dependency.from))
        .map(|dependency| (dependency.to, dependency))
        .collect();
    let mut block = *open_counts.keys().min()?;
    let mut path: Vec<Dependency> = Vec::new();
    let mut visited: HashMap<usize, usize> = HashMap::new();
    loop {
        if let Some(&start) = visited.get(&block) {
            let mut cycle = path.split_off(start);
            cycle.reverse();
            return Some(cycle);
        }
        visited.insert(block, path.len());
        let dependency = **back.get(&block)?;
        path.push(dependency);
        block = dependency.from;
    }
}

/// The error for a cycle, such as `a → b → a`, with line numbers.
pub(super) fn cycle_error(cycle: &[Dependency], symbols: &SymbolTable<'_>) -> Option<Diagnostic> {
    let first = cycle.iter().min_by_key(|dependency| dependency.at)?;
    let start = cycle.iter().position(|dependency| dependency == first)?;
    let describe = |index: usize| format!("`{}` (line {})", symbols.title(index), symbols.line(index));
    let mut path: Vec<String> =
        cycle[start..].iter().chain(&cycle[..start]).map(|dependency| describe(dependency.from)).collect();
    path.push(format!("`{}`", symbols.title(first.from)));
    Some(Diagnostic::error(
        first.at,
        format!("these blocks wait for each other: {}", path.join(" → ")),
        "Leave out one of the waits.",
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dependencies(pairs: &[(usize, usize)]) -> Vec<Dependency> {
        let dependency = |(line, &(from, to)): (u32, &(usize, usize))| Dependency {
            from,
            to,
            requirement: DependencyKind::Completed,
            at: Position { line, column: 1 },
        };
        (1..).zip(pairs).map(dependency).collect()
    }

    fn cycle_of(pairs: &[(usize, usize)]) -> Option<Vec<(usize, usize)>> {
        cycle(&dependencies(pairs))
            .map(|cycle| cycle.iter().map(|dependency| (dependency.from, dependency.to)).collect())
    }

    #[test]
    fn cycles_are_found() {
        assert_eq!(cycle_of(&[]), None);
        assert_eq!(cycle_of(&[(0, 1), (1, 2), (0, 2)]), None);
        assert_eq!(cycle_of(&[(0, 0)]), Some(vec![(0, 0)]));
        assert_eq!(cycle_of(&[(5, 0), (0, 1), (1, 2), (2, 0), (2, 7)]), Some(vec![(0, 1), (1, 2), (2, 0)]));
    }

    proptest! {
        #[test]
        fn cycle_is_found_iff_one_exists(
            pairs in prop::collection::vec((0usize..8, 0usize..8), 0..16),
        ) {
            match cycle_of(&pairs) {
                Some(cycle) => {
                    for (dependency, next) in cycle.iter().zip(cycle.iter().cycle().skip(1)) {
                        prop_assert!(pairs.contains(dependency));
                        prop_assert_eq!(dependency.1, next.0);
                    }
                }
                // Without a circle the blocks can be put in an order.
                None => {
                    let mut pairs_left = pairs;
                    while !pairs_left.is_empty() {
                        let before = pairs_left.len();
                        let waiting: Vec<usize> = pairs_left.iter().map(|pair| pair.1).collect();
                        pairs_left.retain(|pair| waiting.contains(&pair.0));
                        prop_assert!(pairs_left.len() < before);
                    }
                }
            }
        }
    }
}

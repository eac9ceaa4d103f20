//! Who waits for whom; cycles.

use std::collections::HashMap;

use borges_org::Position;
use borges_task::DependencyKind;

use super::dependency::Dependency;
use super::diagnostic::Diagnostic;
use super::symbols::SymbolTable;
use super::unit::{Disposition, InputSource, Inputs, Unit};

/// The waits for what goes into the candidate at `place`: its values, the rest of its code, `:post`'s value.
pub(super) fn input_dependencies(
    place: usize,
    candidate: &Unit,
    inputs: &Inputs,
    all: &[Unit],
) -> Vec<Dependency> {
    let line = Position { line: candidate.block.begin_line, column: 0 };
    let at = |key: &str| candidate.block.params.iter().find(|param| param.key == key).map_or(line, |p| p.at);
    let gaps = inputs.gaps.iter().zip(inputs.places.iter().copied());
    let variables = inputs.variables.iter().map(|(_, given)| (given, at(":var")));
    let stdin = inputs.stdin.iter().map(|given| (given, at(":stdin")));
    let mut waits = Vec::new();
    for (given, at) in variables.chain(stdin).chain(gaps) {
        let wait = |from: usize| Dependency { from, to: place, requirement: DependencyKind::Succeeded, at };
        match given {
            InputSource::Candidate { place: from, .. } => {
                waits.push(wait(*from));
                // What others see of a value is what its `:post` makes of it.
                if let Some(Disposition::Runs { inputs, .. }) =
                    all.get(*from).map(|candidate| &candidate.disposition)
                {
                    waits.extend(inputs.as_ref().and_then(|inputs| inputs.post).map(wait));
                }
            }
            InputSource::BeforePost(from) => waits.push(wait(*from)),
            InputSource::Value(_) | InputSource::File { .. } => {}
        }
    }
    waits
}

/// A circle of waits, if there is one: each waits for the one before it, the first for the last.
///
/// Kahn's order takes away whatever does not wait in a circle; what is left holds one.
pub(super) fn cycle(waits: &[Dependency]) -> Option<Vec<Dependency>> {
    let mut open: HashMap<usize, usize> = HashMap::new();
    let mut onward: HashMap<usize, Vec<&Dependency>> = HashMap::new();
    for wait in waits {
        open.entry(wait.from).or_default();
        *open.entry(wait.to).or_default() += 1;
        onward.entry(wait.from).or_default().push(wait);
    }
    let mut free: Vec<usize> =
        open.iter().filter(|(_, waits)| **waits == 0).map(|(&block, _)| block).collect();
    while let Some(block) = free.pop() {
        open.remove(&block);
        for wait in onward.get(&block).into_iter().flatten() {
            if let Some(count) = open.get_mut(&wait.to) {
                *count -= 1;
                if *count == 0 {
                    free.push(wait.to);
                }
            }
        }
    }
    // Every block left waits for one that is left: going back from any leads into a circle.
    let back: HashMap<usize, &Dependency> =
        waits.iter().rev().filter(|wait| open.contains_key(&wait.from)).map(|wait| (wait.to, wait)).collect();
    let mut block = *open.keys().min()?;
    let mut path: Vec<Dependency> = Vec::new();
    let mut seen: HashMap<usize, usize> = HashMap::new();
    loop {
        if let Some(&start) = seen.get(&block) {
            let mut circle = path.split_off(start);
            circle.reverse();
            return Some(circle);
        }
        seen.insert(block, path.len());
        let wait = **back.get(&block)?;
        path.push(wait);
        block = wait.from;
    }
}

/// `a → b → a`, with lines, for a person.
pub(super) fn cycle_error(circle: &[Dependency], names: &SymbolTable<'_>) -> Option<Diagnostic> {
    let first = circle.iter().min_by_key(|wait| wait.at)?;
    let start = circle.iter().position(|wait| wait == first)?;
    let told = |place: usize| format!("`{}` (line {})", names.title(place), names.line(place));
    let mut way: Vec<String> =
        circle[start..].iter().chain(&circle[..start]).map(|wait| told(wait.from)).collect();
    way.push(format!("`{}`", names.title(first.from)));
    Some(Diagnostic::error(
        first.at,
        format!("these blocks wait for each other: {}", way.join(" → ")),
        "Leave out one of the waits.",
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waits(pairs: &[(usize, usize)]) -> Vec<Dependency> {
        let wait = |(line, &(from, to)): (u32, &(usize, usize))| Dependency {
            from,
            to,
            requirement: DependencyKind::Completed,
            at: Position { line, column: 1 },
        };
        (1..).zip(pairs).map(wait).collect()
    }

    fn circle(pairs: &[(usize, usize)]) -> Option<Vec<(usize, usize)>> {
        cycle(&waits(pairs)).map(|circle| circle.iter().map(|wait| (wait.from, wait.to)).collect())
    }

    #[test]
    fn circles() {
        assert_eq!(circle(&[]), None);
        assert_eq!(circle(&[(0, 1), (1, 2), (0, 2)]), None);
        assert_eq!(circle(&[(0, 0)]), Some(vec![(0, 0)]));
        assert_eq!(circle(&[(5, 0), (0, 1), (1, 2), (2, 0), (2, 7)]), Some(vec![(0, 1), (1, 2), (2, 0)]));
    }

    proptest! {
        #[test]
        fn a_circle_is_found_where_there_is_one(
            pairs in prop::collection::vec((0usize..8, 0usize..8), 0..16),
        ) {
            match circle(&pairs) {
                Some(circle) => {
                    for (wait, next) in circle.iter().zip(circle.iter().cycle().skip(1)) {
                        prop_assert!(pairs.contains(wait));
                        prop_assert_eq!(wait.1, next.0);
                    }
                }
                // Without a circle the blocks can be put in an order.
                None => {
                    let mut left = pairs;
                    while !left.is_empty() {
                        let before = left.len();
                        let waiting: Vec<usize> = left.iter().map(|pair| pair.1).collect();
                        left.retain(|pair| waiting.contains(&pair.0));
                        prop_assert!(left.len() < before);
                    }
                }
            }
        }
    }
}

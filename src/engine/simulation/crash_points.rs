//! Crashes the server before and after each operation of a scripted run, and fails each operation.

use super::super::failpoints::{self, Failpoint};
use super::faulty_store::{CrashPoint, FaultMode};
use super::invariants::{Invariant, Violation};
use super::simulator::Simulation;

/// A document of thirty blocks with dependencies, failures and retries.
pub(super) fn document() -> String {
    let block = |number: u32| {
        let arguments = match number % 6 {
            1 => " :retry 2".to_owned(),
            2 => format!(" :requires b{}", number - 1),
            3 => format!(" :after b{} :retry 3 :retry-on 3 75", number - 1),
            4 => " :cpu 0.5".to_owned(),
            5 => format!(" :requires b{} :backoff 2s :retry 1", number - 1),
            _ => String::new(),
        };
        format!("#+name: b{number}\n#+begin_src sh{arguments}\ntrue\n#+end_src\n")
    };
    (1..=30).map(block).collect()
}

/// The operations of the run without a failure.
fn operations() -> Vec<String> {
    let crash_point = CrashPoint::at(u64::MAX, FaultMode::ReturnError);
    let outcome = Simulation::scripted(1, &document(), vec![crash_point.clone()]).run();
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    crash_point.operation_names()
}

/// The first violation if operation `at` fails.
fn first_violation(at: u64, mode: FaultMode) -> Option<Violation> {
    Simulation::scripted(1, &document(), vec![CrashPoint::at(at, mode)]).run().violations.into_iter().next()
}

#[test]
fn crash_at_any_operation_violates_no_invariant() {
    let operation_names = operations();
    let mut violation_count = 0;
    for mode in [FaultMode::CrashBefore, FaultMode::CrashAfter, FaultMode::ReturnError] {
        for (at, name) in (1..).zip(&operation_names) {
            if let Some(violation) = first_violation(at, mode) {
                violation_count += 1;
                println!("{mode:?} operation {at}, {name}: {violation}");
            }
        }
    }
    let count = operation_names.len();
    println!(
        "{count} operations, {} crash points, from `{}` to `{}`",
        3 * count,
        operation_names[0],
        operation_names[count - 1]
    );
    println!("between: {}", count_by_kind(&operation_names));
    println!("violations: {violation_count}");
    assert!(count > 100, "{operation_names:#?}");
    assert_eq!(violation_count, 0);
}

/// The number of operations of each kind.
pub(super) fn count_by_kind(operation_names: &[String]) -> String {
    let mut counts = std::collections::BTreeMap::<&str, u32>::new();
    for name in operation_names {
        *counts.entry(name.split(' ').next().unwrap_or_default()).or_default() += 1;
    }
    counts.iter().map(|(kind, count)| format!("{count} × {kind}")).collect::<Vec<_>>().join(", ")
}

/// Control: the crash points find an acknowledgement before the store.
#[test]
fn crash_points_find_acknowledgement_before_store() {
    let _scenario = failpoints::configure(Some(Failpoint::AckBeforePersist));
    let mut violations = (1..400).filter_map(|at| Some((at, first_violation(at, FaultMode::CrashBefore)?)));
    let (at, violation) = violations.next().expect("a violation");
    println!("crash before operation {at}: {violation}");
    assert_eq!(violation.invariant, Invariant::PersistBeforeAcknowledge, "{violation}");
}

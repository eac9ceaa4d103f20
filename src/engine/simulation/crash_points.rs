//! The same scripted run, ended at each of its operations: before it, after it, and by its failure.

use super::super::failpoints::{self, Failpoint};
use super::faulty_store::{CrashPoint, FaultMode};
use super::simulator::Simulation;

/// Thirty blocks with edges, failures and tries.
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

/// The operations of the run when nothing goes wrong.
fn operations() -> Vec<String> {
    let fuse = CrashPoint::at(u64::MAX, FaultMode::ReturnError);
    let ended = Simulation::scripted(1, &document(), vec![fuse.clone()]).run();
    assert!(ended.faults.is_empty(), "{:#?}", ended.faults);
    fuse.names()
}

/// What goes wrong when operation `at` does.
fn fault(at: u64, wrong: FaultMode) -> Option<String> {
    Simulation::scripted(1, &document(), vec![CrashPoint::at(at, wrong)]).run().faults.into_iter().next()
}

#[test]
fn at_every_operation_a_life_may_end() {
    let names = operations();
    let mut violations = 0;
    for wrong in [FaultMode::CrashBefore, FaultMode::CrashAfter, FaultMode::ReturnError] {
        for (at, name) in (1..).zip(&names) {
            if let Some(fault) = fault(at, wrong) {
                violations += 1;
                println!("{wrong:?} operation {at}, {name}: {fault}");
            }
        }
    }
    let count = names.len();
    println!("{count} operations, {} crash points, from `{}` to `{}`", 3 * count, names[0], names[count - 1]);
    println!("between: {}", kinds(&names));
    println!("violations: {violations}");
    assert!(count > 100, "{names:#?}");
    assert_eq!(violations, 0);
}

/// How many of each kind of operation there are.
pub(super) fn kinds(names: &[String]) -> String {
    let mut kinds = std::collections::BTreeMap::<&str, u32>::new();
    for name in names {
        *kinds.entry(name.split(' ').next().unwrap_or_default()).or_default() += 1;
    }
    kinds.iter().map(|(kind, count)| format!("{count} × {kind}")).collect::<Vec<_>>().join(", ")
}

/// The control: one that acknowledges before it has saved is caught.
#[test]
fn who_acknowledges_first_is_caught() {
    let _planted = failpoints::configure(Some(Failpoint::AckBeforePersist));
    let names = (1..400).filter_map(|at| fault(at, FaultMode::CrashBefore).map(|fault| (at, fault)));
    let (at, fault) = names.into_iter().next().expect("it is caught");
    println!("dying before operation {at}: {fault}");
    assert!(fault.contains("is acknowledged, and saved is"), "{fault}");
}

//! A simulator of everything between a document and a cluster. It runs the real actors on one thread and a virtual clock,
//! with a cluster that loses, repeats and reorders messages, a disk that survives, and crashes.
//!
//! The seed determines the whole simulation, so that a failing seed can be replayed:
//!
//! ```text
//! BORGES_SEED=17 cargo test --lib simulation::replay -- --nocapture    prints the trace of a seed
//! BORGES_SEEDS=1000 cargo test --lib simulation::seeds                  runs 1000 seeds, from BORGES_FIRST on
//! BORGES_EACH=1 cargo test --lib simulation::embedded                   crashes the agent at every operation
//! ```
//!
//! | file | |
//! |---|---|
//! | `simulator` | one seed: server processes one after another, and the actions of users |
//! | `adapter` | connects the server to the simulated cluster |
//! | `cluster` | the simulated agents and master |
//! | `faulty_store` | the disk, and the crash point that ends a process at a chosen operation |
//! | `oracle` | records what truly happened and checks the invariants |
//! | `invariants` | the invariants and their violations |
//! | `embedded` | a run on the embedded cluster, whose agent crashes at each operation |
//! | `crash_points` | a scripted run that crashes at each operation |

mod adapter;
mod cluster;
mod crash_points;
mod embedded;
mod faulty_store;
mod invariants;
mod oracle;
mod simulator;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::failpoints::{self, Failpoint};
use invariants::{Invariant, Violation};
use simulator::Simulation;

/// The number of seeds of an ordinary test run. `integration/check` runs more.
const SEEDS: u64 = 100;
/// The number of seeds in which each failpoint must be found.
const FAILPOINT_SEEDS: u64 = 500;

fn env_number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The first violation of a seed. A panic is a violation as well.
fn first_violation(seed: u64, failpoint: Option<Failpoint>) -> Option<Violation> {
    let _scenario = failpoints::configure(failpoint);
    match catch_unwind(AssertUnwindSafe(|| Simulation::new(seed).run())) {
        Ok(outcome) => outcome.violations.into_iter().next(),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().cloned();
            let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(Violation::new(Invariant::NoPanic, message.unwrap_or_default()))
        }
    }
}

/// Runs seeds on all cores, until `limit` seeds have a first violation that `is_wanted`. Returns these violations.
fn violations(
    seeds: std::ops::Range<u64>,
    failpoint: Option<Failpoint>,
    limit: usize,
    is_wanted: impl Fn(&Violation) -> bool + Sync,
) -> Vec<(u64, Violation)> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let found = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (seeds, found, is_wanted) = (seeds.clone(), &found, &is_wanted);
            scope.spawn(move || {
                for seed in seeds.filter(|seed| seed % threads == thread) {
                    if found.lock().unwrap().len() >= limit {
                        return;
                    }
                    if let Some(violation) = first_violation(seed, failpoint).filter(|found| is_wanted(found))
                    {
                        found.lock().unwrap().push((seed, violation));
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap();
    found.sort();
    found
}

#[test]
fn seeds_violate_no_invariant() {
    let count = env_number("BORGES_SEEDS").unwrap_or(SEEDS);
    let first = env_number("BORGES_FIRST").unwrap_or(0);
    let found = violations(first..first + count, None, 10, |_| true);
    assert!(
        found.is_empty(),
        "of {count} seeds these fail (replay one with BORGES_SEED=N …::replay): {found:#?}"
    );
    println!("{count} seeds from {first} on, no violation");
}

/// Prints the trace of one seed.
#[test]
fn replay() {
    let Some(seed) = env_number("BORGES_SEED") else { return };
    let outcome = Simulation::new(seed).run();
    println!("{}", outcome.trace.join("\n"));
    assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
}

/// In these seeds a supervisor dies after the backoff of its task, while the task is queued. It must not be queued again.
#[test]
fn queued_task_keeps_its_position_when_its_supervisor_dies() {
    for seed in [7635, 7642, 8571] {
        assert_eq!(first_violation(seed, None), None, "seed {seed}");
    }
}

#[test]
fn equal_seeds_have_equal_traces() {
    for seed in [1, 2, 3] {
        let [first, second] = [(), ()].map(|()| Simulation::new(seed).run().trace);
        let difference = first.iter().zip(&second).find(|(a, b)| a != b);
        assert!(first == second, "seed {seed} differs: {difference:#?}");
        assert!(!first.is_empty(), "the trace is empty");
    }
}

/// The invariant that a failpoint must violate.
const fn violated_invariant(failpoint: Failpoint) -> Invariant {
    match failpoint {
        Failpoint::AckBeforePersist => Invariant::PersistBeforeAcknowledge,
        Failpoint::AcceptBeforePersist => Invariant::IntentBeforeAccept,
        Failpoint::TreatLostAsGone => Invariant::SingleActiveLaunch,
        Failpoint::SkipKillRetry => Invariant::TimelyKill,
        Failpoint::SkipIntentReconcile => Invariant::UniqueLaunchId,
        Failpoint::CountInfraFailureAsRetry => Invariant::FailureCount,
        Failpoint::SkipReconcile => Invariant::Termination,
        Failpoint::DropBackoffOnRestart => Invariant::BackoffNotShortened,
        Failpoint::RestartBackoffOnRestart => Invariant::BackoffNotExtended,
        Failpoint::SkipPeerTracking => Invariant::Constraints,
    }
}

#[test]
fn each_failpoint_violates_its_invariant() {
    let seeds = env_number("BORGES_SEEDS").unwrap_or(FAILPOINT_SEEDS);
    for failpoint in Failpoint::ALL {
        let expected = violated_invariant(failpoint);
        let found = violations(0..seeds, Some(failpoint), 1, |violation| violation.invariant == expected);
        let Some((seed, violation)) = found.first() else {
            let others = violations(0..seeds, Some(failpoint), 3, |_| true);
            panic!("{failpoint:?} does not violate {expected:?} in {seeds} seeds, but: {others:#?}")
        };
        println!("{failpoint:?}: seed {seed}: {violation}");
    }
}

//! A seeded simulator of everything between a document and a cluster: the real actors, on one thread and a clock
//! that jumps, with a cluster that loses, repeats and reorders, a disk that survives, and crashes.
//!
//! A seed decides everything, so a seed that fails is a test that fails:
//!
//! ```text
//! BORGES_SEED=17 cargo test --lib simulation::replay -- --nocapture    tells that seed's whole story
//! BORGES_SEEDS=1000 cargo test --lib simulation::seeds                  as many as that, from BORGES_FIRST on
//! BORGES_EACH=1 cargo test --lib simulation::embedded                   the agent at every operation, not at some
//! ```
//!
//! | file | |
//! |---|---|
//! | `simulator` | one seed: lives of a server one after another, and what people do |
//! | `cluster` | agents and a master that behave as Mesos may |
//! | `faulty_store` | what survives, and the fuse that ends a life at a chosen moment |
//! | `oracle` | what truly happened, and what must be true of it |
//! | `embedded` | the same run on the embedded cluster, whose agent dies at each of its operations |
//! | `crash_points` | the same scripted run, ended at each of its operations |

mod cluster;
mod crash_points;
mod embedded;
mod faulty_store;
mod oracle;
mod simulator;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::failpoints::{self, Failpoint};
use simulator::Simulation;

/// Seeds of an ordinary test run; `integration/check` asks for more.
const SEEDS: u64 = 100;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What is wrong with a seed; `None` when all is well. A panic is wrong, too.
fn fault(seed: u64, bug: Option<Failpoint>) -> Option<String> {
    let _planted = failpoints::configure(bug);
    match catch_unwind(AssertUnwindSafe(|| Simulation::new(seed).run())) {
        Ok(ended) => ended.faults.into_iter().next(),
        Err(panic) => {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            Some(format!("panic: {}", words.unwrap_or_default()))
        }
    }
}

/// Plays seeds on as many threads as there are cores; the first fault of each that has one.
fn faults(seeds: std::ops::Range<u64>, bug: Option<Failpoint>, enough: usize) -> Vec<(u64, String)> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let found = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (seeds, found) = (seeds.clone(), &found);
            scope.spawn(move || {
                for seed in seeds.filter(|seed| seed % threads == thread) {
                    if found.lock().unwrap().len() >= enough {
                        return;
                    }
                    if let Some(fault) = fault(seed, bug) {
                        found.lock().unwrap().push((seed, fault));
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
fn seeds() {
    let count = number("BORGES_SEEDS").unwrap_or(SEEDS);
    let first = number("BORGES_FIRST").unwrap_or(0);
    let found = faults(first..first + count, None, 10);
    assert!(found.is_empty(), "of {count} seeds these fail (BORGES_SEED=N …::replay tells): {found:#?}");
    println!("{count} seeds from {first} on, no fault");
}

/// One seed, with all that happens in it.
#[test]
fn replay() {
    let Some(seed) = number("BORGES_SEED") else { return };
    let ended = Simulation::new(seed).run();
    println!("{}", ended.story.join("\n"));
    assert!(ended.faults.is_empty(), "seed {seed}: {:#?}", ended.faults);
}

/// In these a supervisor dies while its task, whose pause is over, waits for an offer: it is not queued anew.
#[test]
fn who_is_queued_keeps_its_place_when_its_supervisor_dies() {
    for seed in [7635, 7642, 8571] {
        assert_eq!(fault(seed, None), None, "seed {seed}");
    }
}

#[test]
fn a_seed_repeats_itself() {
    for seed in [1, 2, 3] {
        let [first, second] = [(), ()].map(|()| Simulation::new(seed).run().story);
        let differs = first.iter().zip(&second).find(|(a, b)| a != b);
        assert!(first == second, "seed {seed} differs: {differs:#?}");
        assert!(!first.is_empty(), "something happens");
    }
}

#[test]
fn planted_bugs_are_found() {
    for bug in Failpoint::ALL {
        let found = faults(0..number("BORGES_SEEDS").unwrap_or(500), Some(bug), 1);
        let Some((seed, fault)) = found.first() else { panic!("{bug:?} is not found") };
        println!("{bug:?}: seed {seed}: {fault}");
    }
}

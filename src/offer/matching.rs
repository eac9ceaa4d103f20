//! One round of placing waiting tasks on offers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use super::{Queue, Reason};
use crate::task::{Resources, TaskId};

/// What an agent has to give now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The offer's id; it can be answered once.
    pub id: String,
    /// The agent's id.
    pub agent: String,
    /// What is offered.
    pub free: Resources,
}

/// Tasks that go to one offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The offer's id.
    pub offer: String,
    /// The agent's id.
    pub agent: String,
    /// The tasks, oldest first; together they fit.
    pub tasks: Vec<TaskId>,
}

/// The outcome of a round: each offer is in `placements` or in `declined`, exactly once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matching {
    /// Offers that took tasks, in the order they came.
    pub placements: Vec<Placement>,
    /// Ids of the offers that took none, in the order they came.
    pub declined: Vec<String>,
    /// The demands of which some task was not placed, and why; in ascending order.
    pub unmatched: Vec<(Resources, Reason)>,
}

/// Places waiting tasks on offers, oldest first, each on the first offer that has room.
///
/// A task that fits nowhere keeps nobody from being placed. Offers only shrink during a round, so an offer
/// that is too small for a demand once stays so: each demand walks the offers once, and a round costs
/// tasks placed + demands × offers at most.
pub fn match_offers(offers: &[Offer], pending: &Queue) -> Matching {
    let mut free: Vec<Resources> = offers.iter().map(|offer| offer.free).collect();
    let mut placed: Vec<Vec<TaskId>> = vec![Vec::new(); offers.len()];
    let mut unmatched = HashSet::new();

    // A demand, its tasks not placed yet, and the first offer that may still have room for one.
    let mut walks: Vec<_> =
        pending.demands().map(|wants| (wants, pending.asking_for(wants).peekable(), 0)).collect();
    let mut heads: BinaryHeap<Reverse<(TaskId, usize)>> = walks
        .iter_mut()
        .enumerate()
        .filter_map(|(walk, (_, tasks, _))| tasks.peek().map(|&task| Reverse((task, walk))))
        .collect();

    while let Some(Reverse((_, walk))) = heads.pop() {
        let (wants, tasks, offer) = &mut walks[walk];
        while free.get(*offer).is_some_and(|free| !free.hold(wants)) {
            *offer += 1;
        }
        let rest = free.get(*offer).and_then(|free| free.checked_sub(wants));
        let (Some(rest), Some(task)) = (rest, tasks.next()) else {
            unmatched.insert(**wants);
            continue;
        };
        free[*offer] = rest;
        placed[*offer].push(task);
        if let Some(&next) = tasks.peek() {
            heads.push(Reverse((next, walk)));
        }
    }
    drop(walks);

    let mut matching = Matching::default();
    for (offer, tasks) in offers.iter().zip(placed) {
        if tasks.is_empty() {
            matching.declined.push(offer.id.clone());
        } else {
            matching.placements.push(Placement {
                offer: offer.id.clone(),
                agent: offer.agent.clone(),
                tasks,
            });
        }
    }
    let sizes: Vec<Resources> = offers.iter().map(|offer| offer.free).collect();
    matching.unmatched = unmatched.into_iter().map(|wants| (wants, Reason::of(&wants, &sizes))).collect();
    matching.unmatched.sort_unstable_by_key(|(wants, _)| *wants);
    matching
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::task::RunId;

    fn run() -> RunId {
        RunId(Uuid::from_u128(1))
    }

    fn demand(milli_cpus: u64, mem: u64) -> Resources {
        Resources { milli_cpus, mem, ..Resources::default() }
    }

    fn offers(sizes: &[(u64, u64)]) -> Vec<Offer> {
        let named = |(at, &(cpus, mem)): (usize, &(u64, u64))| Offer {
            id: format!("o{}", at + 1),
            agent: format!("a{}", at + 1),
            free: demand(cpus, mem),
        };
        sizes.iter().enumerate().map(named).collect()
    }

    fn queue(demands: &[(u64, u64)]) -> Queue {
        let mut queue = Queue::default();
        for (number, &(cpus, mem)) in (1..).zip(demands) {
            queue.push(run().task(number), demand(cpus, mem));
        }
        queue
    }

    /// Cases one can reckon by hand: (what it shows, offers, demands).
    #[test]
    fn table() {
        type Sizes = &'static [(u64, u64)];
        let cases: [(&str, Sizes, Sizes); 8] = [
            ("no offers", &[], &[(1000, 56)]),
            ("nothing waits", &[(4000, 512)], &[]),
            ("all fit into one", &[(4000, 512)], &[(1000, 56), (1000, 56)]),
            ("one is full, the next takes", &[(1000, 56), (1000, 56)], &[(1000, 56), (1000, 56), (1000, 56)]),
            ("too large blocks nobody", &[(4000, 512)], &[(1000, 4096), (1000, 56)]),
            ("oldest first", &[(2000, 512)], &[(1500, 64), (1000, 64), (500, 64)]),
            ("cpu here, mem there", &[(4000, 32), (100, 4096)], &[(1000, 1024)]),
            ("more cpu than any has", &[(1000, 64), (2000, 64), (500, 64)], &[(2500, 64)]),
        ];
        let mut table = String::new();
        for (name, sizes, demands) in cases {
            let matching = match_offers(&offers(sizes), &queue(demands));
            writeln!(table, "{name}").unwrap();
            for placement in &matching.placements {
                let tasks: Vec<_> = placement.tasks.iter().map(|task| task.number).collect();
                writeln!(table, "  {} takes {tasks:?}", placement.offer).unwrap();
            }
            if !matching.declined.is_empty() {
                writeln!(table, "  declined {:?}", matching.declined).unwrap();
            }
            for (wants, reason) in &matching.unmatched {
                writeln!(table, "  waits: {wants} ({reason})").unwrap();
            }
        }
        insta::assert_snapshot!(table);
    }

    prop_compose! {
        fn size()(cpus in 0u64..8, mem in 0u64..8) -> (u64, u64) { (cpus * 500, mem * 32) }
    }

    proptest! {
        #[test]
        fn invariants(
            sizes in prop::collection::vec(size(), 0..12),
            demands in prop::collection::vec(size(), 0..40),
        ) {
            let (offers, queue) = (offers(&sizes), queue(&demands));
            let matching = match_offers(&offers, &queue);

            let mut answered: Vec<_> =
                matching.placements.iter().map(|p| p.offer.clone()).chain(matching.declined.clone()).collect();
            answered.sort();
            let mut given: Vec<_> = offers.iter().map(|offer| offer.id.clone()).collect();
            given.sort();
            prop_assert_eq!(answered, given, "each offer is answered once");

            let placed: Vec<_> = matching.placements.iter().flat_map(|p| p.tasks.clone()).collect();
            prop_assert_eq!(placed.iter().collect::<HashSet<_>>().len(), placed.len(), "no task twice");

            for placement in &matching.placements {
                let mut free = offers.iter().find(|offer| offer.id == placement.offer).unwrap().free;
                for &task in &placement.tasks {
                    free = free.checked_sub(queue.demand(task).unwrap()).expect("never more than offered");
                }
            }

            // Whoever waits has a reason, and could not have been added to what is left.
            for number in 1..=u32::try_from(demands.len()).unwrap() {
                let task = run().task(number);
                let wants = queue.demand(task).unwrap();
                if !placed.contains(&task) {
                    prop_assert!(matching.unmatched.iter().any(|(unmatched, _)| unmatched == wants));
                    for offer in &offers {
                        let taken = matching.placements.iter().filter(|p| p.offer == offer.id);
                        let mut free = offer.free;
                        for &task in taken.flat_map(|p| &p.tasks) {
                            free = free.checked_sub(queue.demand(task).unwrap()).unwrap();
                        }
                        prop_assert!(!free.hold(wants), "task {} would still fit {}", number, offer.id);
                    }
                }
            }
            prop_assert_eq!(match_offers(&offers, &queue), matching, "same input, same output");
        }
    }
}

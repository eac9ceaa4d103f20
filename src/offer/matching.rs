//! One round of placing waiting tasks on offers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, btree_set};
use std::iter::Peekable;

use super::queue::{Groups, Turn};
use super::reason::Sizes;
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

/// Places waiting tasks on offers, each on the first that has room, in the order of the queue.
///
/// A task that fits nowhere keeps nobody from being placed. Offers only shrink during a round, so an offer that is
/// too small for a demand once stays so: each demand walks the offers once. A round costs tasks placed + demands ×
/// offers at most, and ends when nothing that waits could fit any more.
pub fn match_offers(offers: &[Offer], pending: &Queue) -> Matching {
    let mut free: Vec<Resources> = offers.iter().map(|offer| offer.free).collect();
    let mut placed: Vec<Vec<TaskId>> = vec![Vec::new(); offers.len()];
    let mut unplaced: HashMap<Resources, usize> =
        pending.demands().map(|(&wants, tasks)| (wants, tasks)).collect();
    let least = pending.demands().map(|(wants, _)| *wants).reduce(|a, b| a.smaller(&b)).unwrap_or_default();
    // The first offer that may still have room, for the least of all and for each demand.
    let mut room = 0;
    let mut rooms: HashMap<Resources, usize> = HashMap::new();

    // Flows that were visited come again with their next turn, beside those that were not.
    let mut fresh = pending.flows().peekable();
    let mut visited: BinaryHeap<Reverse<(Turn, usize)>> = BinaryHeap::new();
    let mut visits: Vec<Visit<'_>> = Vec::new();
    loop {
        let again = visited.peek().map(|Reverse((turn, _))| *turn);
        let (turn, visit) = match (fresh.peek().map(|(turn, _)| *turn), again) {
            (Some(new), again) if again.is_none_or(|again| new < again) => {
                let Some((turn, groups)) = fresh.next() else { break };
                visits.push(Visit::new(groups));
                (turn, visits.len() - 1)
            }
            (_, Some(_)) => {
                let Some(Reverse(next)) = visited.pop() else { break };
                next
            }
            (_, None) => break,
        };
        let found = visits[visit].next(|wants| {
            let room = rooms.entry(*wants).or_default();
            while free.get(*room).is_some_and(|free| !free.hold(wants)) {
                *room += 1;
            }
            (*room < free.len()).then_some(*room)
        });
        if let Some((task, wants, offer)) = found {
            if let Some(rest) = free[offer].checked_sub(&wants) {
                free[offer] = rest;
                placed[offer].push(task);
                unplaced.entry(wants).and_modify(|tasks| *tasks -= 1);
            }
            visited.push(Reverse((turn.next(), visit)));
        } else {
            while free.get(room).is_some_and(|free| !free.hold(&least)) {
                room += 1;
            }
            if room == free.len() {
                break;
            }
        }
    }

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
    let sizes = Sizes::of(offers.iter().map(|offer| offer.free));
    let unmatched = unplaced.into_iter().filter(|(_, tasks)| *tasks > 0);
    matching.unmatched = unmatched.map(|(wants, _)| (wants, sizes.reason(&wants))).collect();
    matching.unmatched.sort_unstable_by_key(|(wants, _)| *wants);
    matching
}

/// A flow during a round: its groups that may still fit, each with the tasks not placed yet.
struct Visit<'a> {
    groups: Vec<(Resources, Peekable<btree_set::Iter<'a, TaskId>>)>,
    /// The oldest task of each, and whose it is.
    heads: BinaryHeap<Reverse<(TaskId, usize)>>,
}

impl<'a> Visit<'a> {
    fn new(groups: &'a Groups) -> Self {
        let mut groups: Vec<_> =
            groups.iter().map(|(&wants, tasks)| (wants, tasks.iter().peekable())).collect();
        let head = |(group, (_, tasks)): (usize, &mut (_, Peekable<btree_set::Iter<'a, TaskId>>))| {
            tasks.peek().map(|&&task| Reverse((task, group)))
        };
        let heads = groups.iter_mut().enumerate().filter_map(head).collect();
        Self { groups, heads }
    }

    /// The oldest task for which there is room, what it asks for, and where the room is. Groups without are left
    /// out from then on.
    fn next(
        &mut self,
        mut room: impl FnMut(&Resources) -> Option<usize>,
    ) -> Option<(TaskId, Resources, usize)> {
        while let Some(Reverse((task, group))) = self.heads.pop() {
            let (wants, tasks) = &mut self.groups[group];
            if let Some(offer) = room(wants) {
                tasks.next();
                if let Some(&&next) = tasks.peek() {
                    self.heads.push(Reverse((next, group)));
                }
                return Some((task, *wants, offer));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
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
            queue.push(run().task(number), demand(cpus, mem), 0);
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

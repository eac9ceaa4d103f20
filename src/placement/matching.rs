//! One round of placing waiting tasks on offers.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, btree_set};
use std::sync::Arc;

use jiff::Timestamp;

use super::maintenance::MaintenanceWindow;
use super::queue::{ServiceOrder, TasksByRequest};
use super::round::MatchRound;
use super::{Agent, PeerLocations, Queue};
use borges_task::{Resources, RunId, TaskId};

/// What an agent has to give to one role now: one offer of the cluster, or several that are accepted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The ids of its offers; each can be answered once.
    pub ids: Vec<String>,
    /// The agent.
    pub agent: Arc<Agent>,
    /// What is offered.
    pub free: Resources,
    /// Free ports: sorted ranges, both ends included.
    pub ports: Vec<(u64, u64)>,
    /// When the agent will be away for maintenance.
    pub maintenance: Option<MaintenanceWindow>,
}

/// Tasks that go to one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The ids of the offers they take.
    pub offers: Vec<String>,
    /// The agent.
    pub agent: Arc<Agent>,
    /// The tasks, in the order they were placed; together they fit.
    pub assignments: Vec<Assignment>,
}

/// A task that is placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The task.
    pub task: TaskId,
    /// The agent's ports that are its own, one for each it asked for.
    pub ports: Vec<u16>,
}

/// The outcome of a round: each offer is in `placements` or in `declined`, exactly once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MatchResult {
    /// Offers that took tasks, in the order they came.
    pub placements: Vec<Placement>,
    /// Ids of the offers that took none, in the order they came.
    pub declined: Vec<String>,
}

/// Places waiting tasks on offers, each on the first that suits it, in the order of the queue.
///
/// A task that fits nowhere keeps nobody from being placed. Offers only shrink during a round, so an offer that is
/// too small for a demand once stays so: each demand walks the offers once, by whole rows where none of a row has
/// room. (Only where tasks are to be spread evenly does an offer's turn come again.) A round costs tasks placed +
/// demands × offers at most, and ends when nothing that waits could fit any more.
///
/// `spread` says where tasks are that constraints compare with, `now` which maintenance is near.
pub fn match_offers(
    offers: &[Offer],
    pending: &Queue,
    spread: &PeerLocations,
    now: Timestamp,
) -> MatchResult {
    let asked = pending.demands().map(|(wants, _)| wants.resources.milli_cpus);
    let mut table = MatchRound::new(offers, asked, spread, now);
    let mut placed: Vec<Vec<Assignment>> = vec![Vec::new(); offers.len()];
    let all = pending.demands().map(|(wants, _)| wants.resources);
    let least = all.reduce(|a, b| a.elementwise_min(&b)).unwrap_or_default();

    // Flows that were visited come again with their next turn, beside those that were not.
    let mut fresh = pending.flows().peekable();
    let mut visited: BinaryHeap<Reverse<(ServiceOrder, usize)>> = BinaryHeap::new();
    let mut visits: Vec<Visit<'_>> = Vec::new();
    loop {
        let again = visited.peek().map(|Reverse((turn, _))| *turn);
        let (turn, visit) = match (fresh.peek().map(|(turn, _)| *turn), again) {
            (Some(new), again) if again.is_none_or(|again| new < again) => {
                let Some((turn, groups)) = fresh.next() else { break };
                visits.push(Visit::new(turn.run(), groups, &mut table));
                (turn, visits.len() - 1)
            }
            (_, Some(_)) => {
                let Some(Reverse(next)) = visited.pop() else { break };
                next
            }
            (_, None) => break,
        };
        if let Some((offer, seat)) = visits[visit].next(&mut table) {
            placed[offer].push(seat);
            visited.push(Reverse((turn.next(), visit)));
        } else if !table.has_room(&least) {
            break;
        }
    }

    let mut matching = MatchResult::default();
    for (offer, assignments) in offers.iter().zip(placed) {
        if assignments.is_empty() {
            matching.declined.extend(offer.ids.iter().cloned());
        } else {
            let (offers, agent) = (offer.ids.clone(), offer.agent.clone());
            matching.placements.push(Placement { offers, agent, assignments });
        }
    }
    matching
}

/// A flow during a round: its groups that may still fit, each with the tasks not placed yet.
struct Visit<'a> {
    run: RunId,
    /// Which walk along the offers is the group's, and its tasks behind the oldest.
    groups: Vec<(usize, btree_set::Iter<'a, u32>)>,
    /// The oldest task of each, and whose it is.
    heads: BinaryHeap<Reverse<(u32, usize)>>,
}

impl<'a> Visit<'a> {
    fn new(run: RunId, groups: &'a TasksByRequest, table: &mut MatchRound<'a>) -> Self {
        let mut groups: Vec<_> =
            groups.iter().map(|(wants, tasks)| (table.walk(wants), tasks.iter())).collect();
        let head = |(group, (_, tasks)): (usize, &mut (usize, btree_set::Iter<'a, u32>))| {
            tasks.next().map(|&task| Reverse((task, group)))
        };
        let heads = groups.iter_mut().enumerate().filter_map(head).collect();
        Self { run, groups, heads }
    }

    /// Places the oldest task for which there is room. Groups without are left out from then on.
    fn next(&mut self, table: &mut MatchRound<'a>) -> Option<(usize, Assignment)> {
        while let Some(mut head) = self.heads.peek_mut() {
            let Reverse((number, group)) = *head;
            let (walk, tasks) = &mut self.groups[group];
            let task = self.run.task(number);
            let Some((offer, ports)) = table.place(*walk, task) else {
                PeekMut::pop(head);
                continue;
            };
            match tasks.next() {
                Some(&next) => *head = Reverse((next, group)),
                None => drop(PeekMut::pop(head)),
            }
            return Some((offer, Assignment { task, ports }));
        }
        None
    }
}

#[cfg(test)]
mod tests;

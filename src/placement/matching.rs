//! `match_offers`: one round that assigns waiting tasks to offers.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, btree_set};
use std::sync::Arc;

use jiff::Timestamp;

use super::offer::{Agent, Offer};
use super::peer_locations::PeerLocations;
use super::queue::{Queue, ServiceOrder, TasksByRequest};
use super::round::MatchRound;
use borges_task::{RunId, TaskId};

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
/// too small for a request once stays so: each request scans the offers once, by whole rows where none of a row has
/// room. (Only where tasks are to be spread evenly does an offer's turn come again.) A round costs tasks placed +
/// requests × offers at most, and ends when nothing that waits could fit any more.
///
/// `peer_locations` says where tasks are that constraints compare with, `now` which maintenance is near.
pub fn match_offers(
    offers: &[Offer],
    pending: &Queue,
    peer_locations: &PeerLocations,
    now: Timestamp,
) -> MatchResult {
    let requested_cpus = pending.requests().map(|(request, _)| request.resources.milli_cpus);
    let mut round = MatchRound::new(offers, requested_cpus, peer_locations, now);
    let mut assignments: Vec<Vec<Assignment>> = vec![Vec::new(); offers.len()];
    let requests = pending.requests().map(|(request, _)| request.resources);
    let smallest = requests.reduce(|a, b| a.elementwise_min(&b)).unwrap_or_default();

    // Flows that were visited come again with their next turn, beside those that were not.
    let mut unvisited = pending.flows().peekable();
    let mut revisits: BinaryHeap<Reverse<(ServiceOrder, usize)>> = BinaryHeap::new();
    let mut cursors: Vec<FlowCursor<'_>> = Vec::new();
    loop {
        let next_revisit = revisits.peek().map(|Reverse((order, _))| *order);
        let (order, cursor) = match (unvisited.peek().map(|(order, _)| *order), next_revisit) {
            (Some(new), next_revisit) if next_revisit.is_none_or(|next_revisit| new < next_revisit) => {
                let Some((order, groups)) = unvisited.next() else { break };
                cursors.push(FlowCursor::new(order.run(), groups, &mut round));
                (order, cursors.len() - 1)
            }
            (_, Some(_)) => {
                let Some(Reverse(next)) = revisits.pop() else { break };
                next
            }
            (_, None) => break,
        };
        if let Some((offer, assignment)) = cursors[cursor].next(&mut round) {
            assignments[offer].push(assignment);
            revisits.push(Reverse((order.next(), cursor)));
        } else if !round.has_room(&smallest) {
            break;
        }
    }

    let mut result = MatchResult::default();
    for (offer, assignments) in offers.iter().zip(assignments) {
        if assignments.is_empty() {
            result.declined.extend(offer.ids.iter().cloned());
        } else {
            let (offers, agent) = (offer.ids.clone(), offer.agent.clone());
            result.placements.push(Placement { offers, agent, assignments });
        }
    }
    result
}

/// A flow during a round: its groups that may still fit, each with the tasks not placed yet.
struct FlowCursor<'a> {
    run: RunId,
    /// The offer cursor of each group, and its tasks except the oldest.
    groups: Vec<(usize, btree_set::Iter<'a, u32>)>,
    /// The oldest task of each group, with the group's index.
    heads: BinaryHeap<Reverse<(u32, usize)>>,
}

impl<'a> FlowCursor<'a> {
    fn new(run: RunId, groups: &'a TasksByRequest, round: &mut MatchRound<'a>) -> Self {
        let mut groups: Vec<_> =
            groups.iter().map(|(request, tasks)| (round.cursor(request), tasks.iter())).collect();
        let head = |(group, (_, tasks)): (usize, &mut (usize, btree_set::Iter<'a, u32>))| {
            tasks.next().map(|&task| Reverse((task, group)))
        };
        let heads = groups.iter_mut().enumerate().filter_map(head).collect();
        Self { run, groups, heads }
    }

    /// Places the oldest task for which there is room. Groups without are left out from then on.
    fn next(&mut self, round: &mut MatchRound<'a>) -> Option<(usize, Assignment)> {
        while let Some(mut head) = self.heads.peek_mut() {
            let Reverse((number, group)) = *head;
            let (offer_cursor, tasks) = &mut self.groups[group];
            let task = self.run.task(number);
            let Some((offer, ports)) = round.place(*offer_cursor, task) else {
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

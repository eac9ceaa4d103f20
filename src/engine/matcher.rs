//! The queue, and rounds of matching, on a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{Actor, Context, Handler, Message, Recipient};
use jiff::Timestamp;

use super::failpoints::{Failpoint, is_enabled};
use super::tell_recipient;
use borges_placement::{self as placement, MatchResult, Offer, PeerLocations, Queue};
use borges_task::{ResourceRequest, TaskId};

/// Holds the tasks that wait for offers.
#[derive(Debug)]
pub(super) struct Matcher {
    queue: Queue,
    /// Where those are that constraints compare others with, as far as it was decided.
    spread: PeerLocations,
    scheduler: Recipient<MatchFinished>,
}

/// These tasks wait for offers.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Enqueue(pub(super) Vec<PendingTask>);

/// What a waiting task asks for.
#[derive(Debug)]
pub(super) struct PendingTask {
    pub(super) task: TaskId,
    pub(super) request: ResourceRequest,
    pub(super) priority: i32,
}

/// This task waits no longer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Dequeue(pub(super) TaskId);

/// This task is out on an agent: constraints compare others with it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct TaskActive {
    pub(super) task: TaskId,
    pub(super) demand: ResourceRequest,
    pub(super) agent: String,
}

/// This task is out no longer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct TaskInactive(pub(super) TaskId);

/// Place what waits on these offers; answered by [`MatchFinished`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct MatchNow {
    pub(super) offers: Vec<Offer>,
    /// The time of day: maintenance is planned by it.
    pub(super) now: Timestamp,
}

/// A round of matching is over. Whoever was placed has left the queue.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct MatchFinished {
    pub(super) matching: MatchResult,
    /// The tasks that will be placed next where the same is asked for, and the agent that served it last: their
    /// launches may be saved ahead.
    pub(super) likely_next: Vec<(TaskId, String)>,
}

/// How many launches are foreseen for each demand that was served.
const LOOKAHEAD: usize = 64;

impl Matcher {
    pub(super) fn new(scheduler: Recipient<MatchFinished>) -> Self {
        Self { queue: Queue::default(), spread: PeerLocations::default(), scheduler }
    }
}

impl Actor for Matcher {
    type Context = Context<Self>;
}

impl Handler<Enqueue> for Matcher {
    type Result = ();

    fn handle(&mut self, Enqueue(tasks): Enqueue, _: &mut Context<Self>) {
        for PendingTask { task, request, priority } in tasks {
            self.spread.remove(task);
            self.queue.push(task, request, priority);
        }
    }
}

impl Handler<Dequeue> for Matcher {
    type Result = ();

    fn handle(&mut self, Dequeue(task): Dequeue, _: &mut Context<Self>) {
        self.queue.remove(task);
        self.spread.remove(task);
    }
}

impl Handler<TaskActive> for Matcher {
    type Result = ();

    fn handle(&mut self, TaskActive { task, demand, agent }: TaskActive, _: &mut Context<Self>) {
        if !is_enabled(Failpoint::SkipPeerTracking) {
            self.spread.insert(task, &demand, &agent);
        }
    }
}

impl Handler<TaskInactive> for Matcher {
    type Result = ();

    fn handle(&mut self, TaskInactive(task): TaskInactive, _: &mut Context<Self>) {
        self.spread.remove(task);
    }
}

impl Handler<MatchNow> for Matcher {
    type Result = ();

    fn handle(&mut self, MatchNow { offers, now }: MatchNow, _: &mut Context<Self>) {
        for offer in &offers {
            self.spread.update_agent(&offer.agent);
        }
        let matching = placement::match_offers(&offers, &self.queue, &self.spread, now);
        let mut served: BTreeMap<Arc<ResourceRequest>, &str> = BTreeMap::new();
        for placement in &matching.placements {
            for seat in &placement.assignments {
                if let Some(wants) = self.queue.request(seat.task) {
                    if !is_enabled(Failpoint::SkipPeerTracking) {
                        self.spread.insert(seat.task, wants, &placement.agent.id);
                    }
                    served.insert(wants.clone(), &placement.agent.id);
                }
            }
        }
        let placed = matching.placements.iter().flat_map(|placement| &placement.assignments);
        self.queue.mark_placed(placed.map(|seat| seat.task));
        let mut likely_next = Vec::new();
        for (wants, agent) in &served {
            likely_next.extend(
                self.queue.with_request(wants).take(LOOKAHEAD).map(|task| (task, (*agent).to_owned())),
            );
        }
        tell_recipient(&self.scheduler, MatchFinished { matching, likely_next });
    }
}

//! The matcher: holds the queue of pending tasks and matches them with offers, on its own thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{Actor, Context, Handler, Message, Recipient};
use jiff::Timestamp;

use super::failpoints::{Failpoint, is_enabled};
use super::tell_recipient;
use borges_placement::{self as placement, MatchResult, Offer, PeerLocations, Queue};
use borges_task::{ResourceRequest, TaskId};

/// The actor that holds the queue.
#[derive(Debug)]
pub(super) struct Matcher {
    queue: Queue,
    /// The agents of placed tasks, for the constraints that compare tasks.
    peer_locations: PeerLocations,
    scheduler: Recipient<MatchFinished>,
}

/// Adds tasks to the queue.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Enqueue(pub(super) Vec<PendingTask>);

/// A task in the queue and its request.
#[derive(Debug)]
pub(super) struct PendingTask {
    pub(super) task: TaskId,
    pub(super) request: ResourceRequest,
    pub(super) priority: i32,
}

/// Removes a task from the queue.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Dequeue(pub(super) TaskId);

/// A task is active on an agent.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct TaskActive {
    pub(super) task: TaskId,
    pub(super) request: ResourceRequest,
    pub(super) agent: String,
}

/// A task is not active any more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct TaskInactive(pub(super) TaskId);

/// Match the queue with offers. Answered by [`MatchFinished`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct MatchNow {
    pub(super) offers: Vec<Offer>,
    /// The time of day, for maintenance windows.
    pub(super) now: Timestamp,
}

/// The result of a round of matching. Placed tasks have left the queue.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct MatchFinished {
    pub(super) result: MatchResult,
    /// The next tasks of each request that was placed, with the agent that it was placed on. The intents of their launches
    /// may be stored in advance.
    pub(super) likely_next: Vec<(TaskId, String)>,
}

/// The number of likely next tasks for each request that was placed.
const LOOKAHEAD: usize = 64;

impl Matcher {
    pub(super) fn new(scheduler: Recipient<MatchFinished>) -> Self {
        Self { queue: Queue::default(), peer_locations: PeerLocations::default(), scheduler }
    }
}

impl Actor for Matcher {
    type Context = Context<Self>;
}

impl Handler<Enqueue> for Matcher {
    type Result = ();

    fn handle(&mut self, Enqueue(tasks): Enqueue, _: &mut Context<Self>) {
        for PendingTask { task, request, priority } in tasks {
            self.peer_locations.remove(task);
            self.queue.push(task, request, priority);
        }
    }
}

impl Handler<Dequeue> for Matcher {
    type Result = ();

    fn handle(&mut self, Dequeue(task): Dequeue, _: &mut Context<Self>) {
        self.queue.remove(task);
        self.peer_locations.remove(task);
    }
}

impl Handler<TaskActive> for Matcher {
    type Result = ();

    fn handle(&mut self, TaskActive { task, request, agent }: TaskActive, _: &mut Context<Self>) {
        if !is_enabled(Failpoint::SkipPeerTracking) {
            self.peer_locations.insert(task, &request, &agent);
        }
    }
}

impl Handler<TaskInactive> for Matcher {
    type Result = ();

    fn handle(&mut self, TaskInactive(task): TaskInactive, _: &mut Context<Self>) {
        self.peer_locations.remove(task);
    }
}

impl Handler<MatchNow> for Matcher {
    type Result = ();

    fn handle(&mut self, MatchNow { offers, now }: MatchNow, _: &mut Context<Self>) {
        for offer in &offers {
            self.peer_locations.update_agent(&offer.agent);
        }
        let result = placement::match_offers(&offers, &self.queue, &self.peer_locations, now);
        let mut served_requests: BTreeMap<Arc<ResourceRequest>, &str> = BTreeMap::new();
        for placement in &result.placements {
            for assignment in &placement.assignments {
                if let Some(request) = self.queue.request(assignment.task) {
                    if !is_enabled(Failpoint::SkipPeerTracking) {
                        self.peer_locations.insert(assignment.task, request, &placement.agent.id);
                    }
                    served_requests.insert(request.clone(), &placement.agent.id);
                }
            }
        }
        let placed = result.placements.iter().flat_map(|placement| &placement.assignments);
        self.queue.mark_placed(placed.map(|assignment| assignment.task));
        let mut likely_next = Vec::new();
        for (request, agent) in &served_requests {
            likely_next.extend(
                self.queue.with_request(request).take(LOOKAHEAD).map(|task| (task, (*agent).to_owned())),
            );
        }
        tell_recipient(&self.scheduler, MatchFinished { result, likely_next });
    }
}

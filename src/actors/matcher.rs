//! The queue, and rounds of matching, on a thread of its own.

use std::collections::HashSet;

use actix::{Actor, Context, Handler, Message, Recipient};

use super::tell_recipient;
use crate::offer::{self, Matching, Offer, Queue};
use crate::task::{Resources, TaskId};

/// Holds the tasks that wait for offers.
#[derive(Debug)]
pub(super) struct Matcher {
    queue: Queue,
    scheduler: Recipient<Matched>,
}

/// These tasks wait for offers.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Enqueue(pub(super) Vec<(TaskId, Resources)>);

/// This task waits no longer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Dequeue(pub(super) TaskId);

/// Place what waits on these offers; answered by [`Matched`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct MatchNow(pub(super) Vec<Offer>);

/// A round of matching is over. Whoever was placed has left the queue.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Matched {
    pub(super) matching: Matching,
    /// The tasks that will be placed next where the same is asked for: their launches may be saved ahead.
    pub(super) ahead: Vec<TaskId>,
}

/// How many launches are foreseen for each demand that was served.
const AHEAD: usize = 64;

impl Matcher {
    pub(super) fn new(scheduler: Recipient<Matched>) -> Self {
        Self { queue: Queue::default(), scheduler }
    }
}

impl Actor for Matcher {
    type Context = Context<Self>;
}

impl Handler<Enqueue> for Matcher {
    type Result = ();

    fn handle(&mut self, Enqueue(tasks): Enqueue, _: &mut Context<Self>) {
        for (task, wants) in tasks {
            self.queue.push(task, wants);
        }
    }
}

impl Handler<Dequeue> for Matcher {
    type Result = ();

    fn handle(&mut self, Dequeue(task): Dequeue, _: &mut Context<Self>) {
        self.queue.remove(task);
    }
}

impl Handler<MatchNow> for Matcher {
    type Result = ();

    fn handle(&mut self, MatchNow(offers): MatchNow, _: &mut Context<Self>) {
        let matching = offer::match_offers(&offers, &self.queue);
        let placed = || matching.placements.iter().flat_map(|placement| &placement.tasks);
        let served: HashSet<Resources> =
            placed().filter_map(|&task| self.queue.demand(task).copied()).collect();
        for &task in placed() {
            self.queue.remove(task);
        }
        let ahead = served.iter().flat_map(|wants| self.queue.asking_for(wants).take(AHEAD)).collect();
        tell_recipient(&self.scheduler, Matched { matching, ahead });
    }
}

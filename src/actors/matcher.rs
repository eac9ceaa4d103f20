//! The queue, and rounds of matching, on a thread of its own.

use std::collections::BTreeMap;

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
pub(super) struct Enqueue(pub(super) Vec<Asked>);

/// What a waiting task asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) task: TaskId,
    pub(super) wants: Resources,
    pub(super) priority: i32,
}

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
    /// The tasks that will be placed next where the same is asked for, and the agent that served it last: their
    /// launches may be saved ahead.
    pub(super) ahead: Vec<(TaskId, String)>,
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
        for Asked { task, wants, priority } in tasks {
            self.queue.push(task, wants, priority);
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
        let mut served: BTreeMap<Resources, &str> = BTreeMap::new();
        for placement in &matching.placements {
            for &task in &placement.tasks {
                if let Some(&wants) = self.queue.demand(task) {
                    served.insert(wants, &placement.agent);
                }
            }
        }
        self.queue.placed(matching.placements.iter().flat_map(|placement| placement.tasks.iter().copied()));
        let mut ahead = Vec::new();
        for (wants, agent) in served {
            ahead.extend(self.queue.asking_for(&wants).take(AHEAD).map(|task| (task, agent.to_owned())));
        }
        tell_recipient(&self.scheduler, Matched { matching, ahead });
    }
}

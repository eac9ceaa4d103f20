//! What one client of `/ws` is told: entries, output, and what is missing, as websocket frames.

use std::time::Duration;
use std::vec::IntoIter;

use actix_http::ws::{OpCode, Parser};
use actix_ws::{CloseCode, CloseReason};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::output_tail::{OutputTailer, Tail};
use borges_clock::Clock;
use borges_engine::{BatchTail, Delivery, Engine, EngineError, EventSubscriber, PersistError};
use borges_store::LoggedEvent;
use borges_task::{RunId, TaskId};

/// What a client wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventFilter {
    /// Everything.
    All,
    /// One run.
    Run(RunId),
    /// One task, and the end of its run.
    Task(TaskId),
}

impl EventFilter {
    fn has(self, entry: &LoggedEvent) -> bool {
        match (self, entry) {
            (Self::All, _) => true,
            (Self::Run(run), entry) => entry.run() == run,
            (Self::Task(task), LoggedEvent::Task(frame)) => frame.task == task,
            (Self::Task(task), LoggedEvent::Run(ended)) => ended.run == task.run,
        }
    }

    /// The run it is limited to.
    pub(super) fn run(self) -> Option<RunId> {
        match self {
            Self::All => None,
            Self::Run(run) => Some(run),
            Self::Task(task) => Some(task.run),
        }
    }

    pub(super) fn has_task(self, task: TaskId) -> bool {
        match self {
            Self::All => true,
            Self::Run(run) => task.run == run,
            Self::Task(wanted) => task == wanted,
        }
    }
}

/// How late a client that had kept up may be before it is told to come again.
const MAX_LAG: Duration = Duration::from_secs(10);
/// How often running blocks are looked at for more output.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Tells one client.
pub(super) struct EventStream {
    follower: EventSubscriber,
    clock: Clock,
    topic: EventFilter,
    tails: Option<OutputTailer>,
    ticks: Interval,
    /// It has heard what was new at the time: from then on it has to keep up.
    has_caught_up: bool,
    /// Entries still to be passed on.
    rest: IntoIter<LoggedEvent>,
    /// An entry that tells the end of a launch, and what is to be said of that before.
    ending: Option<(Tail, LoggedEvent)>,
}

/// What is next for the client.
enum Step {
    Send(Bytes),
    /// Nothing of this concerns it.
    Nothing,
    Close(CloseReason),
}

impl EventStream {
    pub(super) fn new(
        engine: Engine,
        clock: Clock,
        since: Option<u64>,
        topic: EventFilter,
        output: bool,
    ) -> Self {
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            follower: engine.subscribe(since),
            clock,
            topic,
            tails: output.then(|| OutputTailer::new(engine, topic)),
            ticks,
            has_caught_up: since.is_none(),
            rest: Vec::new().into_iter(),
            ending: None,
        }
    }

    /// The frames, one or several together; why they end is said to `over`.
    pub(super) fn into_stream(self, over: oneshot::Sender<CloseReason>) -> impl Stream<Item = Bytes> {
        unfold((self, over), |(mut telling, over)| async move {
            loop {
                match telling.next().await {
                    Step::Send(bytes) => return Some((bytes, (telling, over))),
                    Step::Nothing => {}
                    Step::Close(reason) => {
                        let _gone = over.send(reason);
                        return None;
                    }
                }
            }
        })
    }

    async fn next(&mut self) -> Step {
        match self.step().await {
            Ok(step) => step,
            Err(error) => {
                Step::Close(CloseReason { code: CloseCode::Error, description: Some(error.to_string()) })
            }
        }
    }

    async fn step(&mut self) -> Result<Step, StreamError> {
        if self.rest.len() > 0 || self.ending.is_some() {
            return self.go_on().await;
        }
        let next = match &mut self.tails {
            None => self.follower.next().await?,
            Some(tails) => tokio::select! {
                biased;
                next = self.follower.next() => next?,
                _ = self.ticks.tick() => {
                    // There is nothing new: it has caught up.
                    self.has_caught_up = true;
                    let mut frames = BytesMut::new();
                    if tails.poll(&mut frames).await? {
                        self.ticks.reset_immediately();
                    }
                    return Ok(say(frames));
                }
            },
        };
        Ok(match next {
            Some(Delivery::Events(excerpt)) => return self.pass_on(&excerpt).await,
            Some(Delivery::Gap { from, to }) => gap(from, to, "what happened between is not kept any more"),
            Some(Delivery::SequenceInFuture { after, last }) => {
                let why = format!("nothing has had a number above {last} here: this is another store");
                gap(last + 1, after, &why)
            }
            None => Step::Close(CloseReason {
                code: CloseCode::Away,
                description: Some("the server is going away".to_owned()),
            }),
        })
    }

    async fn pass_on(&mut self, excerpt: &BatchTail) -> Result<Step, StreamError> {
        if let Some(reason) = self.too_late(excerpt) {
            return Ok(Step::Close(reason));
        }
        self.has_caught_up |= !excerpt.from_store;
        if self.topic == EventFilter::All && self.tails.is_none() {
            return Ok(Step::Send(excerpt.encoded(write_text_frame)));
        }
        let ours = excerpt.events().iter().filter(|entry| self.topic.has(entry));
        self.rest = ours.cloned().collect::<Vec<_>>().into_iter();
        self.go_on().await
    }

    /// Goes on with entries that it has: up to one that has to wait for the rest of a launch's output.
    async fn go_on(&mut self) -> Result<Step, StreamError> {
        let mut frames = BytesMut::new();
        if let Some((tail, entry)) = &mut self.ending {
            if let Some(tails) = &self.tails
                && tails.drain(tail, &mut frames).await?
            {
                return Ok(say(frames));
            }
            write_text_frame(entry, &mut frames);
            self.ending = None;
        }
        for entry in self.rest.by_ref() {
            if let (Some(tails), LoggedEvent::Task(change)) = (&mut self.tails, &entry)
                && let Some(tail) = tails.changed(change)
            {
                self.ending = Some((tail, entry));
                break;
            }
            write_text_frame(&entry, &mut frames);
        }
        Ok(say(frames))
    }

    /// Why a client that kept up, and no longer does, has to come again.
    fn too_late(&self, excerpt: &BatchTail) -> Option<CloseReason> {
        let entry = excerpt.events().first()?;
        let late = self.clock.now().duration_since(entry.time());
        let is_late = Duration::try_from(late).is_ok_and(|late| late > MAX_LAG);
        (self.has_caught_up && excerpt.from_store && is_late).then(|| CloseReason {
            code: CloseCode::Again,
            description: Some(format!(
                "you are {:.0} s behind: come again with ?since={}",
                late.as_secs_f64(),
                entry.seq() - 1
            )),
        })
    }
}

fn say(frames: BytesMut) -> Step {
    if frames.is_empty() { Step::Nothing } else { Step::Send(frames.freeze()) }
}

fn gap(from: u64, to: u64, reason: &str) -> Step {
    let mut frames = BytesMut::new();
    write_text_frame(&json!({ "gap": true, "from": from, "to": to, "reason": reason }), &mut frames);
    say(frames)
}

/// Why nothing more can be told.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Past(#[from] PersistError),
    #[error(transparent)]
    Output(#[from] EngineError),
}

/// `value` as a text frame of JSON.
pub(super) fn write_text_frame(value: &impl Serialize, frames: &mut BytesMut) {
    // Plain values of our own have a form in JSON; if one had none, the client would see an empty frame.
    let text = serde_json::to_vec(value).unwrap_or_default();
    Parser::write_message(frames, text, OpCode::Text, true, false);
}

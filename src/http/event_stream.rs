//! The stream of websocket frames for one client of `/ws`: events, output of running blocks, and gaps.
//!
//! All output of a launch is sent before the event that reports its end. A client that falls behind is disconnected
//! with the sequence number from which to continue.

use std::time::Duration;
use std::vec::IntoIter;

use actix_ws::{CloseCode, CloseReason};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::output_tail::{OutputTailer, Tail};
use super::ws_frames::{EventFilter, write_text_frame};
use borges_clock::Clock;
use borges_engine::{BatchTail, Delivery, Engine, EngineError, EventSubscriber, PersistError};
use borges_store::LoggedEvent;

/// The longest lag of a client that had caught up, before it is disconnected.
const MAX_LAG: Duration = Duration::from_secs(10);
/// The interval between two reads of the output of running blocks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The source of the frames for one client.
pub(super) struct EventStream {
    subscriber: EventSubscriber,
    clock: Clock,
    filter: EventFilter,
    tailer: Option<OutputTailer>,
    poll_timer: Interval,
    /// Whether the client has received all events once. From then on its lag is limited by [`MAX_LAG`].
    has_caught_up: bool,
    /// Events still to be sent.
    pending: IntoIter<LoggedEvent>,
    /// An event that reports the end of a launch, and the output of the launch that is sent before it.
    launch_end: Option<(Tail, LoggedEvent)>,
}

/// The next action for the client.
enum Step {
    Send(Bytes),
    /// No frame matches the filter.
    Nothing,
    Close(CloseReason),
}

impl EventStream {
    pub(super) fn new(
        engine: Engine,
        clock: Clock,
        since: Option<u64>,
        filter: EventFilter,
        output: bool,
    ) -> Self {
        let mut poll_timer = interval(POLL_INTERVAL);
        poll_timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            subscriber: engine.subscribe(since),
            clock,
            filter,
            tailer: output.then(|| OutputTailer::new(engine, filter)),
            poll_timer,
            has_caught_up: since.is_none(),
            pending: Vec::new().into_iter(),
            launch_end: None,
        }
    }

    /// The frames, one or several per item. The reason of the end is sent to `close_sender`.
    pub(super) fn into_stream(self, close_sender: oneshot::Sender<CloseReason>) -> impl Stream<Item = Bytes> {
        unfold((self, close_sender), |(mut stream, close_sender)| async move {
            loop {
                match stream.next().await {
                    Step::Send(bytes) => return Some((bytes, (stream, close_sender))),
                    Step::Nothing => {}
                    Step::Close(reason) => {
                        let _closed = close_sender.send(reason);
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
        if self.pending.len() > 0 || self.launch_end.is_some() {
            return self.send_pending().await;
        }
        let next = match &mut self.tailer {
            None => self.subscriber.next().await?,
            Some(tailer) => tokio::select! {
                biased;
                next = self.subscriber.next() => next?,
                _ = self.poll_timer.tick() => {
                    // There is no new event, so the client has caught up.
                    self.has_caught_up = true;
                    let mut frames = BytesMut::new();
                    if tailer.poll(&mut frames).await? {
                        self.poll_timer.reset_immediately();
                    }
                    return Ok(frames_step(frames));
                }
            },
        };
        Ok(match next {
            Some(Delivery::Events(batch)) => return self.send_batch(&batch).await,
            Some(Delivery::Gap { from, to }) => {
                gap_step(from, to, "what happened between is not kept any more")
            }
            Some(Delivery::SequenceInFuture { after, last }) => {
                let reason = format!("nothing has had a number above {last} here: this is another store");
                gap_step(last + 1, after, &reason)
            }
            None => Step::Close(CloseReason {
                code: CloseCode::Away,
                description: Some("the server is going away".to_owned()),
            }),
        })
    }

    async fn send_batch(&mut self, batch: &BatchTail) -> Result<Step, StreamError> {
        if let Some(reason) = self.lag_close_reason(batch) {
            return Ok(Step::Close(reason));
        }
        self.has_caught_up |= !batch.from_store;
        if self.filter == EventFilter::All && self.tailer.is_none() {
            return Ok(Step::Send(batch.encoded(write_text_frame)));
        }
        let matching = batch.events().iter().filter(|event| self.filter.matches(event));
        self.pending = matching.cloned().collect::<Vec<_>>().into_iter();
        self.send_pending().await
    }

    /// Sends pending events, up to one that must wait for the remaining output of a launch.
    async fn send_pending(&mut self) -> Result<Step, StreamError> {
        let mut frames = BytesMut::new();
        if let Some((tail, event)) = &mut self.launch_end {
            if let Some(tailer) = &self.tailer
                && tailer.drain(tail, &mut frames).await?
            {
                return Ok(frames_step(frames));
            }
            write_text_frame(event, &mut frames);
            self.launch_end = None;
        }
        for event in self.pending.by_ref() {
            if let (Some(tailer), LoggedEvent::Task(task_event)) = (&mut self.tailer, &event)
                && let Some(tail) = tailer.observe(task_event)
            {
                self.launch_end = Some((tail, event));
                break;
            }
            write_text_frame(&event, &mut frames);
        }
        Ok(frames_step(frames))
    }

    /// The reason to disconnect a client that had caught up and fell behind; `None` if it is not too late.
    fn lag_close_reason(&self, batch: &BatchTail) -> Option<CloseReason> {
        let event = batch.events().first()?;
        let lag = self.clock.now().duration_since(event.time());
        let is_behind = Duration::try_from(lag).is_ok_and(|lag| lag > MAX_LAG);
        (self.has_caught_up && batch.from_store && is_behind).then(|| CloseReason {
            code: CloseCode::Again,
            description: Some(format!(
                "you are {:.0} s behind: come again with ?since={}",
                lag.as_secs_f64(),
                event.seq() - 1
            )),
        })
    }
}

fn frames_step(frames: BytesMut) -> Step {
    if frames.is_empty() { Step::Nothing } else { Step::Send(frames.freeze()) }
}

fn gap_step(from: u64, to: u64, reason: &str) -> Step {
    let mut frames = BytesMut::new();
    write_text_frame(&json!({ "gap": true, "from": from, "to": to, "reason": reason }), &mut frames);
    frames_step(frames)
}

/// Why the stream cannot continue.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Events(#[from] PersistError),
    #[error(transparent)]
    Output(#[from] EngineError),
}

//! Hears of a run at a server, as it happens: the websocket, and, where it begins or was cut, how things stand.

use std::collections::HashMap;
use std::time::Duration;

use awc::ws;
use futures_util::stream::poll_fn;
use futures_util::{SinkExt, Stream, StreamExt};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::timeout;

use super::api_client::{ApiClient, ApiError, RunStatus};
use super::backend::with_retries;
use borges_api::TaskSummary;
use borges_engine::FatalError;
use borges_store::{LoggedEvent, RunEnded, TaskEvent};
use borges_task::{RunId, RunState, State, TaskId};

/// How long a server that pings may be silent.
const SILENCE: Duration = Duration::from_secs(20);

/// What is heard of `run` from now on, and what ends the hearing for good.
///
/// Nothing of it is heard twice, and of no task is the last state missed, also where the websocket breaks.
pub(super) fn follow(
    server: &ApiClient,
    run: RunId,
) -> (impl Stream<Item = LoggedEvent> + Unpin + use<>, UnboundedReceiver<FatalError>) {
    let (to, mut entries) = mpsc::unbounded_channel();
    let (broken, breaks) = mpsc::unbounded_channel();
    let server = server.clone();
    actix::spawn(async move {
        let mut ear = EventFollower { run, known: HashMap::new(), to };
        loop {
            match ear.listen(&server).await {
                // The end was passed on: that nothing breaks any more is no break.
                Ok(true) => return broken.closed().await,
                Ok(false) => {}
                Err(failure) => {
                    let _nobody = broken.send(FatalError { reason: failure.to_string() });
                    return;
                }
            }
        }
    });
    (poll_fn(move |context| entries.poll_recv(context)), breaks)
}

/// What was passed on so far.
struct EventFollower {
    run: RunId,
    known: HashMap<u32, (u32, State)>,
    to: UnboundedSender<LoggedEvent>,
}

/// What the websocket says: a change of a task, or the end of the run.
#[derive(Debug, Deserialize)]
struct EventFrame {
    #[serde(default)]
    seq: u64,
    time: Timestamp,
    run: RunId,
    task: Option<String>,
    state: String,
    #[serde(default)]
    block: String,
    #[serde(default)]
    line: u32,
    #[serde(default)]
    index: u32,
    #[serde(default)]
    attempt: u32,
    reason: Option<String>,
    message: Option<String>,
    agent: Option<String>,
    exit_code: Option<i32>,
}

impl EventFollower {
    /// Listens as long as the websocket is open; `true` when the run has ended.
    async fn listen(&mut self, server: &ApiClient) -> Result<bool, ApiError> {
        let open = || async {
            server.websocket(self.run).connect().await.map_err(|error| server.upgrade_error(&error))
        };
        let (_, mut socket) = with_retries(open).await?;
        // Asked once the socket is open: what happens between the two is told twice rather than not at all.
        let RunStatus { run, .. } = with_retries(|| server.run(self.run)).await?;
        for task in with_retries(|| server.tasks(Some(self.run))).await? {
            self.pass_on(EventFrame::of(&task));
        }
        if run.state != RunState::Running {
            self.ended(run.state, run.accepted);
            return Ok(true);
        }
        while let Ok(Some(Ok(frame))) = timeout(SILENCE, socket.next()).await {
            match frame {
                ws::Frame::Text(text) => {
                    let Ok(told) = serde_json::from_slice::<EventFrame>(&text) else {
                        // A frame of another kind, of a later server.
                        continue;
                    };
                    if told.run != self.run {
                        continue;
                    }
                    match (&told.task, run_state(&told.state)) {
                        (None, Some(state)) => {
                            self.ended(state, told.time);
                            return Ok(true);
                        }
                        _ => self.pass_on(told),
                    }
                }
                ws::Frame::Ping(bytes) => {
                    if socket.send(ws::Message::Pong(bytes)).await.is_err() {
                        break;
                    }
                }
                ws::Frame::Close(_) => break,
                ws::Frame::Pong(_) | ws::Frame::Binary(_) | ws::Frame::Continuation(_) => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        Ok(false)
    }

    fn pass_on(&mut self, told: EventFrame) {
        let Some(frame) = told.frame() else { return };
        let now = (frame.attempt, frame.state);
        if is_news(self.known.get(&frame.task.number).copied(), now) {
            self.known.insert(frame.task.number, now);
            let _nobody = self.to.send(LoggedEvent::Task(frame));
        }
    }

    fn ended(&mut self, state: RunState, time: Timestamp) {
        let _nobody = self.to.send(LoggedEvent::Run(RunEnded { seq: 0, time, run: self.run, state }));
    }
}

/// Whether a launch's number and a state say more than what is known.
///
/// What was told before the socket was opened may come again, and older than what is known.
fn is_news(known: Option<(u32, State)>, now: (u32, State)) -> bool {
    let Some((attempt, state)) = known else { return true };
    if state.is_terminal() || now.0 < attempt {
        return false;
    }
    // Within a launch it is launching once, and nothing that comes before it follows.
    let before = |state| matches!(state, State::Held | State::Blocked | State::Launching);
    now.0 > attempt || now.1 != state && (before(state) || !before(now.1))
}

fn run_state(name: &str) -> Option<RunState> {
    [RunState::Running, RunState::Finished, RunState::Failed, RunState::Killed]
        .into_iter()
        .find(|state| state.to_string() == name)
}

impl EventFrame {
    /// How a task stands, as if it had been told just now.
    fn of(task: &TaskSummary) -> Self {
        let TaskSummary {
            task: id,
            run,
            block,
            line,
            index,
            state,
            attempt,
            agent,
            exit_code,
            message,
            reason,
            seconds: _,
        } = task.clone();
        Self {
            seq: 0,
            time: Timestamp::UNIX_EPOCH,
            run,
            task: Some(id),
            state: state.to_string(),
            block,
            line,
            index,
            attempt,
            reason,
            message,
            agent,
            exit_code,
        }
    }

    fn frame(self) -> Option<TaskEvent> {
        let Self {
            seq,
            time,
            run,
            task,
            state,
            block,
            line,
            index,
            attempt,
            reason,
            message,
            agent,
            exit_code,
        } = self;
        let task: TaskId = task?.parse().ok()?;
        let state = *State::ALL.iter().find(|known| known.to_string() == state)?;
        let block = block.into();
        Some(TaskEvent {
            seq,
            time,
            run,
            task,
            block,
            line,
            index,
            attempt,
            state,
            reason,
            message,
            agent,
            exit_code,
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::first(None, (0, State::Queued), true)]
    #[case::next(Some((0, State::Queued)), (1, State::Launching), true)]
    #[case::next_again(Some((1, State::Launching)), (1, State::Running), true)]
    #[case::twice(Some((1, State::Running)), (1, State::Running), false)]
    #[case::older(Some((1, State::Running)), (1, State::Launching), false)]
    #[case::of_an_older_launch(Some((2, State::Launching)), (1, State::Failed), false)]
    #[case::of_a_newer_launch(Some((1, State::Delayed)), (2, State::Launching), true)]
    #[case::lost_and_queued_again(Some((1, State::Running)), (1, State::Queued), true)]
    #[case::unreachable(Some((1, State::Running)), (1, State::Unreachable), true)]
    #[case::reachable_again(Some((1, State::Unreachable)), (1, State::Running), true)]
    #[case::freed(Some((0, State::Blocked)), (0, State::Queued), true)]
    #[case::after_the_end(Some((1, State::Finished)), (1, State::Running), false)]
    fn news(#[case] known: Option<(u32, State)>, #[case] now: (u32, State), #[case] wanted: bool) {
        assert_eq!(is_news(known, now), wanted);
    }
}

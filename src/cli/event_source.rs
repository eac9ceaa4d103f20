//! The events of a run at a server: follows its WebSocket, and after each (re)connection reads the current state of
//! the tasks, so that no change is missed.

use std::collections::HashMap;
use std::time::Duration;

use awc::ws;
use futures_util::stream::poll_fn;
use futures_util::{SinkExt, Stream, StreamExt};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::timeout;

use super::api_client::{ApiClient, RunStatus};
use super::api_response::ApiError;
use super::backend::with_retries;
use borges_api::TaskSummary;
use borges_engine::FatalError;
use borges_store::{LoggedEvent, RunEnded, TaskEvent};
use borges_task::{RunId, RunState, State, TaskId};

/// The maximum time between two frames; the server sends pings more often.
const FRAME_TIMEOUT: Duration = Duration::from_secs(20);

/// The events of `run` from now on, and the error after which no more events follow.
///
/// No event is delivered twice, and the last state of each task is always delivered, also if the WebSocket breaks.
pub(super) fn follow(
    server: &ApiClient,
    run: RunId,
) -> (impl Stream<Item = LoggedEvent> + Unpin + use<>, UnboundedReceiver<FatalError>) {
    let (sender, mut events) = mpsc::unbounded_channel();
    let (error_sender, fatal_errors) = mpsc::unbounded_channel();
    let server = server.clone();
    actix::spawn(async move {
        let mut follower = EventFollower { run, latest: HashMap::new(), sender };
        loop {
            match follower.follow_connection(&server).await {
                // The run has ended. Dropping `error_sender` now would look like a fatal error.
                Ok(true) => return error_sender.closed().await,
                Ok(false) => {}
                Err(error) => {
                    let _no_receiver = error_sender.send(FatalError { reason: error.to_string() });
                    return;
                }
            }
        }
    });
    (poll_fn(move |context| events.poll_recv(context)), fatal_errors)
}

/// Delivers the events of one run, without duplicates.
struct EventFollower {
    run: RunId,
    /// The attempt and state that were delivered last for each task.
    latest: HashMap<u32, (u32, State)>,
    sender: UnboundedSender<LoggedEvent>,
}

/// A WebSocket frame: a change of a task, or the end of the run (without `task`).
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
    /// Follows one WebSocket connection until it closes. `true` if the run has ended.
    async fn follow_connection(&mut self, server: &ApiClient) -> Result<bool, ApiError> {
        let connect = || async {
            server.websocket(self.run).connect().await.map_err(|error| server.websocket_error(&error))
        };
        let (_, mut socket) = with_retries(connect).await?;
        // The state is read after the socket is open, so that a change in between arrives twice rather than never.
        let RunStatus { run, .. } = with_retries(|| server.run(self.run)).await?;
        for task in with_retries(|| server.tasks(Some(self.run))).await? {
            self.deliver(EventFrame::from_summary(&task));
        }
        if run.state != RunState::Running {
            self.deliver_run_end(run.state, run.accepted);
            return Ok(true);
        }
        while let Ok(Some(Ok(frame))) = timeout(FRAME_TIMEOUT, socket.next()).await {
            match frame {
                ws::Frame::Text(text) => {
                    let Ok(event) = serde_json::from_slice::<EventFrame>(&text) else {
                        // An unknown frame, of a newer server.
                        continue;
                    };
                    if event.run != self.run {
                        continue;
                    }
                    match (&event.task, run_state(&event.state)) {
                        (None, Some(state)) => {
                            self.deliver_run_end(state, event.time);
                            return Ok(true);
                        }
                        _ => self.deliver(event),
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

    /// Delivers a change of a task, unless it is older than the last one that was delivered.
    fn deliver(&mut self, frame: EventFrame) {
        let Some(event) = frame.into_task_event() else { return };
        let state = (event.attempt, event.state);
        if is_newer(self.latest.get(&event.task.number).copied(), state) {
            self.latest.insert(event.task.number, state);
            let _no_receiver = self.sender.send(LoggedEvent::Task(event));
        }
    }

    fn deliver_run_end(&mut self, state: RunState, time: Timestamp) {
        let _no_receiver =
            self.sender.send(LoggedEvent::Run(RunEnded { seq: 0, time, run: self.run, state }));
    }
}

/// Whether an attempt and a state are newer than the last ones that were delivered.
///
/// The socket may repeat events that are older than the state that was read at its start.
fn is_newer(last: Option<(u32, State)>, next: (u32, State)) -> bool {
    let Some((attempt, state)) = last else { return true };
    if state.is_terminal() || next.0 < attempt {
        return false;
    }
    // Within one attempt a task is launching only once, and no earlier state follows.
    let is_early = |state| matches!(state, State::Held | State::Blocked | State::Launching);
    next.0 > attempt || next.1 != state && (is_early(state) || !is_early(next.1))
}

fn run_state(name: &str) -> Option<RunState> {
    [RunState::Running, RunState::Finished, RunState::Failed, RunState::Killed]
        .into_iter()
        .find(|state| state.to_string() == name)
}

impl EventFrame {
    /// The frame of a task's current state. Its time is unknown (`UNIX_EPOCH`).
    fn from_summary(task: &TaskSummary) -> Self {
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

    /// The event of a task; `None` if the frame names no task or an unknown state.
    fn into_task_event(self) -> Option<TaskEvent> {
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
        let state = *State::ALL.iter().find(|candidate| candidate.to_string() == state)?;
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
    #[case::launching(Some((0, State::Queued)), (1, State::Launching), true)]
    #[case::running(Some((1, State::Launching)), (1, State::Running), true)]
    #[case::repeated(Some((1, State::Running)), (1, State::Running), false)]
    #[case::older(Some((1, State::Running)), (1, State::Launching), false)]
    #[case::older_launch(Some((2, State::Launching)), (1, State::Failed), false)]
    #[case::newer_launch(Some((1, State::Delayed)), (2, State::Launching), true)]
    #[case::lost_and_queued_again(Some((1, State::Running)), (1, State::Queued), true)]
    #[case::unreachable(Some((1, State::Running)), (1, State::Unreachable), true)]
    #[case::reachable_again(Some((1, State::Unreachable)), (1, State::Running), true)]
    #[case::unblocked(Some((0, State::Blocked)), (0, State::Queued), true)]
    #[case::after_the_end(Some((1, State::Finished)), (1, State::Running), false)]
    fn only_newer_states_are_delivered(
        #[case] last: Option<(u32, State)>,
        #[case] next: (u32, State),
        #[case] expected: bool,
    ) {
        assert_eq!(is_newer(last, next), expected);
    }
}

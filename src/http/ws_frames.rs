//! The frames of `/ws`, and the filter that selects the events of a client.

use actix_http::ws::{OpCode, Parser};
use bytes::BytesMut;
use serde::Serialize;

use borges_store::LoggedEvent;
use borges_task::{RunId, TaskId};

/// The events that a client subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventFilter {
    /// All events.
    All,
    /// The events of one run.
    Run(RunId),
    /// The events of one task, and the end of its run.
    Task(TaskId),
}

impl EventFilter {
    /// Whether an event is sent.
    pub(super) fn matches(self, event: &LoggedEvent) -> bool {
        match (self, event) {
            (Self::All, _) => true,
            (Self::Run(run), event) => event.run() == run,
            (Self::Task(task), LoggedEvent::Task(task_event)) => task_event.task == task,
            (Self::Task(task), LoggedEvent::Run(ended)) => ended.run == task.run,
        }
    }

    /// The run that the filter is limited to. `None` for all runs.
    pub(super) fn run(self) -> Option<RunId> {
        match self {
            Self::All => None,
            Self::Run(run) => Some(run),
            Self::Task(task) => Some(task.run),
        }
    }

    /// Whether the output of a task is sent.
    pub(super) fn matches_task(self, task: TaskId) -> bool {
        match self {
            Self::All => true,
            Self::Run(run) => task.run == run,
            Self::Task(filter_task) => task == filter_task,
        }
    }
}

/// A frame with output of a launch.
#[derive(Debug, Serialize)]
pub(super) struct OutputFrame<'a> {
    pub(super) task: String,
    pub(super) attempt: u32,
    pub(super) stream: &'static str,
    /// The offset of `text` in the stream, bytes.
    pub(super) offset: u64,
    pub(super) text: &'a str,
}

/// A frame that reports output of a service that is no longer stored.
#[derive(Debug, Serialize)]
pub(super) struct TruncatedFrame {
    pub(super) task: String,
    pub(super) attempt: u32,
    pub(super) stream: &'static str,
    /// The offset of the missing output in the stream, bytes.
    pub(super) offset: u64,
    /// The length of the missing output, bytes.
    #[serde(rename = "gone")]
    pub(super) truncated: u64,
}

/// Appends `value` as a websocket text frame of JSON.
pub(super) fn write_text_frame(value: &impl Serialize, frames: &mut BytesMut) {
    // The frame types always serialize. If one did not, the client would see an empty frame.
    let text = serde_json::to_vec(value).unwrap_or_default();
    Parser::write_message(frames, text, OpCode::Text, true, false);
}

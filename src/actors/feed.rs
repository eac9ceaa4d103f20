//! Who follows a run hears of it: every change of state, in order, and its end.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::mpsc::UnboundedSender;
use utoipa::ToSchema;

use crate::task::{RunId, State, TaskId};

/// Passes on what happens. Entries of one task come in the order in which they happened; a run's end comes
/// after the last of its tasks'.
#[derive(Debug, Default)]
pub(super) struct Feed {
    next: u64,
    followers: Vec<(Option<RunId>, UnboundedSender<Entry>)>,
}

/// Something that happened, numbered.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Entry {
    /// A task is in a new state.
    Task(Frame),
    /// A run has ended.
    Run(RunEnded),
}

/// A change of a task's state.
#[derive(Debug, Clone, PartialEq, Serialize, Message)]
#[rtype(result = "()")]
pub struct Frame {
    /// Counts what this feed has passed on, from 1.
    pub seq: u64,
    /// When it happened.
    pub time: Timestamp,
    /// The run.
    pub run: RunId,
    /// The task; `RUN.N` as JSON.
    #[serde(serialize_with = "text")]
    pub task: TaskId,
    /// The block's name, or `line-14`.
    pub block: Arc<str>,
    /// The block's line.
    pub line: u32,
    /// Which instance of the block.
    pub index: u32,
    /// The number of its last launch; 0 before the first.
    pub attempt: u32,
    /// Where it stands now.
    pub state: State,
    /// Why, in the document's words.
    pub reason: Option<String>,
    /// What the cluster said, in its words.
    pub message: Option<String>,
    /// The agent of its last launch.
    pub agent: Option<String>,
    /// Of its last launch that ended.
    pub exit_code: Option<i32>,
}

fn text<S: Serializer>(id: &TaskId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(id)
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Some task is not in a final state.
    Running,
    /// Every task finished or was skipped, and none failed.
    Finished,
    /// Some task failed, or was killed for itself.
    Failed,
    /// The run was killed as a whole.
    Killed,
}

impl RunState {
    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Killed => "killed",
        }
    }
}

/// A run has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Message)]
#[rtype(result = "()")]
pub struct RunEnded {
    /// Counts what this feed has passed on, from 1.
    pub seq: u64,
    /// When it ended.
    pub time: Timestamp,
    /// The run.
    pub run: RunId,
    /// How.
    pub state: RunState,
}

/// Tell me of this run, or of all.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Follow {
    /// `None` for all.
    pub(super) run: Option<RunId>,
    /// Where to.
    pub(super) to: UnboundedSender<Entry>,
}

impl Feed {
    fn publish(&mut self, run: RunId, entry: impl FnOnce(u64) -> Entry) {
        self.next += 1;
        let entry = entry(self.next);
        self.followers.retain(|(wanted, follower)| {
            if wanted.is_some_and(|wanted| wanted != run) {
                return !follower.is_closed();
            }
            follower.send(entry.clone()).is_ok()
        });
    }
}

impl Actor for Feed {
    type Context = Context<Self>;
}

impl Handler<Frame> for Feed {
    type Result = ();

    fn handle(&mut self, frame: Frame, _: &mut Context<Self>) {
        self.publish(frame.run, |seq| Entry::Task(Frame { seq, ..frame }));
    }
}

impl Handler<RunEnded> for Feed {
    type Result = ();

    fn handle(&mut self, ended: RunEnded, _: &mut Context<Self>) {
        self.publish(ended.run, |seq| Entry::Run(RunEnded { seq, ..ended }));
    }
}

impl Handler<Follow> for Feed {
    type Result = ();

    fn handle(&mut self, Follow { run, to }: Follow, _: &mut Context<Self>) {
        self.followers.push((run, to));
    }
}

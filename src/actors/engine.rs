//! Starts the actors, and is the way to them.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, Addr, Arbiter, AsyncContext, MailboxError, SyncArbiter};
use bytes::Bytes;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::connection::{Broken, Connection, Ears};
use super::counters::{Counters, Reads};
use super::feed::{Feed, Follower};
use super::keeper::{Keeper, Unsaved};
use super::matcher::Matcher;
use super::parser::{ParseDocument, Parsed, Parser};
use super::scheduler::{
    Accepted, AddUp, Directory, GatherYield, KillRun, KillTask, Leave, ListFiles, ListRunning, ListRuns,
    ListTasks, ListWaiting, Piece, ReadOutput, ReadParcel, RunShown, Scheduler, ShowRun, ShowTask,
    Submission, SubmitDocument, TaskShown, Totals, Unaccepted, Waiting, Yielded,
};
use super::supervisor::Wires;
use crate::clock::Clock;
use crate::config::Keep;
use crate::mesos::messages::{FrameworkId, FrameworkInfo};
use crate::mesos::{Master, Sandbox};
use crate::store::{Cache, ResultRecord, Store, StoreError};
use crate::task::{LaunchId, RunId, TaskId};

/// What an engine is made of.
pub struct Parts {
    /// Where it keeps what must survive.
    pub store: Box<dyn Store>,
    /// The cluster it runs tasks on.
    pub master: Box<dyn Master>,
    /// Where that cluster's output is read.
    pub sandbox: Rc<dyn Sandbox>,
    /// What it calls itself towards the cluster.
    pub framework: FrameworkInfo,
    /// How much it keeps of ended runs.
    pub keep: Keep,
    /// Whether it takes note of what ended tasks have left.
    pub keeps_results: bool,
    /// Where results are kept beyond their runs, if they are.
    pub cache: Option<Cache>,
    /// Its time and chance.
    pub clock: Clock,
}

/// What runs on which thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// The store and the matcher each have their own: nobody waits for a disk, nor for a long round.
    Own,
    /// All on one, in an order that repeats itself: for simulations.
    #[cfg_attr(not(test), expect(dead_code, reason = "the simulator's"))]
    One,
}

/// Reads documents, on threads of its own. Clones share them.
#[derive(Clone)]
pub struct Reader {
    parser: Addr<Parser>,
    reads: Arc<Reads>,
}

/// The running actors. Clones reach the same ones.
#[derive(Clone)]
pub struct Engine {
    scheduler: Addr<Scheduler>,
    feed: Feed,
    keeper: Keeper,
    counters: Arc<Counters>,
}

/// Why an actor gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It is gone.
    #[error("the scheduler has stopped: {0}")]
    Gone(#[from] MailboxError),
    /// What was asked could not be saved, so it was not done.
    #[error("nothing was launched: {0}")]
    Unsaved(#[from] Unsaved),
    /// Another document was submitted under this key before.
    #[error("nothing was launched: under this key another document was submitted before, as run {0}")]
    KeyReused(RunId),
}

impl From<Unaccepted> for EngineError {
    fn from(unaccepted: Unaccepted) -> Self {
        match unaccepted {
            Unaccepted::Unsaved(unsaved) => Self::Unsaved(unsaved),
            Unaccepted::KeyReused(run) => Self::KeyReused(run),
        }
    }
}

/// Why the actors could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartFailure {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no thread for the store.
    #[error("the store's thread cannot be started: {0}")]
    Thread(#[from] io::Error),
}

/// Documents read at the same time.
const PARSERS: usize = 2;
/// Bytes of a document that is read where it is: some tens of microseconds.
const SHORT: usize = 4 << 10;

impl Reader {
    /// Starts its threads.
    pub fn start() -> Self {
        Self { parser: SyncArbiter::start(PARSERS, Parser::default), reads: Arc::default() }
    }

    /// Reads a document and makes its plan: a short one here and now, which takes less than to hand it over.
    pub async fn read(&self, document: ParseDocument) -> Result<Parsed, EngineError> {
        self.reads.documents.increment();
        self.reads.bytes.add(document.source.len());
        if document.source.len() <= SHORT {
            return Ok(document.read());
        }
        Ok(self.parser.send(document).await?)
    }

    /// What was read so far.
    pub fn reads(&self) -> &Reads {
        &self.reads
    }
}

impl Engine {
    /// Starts the actors on the current arbiter, and threads for those that have their own.
    ///
    /// What breaks for good is told to the receiver; nothing else ends the actors but the end of their system.
    /// What the store holds of an earlier life is taken up.
    pub fn start(parts: Parts) -> Result<(Self, UnboundedReceiver<Broken>), StartFailure> {
        Self::start_on(parts, Threads::Own)
    }

    /// The same, on those threads.
    pub(super) fn start_on(
        parts: Parts,
        threads: Threads,
    ) -> Result<(Self, UnboundedReceiver<Broken>), StartFailure> {
        let Parts { store, master, sandbox, mut framework, keep, keeps_results, cache, clock } = parts;
        let mut contents = store.load()?;
        // An empty one was given up, for another to take its place.
        contents.framework = contents.framework.filter(|id| !id.is_empty());
        let role = framework.roles.first().cloned().unwrap_or_else(|| "*".to_owned());
        framework.id = contents.framework.clone().map(|value| FrameworkId { value });
        let counters = Arc::<Counters>::default();
        let feed = Feed::after(contents.last_entry);
        let keeper = Keeper::start(store, feed.clone(), counters.clone(), threads)?;
        let (broken, breaks) = mpsc::unbounded_channel();
        let scheduler_keeper = keeper.clone();
        let counted = counters.clone();
        let scheduler = Scheduler::create(move |ctx| {
            let myself = ctx.address();
            let ears = Ears {
                events: myself.clone().recipient(),
                lost: myself.clone().recipient(),
                broken: broken.clone(),
            };
            let connection = Connection::new(master, framework, ears, clock.clone(), counted.clone()).start();
            let told = myself.clone().recipient();
            let matcher = match threads {
                Threads::Own => {
                    Matcher::start_in_arbiter(&Arbiter::new().handle(), move |_| Matcher::new(told))
                }
                Threads::One => Matcher::new(told).start(),
            };
            let wires = Wires {
                keeper: scheduler_keeper,
                connection: connection.recipient(),
                queue: myself.clone().recipient(),
                changes: myself.recipient(),
                broken,
                sandbox,
                clock,
            };
            Scheduler::new(contents, matcher, counted, (keep, keeps_results, cache), role, Rc::new(wires))
        });
        Ok((Self { scheduler, feed, keeper, counters }, breaks))
    }

    /// Runs a document; answered once every task of it is on disk.
    pub async fn submit(&self, submission: Submission) -> Result<Accepted, EngineError> {
        Ok(self.scheduler.send(SubmitDocument(submission)).await??)
    }

    /// Follows all that happens after the entry with the number `since`; from now on without it.
    pub fn follow(&self, since: Option<u64>) -> Follower {
        self.feed.follow(since, self.keeper.clone())
    }

    /// Ends what followers hear, when they have heard what was told so far.
    pub fn close_feed(&self) {
        self.feed.close();
    }

    /// Ends a task; answered once that wish is on disk, with `false` when there is no such task.
    pub async fn kill_task(&self, task: TaskId) -> Result<bool, EngineError> {
        Ok(self.scheduler.send(KillTask(task)).await??)
    }

    /// Ends every task of a run; answered once that wish is on disk, with `false` when there is no such run.
    pub async fn kill_run(&self, run: RunId) -> Result<bool, EngineError> {
        Ok(self.scheduler.send(KillRun(run)).await??)
    }

    /// Pieces of what a launch has written: of each file of its sandbox at most `length` bytes, from its offset;
    /// in the order of `files`.
    pub async fn read_output(
        &self,
        launch: LaunchId,
        files: Vec<(Arc<str>, u64)>,
        length: usize,
    ) -> Result<Vec<Piece>, EngineError> {
        Ok(self.scheduler.send(ReadOutput { launch, files, length }).await?)
    }

    /// What the file with this number in the parcel of a launch holds; `None` when there is no such launch now.
    pub async fn file(&self, launch: LaunchId, number: usize) -> Result<Option<Bytes>, EngineError> {
        Ok(self.scheduler.send(ReadParcel { launch, number }).await?)
    }

    /// What a directory of a launch's sandbox holds; the empty path is the sandbox itself.
    pub async fn files(&self, launch: LaunchId, path: Arc<str>) -> Result<Directory, EngineError> {
        Ok(self.scheduler.send(ListFiles { launch, path }).await?)
    }

    /// How many there are of everything, now.
    pub async fn totals(&self) -> Result<Totals, EngineError> {
        Ok(self.scheduler.send(AddUp(self.counters.clone())).await?)
    }

    /// What a run has yielded so far, for its document; `None` when there is no such run.
    pub async fn yielded(&self, run: RunId) -> Result<Option<Yielded>, EngineError> {
        Ok(self.scheduler.send(GatherYield(run)).await?)
    }

    /// What the ended tasks of a run have left, as far as that is known by now.
    pub async fn results(&self, run: RunId) -> Result<Vec<ResultRecord>, EngineError> {
        Ok(self.keeper.results(run).await?)
    }

    /// What has happened since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The runs there are, newest first, those before `before` (older ones), at most `limit`.
    pub async fn runs(&self, before: Option<RunId>, limit: usize) -> Result<Vec<RunShown>, EngineError> {
        Ok(self.scheduler.send(ListRuns { before, limit }).await?)
    }

    /// A run; `None` when there is no such run.
    pub async fn run(&self, run: RunId) -> Result<Option<RunShown>, EngineError> {
        Ok(self.scheduler.send(ShowRun(run)).await?)
    }

    /// The tasks of `run`, or of all runs, in order, after `after`, at most `limit`.
    pub async fn tasks(
        &self,
        run: Option<RunId>,
        after: Option<TaskId>,
        limit: usize,
    ) -> Result<Vec<TaskShown>, EngineError> {
        Ok(self.scheduler.send(ListTasks { run, after, limit }).await?)
    }

    /// The tasks of `run`, or of all runs, that run now as far as the cluster has said, each with the number of
    /// its launch.
    pub async fn running(&self, run: Option<RunId>) -> Result<Vec<(TaskId, u32)>, EngineError> {
        Ok(self.scheduler.send(ListRunning(run)).await?)
    }

    /// A task; `None` when there is no such task.
    pub async fn task(&self, task: TaskId) -> Result<Option<TaskShown>, EngineError> {
        Ok(self.scheduler.send(ShowTask(task)).await?)
    }

    /// Leaves the cluster: what runs there is left to it.
    pub async fn leave(&self) -> Result<(), EngineError> {
        Ok(self.scheduler.send(Leave).await?)
    }

    /// What of a run waits for an offer, and why.
    pub async fn waiting(&self, run: RunId) -> Result<Vec<Waiting>, EngineError> {
        Ok(self.scheduler.send(ListWaiting(run)).await?)
    }
}

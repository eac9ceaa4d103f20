//! Starts the actors, and is the way to them.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, Addr, Arbiter, AsyncContext, MailboxError, SyncArbiter};
use bytes::Bytes;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::counters::{Counters, ParseCounters};
use super::event_log::{EventLog, EventSubscriber};
use super::matcher::Matcher;
use super::parser::{ParseDocument, Parsed, Parser};
use super::scheduler::{
    DirectoryRead, Disconnect, FileRead, GetRun, GetRunOutputs, GetStats, GetTask, KillRun, KillTask,
    ListFiles, ListRunning, ListRuns, ListTasks, ListWaiting, ReadOutput, ReadPayloadFile, RunAccepted,
    RunOutputs, RunSummary, Scheduler, Stats, Submission, SubmitDocument, SubmitError, TaskSummary,
    WaitingGroup,
};
use super::store_writer::{PersistError, StoreHandle};
use super::subscription::{Connection, EventSinks, FatalError};
use super::supervisor::Deps;
use borges_clock::Clock;
use borges_config::Retention;
use borges_mesos::messages::{FrameworkId, FrameworkInfo};
use borges_mesos::{Master, Sandbox};
use borges_store::{Cache, ResultRecord, Store, StoreError};
use borges_task::{LaunchId, RunId, TaskId};

/// What an engine is made of.
pub struct EngineParts {
    /// Where it keeps what must survive.
    pub store: Box<dyn Store>,
    /// The cluster it runs tasks on.
    pub master: Box<dyn Master>,
    /// Where that cluster's output is read.
    pub sandbox: Rc<dyn Sandbox>,
    /// What it calls itself towards the cluster.
    pub framework: FrameworkInfo,
    /// How much it keeps of ended runs.
    pub keep: Retention,
    /// Whether it takes note of what ended tasks have left.
    pub keeps_results: bool,
    /// Where results are kept beyond their runs, if they are.
    pub cache: Option<Cache>,
    /// Its time and chance.
    pub clock: Clock,
}

/// What runs on which thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threading {
    /// The store and the matcher each have their own: nobody waits for a disk, nor for a long round.
    Dedicated,
    /// All on one, in an order that repeats itself: for simulations.
    #[cfg_attr(not(test), expect(dead_code, reason = "the simulator's"))]
    Single,
}

/// Reads documents, on threads of its own. Clones share them.
#[derive(Clone)]
pub struct ParserPool {
    parser: Addr<Parser>,
    counters: Arc<ParseCounters>,
}

/// The running actors. Clones reach the same ones.
#[derive(Clone)]
pub struct Engine {
    scheduler: Addr<Scheduler>,
    feed: EventLog,
    keeper: StoreHandle,
    counters: Arc<Counters>,
}

/// Why an actor gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It is gone.
    #[error("the scheduler has stopped: {0}")]
    Stopped(#[from] MailboxError),
    /// What was asked could not be saved, so it was not done.
    #[error("nothing was launched: {0}")]
    NotPersisted(#[from] PersistError),
    /// Another document was submitted under this key before.
    #[error("nothing was launched: under this key another document was submitted before, as run {0}")]
    IdempotencyConflict(RunId),
}

impl From<SubmitError> for EngineError {
    fn from(unaccepted: SubmitError) -> Self {
        match unaccepted {
            SubmitError::Unsaved(unsaved) => Self::NotPersisted(unsaved),
            SubmitError::KeyReused(run) => Self::IdempotencyConflict(run),
        }
    }
}

/// Why the actors could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
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

impl ParserPool {
    /// Starts its threads.
    pub fn start() -> Self {
        Self { parser: SyncArbiter::start(PARSERS, Parser::default), counters: Arc::default() }
    }

    /// Reads a document and makes its plan: a short one here and now, which takes less than to hand it over.
    pub async fn read(&self, document: ParseDocument) -> Result<Parsed, EngineError> {
        self.counters.documents.increment();
        self.counters.bytes.add(document.source.len());
        if document.source.len() <= SHORT {
            return Ok(document.read());
        }
        Ok(self.parser.send(document).await?)
    }

    /// What was read so far.
    pub fn counters(&self) -> &ParseCounters {
        &self.counters
    }
}

impl Engine {
    /// Starts the actors on the current arbiter, and threads for those that have their own.
    ///
    /// What breaks for good is told to the receiver; nothing else ends the actors but the end of their system.
    /// What the store holds of an earlier life is taken up.
    pub fn start(parts: EngineParts) -> Result<(Self, UnboundedReceiver<FatalError>), StartError> {
        Self::start_on(parts, Threading::Dedicated)
    }

    /// The same, on those threads.
    pub(super) fn start_on(
        parts: EngineParts,
        threads: Threading,
    ) -> Result<(Self, UnboundedReceiver<FatalError>), StartError> {
        let EngineParts { store, master, sandbox, mut framework, keep, keeps_results, cache, clock } = parts;
        let mut contents = store.load()?;
        // An empty one was given up, for another to take its place.
        contents.framework = contents.framework.filter(|id| !id.is_empty());
        let role = framework.roles.first().cloned().unwrap_or_else(|| "*".to_owned());
        framework.id = contents.framework.clone().map(|value| FrameworkId { value });
        let counters = Arc::<Counters>::default();
        let feed = EventLog::after(contents.last_seq);
        let keeper = StoreHandle::start(store, feed.clone(), counters.clone(), threads)?;
        let (broken, breaks) = mpsc::unbounded_channel();
        let scheduler_keeper = keeper.clone();
        let counted = counters.clone();
        let scheduler = Scheduler::create(move |ctx| {
            let myself = ctx.address();
            let ears = EventSinks {
                events: myself.clone().recipient(),
                lost: myself.clone().recipient(),
                broken: broken.clone(),
            };
            let connection = Connection::new(master, framework, ears, clock.clone(), counted.clone()).start();
            let told = myself.clone().recipient();
            let matcher = match threads {
                Threading::Dedicated => {
                    Matcher::start_in_arbiter(&Arbiter::new().handle(), move |_| Matcher::new(told))
                }
                Threading::Single => Matcher::new(told).start(),
            };
            let wires = Deps {
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
    pub async fn submit(&self, submission: Submission) -> Result<RunAccepted, EngineError> {
        Ok(self.scheduler.send(SubmitDocument(submission)).await??)
    }

    /// Follows all that happens after the entry with the number `since`; from now on without it.
    pub fn follow(&self, since: Option<u64>) -> EventSubscriber {
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
    /// in the order of `list_files`.
    pub async fn read_output(
        &self,
        launch: LaunchId,
        files: Vec<(Arc<str>, u64)>,
        length: usize,
    ) -> Result<Vec<FileRead>, EngineError> {
        Ok(self.scheduler.send(ReadOutput { launch, files, length }).await?)
    }

    /// What the file with this number in the parcel of a launch holds; `None` when there is no such launch now.
    pub async fn payload_file(&self, launch: LaunchId, number: usize) -> Result<Option<Bytes>, EngineError> {
        Ok(self.scheduler.send(ReadPayloadFile { launch, number }).await?)
    }

    /// What a directory of a launch's sandbox holds; the empty path is the sandbox itself.
    pub async fn list_files(&self, launch: LaunchId, path: Arc<str>) -> Result<DirectoryRead, EngineError> {
        Ok(self.scheduler.send(ListFiles { launch, path }).await?)
    }

    /// How many there are of everything, now.
    pub async fn totals(&self) -> Result<Stats, EngineError> {
        Ok(self.scheduler.send(GetStats(self.counters.clone())).await?)
    }

    /// What a run has yielded so far, for its document; `None` when there is no such run.
    pub async fn run_outputs(&self, run: RunId) -> Result<Option<RunOutputs>, EngineError> {
        Ok(self.scheduler.send(GetRunOutputs(run)).await?)
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
    pub async fn runs(&self, before: Option<RunId>, limit: usize) -> Result<Vec<RunSummary>, EngineError> {
        Ok(self.scheduler.send(ListRuns { before, limit }).await?)
    }

    /// A run; `None` when there is no such run.
    pub async fn run(&self, run: RunId) -> Result<Option<RunSummary>, EngineError> {
        Ok(self.scheduler.send(GetRun(run)).await?)
    }

    /// The tasks of `run`, or of all runs, in order, after `after`, at most `limit`.
    pub async fn tasks(
        &self,
        run: Option<RunId>,
        after: Option<TaskId>,
        limit: usize,
    ) -> Result<Vec<TaskSummary>, EngineError> {
        Ok(self.scheduler.send(ListTasks { run, after, limit }).await?)
    }

    /// The tasks of `run`, or of all runs, that run now as far as the cluster has said, each with the number of
    /// its launch.
    pub async fn running(&self, run: Option<RunId>) -> Result<Vec<(TaskId, u32)>, EngineError> {
        Ok(self.scheduler.send(ListRunning(run)).await?)
    }

    /// A task; `None` when there is no such task.
    pub async fn task(&self, task: TaskId) -> Result<Option<TaskSummary>, EngineError> {
        Ok(self.scheduler.send(GetTask(task)).await?)
    }

    /// Leaves the cluster: what runs there is left to it.
    pub async fn disconnect(&self) -> Result<(), EngineError> {
        Ok(self.scheduler.send(Disconnect).await?)
    }

    /// What of a run waits for an offer, and why.
    pub async fn waiting(&self, run: RunId) -> Result<Vec<WaitingGroup>, EngineError> {
        Ok(self.scheduler.send(ListWaiting(run)).await?)
    }
}

//! Starts the actors. [`Engine`] is the handle by which other crates send requests to them.

use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, Addr, Arbiter, AsyncContext, SyncArbiter};
use bytes::Bytes;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::counters::{Counters, ParseCounters};
use super::error::{EngineError, StartError};
use super::event_log::{EventLog, EventSubscriber};
use super::matcher::Matcher;
use super::parser::{ParseDocument, Parsed, Parser};
use super::scheduler::Scheduler;
use super::scheduler::messages::{
    Disconnect, GetRun, GetRunOutputs, GetStats, GetTask, KillRun, KillTask, ListFiles, ListRunning,
    ListRuns, ListTasks, ListWaiting, ReadOutput, ReadPayloadFile, Submission, SubmitDocument,
};
use super::scheduler::replies::{
    DirectoryRead, FileRead, RunAccepted, RunOutputs, RunProgress, Stats, TaskProgress, WaitingGroup,
};
use super::store_writer::StoreHandle;
use super::subscription::{Connection, EventSinks, FatalError};
use super::supervisor::Deps;
use super::threading::Threading;
use borges_clock::Clock;
use borges_config::Retention;
use borges_mesos::messages::{FrameworkId, FrameworkInfo};
use borges_mesos::{Master, Sandbox};
use borges_store::{Cache, ResultRecord, Store};
use borges_task::{LaunchId, RunId, TaskId};

/// The parts of an engine.
pub struct EngineParts {
    /// The store that survives a restart.
    pub store: Box<dyn Store>,
    /// The cluster on which tasks run.
    pub master: Box<dyn Master>,
    /// Reads the sandboxes of that cluster.
    pub sandbox: Rc<dyn Sandbox>,
    /// The framework that is registered with the cluster.
    pub framework: FrameworkInfo,
    /// How long ended runs are kept, and how many bytes of them.
    pub retention: Retention,
    /// Whether the output files of ended tasks are indexed.
    pub index_results: bool,
    /// The result cache. `None` disables it.
    pub cache: Option<Cache>,
    /// The source of time, randomness and ids.
    pub clock: Clock,
}

/// Parses documents on its own threads. Clones share these threads.
#[derive(Clone)]
pub struct ParserPool {
    parser: Addr<Parser>,
    counters: Arc<ParseCounters>,
}

/// A handle to the running actors. Clones reach the same actors.
#[derive(Clone)]
pub struct Engine {
    scheduler: Addr<Scheduler>,
    event_log: EventLog,
    store: StoreHandle,
    counters: Arc<Counters>,
}

/// The number of documents that are parsed at the same time.
const PARSER_THREADS: usize = 2;
/// Documents up to this size, in bytes, are parsed on the thread of the caller. This takes some tens of microseconds.
const INLINE_BYTES: usize = 4 << 10;

impl ParserPool {
    /// Starts the threads.
    pub fn start() -> Self {
        Self { parser: SyncArbiter::start(PARSER_THREADS, Parser::default), counters: Arc::default() }
    }

    /// Parses a document and makes its plan. A short document is parsed at once, because a message takes longer.
    pub async fn read(&self, document: ParseDocument) -> Result<Parsed, EngineError> {
        self.counters.documents.increment();
        self.counters.bytes.add(document.source.len());
        if document.source.len() <= INLINE_BYTES {
            return Ok(document.read());
        }
        Ok(self.parser.send(document).await?)
    }

    /// The documents parsed so far.
    pub fn counters(&self) -> &ParseCounters {
        &self.counters
    }
}

impl Engine {
    /// Starts the actors on the current arbiter and on threads of their own, and recovers the runs of the store.
    ///
    /// The receiver gets the fatal errors. The actors stop only with their system.
    pub fn start(parts: EngineParts) -> Result<(Self, UnboundedReceiver<FatalError>), StartError> {
        Self::start_on(parts, Threading::Dedicated)
    }

    /// [`Engine::start`] with a choice of threads.
    pub(super) fn start_on(
        parts: EngineParts,
        threading: Threading,
    ) -> Result<(Self, UnboundedReceiver<FatalError>), StartError> {
        let EngineParts { store, master, sandbox, mut framework, retention, index_results, cache, clock } =
            parts;
        let mut snapshot = store.load()?;
        // An empty id means that the framework was given up. The cluster assigns a new id.
        snapshot.framework = snapshot.framework.filter(|id| !id.is_empty());
        let role = framework.roles.first().cloned().unwrap_or_else(|| "*".to_owned());
        framework.id = snapshot.framework.clone().map(|value| FrameworkId { value });
        let counters = Arc::<Counters>::default();
        let event_log = EventLog::after(snapshot.last_seq);
        let store = StoreHandle::start(store, event_log.clone(), counters.clone(), threading)?;
        let (fatal_sender, fatal_errors) = mpsc::unbounded_channel();
        let scheduler_store = store.clone();
        let scheduler_counters = counters.clone();
        let scheduler = Scheduler::create(move |ctx| {
            let scheduler = ctx.address();
            let sinks = EventSinks {
                events: scheduler.clone().recipient(),
                lost: scheduler.clone().recipient(),
                fatal: fatal_sender.clone(),
            };
            let connection =
                Connection::new(master, framework, sinks, clock.clone(), scheduler_counters.clone()).start();
            let recipient = scheduler.clone().recipient();
            let matcher = match threading {
                Threading::Dedicated => {
                    Matcher::start_in_arbiter(&Arbiter::new().handle(), move |_| Matcher::new(recipient))
                }
                Threading::Single => Matcher::new(recipient).start(),
            };
            let deps = Deps {
                store: scheduler_store,
                connection: connection.recipient(),
                task_queued: scheduler.clone().recipient(),
                task_changed: scheduler.recipient(),
                fatal: fatal_sender,
                sandbox,
                clock,
            };
            Scheduler::new(
                snapshot,
                matcher,
                scheduler_counters,
                (retention, index_results, cache),
                role,
                Rc::new(deps),
            )
        });
        Ok((Self { scheduler, event_log, store, counters }, fatal_errors))
    }

    /// Runs a document. Returns once every task of the run is stored.
    pub async fn submit(&self, submission: Submission) -> Result<RunAccepted, EngineError> {
        Ok(self.scheduler.send(SubmitDocument(submission)).await??)
    }

    /// Subscribes to the events after the sequence number `since`. `None` subscribes to future events only.
    pub fn subscribe(&self, since: Option<u64>) -> EventSubscriber {
        self.event_log.subscribe(since, Arc::new(self.store.clone()))
    }

    /// Ends the streams of all subscribers after they have read the events published so far.
    pub fn close_event_log(&self) {
        self.event_log.close();
    }

    /// Kills a task. Returns once the request is stored, with `false` if the task does not exist.
    pub async fn kill_task(&self, task: TaskId) -> Result<bool, EngineError> {
        Ok(self.scheduler.send(KillTask(task)).await??)
    }

    /// Kills every task of a run. Returns once the request is stored, with `false` if the run does not exist.
    pub async fn kill_run(&self, run: RunId) -> Result<bool, EngineError> {
        Ok(self.scheduler.send(KillRun(run)).await??)
    }

    /// Reads at most `length` bytes of each file in the sandbox of a launch, from its offset. The reads are in the order
    /// of `files`.
    pub async fn read_output(
        &self,
        launch: LaunchId,
        files: Vec<(Arc<str>, u64)>,
        length: usize,
    ) -> Result<Vec<FileRead>, EngineError> {
        Ok(self.scheduler.send(ReadOutput { launch, files, length }).await?)
    }

    /// The file with this number in the payload of a launch. `None` if the launch is not active.
    pub async fn payload_file(&self, launch: LaunchId, number: usize) -> Result<Option<Bytes>, EngineError> {
        Ok(self.scheduler.send(ReadPayloadFile { launch, number }).await?)
    }

    /// Lists a directory in the sandbox of a launch. The empty path is the sandbox itself.
    pub async fn list_files(&self, launch: LaunchId, path: Arc<str>) -> Result<DirectoryRead, EngineError> {
        Ok(self.scheduler.send(ListFiles { launch, path }).await?)
    }

    /// The current numbers of runs, tasks and offers.
    pub async fn stats(&self) -> Result<Stats, EngineError> {
        Ok(self.scheduler.send(GetStats(self.counters.clone())).await?)
    }

    /// The values and files that a run has produced so far. `None` if the run does not exist.
    pub async fn run_outputs(&self, run: RunId) -> Result<Option<RunOutputs>, EngineError> {
        Ok(self.scheduler.send(GetRunOutputs(run)).await?)
    }

    /// The output files of the ended tasks of a run, as far as they are indexed.
    pub async fn results(&self, run: RunId) -> Result<Vec<ResultRecord>, EngineError> {
        Ok(self.store.results(run).await?)
    }

    /// The counters since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// At most `limit` runs that are older than `before`, newest first.
    pub async fn runs(&self, before: Option<RunId>, limit: usize) -> Result<Vec<RunProgress>, EngineError> {
        Ok(self.scheduler.send(ListRuns { before, limit }).await?)
    }

    /// A run. `None` if it does not exist.
    pub async fn run(&self, run: RunId) -> Result<Option<RunProgress>, EngineError> {
        Ok(self.scheduler.send(GetRun(run)).await?)
    }

    /// At most `limit` tasks after `after`, of `run` or of all runs, in order.
    pub async fn tasks(
        &self,
        run: Option<RunId>,
        after: Option<TaskId>,
        limit: usize,
    ) -> Result<Vec<TaskProgress>, EngineError> {
        Ok(self.scheduler.send(ListTasks { run, after, limit }).await?)
    }

    /// The running tasks of `run`, or of all runs, each with the attempt of its current launch.
    pub async fn running(&self, run: Option<RunId>) -> Result<Vec<(TaskId, u32)>, EngineError> {
        Ok(self.scheduler.send(ListRunning(run)).await?)
    }

    /// A task. `None` if it does not exist.
    pub async fn task(&self, task: TaskId) -> Result<Option<TaskProgress>, EngineError> {
        Ok(self.scheduler.send(GetTask(task)).await?)
    }

    /// Disconnects from the cluster. Running tasks continue.
    pub async fn disconnect(&self) -> Result<(), EngineError> {
        Ok(self.scheduler.send(Disconnect).await?)
    }

    /// The tasks of a run that wait for an offer, grouped by reason.
    pub async fn waiting(&self, run: RunId) -> Result<Vec<WaitingGroup>, EngineError> {
        Ok(self.scheduler.send(ListWaiting(run)).await?)
    }
}

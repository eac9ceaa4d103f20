//! Runs, offers, and who runs next.
//!
//! Keeps a row for every task of every run, and the offers that are not answered yet. What a task does is
//! decided by `task::step`, where it goes by `offer::match_offers`; here both are only brought together.
//!
//! | file | |
//! |---|---|
//! | `commands` | what people ask: submit, kill, what waits, what was written |
//! | `pending_reasons` | why tasks wait |
//! | `queries` | what people ask about runs and tasks |
//! | `stats` | how many there are of everything |
//! | `transitions` | what happens to tasks, and what follows for those that wait for them |
//! | `launches` | from a round of matching to launches that are saved, then accepted |
//! | `payloads` | what agents fetch for a launch |
//! | `cluster_events` | what the cluster says |
//! | `result_index` | the index of what ended tasks have left |
//! | `retention` | forgets runs that ended long ago |
//! | `caching` | what need not be run again, and what is kept for that |
//! | `task_outputs` | what tasks have yielded, read for those that it goes into, and for the document |
//! | `recover` | takes up what an earlier life has left |

mod caching;
mod cluster_events;
mod commands;
mod launches;
mod payloads;
mod pending_reasons;
mod queries;
mod recovery;
mod result_index;
mod retention;
mod stats;
mod task_outputs;
mod transitions;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context};

use super::counters::Counters;
use super::matcher::{Dequeue, Enqueue, MatchNow, Matcher, PendingTask, TaskActive, TaskInactive};
use super::offer_pool::OfferPool;
use super::run::{Run, TaskEntry, TaskView};
use super::store_writer::PersistError;
use super::subscription::{ClusterCall, FatalError};
use super::supervisor::{Deps, Supervisor};
use super::{tell, tell_recipient};
use borges_config::Retention;
use borges_placement::PeerLocations;
use borges_store::{Cache, RunRecord, Snapshot};
use borges_task::{LaunchId, ReconcileSchedule, RunId, State, TaskId, Unanswered};

pub(crate) use payloads::ReadPayloadFile;
pub(crate) use queries::{GetRun, GetTask, ListRunning, ListRuns, ListTasks};
pub(crate) use stats::GetStats;

pub use commands::{DirectoryRead, FileRead, RunAccepted, Submission, WaitingGroup};
pub(crate) use commands::{
    Disconnect, KillRun, KillTask, ListFiles, ListWaiting, ReadOutput, SubmitDocument, SubmitError,
};
pub use queries::{RunSummary, TaskSummary};
use result_index::ResultIndexer;
pub use stats::Stats;
pub(crate) use task_outputs::GetRunOutputs;
pub use task_outputs::RunOutputs;
use task_outputs::{Continuation, ReadKey};

/// Brings tasks and offers together.
pub(super) struct Scheduler {
    runs: HashMap<RunId, Run>,
    /// In order, so that what is said about all is said in the same order again.
    supervisors: BTreeMap<TaskId, Addr<Supervisor>>,
    /// Those of them that died, and are being made again.
    reviving: BTreeSet<TaskId>,
    /// Launches that may be accepted, each on its agent: they are saved.
    persisted_intents: HashMap<LaunchId, String>,
    /// How many tasks wait for an offer.
    waiting: usize,
    /// Those of them that are put together still: an offer is of no use to them yet.
    resolving_inputs: HashSet<TaskId>,
    /// What is being read of what tasks have left, and what is to be done then.
    reads_in_flight: HashMap<ReadKey, Vec<Continuation>>,
    /// Since when there are such.
    waiting_since: Option<Duration>,
    /// The drought that was told last, by its beginning.
    starvation_logged: Option<Duration>,
    /// Where those are that constraints compare others with, as far as it is known.
    spread: PeerLocations,
    market: OfferPool,
    /// Why there is no subscription, when there is none, and since when.
    disconnected: Option<(String, Duration)>,
    /// Whose resources are asked for.
    role: String,
    matcher: Addr<Matcher>,
    /// What was submitted under a key of the client's.
    idempotency_keys: HashMap<String, Arc<RunRecord>>,
    /// Launches that are asked about until the cluster answers.
    pending_reconciles: Unanswered,
    /// Launches that are killed until they have ended.
    pending_kills: Unanswered,
    /// When everything is asked about; `None` without a subscription.
    rounds: Option<ReconcileSchedule>,
    counters: Arc<Counters>,
    /// How much is kept of ended runs.
    keep: Retention,
    /// Whether it is noted what ended tasks have left, and of which that is still to be done.
    keeps_results: bool,
    index: ResultIndexer,
    /// Where results are kept beyond their runs, if they are.
    cache: Option<Cache>,
    /// When it was last looked there for what nobody asks for.
    cache_tidied: Option<Duration>,
    /// It is looked for what is kept no longer.
    tidying: bool,
    /// The cluster has been left: nothing more is said to it.
    disconnecting: bool,
    deps: Rc<Deps>,
    /// What an earlier life has left, until it is taken up.
    contents: Snapshot,
}

/// How often supervisors are looked after.
const TICK: Duration = Duration::from_secs(1);

impl Scheduler {
    /// With what an earlier life has left.
    pub(super) fn new(
        contents: Snapshot,
        matcher: Addr<Matcher>,
        counters: Arc<Counters>,
        (keep, keeps_results, cache): (Retention, bool, Option<Cache>),
        role: String,
        deps: Rc<Deps>,
    ) -> Self {
        Self {
            runs: HashMap::new(),
            supervisors: BTreeMap::new(),
            reviving: BTreeSet::new(),
            persisted_intents: HashMap::new(),
            waiting: 0,
            resolving_inputs: HashSet::new(),
            reads_in_flight: HashMap::new(),
            waiting_since: None,
            starvation_logged: None,
            spread: PeerLocations::default(),
            market: OfferPool::default(),
            disconnected: Some(("it has not answered yet".to_owned(), deps.clock.elapsed())),
            role,
            matcher,
            idempotency_keys: HashMap::new(),
            pending_reconciles: Unanswered::default(),
            pending_kills: Unanswered::default(),
            rounds: None,
            counters,
            keep,
            keeps_results,
            index: ResultIndexer::default(),
            cache,
            cache_tidied: None,
            tidying: false,
            disconnecting: false,
            deps,
            contents,
        }
    }

    fn send_to_cluster(&self, request: ClusterCall) {
        if !self.disconnecting {
            tell_recipient(&self.deps.connection, request);
        }
    }

    fn task(&self, id: TaskId) -> Option<TaskView<'_>> {
        self.runs.get(&id.run)?.task(id.number)
    }

    /// Some run is not over: offers will be of use.
    fn has_work(&self) -> bool {
        self.runs.values().any(|run| !run.is_done())
    }

    /// Offers what waits to what is offered; asks for offers, or to be spared them.
    fn match_or_request_offers(&mut self) {
        let now = self.deps.clock.elapsed();
        let waits = self.waiting > self.resolving_inputs.len();
        self.waiting_since = waits.then(|| self.waiting_since.unwrap_or(now));
        if waits {
            let offers = self.market.take_unmatched();
            if !offers.is_empty() {
                tell(&self.matcher, MatchNow { offers, now: self.deps.clock.now() });
            } else if self.market.should_revive(now) {
                self.send_to_cluster(ClusterCall::Revive);
            }
        } else {
            let declined = self.market.decline_idle(now, self.has_work());
            if let Some(decline) = declined {
                self.send_to_cluster(decline);
            }
            if !self.has_work() && self.market.should_suppress() {
                self.send_to_cluster(ClusterCall::Suppress);
            }
        }
    }

    /// Puts tasks into the queue for offers of which everything is known that goes into them.
    fn queue(&mut self, tasks: Vec<TaskId>) {
        if tasks.is_empty() {
            return;
        }
        for task in &tasks {
            self.resolving_inputs.remove(task);
        }
        self.market.note_enqueued();
        let asked = |task| {
            let spec = self.task(task)?.spec;
            Some(PendingTask {
                task,
                request: spec.resource_request(task.run),
                priority: spec.policy.priority,
            })
        };
        let asked = tasks.into_iter().filter_map(asked).collect();
        tell(&self.matcher, Enqueue(asked));
    }

    /// Keeps count of who waits, and takes out of the queue who no longer does.
    fn count_waiting(&mut self, id: TaskId, before: State, after: State) {
        match (before == State::Queued, after == State::Queued) {
            (false, true) => self.waiting += 1,
            (true, false) => {
                self.waiting = self.waiting.saturating_sub(1);
                self.resolving_inputs.remove(&id);
                // To be launched, it has left the queue already; whatever else became of it, it must now.
                if after != State::Launching {
                    tell(&self.matcher, Dequeue(id));
                }
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Changes what is known of a task.
    fn set_row(&mut self, id: TaskId, change: impl FnOnce(&mut TaskEntry)) {
        let now = self.deps.clock.elapsed();
        let Some(row) = self.runs.get_mut(&id.run).and_then(|run| run.row_mut(id.number)) else { return };
        let before = row.state;
        change(row);
        let after = row.state;
        if before != after {
            row.since = now;
        }
        self.count_waiting(id, before, after);
        if before.is_active() != after.is_active() {
            self.track_location(id);
        }
    }

    /// Notes where a task is, if constraints compare others with it.
    pub(super) fn track_location(&mut self, id: TaskId) {
        let Some(run) = self.runs.get(&id.run) else { return };
        let Some(TaskView { spec, row, .. }) = run.task(id.number).filter(|task| task.spec.is_grouped())
        else {
            return;
        };
        match row.agent.as_deref().filter(|_| row.state.is_active()) {
            Some(agent) => {
                let (demand, agent) = (spec.resource_request(id.run), agent.to_owned());
                self.spread.insert(id, &demand, &agent);
                // The matcher has decided it, unless it was in an earlier life.
                tell(&self.matcher, TaskActive { task: id, demand, agent });
            }
            None => {
                self.spread.remove(id);
                tell(&self.matcher, TaskInactive(id));
            }
        }
    }

    /// Something could not be saved: nothing can be promised any more.
    fn abort(&self, unsaved: &PersistError) {
        let _nobody = self.deps.broken.send(FatalError { reason: unsaved.to_string() });
    }
}

impl Drop for Scheduler {
    /// One that dies of a bug leaves nobody to run anything: the program ends, and its next start takes all up again.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _nobody =
                self.deps.broken.send(FatalError { reason: "the scheduler has died of a bug".to_owned() });
        }
    }
}

impl Actor for Scheduler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let contents = std::mem::take(&mut self.contents);
        self.recover(contents, ctx);
        ctx.run_interval(TICK, Self::on_tick);
        ctx.run_interval(TICK, Self::index_results);
        ctx.run_interval(retention::INTERVAL, Self::expire_runs);
    }
}

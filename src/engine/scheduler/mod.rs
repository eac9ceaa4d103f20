//! The scheduler: holds an entry for every task of every run and the open offers, and connects them.
//!
//! The state machine of a task is `task::step`, and the placement of tasks on offers is `placement::match_offers`.
//!
//! | file | |
//! |---|---|
//! | `messages` | the requests of the engine |
//! | `replies` | the replies to these requests |
//! | `commands` | submit, kill, and requests to sandboxes |
//! | `queries` | queries about runs and tasks, and their numbers |
//! | `pending_reasons` | why tasks are not running |
//! | `transitions` | state changes of tasks and their effects on dependent tasks |
//! | `launches` | from a round of matching to accepted launches and their payloads |
//! | `cluster_events` | events of the cluster, reconciliation, dead supervisors |
//! | `task_outputs` | the results of tasks, for dependent tasks and for the document |
//! | `sandbox_output` | reads the files of a sandbox |
//! | `caching` | the result cache |
//! | `indexing` | indexes the output files of ended tasks |
//! | `result_index` | the queue of unindexed tasks |
//! | `retention` | deletes expired runs |
//! | `recovery` | restores the runs after a restart |

mod caching;
mod cluster_events;
mod commands;
mod indexing;
mod launches;
pub(super) mod messages;
mod pending_reasons;
mod queries;
mod recovery;
pub(super) mod replies;
mod result_index;
mod retention;
mod sandbox_output;
mod task_outputs;
mod transitions;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context};

use super::counters::Counters;
use super::error::PersistError;
use super::matcher::{Dequeue, Enqueue, MatchNow, Matcher, PendingTask, TaskActive, TaskInactive};
use super::offer_pool::OfferPool;
use super::run::{Run, TaskEntry, TaskView};
use super::subscription::{ClusterCall, FatalError};
use super::supervisor::{Deps, Supervisor};
use super::{tell, tell_recipient};
use borges_config::Retention;
use borges_placement::PeerLocations;
use borges_store::{Cache, RunRecord, Snapshot};
use borges_task::{LaunchId, ReconcileSchedule, RunId, State, TaskId, Unanswered};

use result_index::ResultIndexer;

/// The outputs of tasks of a run, and the files beside its document, that one read covers.
type ReadKey = (RunId, Vec<u32>, Vec<String>);
/// The work that continues once a read has ended.
type Continuation = Box<dyn FnOnce(&mut Scheduler, &mut Context<Scheduler>)>;

/// The actor that owns the runs and the offers.
pub(super) struct Scheduler {
    runs: HashMap<RunId, Run>,
    /// Ordered, so that calls about all tasks have a deterministic order.
    supervisors: BTreeMap<TaskId, Addr<Supervisor>>,
    /// Tasks whose dead supervisors are being restarted.
    restarting: BTreeSet<TaskId>,
    /// Stored launch intents, each with its agent. These launches may be accepted.
    persisted_intents: HashMap<LaunchId, String>,
    /// The number of queued tasks.
    waiting: usize,
    /// Queued tasks whose inputs are being read. They are not in the queue of the matcher yet.
    resolving_inputs: HashSet<TaskId>,
    /// The reads of task outputs in progress, with the work that waits for each.
    reads_in_flight: HashMap<ReadKey, Vec<Continuation>>,
    /// When a task was last queued while no other was, by the elapsed time of the clock.
    waiting_since: Option<Duration>,
    /// The start of the starvation that was logged last.
    starvation_logged: Option<Duration>,
    /// The agents of active tasks, for the constraints that compare tasks.
    peer_locations: PeerLocations,
    offer_pool: OfferPool,
    /// Why there is no subscription, and since when. `None` while subscribed.
    disconnected: Option<(String, Duration)>,
    /// The Mesos role of the framework.
    role: String,
    matcher: Addr<Matcher>,
    /// The runs by their idempotency keys.
    idempotency_keys: HashMap<String, Arc<RunRecord>>,
    /// Launches that are reconciled until the cluster answers.
    pending_reconciles: Unanswered,
    /// Launches that are killed again until they have ended.
    pending_kills: Unanswered,
    /// When all launches are reconciled. `None` without a subscription.
    reconcile_schedule: Option<ReconcileSchedule>,
    counters: Arc<Counters>,
    /// How long ended runs are kept, and how many bytes of them.
    retention: Retention,
    /// Whether the output files of ended tasks are indexed (`GET /org/RUN/results`).
    index_results: bool,
    result_indexer: ResultIndexer,
    /// The result cache. `None` if it is disabled.
    cache: Option<Cache>,
    /// When entries were last evicted from the cache.
    cache_evicted_at: Option<Duration>,
    /// Whether expired runs are being deleted.
    is_expiring: bool,
    /// Whether the framework has disconnected. No more calls are sent.
    disconnecting: bool,
    deps: Rc<Deps>,
    /// The content of the store, until the actor starts.
    snapshot: Snapshot,
}

/// How often dead supervisors are restarted and unanswered calls are repeated.
const TICK: Duration = Duration::from_secs(1);
/// How often expired runs are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);

impl Scheduler {
    /// A scheduler that recovers the runs of `snapshot` when it starts.
    pub(super) fn new(
        snapshot: Snapshot,
        matcher: Addr<Matcher>,
        counters: Arc<Counters>,
        (retention, index_results, cache): (Retention, bool, Option<Cache>),
        role: String,
        deps: Rc<Deps>,
    ) -> Self {
        Self {
            runs: HashMap::new(),
            supervisors: BTreeMap::new(),
            restarting: BTreeSet::new(),
            persisted_intents: HashMap::new(),
            waiting: 0,
            resolving_inputs: HashSet::new(),
            reads_in_flight: HashMap::new(),
            waiting_since: None,
            starvation_logged: None,
            peer_locations: PeerLocations::default(),
            offer_pool: OfferPool::default(),
            disconnected: Some(("it has not answered yet".to_owned(), deps.clock.elapsed())),
            role,
            matcher,
            idempotency_keys: HashMap::new(),
            pending_reconciles: Unanswered::default(),
            pending_kills: Unanswered::default(),
            reconcile_schedule: None,
            counters,
            retention,
            index_results,
            result_indexer: ResultIndexer::default(),
            cache,
            cache_evicted_at: None,
            is_expiring: false,
            disconnecting: false,
            deps,
            snapshot,
        }
    }

    fn send_to_cluster(&self, cluster_call: ClusterCall) {
        if !self.disconnecting {
            tell_recipient(&self.deps.connection, cluster_call);
        }
    }

    fn task(&self, id: TaskId) -> Option<TaskView<'_>> {
        self.runs.get(&id.run)?.task(id.number)
    }

    /// Whether a run is unfinished, so that offers will be needed.
    fn has_work(&self) -> bool {
        self.runs.values().any(|run| !run.is_done())
    }

    /// Starts a round of matching, or revives, declines or suppresses offers.
    fn match_or_request_offers(&mut self) {
        let now = self.deps.clock.elapsed();
        let has_pending = self.waiting > self.resolving_inputs.len();
        self.waiting_since = has_pending.then(|| self.waiting_since.unwrap_or(now));
        if has_pending {
            let offers = self.offer_pool.take_unmatched();
            if !offers.is_empty() {
                tell(&self.matcher, MatchNow { offers, now: self.deps.clock.now() });
            } else if self.offer_pool.should_revive(now) {
                self.send_to_cluster(ClusterCall::Revive);
            }
        } else {
            let declined = self.offer_pool.decline_idle(now, self.has_work());
            if let Some(decline) = declined {
                self.send_to_cluster(decline);
            }
            if !self.has_work() && self.offer_pool.should_suppress() {
                self.send_to_cluster(ClusterCall::Suppress);
            }
        }
    }

    /// Adds tasks with resolved inputs to the queue of the matcher.
    fn queue(&mut self, tasks: Vec<TaskId>) {
        if tasks.is_empty() {
            return;
        }
        for task in &tasks {
            self.resolving_inputs.remove(task);
        }
        self.offer_pool.note_enqueued();
        let pending = |task| {
            let spec = self.task(task)?.spec;
            Some(PendingTask {
                task,
                request: spec.resource_request(task.run),
                priority: spec.policy.priority,
            })
        };
        let pending = tasks.into_iter().filter_map(pending).collect();
        tell(&self.matcher, Enqueue(pending));
    }

    /// Counts queued tasks, and removes a task from the queue of the matcher when it leaves [`State::Queued`].
    fn count_waiting(&mut self, id: TaskId, before: State, after: State) {
        match (before == State::Queued, after == State::Queued) {
            (false, true) => self.waiting += 1,
            (true, false) => {
                self.waiting = self.waiting.saturating_sub(1);
                self.resolving_inputs.remove(&id);
                // A task that is launched has left the queue of the matcher already.
                if after != State::Launching {
                    tell(&self.matcher, Dequeue(id));
                }
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Changes the entry of a task, and keeps the counters and locations up to date.
    fn update_entry(&mut self, id: TaskId, change: impl FnOnce(&mut TaskEntry)) {
        let now = self.deps.clock.elapsed();
        let Some(entry) = self.runs.get_mut(&id.run).and_then(|run| run.entry_mut(id.number)) else { return };
        let before = entry.state;
        change(entry);
        let after = entry.state;
        if before != after {
            entry.since = now;
        }
        self.count_waiting(id, before, after);
        if before.is_active() != after.is_active() {
            self.track_location(id);
        }
    }

    /// Records the agent of a task if constraints compare tasks with it.
    pub(super) fn track_location(&mut self, id: TaskId) {
        let Some(run) = self.runs.get(&id.run) else { return };
        let Some(TaskView { spec, entry, .. }) = run.task(id.number).filter(|task| task.spec.is_grouped())
        else {
            return;
        };
        match entry.agent.as_deref().filter(|_| entry.state.is_active()) {
            Some(agent) => {
                let (request, agent) = (spec.resource_request(id.run), agent.to_owned());
                self.peer_locations.insert(id, &request, &agent);
                // The matcher knows this, except after a restart.
                tell(&self.matcher, TaskActive { task: id, request, agent });
            }
            None => {
                self.peer_locations.remove(id);
                tell(&self.matcher, TaskInactive(id));
            }
        }
    }

    /// A write has failed: the program stops, because it cannot keep its guarantees.
    fn abort(&self, error: &PersistError) {
        let _stopped = self.deps.fatal.send(FatalError { reason: error.to_string() });
    }
}

impl Drop for Scheduler {
    /// A panic of the scheduler stops the program. The next start recovers the runs.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _stopped =
                self.deps.fatal.send(FatalError { reason: "the scheduler has died of a bug".to_owned() });
        }
    }
}

impl Actor for Scheduler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let snapshot = std::mem::take(&mut self.snapshot);
        self.recover(snapshot, ctx);
        ctx.run_interval(TICK, Self::on_tick);
        ctx.run_interval(TICK, Self::index_next_batch);
        ctx.run_interval(EXPIRY_INTERVAL, Self::expire_runs);
    }
}

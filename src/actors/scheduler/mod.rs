//! Runs, offers, and who runs next.
//!
//! Keeps a row for every task of every run, and the offers that are not answered yet. What a task does is
//! decided by `task::step`, where it goes by `offer::match_offers`; here both are only brought together.
//!
//! | file | |
//! |---|---|
//! | `people` | what people ask: submit, kill, what waits, what was written |
//! | `why` | why tasks wait |
//! | `queries` | what people ask about runs and tasks |
//! | `totals` | how many there are of everything |
//! | `tasks` | what happens to tasks, and what follows for those that wait for them |
//! | `launches` | from a round of matching to launches that are saved, then accepted |
//! | `parcels` | what agents fetch for a launch |
//! | `cluster` | what the cluster says |
//! | `results` | the index of what ended tasks have left |
//! | `retention` | forgets runs that ended long ago |
//! | `known` | what need not be run again, and what is kept for that |
//! | `values` | what tasks have yielded, read for those that it goes into, and for the document |
//! | `restore` | takes up what an earlier life has left |

mod cluster;
mod known;
mod launches;
mod parcels;
mod people;
mod queries;
mod restore;
mod results;
mod retention;
mod tasks;
mod totals;
mod values;
mod why;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context};

use super::connection::{Broken, Request};
use super::counters::Counters;
use super::keeper::Unsaved;
use super::market::Market;
use super::matcher::{Asked, CameBack, Dequeue, Enqueue, IsOut, MatchNow, Matcher};
use super::run::{Row, Run, TaskView};
use super::supervisor::{Supervisor, Wires};
use super::{tell, tell_recipient};
use crate::config::Keep;
use crate::placement::PeerLocations;
use crate::store::{Cache, Contents, RunRecord};
use crate::task::{LaunchId, ReconcileSchedule, RunId, State, TaskId, Unanswered};

pub(in crate::actors) use parcels::ReadParcel;
pub(in crate::actors) use queries::{ListRunning, ListRuns, ListTasks, ShowRun, ShowTask};
pub(in crate::actors) use totals::AddUp;

pub use people::{Accepted, Directory, Piece, Submission, Waiting};
pub(in crate::actors) use people::{
    KillRun, KillTask, Leave, ListFiles, ListWaiting, ReadOutput, SubmitDocument, Unaccepted,
};
pub use queries::{RunShown, TaskShown};
use results::Index;
pub use totals::Totals;
pub(in crate::actors) use values::GatherYield;
pub use values::Yielded;
use values::{Then, Wanted};

/// Brings tasks and offers together.
pub(super) struct Scheduler {
    runs: HashMap<RunId, Run>,
    /// In order, so that what is said about all is said in the same order again.
    supervisors: BTreeMap<TaskId, Addr<Supervisor>>,
    /// Those of them that died, and are being made again.
    reviving: BTreeSet<TaskId>,
    /// Launches that may be accepted, each on its agent: they are saved.
    intended: HashMap<LaunchId, String>,
    /// How many tasks wait for an offer.
    waiting: usize,
    /// Those of them that are put together still: an offer is of no use to them yet.
    composing: HashSet<TaskId>,
    /// What is being read of what tasks have left, and what is to be done then.
    gathering: HashMap<Wanted, Vec<Then>>,
    /// Since when there are such.
    hungry: Option<Duration>,
    /// The drought that was told last, by its beginning.
    drought: Option<Duration>,
    /// Where those are that constraints compare others with, as far as it is known.
    spread: PeerLocations,
    market: Market,
    /// Why there is no subscription, when there is none, and since when.
    trouble: Option<(String, Duration)>,
    /// Whose resources are asked for.
    role: String,
    matcher: Addr<Matcher>,
    /// What was submitted under a key of the client's.
    keys: HashMap<String, Arc<RunRecord>>,
    /// Launches that are asked about until the cluster answers.
    questions: Unanswered,
    /// Launches that are killed until they have ended.
    kills: Unanswered,
    /// When everything is asked about; `None` without a subscription.
    rounds: Option<ReconcileSchedule>,
    counters: Arc<Counters>,
    /// How much is kept of ended runs.
    keep: Keep,
    /// Whether it is noted what ended tasks have left, and of which that is still to be done.
    keeps_results: bool,
    index: Index,
    /// Where results are kept beyond their runs, if they are.
    cache: Option<Cache>,
    /// When it was last looked there for what nobody asks for.
    cache_tidied: Option<Duration>,
    /// It is looked for what is kept no longer.
    tidying: bool,
    /// The cluster has been left: nothing more is said to it.
    gone: bool,
    wires: Rc<Wires>,
    /// What an earlier life has left, until it is taken up.
    contents: Contents,
}

/// How often supervisors are looked after.
const ROUND: Duration = Duration::from_secs(1);

impl Scheduler {
    /// With what an earlier life has left.
    pub(super) fn new(
        contents: Contents,
        matcher: Addr<Matcher>,
        counters: Arc<Counters>,
        (keep, keeps_results, cache): (Keep, bool, Option<Cache>),
        role: String,
        wires: Rc<Wires>,
    ) -> Self {
        Self {
            runs: HashMap::new(),
            supervisors: BTreeMap::new(),
            reviving: BTreeSet::new(),
            intended: HashMap::new(),
            waiting: 0,
            composing: HashSet::new(),
            gathering: HashMap::new(),
            hungry: None,
            drought: None,
            spread: PeerLocations::default(),
            market: Market::default(),
            trouble: Some(("it has not answered yet".to_owned(), wires.clock.elapsed())),
            role,
            matcher,
            keys: HashMap::new(),
            questions: Unanswered::default(),
            kills: Unanswered::default(),
            rounds: None,
            counters,
            keep,
            keeps_results,
            index: Index::default(),
            cache,
            cache_tidied: None,
            tidying: false,
            gone: false,
            wires,
            contents,
        }
    }

    fn ask(&self, request: Request) {
        if !self.gone {
            tell_recipient(&self.wires.connection, request);
        }
    }

    fn task(&self, id: TaskId) -> Option<TaskView<'_>> {
        self.runs.get(&id.run)?.task(id.number)
    }

    /// Some run is not over: offers will be of use.
    fn has_work(&self) -> bool {
        self.runs.values().any(|run| !run.is_over())
    }

    /// Offers what waits to what is offered; asks for offers, or to be spared them.
    fn trade(&mut self) {
        let now = self.wires.clock.elapsed();
        let waits = self.waiting > self.composing.len();
        self.hungry = waits.then(|| self.hungry.unwrap_or(now));
        if waits {
            let offers = self.market.take_idle();
            if !offers.is_empty() {
                tell(&self.matcher, MatchNow { offers, now: self.wires.clock.now() });
            } else if self.market.wants_revive(now) {
                self.ask(Request::Revive);
            }
        } else {
            let declined = self.market.decline_idle(now, self.has_work());
            if let Some(decline) = declined {
                self.ask(decline);
            }
            if !self.has_work() && self.market.wants_suppress() {
                self.ask(Request::Suppress);
            }
        }
    }

    /// Puts tasks into the queue for offers of which everything is known that goes into them.
    fn queue(&mut self, tasks: Vec<TaskId>) {
        if tasks.is_empty() {
            return;
        }
        for task in &tasks {
            self.composing.remove(task);
        }
        self.market.hear_news();
        let asked = |task| {
            let spec = self.task(task)?.spec;
            Some(Asked { task, wants: spec.demand(task.run), priority: spec.policy.priority })
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
                self.composing.remove(&id);
                // To be launched, it has left the queue already; whatever else became of it, it must now.
                if after != State::Launching {
                    tell(&self.matcher, Dequeue(id));
                }
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Changes what is known of a task.
    fn set_row(&mut self, id: TaskId, change: impl FnOnce(&mut Row)) {
        let now = self.wires.clock.elapsed();
        let Some(row) = self.runs.get_mut(&id.run).and_then(|run| run.row_mut(id.number)) else { return };
        let before = row.state;
        change(row);
        let after = row.state;
        if before != after {
            row.since = now;
        }
        self.count_waiting(id, before, after);
        if before.is_active() != after.is_active() {
            self.see_where(id);
        }
    }

    /// Notes where a task is, if constraints compare others with it.
    pub(super) fn see_where(&mut self, id: TaskId) {
        let Some(run) = self.runs.get(&id.run) else { return };
        let Some(TaskView { spec, row, .. }) = run.task(id.number).filter(|task| task.spec.is_grouped())
        else {
            return;
        };
        match row.agent.as_deref().filter(|_| row.state.is_active()) {
            Some(agent) => {
                let (demand, agent) = (spec.demand(id.run), agent.to_owned());
                self.spread.insert(id, &demand, &agent);
                // The matcher has decided it, unless it was in an earlier life.
                tell(&self.matcher, IsOut { task: id, demand, agent });
            }
            None => {
                self.spread.remove(id);
                tell(&self.matcher, CameBack(id));
            }
        }
    }

    /// Something could not be saved: nothing can be promised any more.
    fn fail(&self, unsaved: &Unsaved) {
        let _nobody = self.wires.broken.send(Broken { reason: unsaved.to_string() });
    }
}

impl Drop for Scheduler {
    /// One that dies of a bug leaves nobody to run anything: the program ends, and its next start takes all up again.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _nobody =
                self.wires.broken.send(Broken { reason: "the scheduler has died of a bug".to_owned() });
        }
    }
}

impl Actor for Scheduler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let contents = std::mem::take(&mut self.contents);
        self.restore(contents, ctx);
        ctx.run_interval(ROUND, Self::look_around);
        ctx.run_interval(ROUND, Self::index_results);
        ctx.run_interval(retention::EACH, Self::tidy);
    }
}

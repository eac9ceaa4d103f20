//! Runs, offers, and who runs next.
//!
//! Keeps a row for every task of every run, and the offers that are not answered yet. What a task does is
//! decided by `task::step`, where it goes by `offer::match_offers`; here both are only brought together.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, ResponseActFuture, ResponseFuture,
};
use bytes::Bytes;
use futures_util::future::ready;

use super::connection::{Broken, ConnectionLost, EventReceived, Request};
use super::feed::{RunEnded, RunState};
use super::keeper::Unsaved;
use super::market::Market;
use super::matcher::{Dequeue, Enqueue, MatchNow, Matched, Matcher};
use super::run::{Row, Run, TaskView};
use super::supervisor::{Happened, Placed, StatusUpdated, Supervisor, TaskChanged, TaskQueued, Wires, frame};
use super::{tell, tell_recipient};
use crate::mesos::conditions::condition;
use crate::mesos::{Chunk, Event, Place, SandboxError, StatusUpdate, tasks};
use crate::offer::{Placement, Reason};
use crate::spec::Plan;
use crate::store::{RunRecord, TaskRecord, Write};
use crate::task::{Condition, Effect, Input, LaunchId, Resources, RunId, State, TaskId, step};

/// Brings tasks and offers together.
pub(super) struct Scheduler {
    runs: HashMap<RunId, Run>,
    supervisors: HashMap<TaskId, Addr<Supervisor>>,
    /// Launches that may be accepted: they are saved.
    intended: HashSet<LaunchId>,
    /// How many tasks wait for an offer.
    waiting: usize,
    /// Why the last round did not place what asks for this.
    why: HashMap<Resources, Reason>,
    market: Market,
    /// Why there is no subscription, when there is none.
    trouble: Option<String>,
    matcher: Addr<Matcher>,
    run_ends: actix::Recipient<RunEnded>,
    wires: Rc<Wires>,
}

/// A document to be run.
#[derive(Debug)]
pub struct Submission {
    /// What the document is called.
    pub title: String,
    /// The document, byte for byte.
    pub document: Bytes,
    /// What it comes down to.
    pub plan: Plan,
}

/// Run this document. Answered once every task of it is on disk.
#[derive(Debug, Message)]
#[rtype(result = "Result<Accepted, Unsaved>")]
pub(super) struct SubmitDocument(pub(super) Submission);

/// A run was accepted: nothing of it is lost from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub run: RunId,
}

/// End this task; answered `false` when there is no such task.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub(super) struct KillTask(pub(super) TaskId);

/// End every task of this run; answered `false` when there is no such run.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub(super) struct KillRun(pub(super) RunId);

/// A piece of a file of a launch's sandbox.
#[derive(Debug, Message)]
#[rtype(result = "Result<Chunk, SandboxError>")]
pub(super) struct ReadOutput {
    pub(super) launch: LaunchId,
    pub(super) path: &'static str,
    pub(super) offset: u64,
    pub(super) length: usize,
}

/// Leave the cluster.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Leave;

/// What of this run waits for an offer, and why?
#[derive(Debug, Message)]
#[rtype(result = "Vec<Waiting>")]
pub(super) struct ListWaiting(pub(super) RunId);

/// A task that waits for an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The block's name, or `line-14`.
    pub block: String,
    /// The block's line.
    pub line: u32,
    /// How long it has waited.
    pub waited: Duration,
    /// Why, in the document's words.
    pub reason: String,
}

/// How many launches must be unsaved ahead before they are saved without need.
const SAVE_AHEAD: usize = 32;
/// How often supervisors are looked after.
const ROUND: Duration = Duration::from_secs(1);
/// How long a cluster may take to say something of a launch, or a kill, before it is asked.
const PATIENCE: Duration = Duration::from_secs(10);

impl Scheduler {
    pub(super) fn new(
        matcher: Addr<Matcher>,
        run_ends: actix::Recipient<RunEnded>,
        wires: Rc<Wires>,
    ) -> Self {
        Self {
            runs: HashMap::new(),
            supervisors: HashMap::new(),
            intended: HashSet::new(),
            waiting: 0,
            why: HashMap::new(),
            market: Market::default(),
            trouble: Some("the cluster has not answered yet".to_owned()),
            matcher,
            run_ends,
            wires,
        }
    }

    fn ask(&self, request: Request) {
        tell_recipient(&self.wires.connection, request);
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
        if self.waiting > 0 {
            let offers = self.market.take_idle();
            if !offers.is_empty() {
                tell(&self.matcher, MatchNow(offers));
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

    // Tasks.

    /// Something happened to a task: its supervisor's business, if it has one.
    fn happen(&mut self, id: TaskId, input: Input, ctx: &mut Context<Self>) {
        if let Some(supervisor) = self.supervisors.get(&id) {
            tell(supervisor, Happened(input));
            return;
        }
        let Some(task) = self.task(id) else { return };
        let before = task.row.state;
        let step = step(before, input, &task.row.history, &task.spec.policy);
        let now = self.wires.clock.elapsed();
        let Some(row) = self.runs.get_mut(&id.run).and_then(|run| run.row_mut(id.number)) else { return };
        *row = Row { state: step.next, history: step.history, since: now, ..row.clone() };
        self.count_waiting(id, before, step.next);
        if step.effects.contains(&Effect::Save) {
            let Some(record) = self.task(id).map(|task| task.record()) else { return };
            let saved = self.wires.keeper.save(vec![Write::Task(record)]);
            ctx.spawn(saved.into_actor(self).map(move |saved, this, ctx| match saved {
                Ok(()) => this.perform(id, step.effects, ctx),
                Err(unsaved) => this.fail(&unsaved),
            }));
        } else {
            self.perform(id, step.effects, ctx);
        }
    }

    fn perform(&mut self, id: TaskId, effects: &[Effect], ctx: &mut Context<Self>) {
        for effect in effects {
            match effect {
                // Done before, or of no meaning before a first launch.
                Effect::Save | Effect::Pause | Effect::Kill | Effect::Reconcile => {}
                Effect::Queue => self.enqueue(vec![id]),
                Effect::Publish => {
                    if let Some(run) = self.runs.get(&id.run)
                        && let Some(task) = run.task(id.number)
                    {
                        let frame = frame(&run.record, task.spec, &task.record(), None, &self.wires.clock);
                        tell_recipient(&self.wires.feed, frame);
                    }
                    self.pass_on(id, ctx);
                }
            }
        }
        self.trade();
    }

    /// A task's new state is known to all: what follows for the tasks that wait for it, and for the run.
    fn pass_on(&mut self, id: TaskId, ctx: &mut Context<Self>) {
        let Some(run) = self.runs.get_mut(&id.run) else { return };
        let told = run.passed_on(id.number);
        let why = run.task(id.number).map(|TaskView { spec, row, .. }| {
            let (block, line) = (&spec.block, spec.line);
            match row.state {
                State::Failed => format!("it requires `{block}` (line {line}), which failed"),
                state => format!("it requires `{block}` (line {line}), which was {state}"),
            }
        });
        for (number, input) in told {
            let waiting = id.run.task(number);
            if input == Input::Deprived {
                self.set_row(waiting, |row| row.message.clone_from(&why));
            }
            self.happen(waiting, input, ctx);
        }
        self.end_if_over(id.run);
    }

    fn end_if_over(&mut self, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        let state = run.state();
        if state != RunState::Running {
            let ended = RunEnded { seq: 0, time: self.wires.clock.now(), run: id, state };
            tell_recipient(&self.run_ends, ended);
        }
    }

    fn enqueue(&mut self, tasks: Vec<TaskId>) {
        if tasks.is_empty() {
            return;
        }
        self.market.hear_news();
        let asked = tasks.into_iter().filter_map(|id| Some((id, self.task(id)?.spec.resources))).collect();
        tell(&self.matcher, Enqueue(asked));
    }

    fn count_waiting(&mut self, id: TaskId, before: State, after: State) {
        match (before == State::Queued, after == State::Queued) {
            (false, true) => self.waiting += 1,
            (true, false) => {
                self.waiting = self.waiting.saturating_sub(1);
                // To be launched, it has left the queue already; whatever else became of it, it must now.
                if after != State::Launching {
                    tell(&self.matcher, Dequeue(id));
                }
            }
            (true, true) | (false, false) => {}
        }
    }

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
    }

    fn fail(&self, unsaved: &Unsaved) {
        let _nobody = self.wires.broken.send(Broken { reason: unsaved.to_string() });
    }

    // Launches.

    /// The launch a task would have next, if it still waits for one.
    fn next_launch(&self, id: TaskId) -> Option<LaunchId> {
        let row = self.task(id)?.row;
        (row.state == State::Queued).then(|| id.launch(row.history.attempt + 1))
    }

    /// Launches `placement` on its offer. What is not to be launched any more is left out; what cannot be
    /// because its offer is gone goes back into the queue.
    fn accept(&mut self, placement: Placement) {
        let Some(held) = self.market.remove(&placement.offer) else {
            let still = placement.tasks.into_iter().filter(|&id| self.next_launch(id).is_some()).collect();
            self.enqueue(still);
            return;
        };
        let Some(framework) = self.market.framework.clone() else { return };
        let mut offered = held.resources;
        let mut infos = Vec::with_capacity(placement.tasks.len());
        for id in placement.tasks {
            let Some(launch) = self.next_launch(id) else { continue };
            let Some(task) = self.task(id) else { continue };
            let Some(resources) = offered.take(&tasks::quantities(&task.spec.resources)) else {
                // Reckoned in whole numbers it fitted; in the wire's own it does not.
                self.enqueue(vec![id]);
                continue;
            };
            infos.push(tasks::info(launch, task.spec, &placement.agent, resources));
            self.intended.remove(&launch);
            let placed = Placed { agent: placement.agent.clone(), framework: framework.clone() };
            if let Some(supervisor) = self.supervise(id) {
                tell(&supervisor, placed);
            }
            self.set_row(id, |row| row.state = State::Launching);
        }
        if infos.is_empty() {
            let decline = self.market.decline(vec![placement.offer]);
            self.ask(decline);
        } else {
            self.market.left_over();
            let epoch = self.market.epoch;
            self.ask(Request::Accept { epoch, offer: placement.offer, tasks: infos });
        }
    }

    /// The task's supervisor; made now if it has none.
    fn supervise(&mut self, id: TaskId) -> Option<Addr<Supervisor>> {
        if let Some(supervisor) = self.supervisors.get(&id) {
            return Some(supervisor.clone());
        }
        let run = self.runs.get(&id.run)?;
        let task = run.task(id.number)?;
        let supervisor =
            Supervisor::new(run.record.clone(), task.spec.clone(), task.record(), self.wires.clone()).start();
        self.supervisors.insert(id, supervisor.clone());
        Some(supervisor)
    }

    // What the cluster says.

    fn updated(&mut self, update: Box<StatusUpdate>) {
        let launch: Option<LaunchId> = update.launch.parse().ok();
        if let Some(launch) = launch
            && let Some(supervisor) = self.supervisors.get(&launch.task)
        {
            tell(supervisor, StatusUpdated { launch, update });
            return;
        }
        // Of a task that has ended, or that nobody here has heard of: nothing is to be saved.
        if let Some(launch) = launch
            && matches!(condition(&update), Condition::Starting | Condition::Running)
        {
            log::warn!("{launch} runs, and nobody wants it: it is killed");
            self.ask(Request::Kill { launch, agent: update.agent.clone() });
        }
        self.ask(Request::Acknowledge(update));
    }

    fn subscribed(&mut self, epoch: u64, framework: String, ctx: &mut Context<Self>) {
        self.trouble = None;
        let is_new = self.market.framework.as_ref() != Some(&framework);
        self.market.subscribed(epoch, framework.clone());
        if is_new {
            log::info!("registered as framework {framework}");
            let saved = self.wires.keeper.save(vec![Write::Framework(framework)]);
            ctx.spawn(saved.into_actor(self).map(|saved, this, _| {
                if let Err(unsaved) = saved {
                    this.fail(&unsaved);
                }
            }));
        }
        let launched: Vec<_> = self
            .supervisors
            .keys()
            .filter_map(|&id| self.task(id))
            .filter(|task| is_out(task.row.state))
            .map(|task| (task.id.launch(task.row.history.attempt), task.row.agent.clone()))
            .collect();
        if !launched.is_empty() {
            self.ask(Request::Reconcile(launched));
        }
        self.trade();
    }

    /// Looks after supervisors: one that died is made again from what it last told; one that has heard
    /// nothing for too long asks.
    fn look_around(&mut self, _: &mut Context<Self>) {
        let now = self.wires.clock.elapsed();
        let dead: Vec<TaskId> =
            self.supervisors.iter().filter(|(_, addr)| !addr.connected()).map(|(&id, _)| id).collect();
        for id in dead {
            self.supervisors.remove(&id);
            let Some(state) = self.task(id).map(|task| task.row.state) else { continue };
            if is_out(state) || state == State::Delayed {
                log::error!("the supervisor of {id} died; it is made again");
                if let Some(supervisor) = self.supervise(id) {
                    let input = if state == State::Delayed { Input::PauseOver } else { Input::Silence };
                    tell(&supervisor, Happened(input));
                }
            }
        }
        for (&id, supervisor) in &self.supervisors {
            let Some(task) = self.task(id) else { continue };
            let silent = now.saturating_sub(task.row.since) >= PATIENCE;
            if silent && matches!(task.row.state, State::Launching | State::Unreachable | State::Killing) {
                tell(supervisor, Happened(Input::Silence));
            }
        }
        self.trade();
    }
}

/// A launch of a task in this state may be known to a cluster.
fn is_out(state: State) -> bool {
    matches!(state, State::Launching | State::Running | State::Unreachable | State::Killing)
}

impl Actor for Scheduler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(ROUND, Self::look_around);
    }
}

impl Handler<SubmitDocument> for Scheduler {
    type Result = ResponseActFuture<Self, Result<Accepted, Unsaved>>;

    fn handle(&mut self, SubmitDocument(submission): SubmitDocument, _: &mut Context<Self>) -> Self::Result {
        let Submission { title, document, plan } = submission;
        let record = Arc::new(RunRecord {
            id: RunId(self.wires.clock.uuid()),
            accepted: self.wires.clock.now(),
            title,
            document,
            tasks: plan.tasks,
            edges: plan.edges,
        });
        let saved = self.wires.keeper.save(vec![Write::Run(record.clone())]);
        Box::pin(saved.into_actor(self).map(move |saved, this, _| {
            saved?;
            let id = record.id;
            let run = Run::new(record, this.wires.clock.elapsed());
            let free: Vec<_> =
                run.tasks().filter(|task| task.row.state == State::Queued).map(|task| task.id).collect();
            for task in run.tasks() {
                let frame = frame(&run.record, task.spec, &task.record(), None, &this.wires.clock);
                tell_recipient(&this.wires.feed, frame);
            }
            this.runs.insert(id, run);
            this.waiting += free.len();
            this.enqueue(free);
            this.end_if_over(id);
            this.trade();
            Ok(Accepted { run: id })
        }))
    }
}

impl Handler<KillTask> for Scheduler {
    type Result = bool;

    fn handle(&mut self, KillTask(id): KillTask, ctx: &mut Context<Self>) -> bool {
        let known = self.task(id).is_some();
        self.happen(id, Input::KillAsked, ctx);
        known
    }
}

impl Handler<KillRun> for Scheduler {
    type Result = bool;

    fn handle(&mut self, KillRun(id): KillRun, ctx: &mut Context<Self>) -> bool {
        let Some(run) = self.runs.get_mut(&id) else { return false };
        run.kill_asked |= !run.is_over();
        let open: Vec<TaskId> =
            run.tasks().filter(|task| !task.row.state.is_final()).map(|task| task.id).collect();
        for task in open {
            self.happen(task, Input::KillAsked, ctx);
        }
        true
    }
}

impl Handler<Leave> for Scheduler {
    type Result = ();

    fn handle(&mut self, _: Leave, _: &mut Context<Self>) {
        self.ask(Request::Disconnect);
    }
}

impl Handler<ReadOutput> for Scheduler {
    type Result = ResponseFuture<Result<Chunk, SandboxError>>;

    fn handle(&mut self, message: ReadOutput, _: &mut Context<Self>) -> Self::Result {
        let ReadOutput { launch, path, offset, length } = message;
        let agent = self.task(launch.task).and_then(|task| task.row.agent.clone());
        let (Some(agent), Some(framework)) = (agent, self.market.framework.clone()) else {
            // Never launched: nothing was written.
            return Box::pin(ready(Err(SandboxError::Missing(path.to_owned()))));
        };
        let place = Place { agent, framework, executor: launch.to_string() };
        self.wires.sandbox.read(&place, path, offset, length)
    }
}

impl Handler<ListWaiting> for Scheduler {
    type Result = Vec<Waiting>;

    fn handle(&mut self, ListWaiting(id): ListWaiting, _: &mut Context<Self>) -> Vec<Waiting> {
        let now = self.wires.clock.elapsed();
        let reason = |wants: &Resources| match (&self.trouble, self.why.get(wants)) {
            (Some(trouble), _) => trouble.clone(),
            (None, Some(reason)) => reason.to_string(),
            (None, None) => "the cluster has offered nothing since".to_owned(),
        };
        let queued = |run: &Run| -> Vec<Waiting> {
            run.tasks()
                .filter(|task| task.row.state == State::Queued)
                .map(|task| Waiting {
                    block: task.spec.block.clone(),
                    line: task.spec.line,
                    waited: now.saturating_sub(task.row.since),
                    reason: reason(&task.spec.resources),
                })
                .collect()
        };
        self.runs.get(&id).map(queued).unwrap_or_default()
    }
}

impl Handler<EventReceived> for Scheduler {
    type Result = ();

    fn handle(&mut self, EventReceived { epoch, event }: EventReceived, ctx: &mut Context<Self>) {
        match event {
            Event::Subscribed { framework, .. } => self.subscribed(epoch, framework, ctx),
            Event::Offers(offers) => {
                let now = self.wires.clock.elapsed();
                for offer in offers {
                    self.market.add(offer, epoch, now);
                }
                self.trade();
            }
            Event::Rescind(offer) => {
                self.market.remove(&offer);
            }
            Event::Update(update) => self.updated(update),
            Event::Failure { agent, executor, status } => {
                // Each task it meant has an update of its own.
                log::debug!("agent {agent:?} or its executor {executor:?} failed, status {status:?}");
            }
            Event::InverseOffers(_)
            | Event::RescindInverseOffer(_)
            | Event::OperationUpdate(_)
            | Event::Message { .. }
            | Event::Heartbeat
            | Event::Unknown(_) => {}
            // The connection has seen to it.
            Event::Error(_) => {}
        }
    }
}

impl Handler<ConnectionLost> for Scheduler {
    type Result = ();

    fn handle(&mut self, ConnectionLost { reason }: ConnectionLost, _: &mut Context<Self>) {
        self.trouble = Some(reason);
        self.market.lost();
    }
}

impl Handler<Matched> for Scheduler {
    type Result = ();

    fn handle(&mut self, Matched { matching, ahead }: Matched, ctx: &mut Context<Self>) {
        self.why = matching.unmatched.into_iter().collect();
        let declined: Vec<String> =
            matching.declined.into_iter().filter(|offer| self.market.remove(offer).is_some()).collect();
        if !declined.is_empty() {
            let decline = self.market.decline(declined);
            self.ask(decline);
        }
        let placements = matching.placements;
        let unsaved = |this: &Self, tasks: &mut dyn Iterator<Item = TaskId>| -> Vec<LaunchId> {
            tasks.filter_map(|id| this.next_launch(id)).filter(|id| !this.intended.contains(id)).collect()
        };
        let mut launches = unsaved(self, &mut placements.iter().flat_map(|p| p.tasks.iter().copied()));
        let foreseen = unsaved(self, &mut ahead.into_iter());
        let must_wait = !launches.is_empty();
        if must_wait || foreseen.len() >= SAVE_AHEAD {
            launches.extend(foreseen);
        }
        if !must_wait {
            for placement in placements {
                self.accept(placement);
            }
            if launches.is_empty() {
                return;
            }
            let saved = self.wires.keeper.save(vec![Write::Intents(launches.clone())]);
            ctx.spawn(saved.into_actor(self).map(move |saved, this, _| match saved {
                Ok(()) => this.intended.extend(launches),
                Err(unsaved) => this.fail(&unsaved),
            }));
            return;
        }
        let saved = self.wires.keeper.save(vec![Write::Intents(launches.clone())]);
        ctx.spawn(saved.into_actor(self).map(move |saved, this, _| match saved {
            Ok(()) => {
                this.intended.extend(launches);
                for placement in placements {
                    this.accept(placement);
                }
            }
            Err(unsaved) => this.fail(&unsaved),
        }));
    }
}

impl Handler<TaskQueued> for Scheduler {
    type Result = ();

    fn handle(&mut self, TaskQueued(id): TaskQueued, _: &mut Context<Self>) {
        self.set_row(id, |row| row.state = State::Queued);
        self.enqueue(vec![id]);
        self.trade();
    }
}

impl Handler<TaskChanged> for Scheduler {
    type Result = ();

    fn handle(&mut self, TaskChanged(task): TaskChanged, ctx: &mut Context<Self>) {
        let TaskRecord { id, state, history, agent, message } = task;
        self.set_row(id, |row| *row = Row { state, history, agent, message, since: row.since });
        if state.is_final() {
            self.supervisors.remove(&id);
        }
        self.pass_on(id, ctx);
    }
}

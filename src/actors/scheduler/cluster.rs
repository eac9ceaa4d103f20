//! What the cluster says.

use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context, Handler};

use super::super::connection::{ConnectionLost, EventReceived, Request};
use super::super::sabotage::{Bug, is_planted};
use super::super::supervisor::{Happened, StatusUpdated};
use super::super::tell;
use super::Scheduler;
use crate::mesos::conditions::condition;
use crate::mesos::messages::InverseOffer;
use crate::mesos::{Event, StatusUpdate};
use crate::store::{RunMark, TaskRecord, Write};
use crate::task::{Condition, Input, LaunchId, ReconcileSchedule, Reconciliation, State, TaskId};

/// When the cluster asks again for an agent that is not given back.
const ASKED_AGAIN: Duration = Duration::from_secs(60);
/// How long a cluster may take to say something of a launch, or a kill, before it is asked.
const PATIENCE: Duration = Duration::from_secs(10);

impl Scheduler {
    pub(super) fn updated(&mut self, update: Box<StatusUpdate>) {
        let launch: Option<LaunchId> = update.launch.parse().ok();
        if let Some(launch) = launch {
            // That nobody knows is no answer.
            if condition(&update) != Condition::Lost {
                self.questions.cancel(launch);
            }
        }
        if let Some(launch) = launch
            && let Some(supervisor) = self.supervisors.get(&launch.task)
        {
            tell(supervisor, StatusUpdated { launch, update });
            return;
        }
        // Of a task that has ended, or that nobody here has heard of: nothing is to be saved.
        if matches!(condition(&update), Condition::Starting | Condition::Running) {
            log::warn!("{} runs, and nobody wants it: it is killed", update.launch);
            self.ask(Request::Kill { launch: update.launch.clone(), agent: update.agent.clone() });
        }
        self.ask(Request::Acknowledge(update));
    }

    pub(super) fn subscribed(&mut self, epoch: u64, framework: String, ctx: &mut Context<Self>) {
        self.trouble = None;
        let is_new = self.market.framework.as_ref() != Some(&framework);
        self.market.subscribed(epoch, framework.clone(), self.wires.clock.elapsed());
        log::info!("Framework registered with id {framework}{}", if is_new { "" } else { ", again" });
        if is_new {
            self.save(vec![Write::Framework(framework)], Vec::new(), ctx, |_, _| {});
        }
        // Whatever was asked or said before went to a master that may be gone.
        let now = self.wires.clock.elapsed();
        self.rounds = Some(ReconcileSchedule::subscribed(now));
        self.ask_about_all(now);
        self.kills.expire_all(now);
        self.remind(now);
        self.trade();
    }

    /// Looks after supervisors and after what was not answered.
    pub(super) fn look_around(&mut self, ctx: &mut Context<Self>) {
        self.revive_dead(ctx);
        self.remind(self.wires.clock.elapsed());
        self.trade();
        self.tell_drought();
    }

    /// Supervisors that died are made again from the store: what they took in and did not tell may have been
    /// acknowledged, and will not be said again.
    fn revive_dead(&mut self, ctx: &mut Context<Self>) {
        let dead = self.supervisors.iter().filter(|(_, addr)| !addr.connected()).map(|(&id, _)| id);
        let dead: Vec<TaskId> = dead.filter(|id| !self.reviving.contains(id)).collect();
        for id in dead {
            // It keeps its place until then: what comes meanwhile is not for nobody.
            self.reviving.insert(id);
            let recalled = self.wires.keeper.recall(id).into_actor(self);
            ctx.spawn(recalled.map(move |recalled, this, ctx| match recalled {
                Ok(stored) => this.revive(id, stored, ctx),
                Err(unsaved) => this.fail(&unsaved),
            }));
        }
    }

    fn revive(&mut self, id: TaskId, stored: Option<TaskRecord>, ctx: &mut Context<Self>) {
        self.reviving.remove(&id);
        self.supervisors.remove(&id);
        self.counters.supervisors_rebuilt.increment();
        log::error!("the supervisor of {id} died; it is made again");
        let Some(row) = self.task(id).map(|task| task.row) else { return };
        // A launch is saved as an intent: of one that only begins, the task as it was saved says nothing. Nor is it
        // saved that a pause is over: who is queued since keeps its place, and is not paused again.
        let news = stored.filter(|stored| {
            stored.history.attempt == row.history.attempt
                && stored.state != row.state
                && (stored.state, row.state) != (State::Delayed, State::Queued)
        });
        if let Some(stored) = news {
            if stored.state == State::Queued {
                self.enqueue(vec![id], ctx);
            }
            self.changed(stored, ctx);
        }
        let Some(row) = self.task(id).map(|task| task.row) else { return };
        let (state, launch) = (row.state, id.launch(row.history.attempt));
        if state.is_active() {
            self.supervise(id);
            self.watch_for_silence(launch, state);
            self.questions.restart(launch, self.wires.clock.elapsed());
        } else if state == State::Delayed {
            self.supervise(id);
        }
        // It may have died of just that.
        if self.runs.get(&id.run).is_some_and(|run| run.mark == Some(RunMark::KillAsked)) {
            self.happen(id, Input::KillRequested, ctx);
        }
        self.trade();
    }

    /// Says again what was not answered.
    fn remind(&mut self, now: Duration) {
        let Some(rounds) = &mut self.rounds else { return };
        let clock = self.wires.clock.clone();
        match rounds.due(now, clock.chance()) {
            Some(Reconciliation::Explicit) => self.ask_about_all(now),
            Some(Reconciliation::Implicit) => self.ask(Request::Reconcile(Vec::new())),
            None => {}
        }
        let asked: Vec<_> = self
            .questions
            .due(now, || clock.chance())
            .into_iter()
            .map(|launch| (launch, self.task(launch.task).and_then(|task| task.row.agent.clone())))
            .collect();
        if !asked.is_empty() && !is_planted(Bug::NeverReconciles) {
            self.ask(Request::Reconcile(asked));
        }
        for launch in self.kills.due(now, || clock.chance()) {
            if let Some(supervisor) = self.supervisors.get(&launch.task) {
                tell(supervisor, Happened(Input::StatusTimeout));
            }
        }
    }

    /// Every launch that may be out is asked about, at once.
    fn ask_about_all(&mut self, now: Duration) {
        let out: Vec<LaunchId> = self
            .supervisors
            .keys()
            .filter_map(|&id| self.task(id))
            .filter(|task| task.row.state.is_active())
            .map(|task| task.id.launch(task.row.history.attempt))
            .collect();
        for launch in out {
            self.questions.restart(launch, now);
        }
    }

    /// The cluster wants agents back for maintenance: those on which nothing of ours runs it can have.
    fn wanted_back(&self, epoch: u64, offers: Vec<InverseOffer>) {
        let ours = |agent: &str| {
            let mut tasks = self.supervisors.keys().filter_map(|&id| self.task(id));
            tasks.any(|task| task.row.state.is_active() && task.row.agent.as_deref() == Some(agent))
        };
        let is_busy = |offer: &InverseOffer| offer.agent_id.as_ref().is_none_or(|agent| ours(&agent.value));
        let (busy, free): (Vec<_>, Vec<_>) = offers.into_iter().partition(is_busy);
        let ids = |offers: Vec<InverseOffer>| offers.into_iter().map(|offer| offer.id.value).collect();
        if !free.is_empty() {
            self.ask(Request::GiveBack { epoch, offers: ids(free) });
        }
        if !busy.is_empty() {
            log::info!("{} agents are wanted back while blocks run on them", busy.len());
            self.ask(Request::Keep { epoch, offers: ids(busy), refuse: ASKED_AGAIN });
        }
    }

    /// A task is in a new state: whether its launch is to be asked about, or to be killed again, if nothing is
    /// heard of it.
    pub(super) fn watch_for_silence(&mut self, launch: LaunchId, state: State) {
        let patience = self.wires.clock.elapsed() + PATIENCE;
        match state {
            State::Launching | State::Unreachable => self.questions.add(launch, patience),
            State::Killing => self.kills.add(launch, patience),
            State::Running => {}
            State::Held
            | State::Blocked
            | State::Queued
            | State::Delayed
            | State::Finished
            | State::Failed
            | State::Killed
            | State::Skipped => {
                self.questions.cancel(launch);
                self.kills.cancel(launch);
            }
        }
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
                    let id = offer.id.value.clone();
                    if let Some((agent, free)) = self.market.add(offer, epoch, now) {
                        log::info!("[ {id} ] Received offer with {free}");
                        self.spread.update_agent(&agent);
                    }
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
            Event::InverseOffers(offers) => self.wanted_back(epoch, offers),
            Event::RescindInverseOffer(_)
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
        // Out of reach since the first time.
        let since = self.trouble.as_ref().map_or_else(|| self.wires.clock.elapsed(), |(_, since)| *since);
        self.trouble = Some((reason, since));
        self.rounds = None;
        self.market.lost();
    }
}

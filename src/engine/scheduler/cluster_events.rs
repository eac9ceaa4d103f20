//! What the cluster says.

use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context, Handler};

use super::super::failpoints::{Failpoint, is_enabled};
use super::super::subscription::{ClusterCall, ConnectionLost, EventReceived};
use super::super::supervisor::{StatusUpdated, TaskInput};
use super::super::tell;
use super::Scheduler;
use borges_mesos::messages::InverseOffer;
use borges_mesos::status::condition;
use borges_mesos::{Event, StatusUpdate};
use borges_store::{RunMarker, TaskRecord, WriteOp};
use borges_task::{Condition, Input, LaunchId, ReconcileSchedule, Reconciliation, State, TaskId};

/// When the cluster asks again for an agent that is not given back.
const INVERSE_OFFER_REFUSE: Duration = Duration::from_secs(60);
/// How long a cluster may take to say something of a launch, or a kill, before it is asked.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

impl Scheduler {
    pub(super) fn on_status_update(&mut self, update: Box<StatusUpdate>) {
        let launch: Option<LaunchId> = update.launch.parse().ok();
        if let Some(launch) = launch {
            // That nobody knows is no answer.
            if condition(&update) != Condition::Lost {
                self.pending_reconciles.cancel(launch);
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
            self.send_to_cluster(ClusterCall::Kill {
                launch: update.launch.clone(),
                agent: update.agent.clone(),
            });
        }
        self.send_to_cluster(ClusterCall::Acknowledge(update));
    }

    pub(super) fn on_subscribed(&mut self, epoch: u64, framework: String, ctx: &mut Context<Self>) {
        self.disconnected = None;
        let is_new = self.market.framework.as_ref() != Some(&framework);
        self.market.subscribed(epoch, framework.clone(), self.deps.clock.elapsed());
        log::info!("Framework registered with id {framework}{}", if is_new { "" } else { ", again" });
        if is_new {
            self.save(vec![WriteOp::Framework(framework)], Vec::new(), ctx, |_, _| {});
        }
        // Whatever was asked or said before went to a master that may be gone.
        let now = self.deps.clock.elapsed();
        self.rounds = Some(ReconcileSchedule::subscribed(now));
        self.reconcile_all(now);
        self.pending_kills.expire_all(now);
        self.resend_unanswered(now);
        self.match_or_request_offers();
    }

    /// Looks after supervisors and after what was not answered.
    pub(super) fn on_tick(&mut self, ctx: &mut Context<Self>) {
        self.restart_dead_supervisors(ctx);
        self.resend_unanswered(self.deps.clock.elapsed());
        self.match_or_request_offers();
        self.log_starvation();
    }

    /// Supervisors that died are made again from the store: what they took in and did not tell may have been
    /// acknowledged, and will not be said again.
    fn restart_dead_supervisors(&mut self, ctx: &mut Context<Self>) {
        let dead = self.supervisors.iter().filter(|(_, addr)| !addr.connected()).map(|(&id, _)| id);
        let dead: Vec<TaskId> = dead.filter(|id| !self.reviving.contains(id)).collect();
        for id in dead {
            // It keeps its place until then: what comes meanwhile is not for nobody.
            self.reviving.insert(id);
            let recalled = self.deps.keeper.read_task(id).into_actor(self);
            ctx.spawn(recalled.map(move |recalled, this, ctx| match recalled {
                Ok(stored) => this.restart_supervisor(id, stored, ctx),
                Err(unsaved) => this.abort(&unsaved),
            }));
        }
    }

    fn restart_supervisor(&mut self, id: TaskId, stored: Option<TaskRecord>, ctx: &mut Context<Self>) {
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
                self.resolve_and_enqueue(vec![id], ctx);
            }
            self.on_task_changed(stored, ctx);
        }
        let Some(row) = self.task(id).map(|task| task.row) else { return };
        let (state, launch) = (row.state, id.launch(row.history.attempt));
        if state.is_active() {
            self.supervisor_of(id);
            self.arm_timeouts(launch, state);
            self.pending_reconciles.restart(launch, self.deps.clock.elapsed());
        } else if state == State::Delayed {
            self.supervisor_of(id);
        }
        // It may have died of just that.
        if self.runs.get(&id.run).is_some_and(|run| run.mark == Some(RunMarker::KillRequested)) {
            self.apply(id, Input::KillRequested, ctx);
        }
        self.match_or_request_offers();
    }

    /// Says again what was not answered.
    fn resend_unanswered(&mut self, now: Duration) {
        let Some(rounds) = &mut self.rounds else { return };
        let clock = self.deps.clock.clone();
        match rounds.due(now, clock.random_unit()) {
            Some(Reconciliation::Explicit) => self.reconcile_all(now),
            Some(Reconciliation::Implicit) => self.send_to_cluster(ClusterCall::Reconcile(Vec::new())),
            None => {}
        }
        let asked: Vec<_> = self
            .pending_reconciles
            .due(now, || clock.random_unit())
            .into_iter()
            .map(|launch| (launch, self.task(launch.task).and_then(|task| task.row.agent.clone())))
            .collect();
        if !asked.is_empty() && !is_enabled(Failpoint::SkipReconcile) {
            self.send_to_cluster(ClusterCall::Reconcile(asked));
        }
        for launch in self.pending_kills.due(now, || clock.random_unit()) {
            if let Some(supervisor) = self.supervisors.get(&launch.task) {
                tell(supervisor, TaskInput(Input::StatusTimeout));
            }
        }
    }

    /// Every launch that may be out is asked about, at once.
    fn reconcile_all(&mut self, now: Duration) {
        let out: Vec<LaunchId> = self
            .supervisors
            .keys()
            .filter_map(|&id| self.task(id))
            .filter(|task| task.row.state.is_active())
            .map(|task| task.id.launch(task.row.history.attempt))
            .collect();
        for launch in out {
            self.pending_reconciles.restart(launch, now);
        }
    }

    /// The cluster wants agents back for maintenance: those on which nothing of ours runs it can have.
    fn on_inverse_offers(&self, epoch: u64, offers: Vec<InverseOffer>) {
        let ours = |agent: &str| {
            let mut tasks = self.supervisors.keys().filter_map(|&id| self.task(id));
            tasks.any(|task| task.row.state.is_active() && task.row.agent.as_deref() == Some(agent))
        };
        let is_busy = |offer: &InverseOffer| offer.agent_id.as_ref().is_none_or(|agent| ours(&agent.value));
        let (busy, free): (Vec<_>, Vec<_>) = offers.into_iter().partition(is_busy);
        let ids = |offers: Vec<InverseOffer>| offers.into_iter().map(|offer| offer.id.value).collect();
        if !free.is_empty() {
            self.send_to_cluster(ClusterCall::AcceptInverseOffers { epoch, offers: ids(free) });
        }
        if !busy.is_empty() {
            log::info!("{} agents are wanted back while blocks run on them", busy.len());
            self.send_to_cluster(ClusterCall::DeclineInverseOffers {
                epoch,
                offers: ids(busy),
                refuse: INVERSE_OFFER_REFUSE,
            });
        }
    }

    /// A task is in a new state: whether its launch is to be asked about, or to be killed again, if nothing is
    /// heard of it.
    pub(super) fn arm_timeouts(&mut self, launch: LaunchId, state: State) {
        let patience = self.deps.clock.elapsed() + STATUS_TIMEOUT;
        match state {
            State::Launching | State::Unreachable => self.pending_reconciles.add(launch, patience),
            State::Killing => self.pending_kills.add(launch, patience),
            State::Running => {}
            State::Held
            | State::Blocked
            | State::Queued
            | State::Delayed
            | State::Finished
            | State::Failed
            | State::Killed
            | State::Skipped => {
                self.pending_reconciles.cancel(launch);
                self.pending_kills.cancel(launch);
            }
        }
    }
}

impl Handler<EventReceived> for Scheduler {
    type Result = ();

    fn handle(&mut self, EventReceived { epoch, event }: EventReceived, ctx: &mut Context<Self>) {
        match event {
            Event::Subscribed { framework, .. } => self.on_subscribed(epoch, framework, ctx),
            Event::Offers(offers) => {
                let now = self.deps.clock.elapsed();
                for offer in offers {
                    let id = offer.id.value.clone();
                    if let Some((agent, free)) = self.market.add(offer, epoch, now) {
                        log::info!("[ {id} ] Received offer with {free}");
                        self.spread.update_agent(&agent);
                    }
                }
                self.match_or_request_offers();
            }
            Event::Rescind(offer) => {
                self.market.remove(&offer);
            }
            Event::Update(update) => self.on_status_update(update),
            Event::Failure { agent, executor, status } => {
                // Each task it meant has an update of its own.
                log::debug!("agent {agent:?} or its executor {executor:?} failed, status {status:?}");
            }
            Event::InverseOffers(offers) => self.on_inverse_offers(epoch, offers),
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
        let since = self.disconnected.as_ref().map_or_else(|| self.deps.clock.elapsed(), |(_, since)| *since);
        self.disconnected = Some((reason, since));
        self.rounds = None;
        self.market.lost();
    }
}

//! Handles the events of the cluster: subscription, offers, status updates, reconciliation, and dead supervisors.

use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context, Handler};

use super::super::failpoints::{Failpoint, is_enabled};
use super::super::messages::{StatusUpdated, TaskInput};
use super::super::subscription::{ClusterCall, ConnectionLost, EventReceived};
use super::super::tell;
use super::Scheduler;
use borges_mesos::messages::InverseOffer;
use borges_mesos::status::condition;
use borges_mesos::{Event, StatusUpdate};
use borges_store::{RunMarker, TaskRecord, WriteOp};
use borges_task::{Condition, Input, LaunchId, ReconcileSchedule, Reconciliation, State, TaskId};

/// How long a declined inverse offer is refused.
const INVERSE_OFFER_REFUSE: Duration = Duration::from_secs(60);
/// How long the cluster may take to answer a launch or a kill, before it is asked again.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

impl Scheduler {
    pub(super) fn on_status_update(&mut self, update: Box<StatusUpdate>) {
        let launch: Option<LaunchId> = update.launch.parse().ok();
        if let Some(launch) = launch {
            // TASK_LOST does not answer a reconciliation: keep asking.
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
        // The task has ended or is unknown, so that there is nothing to store.
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
        let is_new = self.offer_pool.framework.as_ref() != Some(&framework);
        self.offer_pool.subscribed(epoch, framework.clone(), self.deps.clock.elapsed());
        log::info!("Framework registered with id {framework}{}", if is_new { "" } else { ", again" });
        if is_new {
            self.save(vec![WriteOp::Framework(framework)], Vec::new(), ctx, |_, _| {});
        }
        // Calls on the old subscription may be lost: repeat them.
        let now = self.deps.clock.elapsed();
        self.reconcile_schedule = Some(ReconcileSchedule::subscribed(now));
        self.reconcile_all(now);
        self.pending_kills.expire_all(now);
        self.resend_unanswered(now);
        self.match_or_request_offers();
    }

    /// Restarts dead supervisors and repeats unanswered calls.
    pub(super) fn on_tick(&mut self, ctx: &mut Context<Self>) {
        self.restart_dead_supervisors(ctx);
        self.resend_unanswered(self.deps.clock.elapsed());
        self.match_or_request_offers();
        self.log_starvation();
    }

    /// Restarts dead supervisors from the store. They may have acknowledged updates without publishing them, and the cluster
    /// does not send those again.
    fn restart_dead_supervisors(&mut self, ctx: &mut Context<Self>) {
        let dead = self.supervisors.iter().filter(|(_, addr)| !addr.connected()).map(|(&id, _)| id);
        let dead: Vec<TaskId> = dead.filter(|id| !self.restarting.contains(id)).collect();
        for id in dead {
            // The dead address stays in `supervisors`, so that updates arriving meanwhile are not treated as unknown tasks'.
            self.restarting.insert(id);
            let stored = self.deps.store.read_task(id).into_actor(self);
            ctx.spawn(stored.map(move |stored, this, ctx| match stored {
                Ok(stored) => this.restart_supervisor(id, stored, ctx),
                Err(error) => this.abort(&error),
            }));
        }
    }

    fn restart_supervisor(&mut self, id: TaskId, stored: Option<TaskRecord>, ctx: &mut Context<Self>) {
        self.restarting.remove(&id);
        self.supervisors.remove(&id);
        self.counters.supervisors_rebuilt.increment();
        log::error!("the supervisor of {id} died; it is made again");
        let Some(entry) = self.task(id).map(|task| task.entry) else { return };
        // Two states are never stored: a launch is stored as an intent only, and the end of a backoff not at all. If the
        // stored record is behind for one of these reasons, keep the state in memory.
        let changed = stored.filter(|stored| {
            stored.history.attempt == entry.history.attempt
                && stored.state != entry.state
                && (stored.state, entry.state) != (State::Delayed, State::Queued)
        });
        if let Some(stored) = changed {
            if stored.state == State::Queued {
                self.resolve_and_enqueue(vec![id], ctx);
            }
            self.on_task_changed(stored, ctx);
        }
        let Some(entry) = self.task(id).map(|task| task.entry) else { return };
        let (state, launch) = (entry.state, id.launch(entry.history.attempt));
        if state.is_active() {
            self.supervisor_of(id);
            self.arm_timeouts(launch, state);
            self.pending_reconciles.restart(launch, self.deps.clock.elapsed());
        } else if state == State::Delayed {
            self.supervisor_of(id);
        }
        // The kill request may have caused the panic.
        if self.runs.get(&id.run).is_some_and(|run| run.marker == Some(RunMarker::KillRequested)) {
            self.apply(id, Input::KillRequested, ctx);
        }
        self.match_or_request_offers();
    }

    /// Repeats unanswered reconciliations and kills.
    fn resend_unanswered(&mut self, now: Duration) {
        let Some(reconcile_schedule) = &mut self.reconcile_schedule else { return };
        let clock = self.deps.clock.clone();
        match reconcile_schedule.due(now, clock.random_unit()) {
            Some(Reconciliation::Explicit) => self.reconcile_all(now),
            Some(Reconciliation::Implicit) => self.send_to_cluster(ClusterCall::Reconcile(Vec::new())),
            None => {}
        }
        let unanswered: Vec<_> = self
            .pending_reconciles
            .due(now, || clock.random_unit())
            .into_iter()
            .map(|launch| (launch, self.task(launch.task).and_then(|task| task.entry.agent.clone())))
            .collect();
        if !unanswered.is_empty() && !is_enabled(Failpoint::SkipReconcile) {
            self.send_to_cluster(ClusterCall::Reconcile(unanswered));
        }
        for launch in self.pending_kills.due(now, || clock.random_unit()) {
            if let Some(supervisor) = self.supervisors.get(&launch.task) {
                tell(supervisor, TaskInput(Input::StatusTimeout));
            }
        }
    }

    /// Schedules all active launches for reconciliation now.
    fn reconcile_all(&mut self, now: Duration) {
        let active: Vec<LaunchId> = self
            .supervisors
            .keys()
            .filter_map(|&id| self.task(id))
            .filter(|task| task.entry.state.is_active())
            .map(|task| task.id.launch(task.entry.history.attempt))
            .collect();
        for launch in active {
            self.pending_reconciles.restart(launch, now);
        }
    }

    /// Accepts inverse offers for agents without active tasks, and declines the others.
    fn on_inverse_offers(&self, epoch: u64, offers: Vec<InverseOffer>) {
        let has_active_task = |agent: &str| {
            let mut tasks = self.supervisors.keys().filter_map(|&id| self.task(id));
            tasks.any(|task| task.entry.state.is_active() && task.entry.agent.as_deref() == Some(agent))
        };
        let is_busy =
            |offer: &InverseOffer| offer.agent_id.as_ref().is_none_or(|agent| has_active_task(&agent.value));
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

    /// Starts or cancels the timeouts for a task in a new state: reconcile or kill again if the cluster does not answer.
    pub(super) fn arm_timeouts(&mut self, launch: LaunchId, state: State) {
        let deadline = self.deps.clock.elapsed() + STATUS_TIMEOUT;
        match state {
            State::Launching | State::Unreachable => self.pending_reconciles.add(launch, deadline),
            State::Killing => self.pending_kills.add(launch, deadline),
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
                    if let Some((agent, free)) = self.offer_pool.add(offer, epoch, now) {
                        log::info!("[ {id} ] Received offer with {free}");
                        self.peer_locations.update_agent(&agent);
                    }
                }
                self.match_or_request_offers();
            }
            Event::Rescind(offer) => {
                self.offer_pool.remove(&offer);
            }
            Event::Update(update) => self.on_status_update(update),
            Event::Failure { agent, executor, status } => {
                // Each affected task has its own status update.
                log::debug!("agent {agent:?} or its executor {executor:?} failed, status {status:?}");
            }
            Event::InverseOffers(offers) => self.on_inverse_offers(epoch, offers),
            Event::RescindInverseOffer(_)
            | Event::OperationUpdate(_)
            | Event::Message { .. }
            | Event::Heartbeat
            | Event::Unknown(_) => {}
            // The connection handles errors.
            Event::Error(_) => {}
        }
    }
}

impl Handler<ConnectionLost> for Scheduler {
    type Result = ();

    fn handle(&mut self, ConnectionLost { reason }: ConnectionLost, _: &mut Context<Self>) {
        // Keep the time of the first failure.
        let since = self.disconnected.as_ref().map_or_else(|| self.deps.clock.elapsed(), |(_, since)| *since);
        self.disconnected = Some((reason, since));
        self.reconcile_schedule = None;
        self.offer_pool.lost();
    }
}

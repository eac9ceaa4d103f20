//! What the cluster says.

use std::time::Duration;

use actix::{Context, Handler};

use super::super::connection::{ConnectionLost, EventReceived, Request};
use super::super::supervisor::{Happened, StatusUpdated};
use super::super::tell;
use super::Scheduler;
use crate::mesos::conditions::condition;
use crate::mesos::{Event, StatusUpdate};
use crate::store::Write;
use crate::task::{Condition, Input, LaunchId, State, TaskId};

/// How long a cluster may take to say something of a launch, or a kill, before it is asked.
const PATIENCE: Duration = Duration::from_secs(10);

impl Scheduler {
    pub(super) fn updated(&mut self, update: Box<StatusUpdate>) {
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

    pub(super) fn subscribed(&mut self, epoch: u64, framework: String, ctx: &mut Context<Self>) {
        self.trouble = None;
        let is_new = self.market.framework.as_ref() != Some(&framework);
        self.market.subscribed(epoch, framework.clone());
        log::info!("Framework registered with id {framework}{}", if is_new { "" } else { ", again" });
        if is_new {
            self.save(vec![Write::Framework(framework)], Vec::new(), ctx, |_, _| {});
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
    pub(super) fn look_around(&mut self, _: &mut Context<Self>) {
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

impl Handler<EventReceived> for Scheduler {
    type Result = ();

    fn handle(&mut self, EventReceived { epoch, event }: EventReceived, ctx: &mut Context<Self>) {
        match event {
            Event::Subscribed { framework, .. } => self.subscribed(epoch, framework, ctx),
            Event::Offers(offers) => {
                let now = self.wires.clock.elapsed();
                for offer in offers {
                    let id = offer.id.value.clone();
                    if let Some(free) = self.market.add(offer, epoch, now) {
                        log::info!("[ {id} ] Received offer with {free}");
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

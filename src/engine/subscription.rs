//! The subscription to a cluster: subscribes again after a failure, forwards events, and sends calls.
//!
//! Each subscription has an epoch. Events and answers to offers of an earlier epoch are dropped, because offers end with
//! the connection and everything else is reconciled.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, SpawnHandle,
    StreamHandler,
};
use futures_util::future::{FutureExt, LocalBoxFuture, TryFutureExt};
use futures_util::stream::{StreamExt, once, unfold};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::counters::Counters;
use super::tell_recipient;
use borges_clock::Clock;
use borges_mesos::messages::{FrameworkId, FrameworkInfo, TaskInfo};
use borges_mesos::responses::SubscriptionError;
use borges_mesos::{Call, Event, Master, MasterError, StatusUpdate, calls};
use borges_task::{Backoff, LaunchId};

/// The actor that holds the subscription.
pub(super) struct Connection {
    master: Box<dyn Master>,
    framework: FrameworkInfo,
    sinks: EventSinks,
    clock: Clock,
    counters: Arc<Counters>,
    epoch: u64,
    phase: Phase,
    /// Failed attempts to subscribe in a row.
    failed_attempts: u32,
    /// Calls in flight. They are polled in their own stream: the actor would poll all of them, which can be thousands,
    /// whenever one is answered.
    call_sender: UnboundedSender<PendingCall>,
    /// The other end of `call_sender`, until the actor has started.
    call_receiver: Option<UnboundedReceiver<PendingCall>>,
}

/// A call in flight.
type PendingCall = LocalBoxFuture<'static, Result<(), FailedCall>>;

/// The recipients of the events.
pub(super) struct EventSinks {
    pub(super) events: Recipient<EventReceived>,
    pub(super) lost: Recipient<ConnectionLost>,
    pub(super) fatal: UnboundedSender<FatalError>,
}

/// The phase of the subscription.
enum Phase {
    Disconnected,
    /// SUBSCRIBE is answered, and the event SUBSCRIBED has not arrived yet.
    Connecting {
        stream: SpawnHandle,
        last_event_at: Duration,
    },
    Subscribed {
        stream: SpawnHandle,
        last_event_at: Duration,
        timeout: Duration,
        framework: String,
    },
}

/// The cluster sent an event.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct EventReceived {
    pub(super) epoch: u64,
    pub(super) event: Event,
}

/// The subscription is lost. The connection subscribes again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct ConnectionLost {
    /// The reason, for the log and the status.
    pub(super) reason: String,
}

/// An error after which the program must stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FatalError {
    /// The reason, for the log.
    pub reason: String,
}

/// A call to the cluster.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum ClusterCall {
    /// Launch tasks on offers of this epoch, all of one agent and one role.
    Accept { epoch: u64, offers: Vec<String>, tasks: Vec<TaskInfo> },
    /// Decline offers of this epoch, with a filter of `refuse`.
    Decline { epoch: u64, offers: Vec<String>, refuse: Duration },
    /// Accept inverse offers: no task is active on these agents.
    AcceptInverseOffers { epoch: u64, offers: Vec<String> },
    /// Decline inverse offers: tasks are active on these agents.
    DeclineInverseOffers { epoch: u64, offers: Vec<String>, refuse: Duration },
    /// Acknowledge a status update, which is stored.
    Acknowledge(Box<StatusUpdate>),
    /// Kill a launch by its id, which may be unknown to the scheduler.
    Kill { launch: String, agent: Option<String> },
    /// Reconcile these launches. An empty list reconciles all tasks of the framework.
    Reconcile(Vec<(LaunchId, Option<String>)>),
    /// Ask for offers again.
    Revive,
    /// Ask for no more offers.
    Suppress,
    /// Close the subscription and do not subscribe again.
    Disconnect,
}

/// A call that could not be sent.
struct FailedCall {
    /// The kind of the call.
    kind: &'static str,
    error: MasterError,
    /// The epoch of its subscription.
    epoch: u64,
}

/// An event of an epoch, or the error that ended the stream.
struct Incoming {
    epoch: u64,
    event: Result<Event, MasterError>,
}

/// How long SUBSCRIBED may take. It carries the heartbeat interval.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(45);
/// The number of missed heartbeats after which the connection is lost. Mesos recommends five.
const MISSED_HEARTBEATS: u32 = 3;
/// The backoff between attempts to subscribe.
const RECONNECT: Backoff =
    Backoff { initial: Duration::from_millis(500), factor: 2.0, max: Duration::from_secs(15) };

impl Connection {
    pub(super) fn new(
        master: Box<dyn Master>,
        framework: FrameworkInfo,
        sinks: EventSinks,
        clock: Clock,
        counters: Arc<Counters>,
    ) -> Self {
        let (call_sender, call_receiver) = unbounded_channel();
        Self {
            master,
            framework,
            sinks,
            clock,
            counters,
            epoch: 0,
            phase: Phase::Disconnected,
            failed_attempts: 0,
            call_sender,
            call_receiver: Some(call_receiver),
        }
    }

    fn subscribe(&mut self, ctx: &mut Context<Self>) {
        self.epoch += 1;
        let epoch = self.epoch;
        self.counters.record_call("subscribe");
        let response = self.master.subscribe(calls::subscribe(self.framework.clone(), Vec::new()));
        ctx.spawn(response.into_actor(self).map(move |response, this, ctx| match response {
            Ok(subscription) => {
                let events = subscription.events.map(move |event| Incoming { epoch, event });
                let stream = ctx.add_stream(events);
                this.phase = Phase::Connecting { stream, last_event_at: this.clock.elapsed() };
            }
            Err(error) => this.on_disconnect(&error.to_string(), ctx),
        }));
    }

    fn on_disconnect(&mut self, reason: &str, ctx: &mut Context<Self>) {
        match std::mem::replace(&mut self.phase, Phase::Disconnected) {
            Phase::Connecting { stream, .. } | Phase::Subscribed { stream, .. } => {
                ctx.cancel_future(stream);
            }
            Phase::Disconnected => {}
        }
        self.counters.connections_lost.increment();
        // Remaining events of the old stream now belong to an old epoch.
        self.epoch += 1;
        self.failed_attempts = self.failed_attempts.saturating_add(1);
        let delay = RECONNECT.delay(self.failed_attempts, self.clock.random_unit());
        log::warn!("{reason}; trying again in {:.1} s", delay.as_secs_f64());
        tell_recipient(&self.sinks.lost, ConnectionLost { reason: reason.to_owned() });
        ctx.run_later(delay, Self::subscribe);
    }

    fn check_heartbeat(&mut self, ctx: &mut Context<Self>) {
        let (last_event_at, timeout) = match &self.phase {
            Phase::Disconnected => return,
            Phase::Connecting { last_event_at, .. } => (*last_event_at, SUBSCRIBE_TIMEOUT),
            Phase::Subscribed { last_event_at, timeout, .. } => (*last_event_at, *timeout),
        };
        let idle = self.clock.elapsed().saturating_sub(last_event_at);
        if idle > timeout {
            self.on_disconnect(&format!("the cluster has said nothing for {} s", idle.as_secs()), ctx);
        }
    }

    fn on_event(&mut self, event: Event, ctx: &mut Context<Self>) {
        let now = self.clock.elapsed();
        self.count(&event, now);
        match &mut self.phase {
            Phase::Disconnected => return,
            Phase::Connecting { last_event_at, .. } | Phase::Subscribed { last_event_at, .. } => {
                *last_event_at = now;
            }
        }
        match &event {
            Event::Subscribed { framework, master, heartbeat } => {
                log::info!("Master found: {}", master.as_deref().unwrap_or("local, the embedded cluster"));
                if let Phase::Connecting { stream, .. } | Phase::Subscribed { stream, .. } = self.phase {
                    let timeout = heartbeat.saturating_mul(MISSED_HEARTBEATS);
                    let framework = framework.clone();
                    self.framework.id = Some(FrameworkId { value: framework.clone() });
                    self.phase = Phase::Subscribed { stream, last_event_at: now, timeout, framework };
                    self.failed_attempts = 0;
                }
            }
            Event::Error(message) => {
                let error = SubscriptionError::of(message);
                let reason = error.message(message);
                match error {
                    // Another scheduler replaced this one, or the framework was removed. Subscribing again would not help.
                    SubscriptionError::Replaced | SubscriptionError::Removed => {
                        let _stopped = self.sinks.fatal.send(FatalError { reason });
                        ctx.stop();
                    }
                    SubscriptionError::Other => self.on_disconnect(&reason, ctx),
                }
                return;
            }
            _ => {}
        }
        tell_recipient(&self.sinks.events, EventReceived { epoch: self.epoch, event });
    }

    fn count(&self, event: &Event, now: Duration) {
        self.counters.record_event(now);
        match event {
            Event::Offers(offers) => self.counters.offers_received.add(offers.len()),
            Event::Rescind(_) => self.counters.offers_rescinded.increment(),
            Event::Update(_) => self.counters.status_updates.increment(),
            _ => {}
        }
    }

    /// The Mesos call. `None` if it belongs to an earlier epoch or without a subscription.
    fn call(&self, cluster_call: ClusterCall) -> Option<Call> {
        let Phase::Subscribed { framework, .. } = &self.phase else { return None };
        match cluster_call {
            ClusterCall::Accept { epoch, .. }
            | ClusterCall::Decline { epoch, .. }
            | ClusterCall::AcceptInverseOffers { epoch, .. }
            | ClusterCall::DeclineInverseOffers { epoch, .. }
                if epoch != self.epoch =>
            {
                None
            }
            ClusterCall::Accept { offers, tasks, .. } => Some(calls::accept(framework, offers, tasks, None)),
            ClusterCall::Decline { offers, refuse, .. } => {
                Some(calls::decline(framework, offers, Some(refuse)))
            }
            ClusterCall::AcceptInverseOffers { offers, .. } => {
                Some(calls::accept_inverse_offers(framework, offers))
            }
            ClusterCall::DeclineInverseOffers { offers, refuse, .. } => {
                Some(calls::decline_inverse_offers(framework, offers, Some(refuse)))
            }
            ClusterCall::Acknowledge(update) => calls::acknowledge(framework, &update),
            ClusterCall::Kill { launch, agent } => {
                Some(calls::kill(framework, &launch, agent.as_deref(), None))
            }
            ClusterCall::Reconcile(launches) => {
                let launches: Vec<_> =
                    launches.into_iter().map(|(launch, agent)| (launch.to_string(), agent)).collect();
                let launches = launches.iter().map(|(launch, agent)| (launch.as_str(), agent.as_deref()));
                Some(calls::reconcile(framework, launches))
            }
            ClusterCall::Revive => Some(calls::revive(framework, Vec::new())),
            ClusterCall::Suppress => Some(calls::suppress(framework, Vec::new())),
            ClusterCall::Disconnect => None,
        }
    }
}

impl ClusterCall {
    /// The kind of the call, the number of launches, and the number of declined offers.
    fn counted(&self) -> (&'static str, usize, usize) {
        match self {
            Self::Accept { tasks, .. } => ("accept", tasks.len(), 0),
            Self::Decline { offers, .. } => ("decline", 0, offers.len()),
            Self::AcceptInverseOffers { .. } => ("accept_inverse_offers", 0, 0),
            Self::DeclineInverseOffers { .. } => ("decline_inverse_offers", 0, 0),
            Self::Acknowledge(_) => ("acknowledge", 0, 0),
            Self::Kill { .. } => ("kill", 0, 0),
            Self::Reconcile(_) => ("reconcile", 0, 0),
            Self::Revive => ("revive", 0, 0),
            Self::Suppress => ("suppress", 0, 0),
            Self::Disconnect => ("disconnect", 0, 0),
        }
    }
}

impl Actor for Connection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if let Some(call_receiver) = self.call_receiver.take() {
            let all = unfold(call_receiver, async |mut call_receiver| {
                Some((call_receiver.recv().await?, call_receiver))
            });
            ctx.add_stream(Box::pin(all.map(once).flatten_unordered(None)));
        }
        self.subscribe(ctx);
        ctx.run_interval(Duration::from_secs(1), Self::check_heartbeat);
    }
}

impl StreamHandler<Incoming> for Connection {
    fn handle(&mut self, Incoming { epoch, event }: Incoming, ctx: &mut Context<Self>) {
        if epoch != self.epoch {
            return;
        }
        match event {
            Ok(event) => self.on_event(event, ctx),
            Err(error) => self.on_disconnect(&error.to_string(), ctx),
        }
    }

    // The default would stop the actor. A cancelled stream ends here as well, after its phase is over.
    fn finished(&mut self, ctx: &mut Context<Self>) {
        if !matches!(self.phase, Phase::Disconnected) {
            self.on_disconnect("the cluster closed the connection", ctx);
        }
    }
}

impl Handler<ClusterCall> for Connection {
    type Result = ();

    fn handle(&mut self, cluster_call: ClusterCall, ctx: &mut Context<Self>) {
        if matches!(cluster_call, ClusterCall::Disconnect) {
            // The stream and the connection are dropped with the actor.
            ctx.stop();
            return;
        }
        let (kind, launches, declined) = cluster_call.counted();
        let Some(call) = self.call(cluster_call) else { return };
        self.counters.record_call(kind);
        self.counters.launches.add(launches);
        self.counters.offers_declined.add(declined);
        let epoch = self.epoch;
        let result = self.master.call(call).map_err(move |error| FailedCall { kind, error, epoch });
        // The actor itself holds the receiver.
        let _closed = self.call_sender.send(result.boxed_local());
    }
}

impl StreamHandler<Result<(), FailedCall>> for Connection {
    fn handle(&mut self, result: Result<(), FailedCall>, ctx: &mut Context<Self>) {
        let Err(FailedCall { kind, error, epoch }) = result else { return };
        if epoch != self.epoch {
            return;
        }
        // Kills and reconciliations are repeated. An offer without an answer would stay allocated for ever, so the
        // subscription is closed, which ends its offers.
        log::warn!("{kind} was not sent: {error}");
        let holds_offers = matches!(kind, "accept" | "decline") && error.is_retryable();
        if holds_offers || matches!(error, MasterError::NotSubscribed) {
            self.on_disconnect(&error.to_string(), ctx);
        }
    }
}

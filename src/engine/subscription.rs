//! The subscription to a cluster: keeps one open, passes on what it says, sends what is asked.
//!
//! A subscription has an epoch. What belongs to an earlier one (its events, answers to its offers) is not
//! passed on: offers die with the connection, and everything else is reconciled.

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

/// Keeps a subscription open.
pub(super) struct Connection {
    master: Box<dyn Master>,
    framework: FrameworkInfo,
    ears: EventSinks,
    clock: Clock,
    counters: Arc<Counters>,
    epoch: u64,
    phase: Phase,
    /// Attempts in a row that led to nothing.
    failed_attempts: u32,
    /// Calls on their way. Thousands may be out at once, and the actor itself would look at all of them whenever one
    /// is answered.
    out: UnboundedSender<Sending>,
    /// Where they are waited for, until the actor has started.
    sending: Option<UnboundedReceiver<Sending>>,
}

/// A call on its way, and what is to be known if it does not arrive.
type Sending = LocalBoxFuture<'static, Result<(), FailedCall>>;

/// Who is told what.
pub(super) struct EventSinks {
    pub(super) events: Recipient<EventReceived>,
    pub(super) lost: Recipient<ConnectionLost>,
    pub(super) broken: UnboundedSender<FatalError>,
}

/// Where the subscription stands.
enum Phase {
    Disconnected,
    /// SUBSCRIBE is answered; SUBSCRIBED has not come yet.
    Connecting {
        stream: SpawnHandle,
        heard: Duration,
    },
    Subscribed {
        stream: SpawnHandle,
        heard: Duration,
        silence: Duration,
        framework: String,
    },
}

/// The cluster said something.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct EventReceived {
    pub(super) epoch: u64,
    pub(super) event: Event,
}

/// There is no subscription now; a new one is sought.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct ConnectionLost {
    /// Why, in words.
    pub(super) reason: String,
}

/// Something that cannot be mended from within: Borges must stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FatalError {
    /// What, in words.
    pub reason: String,
}

/// What may be asked of a cluster.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum ClusterCall {
    /// Launch tasks on offers of this epoch, all of one agent and one role.
    Accept { epoch: u64, offers: Vec<String>, tasks: Vec<TaskInfo> },
    /// These offers, of this epoch, are not wanted, nor their like for a while.
    Decline { epoch: u64, offers: Vec<String>, refuse: Duration },
    /// These resources, which the cluster wants back, are given back: nothing of ours is on them.
    AcceptInverseOffers { epoch: u64, offers: Vec<String> },
    /// These are not, as something of ours still runs there.
    DeclineInverseOffers { epoch: u64, offers: Vec<String>, refuse: Duration },
    /// An update is saved.
    Acknowledge(Box<StatusUpdate>),
    /// End a launch, by its name: it need not be one we know.
    Kill { launch: String, agent: Option<String> },
    /// What has become of these? Without any: what is there of ours?
    Reconcile(Vec<(LaunchId, Option<String>)>),
    /// Offers are wanted again.
    Revive,
    /// No offers are wanted.
    Suppress,
    /// Close the subscription, and seek none again.
    Disconnect,
}

/// A call that has not been sent.
struct FailedCall {
    /// What kind of call it was.
    word: &'static str,
    error: MasterError,
    /// The subscription it was for.
    epoch: u64,
}

/// An event, or the end of them, of an epoch.
struct Incoming {
    epoch: u64,
    event: Result<Event, MasterError>,
}

/// Until SUBSCRIBED says how often the master beats.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(45);
/// How many beats may be missed. Mesos' own advice is five; three is stricter.
const MISSED_HEARTBEATS: u32 = 3;
/// Between attempts to subscribe.
const RECONNECT: Backoff =
    Backoff { initial: Duration::from_millis(500), factor: 2.0, max: Duration::from_secs(15) };

impl Connection {
    pub(super) fn new(
        master: Box<dyn Master>,
        framework: FrameworkInfo,
        ears: EventSinks,
        clock: Clock,
        counters: Arc<Counters>,
    ) -> Self {
        let (out, sending) = unbounded_channel();
        Self {
            master,
            framework,
            ears,
            clock,
            counters,
            epoch: 0,
            phase: Phase::Disconnected,
            failed_attempts: 0,
            out,
            sending: Some(sending),
        }
    }

    fn subscribe(&mut self, ctx: &mut Context<Self>) {
        self.epoch += 1;
        let epoch = self.epoch;
        self.counters.record_call("subscribe");
        let answer = self.master.subscribe(calls::subscribe(self.framework.clone(), Vec::new()));
        ctx.spawn(answer.into_actor(self).map(move |answer, this, ctx| match answer {
            Ok(subscription) => {
                let events = subscription.events.map(move |event| Incoming { epoch, event });
                let stream = ctx.add_stream(events);
                this.phase = Phase::Connecting { stream, heard: this.clock.elapsed() };
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
        // Whatever still comes of the old stream is of an old epoch now.
        self.epoch += 1;
        self.failed_attempts = self.failed_attempts.saturating_add(1);
        let pause = RECONNECT.delay(self.failed_attempts, self.clock.random_unit());
        log::warn!("{reason}; trying again in {:.1} s", pause.as_secs_f64());
        tell_recipient(&self.ears.lost, ConnectionLost { reason: reason.to_owned() });
        ctx.run_later(pause, Self::subscribe);
    }

    fn check_heartbeat(&mut self, ctx: &mut Context<Self>) {
        let (heard, silence) = match &self.phase {
            Phase::Disconnected => return,
            Phase::Connecting { heard, .. } => (*heard, SUBSCRIBE_TIMEOUT),
            Phase::Subscribed { heard, silence, .. } => (*heard, *silence),
        };
        let quiet = self.clock.elapsed().saturating_sub(heard);
        if quiet > silence {
            self.on_disconnect(&format!("the cluster has said nothing for {} s", quiet.as_secs()), ctx);
        }
    }

    fn on_event(&mut self, event: Event, ctx: &mut Context<Self>) {
        let now = self.clock.elapsed();
        self.count(&event, now);
        match &mut self.phase {
            Phase::Disconnected => return,
            Phase::Connecting { heard, .. } | Phase::Subscribed { heard, .. } => *heard = now,
        }
        match &event {
            Event::Subscribed { framework, master, heartbeat } => {
                log::info!("Master found: {}", master.as_deref().unwrap_or("local, the embedded cluster"));
                if let Phase::Connecting { stream, .. } | Phase::Subscribed { stream, .. } = self.phase {
                    let silence = heartbeat.saturating_mul(MISSED_HEARTBEATS);
                    let framework = framework.clone();
                    self.framework.id = Some(FrameworkId { value: framework.clone() });
                    self.phase = Phase::Subscribed { stream, heard: now, silence, framework };
                    self.failed_attempts = 0;
                }
            }
            Event::Error(words) => {
                let ending = SubscriptionError::of(words);
                let reason = ending.message(words);
                match ending {
                    // To come back would be to fight, or to ask for what is gone.
                    SubscriptionError::Replaced | SubscriptionError::Removed => {
                        let _nobody = self.ears.broken.send(FatalError { reason });
                        ctx.stop();
                    }
                    SubscriptionError::Other => self.on_disconnect(&reason, ctx),
                }
                return;
            }
            _ => {}
        }
        tell_recipient(&self.ears.events, EventReceived { epoch: self.epoch, event });
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

    /// The call for a request; `None` for one that belongs to an earlier epoch, or that needs no call.
    fn call(&self, request: ClusterCall) -> Option<Call> {
        let Phase::Subscribed { framework, .. } = &self.phase else { return None };
        match request {
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
                let asked = launches.iter().map(|(launch, agent)| (launch.as_str(), agent.as_deref()));
                Some(calls::reconcile(framework, asked))
            }
            ClusterCall::Revive => Some(calls::revive(framework, Vec::new())),
            ClusterCall::Suppress => Some(calls::suppress(framework, Vec::new())),
            ClusterCall::Disconnect => None,
        }
    }
}

impl ClusterCall {
    /// Its kind, the launches in it, the offers it declines.
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
        if let Some(sending) = self.sending.take() {
            let all = unfold(sending, async |mut sending| Some((sending.recv().await?, sending)));
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

    // The default would stop the actor. A cancelled stream ends here too, when its epoch is over.
    fn finished(&mut self, ctx: &mut Context<Self>) {
        if !matches!(self.phase, Phase::Disconnected) {
            self.on_disconnect("the cluster closed the connection", ctx);
        }
    }
}

impl Handler<ClusterCall> for Connection {
    type Result = ();

    fn handle(&mut self, request: ClusterCall, ctx: &mut Context<Self>) {
        if matches!(request, ClusterCall::Disconnect) {
            // With the actor goes the stream, and with that the connection.
            ctx.stop();
            return;
        }
        let (word, launches, declined) = request.counted();
        let Some(call) = self.call(request) else { return };
        self.counters.record_call(word);
        self.counters.launches.add(launches);
        self.counters.offers_declined.add(declined);
        let epoch = self.epoch;
        let sent = self.master.call(call).map_err(move |error| FailedCall { word, error, epoch });
        // The other end is the actor's own.
        let _ours = self.out.send(sent.boxed_local());
    }
}

impl StreamHandler<Result<(), FailedCall>> for Connection {
    fn handle(&mut self, sent: Result<(), FailedCall>, ctx: &mut Context<Self>) {
        let Err(FailedCall { word, error, epoch }) = sent else { return };
        if epoch != self.epoch {
            return;
        }
        // Most of it comes again: by the next kill, the next reconciliation. But an offer that is never answered
        // is held for us for ever: with the subscription it ends.
        log::warn!("{word} was not sent: {error}");
        let holds_offers = matches!(word, "accept" | "decline") && error.is_retryable();
        if holds_offers || matches!(error, MasterError::NotSubscribed) {
            self.on_disconnect(&error.to_string(), ctx);
        }
    }
}

//! Watches over one task: feeds what happens into `task::step`, and carries out what it says.
//!
//! Knows no policy. Lives from the task's first launch to its end; what it knows is saved before anyone
//! else hears of it, so it can be made again from what was saved.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, AtomicResponse, Context, Handler, Message, Recipient,
    ResponseActFuture,
};
use futures_util::TryFutureExt;
use futures_util::future::{BoxFuture, LocalBoxFuture, ready};
use tokio::sync::mpsc::UnboundedSender;

use super::event_log::CommittedEvents;
use super::failpoints::{self, Failpoint, is_enabled};
use super::store_writer::{PersistError, StoreHandle};
use super::subscription::{ClusterCall, FatalError};
use super::tell_recipient;
use borges_clock::Clock;
use borges_mesos::status::{condition, condition_after_exit, describe, exit_code, is_unknown_launch};
use borges_mesos::{Sandbox, SandboxLocation, StatusUpdate};
use borges_store::{LoggedEvent, RunRecord, TaskEvent, TaskRecord, WriteOp};
use borges_task::{BackoffTimer, Condition, Effect, History, Input, LaunchId, State, TaskId, TaskSpec, step};

/// Watches over one task.
pub(super) struct Supervisor {
    run: Arc<RunRecord>,
    spec: Arc<TaskSpec>,
    task: TaskRecord,
    /// The framework that launched it: where its sandbox is.
    framework: String,
    /// When the current launch was first seen running.
    running_since: Option<Duration>,
    wires: Rc<Deps>,
}

/// Who is told what, and what else a supervisor needs.
pub(super) struct Deps {
    pub(super) keeper: StoreHandle,
    pub(super) connection: Recipient<ClusterCall>,
    pub(super) queue: Recipient<TaskQueued>,
    pub(super) changes: Recipient<TaskChanged>,
    pub(super) broken: UnboundedSender<FatalError>,
    pub(super) sandbox: Rc<dyn Sandbox>,
    pub(super) clock: Clock,
}

/// An offer was accepted for the task's next launch; that launch was saved before.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Placed {
    pub(super) agent: String,
    pub(super) framework: String,
}

/// The cluster said something of one of the task's launches.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct StatusUpdated {
    pub(super) launch: LaunchId,
    pub(super) update: Box<StatusUpdate>,
}

/// Something else happened to the task.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct TaskInput(pub(super) Input);

/// The task waits for an offer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct TaskQueued(pub(super) TaskId);

/// The task is in a new state, and that is saved.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct TaskChanged(pub(super) TaskRecord);

impl Supervisor {
    /// For the task `spec` of `run`, where it stands at `task`; `framework` is whose launches it has had.
    pub(super) fn new(
        run: Arc<RunRecord>,
        spec: Arc<TaskSpec>,
        task: TaskRecord,
        framework: String,
        wires: Rc<Deps>,
    ) -> Self {
        // A launch of an earlier life has run for at least as long as we know of it.
        let running_since = (task.state == State::Running).then(|| wires.clock.elapsed());
        Self { run, spec, task, framework, running_since, wires }
    }

    fn launch(&self) -> LaunchId {
        self.task.id.launch(self.task.history.attempt)
    }

    /// Takes one step: saves, then acknowledges the `update` it came from, then does the rest. Atomic: the mailbox waits for the
    /// save, so what happens to a task keeps its order.
    fn apply(&mut self, input: Input, update: Option<Box<StatusUpdate>>) -> ResponseActFuture<Self, ()> {
        let ran = self.running_since.map(|since| self.wires.clock.elapsed().saturating_sub(since));
        let history = History { runtime: ran.unwrap_or_default(), ..self.task.history };
        let before = self.task.state;
        failpoints::panic_point();
        let step = match input {
            Input::Update(Condition::Lost) if is_enabled(Failpoint::TreatLostAsGone) => {
                step(before, Input::Update(Condition::Gone), &history, &self.spec.policy)
            }
            Input::Update(Condition::Gone) if is_enabled(Failpoint::CountInfraFailureAsRetry) => {
                step(before, Input::Update(Condition::Failed), &history, &self.spec.policy)
            }
            Input::StatusTimeout | Input::Update(Condition::Running)
                if before == State::Killing && is_enabled(Failpoint::SkipKillRetry) =>
            {
                return Box::pin(ready(()).into_actor(self));
            }
            input => step(before, input, &history, &self.spec.policy),
        };
        if is_enabled(Failpoint::AckBeforePersist)
            && let Some(update) = &update
        {
            tell_recipient(&self.wires.connection, ClusterCall::Acknowledge(update.clone()));
        }
        self.task.state = step.next;
        self.task.history = step.history;
        self.task.pause = self.task.pause.filter(|_| step.next == State::Delayed);
        if step.effects.contains(&Effect::StartBackoff) {
            // Drawn before it is saved: a later life waits for what is left of it, and no longer.
            let clock = &self.wires.clock;
            let whole = self.spec.policy.backoff.delay(step.history.early_exits, clock.random_unit());
            self.task.pause = Some(BackoffTimer::new(whole, clock.now()));
        }
        if step.next == State::Running && before != State::Running {
            self.running_since = self.running_since.or(Some(self.wires.clock.elapsed()));
        }

        let mut told = Vec::new();
        if step.effects.contains(&Effect::Publish) {
            told.push(task_event(&self.run, &self.spec, &self.task, &self.wires.clock));
        }
        let saved: BoxFuture<'static, Result<Option<CommittedEvents>, PersistError>> =
            if step.effects.contains(&Effect::Persist) {
                let write = WriteOp::Task(self.task.clone());
                Box::pin(self.wires.keeper.save(vec![write], told).map_ok(Some))
            } else {
                self.wires.keeper.append_events(told);
                Box::pin(ready(Ok(None)))
            };
        let rest = saved.into_actor(self).map(move |saved, this, ctx| {
            let news = match saved {
                Ok(news) => news,
                Err(unsaved) => {
                    // Neither acknowledged nor told: as if it had not happened.
                    let _nobody = this.wires.broken.send(FatalError { reason: unsaved.to_string() });
                    return;
                }
            };
            failpoints::panic_point();
            if let Some(update) = &update {
                tell_recipient(&this.wires.connection, ClusterCall::Acknowledge(update.clone()));
            }
            for &effect in step.effects {
                this.perform(effect, update.as_deref(), ctx);
            }
            drop(news);
            if this.task.state.is_terminal() {
                ctx.stop();
            }
        });
        Box::pin(rest)
    }

    fn perform(&mut self, effect: Effect, update: Option<&StatusUpdate>, ctx: &mut Context<Self>) {
        let wires = &self.wires;
        match effect {
            // Done before: everything else waits for it.
            Effect::Persist => {}
            Effect::Enqueue => tell_recipient(&wires.queue, TaskQueued(self.task.id)),
            Effect::StartBackoff => self.arm_backoff(ctx),
            Effect::Kill => {
                // A copy nobody wants names itself; it need not be the current launch.
                let named = update.map(|update| update.launch.clone());
                let launch = named.unwrap_or_else(|| self.launch().to_string());
                let agent =
                    update.and_then(|update| update.agent.clone()).or_else(|| self.task.agent.clone());
                tell_recipient(&wires.connection, ClusterCall::Kill { launch, agent });
            }
            Effect::Reconcile => {
                let asked = vec![(self.launch(), self.task.agent.clone())];
                tell_recipient(&wires.connection, ClusterCall::Reconcile(asked));
            }
            // Who follows has heard of it: it was saved as news.
            Effect::Publish => {
                tell_recipient(&wires.changes, TaskChanged(self.task.clone()));
            }
        }
    }

    /// Waits until what is left of the pause is over.
    fn arm_backoff(&self, ctx: &mut Context<Self>) {
        let left = self.task.pause.map_or(Duration::ZERO, |pause| pause.remaining(self.wires.clock.now()));
        ctx.notify_later(TaskInput(Input::BackoffElapsed), left);
    }

    /// Where the current launch is, or was.
    fn place(&self) -> Option<SandboxLocation> {
        let agent = self.task.agent.clone()?;
        Some(SandboxLocation {
            agent,
            framework: self.framework.clone(),
            executor: self.launch().to_string(),
        })
    }

    /// The exit code of the current launch, where the sandbox has one.
    fn exit_code(&self) -> LocalBoxFuture<'static, Option<i32>> {
        let Some(place) = self.place() else { return Box::pin(ready(None)) };
        let read = self.wires.sandbox.read(&place, "block/exit", 0, 16);
        Box::pin(async move { std::str::from_utf8(&read.await.ok()?.bytes).ok()?.trim().parse().ok() })
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    /// Made again from what was saved, it goes on where the earlier one was.
    fn started(&mut self, ctx: &mut Context<Self>) {
        if is_enabled(Failpoint::DropBackoffOnRestart) {
            self.task.pause = None;
        }
        if let Some(pause) = self.task.pause.filter(|_| is_enabled(Failpoint::RestartBackoffOnRestart)) {
            self.task.pause = Some(BackoffTimer::new(pause.total, self.wires.clock.now()));
        }
        if self.task.state == State::Delayed {
            self.arm_backoff(ctx);
        }
    }
}

impl Handler<Placed> for Supervisor {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, Placed { agent, framework }: Placed, _: &mut Context<Self>) -> Self::Result {
        self.task.agent = Some(agent);
        self.task.message = None;
        self.framework = framework;
        self.running_since = None;
        AtomicResponse::new(self.apply(Input::Placed, None))
    }
}

impl Handler<TaskInput> for Supervisor {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, TaskInput(input): TaskInput, _: &mut Context<Self>) -> Self::Result {
        AtomicResponse::new(self.apply(input, None))
    }
}

impl Handler<StatusUpdated> for Supervisor {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, message: StatusUpdated, _: &mut Context<Self>) -> Self::Result {
        let StatusUpdated { launch, update } = message;
        let condition = match condition(&update) {
            Condition::Lost if self.task.agent.is_none() && is_unknown_launch(&update) => Condition::Gone,
            condition => condition,
        };
        if launch.attempt != self.task.history.attempt {
            return AtomicResponse::new(self.apply(Input::StaleUpdate(condition), Some(update)));
        }
        if !self.task.state.is_terminal() {
            self.task.message = describe(&update, &self.spec.resources);
            self.task.agent = update.agent.clone().or_else(|| self.task.agent.take());
        }
        if matches!(condition, Condition::Finished | Condition::Failed | Condition::Killed)
            && !self.task.state.is_terminal()
            && let Some(place) = self.place()
        {
            self.wires.sandbox.archive(&place);
        }
        let future: ResponseActFuture<Self, ()> = match condition {
            // What is done about the end of a launch can depend on its exit code.
            Condition::Failed | Condition::Killed => {
                let read = self.exit_code().into_actor(self);
                Box::pin(read.then(move |code, this: &mut Self, _| {
                    let code = exit_code(&update, code);
                    this.task.history.exit_code = code;
                    let condition = condition_after_exit(&update, code);
                    if condition == Condition::Finished {
                        this.task.message = None;
                    }
                    this.apply(Input::Update(condition), Some(update))
                }))
            }
            Condition::Starting
            | Condition::Running
            | Condition::Killing
            | Condition::Finished
            | Condition::Rejected
            | Condition::Gone
            | Condition::Lost => self.apply(Input::Update(condition), Some(update)),
        };
        AtomicResponse::new(future)
    }
}

/// What the feed says of a task.
pub(super) fn task_event(run: &RunRecord, spec: &TaskSpec, task: &TaskRecord, clock: &Clock) -> LoggedEvent {
    LoggedEvent::Task(TaskEvent {
        seq: 0,
        time: clock.now(),
        run: run.id,
        task: task.id,
        block: spec.block.clone(),
        line: spec.line,
        index: spec.index,
        attempt: task.history.attempt,
        state: task.state,
        reason: None,
        message: task.message.clone(),
        agent: task.agent.clone(),
        exit_code: task.history.exit_code,
    })
}

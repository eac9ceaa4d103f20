//! The supervisor of one task: passes inputs to `task::step` and performs the effects.
//!
//! It exists from the first launch of the task to the end of the task. It stores a new state before it publishes it, so
//! that it can be restarted from the store.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, AtomicResponse, Context, Handler, Recipient,
    ResponseActFuture,
};
use futures_util::TryFutureExt;
use futures_util::future::{BoxFuture, LocalBoxFuture, ready};
use tokio::sync::mpsc::UnboundedSender;

use super::error::PersistError;
use super::event_log::CommittedEvents;
use super::failpoints::{self, Failpoint, is_enabled};
use super::messages::{Placed, StatusUpdated, TaskChanged, TaskInput, TaskQueued};
use super::store_writer::StoreHandle;
use super::subscription::{ClusterCall, FatalError};
use super::tell_recipient;
use borges_clock::Clock;
use borges_mesos::status::{condition, condition_after_exit, describe, exit_code, is_unknown_launch};
use borges_mesos::{Sandbox, SandboxLocation, StatusUpdate};
use borges_store::{LoggedEvent, RunRecord, TaskEvent, TaskRecord, WriteOp};
use borges_task::{BackoffTimer, Condition, Effect, History, Input, LaunchId, State, TaskSpec, step};

/// Supervises one task.
pub(super) struct Supervisor {
    run: Arc<RunRecord>,
    spec: Arc<TaskSpec>,
    task: TaskRecord,
    /// The framework of the current launch. It is part of the sandbox location.
    framework: String,
    /// When the current launch was first seen running.
    running_since: Option<Duration>,
    deps: Rc<Deps>,
}

/// The actors, the store and the clock that the scheduler and the supervisors share.
pub(super) struct Deps {
    pub(super) store: StoreHandle,
    pub(super) connection: Recipient<ClusterCall>,
    pub(super) task_queued: Recipient<TaskQueued>,
    pub(super) task_changed: Recipient<TaskChanged>,
    pub(super) fatal: UnboundedSender<FatalError>,
    pub(super) sandbox: Rc<dyn Sandbox>,
    pub(super) clock: Clock,
}

impl Supervisor {
    /// A supervisor for the task `spec` of `run` in the state `task`. `framework` launched its current launch.
    pub(super) fn new(
        run: Arc<RunRecord>,
        spec: Arc<TaskSpec>,
        task: TaskRecord,
        framework: String,
        deps: Rc<Deps>,
    ) -> Self {
        // After a restart the start of the launch is unknown. Its run time counts from now.
        let running_since = (task.state == State::Running).then(|| deps.clock.elapsed());
        Self { run, spec, task, framework, running_since, deps }
    }

    fn launch(&self) -> LaunchId {
        self.task.id.launch(self.task.history.attempt)
    }

    /// Makes one transition: stores it, acknowledges its `update`, performs the other effects, then publishes it. The
    /// mailbox waits for the store, so that the inputs of a task keep their order.
    fn apply(&mut self, input: Input, update: Option<Box<StatusUpdate>>) -> ResponseActFuture<Self, ()> {
        let runtime = self.running_since.map(|since| self.deps.clock.elapsed().saturating_sub(since));
        let history = History { runtime: runtime.unwrap_or_default(), ..self.task.history };
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
            tell_recipient(&self.deps.connection, ClusterCall::Acknowledge(update.clone()));
        }
        self.task.state = step.next;
        self.task.history = step.history;
        self.task.pause = self.task.pause.filter(|_| step.next == State::Delayed);
        if step.effects.contains(&Effect::StartBackoff) {
            // The deadline is stored, so that a restarted supervisor waits only for the remaining time.
            let clock = &self.deps.clock;
            let delay = self.spec.policy.backoff.delay(step.history.early_exits, clock.random_unit());
            self.task.pause = Some(BackoffTimer::new(delay, clock.now()));
        }
        if step.next == State::Running && before != State::Running {
            self.running_since = self.running_since.or(Some(self.deps.clock.elapsed()));
        }

        let mut events = Vec::new();
        if step.effects.contains(&Effect::Publish) {
            events.push(task_event(&self.run, &self.spec, &self.task, &self.deps.clock));
        }
        let persisted: BoxFuture<'static, Result<Option<CommittedEvents>, PersistError>> =
            if step.effects.contains(&Effect::Persist) {
                let write = WriteOp::Task(self.task.clone());
                Box::pin(self.deps.store.save(vec![write], events).map_ok(Some))
            } else {
                self.deps.store.append_events(events);
                Box::pin(ready(Ok(None)))
            };
        let finish = persisted.into_actor(self).map(move |persisted, this, ctx| {
            let committed = match persisted {
                Ok(committed) => committed,
                Err(error) => {
                    // The update is neither acknowledged nor published. The cluster sends it again.
                    let _stopped = this.deps.fatal.send(FatalError { reason: error.to_string() });
                    return;
                }
            };
            failpoints::panic_point();
            if let Some(update) = &update {
                tell_recipient(&this.deps.connection, ClusterCall::Acknowledge(update.clone()));
            }
            for &effect in step.effects {
                this.perform(effect, update.as_deref(), ctx);
            }
            drop(committed);
            if this.task.state.is_terminal() {
                ctx.stop();
            }
        });
        Box::pin(finish)
    }

    fn perform(&mut self, effect: Effect, update: Option<&StatusUpdate>, ctx: &mut Context<Self>) {
        let deps = &self.deps;
        match effect {
            // The other effects run after the write.
            Effect::Persist => {}
            Effect::Enqueue => tell_recipient(&deps.task_queued, TaskQueued(self.task.id)),
            Effect::StartBackoff => self.arm_backoff(ctx),
            Effect::Kill => {
                // Kill the launch named in the update: it may be a stale one.
                let launch = update.map(|update| update.launch.clone());
                let launch = launch.unwrap_or_else(|| self.launch().to_string());
                let agent =
                    update.and_then(|update| update.agent.clone()).or_else(|| self.task.agent.clone());
                tell_recipient(&deps.connection, ClusterCall::Kill { launch, agent });
            }
            Effect::Reconcile => {
                let launches = vec![(self.launch(), self.task.agent.clone())];
                tell_recipient(&deps.connection, ClusterCall::Reconcile(launches));
            }
            // The event itself is published when the committed events are dropped.
            Effect::Publish => {
                tell_recipient(&deps.task_changed, TaskChanged(self.task.clone()));
            }
        }
    }

    /// Starts the timer for the remaining backoff.
    fn arm_backoff(&self, ctx: &mut Context<Self>) {
        let remaining =
            self.task.pause.map_or(Duration::ZERO, |pause| pause.remaining(self.deps.clock.now()));
        ctx.notify_later(TaskInput(Input::BackoffElapsed), remaining);
    }

    /// The sandbox location of the current launch. `None` before the first launch.
    fn location(&self) -> Option<SandboxLocation> {
        let agent = self.task.agent.clone()?;
        Some(SandboxLocation {
            agent,
            framework: self.framework.clone(),
            executor: self.launch().to_string(),
        })
    }

    /// The exit code that the current launch has written into its sandbox. `None` if it has not.
    fn exit_code(&self) -> LocalBoxFuture<'static, Option<i32>> {
        let Some(location) = self.location() else { return Box::pin(ready(None)) };
        let read = self.deps.sandbox.read(&location, "block/exit", 0, 16);
        Box::pin(async move { std::str::from_utf8(&read.await.ok()?.bytes).ok()?.trim().parse().ok() })
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    /// A restarted supervisor continues a stored backoff.
    fn started(&mut self, ctx: &mut Context<Self>) {
        if is_enabled(Failpoint::DropBackoffOnRestart) {
            self.task.pause = None;
        }
        if let Some(pause) = self.task.pause.filter(|_| is_enabled(Failpoint::RestartBackoffOnRestart)) {
            self.task.pause = Some(BackoffTimer::new(pause.total, self.deps.clock.now()));
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
            && let Some(location) = self.location()
        {
            self.deps.sandbox.archive(&location);
        }
        let future: ResponseActFuture<Self, ()> = match condition {
            // The next state can depend on the exit code.
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

/// The event of a new state of a task.
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

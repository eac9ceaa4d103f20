//! The life of a launch, as the shell reports it and as it is told to end.

use std::cmp::Reverse;
use std::rc::Rc;
use std::time::Duration;

use super::task::{Task, Update};
use super::timers::Timer;
use super::updates::unreliable_status;
use super::{Action, Agent, KillStage, LaunchHistory, StartReport, StopReason, Timestamps};
use crate::exit::Exit;
use crate::limits::LimitExceeded;
use borges_mesos::events::TaskState;
use borges_mesos::messages::task_status::Reason;
use borges_mesos::resources::Quantities;

impl Agent {
    /// Takes over a block that an earlier agent of this directory started and that still runs, or that is
    /// still being made ready.
    pub(crate) fn adopt(
        &mut self,
        framework: &str,
        launch: &str,
        held: Quantities,
        stop: Option<StopReason>,
        began: bool,
    ) -> u64 {
        let framework: Rc<str> = framework.into();
        self.offers.hold(&held);
        let key = self.next();
        let mut task = Task::new(framework.clone(), launch.into(), held);
        task.stop = stop;
        self.frameworks.entry(framework).or_default().tasks.insert(task.launch.clone(), key);
        if began {
            let state = TaskState::Running;
            task.push(Update { serial: 0, state, reason: None, message: None, limit: None, wall: 0.0 });
            task.acknowledge(0);
        }
        self.tasks.insert(key, task);
        self.alive += 1;
        self.idle_since = None;
        key
    }

    /// The report on an [`Action::Launch`].
    pub(crate) fn started(&mut self, key: u64, started: StartReport, now: Timestamps, out: &mut Vec<Action>) {
        match started {
            StartReport::Starting => {}
            // Who was told that it is being killed need not hear that it runs.
            StartReport::Running if self.tasks.get(&key).is_none_or(|task| task.stop.is_some()) => {}
            StartReport::Running => {
                self.update(key, TaskState::Running, None, None, now, out);
                if let Some(limit) = self.tasks.get(&key).and_then(|task| task.limit) {
                    self.timers.push(Reverse((now.elapsed.saturating_add(limit), Timer::Timeout(key))));
                }
            }
            StartReport::Failed(reason, message) => {
                self.release(key, now);
                let stop = self.tasks.get(&key).and_then(|task| task.stop);
                let (state, reason) = stop.map_or((TaskState::Failed, Some(reason)), StopReason::status);
                self.update(key, state, reason, Some(message), now, out);
                self.end_if_empty(out);
            }
            StartReport::AlreadyLaunched(past) => {
                self.release(key, now);
                let Some(task) = self.tasks.remove(&key) else { return };
                if let Some(framework) = self.frameworks.get_mut(&task.framework) {
                    framework.tasks.remove(&task.launch);
                }
                self.launch_looked_up(&task.framework, &task.launch, past, now, out);
            }
        }
    }

    /// A running block has gone beyond a limit: it is ended at once.
    pub(crate) fn on_limit_exceeded(
        &mut self,
        key: u64,
        excess: LimitExceeded,
        now: Timestamps,
        out: &mut Vec<Action>,
    ) {
        self.stop(key, StopReason::LimitExceeded(excess), Some(Duration::ZERO), now, out);
    }

    /// A block's process has ended; `excess` is the limit that it was found to have gone beyond.
    pub(crate) fn ended(
        &mut self,
        key: u64,
        exit: Exit,
        excess: Option<LimitExceeded>,
        now: Timestamps,
        out: &mut Vec<Action>,
    ) {
        self.release(key, now);
        if let (Some(excess), Some(task)) = (excess, self.tasks.get_mut(&key)) {
            task.stop.get_or_insert(StopReason::LimitExceeded(excess));
        }
        if let Some(task) = self.tasks.get(&key) {
            let (state, reason, message) = task.final_status(exit);
            self.update(key, state, reason, Some(message), now, out);
        }
        self.end_if_empty(out);
    }

    /// The report on an [`Action::ReadTask`]: the answer to a scheduler that asked.
    pub(crate) fn launch_looked_up(
        &mut self,
        framework: &str,
        launch: &str,
        past: LaunchHistory,
        now: Timestamps,
        out: &mut Vec<Action>,
    ) {
        let aware = self.frameworks.get(framework).is_some_and(|framework| framework.able.partition_aware);
        let mut limit = None;
        let (state, message) = match past {
            LaunchHistory::Never if aware => {
                (TaskState::Gone, "reconciliation: the agent never had this task".to_owned())
            }
            LaunchHistory::NotStarted if aware => {
                (TaskState::Dropped, "reconciliation: the task was never started".to_owned())
            }
            LaunchHistory::Never | LaunchHistory::NotStarted => {
                (TaskState::Lost, "reconciliation: the task is unknown".to_owned())
            }
            LaunchHistory::Failed(message, Some(StopReason::Killed)) => (TaskState::Killed, message),
            LaunchHistory::Failed(message, _) => (TaskState::Failed, message),
            LaunchHistory::Ended(exit, stop) => {
                let mut task = Task::new("".into(), "".into(), Quantities::default());
                task.stop = stop;
                limit = stop.and_then(StopReason::limit);
                let (state, _, message) = task.final_status(exit);
                (state, message)
            }
        };
        let update = Update { limit, ..unreliable_status(state, Reason::Reconciliation, message, now) };
        self.send_unreliable(framework, launch, &update, out);
    }

    /// A process is no more: what it held is free.
    pub(super) fn release(&mut self, key: u64, now: Timestamps) {
        let Some(task) = self.tasks.get_mut(&key).filter(|task| task.alive) else { return };
        task.alive = false;
        let held = std::mem::take(&mut task.held);
        self.offers.release(&held);
        self.alive -= 1;
        self.arm_idle_timer(now);
    }

    /// Tells a block to end; a later, shorter grace shortens an earlier one.
    pub(super) fn stop(
        &mut self,
        key: u64,
        why: StopReason,
        grace: Option<Duration>,
        now: Timestamps,
        out: &mut Vec<Action>,
    ) {
        let Some(task) = self.tasks.get_mut(&key).filter(|task| task.alive) else { return };
        let grace = grace.unwrap_or(task.grace);
        let at = now.elapsed.saturating_add(grace);
        let first = task.kill_at.is_none();
        task.stop.get_or_insert(why);
        if first {
            out.push(Action::RecordStop(key, why));
        }
        if task.kill_at.is_none_or(|planned| at < planned) {
            task.kill_at = Some(at);
            if grace.is_zero() {
                out.push(Action::Signal(key, KillStage::Kill));
            } else {
                self.timers.push(Reverse((at, Timer::Escalate(key))));
            }
        }
        if !first {
            return;
        }
        if !grace.is_zero() {
            out.push(Action::Signal(key, KillStage::Terminate));
        }
        let task_killing =
            self.frameworks.get(&task.framework).is_some_and(|framework| framework.able.task_killing);
        if why == StopReason::Killed && task_killing {
            self.update(key, TaskState::Killing, None, None, now, out);
        }
    }

    pub(super) fn end_if_empty(&self, out: &mut Vec<Action>) {
        if self.ending.is_some() && self.alive == 0 {
            out.push(Action::Shutdown);
        }
    }
}

//! Launches: adoption, reports of their start and exit, and their stop.

use std::cmp::Reverse;
use std::rc::Rc;
use std::time::Duration;

use super::action::Action;
use super::agent::{Agent, Timer};
use super::task::{Task, Update};
use super::updates::unreliable_status;
use crate::model::{Exit, KillStage, LaunchHistory, LimitExceeded, StartReport, StopReason, Timestamps};
use borges_mesos::events::TaskState;
use borges_mesos::messages::task_status::Reason;
use borges_mesos::resources::Quantities;

impl Agent {
    /// Adds a launch of an earlier agent of this directory. `has_started` is false for a container that is still being
    /// made.
    pub(crate) fn adopt(
        &mut self,
        framework: &str,
        launch: &str,
        resources: Quantities,
        stop_reason: Option<StopReason>,
        has_started: bool,
    ) -> u64 {
        let framework: Rc<str> = framework.into();
        self.offers.hold(&resources);
        let key = self.next_serial();
        let mut task = Task::new(framework.clone(), launch.into(), resources);
        task.stop_reason = stop_reason;
        self.frameworks.entry(framework).or_default().tasks.insert(task.launch.clone(), key);
        if has_started {
            let state = TaskState::Running;
            task.push(Update { serial: 0, state, reason: None, message: None, limit: None, wall: 0.0 });
            task.acknowledge(0);
        }
        self.tasks.insert(key, task);
        self.live_tasks += 1;
        self.idle_since = None;
        key
    }

    /// The report on an [`Action::Launch`].
    pub(crate) fn started(
        &mut self,
        key: u64,
        report: StartReport,
        now: Timestamps,
        actions: &mut Vec<Action>,
    ) {
        match report {
            StartReport::Starting => {}
            // A scheduler that has seen TASK_KILLING needs no TASK_RUNNING.
            StartReport::Running if self.tasks.get(&key).is_none_or(|task| task.stop_reason.is_some()) => {}
            StartReport::Running => {
                self.update(key, TaskState::Running, None, None, now, actions);
                if let Some(max) = self.tasks.get(&key).and_then(|task| task.max_completion_time) {
                    self.timers.push(Reverse((now.elapsed.saturating_add(max), Timer::Timeout(key))));
                }
            }
            StartReport::Failed(reason, message) => {
                self.release(key, now);
                let stop_reason = self.tasks.get(&key).and_then(|task| task.stop_reason);
                let (state, reason) =
                    stop_reason.map_or((TaskState::Failed, Some(reason)), StopReason::status);
                self.update(key, state, reason, Some(message), now, actions);
                self.shut_down_if_drained(actions);
            }
            StartReport::AlreadyLaunched(history) => {
                self.release(key, now);
                let Some(task) = self.tasks.remove(&key) else { return };
                if let Some(framework) = self.frameworks.get_mut(&task.framework) {
                    framework.tasks.remove(&task.launch);
                }
                self.launch_looked_up(&task.framework, &task.launch, history, now, actions);
            }
        }
    }

    /// Kills a running block that has exceeded a limit.
    pub(crate) fn on_limit_exceeded(
        &mut self,
        key: u64,
        exceeded: LimitExceeded,
        now: Timestamps,
        actions: &mut Vec<Action>,
    ) {
        self.stop(key, StopReason::LimitExceeded(exceeded), Some(Duration::ZERO), now, actions);
    }

    /// The report that a block's process has exited; `exceeded` is a limit that was found exceeded afterwards.
    pub(crate) fn exited(
        &mut self,
        key: u64,
        exit: Exit,
        exceeded: Option<LimitExceeded>,
        now: Timestamps,
        actions: &mut Vec<Action>,
    ) {
        self.release(key, now);
        if let (Some(exceeded), Some(task)) = (exceeded, self.tasks.get_mut(&key)) {
            task.stop_reason.get_or_insert(StopReason::LimitExceeded(exceeded));
        }
        if let Some(task) = self.tasks.get(&key) {
            let (state, reason, message) = task.final_status(exit);
            self.update(key, state, reason, Some(message), now, actions);
        }
        self.shut_down_if_drained(actions);
    }

    /// The report on an [`Action::LookUpLaunch`]: answers the scheduler's reconciliation or kill.
    pub(crate) fn launch_looked_up(
        &mut self,
        framework: &str,
        launch: &str,
        history: LaunchHistory,
        now: Timestamps,
        actions: &mut Vec<Action>,
    ) {
        let partition_aware =
            self.frameworks.get(framework).is_some_and(|framework| framework.capabilities.partition_aware);
        let mut limit = None;
        let (state, message) = match history {
            LaunchHistory::Never if partition_aware => {
                (TaskState::Gone, "reconciliation: the agent never had this task".to_owned())
            }
            LaunchHistory::NotStarted if partition_aware => {
                (TaskState::Dropped, "reconciliation: the task was never started".to_owned())
            }
            LaunchHistory::Never | LaunchHistory::NotStarted => {
                (TaskState::Lost, "reconciliation: the task is unknown".to_owned())
            }
            LaunchHistory::Failed(message, Some(StopReason::Killed)) => (TaskState::Killed, message),
            LaunchHistory::Failed(message, _) => (TaskState::Failed, message),
            LaunchHistory::Ended(exit, stop_reason) => {
                let mut task = Task::new("".into(), "".into(), Quantities::default());
                task.stop_reason = stop_reason;
                limit = stop_reason.and_then(StopReason::limit);
                let (state, _, message) = task.final_status(exit);
                (state, message)
            }
        };
        let update = Update { limit, ..unreliable_status(state, Reason::Reconciliation, message, now) };
        self.send_unreliable(framework, launch, &update, actions);
    }

    /// Frees the resources of a task whose process has ended.
    pub(super) fn release(&mut self, key: u64, now: Timestamps) {
        let Some(task) = self.tasks.get_mut(&key).filter(|task| task.alive) else { return };
        task.alive = false;
        let resources = std::mem::take(&mut task.resources);
        self.offers.release(&resources);
        self.live_tasks -= 1;
        self.arm_idle_timer(now);
    }

    /// Stops a block. `grace` is the time until SIGKILL, by default the task's own; a shorter one replaces an earlier
    /// one.
    pub(super) fn stop(
        &mut self,
        key: u64,
        stop_reason: StopReason,
        grace: Option<Duration>,
        now: Timestamps,
        actions: &mut Vec<Action>,
    ) {
        let Some(task) = self.tasks.get_mut(&key).filter(|task| task.alive) else { return };
        let grace = grace.unwrap_or(task.grace);
        let at = now.elapsed.saturating_add(grace);
        let is_first = task.kill_at.is_none();
        task.stop_reason.get_or_insert(stop_reason);
        if is_first {
            actions.push(Action::RecordStop(key, stop_reason));
        }
        if task.kill_at.is_none_or(|planned| at < planned) {
            task.kill_at = Some(at);
            if grace.is_zero() {
                actions.push(Action::Signal(key, KillStage::Kill));
            } else {
                self.timers.push(Reverse((at, Timer::Escalate(key))));
            }
        }
        if !is_first {
            return;
        }
        if !grace.is_zero() {
            actions.push(Action::Signal(key, KillStage::Terminate));
        }
        let task_killing =
            self.frameworks.get(&task.framework).is_some_and(|framework| framework.capabilities.task_killing);
        if stop_reason == StopReason::Killed && task_killing {
            self.update(key, TaskState::Killing, None, None, now, actions);
        }
    }

    /// Shuts the agent down if its last client has disconnected and no block is left.
    pub(super) fn shut_down_if_drained(&self, actions: &mut Vec<Action>) {
        if self.kill_all_at.is_some() && self.live_tasks == 0 {
            actions.push(Action::Shutdown);
        }
    }
}

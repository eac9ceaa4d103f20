//! [`Task`], one launch from its acceptance until its last update is acknowledged, with its stream of status updates
//! (pure).

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::model::{Exit, LimitExceeded, StopReason};
use borges_mesos::events::TaskState;
use borges_mesos::messages::task_status::Reason;
use borges_mesos::resources::Quantities;

/// An update that is not acknowledged for this long is resent. Source: Mesos,
/// `STATUS_UPDATE_RETRY_INTERVAL_MIN`.
pub(crate) const UPDATE_RESEND: Duration = Duration::from_secs(10);

/// The default time between SIGTERM and SIGKILL. Source: Mesos, `KillPolicy`.
pub(crate) const KILL_GRACE: Duration = Duration::from_secs(5);

impl StopReason {
    /// The terminal state of a block that was stopped for this reason, and Mesos' reason.
    pub(super) fn status(self) -> (TaskState, Option<Reason>) {
        match self {
            Self::Killed => (TaskState::Killed, None),
            Self::TimedOut => (TaskState::Failed, Some(Reason::MaxCompletionTimeReached)),
            Self::LimitExceeded(LimitExceeded::Memory(_)) => {
                (TaskState::Failed, Some(Reason::ContainerLimitationMemory))
            }
            Self::LimitExceeded(LimitExceeded::Output(..)) => {
                (TaskState::Failed, Some(Reason::ContainerLimitationDisk))
            }
        }
    }
}

/// One status of a task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Update {
    /// Half of the update's uuid.
    pub(crate) serial: u64,
    pub(crate) state: TaskState,
    pub(crate) reason: Option<Reason>,
    pub(crate) message: Option<String>,
    /// The exceeded limit, if one ended the task.
    pub(crate) limit: Option<LimitExceeded>,
    /// When, in seconds since 1970.
    pub(crate) wall: f64,
}

/// A task of a framework.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) framework: Rc<str>,
    pub(crate) launch: Rc<str>,
    pub(crate) resources: Quantities,
    /// Whether its process may still run.
    pub(crate) alive: bool,
    pub(crate) stop_reason: Option<StopReason>,
    /// Time between SIGTERM and SIGKILL.
    pub(crate) grace: Duration,
    /// The task's `max_completion_time`.
    pub(crate) max_completion_time: Option<Duration>,
    /// When SIGKILL follows.
    pub(crate) kill_at: Option<Duration>,
    /// When the first unacknowledged update is resent.
    pub(crate) resend_at: Option<Duration>,
    /// Its framework is torn down: no updates are sent.
    pub(crate) silent: bool,
    /// Unacknowledged updates; only the first one has been sent.
    updates: VecDeque<Update>,
    /// The latest acknowledged update.
    last_acknowledged: Option<Update>,
}

impl Task {
    pub(crate) fn new(framework: Rc<str>, launch: Rc<str>, resources: Quantities) -> Self {
        Self {
            framework,
            launch,
            resources,
            alive: true,
            stop_reason: None,
            grace: KILL_GRACE,
            max_completion_time: None,
            kill_at: None,
            resend_at: None,
            silent: false,
            updates: VecDeque::new(),
            last_acknowledged: None,
        }
    }

    /// Appends an update. `true` if it is to be sent now, because no other is unacknowledged.
    pub(crate) fn push(&mut self, update: Update) -> bool {
        self.updates.push_back(update);
        self.updates.len() == 1
    }

    /// The first unacknowledged update.
    pub(crate) fn front(&self) -> Option<&Update> {
        self.updates.front()
    }

    /// Acknowledges the first unacknowledged update. `false`, and no effect, if `serial` is another one's.
    pub(crate) fn acknowledge(&mut self, serial: u64) -> bool {
        if self.updates.front().is_none_or(|update| update.serial != serial) {
            return false;
        }
        self.last_acknowledged = self.updates.pop_front();
        self.resend_at = None;
        true
    }

    /// The latest update that was sent; `None` if none was.
    pub(crate) fn latest(&self) -> Option<&Update> {
        self.front().or(self.last_acknowledged.as_ref())
    }

    /// Whether the process has ended and all updates are acknowledged.
    pub(crate) fn is_complete(&self) -> bool {
        !self.alive && (self.silent || self.updates.is_empty())
    }

    /// The state, reason and message of the last update, from the exit of the process.
    pub(crate) fn final_status(&self, exit: Exit) -> (TaskState, Option<Reason>, String) {
        let message = format!("Command {exit}");
        match (self.stop_reason, exit) {
            (Some(stop_reason), _) => {
                let (state, reason) = stop_reason.status();
                let message = stop_reason.limit().map_or(message, |exceeded| exceeded.to_string());
                (state, reason, message)
            }
            (None, Exit::Code(0)) => (TaskState::Finished, None, message),
            (None, Exit::Code(_) | Exit::Signal(_)) => {
                (TaskState::Failed, Some(Reason::CommandExecutorFailed), message)
            }
            (None, Exit::Unknown) => (TaskState::Failed, Some(Reason::ExecutorTerminated), message),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::model::Stream;

    fn task() -> Task {
        Task::new("f".into(), "t".into(), Quantities::default())
    }

    fn update(serial: u64, state: TaskState) -> Update {
        Update { serial, state, reason: None, message: None, limit: None, wall: 0.0 }
    }

    #[test]
    fn updates_are_sent_one_at_a_time() {
        let mut task = task();
        assert!(task.push(update(1, TaskState::Running)));
        assert!(!task.push(update(2, TaskState::Finished)));
        task.alive = false;
        assert_eq!(task.latest().map(|update| update.state), Some(TaskState::Running));
        assert!(!task.acknowledge(2), "not sent yet");
        assert!(task.acknowledge(1));
        assert!(!task.acknowledge(1), "twice");
        assert_eq!(task.front().map(|update| update.serial), Some(2));
        assert!(!task.is_complete());
        assert!(task.acknowledge(2));
        assert_eq!(task.latest().map(|update| update.state), Some(TaskState::Finished));
        assert!(task.is_complete());
    }

    #[test]
    fn final_statuses() {
        let mut table = String::new();
        let memory = StopReason::LimitExceeded(LimitExceeded::Memory(64));
        let output = StopReason::LimitExceeded(LimitExceeded::Output(Stream::Stdout, 7));
        for stop_reason in
            [None, Some(StopReason::Killed), Some(StopReason::TimedOut), Some(memory), Some(output)]
        {
            for exit in [Exit::Code(0), Exit::Code(3), Exit::Signal(9), Exit::Unknown] {
                let (state, reason, message) = Task { stop_reason, ..task() }.final_status(exit);
                let reason = reason.map_or("-", |reason| reason.as_str_name());
                let stop = stop_reason.map_or("-".to_owned(), |stop| format!("{stop:?}"));
                let exit = format!("{exit:?}");
                writeln!(table, "{stop:8} {exit:10} {:13} {reason} {message}", state.name()).unwrap();
            }
        }
        insta::assert_snapshot!(table);
    }
}

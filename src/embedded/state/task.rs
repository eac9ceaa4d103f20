//! The life of one task, and its stream of status updates.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::super::exit::Exit;
use super::super::limits::LimitExceeded;
use borges_mesos::events::TaskState;
use borges_mesos::messages::task_status::Reason;
use borges_mesos::resources::Quantities;

/// How long an update may go unacknowledged until it is sent again. Source: Mesos,
/// `STATUS_UPDATE_RETRY_INTERVAL_MIN`.
pub(crate) const UPDATE_RESEND: Duration = Duration::from_secs(10);

/// Between SIGTERM and SIGKILL where nobody says. Source: Mesos, `KillPolicy`.
pub(crate) const KILL_GRACE: Duration = Duration::from_secs(5);

/// Why a block was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// A KILL call, or the end of the client it belongs to.
    Killed,
    /// Its `max_completion_time` is over.
    TimedOut,
    /// It has gone beyond a limit.
    LimitExceeded(LimitExceeded),
}

impl StopReason {
    /// The last status of a block that was told to end for this.
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

impl StopReason {
    /// The limit, if that was it.
    pub(super) fn limit(self) -> Option<LimitExceeded> {
        match self {
            Self::LimitExceeded(excess) => Some(excess),
            Self::Killed | Self::TimedOut => None,
        }
    }
}

/// One status of a task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Update {
    /// Makes the update's uuid.
    pub(crate) serial: u64,
    pub(crate) state: TaskState,
    pub(crate) reason: Option<Reason>,
    pub(crate) message: Option<String>,
    /// The limit that ended it.
    pub(crate) limit: Option<LimitExceeded>,
    /// When, in seconds since 1970.
    pub(crate) wall: f64,
}

/// One launch, from its acceptance until its last update is acknowledged.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) framework: Rc<str>,
    pub(crate) launch: Rc<str>,
    pub(crate) held: Quantities,
    /// Whether its process may still run.
    pub(crate) alive: bool,
    pub(crate) stop: Option<StopReason>,
    /// Its own kill policy.
    pub(crate) grace: Duration,
    /// How long it may run.
    pub(crate) limit: Option<Duration>,
    /// When SIGTERM was not enough.
    pub(crate) kill_at: Option<Duration>,
    /// When the front update is sent again.
    pub(crate) resend_at: Option<Duration>,
    /// Its framework is gone: nobody wants to hear of it.
    pub(crate) silent: bool,
    /// Updates not acknowledged yet; only the front one is under way.
    updates: VecDeque<Update>,
    /// The last one acknowledged.
    told: Option<Update>,
}

impl Task {
    pub(crate) fn new(framework: Rc<str>, launch: Rc<str>, held: Quantities) -> Self {
        Self {
            framework,
            launch,
            held,
            alive: true,
            stop: None,
            grace: KILL_GRACE,
            limit: None,
            kill_at: None,
            resend_at: None,
            silent: false,
            updates: VecDeque::new(),
            told: None,
        }
    }

    /// Appends an update; true when it is to be sent now, because none is under way.
    pub(crate) fn push(&mut self, update: Update) -> bool {
        self.updates.push_back(update);
        self.updates.len() == 1
    }

    /// The update under way.
    pub(crate) fn front(&self) -> Option<&Update> {
        self.updates.front()
    }

    /// Takes the acknowledgement of the update under way; any other is an old one, and nothing.
    pub(crate) fn acknowledge(&mut self, serial: u64) -> bool {
        if self.updates.front().is_none_or(|update| update.serial != serial) {
            return false;
        }
        self.told = self.updates.pop_front();
        self.resend_at = None;
        true
    }

    /// What the scheduler is told when it asks: the update under way, or the last one.
    pub(crate) fn latest(&self) -> Option<&Update> {
        self.front().or(self.told.as_ref())
    }

    /// Whether nothing is left to be done for it.
    pub(crate) fn is_over(&self) -> bool {
        !self.alive && (self.silent || self.updates.is_empty())
    }

    /// The last status, from how the process ended and why.
    pub(crate) fn final_status(&self, exit: Exit) -> (TaskState, Option<Reason>, String) {
        let words = format!("Command {exit}");
        match (self.stop, exit) {
            (Some(stop), _) => {
                let (state, reason) = stop.status();
                let words =
                    if let StopReason::LimitExceeded(excess) = stop { excess.to_string() } else { words };
                (state, reason, words)
            }
            (None, Exit::Code(0)) => (TaskState::Finished, None, words),
            (None, Exit::Code(_) | Exit::Signal(_)) => {
                (TaskState::Failed, Some(Reason::CommandExecutorFailed), words)
            }
            (None, Exit::Unknown) => (TaskState::Failed, Some(Reason::ExecutorTerminated), words),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::limits::Stream;

    fn task() -> Task {
        Task::new("f".into(), "t".into(), Quantities::default())
    }

    fn update(serial: u64, state: TaskState) -> Update {
        Update { serial, state, reason: None, message: None, limit: None, wall: 0.0 }
    }

    #[test]
    fn one_update_is_under_way_at_a_time() {
        let mut task = task();
        assert!(task.push(update(1, TaskState::Running)));
        assert!(!task.push(update(2, TaskState::Finished)));
        task.alive = false;
        assert_eq!(task.latest().map(|update| update.state), Some(TaskState::Running));
        assert!(!task.acknowledge(2), "not sent yet");
        assert!(task.acknowledge(1));
        assert!(!task.acknowledge(1), "twice");
        assert_eq!(task.front().map(|update| update.serial), Some(2));
        assert!(!task.is_over());
        assert!(task.acknowledge(2));
        assert_eq!(task.latest().map(|update| update.state), Some(TaskState::Finished));
        assert!(task.is_over());
    }

    #[test]
    fn the_verdict_is_a_table() {
        let mut table = String::new();
        let memory = StopReason::LimitExceeded(LimitExceeded::Memory(64));
        let output = StopReason::LimitExceeded(LimitExceeded::Output(Stream::Stdout, 7));
        for stop in [None, Some(StopReason::Killed), Some(StopReason::TimedOut), Some(memory), Some(output)] {
            for exit in [Exit::Code(0), Exit::Code(3), Exit::Signal(9), Exit::Unknown] {
                let (state, reason, message) = Task { stop, ..task() }.final_status(exit);
                let reason = reason.map_or("-", |reason| reason.as_str_name());
                let stop = stop.map_or("-".to_owned(), |stop| format!("{stop:?}"));
                let exit = format!("{exit:?}");
                writeln!(table, "{stop:8} {exit:10} {:13} {reason} {message}", state.name()).unwrap();
            }
        }
        insta::assert_snapshot!(table);
    }
}

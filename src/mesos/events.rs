//! Converts generated event messages to [`Event`], with checks.
//!
//! Types, states and reasons that a newer master may send are kept as numbers. A message that no master may send, such as
//! an update without a task, is a [`MalformedEvent`].

use std::time::Duration;

use bytes::Bytes;

use super::messages::scheduler::{Event as WireEvent, event::Type};
use super::messages::task_status::{Reason as WireReason, Source};
use super::messages::{
    ContainerStatus, InverseOffer, Labels, Offer, OperationStatus, TaskResourceLimitation,
    TaskState as WireState, TaskStatus,
};

/// What a master says.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Always the first of a subscription.
    Subscribed {
        /// The framework's id; new when none was given.
        framework: String,
        /// Where the master is that answered, `HOST:PORT`; `None` where it has no name.
        master: Option<String>,
        /// How often the master says something at least. Source: 15 s, a constant of Mesos.
        heartbeat: Duration,
    },
    /// Resources to be accepted or declined.
    Offers(Vec<Offer>),
    /// Resources the master wants back, for maintenance.
    InverseOffers(Vec<InverseOffer>),
    /// The offer of this id is no longer one.
    Rescind(String),
    /// The inverse offer of this id is no longer one.
    RescindInverseOffer(String),
    /// News of one task.
    Update(Box<StatusUpdate>),
    /// News of an operation on resources.
    OperationUpdate(Box<OperationStatus>),
    /// Bytes of an executor.
    Message {
        /// The agent it runs on.
        agent: String,
        /// The executor that sent them.
        executor: String,
        /// The bytes.
        data: Bytes,
    },
    /// An agent is gone, or, with `executor`, only an executor.
    Failure {
        /// The agent.
        agent: Option<String>,
        /// The executor, when it was one.
        executor: Option<String>,
        /// How the executor ended, as of wait(2).
        status: Option<i32>,
    },
    /// The subscription is over; the reason, in the master's words.
    Error(String),
    /// The master lives.
    Heartbeat,
    /// An event this version does not know: its type's number.
    Unknown(i32),
}

/// What no master may send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedEvent {
    /// The type says one thing, the fields another.
    #[error("an event of type `{0}` without what belongs to it")]
    Empty(&'static str),
    /// An id that must be there is absent or empty.
    #[error("an event of type `{0}` without an id")]
    NoId(&'static str),
}

/// A state of a task, as Mesos names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// Accepted by the master, not yet started.
    Staging,
    /// Being started by its executor.
    Starting,
    /// Runs.
    Running,
    /// Asked to end, not yet ended.
    Killing,
    /// Ended well.
    Finished,
    /// Ended badly.
    Failed,
    /// Ended because it was told to.
    Killed,
    /// Its description is wrong: it can never start.
    Error,
    /// Something went wrong in the cluster; may come back.
    Lost,
    /// Never started: a launch that failed in the cluster.
    Dropped,
    /// Its agent does not answer; may come back.
    Unreachable,
    /// Ended, or never was; its agent is known to be without it.
    Gone,
    /// The operator says that its agent is gone; may come back if he errs.
    GoneByOperator,
    /// The master has never heard of it.
    Unknown,
    /// A state this version does not know: its number.
    Unrecognised(i32),
}

impl TaskState {
    /// Reads a state's number.
    pub fn from_wire(number: i32) -> Self {
        let Ok(state) = WireState::try_from(number) else { return Self::Unrecognised(number) };
        match state {
            WireState::TaskStaging => Self::Staging,
            WireState::TaskStarting => Self::Starting,
            WireState::TaskRunning => Self::Running,
            WireState::TaskKilling => Self::Killing,
            WireState::TaskFinished => Self::Finished,
            WireState::TaskFailed => Self::Failed,
            WireState::TaskKilled => Self::Killed,
            WireState::TaskError => Self::Error,
            WireState::TaskLost => Self::Lost,
            WireState::TaskDropped => Self::Dropped,
            WireState::TaskUnreachable => Self::Unreachable,
            WireState::TaskGone => Self::Gone,
            WireState::TaskGoneByOperator => Self::GoneByOperator,
            WireState::TaskUnknown => Self::Unknown,
        }
    }

    /// The state's number on the wire.
    pub fn to_wire(self) -> i32 {
        let state = match self {
            Self::Staging => WireState::TaskStaging,
            Self::Starting => WireState::TaskStarting,
            Self::Running => WireState::TaskRunning,
            Self::Killing => WireState::TaskKilling,
            Self::Finished => WireState::TaskFinished,
            Self::Failed => WireState::TaskFailed,
            Self::Killed => WireState::TaskKilled,
            Self::Error => WireState::TaskError,
            Self::Lost => WireState::TaskLost,
            Self::Dropped => WireState::TaskDropped,
            Self::Unreachable => WireState::TaskUnreachable,
            Self::Gone => WireState::TaskGone,
            Self::GoneByOperator => WireState::TaskGoneByOperator,
            Self::Unknown => WireState::TaskUnknown,
            Self::Unrecognised(number) => return number,
        };
        state as i32
    }

    /// Whether the task is certain not to run, now and later.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Finished | Self::Failed | Self::Killed | Self::Error | Self::Dropped | Self::Gone => true,
            Self::Staging
            | Self::Starting
            | Self::Running
            | Self::Killing
            | Self::Lost
            | Self::Unreachable
            | Self::GoneByOperator
            | Self::Unknown
            | Self::Unrecognised(_) => false,
        }
    }

    /// As Mesos writes it: `TASK_RUNNING`; `TASK_?` for an unrecognised one.
    pub fn name(self) -> &'static str {
        WireState::try_from(self.to_wire()).map_or("TASK_?", |state| state.as_str_name())
    }
}

/// Why a task is in its state, as Mesos names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// One of those Mesos has.
    Known(WireReason),
    /// A reason this version does not know: its number.
    Unrecognised(i32),
}

impl Reason {
    /// Reads a reason's number.
    pub fn from_wire(number: i32) -> Self {
        WireReason::try_from(number).map_or(Self::Unrecognised(number), Self::Known)
    }

    /// As Mesos writes it: `REASON_INVALID_OFFERS`; `REASON_?` for an unrecognised one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Known(reason) => reason.as_str_name(),
            Self::Unrecognised(_) => "REASON_?",
        }
    }
}

/// News of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusUpdate {
    /// The launch it is about: the task id, never empty.
    pub launch: String,
    /// Where the task is, or was to be.
    pub agent: Option<String>,
    /// Who runs it; for a command task the launch again.
    pub executor: Option<String>,
    /// What it is now.
    pub state: TaskState,
    /// Why.
    pub reason: Option<Reason>,
    /// Who says so.
    pub source: Option<Source>,
    /// Words for people.
    pub message: Option<String>,
    /// Names this update; present when it must be acknowledged, and only then.
    pub uuid: Option<Bytes>,
    /// The verdict of a health check, where there is one.
    pub healthy: Option<bool>,
    /// When it happened by its author's clock, in seconds since 1970: to be shown, never compared.
    pub timestamp: Option<f64>,
    /// What the executor added.
    pub data: Bytes,
    /// What the executor added, by name.
    pub labels: Option<Labels>,
    /// The container: its id, address and first process.
    pub container: Option<ContainerStatus>,
    /// The limit that was passed, when a limit ended it.
    pub limitation: Option<TaskResourceLimitation>,
}

impl TryFrom<TaskStatus> for StatusUpdate {
    type Error = MalformedEvent;

    fn try_from(status: TaskStatus) -> Result<Self, MalformedEvent> {
        Ok(Self {
            launch: require_id(status.task_id.value, "UPDATE")?,
            agent: status.agent_id.map(|id| id.value),
            executor: status.executor_id.map(|id| id.value),
            state: TaskState::from_wire(status.state),
            reason: status.reason.map(Reason::from_wire),
            source: status.source.and_then(|number| Source::try_from(number).ok()),
            message: status.message,
            uuid: status.uuid.filter(|uuid| !uuid.is_empty()),
            healthy: status.healthy,
            timestamp: status.timestamp,
            data: status.data.unwrap_or_default(),
            labels: status.labels,
            container: status.container_status,
            limitation: status.limitation,
        })
    }
}

/// How often a master beats when it does not say. Source: Mesos, `DEFAULT_HEARTBEAT_INTERVAL`.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(15);

impl TryFrom<WireEvent> for Event {
    type Error = MalformedEvent;

    fn try_from(event: WireEvent) -> Result<Self, MalformedEvent> {
        let number = event.r#type.unwrap_or_default();
        let Ok(kind) = Type::try_from(number) else { return Ok(Self::Unknown(number)) };
        let name = kind.as_str_name();
        let empty = MalformedEvent::Empty(name);
        Ok(match kind {
            Type::Unknown => Self::Unknown(number),
            Type::Subscribed => {
                let subscribed = event.subscribed.ok_or(empty)?;
                let interval = subscribed.heartbeat_interval_seconds.map(Duration::try_from_secs_f64);
                Self::Subscribed {
                    framework: require_id(subscribed.framework_id.value, name)?,
                    master: subscribed.master_info.map(|master| {
                        let [a, b, c, d] = master.ip.to_le_bytes();
                        let host = master.hostname.unwrap_or_else(|| format!("{a}.{b}.{c}.{d}"));
                        format!("{host}:{}", master.port)
                    }),
                    heartbeat: interval
                        .and_then(Result::ok)
                        .filter(|interval| !interval.is_zero())
                        .unwrap_or(DEFAULT_HEARTBEAT),
                }
            }
            Type::Offers => Self::Offers(event.offers.ok_or(empty)?.offers),
            Type::InverseOffers => Self::InverseOffers(event.inverse_offers.ok_or(empty)?.inverse_offers),
            Type::Rescind => Self::Rescind(require_id(event.rescind.ok_or(empty)?.offer_id.value, name)?),
            Type::RescindInverseOffer => {
                let rescinded = event.rescind_inverse_offer.ok_or(empty)?;
                Self::RescindInverseOffer(require_id(rescinded.inverse_offer_id.value, name)?)
            }
            Type::Update => Self::Update(Box::new(event.update.ok_or(empty)?.status.try_into()?)),
            Type::UpdateOperationStatus => {
                Self::OperationUpdate(Box::new(event.update_operation_status.ok_or(empty)?.status))
            }
            Type::Message => {
                let message = event.message.ok_or(empty)?;
                Self::Message {
                    agent: require_id(message.agent_id.value, name)?,
                    executor: require_id(message.executor_id.value, name)?,
                    data: message.data,
                }
            }
            Type::Failure => {
                let failure = event.failure.ok_or(empty)?;
                Self::Failure {
                    agent: failure.agent_id.map(|id| id.value),
                    executor: failure.executor_id.map(|id| id.value),
                    status: failure.status,
                }
            }
            Type::Error => Self::Error(event.error.ok_or(empty)?.message),
            Type::Heartbeat => Self::Heartbeat,
        })
    }
}

fn require_id(id: String, event: &'static str) -> Result<String, MalformedEvent> {
    if id.is_empty() { Err(MalformedEvent::NoId(event)) } else { Ok(id) }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::messages::scheduler::event;
    use crate::messages::{FrameworkId, TaskId};

    fn update(status: TaskStatus) -> WireEvent {
        let update = Some(event::Update { status });
        WireEvent { r#type: Some(Type::Update as i32), update, ..WireEvent::default() }
    }

    #[test]
    fn task_states_round_trip_through_their_numbers() {
        let names: Vec<_> = (0..=13).map(|number| TaskState::from_wire(number).name()).collect();
        insta::assert_snapshot!(names.join(" "), @"TASK_STARTING TASK_RUNNING TASK_FINISHED TASK_FAILED TASK_KILLED TASK_LOST TASK_STAGING TASK_ERROR TASK_KILLING TASK_DROPPED TASK_UNREACHABLE TASK_GONE TASK_GONE_BY_OPERATOR TASK_UNKNOWN");
        for number in -1..40 {
            assert_eq!(TaskState::from_wire(number).to_wire(), number);
        }
        let terminal: Vec<_> =
            (-1..20).map(TaskState::from_wire).filter(|s| s.is_terminal()).map(TaskState::name).collect();
        insta::assert_snapshot!(terminal.join(" "), @"TASK_FINISHED TASK_FAILED TASK_KILLED TASK_ERROR TASK_DROPPED TASK_GONE");
    }

    #[test]
    fn unknown_types_states_and_reasons_keep_their_numbers() {
        let newer = WireEvent { r#type: Some(77), ..WireEvent::default() };
        assert_eq!(Event::try_from(newer), Ok(Event::Unknown(77)));
        assert_eq!(Event::try_from(WireEvent::default()), Ok(Event::Unknown(0)));
        let status = TaskStatus {
            task_id: TaskId { value: "r.1.1".into() },
            state: 99,
            reason: Some(999),
            source: Some(9),
            ..TaskStatus::default()
        };
        // By way of the bytes: a decoder must not refuse them either.
        let bytes = update(status).encode_to_vec();
        let Ok(Event::Update(status)) = Event::try_from(WireEvent::decode(bytes.as_slice()).unwrap()) else {
            panic!("an update");
        };
        assert_eq!(status.state, TaskState::Unrecognised(99));
        assert_eq!(status.reason, Some(Reason::Unrecognised(999)));
        assert_eq!(status.source, None);
        assert_eq!(status.uuid, None);
    }

    #[test]
    fn malformed_events_are_errors() {
        let error_text = |event: WireEvent| Event::try_from(event).unwrap_err().to_string();
        insta::assert_snapshot!(error_text(update(TaskStatus::default())), @"an event of type `UPDATE` without an id");
        let empty = WireEvent { r#type: Some(Type::Offers as i32), ..WireEvent::default() };
        insta::assert_snapshot!(error_text(empty), @"an event of type `OFFERS` without what belongs to it");
    }

    #[test]
    fn invalid_heartbeat_intervals_use_the_default() {
        for (sent, expected) in [(None, 15.0), (Some(5.0), 5.0), (Some(0.0), 15.0), (Some(f64::NAN), 15.0)] {
            let subscribed = Some(event::Subscribed {
                framework_id: FrameworkId { value: "f".into() },
                heartbeat_interval_seconds: sent,
                master_info: None,
            });
            let event =
                WireEvent { r#type: Some(Type::Subscribed as i32), subscribed, ..WireEvent::default() };
            let heartbeat = Duration::from_secs_f64(expected);
            assert_eq!(
                Event::try_from(event),
                Ok(Event::Subscribed { framework: "f".into(), master: None, heartbeat })
            );
        }
    }
}

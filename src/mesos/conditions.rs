//! A status update → what it means for a launch: the one table from Mesos' words to ours.

use super::events::{Reason, StatusUpdate, TaskState};
use super::messages::task_status::Reason as Why;
use crate::task::Condition;

/// What the cluster says of a launch by this update.
///
/// Lost is not gone: only what is known never to have started, or to have ended, is [`Condition::Gone`].
/// Source: Mesos, "Task State Reasons", and the comments of `TaskState`.
pub fn condition(update: &StatusUpdate) -> Condition {
    match update.state {
        TaskState::Staging | TaskState::Starting => Condition::Starting,
        TaskState::Running => Condition::Running,
        TaskState::Killing => Condition::Killing,
        TaskState::Finished => Condition::Finished,
        TaskState::Failed if is_clusters_doing(update.reason) => Condition::Gone,
        TaskState::Failed => Condition::Failed,
        TaskState::Killed => Condition::Killed,
        TaskState::Error => Condition::Refused,
        TaskState::Dropped | TaskState::Gone => Condition::Gone,
        // The operator's word is as good as the machine's.
        TaskState::GoneByOperator => Condition::Gone,
        // Without PARTITION_AWARE a launch that raced a rescind is called lost; it never started.
        TaskState::Lost if update.reason == Some(Reason::Known(Why::InvalidOffers)) => Condition::Gone,
        TaskState::Lost | TaskState::Unreachable | TaskState::Unknown | TaskState::Unrecognised(_) => {
            Condition::Lost
        }
    }
}

/// What the cluster says of a launch, for a person: in the document's words where the document asked for it.
pub fn words(update: &StatusUpdate) -> Option<String> {
    match update.reason {
        Some(Reason::Known(Why::MaxCompletionTimeReached)) => {
            Some("it ran for longer than its `:timeout`".to_owned())
        }
        _ => update.message.clone(),
    }
}

/// Reasons of a failure that a block cannot cause.
fn is_clusters_doing(reason: Option<Reason>) -> bool {
    matches!(
        reason,
        Some(Reason::Known(
            Why::AgentDisconnected
                | Why::AgentDraining
                | Why::AgentRemoved
                | Why::AgentRestarted
                | Why::ContainerPreempted
                | Why::ExecutorRegistrationTimeout
                | Why::ExecutorReregistrationTimeout
        ))
    )
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::super::messages::{TaskId, TaskStatus};
    use super::*;

    #[test]
    fn table() {
        let mut table = String::new();
        for state in 0..=14 {
            for reason in
                [None, Some(Why::InvalidOffers), Some(Why::AgentDraining), Some(Why::CommandExecutorFailed)]
            {
                let update = StatusUpdate::try_from(TaskStatus {
                    task_id: TaskId { value: "r.1.1".to_owned() },
                    state,
                    reason: reason.map(|reason| reason as i32),
                    ..TaskStatus::default()
                })
                .unwrap();
                let name = reason.map_or("", |reason| reason.as_str_name());
                writeln!(table, "{:23} {name:30} {:?}", update.state.name(), condition(&update)).unwrap();
            }
        }
        insta::assert_snapshot!(table);
    }
}

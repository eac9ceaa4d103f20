//! Maps a status update to the condition of a launch, its exit code and its description.

use super::events::{Reason, StatusUpdate, TaskState};
use super::messages::task_status::Reason as WireReason;
use super::resources::Quantities;
use super::signals;
use borges_task::{Condition, Resources};

/// The condition of a launch that this update reports.
///
/// Lost is not gone: only what is known never to have started, or to have ended, is [`Condition::Gone`].
/// Source: Mesos, "Task State Reasons", and the comments of `TaskState`.
pub fn condition(update: &StatusUpdate) -> Condition {
    match update.state {
        TaskState::Staging | TaskState::Starting => Condition::Starting,
        TaskState::Running => Condition::Running,
        TaskState::Killing => Condition::Killing,
        TaskState::Finished => Condition::Finished,
        TaskState::Failed if is_cluster_failure(update.reason) => Condition::Gone,
        TaskState::Failed => Condition::Failed,
        TaskState::Killed => Condition::Killed,
        TaskState::Error => Condition::Rejected,
        TaskState::Dropped | TaskState::Gone => Condition::Gone,
        // The operator's word is as good as the machine's.
        TaskState::GoneByOperator => Condition::Gone,
        // Without PARTITION_AWARE a launch that raced a rescind is called lost; it never started.
        TaskState::Lost if update.reason == Some(Reason::Known(WireReason::InvalidOffers)) => Condition::Gone,
        TaskState::Lost | TaskState::Unreachable | TaskState::Unknown | TaskState::Unrecognised(_) => {
            Condition::Lost
        }
    }
}

/// Whether the cluster has never heard of a launch: it was saved, and Borges died before it could be accepted.
///
/// Asked about a launch without its agent, a master keeps silent as long as an agent is away that might know it.
/// That it is unknown is then the whole cluster's word; where an agent was named, it is not. Source: Mesos,
/// `Master::reconcile`.
pub fn is_unknown_launch(update: &StatusUpdate) -> bool {
    update.state == TaskState::Unknown
        && update.agent.is_none()
        && update.reason == Some(Reason::Known(WireReason::Reconciliation))
}

/// What the cluster says of a launch, for a person: in the document's words where the document asked for it.
///
/// `requested` is what the document asks for.
pub fn describe(update: &StatusUpdate, requested: &Resources) -> Option<String> {
    let limits = update.limitation.as_ref().map(|limitation| Quantities::of(&limitation.resources));
    let Quantities { mem_mib: mem, disk_mib: disk, .. } = limits.unwrap_or_default();
    // Also of an end that is told again when it is asked about.
    let is_limit =
        |limit: WireReason| matches!(update.reason, Some(Reason::Known(reason)) if reason == limit);
    if is_limit(WireReason::ContainerLimitationMemory) || mem > 0 {
        return Some(limit_message("mem", requested.mem, mem));
    }
    // What the embedded cluster limits is not `:disk`, and it says what it is.
    let message = update.message.as_deref().unwrap_or_default();
    if (is_limit(WireReason::ContainerLimitationDisk) || disk > 0) && message.contains("exceeds quota") {
        return Some(limit_message("disk", requested.disk, disk));
    }
    match update.reason {
        Some(Reason::Known(WireReason::MaxCompletionTimeReached)) => {
            Some("it ran for longer than its `:timeout`".to_owned())
        }
        Some(Reason::Known(WireReason::ExecutorTerminated)) => {
            let reason = update.message.as_deref().unwrap_or("Executor terminated");
            Some(format!("exit status lost: the executor ended, and nobody saw how the block did ({reason})"))
        }
        Some(Reason::Known(WireReason::ContainerLaunchFailed)) => update.message.as_ref().map(|message| {
            if message.contains("fetch") {
                format!(
                    "the agent could not fetch the block's files from Borges (`borges_bind` must be an address \
                     that agents reach; up to 64 KiB are sent along): {message}"
                )
            } else {
                message.clone()
            }
        }),
        _ => update.message.clone(),
    }
}

/// The message for a launch that exceeded its request. `limit` is the limit that the cluster enforced, 0 if unknown.
/// It can exceed the request, because an executor gets resources of its own.
fn limit_message(key: &str, requested: u64, limit: u64) -> String {
    let suffix = if limit == 0 || limit == requested {
        String::new()
    } else {
        format!(": it was ended at {limit} MB")
    };
    format!("it exceeded its `:{key} {requested}`{suffix}")
}

/// The exit code of a launch that has ended: what its sandbox says, or else the update's words.
pub fn exit_code(update: &StatusUpdate, read: Option<i32>) -> Option<i32> {
    match update.reason {
        // It is sent SIGTERM and SIGKILL at once: which of them came first says nothing.
        Some(Reason::Known(WireReason::MaxCompletionTimeReached)) => Some(137),
        _ => read.or_else(|| exit_code_from_message(update)),
    }
}

/// Whether a message only states that the block exited with a code or a signal.
pub fn is_plain_exit(message: &str) -> bool {
    message.starts_with("Command exited with status ")
        || message.starts_with("Command terminated with signal ")
}

/// The exit code in an update's message; used if there is no exit file, because the block's wrapper was killed too.
fn exit_code_from_message(update: &StatusUpdate) -> Option<i32> {
    let message = update.message.as_deref()?;
    if let Some((_, code)) = message.split_once("exited with status ") {
        return code.trim().parse().ok();
    }
    let (_, name) = message.split_once("terminated with signal ")?;
    let name = name.trim_end_matches(" (core dumped)");
    Some(128 + signals::number(name).or_else(|| name.parse().ok())?)
}

/// What the end of a launch means once its exit code is known, as far as it is.
///
/// An agent that comes back after its executor has ended can only say that it is gone; the file in the sandbox
/// knows better.
pub fn condition_after_exit(update: &StatusUpdate, code: Option<i32>) -> Condition {
    match (condition(update), update.reason) {
        (Condition::Failed, Some(Reason::Known(WireReason::ExecutorTerminated))) if code == Some(0) => {
            Condition::Finished
        }
        (condition, _) => condition,
    }
}

/// Reasons of a failure that a block cannot cause.
fn is_cluster_failure(reason: Option<Reason>) -> bool {
    matches!(
        reason,
        Some(Reason::Known(
            WireReason::AgentDisconnected
                | WireReason::AgentDraining
                | WireReason::AgentRemoved
                | WireReason::AgentRestarted
                | WireReason::ContainerPreempted
                | WireReason::ExecutorRegistrationTimeout
                | WireReason::ExecutorReregistrationTimeout
        ))
    )
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::super::messages::{TaskId, TaskResourceLimitation, TaskStatus};
    use super::*;

    fn failed(reason: Option<WireReason>, message: &str) -> StatusUpdate {
        StatusUpdate::try_from(TaskStatus {
            task_id: TaskId { value: "r.1.1".to_owned() },
            state: TaskState::Failed.to_wire(),
            reason: reason.map(|reason| reason as i32),
            message: Some(message.to_owned()),
            ..TaskStatus::default()
        })
        .unwrap()
    }

    #[test]
    fn exit_codes_are_read_from_messages() {
        for (message, code) in [
            ("Command exited with status 3", Some(3)),
            ("Container exited with status 125", Some(125)),
            ("Command terminated with signal Killed", Some(137)),
            ("Command terminated with signal Segmentation fault (core dumped)", Some(139)),
            ("Command terminated with signal 35", Some(163)),
            ("Command terminated with signal Unheard of", None),
            ("Abnormal executor termination: unknown container", None),
        ] {
            assert_eq!(exit_code_from_message(&failed(None, message)), code, "{message}");
        }
    }

    #[test]
    fn exceeded_limits_name_the_header_argument() {
        let requested = Resources { mem: 64, disk: 10, ..Resources::default() };
        let description = |reason, message: &str, mem_mib, disk_mib| {
            let limits = Quantities { mem_mib, disk_mib, ..Quantities::default() };
            let limitation = TaskResourceLimitation { resources: limits.to_resources(None) };
            let limitation = (limits != Quantities::default()).then_some(limitation);
            describe(&StatusUpdate { limitation, ..failed(Some(reason), message) }, &requested).unwrap()
        };
        let (mem, disk, reconciliation) = (
            WireReason::ContainerLimitationMemory,
            WireReason::ContainerLimitationDisk,
            WireReason::Reconciliation,
        );
        insta::assert_snapshot!(description(mem, "Memory limit exceeded", 0, 0), @"it exceeded its `:mem 64`");
        insta::assert_snapshot!(description(mem, "Memory limit exceeded", 64, 0), @"it exceeded its `:mem 64`");
        insta::assert_snapshot!(description(mem, "", 96, 0), @"it exceeded its `:mem 64`: it was ended at 96 MB");
        insta::assert_snapshot!(description(reconciliation, "", 64, 0), @"it exceeded its `:mem 64`");
        insta::assert_snapshot!(description(disk, "Disk usage (12MB) exceeds quota (10MB)", 0, 10), @"it exceeded its `:disk 10`");
        insta::assert_snapshot!(description(disk, "it wrote more than is allowed", 0, 1), @"it wrote more than is allowed");
        insta::assert_snapshot!(description(reconciliation, "Command exited with status 3", 0, 0), @"Command exited with status 3");
    }

    #[test]
    fn launch_is_unknown_only_if_the_whole_cluster_says_so() {
        let update = |agent: Option<&str>, reason| StatusUpdate {
            state: TaskState::Unknown,
            agent: agent.map(str::to_owned),
            ..failed(Some(reason), "")
        };
        assert!(is_unknown_launch(&update(None, WireReason::Reconciliation)));
        assert!(!is_unknown_launch(&update(Some("a"), WireReason::Reconciliation)));
        assert!(!is_unknown_launch(&update(None, WireReason::AgentRemoved)));
        assert!(!is_unknown_launch(&failed(Some(WireReason::Reconciliation), "")));
    }

    #[test]
    fn exit_file_overrides_a_terminated_executor() {
        let update = failed(Some(WireReason::ExecutorTerminated), "");
        assert_eq!(condition_after_exit(&update, Some(0)), Condition::Finished);
        assert_eq!(condition_after_exit(&update, Some(1)), Condition::Failed);
        assert_eq!(condition_after_exit(&update, None), Condition::Failed);
        assert_eq!(condition_after_exit(&failed(None, ""), Some(0)), Condition::Failed);
    }

    #[test]
    fn conditions_by_state_and_reason() {
        let mut table = String::new();
        for state in 0..=14 {
            for reason in [
                None,
                Some(WireReason::InvalidOffers),
                Some(WireReason::AgentDraining),
                Some(WireReason::CommandExecutorFailed),
            ] {
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

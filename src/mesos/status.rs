//! A status update → what it means for a launch: the one table from Mesos' words to ours.

use super::events::{Reason, StatusUpdate, TaskState};
use super::messages::task_status::Reason as Why;
use super::resources::Quantities;
use super::signals;
use borges_task::{Condition, Resources};

/// What the cluster says of a launch by this update.
///
/// Lost is not gone: only what is known never to have started, or to have ended, is [`Condition::Stopped`].
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
        TaskState::Error => Condition::Rejected,
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

/// Whether the cluster has never heard of a launch: it was saved, and Borges died before it could be accepted.
///
/// Asked about a launch without its agent, a master keeps silent as long as an agent is away that might know it.
/// That it is unknown is then the whole cluster's word; where an agent was named, it is not. Source: Mesos,
/// `Master::reconcile`.
pub fn is_unknown_launch(update: &StatusUpdate) -> bool {
    update.state == TaskState::Unknown
        && update.agent.is_none()
        && update.reason == Some(Reason::Known(Why::Reconciliation))
}

/// What the cluster says of a launch, for a person: in the document's words where the document asked for it.
///
/// `asked` is what the document asks for.
pub fn describe(update: &StatusUpdate, asked: &Resources) -> Option<String> {
    let limits = update.limitation.as_ref().map(|limitation| Quantities::of(&limitation.resources));
    let Quantities { mem_mib: mem, disk_mib: disk, .. } = limits.unwrap_or_default();
    // Also of an end that is told again when it is asked about.
    let is_limit = |limit: Why| matches!(update.reason, Some(Reason::Known(reason)) if reason == limit);
    if is_limit(Why::ContainerLimitationMemory) || mem > 0 {
        return Some(exceeded("mem", asked.mem, mem));
    }
    // What the embedded cluster limits is not `:disk`, and it says what it is.
    let message = update.message.as_deref().unwrap_or_default();
    if (is_limit(Why::ContainerLimitationDisk) || disk > 0) && message.contains("exceeds quota") {
        return Some(exceeded("disk", asked.disk, disk));
    }
    match update.reason {
        Some(Reason::Known(Why::MaxCompletionTimeReached)) => {
            Some("it ran for longer than its `:timeout`".to_owned())
        }
        Some(Reason::Known(Why::ExecutorTerminated)) => {
            let said = update.message.as_deref().unwrap_or("Executor terminated");
            Some(format!("exit status lost: the executor ended, and nobody saw how the block did ({said})"))
        }
        Some(Reason::Known(Why::ContainerLaunchFailed)) => update.message.as_ref().map(|message| {
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

/// That a launch has exceeded what was asked for it; `limit` is where the cluster ended it, 0 when it does not say.
/// Who runs a block may be given some more for himself.
fn exceeded(key: &str, asked: u64, limit: u64) -> String {
    let at =
        if limit == 0 || limit == asked { String::new() } else { format!(": it was ended at {limit} MB") };
    format!("it exceeded its `:{key} {asked}`{at}")
}

/// The exit code of a launch that has ended: what its sandbox says, or else the update's words.
pub fn exit_code(update: &StatusUpdate, read: Option<i32>) -> Option<i32> {
    match update.reason {
        // It is sent SIGTERM and SIGKILL at once: which of them came first says nothing.
        Some(Reason::Known(Why::MaxCompletionTimeReached)) => Some(137),
        _ => read.or_else(|| told_code(update)),
    }
}

/// Whether these words say no more than how a block has ended of itself: by an exit code or a signal.
pub fn is_plain_exit(words: &str) -> bool {
    words.starts_with("Command exited with status ") || words.starts_with("Command terminated with signal ")
}

/// The exit code that an update tells in words, where no file tells it: the block was killed with all about it.
fn told_code(update: &StatusUpdate) -> Option<i32> {
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
        (Condition::Failed, Some(Reason::Known(Why::ExecutorTerminated))) if code == Some(0) => {
            Condition::Finished
        }
        (condition, _) => condition,
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

    use super::super::messages::{TaskId, TaskResourceLimitation, TaskStatus};
    use super::*;

    fn failed(reason: Option<Why>, message: &str) -> StatusUpdate {
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
    fn codes_are_read_from_words() {
        for (message, code) in [
            ("Command exited with status 3", Some(3)),
            ("Container exited with status 125", Some(125)),
            ("Command terminated with signal Killed", Some(137)),
            ("Command terminated with signal Segmentation fault (core dumped)", Some(139)),
            ("Command terminated with signal 35", Some(163)),
            ("Command terminated with signal Unheard of", None),
            ("Abnormal executor termination: unknown container", None),
        ] {
            assert_eq!(told_code(&failed(None, message)), code, "{message}");
        }
    }

    #[test]
    fn a_limit_is_told_in_the_documents_words() {
        let asked = Resources { mem: 64, disk: 10, ..Resources::default() };
        let told = |reason, message: &str, mem_mib, disk_mib| {
            let limits = Quantities { mem_mib, disk_mib, ..Quantities::default() };
            let limitation = TaskResourceLimitation { resources: limits.to_resources(None) };
            let limitation = (limits != Quantities::default()).then_some(limitation);
            describe(&StatusUpdate { limitation, ..failed(Some(reason), message) }, &asked).unwrap()
        };
        let (mem, disk, again) =
            (Why::ContainerLimitationMemory, Why::ContainerLimitationDisk, Why::Reconciliation);
        insta::assert_snapshot!(told(mem, "Memory limit exceeded", 0, 0), @"it exceeded its `:mem 64`");
        insta::assert_snapshot!(told(mem, "Memory limit exceeded", 64, 0), @"it exceeded its `:mem 64`");
        insta::assert_snapshot!(told(mem, "", 96, 0), @"it exceeded its `:mem 64`: it was ended at 96 MB");
        insta::assert_snapshot!(told(again, "", 64, 0), @"it exceeded its `:mem 64`");
        insta::assert_snapshot!(told(disk, "Disk usage (12MB) exceeds quota (10MB)", 0, 10), @"it exceeded its `:disk 10`");
        insta::assert_snapshot!(told(disk, "it wrote more than is allowed", 0, 1), @"it wrote more than is allowed");
        insta::assert_snapshot!(told(again, "Command exited with status 3", 0, 0), @"Command exited with status 3");
    }

    #[test]
    fn only_the_whole_clusters_word_counts() {
        let update = |agent: Option<&str>, reason| StatusUpdate {
            state: TaskState::Unknown,
            agent: agent.map(str::to_owned),
            ..failed(Some(reason), "")
        };
        assert!(is_unknown_launch(&update(None, Why::Reconciliation)));
        assert!(!is_unknown_launch(&update(Some("a"), Why::Reconciliation)));
        assert!(!is_unknown_launch(&update(None, Why::AgentRemoved)));
        assert!(!is_unknown_launch(&failed(Some(Why::Reconciliation), "")));
    }

    #[test]
    fn the_file_knows_better_than_an_agent_that_was_away() {
        let update = failed(Some(Why::ExecutorTerminated), "");
        assert_eq!(condition_after_exit(&update, Some(0)), Condition::Finished);
        assert_eq!(condition_after_exit(&update, Some(1)), Condition::Failed);
        assert_eq!(condition_after_exit(&update, None), Condition::Failed);
        assert_eq!(condition_after_exit(&failed(None, ""), Some(0)), Condition::Failed);
    }

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

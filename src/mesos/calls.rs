//! One constructor for each call of the scheduler API.
//!
//! Each call names the framework by its id, as every call but the first SUBSCRIBE must. `refuse_timeout` is
//! `refuse_seconds` in Mesos.

use std::time::Duration;

use super::events::StatusUpdate;
use super::messages::scheduler::{Call, call, call::Type};
use super::messages::{
    AgentId, DurationInfo, ExecutorId, Filters, FrameworkId, FrameworkInfo, KillPolicy, OfferId, Request,
    TaskId, TaskInfo, offer,
};

fn new_call(framework: &str, kind: Type) -> Call {
    Call {
        framework_id: Some(FrameworkId { value: framework.to_owned() }),
        r#type: Some(kind as i32),
        ..Call::default()
    }
}

/// A SUBSCRIBE call: the only one that may go without a framework id. One in `framework` makes it a
/// resubscription, and is copied to where the master wants it as well.
pub fn subscribe(framework: FrameworkInfo, suppressed_roles: Vec<String>) -> Call {
    Call {
        framework_id: framework.id.clone(),
        r#type: Some(Type::Subscribe as i32),
        subscribe: Some(call::Subscribe {
            framework_info: framework,
            suppressed_roles,
            offer_constraints: None,
        }),
        ..Call::default()
    }
}

/// A TEARDOWN call: kills everything of the framework and burns its id. Only ever on an operator's word.
pub fn teardown(framework: &str) -> Call {
    new_call(framework, Type::Teardown)
}

/// An ACCEPT call: launches `tasks` on `offers`, which must be of one agent and one role.
///
/// What the tasks leave is declined for `refuse_timeout`.
pub fn accept(
    framework: &str,
    offers: impl IntoIterator<Item = String>,
    tasks: Vec<TaskInfo>,
    refuse_timeout: Option<Duration>,
) -> Call {
    accept_with(framework, offers, vec![launch(tasks)], refuse_timeout)
}

/// An ACCEPT call with any operations.
pub(crate) fn accept_with(
    framework: &str,
    offers: impl IntoIterator<Item = String>,
    operations: Vec<offer::Operation>,
    refuse_timeout: Option<Duration>,
) -> Call {
    let accept =
        Some(call::Accept { offer_ids: offer_ids(offers), operations, filters: filters(refuse_timeout) });
    Call { accept, ..new_call(framework, Type::Accept) }
}

/// The operation that launches `tasks`, for an ACCEPT.
pub fn launch(tasks: Vec<TaskInfo>) -> offer::Operation {
    offer::Operation {
        r#type: Some(offer::operation::Type::Launch as i32),
        launch: Some(offer::operation::Launch { task_infos: tasks }),
        ..offer::Operation::default()
    }
}

/// A DECLINE call: none of this is wanted for `refuse_timeout` (without one: 5 s).
pub fn decline(
    framework: &str,
    offers: impl IntoIterator<Item = String>,
    refuse_timeout: Option<Duration>,
) -> Call {
    let decline = Some(call::Decline { offer_ids: offer_ids(offers), filters: filters(refuse_timeout) });
    Call { decline, ..new_call(framework, Type::Decline) }
}

/// An `ACCEPT_INVERSE_OFFERS` call: these resources will be given back.
pub fn accept_inverse_offers(framework: &str, offers: impl IntoIterator<Item = String>) -> Call {
    let accept_inverse_offers =
        Some(call::AcceptInverseOffers { inverse_offer_ids: offer_ids(offers), filters: None });
    Call { accept_inverse_offers, ..new_call(framework, Type::AcceptInverseOffers) }
}

/// A `DECLINE_INVERSE_OFFERS` call: these resources will not be given back of our own will.
pub fn decline_inverse_offers(
    framework: &str,
    offers: impl IntoIterator<Item = String>,
    refuse_timeout: Option<Duration>,
) -> Call {
    let decline_inverse_offers = Some(call::DeclineInverseOffers {
        inverse_offer_ids: offer_ids(offers),
        filters: filters(refuse_timeout),
    });
    Call { decline_inverse_offers, ..new_call(framework, Type::DeclineInverseOffers) }
}

/// A REVIVE call: offers again, all filters lifted; without roles, for all of them.
pub fn revive(framework: &str, roles: Vec<String>) -> Call {
    Call { revive: Some(call::Revive { roles }), ..new_call(framework, Type::Revive) }
}

/// A SUPPRESS call: no more offers until a REVIVE; without roles, for all of them.
pub fn suppress(framework: &str, roles: Vec<String>) -> Call {
    Call { suppress: Some(call::Suppress { roles }), ..new_call(framework, Type::Suppress) }
}

/// A KILL call: SIGTERM, `grace_period` (without one: the task's own), SIGKILL.
///
/// A wrong `agent` makes Mesos ignore the call; give it only when it is known.
pub fn kill(framework: &str, launch: &str, agent: Option<&str>, grace_period: Option<Duration>) -> Call {
    let kill = Some(call::Kill {
        task_id: task_id(launch),
        agent_id: agent.map(agent_id),
        kill_policy: grace_period
            .map(|grace_period| KillPolicy { grace_period: Some(duration(grace_period)) }),
    });
    Call { kill, ..new_call(framework, Type::Kill) }
}

/// A SHUTDOWN call: ends an executor and its tasks.
pub fn shutdown(framework: &str, executor: &str, agent: &str) -> Call {
    let shutdown = Some(call::Shutdown { executor_id: executor_id(executor), agent_id: agent_id(agent) });
    Call { shutdown, ..new_call(framework, Type::Shutdown) }
}

/// An ACKNOWLEDGE call: the update is saved. `None` for an update that wants none.
pub fn acknowledge(framework: &str, update: &StatusUpdate) -> Option<Call> {
    let acknowledge = Some(call::Acknowledge {
        agent_id: agent_id(update.agent.as_deref()?),
        task_id: task_id(&update.launch),
        uuid: update.uuid.clone()?,
    });
    Some(Call { acknowledge, ..new_call(framework, Type::Acknowledge) })
}

/// A RECONCILE call: what has become of these launches, each with its agent if that is known?
///
/// Without any, of all that the master knows.
pub fn reconcile<'a>(
    framework: &str,
    launches: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> Call {
    let task = |(launch, agent): (&str, Option<&str>)| call::reconcile::Task {
        task_id: task_id(launch),
        agent_id: agent.map(agent_id),
    };
    let reconcile = Some(call::Reconcile { tasks: launches.into_iter().map(task).collect() });
    Call { reconcile, ..new_call(framework, Type::Reconcile) }
}

/// A REQUEST call: a wish for resources, which the usual allocator ignores.
pub fn request(framework: &str, requests: Vec<Request>) -> Call {
    Call { request: Some(call::Request { requests }), ..new_call(framework, Type::Request) }
}

/// A duration on the wire; one of more than 292 years is cut.
pub fn duration(duration: Duration) -> DurationInfo {
    DurationInfo { nanoseconds: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX) }
}

fn filters(refuse_timeout: Option<Duration>) -> Option<Filters> {
    refuse_timeout.map(|refuse_timeout| Filters { refuse_seconds: Some(refuse_timeout.as_secs_f64()) })
}

fn offer_ids(offers: impl IntoIterator<Item = String>) -> Vec<OfferId> {
    offers.into_iter().map(|value| OfferId { value }).collect()
}

fn task_id(launch: &str) -> TaskId {
    TaskId { value: launch.to_owned() }
}

fn agent_id(agent: &str) -> AgentId {
    AgentId { value: agent.to_owned() }
}

fn executor_id(executor: &str) -> ExecutorId {
    ExecutorId { value: executor.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{TaskState, TaskStatus};

    /// The name of a call's type, and which of its fields is set, read from the bytes: number by number.
    fn type_and_framework(call: &Call) -> String {
        let kind = Type::try_from(call.r#type.unwrap()).unwrap();
        let field = match kind {
            Type::Unknown => false,
            Type::Subscribe => call.subscribe.is_some(),
            Type::Teardown => true,
            Type::Accept => call.accept.is_some(),
            Type::Decline => call.decline.is_some(),
            Type::AcceptInverseOffers => call.accept_inverse_offers.is_some(),
            Type::DeclineInverseOffers => call.decline_inverse_offers.is_some(),
            Type::Revive => call.revive.is_some(),
            Type::Kill => call.kill.is_some(),
            Type::Shutdown => call.shutdown.is_some(),
            Type::Acknowledge => call.acknowledge.is_some(),
            Type::AcknowledgeOperationStatus => call.acknowledge_operation_status.is_some(),
            Type::Reconcile => call.reconcile.is_some(),
            Type::ReconcileOperations => call.reconcile_operations.is_some(),
            Type::Message => call.message.is_some(),
            Type::Request => call.request.is_some(),
            Type::Suppress => call.suppress.is_some(),
            Type::UpdateFramework => call.update_framework.is_some(),
        };
        assert!(field, "{call:?}");
        let framework = call.framework_id.as_ref().map_or("-", |id| id.value.as_str());
        format!("{} {framework}", kind.as_str_name())
    }

    #[test]
    fn calls_set_their_type_field_and_framework() {
        let resubscribed =
            FrameworkInfo { id: Some(FrameworkId { value: "f".into() }), ..FrameworkInfo::default() };
        let offer = || ["o1".to_owned()];
        let calls = vec![
            subscribe(FrameworkInfo::default(), vec![]),
            subscribe(resubscribed, vec![]),
            teardown("f"),
            accept("f", offer(), vec![], None),
            decline("f", offer(), None),
            accept_inverse_offers("f", offer()),
            decline_inverse_offers("f", offer(), None),
            revive("f", vec![]),
            suppress("f", vec![]),
            kill("f", "r.1.1", None, None),
            shutdown("f", "r.1.1", "a"),
            reconcile("f", []),
            request("f", vec![]),
        ];
        insta::assert_snapshot!(calls.iter().map(type_and_framework).collect::<Vec<_>>().join("\n"), @"
        SUBSCRIBE -
        SUBSCRIBE f
        TEARDOWN f
        ACCEPT f
        DECLINE f
        ACCEPT_INVERSE_OFFERS f
        DECLINE_INVERSE_OFFERS f
        REVIVE f
        SUPPRESS f
        KILL f
        SHUTDOWN f
        RECONCILE f
        REQUEST f
        ");
    }

    #[test]
    fn only_updates_with_a_uuid_are_acknowledged() {
        let status = |uuid: Option<&'static [u8]>| {
            StatusUpdate::try_from(TaskStatus {
                task_id: task_id("r.1.1"),
                state: TaskState::TaskRunning as i32,
                agent_id: Some(agent_id("a")),
                uuid: uuid.map(bytes::Bytes::from_static),
                ..TaskStatus::default()
            })
            .unwrap()
        };
        assert_eq!(acknowledge("f", &status(None)), None);
        assert_eq!(acknowledge("f", &status(Some(b""))), None);
        let acknowledged = acknowledge("f", &status(Some(b"u"))).unwrap().acknowledge.unwrap();
        assert_eq!((acknowledged.uuid.as_ref(), acknowledged.agent_id.value.as_str()), (&b"u"[..], "a"));
    }

    #[test]
    fn durations_are_sent_in_mesos_units() {
        let grace_period =
            kill("f", "t", None, Some(Duration::from_millis(1500))).kill.unwrap().kill_policy.unwrap();
        assert_eq!(grace_period.grace_period.unwrap().nanoseconds, 1_500_000_000);
        let declined = decline("f", [], Some(Duration::from_millis(2500))).decline.unwrap();
        assert_eq!(declined.filters.unwrap().refuse_seconds, Some(2.5));
        assert_eq!(duration(Duration::MAX).nanoseconds, i64::MAX);
    }
}

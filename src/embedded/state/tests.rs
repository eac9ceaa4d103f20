//! Tests of the state machine: each one's snapshot is the log of a scenario.

use std::time::Duration;

use super::scenario::{Scenario, borges_framework, framework, task};
use crate::model::{Exit, LaunchHistory, LimitExceeded, StartReport, StopReason, Stream};
use borges_mesos::calls;
use borges_mesos::messages::scheduler::Call;
use borges_mesos::messages::task_status::Reason;
use borges_mesos::messages::{AgentId, DurationInfo, KillPolicy, TaskInfo};
use borges_mesos::resources::Quantities;

#[test]
fn tasks_run_from_offer_to_last_acknowledgement() {
    let mut scenario = Scenario::new();
    scenario.subscribe(1, borges_framework());
    scenario.accept(1, vec![task("a", 1000), task("b", 1000)], None);
    scenario.runs("a");
    scenario.runs("b");
    scenario.ends("a", Exit::Code(0));
    scenario.acknowledge(1, "a");
    scenario.acknowledge(1, "a");
    scenario.ends("b", Exit::Code(3));
    scenario.acknowledge(1, "b");
    scenario.acknowledge(1, "b");
    assert_eq!((scenario.agent.tasks.len(), scenario.agent.frameworks["f"].tasks.len()), (0, 0));
    insta::assert_snapshot!(scenario.log);
}

#[test]
fn updates_are_resent_until_acknowledged() {
    let mut scenario = Scenario::new();
    scenario.subscribe(1, borges_framework());
    scenario.accept(1, vec![task("a", 4000)], Some(1000));
    scenario.runs("a");
    scenario.ends("a", Exit::Signal(9));
    scenario.pass(21);
    scenario.acknowledge(1, "a");
    scenario.pass(5);
    scenario.step("1 closed", |agent, now, actions| agent.closed(1, now, actions));
    scenario.pass(20);
    scenario.subscribe(2, borges_framework());
    scenario.acknowledge(2, "a");
    scenario.pass(16);
    insta::assert_snapshot!(scenario.log);
}

#[test]
fn declined_resources_are_filtered() {
    let mut scenario = Scenario::new();
    scenario.subscribe(1, borges_framework());
    let offer = |scenario: &Scenario| [scenario.offers[&1].clone()];
    // Filtered for five seconds by default.
    scenario.call(1, calls::decline("f", offer(&scenario), None));
    scenario.pass(6);
    // REVIVE removes the filter; resources declined for zero seconds are offered at once.
    scenario.call(1, calls::decline("f", offer(&scenario), Some(Duration::from_secs(100))));
    scenario.call(1, calls::revive("f", vec![]));
    scenario.call(1, calls::decline("f", offer(&scenario), Some(Duration::ZERO)));
    // ACCEPT filters the resources that its launches leave, but not more.
    scenario.accept(1, vec![task("a", 1000)], Some(100));
    scenario.runs("a");
    scenario.ends("a", Exit::Code(0));
    // No offers after SUPPRESS.
    scenario.call(1, calls::suppress("f", vec![]));
    scenario.call(1, calls::decline("f", offer(&scenario), Some(Duration::ZERO)));
    scenario.call(1, calls::revive("f", vec![]));
    insta::assert_snapshot!(scenario.log);
}

#[test]
fn offers_alternate_between_frameworks() {
    let mut scenario = Scenario::new();
    scenario.subscribe(1, framework("f", &[]));
    scenario.subscribe(2, framework("", &[]));
    let other = scenario.agent.clients[&2].clone().unwrap();
    let offer = scenario.offers[&1].clone();
    scenario.call(1, calls::decline("f", [offer], Some(Duration::ZERO)));
    let offer = scenario.offers[&2].clone();
    // Only the framework of an offer can use it.
    scenario.accept(1, vec![], None);
    scenario.call(1, calls::decline("f", [offer.clone()], None));
    scenario.call(2, calls::decline(&other, [offer], Some(Duration::ZERO)));
    insta::assert_snapshot!(scenario.log);
}

#[test]
fn invalid_launches_are_refused() {
    for info in [borges_framework(), framework("f", &[])] {
        let mut scenario = Scenario::new();
        scenario.subscribe(1, info);
        let used = scenario.offers[&1].clone();
        scenario.accept(
            1,
            vec![task("big", 5000), task("a", 3000), task("b", 2000), task("c", 1000)],
            Some(0),
        );
        scenario.call(1, calls::accept("f", [used], vec![task("d", 1)], None));
        scenario.call(1, calls::accept("f", [], vec![task("e", 1)], None));
        let elsewhere = TaskInfo { agent_id: AgentId { value: "other".into() }, ..task("g", 1) };
        scenario.runs("a");
        scenario.ends("a", Exit::Code(0));
        scenario.accept(1, vec![elsewhere, task("h/i", 1), TaskInfo { command: None, ..task("j", 1) }], None);
        let name =
            if scenario.agent.frameworks["f"].capabilities.partition_aware { "aware" } else { "unaware" };
        insta::assert_snapshot!(format!("invalid_launches_are_refused_{name}"), scenario.log);
    }
}

#[test]
fn failed_starts_free_their_resources() {
    let mut scenario = Scenario::new();
    scenario.subscribe(1, borges_framework());
    scenario.accept(1, vec![task("a", 1000), task("b", 1000)], Some(100));
    let (a, b) = (scenario.keys["a"], scenario.keys["b"]);
    scenario.step("a fails", |agent, now, actions| {
        agent.started(
            a,
            StartReport::Failed(Reason::ContainerLaunchFailed, "the disk is full".into()),
            now,
            actions,
        );
    });
    scenario.acknowledge(1, "a");
    scenario.step("b is a repeat", |agent, now, actions| {
        agent.started(
            b,
            StartReport::AlreadyLaunched(LaunchHistory::Ended(Exit::Code(0), None)),
            now,
            actions,
        );
    });
    assert_eq!(scenario.agent.live_tasks, 0);
    assert!(scenario.agent.tasks.is_empty());
    insta::assert_snapshot!(scenario.log);
}

#[test]
fn kills_escalate_to_sigkill() {
    let mut scenario = Scenario::new();
    scenario.subscribe(1, borges_framework());
    let grace = Some(KillPolicy { grace_period: Some(DurationInfo { nanoseconds: 30_000_000_000 }) });
    let graceful = TaskInfo { kill_policy: grace, ..task("graceful", 1000) };
    scenario.accept(1, vec![task("a", 1000), graceful, task("now", 1000)], Some(1000));
    for launch in ["a", "graceful", "now"] {
        scenario.runs(launch);
        scenario.acknowledge(1, launch);
    }
    for launch in ["a", "graceful"] {
        scenario.call(1, calls::kill("f", launch, None, None));
        scenario.acknowledge(1, launch);
    }
    scenario.call(1, calls::kill("f", "now", Some("local"), Some(Duration::ZERO)));
    scenario.acknowledge(1, "now");
    scenario.pass(6);
    // A shorter grace period replaces an earlier one; a longer one does not.
    scenario.call(1, calls::kill("f", "graceful", None, Some(Duration::from_secs(2))));
    scenario.call(1, calls::kill("f", "graceful", None, Some(Duration::from_mins(1))));
    scenario.pass(3);
    scenario.ends("a", Exit::Code(0));
    scenario.ends("graceful", Exit::Signal(9));
    scenario.ends("now", Exit::Signal(9));
    scenario.acknowledge(1, "a");
    // A task that has ended, an unknown one, and one of another agent.
    scenario.call(1, calls::kill("f", "a", None, None));
    scenario.call(1, calls::kill("f", "unknown", None, None));
    scenario.call(1, calls::kill("f", "graceful", Some("other"), None));
    insta::assert_snapshot!(scenario.log);
}

#[test]
fn kills_without_the_capability_send_no_killing_update() {
    let mut scenario = Scenario::new();
    scenario.subscribe(1, framework("f", &[]));
    scenario.accept(1, vec![task("a", 1000)], Some(1000));
    scenario.runs("a");
    scenario.acknowledge(1, "a");
    scenario.call(1, calls::kill("f", "a", None, None));
    scenario.ends("a", Exit::Signal(15));
    insta::assert_snapshot!(scenario.log);
}

#[test]
fn tasks_are_killed_at_their_max_completion_time() {
    let mut scenario = Scenario::new();
    scenario.subscribe(1, borges_framework());
    let limit = Some(DurationInfo { nanoseconds: 3_000_000_000 });
    let slow = TaskInfo { max_completion_time: limit, ..task("slow", 1000) };
    let quick = TaskInfo { max_completion_time: limit, ..task("quick", 1000) };
    scenario.accept(1, vec![slow, quick], Some(1000));
    scenario.runs("slow");
    scenario.runs("quick");
    scenario.ends("quick", Exit::Code(0));
    scenario.pass(4);
    scenario.ends("slow", Exit::Signal(9));
    scenario.acknowledge(1, "slow");
    insta::assert_snapshot!(scenario.log);
}

#[test]
fn reconciliation_answers_with_the_latest_status() {
    let mut scenario = Scenario::new();
    scenario.subscribe(1, borges_framework());
    scenario.accept(1, vec![task("acknowledged", 1000), task("unacknowledged", 1000)], Some(1000));
    scenario.runs("acknowledged");
    scenario.runs("unacknowledged");
    scenario.acknowledge(1, "acknowledged");
    scenario.ends("unacknowledged", Exit::Code(1));
    scenario.call(1, calls::reconcile("f", []));
    scenario
        .call(1, calls::reconcile("f", [("acknowledged", Some("local")), ("unknown", None), ("a/b", None)]));
    for history in [
        LaunchHistory::Never,
        LaunchHistory::NotStarted,
        LaunchHistory::Ended(Exit::Code(0), None),
        LaunchHistory::Ended(Exit::Code(143), Some(StopReason::Killed)),
        LaunchHistory::Ended(Exit::Code(137), Some(StopReason::TimedOut)),
        LaunchHistory::Ended(Exit::Code(137), Some(StopReason::LimitExceeded(LimitExceeded::Memory(64)))),
        LaunchHistory::Ended(Exit::Unknown, None),
    ] {
        scenario.step(&format!("{history:?}"), |agent, now, actions| {
            agent.launch_looked_up("f", "unknown", history, now, actions);
        });
    }
    scenario.subscribe(2, framework("f", &[]));
    for history in [LaunchHistory::Never, LaunchHistory::NotStarted] {
        scenario.step(&format!("{history:?}"), |agent, now, actions| {
            agent.launch_looked_up("f", "unknown", history, now, actions);
        });
    }
    insta::assert_snapshot!(scenario.log);
}

#[test]
fn new_subscriptions_replace_old_ones() {
    let mut scenario = Scenario::new();
    scenario.subscribe(1, framework("", &[]));
    let name = scenario.agent.clients[&1].clone().unwrap();
    scenario.subscribe(2, framework(&name, &[]));
    // The first subscription is over: its calls are refused, and its disconnect has no effect.
    scenario.step("1 closed", |agent, now, actions| agent.closed(1, now, actions));
    scenario.call(1, calls::revive(&name, vec![]));
    scenario.pass(16);
    scenario.call(2, calls::teardown(&name));
    scenario.subscribe(3, framework(&name, &[]));
    scenario.subscribe(4, framework("../f", &[]));
    insta::assert_snapshot!(scenario.log);
}

#[test]
fn invalid_calls_close_the_connection() {
    let mut scenario = Scenario::new();
    let nonsense = [
        Call::default(),
        Call { r#type: Some(99), ..Call::default() },
        calls::revive("f", vec![]),
        Call { subscribe: None, ..calls::subscribe(borges_framework(), vec![]) },
    ];
    for call in nonsense {
        scenario.call(1, call);
    }
    let unlike = [
        calls::revive("other", vec![]),
        Call { accept: None, ..calls::accept("f", [], vec![], None) },
        Call { kill: None, ..calls::kill("f", "a", None, None) },
    ];
    for (client, call) in (2..).zip(unlike) {
        scenario.subscribe(client, borges_framework());
        scenario.call(client, call);
    }
    // Calls that only a real master supports are valid.
    scenario.subscribe(9, borges_framework());
    scenario.call(9, calls::request("f", vec![]));
    scenario.call(9, calls::shutdown("f", "e", "local"));
    insta::assert_snapshot!(scenario.log);
}

#[test]
fn teardown_kills_tasks_without_updates() {
    let mut scenario = Scenario::new();
    scenario.subscribe(1, borges_framework());
    scenario.accept(1, vec![task("a", 1000), task("b", 1000)], Some(1000));
    scenario.runs("a");
    scenario.runs("b");
    scenario.ends("b", Exit::Code(0));
    scenario.call(1, calls::teardown("f"));
    scenario.pass(6);
    scenario.ends("a", Exit::Signal(9));
    assert!(scenario.agent.tasks.is_empty());
    insta::assert_snapshot!(scenario.log);
}

#[test]
fn idle_agents_shut_down_after_a_minute() {
    let mut scenario = Scenario::new();
    scenario.pass(59);
    scenario.subscribe(1, borges_framework());
    scenario.accept(1, vec![task("a", 1000)], Some(1000));
    scenario.runs("a");
    scenario.step("1 closed", |agent, now, actions| agent.closed(1, now, actions));
    scenario.pass(1000);
    scenario.ends("a", Exit::Code(0));
    scenario.pass(100);
    insta::assert_snapshot!(scenario.log);
}

#[test]
fn agents_that_end_with_their_client_kill_their_blocks() {
    let mut scenario = Scenario::with(true);
    scenario.subscribe(1, borges_framework());
    scenario.accept(1, vec![task("a", 1000), task("b", 1000)], Some(1000));
    scenario.runs("a");
    scenario.runs("b");
    scenario.step("1 closed", |agent, now, actions| agent.closed(1, now, actions));
    scenario.ends("a", Exit::Signal(15));
    scenario.pass(3);
    scenario.ends("b", Exit::Signal(9));
    insta::assert_snapshot!(scenario.log);

    let mut scenario = Scenario::with(true);
    scenario.subscribe(1, borges_framework());
    scenario.step("1 closed", |agent, now, actions| agent.closed(1, now, actions));
    assert!(scenario.log.ends_with("1 closed\n    shut down\n"), "{}", scenario.log);
}

#[test]
fn adopted_blocks_are_reported_at_their_exit() {
    let mut scenario = Scenario::new();
    let resources = Quantities { milli_cpus: 1500, mem_mib: 100, ..Quantities::default() };
    let key = scenario.agent.adopt("f", "a", resources, None, true);
    scenario.keys.insert("a".into(), key);
    scenario.pass(100);
    scenario.subscribe(1, borges_framework());
    scenario.call(1, calls::reconcile("f", []));
    scenario.ends("a", Exit::Code(7));
    insta::assert_snapshot!(scenario.log);
}

#[test]
fn containers_are_reported_when_they_run() {
    let mut scenario = Scenario::new();
    scenario.subscribe(1, borges_framework());
    let limit = Some(DurationInfo { nanoseconds: 3_000_000_000 });
    let limited = |id| TaskInfo { max_completion_time: limit, ..task(id, 500) };
    scenario.accept(1, ["slow", "bad", "killed", "overrun"].map(limited).into(), None);
    let report = |scenario: &mut Scenario, launch: &str, report: StartReport| {
        let key = scenario.keys[launch];
        let input = format!("{launch} {report:?}");
        scenario.step(&input, |agent, now, actions| agent.started(key, report, now, actions));
    };
    let failed = || StartReport::Failed(Reason::ContainerLaunchFailed, "no image".into());
    for launch in ["slow", "bad", "killed", "overrun"] {
        report(&mut scenario, launch, StartReport::Starting);
    }
    // The time of `max_completion_time` begins when the container runs.
    scenario.pass(5);
    scenario.call(1, calls::reconcile("f", [("slow", None)]));
    for launch in ["slow", "overrun"] {
        report(&mut scenario, launch, StartReport::Running);
        scenario.acknowledge(1, launch);
    }
    report(&mut scenario, "bad", failed());
    scenario.call(1, calls::kill("f", "killed", None, None));
    scenario.acknowledge(1, "killed");
    // The container ran just before it was killed.
    report(&mut scenario, "killed", StartReport::Running);
    report(&mut scenario, "killed", failed());
    scenario.ends("slow", Exit::Code(0));
    scenario.pass(4);
    report(&mut scenario, "overrun", failed());
    for stop_reason in [
        None,
        Some(StopReason::Killed),
        Some(StopReason::TimedOut),
        Some(StopReason::LimitExceeded(LimitExceeded::Memory(64))),
    ] {
        scenario.step(&format!("looked up {stop_reason:?}"), |agent, now, actions| {
            agent.launch_looked_up(
                "f",
                "old",
                LaunchHistory::Failed("lost".into(), stop_reason),
                now,
                actions,
            );
        });
    }
    insta::assert_snapshot!(scenario.log);
}

/// One task is killed when it exceeds a limit. Another one's limit is found exceeded after its exit.
#[test]
fn tasks_that_exceed_a_limit_fail() {
    let mut scenario = Scenario::new();
    scenario.subscribe(1, borges_framework());
    scenario.accept(1, vec![task("output", 1000), task("memory", 1000), task("killed", 1000)], None);
    for launch in ["output", "memory", "killed"] {
        scenario.runs(launch);
        scenario.acknowledge(1, launch);
    }
    let exceeds = |scenario: &mut Scenario, launch: &str, exceeded| {
        let key = scenario.keys[launch];
        scenario.step(&format!("{launch} {exceeded:?}"), |agent, now, actions| {
            agent.on_limit_exceeded(key, exceeded, now, actions);
        });
    };
    exceeds(&mut scenario, "output", LimitExceeded::Output(Stream::Stdout, 5));
    scenario.ends("output", Exit::Signal(9));
    scenario.call(1, calls::kill("f", "killed", None, None));
    exceeds(&mut scenario, "killed", LimitExceeded::Memory(100));
    scenario.ends("killed", Exit::Signal(9));
    let key = scenario.keys["memory"];
    scenario.step("memory exits over its limit", |agent, now, actions| {
        agent.exited(key, Exit::Code(0), Some(LimitExceeded::Memory(100)), now, actions);
    });
    insta::assert_snapshot!(scenario.log);
}

#[test]
fn adopted_containers_may_still_be_starting() {
    let mut scenario = Scenario::new();
    let resources = Quantities { milli_cpus: 1500, mem_mib: 100, ..Quantities::default() };
    let key = scenario.agent.adopt("f", "a", resources, None, false);
    scenario.keys.insert("a".into(), key);
    scenario.subscribe(1, borges_framework());
    scenario.call(1, calls::reconcile("f", []));
    scenario.runs("a");
    scenario.acknowledge(1, "a");
    scenario.ends("a", Exit::Code(0));
    insta::assert_snapshot!(scenario.log);
}

//! Agents that are killed, restart, end with their client, or have malformed clients.

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};

use borges_mesos::events::TaskState;
use borges_mesos::messages::{FrameworkId, FrameworkInfo};
use borges_mesos::resources::Quantities;
use borges_mesos::{Event, Master, calls};
use prost::Message as _;
use support::poll::{DEADLINE, poll_until_async};

use super::scheduler::{HANGS, Home, Scheduler, agent_processes, kill, options, runs, sh, throw_away};

#[tokio::test]
async fn repeated_launch_is_started_once() {
    let directory = Home::new();
    let mut scheduler = Scheduler::open(options(directory.path())).await;
    let count = sh("r.1.1", "echo once; exit 4");
    scheduler.run(count.clone(), TaskState::Failed).await;
    scheduler.launch(vec![count]).await;
    let repeat = scheduler.hear().await;
    assert_eq!((repeat.state, repeat.uuid), (TaskState::Failed, None));
    assert_eq!(scheduler.read("r.1.1", "block/stdout").await.unwrap(), "once\n");
    // All resources are free again, and a new subscription is offered all of them.
    scheduler.subscribe().await;
    let all = Quantities::of(&scheduler.offer().await.resources);
    assert_eq!((all.milli_cpus, all.mem_mib), (4000, 1024));
}

#[tokio::test]
async fn unacknowledged_updates_are_resent_on_subscribe() {
    let directory = Home::new();
    let mut scheduler = Scheduler::open(options(directory.path())).await;
    scheduler.launch(vec![sh("r.1.1", "exit 5")]).await;
    let running = scheduler.hear().await;
    assert_eq!(running.state, TaskState::Running);
    let exit = scheduler.sandbox("r.1.1").join("block/exit");
    poll_until_async(DEADLINE, "the block has ended", async || exit.exists()).await;
    scheduler.events = None;
    scheduler.subscribe().await;
    let again = scheduler.hear().await;
    assert_eq!((again.state, &again.uuid), (TaskState::Running, &running.uuid));
    scheduler.call(calls::acknowledge(&scheduler.framework.clone(), &again).unwrap()).await;
    scheduler.until("r.1.1", TaskState::Failed).await;

    // A second scheduler of the same framework: the first is told, and its connection ends.
    let first = scheduler.events.take().unwrap();
    scheduler.subscribe().await;
    let second = scheduler.events.replace(first).unwrap();
    loop {
        match scheduler.event().await {
            Some(Event::Offers(_) | Event::Heartbeat) => {}
            Some(Event::Error(message)) => break assert_eq!(message, "Framework failed over"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(scheduler.event().await, None);
    scheduler.events = Some(second);
}

#[tokio::test]
async fn blocks_survive_a_killed_agent() {
    let directory = Home::new();
    let mut scheduler = Scheduler::open(options(directory.path())).await;
    let waits = |name: &str, code: u8| {
        let file = directory.path().join(name);
        format!("echo up; while [ ! -e {} ]; do sleep 0.01; done; exit {code}", file.display())
    };
    scheduler
        .launch(vec![
            sh("r.1.1", &waits("first", 6)),
            sh("r.2.1", &waits("second", 7)),
            sh("r.3.1", "echo up; sleep 1000"),
        ])
        .await;
    for id in ["r.1.1", "r.2.1", "r.3.1"] {
        let stdout = scheduler.sandbox(id).join("block/stdout");
        poll_until_async(DEADLINE, "the block runs", async || {
            fs::read_to_string(&stdout).is_ok_and(|text| text == "up\n")
        })
        .await;
    }
    let old = agent_processes(directory.path());
    let [reaper, agent] = old.as_slice() else { panic!("{old:?}") };
    kill(*agent);
    while scheduler.event().await.is_some() {}

    // Nobody but the reaper is there: it sees this one's end.
    fs::write(directory.path().join("first"), "").unwrap();
    let exit = scheduler.sandbox("r.1.1").join("block/exit");
    poll_until_async(DEADLINE, "the reaper notes the exit code", async || exit.exists()).await;
    assert_eq!(fs::read_to_string(&exit).unwrap(), "6\n");

    // A new agent knows them all, those that ended and those that run.
    scheduler.subscribe().await;
    let framework = scheduler.framework.clone();
    let ids = ["r.1.1", "r.2.1", "r.3.1"];
    scheduler.call(calls::reconcile(&framework, ids.map(|id| (id, None)))).await;
    let mut states = HashMap::new();
    while states.len() < ids.len() {
        let update = scheduler.hear().await;
        states.insert(update.launch, (update.state, update.message));
    }
    let found = ids.map(|id| states[id].0);
    assert_eq!(found, [TaskState::Failed, TaskState::Running, TaskState::Running], "{states:?}");
    let free = Quantities::of(&scheduler.offer().await.resources);
    assert_eq!((free.milli_cpus, free.mem_mib), (4000 - 200, 1024 - 64));
    fs::write(directory.path().join("second"), "").unwrap();
    let end = scheduler.until("r.2.1", TaskState::Failed).await;
    assert_eq!(end.message.as_deref(), Some("Command exited with status 7"));
    assert!(end.uuid.is_some());
    scheduler.call(calls::kill(&framework, "r.3.1", None, Some(HANGS))).await;
    scheduler.until("r.3.1", TaskState::Killed).await;
    poll_until_async(DEADLINE, "the old reaper has nothing left to do", async || !runs(&reaper.to_string()))
        .await;

    // Both at once: the end is lost, and is said to be.
    scheduler.offers.clear();
    scheduler.launch(vec![sh("r.4.1", "echo $$; sleep 1000")]).await;
    let stdout = scheduler.sandbox("r.4.1").join("block/stdout");
    poll_until_async(DEADLINE, "the block runs", async || {
        fs::read_to_string(&stdout).is_ok_and(|text| text.ends_with('\n'))
    })
    .await;
    let block = fs::read_to_string(&stdout).unwrap();
    for process in agent_processes(directory.path()) {
        kill(process);
    }
    while scheduler.event().await.is_some() {}
    kill(block.trim().parse().unwrap());
    poll_until_async(DEADLINE, "the block has ended", async || !runs(block.trim())).await;
    scheduler.subscribe().await;
    scheduler.call(calls::reconcile(&framework, [("r.4.1", None)])).await;
    let lost = scheduler.until("r.4.1", TaskState::Failed).await;
    assert_eq!(lost.message.as_deref(), Some("Command ended unseen: exit status lost"));
}

#[tokio::test]
async fn agent_that_ends_with_its_client_leaves_no_process() {
    let (directory, options) = throw_away();
    let mut scheduler = Scheduler::open(options).await;
    scheduler
        .launch(vec![
            sh("r.1.1", "echo $$; sleep 1000"),
            sh(
                "r.2.1",
                "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$; sleep 1001; :' & wait; sleep 1002",
            ),
        ])
        .await;
    let mut pids = Vec::new();
    for id in ["r.1.1", "r.2.1"] {
        let stdout = scheduler.sandbox(id).join("block/stdout");
        poll_until_async(DEADLINE, "the block runs", async || {
            fs::read_to_string(&stdout).is_ok_and(|text| text.ends_with('\n'))
        })
        .await;
        pids.push(fs::read_to_string(&stdout).unwrap().trim().to_owned());
    }
    let agent = agent_processes(directory.path());
    assert_eq!(agent.len(), 2);
    scheduler.events = None;
    pids.extend(agent.iter().map(u32::to_string));
    for pid in pids {
        poll_until_async(DEADLINE, "all of it has ended", async || !runs(&pid)).await;
    }
    assert_eq!(scheduler.read("r.1.1", "block/exit").await.unwrap(), "143\n");
    assert_eq!(scheduler.read("r.2.1", "block/exit").await.unwrap(), "137\n");
}

#[tokio::test]
async fn concurrent_starts_make_one_agent() {
    let directory = Home::new();
    let options = options(directory.path());
    let connections: Vec<_> = std::thread::scope(|scope| {
        let start = || borges_embedded::connect_or_spawn(&options, support::program::path()).unwrap();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut scheduler = Scheduler::open(options).await;
    scheduler.run(sh("r.1.1", "true"), TaskState::Finished).await;
    assert_eq!(agent_processes(directory.path()).len(), 2, "a reaper and an agent");
    drop(connections);
}

/// A block of an agent with another protocol is waited for; then the next client starts an agent of its own.
#[tokio::test]
async fn agent_of_another_protocol_is_replaced_when_idle() {
    let directory = Home::new();
    let options = options(directory.path());
    let mut scheduler = Scheduler::open(options.clone()).await;
    scheduler.launch(vec![sh("r.1.1", "echo $$; sleep 1000")]).await;
    let old = agent_processes(directory.path());
    let protocol = directory.path().join("agent/protocol");
    assert_eq!(fs::read_to_string(&protocol).unwrap(), "1\n");
    fs::write(&protocol, "9\n").unwrap();
    let connect = || borges_embedded::connect_or_spawn(&options, support::program::path());
    let refused = connect().unwrap_err();
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(
        why.starts_with("the agent that runs there speaks protocol 9, and this Borges speaks 1"),
        "{why}"
    );
    assert_eq!(agent_processes(directory.path()), old, "it runs on, and its block with it");

    for pid in &old {
        kill(*pid);
    }
    poll_until_async(DEADLINE, "the agent has ended", async || agent_processes(directory.path()).is_empty())
        .await;
    drop(connect().unwrap());
    assert_eq!(fs::read_to_string(&protocol).unwrap(), "1\n");
}

#[tokio::test]
async fn malformed_client_does_not_disturb_others() {
    let directory = Home::new();
    let mut scheduler = Scheduler::open(options(directory.path())).await;
    scheduler.launch(vec![sh("r.1.1", "true")]).await;
    for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"4\nabcd", b"2\n\x10\x05", b"99999999999\n"] {
        let mut stream =
            std::os::unix::net::UnixStream::connect(directory.path().join("agent/socket")).unwrap();
        stream.write_all(nonsense).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let text = answer.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let event = borges_mesos::messages::scheduler::Event::decode(&answer[text..]).unwrap();
        assert!(matches!(Event::try_from(event), Ok(Event::Error(_))));
    }
    scheduler.until("r.1.1", TaskState::Finished).await;
}

#[tokio::test]
async fn teardown_ends_blocks_and_retires_the_framework_id() {
    let directory = Home::new();
    let mut scheduler = Scheduler::open(options(directory.path())).await;
    scheduler.launch(vec![sh("r.1.1", "echo $$; sleep 1000")]).await;
    let stdout = scheduler.sandbox("r.1.1").join("block/stdout");
    poll_until_async(DEADLINE, "the block runs", async || {
        fs::read_to_string(&stdout).is_ok_and(|text| text.ends_with('\n'))
    })
    .await;
    scheduler.call(calls::teardown(&scheduler.framework.clone())).await;
    while let Some(event) = scheduler.event().await {
        assert!(!matches!(event, Event::Error(_)), "{event:?}");
    }
    let pid = fs::read_to_string(&stdout).unwrap();
    poll_until_async(DEADLINE, "the block has ended", async || !runs(pid.trim())).await;
    let id = Some(FrameworkId { value: scheduler.framework.clone() });
    let info = FrameworkInfo { user: "u".into(), name: "test".into(), id, ..FrameworkInfo::default() };
    scheduler.events = Some(scheduler.client.subscribe(calls::subscribe(info, vec![])).await.unwrap());
    assert_eq!(scheduler.event().await, Some(Event::Error("Framework has been removed".into())));
}

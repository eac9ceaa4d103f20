//! The embedded cluster with real processes: `borges agent` as a scheduler and its blocks meet it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use borges::local::{AGENT_ID, AgentOptions, Client, LocalSandbox};
use borges::mesos::events::{Reason, TaskState};
use borges::mesos::messages::framework_info::{Capability, capability};
use borges::mesos::messages::task_status::Reason as R;
use borges::mesos::messages::{
    AgentId, CommandInfo, Environment, FrameworkId, FrameworkInfo, Label, Labels, Offer, TaskId, TaskInfo,
    environment::Variable,
};
use borges::mesos::parcel::{Parcel, PlacedFile};
use borges::mesos::resources::Quantities;
use borges::mesos::tasks::DIRECTORY_LABEL;
use borges::mesos::{
    Call, Event, Master, MasterError, Place, Sandbox, SandboxError, StatusUpdate, Subscription, calls,
};
use futures_util::StreamExt;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use prost::Message as _;
use tempfile::TempDir;

/// Nothing here takes as long: a test that waits for it hangs.
const HANGS: Duration = Duration::from_mins(1);

/// A scheduler with the embedded cluster of a directory.
struct Scheduler {
    options: AgentOptions,
    client: Client,
    framework: String,
    /// `None` when disconnected.
    events: Option<Subscription>,
    offers: VecDeque<Offer>,
    /// What was said of each launch, in order.
    updates: HashMap<String, Vec<StatusUpdate>>,
}

fn options(directory: &Path) -> AgentOptions {
    AgentOptions {
        milli_cpus: 4000,
        mem_mib: 1024,
        disk_mib: 1024,
        ..AgentOptions::new(directory.to_owned())
    }
}

/// A directory for agents that outlive their client, and their blocks; all of it ends with the test.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let agents = agent_processes(self.path());
        // The agent first: a reaper without children ends by itself.
        for process in agents.into_iter().rev() {
            let _gone = signal::kill(pid(process), Signal::SIGKILL);
        }
        for process in processes(|process| {
            let sandbox = format!("MESOS_SANDBOX={}/", self.path().display());
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(sandbox.as_bytes()))
        }) {
            let _gone = signal::kill(pid(process), Signal::SIGKILL);
        }
    }
}

/// A directory whose agent ends with its client.
fn throw_away() -> (TempDir, AgentOptions) {
    let directory = tempfile::tempdir().unwrap();
    let options = AgentOptions { end_with_client: true, ..options(directory.path()) };
    (directory, options)
}

impl Scheduler {
    async fn open(options: AgentOptions) -> Self {
        let client = Client::new(options.clone(), env!("CARGO_BIN_EXE_borges").into());
        let mut scheduler = Self {
            options,
            client,
            framework: String::new(),
            events: None,
            offers: VecDeque::new(),
            updates: HashMap::new(),
        };
        scheduler.subscribe().await;
        scheduler
    }

    async fn subscribe(&mut self) {
        let able = |kind: capability::Type| Capability { r#type: Some(kind as i32) };
        let info = FrameworkInfo {
            user: "u".into(),
            name: "test".into(),
            id: Some(FrameworkId { value: self.framework.clone() }).filter(|id| !id.value.is_empty()),
            capabilities: vec![
                able(capability::Type::TaskKillingState),
                able(capability::Type::PartitionAware),
            ],
            ..FrameworkInfo::default()
        };
        self.offers.clear();
        self.events = Some(self.client.subscribe(calls::subscribe(info, vec![])).await.unwrap());
        match self.event().await {
            Some(Event::Subscribed { framework, .. }) => self.framework = framework,
            other => panic!("{other:?}"),
        }
    }

    /// The next event; `None` at the end of the connection: a killed agent that has not read all of ours resets it.
    async fn event(&mut self) -> Option<Event> {
        let events = &mut self.events.as_mut().unwrap().events;
        let event = tokio::time::timeout(HANGS, events.next()).await.expect("the agent says nothing");
        match event? {
            Err(MasterError::Unreachable { source, .. }) if source.kind() == ErrorKind::ConnectionReset => {
                None
            }
            event => Some(event.unwrap()),
        }
    }

    /// Takes in the next event, without an acknowledgement.
    async fn hear(&mut self) -> StatusUpdate {
        loop {
            match self.event().await.expect("the agent is there") {
                Event::Offers(offers) => self.offers.extend(offers),
                Event::Update(update) => {
                    self.updates.entry(update.launch.clone()).or_default().push((*update).clone());
                    return *update;
                }
                Event::Heartbeat => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn call(&mut self, call: Call) {
        self.client.call(call).await.unwrap();
    }

    /// Acknowledges all that comes until `launch` is in `state`.
    async fn until(&mut self, launch: &str, state: TaskState) -> StatusUpdate {
        loop {
            let update = self.hear().await;
            if let Some(call) = calls::acknowledge(&self.framework, &update) {
                self.call(call).await;
            }
            if update.launch == launch && update.state == state {
                return update;
            }
            let over = update.launch == launch && update.state.is_terminal();
            assert!(!over, "{} {:?} instead of {}", update.state.name(), update.message, state.name());
        }
    }

    async fn offer(&mut self) -> Offer {
        loop {
            if let Some(offer) = self.offers.pop_front() {
                return offer;
            }
            match self.event().await.expect("the agent is there") {
                Event::Offers(offers) => self.offers.extend(offers),
                Event::Update(update) => {
                    self.updates.entry(update.launch.clone()).or_default().push(*update);
                }
                Event::Heartbeat => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn launch(&mut self, tasks: Vec<TaskInfo>) {
        let offer = self.offer().await;
        let accept = calls::accept(&self.framework, [offer.id.value], tasks, Some(Duration::ZERO));
        self.call(accept).await;
    }

    /// Runs one task to its end.
    async fn run(&mut self, task: TaskInfo, end: TaskState) -> StatusUpdate {
        let id = task.task_id.value.clone();
        self.launch(vec![task]).await;
        self.until(&id, end).await
    }

    fn place(&self, launch: &str) -> Place {
        Place { agent: AGENT_ID.into(), framework: self.framework.clone(), executor: launch.into() }
    }

    fn sandbox(&self, launch: &str) -> PathBuf {
        LocalSandbox::new(&self.options.directory).path(&self.place(launch)).unwrap()
    }

    async fn read(&self, launch: &str, path: &str) -> Result<String, SandboxError> {
        let sandbox = LocalSandbox::new(&self.options.directory);
        let chunk = sandbox.read(&self.place(launch), path, 0, 1 << 20).await?;
        Ok(String::from_utf8_lossy(&chunk.bytes).into_owned())
    }

    fn states(&self, launch: &str) -> Vec<&'static str> {
        self.updates.get(launch).into_iter().flatten().map(|update| update.state.name()).collect()
    }
}

/// A task that runs `body` with `sh`.
fn sh(id: &str, body: &str) -> TaskInfo {
    let amounts = Quantities { milli_cpus: 100, mem_mib: 32, ..Quantities::default() };
    TaskInfo {
        name: id.into(),
        task_id: TaskId { value: id.into() },
        agent_id: AgentId { value: AGENT_ID.into() },
        resources: amounts.to_resources(Some("*")),
        command: Some(CommandInfo {
            shell: Some(false),
            value: Some("sh".into()),
            arguments: vec!["sh".into(), "block/body".into()],
            ..CommandInfo::default()
        }),
        data: Some(Parcel::body(body.to_owned()).to_bytes()),
        ..TaskInfo::default()
    }
}

fn in_directory(task: TaskInfo, directory: &str) -> TaskInfo {
    let label = Label { key: DIRECTORY_LABEL.into(), value: Some(directory.into()) };
    TaskInfo { labels: Some(Labels { labels: vec![label] }), ..task }
}

fn program(task: TaskInfo, program: &str) -> TaskInfo {
    let value = Some(program.to_owned());
    TaskInfo { command: task.command.map(|command| CommandInfo { value, ..command }), ..task }
}

fn with(task: TaskInfo, variables: &[(&str, &str)]) -> TaskInfo {
    let variables = variables.iter().map(|(name, value)| Variable {
        name: (*name).into(),
        value: Some((*value).into()),
        ..Variable::default()
    });
    let environment = Some(Environment { variables: variables.collect() });
    TaskInfo { command: task.command.map(|command| CommandInfo { environment, ..command }), ..task }
}

fn reason(update: &StatusUpdate) -> Option<R> {
    match update.reason {
        Some(Reason::Known(reason)) => Some(reason),
        Some(Reason::Unrecognised(number)) => panic!("reason {number}"),
        None => None,
    }
}

/// Whether a process is there and no zombie.
fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with(['Z', 'X'])))
}

/// Waits until something that no event tells of has come about.
async fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let waits = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANGS, waits).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The processes whose directory in `/proc` is such a one, by their ids.
fn processes(such: impl Fn(&Path) -> bool) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let numbered =
        entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    let mut found: Vec<u32> = numbered.filter(|(_, path)| such(path)).map(|(pid, _)| pid).collect();
    found.sort_unstable();
    found
}

/// The processes of the agent in a directory: reaper first.
fn agent_processes(directory: &Path) -> Vec<u32> {
    let directory = directory.canonicalize().unwrap();
    let wanted = directory.as_os_str().as_encoded_bytes();
    processes(|process| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let mut arguments = line.split(|byte| *byte == 0);
        arguments.by_ref().any(|argument| argument == b"--directory") && arguments.next() == Some(wanted)
    })
}

#[tokio::test]
async fn a_block_runs_and_its_output_and_exit_code_are_kept() {
    let (_directory, options) = throw_away();
    let mut scheduler = Scheduler::open(options).await;
    let body = "echo out; echo err >&2; echo $0 in $(basename $PWD); exit 3";
    let end = scheduler.run(sh("r.1.1", body), TaskState::Failed).await;
    assert_eq!(end.message.as_deref(), Some("Command exited with status 3"));
    assert_eq!(reason(&end), Some(R::CommandExecutorFailed));
    assert_eq!(end.executor.as_deref(), Some("r.1.1"));
    assert_eq!(scheduler.states("r.1.1"), ["TASK_RUNNING", "TASK_FAILED"]);
    assert_eq!(scheduler.read("r.1.1", "block/stdout").await.unwrap(), "out\nblock/body in latest\n");
    assert_eq!(scheduler.read("r.1.1", "block/stderr").await.unwrap(), "err\n");
    assert_eq!(scheduler.read("r.1.1", "block/exit").await.unwrap(), "3\n");
    assert_eq!(scheduler.read("r.1.1", "block/body").await.unwrap(), body);
    let note = scheduler.read("r.1.1", "stdout").await.unwrap();
    assert_eq!(note, "The block's output is in block/stdout and block/stderr.\n");
    assert!(matches!(scheduler.read("r.1.1", "block/value").await, Err(SandboxError::Missing(_))));

    let end = scheduler.run(sh("r.2.1", "true"), TaskState::Finished).await;
    assert_eq!(end.message.as_deref(), Some("Command exited with status 0"));
    assert_eq!(scheduler.read("r.2.1", "block/exit").await.unwrap(), "0\n");
    // Ended long ago, acknowledged, and asked for still.
    scheduler.call(calls::reconcile(&scheduler.framework.clone(), [("r.1.1", None), ("r.9.1", None)])).await;
    let known = scheduler.hear().await;
    assert_eq!((known.state, known.uuid), (TaskState::Failed, None));
    assert_eq!(known.message.as_deref(), Some("Command exited with status 3"));
    let unknown = scheduler.hear().await;
    assert_eq!((unknown.state, reason(&unknown)), (TaskState::Gone, Some(R::Reconciliation)));
}

#[tokio::test]
async fn signals_end_blocks_as_mesos_tells_it() {
    let (_directory, options) = throw_away();
    let mut scheduler = Scheduler::open(options).await;
    for (id, signal, message, code) in [
        ("r.1.1", "KILL", "Command terminated with signal Killed", "137\n"),
        ("r.2.1", "SEGV", "Command terminated with signal Segmentation fault", "139\n"),
        ("r.3.1", "35", "Command terminated with signal 35", "163\n"),
    ] {
        let end = scheduler.run(sh(id, &format!("kill -{signal} $$")), TaskState::Failed).await;
        assert_eq!(end.message.as_deref(), Some(message));
        assert_eq!(scheduler.read(id, "block/exit").await.unwrap(), code);
    }
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let (_directory, options) = throw_away();
    let mut scheduler = Scheduler::open(options).await;
    let ruby = with(program(sh("r.1.1", ""), "ruby"), &[("PATH", "/nowhere:/never")]);
    let end = scheduler.run(ruby, TaskState::Failed).await;
    let message = "`ruby` is not installed on this machine: not found on PATH /nowhere:/never";
    assert_eq!(end.message.as_deref(), Some(message));
    assert_eq!(scheduler.read("r.1.1", "block/exit").await.unwrap(), "127\n");
    assert_eq!(scheduler.read("r.1.1", "block/stderr").await.unwrap(), format!("borges: {message}\n"));

    let end = scheduler.run(in_directory(sh("r.2.1", ""), "/nowhere"), TaskState::Failed).await;
    assert_eq!(end.message.as_deref(), Some("the working directory `/nowhere` does not exist"));

    let body = program(sh("r.3.1", "#!/no/such/interpreter\n"), "block/body");
    let end = scheduler.run(body, TaskState::Failed).await;
    assert!(end.message.unwrap().ends_with("it, or what its `#!` line names, does not exist"));
    assert_eq!(scheduler.read("r.3.1", "block/exit").await.unwrap(), "127\n");

    let body = program(sh("r.4.1", "no program"), "block/body");
    let end = scheduler.run(body, TaskState::Failed).await;
    assert!(end.message.unwrap().ends_with("it is no program, and has no `#!` line"));
    assert_eq!(scheduler.read("r.4.1", "block/exit").await.unwrap(), "126\n");
    assert_eq!(scheduler.states("r.4.1"), ["TASK_FAILED"]);
}

#[tokio::test]
async fn a_block_has_the_environment_it_was_given_and_no_other() {
    let (directory, options) = throw_away();
    let mut scheduler = Scheduler::open(options).await;
    let task = with(sh("r.1.1", "env | sort; cat; pwd"), &[("TZ", "Asia/Tokyo"), ("A", "b c")]);
    let task = in_directory(task, "../../../..");
    scheduler.run(task, TaskState::Finished).await;
    let output = scheduler.read("r.1.1", "block/stdout").await.unwrap();
    let names: Vec<&str> =
        output.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    assert_eq!(names.join(" "), "A HOME LANG MESOS_SANDBOX PATH PWD TZ");
    let sandbox = scheduler.sandbox("r.1.1").canonicalize().unwrap();
    assert!(output.contains(&format!("MESOS_SANDBOX={}\n", sandbox.display())), "{output}");
    assert!(output.contains("\nTZ=Asia/Tokyo\n") && output.contains("A=b c\n"), "{output}");
    let there = directory.path().canonicalize().unwrap().join("frameworks").join(&scheduler.framework);
    assert!(output.contains(&format!("\n{}\n", there.display())), "{output}");
}

#[tokio::test]
async fn the_body_is_reached_from_any_directory_and_may_be_large() {
    let (_directory, options) = throw_away();
    let mut scheduler = Scheduler::open(options).await;
    let large = format!("echo $(($(wc -c < \"$0\") > 2000000)); exit 0\n{}", "# filler\n".repeat(240_000));
    scheduler.run(in_directory(sh("r.1.1", &large), "/"), TaskState::Finished).await;
    assert_eq!(scheduler.read("r.1.1", "block/stdout").await.unwrap(), "1\n");
    assert_eq!(fs::metadata(scheduler.sandbox("r.1.1").join("block/body")).unwrap().mode() & 0o777, 0o700);
    scheduler.run(program(sh("r.2.1", "#!/bin/sh\necho me\n"), "block/body"), TaskState::Finished).await;
    assert_eq!(scheduler.read("r.2.1", "block/stdout").await.unwrap(), "me\n");
}

#[tokio::test]
async fn what_is_sent_along_lies_in_the_sandbox_and_is_read() {
    let (directory, options) = throw_away();
    let mut scheduler = Scheduler::open(options).await;
    let sent = |id: &str, body: &str, path: &str, mode, content: &str| {
        let mut parcel = Parcel::body(body.to_owned());
        let content = content.as_bytes().to_vec().into();
        parcel.files.push(PlacedFile { path: path.into(), mode, content });
        parcel.stdin = Some(path.into());
        TaskInfo { data: Some(parcel.to_bytes()), ..sh(id, "") }
    };
    let task = sent(
        "r.1.1",
        "cat; stat -c %a in/deep/a.txt; wc -c <in/deep/a.txt",
        "in/deep/a.txt",
        0o640,
        "a\tb\n",
    );
    scheduler.run(task, TaskState::Finished).await;
    assert_eq!(scheduler.read("r.1.1", "block/stdout").await.unwrap(), "a\tb\n640\n4\n");
    // Elsewhere, what is sent into `block/` is named by its whole path, as the body is.
    let mut task = in_directory(sent("r.2.1", "", "block/main", 0o755, "cat \"$0\""), "/");
    if let Some(command) = &mut task.command {
        command.arguments[1] = "block/main".into();
    }
    scheduler.run(task, TaskState::Finished).await;
    assert_eq!(scheduler.read("r.2.1", "block/stdout").await.unwrap(), "cat \"$0\"");

    for bad in ["../../escaped", "/tmp/escaped", "block/stdout"] {
        let end = scheduler.run(sent("r.3.1", "", bad, 0o644, "x"), TaskState::Error).await;
        assert!(end.message.unwrap().contains(bad));
    }
    let escaped = fs::read_dir(directory.path()).unwrap().flatten().any(|it| it.file_name() == "escaped");
    assert!(!escaped);
    // Its place is taken: the directory of the block's own files.
    let end = scheduler.run(sent("r.4.1", "", "block", 0o644, "x"), TaskState::Failed).await;
    assert!(end.message.unwrap().starts_with("`block` cannot be made"));
}

#[tokio::test]
async fn a_kill_asks_first_and_then_does_not() {
    let (_directory, options) = throw_away();
    let mut scheduler = Scheduler::open(options).await;
    let framework = scheduler.framework.clone();
    // One that tidies up, one that does not listen, and one that is stopped.
    scheduler
        .launch(vec![
            sh("r.1.1", "trap 'echo tidy; exit 0' TERM; echo ready; while :; do sleep 0.01; done"),
            sh("r.2.1", "trap '' TERM; echo ready; while :; do sleep 1; done"),
            sh("r.3.1", "echo ready; kill -STOP $$"),
        ])
        .await;
    for id in ["r.1.1", "r.2.1", "r.3.1"] {
        let stdout = scheduler.sandbox(id).join("block/stdout");
        wait_for("the block is ready", || fs::read_to_string(&stdout).is_ok_and(|text| text == "ready\n"))
            .await;
        let grace = if id == "r.2.1" { Duration::from_millis(50) } else { HANGS };
        scheduler.call(calls::kill(&framework, id, Some(AGENT_ID), Some(grace))).await;
        let end = scheduler.until(id, TaskState::Killed).await;
        let message = match id {
            "r.1.1" => "Command exited with status 0",
            "r.2.1" => "Command terminated with signal Killed",
            _ => "Command terminated with signal Terminated",
        };
        assert_eq!(end.message.as_deref(), Some(message));
        assert_eq!(scheduler.states(id), ["TASK_RUNNING", "TASK_KILLING", "TASK_KILLED"]);
    }
    assert_eq!(scheduler.read("r.1.1", "block/stdout").await.unwrap(), "ready\ntidy\n");
    assert_eq!(scheduler.read("r.2.1", "block/exit").await.unwrap(), "137\n");
    scheduler.call(calls::kill(&framework, "r.1.1", None, None)).await;
    let again = scheduler.hear().await;
    assert_eq!((again.state, again.uuid), (TaskState::Killed, None), "it is known that it was killed");
    scheduler.call(calls::kill(&framework, "r.9.1", None, None)).await;
    assert_eq!(scheduler.hear().await.state, TaskState::Gone);
}

#[tokio::test]
async fn a_block_that_takes_too_long_is_ended() {
    let (_directory, options) = throw_away();
    let mut scheduler = Scheduler::open(options).await;
    let limit = Some(calls::duration(Duration::from_millis(20)));
    let task = TaskInfo { max_completion_time: limit, ..sh("r.1.1", "sleep 1000") };
    let end = scheduler.run(task, TaskState::Failed).await;
    assert_eq!(reason(&end), Some(R::MaxCompletionTimeReached));
    assert_eq!(scheduler.read("r.1.1", "block/exit").await.unwrap(), "137\n");
}

#[tokio::test]
async fn what_a_block_leaves_in_its_group_ends_with_it() {
    let (_directory, options) = throw_away();
    let mut scheduler = Scheduler::open(options).await;
    scheduler.run(sh("r.1.1", "sleep 1000 & echo $!"), TaskState::Finished).await;
    let left = scheduler.read("r.1.1", "block/stdout").await.unwrap();
    wait_for("the rest is gone", || !runs(left.trim())).await;
}

#[tokio::test]
async fn a_launch_of_the_same_name_is_started_once() {
    let directory = Home::new();
    let mut scheduler = Scheduler::open(options(directory.path())).await;
    let count = sh("r.1.1", "echo once; exit 4");
    scheduler.run(count.clone(), TaskState::Failed).await;
    scheduler.launch(vec![count]).await;
    let repeat = scheduler.hear().await;
    assert_eq!((repeat.state, repeat.uuid), (TaskState::Failed, None));
    assert_eq!(scheduler.read("r.1.1", "block/stdout").await.unwrap(), "once\n");
    // All of it is free again: whoever comes anew is offered all that is.
    scheduler.subscribe().await;
    let all = Quantities::of(&scheduler.offer().await.resources);
    assert_eq!((all.milli_cpus, all.mem_mib), (4000, 1024));
}

#[tokio::test]
async fn unacknowledged_updates_are_told_to_the_next_subscription() {
    let directory = Home::new();
    let mut scheduler = Scheduler::open(options(directory.path())).await;
    scheduler.launch(vec![sh("r.1.1", "exit 5")]).await;
    let running = scheduler.hear().await;
    assert_eq!(running.state, TaskState::Running);
    let exit = scheduler.sandbox("r.1.1").join("block/exit");
    wait_for("the block has ended", || exit.exists()).await;
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
async fn a_killed_agent_loses_no_block() {
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
        wait_for("the block runs", || fs::read_to_string(&stdout).is_ok_and(|text| text == "up\n")).await;
    }
    let old = agent_processes(directory.path());
    let [reaper, agent] = old.as_slice() else { panic!("{old:?}") };
    kill(*agent);
    while scheduler.event().await.is_some() {}

    // Nobody but the reaper is there: it sees this one's end.
    fs::write(directory.path().join("first"), "").unwrap();
    let exit = scheduler.sandbox("r.1.1").join("block/exit");
    wait_for("the reaper notes the exit code", || exit.exists()).await;
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
    wait_for("the old reaper has nothing left to do", || !runs(&reaper.to_string())).await;

    // Both at once: the end is lost, and is said to be.
    scheduler.offers.clear();
    scheduler.launch(vec![sh("r.4.1", "echo $$; sleep 1000")]).await;
    let stdout = scheduler.sandbox("r.4.1").join("block/stdout");
    wait_for("the block runs", || fs::read_to_string(&stdout).is_ok_and(|text| text.ends_with('\n'))).await;
    let block = fs::read_to_string(&stdout).unwrap();
    for process in agent_processes(directory.path()) {
        kill(process);
    }
    while scheduler.event().await.is_some() {}
    kill(block.trim().parse().unwrap());
    wait_for("the block is gone", || !runs(block.trim())).await;
    scheduler.subscribe().await;
    scheduler.call(calls::reconcile(&framework, [("r.4.1", None)])).await;
    let lost = scheduler.until("r.4.1", TaskState::Failed).await;
    assert_eq!(lost.message.as_deref(), Some("Command ended unseen: exit status lost"));
}

#[tokio::test]
async fn an_agent_that_ends_with_its_client_leaves_nothing_running() {
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
        wait_for("the block runs", || fs::read_to_string(&stdout).is_ok_and(|text| text.ends_with('\n')))
            .await;
        pids.push(fs::read_to_string(&stdout).unwrap().trim().to_owned());
    }
    let agent = agent_processes(directory.path());
    assert_eq!(agent.len(), 2);
    scheduler.events = None;
    pids.extend(agent.iter().map(u32::to_string));
    for pid in pids {
        wait_for("all of it has ended", || !runs(&pid)).await;
    }
    assert_eq!(scheduler.read("r.1.1", "block/exit").await.unwrap(), "143\n");
    assert_eq!(scheduler.read("r.2.1", "block/exit").await.unwrap(), "137\n");
}

#[tokio::test]
async fn a_path_may_be_longer_than_a_sockets_name() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("d".repeat(120));
    let options = AgentOptions { end_with_client: true, ..options(&deep) };
    let mut scheduler = Scheduler::open(options).await;
    scheduler.run(sh("r.1.1", "true"), TaskState::Finished).await;
}

#[tokio::test]
async fn what_the_machine_refuses_is_said() {
    let (_directory, options) = throw_away();
    let mut scheduler = Scheduler::open(options).await;
    let long = with(sh("r.1.1", "true"), &[("LONG", &"x".repeat(300_000))]);
    let end = scheduler.run(long, TaskState::Failed).await;
    assert!(end.message.unwrap().ends_with("its arguments are too long"));
    // No room for sandboxes: a file lies where their directory was.
    let executors = scheduler.sandbox("r.2.1").ancestors().nth(3).unwrap().to_owned();
    assert!(executors.ends_with("executors"), "{}", executors.display());
    fs::remove_dir_all(&executors).unwrap();
    fs::write(&executors, "").unwrap();
    let end = scheduler.run(sh("r.2.1", "true"), TaskState::Failed).await;
    assert_eq!(reason(&end), Some(R::ContainerLaunchFailed));
    assert!(end.message.unwrap().starts_with("the sandbox cannot be made: "));
    // Cleaned up meanwhile, it is made again.
    fs::remove_file(&executors).unwrap();
    scheduler.run(sh("r.3.1", "true"), TaskState::Finished).await;
    assert_eq!(scheduler.states("r.2.1"), ["TASK_FAILED"]);
}

#[tokio::test]
async fn of_many_starters_one_starts() {
    let directory = Home::new();
    let options = options(directory.path());
    let connections: Vec<_> = std::thread::scope(|scope| {
        let start = || borges::local::start(&options, Path::new(env!("CARGO_BIN_EXE_borges"))).unwrap();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut scheduler = Scheduler::open(options).await;
    scheduler.run(sh("r.1.1", "true"), TaskState::Finished).await;
    assert_eq!(agent_processes(directory.path()).len(), 2, "a reaper and an agent");
    drop(connections);
}

#[tokio::test]
async fn a_client_that_talks_nonsense_harms_no_other() {
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
        let event = borges::mesos::messages::scheduler::Event::decode(&answer[text..]).unwrap();
        assert!(matches!(Event::try_from(event), Ok(Event::Error(_))));
    }
    scheduler.until("r.1.1", TaskState::Finished).await;
}

#[tokio::test]
async fn teardown_ends_everything_and_burns_the_id() {
    let directory = Home::new();
    let mut scheduler = Scheduler::open(options(directory.path())).await;
    scheduler.launch(vec![sh("r.1.1", "echo $$; sleep 1000")]).await;
    let stdout = scheduler.sandbox("r.1.1").join("block/stdout");
    wait_for("the block runs", || fs::read_to_string(&stdout).is_ok_and(|text| text.ends_with('\n'))).await;
    scheduler.call(calls::teardown(&scheduler.framework.clone())).await;
    while let Some(event) = scheduler.event().await {
        assert!(!matches!(event, Event::Error(_)), "{event:?}");
    }
    let pid = fs::read_to_string(&stdout).unwrap();
    wait_for("the block has ended", || !runs(pid.trim())).await;
    let id = Some(FrameworkId { value: scheduler.framework.clone() });
    let info = FrameworkInfo { user: "u".into(), name: "test".into(), id, ..FrameworkInfo::default() };
    scheduler.events = Some(scheduler.client.subscribe(calls::subscribe(info, vec![])).await.unwrap());
    assert_eq!(scheduler.event().await, Some(Event::Error("Framework has been removed".into())));
}

fn kill(process: u32) {
    signal::kill(pid(process), Signal::SIGKILL).unwrap();
}

fn pid(process: u32) -> Pid {
    Pid::from_raw(process.try_into().unwrap())
}

//! The files, environment, limits and ends of blocks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use borges_embedded::{AGENT_ID, AgentOptions};
use borges_mesos::events::TaskState;
use borges_mesos::messages::task_status::Reason as R;
use borges_mesos::messages::{CommandInfo, Environment, Label, Labels, TaskInfo, environment::Variable};
use borges_mesos::payload::{PayloadFile, TaskPayload};
use borges_mesos::task_info::DIRECTORY_LABEL;
use borges_mesos::{SandboxError, calls};
use support::poll::{DEADLINE, poll_until_async};

use super::scheduler::{HANGS, Scheduler, options, reason, runs, sh, throw_away};

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

#[tokio::test]
async fn output_and_exit_code_are_kept() {
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
async fn signal_deaths_are_reported_as_by_mesos() {
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
async fn failed_start_has_a_reason() {
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
async fn block_has_only_the_given_environment() {
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
async fn large_body_is_found_from_any_directory() {
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
async fn placed_files_are_in_the_sandbox_and_on_stdin() {
    let (directory, options) = throw_away();
    let mut scheduler = Scheduler::open(options).await;
    let sent = |id: &str, body: &str, path: &str, mode, content: &str| {
        let mut parcel = TaskPayload::body(body.to_owned());
        let content = content.as_bytes().to_vec().into();
        parcel.files.push(PayloadFile { path: path.into(), mode, content });
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
async fn kill_sends_sigterm_and_then_sigkill() {
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
        poll_until_async(DEADLINE, "the block is ready", async || {
            fs::read_to_string(&stdout).is_ok_and(|text| text == "ready\n")
        })
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
async fn completion_time_limit_ends_the_block() {
    let (_directory, options) = throw_away();
    let mut scheduler = Scheduler::open(options).await;
    let limit = Some(calls::duration(Duration::from_millis(20)));
    let task = TaskInfo { max_completion_time: limit, ..sh("r.1.1", "sleep 1000") };
    let end = scheduler.run(task, TaskState::Failed).await;
    assert_eq!(reason(&end), Some(R::MaxCompletionTimeReached));
    assert_eq!(scheduler.read("r.1.1", "block/exit").await.unwrap(), "137\n");
}

#[tokio::test]
async fn leftover_processes_of_the_group_are_killed() {
    let (_directory, options) = throw_away();
    let mut scheduler = Scheduler::open(options).await;
    scheduler.run(sh("r.1.1", "sleep 1000 & echo $!"), TaskState::Finished).await;
    let left = scheduler.read("r.1.1", "block/stdout").await.unwrap();
    poll_until_async(DEADLINE, "the rest has ended", async || !runs(left.trim())).await;
}

#[tokio::test]
async fn long_state_directory_path_works() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("d".repeat(120));
    let options = AgentOptions { end_with_client: true, ..options(&deep) };
    let mut scheduler = Scheduler::open(options).await;
    scheduler.run(sh("r.1.1", "true"), TaskState::Finished).await;
}

#[tokio::test]
async fn system_errors_are_reported() {
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

//! The examples in the README of the original Borges: its first document, its three blocks around Redis, and its
//! commands. The other files of this folder are as that README prints them.

mod curl_uploads;

use std::fs;
use std::io::{BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::docker::Daemon;
use support::features::Feature;
use support::namespaces::NetworkNamespace;
use support::poll::{DEADLINE, poll_until};
use support::program;
use support::server::{TestServer, free_port};
use support::websocket::WebsocketClient;
use tempfile::TempDir;

const FOREVER: &str = include_str!("org-file.org");
const REDIS: &str = include_str!("redis.sh");
const SETUPFILE: &str = include_str!("borges-config.org");

/// The standard output of a shell that runs `line`, with these words before it.
fn shell_output(within: &[&str], line: &str, directory: &Path) -> String {
    let output = Command::new(within[0])
        .args(&within[1..])
        .args(["sh", "-c", line])
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The first command deletes every newline. The answer says so, and names the command that does not.
#[test]
#[ignore = "needs root"]
fn one_line_upload_is_answered_with_a_working_command() {
    if Feature::NetworkNamespaces.is_absent() {
        return;
    }
    let network = NetworkNamespace::new();
    let server = TestServer::start_in(&network.prefix(), "");
    assert_eq!(server.address, "127.0.0.1:8888");
    fs::write(server.path("org-file.org"), FOREVER).unwrap();
    let line = "curl -X POST -d@org-file.org 127.0.0.1:8888/org";
    let said = shell_output(&network.prefix(), line, &server.path("."));
    assert_eq!(
        said,
        "This document arrived on one line: curl -d @FILE (or -d@FILE) deletes every newline.\n\
         Send it with:   curl -X POST --data-binary @FILE http://127.0.0.1:8888/org\n\
         No block was scheduled.\n"
    );
    assert_eq!(server.curl(&[], "/org").1, "");
    let better = said.lines().nth(1).unwrap().strip_prefix("Send it with:").unwrap();
    let said = shell_output(&network.prefix(), &better.replace("FILE", "org-file.org"), &server.path("."));
    assert!(said.starts_with("Scheduled 1 code blocks for execution\n"), "{said}");
}

/// A command whose output is read while it runs. It is killed when this is dropped.
struct StreamingCommand {
    command: Child,
    heard: Receiver<u8>,
    text: String,
}

impl StreamingCommand {
    /// Starts the command; its output is appended to `text`.
    fn start(text: String, command: &mut Command) -> Self {
        let mut command =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(command.stdout.take().unwrap());
        let (to, heard) = mpsc::channel();
        std::thread::spawn(move || output.bytes().map_while(Result::ok).try_for_each(|byte| to.send(byte)));
        Self { command, heard, text }
    }

    /// Reads until there are so many lines.
    fn lines(&mut self, count: usize) {
        while self.text.matches('\n').count() < count {
            let byte = self.heard.recv_timeout(DEADLINE).expect("there is more to hear");
            self.text.push(char::from(byte));
        }
    }

    /// Reads until the command ends; its exit code.
    fn end(&mut self) -> Option<i32> {
        loop {
            match self.heard.recv_timeout(DEADLINE) {
                Ok(byte) => self.text.push(char::from(byte)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the command does not end: {}", self.text),
            }
        }
        self.command.wait().unwrap().code()
    }
}

impl Drop for StreamingCommand {
    fn drop(&mut self) {
        let _ = self.command.kill();
        let _ = self.command.wait();
    }
}

/// The first lines of output of the endless block.
fn endless_output(lines: usize) -> String {
    format!("Started running\n{}", "Still running...\n".repeat(lines - 1))
}

/// A block is followed in three ways while its server is stopped, killed and restarted. It runs on until a request kills
/// it, and each follower gets its whole output once.
#[test]
#[ignore = "needs Python packages: integration/check python"]
fn endless_block_is_followed_across_restarts() {
    let port = free_port();
    let mut server = TestServer::with_setupfile(&format!("#+borges_port: {port}\n"));
    let run = server.submit(FOREVER);
    let task = format!("{run}.1");
    let url = format!("http://{}", server.address);
    let mut logs = StreamingCommand::start(
        String::new(),
        Command::new(program::path()).args(["logs", &task, "--follow", "--server", &url]),
    );
    let curl = |text: String| {
        let route = format!("{url}/tasks/{task}/stdout?follow=1&offset={}", text.len());
        StreamingCommand::start(text, Command::new("curl").args(["-sN", &route]))
    };
    let mut followed = curl(String::new());
    let mut listener = WebsocketClient::start(&server, "?output=1&since=0");
    let mut frames: Vec<Value> = Vec::new();
    let hear = |listener: &WebsocketClient, frames: &mut Vec<Value>, lines: usize| {
        while stdout_of(frames).matches('\n').count() < lines {
            frames.push(listener.next());
        }
    };
    for (lines, signal) in [(3, Signal::SIGTERM), (5, Signal::SIGKILL)] {
        logs.lines(lines);
        followed.lines(lines);
        hear(&listener, &mut frames, lines);
        server.stop(signal);
        followed.end();
        server.restart();
        followed = curl(followed.text.clone());
        let last = frames.iter().filter_map(|frame| frame["seq"].as_u64()).max().unwrap();
        listener = WebsocketClient::start(&server, &format!("?output=1&since={last}"));
        assert!(server.wait_for_state(&task, "running").contains("launch 1"));
    }
    logs.lines(7);
    followed.lines(7);
    hear(&listener, &mut frames, 7);
    assert_eq!(server.curl(&["-X", "DELETE"], &format!("/tasks/{task}")).0, 200);
    assert!(server.wait_for_state(&task, "killed").contains("exit code 143"));
    let whole = server.curl(&[], &format!("/tasks/{task}/stdout")).1;
    assert_eq!(whole, endless_output(whole.lines().count()));
    // All three have heard all of it, once.
    assert_eq!((logs.end(), followed.end()), (Some(1), Some(0)));
    frames.extend(listener.until(|frame| frame["state"] == "killed"));
    assert_eq!([&logs.text, &followed.text, &stdout_of(&frames)], [&whole; 3]);
    let mut numbers: Vec<u64> = frames.iter().filter_map(|frame| frame["seq"].as_u64()).collect();
    numbers.dedup();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

/// Standard output, composed of output frames by their offsets.
fn stdout_of(frames: &[Value]) -> String {
    let mut text = String::new();
    for frame in frames.iter().filter(|frame| frame["stream"] == "stdout") {
        let at = usize::try_from(frame["offset"].as_u64().unwrap()).unwrap();
        assert!(at <= text.len(), "a gap before {frame}");
        text.replace_range(at.., "");
        text.push_str(frame["text"].as_str().unwrap());
    }
    text
}

/// The second command, as printed, on a machine that has the address, with the printed setupfile. Two blocks run in
/// containers, one does not, and all three connect to each other.
#[test]
#[ignore = "needs root, Docker and Redis"]
fn redis_example_runs_as_printed() {
    if Feature::NetworkNamespaces.is_absent() {
        return;
    }
    if Feature::Mounts.is_absent() {
        return;
    }
    let daemon = Daemon::start();
    daemon.import("redis", &["redis-server"]);
    let network = format!("--net=/proc/{}/ns/net", daemon.network_holder());
    let address = Command::new("nsenter")
        .args([&network, "ip", "address", "add", "192.168.0.7/32", "dev", "lo"])
        .status()
        .unwrap();
    assert!(address.success());
    // Debian's own kinds of `nc` wait for the other side to end; the document wants one that does not.
    let bin = TempDir::new().unwrap();
    fs::write(bin.path().join("nc"), "#!/bin/sh\nexec busybox nc \"$@\"\n").unwrap();
    fs::set_permissions(bin.path().join("nc"), PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("PATH={}:{}", bin.path().display(), std::env::var("PATH").unwrap());
    let host = format!("DOCKER_HOST={}", daemon.host());
    let server = TestServer::start_in(
        &["nsenter", &network, "env", &host, &path, "BORGES_MESOS_MASTER=local"],
        SETUPFILE,
    );
    assert_eq!(server.address, "192.168.0.7:8888");

    #[expect(clippy::disallowed_methods, reason = "what `date` in the document prints is compared with it")]
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let began = now();
    // Without `2>&1`, which adds curl's progress to the output.
    let said = shell_output(
        &["nsenter", &network],
        REDIS.trim_end().strip_suffix("2>&1").unwrap(),
        &server.path("."),
    );
    assert!(said.starts_with("Scheduled 3 code blocks for execution\n"), "{said}");
    let run = said.lines().find_map(|line| line.strip_prefix("run ")).unwrap().to_owned();
    for task in 1..=3 {
        server.wait_for_state(&format!("{run}.{task}"), "running");
    }
    let mut containers = daemon.containers();
    containers.sort();
    assert_eq!(containers, [format!("borges-{run}.1.1 running"), format!("borges-{run}.3.1 running")]);
    // Each new value was set after the last one, and within the time of the test.
    let mut seen: Vec<u64> = vec![began];
    let output = format!("/tasks/{run}.3/stdout");
    poll_until(DEADLINE, "three different timestamps", || {
        let text = server.curl(&[], &output).1;
        // The last line may be incomplete.
        let lines = text.rsplit_once('\n').map_or("", |(lines, _)| lines).lines();
        let last = lines.rev().find_map(|line| line.trim().parse::<u64>().ok());
        if let Some(last) = last.filter(|last| seen.last() != Some(last)) {
            let now = now();
            assert!(seen.last() < Some(&last) && last <= now, "{seen:?}, then {last} at {now}");
            seen.push(last);
        }
        if seen.len() > 3 { Ok(()) } else { Err(seen.clone()) }
    });
    assert!(server.curl(&[], &output).1.starts_with("Current value in Redis:\n"));
    assert_eq!(server.curl(&["-X", "DELETE"], &format!("/org/{run}")).0, 200);
    for task in 1..=3 {
        server.wait_for_state(&format!("{run}.{task}"), "killed");
    }
    daemon.wait_until_empty();
    // The example of this project is that document.
    let (_, blocks) = REDIS.split_once("#+name").unwrap();
    let (blocks, _) = blocks.rsplit_once("\n\n'").unwrap();
    assert!(include_str!("../../examples/redis.org").contains(blocks));
}

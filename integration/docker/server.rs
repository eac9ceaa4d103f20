//! A server whose agent talks to a Docker daemon.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::docker::processes;
use support::poll::{DEADLINE, poll_until};

/// A server on the embedded cluster, with four cpus.
pub(crate) struct DockerTestServer(support::server::TestServer);

impl Deref for DockerTestServer {
    type Target = support::server::TestServer;

    fn deref(&self) -> &support::server::TestServer {
        &self.0
    }
}

impl DerefMut for DockerTestServer {
    fn deref_mut(&mut self) -> &mut support::server::TestServer {
        &mut self.0
    }
}

impl DockerTestServer {
    /// A server whose agent uses the daemon at an address.
    pub(crate) fn start(docker_host: &str) -> Self {
        let host = format!("DOCKER_HOST={docker_host}");
        Self(support::server::TestServer::start_in(&["env", &host], "#+borges_port: 0\n#+borges_cpus: 4\n"))
    }

    /// The processes of its agent that have a word in their arguments.
    pub(crate) fn processes(&self, word: &str) -> Vec<i32> {
        let ours = self.path("").to_str().unwrap().to_owned();
        let said = |line: &str| line.contains("agent\0") && line.contains(word) && line.contains(&ours);
        processes().filter(|(_, line)| said(line)).map(|(pid, _)| pid).collect()
    }

    /// Kills these processes, and waits until they have ended.
    pub(crate) fn kill(&self, word: &str) {
        let found = self.processes(word);
        assert!(!found.is_empty(), "no process of `{word}`");
        for pid in &found {
            kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
        }
        poll_until(DEADLINE, "the killed processes have ended", || {
            let left: Vec<i32> = self.processes(word).into_iter().filter(|pid| found.contains(pid)).collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
    }

    pub(crate) fn task(&self, task: &str) -> Value {
        let (status, text) = self.curl(&["-H", "Accept: application/json"], &format!("/tasks/{task}"));
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until the task is in `state`; the task as the server shows it.
    pub(crate) fn wait_for_state(&self, task: &str, state: &str) -> Value {
        poll_until(DEADLINE, &format!("{task} is {state}"), || {
            let known = self.task(task);
            if known["state"] == state {
                return Ok(known);
            }
            let over = ["finished", "failed", "killed", "skipped"].iter().any(|it| known["state"] == *it);
            assert!(!over, "never {state}: {known}");
            Err(known)
        })
    }

    pub(crate) fn output(&self, task: &str, stream: &str) -> Vec<u8> {
        self.curl_bytes(&[], &format!("/tasks/{task}/{stream}")).1
    }

    /// Waits until the standard output of a task satisfies a condition; that output.
    pub(crate) fn wait_for_output(&self, task: &str, enough: impl Fn(&str) -> bool) -> String {
        poll_until(DEADLINE, "enough output", || {
            let text = String::from_utf8_lossy(&self.output(task, "stdout")).into_owned();
            if enough(&text) { Ok(text) } else { Err(text) }
        })
    }

    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.path("state")
    }
}

//! A server whose agent talks to a Docker daemon.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::docker::processes;

/// A server with a state directory of its own.
pub(crate) struct Served(support::server::Served);

impl Deref for Served {
    type Target = support::server::Served;

    fn deref(&self) -> &support::server::Served {
        &self.0
    }
}

impl DerefMut for Served {
    fn deref_mut(&mut self) -> &mut support::server::Served {
        &mut self.0
    }
}

impl Served {
    pub(crate) fn start(docker_host: &str) -> Self {
        let host = format!("DOCKER_HOST={docker_host}");
        Self(support::server::Served::within(&["env", &host], "#+borges_port: 0\n#+borges_cpus: 4\n"))
    }

    /// The processes of its agent, by a word of their arguments.
    pub(crate) fn processes(&self, word: &str) -> Vec<i32> {
        let ours = self.path("").to_str().unwrap().to_owned();
        let said = |line: &str| line.contains("agent\0") && line.contains(word) && line.contains(&ours);
        processes().filter(|(_, line)| said(line)).map(|(pid, _)| pid).collect()
    }

    /// Kills those processes, and waits until they are gone.
    pub(crate) fn kill(&self, word: &str) {
        let found = self.processes(word);
        assert!(!found.is_empty(), "no process of `{word}`");
        for pid in &found {
            kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
        }
        wait_for("the killed are gone", || self.processes(word).iter().all(|pid| !found.contains(pid)));
    }

    pub(crate) fn task(&self, task: &str) -> Value {
        let (status, text) = self.curl(&["-H", "Accept: application/json"], &format!("/tasks/{task}"));
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until the task is in `state`; all that is known of it.
    pub(crate) fn wait_for(&self, task: &str, state: &str) -> Value {
        for _ in 0..1200 {
            let known = self.task(task);
            if known["state"] == state {
                return known;
            }
            let over = ["finished", "failed", "killed", "skipped"].iter().any(|it| known["state"] == *it);
            assert!(!over, "never {state}: {known}");
            sleep(Duration::from_millis(50));
        }
        panic!("{task} was never {state}: {}", self.task(task));
    }

    pub(crate) fn output(&self, task: &str, stream: &str) -> Vec<u8> {
        self.bytes(&[], &format!("/tasks/{task}/{stream}")).1
    }

    /// Waits until the task has written this much to its stdout.
    pub(crate) fn wait_for_output(&self, task: &str, enough: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        wait_for("enough output", || {
            text = String::from_utf8_lossy(&self.output(task, "stdout")).into_owned();
            enough(&text)
        });
        text
    }

    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.path("state")
    }
}

/// Waits until something that no event tells of has come about.
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if done() {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("never: {what}");
}

//! Borges on a real Apache Mesos: master and agents of release 1.11.0, real kills.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod cluster;
mod crashes;
#[path = "../docker/daemon.rs"]
mod daemon;
mod docker;
mod documents;
mod fake;
mod handed;
mod judge;
mod kills;
mod masters;
mod mutants;
mod output;
mod placement;
#[path = "../program.rs"]
mod program;
#[path = "../recorder/record.rs"]
mod record;
mod recorded;
mod scripts;
#[path = "../served/mod.rs"]
mod served;
mod zookeeper;

use serde_json::Value;
use served::Served;

/// A server on the masters at an address.
fn on(masters: &str) -> Served {
    Served::with(&format!("#+mesos_master: {masters}\n"))
}

/// A task, as it is shown now.
fn shown(served: &Served, task: &str) -> Value {
    let (status, text) = served.curl(&["-H", "Accept: application/json"], &format!("/tasks/{task}"));
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Waits until a task is in a state; how it is shown then.
fn wait_until(served: &Served, task: &str, state: &str) -> Value {
    let mut last = Value::Null;
    cluster::wait_for(&format!("{task} is {state}"), || {
        last = shown(served, task);
        last["state"] == state
    });
    last
}

/// What a task has written.
fn stdout(served: &Served, task: &str) -> Vec<u8> {
    served.bytes(&[], &format!("/tasks/{task}/stdout")).1
}

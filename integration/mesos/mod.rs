//! Borges on a real Apache Mesos: master and agents of release 1.11.0, real kills.

mod agent_failures;
mod containers;
mod master_failover;
mod mutants;
mod output;
mod parity;
mod placement;
mod protocol_checker;
mod scheduler_crashes;
mod scripted_master;
mod scripted_tests;
mod trace_parity;
mod value_passing;
mod zookeeper;

use serde_json::Value;
use support::poll::{DEADLINE, poll_until};
use support::server::Served;

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
    poll_until(DEADLINE, &format!("{task} is {state}"), || match shown(served, task) {
        task if task["state"] == state => Ok(task),
        task => Err(task),
    })
}

/// What a task has written.
fn stdout(served: &Served, task: &str) -> Vec<u8> {
    served.bytes(&[], &format!("/tasks/{task}/stdout")).1
}

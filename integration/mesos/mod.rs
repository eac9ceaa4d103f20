//! Borges on Apache Mesos 1.11.0, with a real master and agents, and on a scripted master.

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
use support::server::TestServer;

/// A server that uses the masters at an address.
fn server_on(masters: &str) -> TestServer {
    TestServer::with_setupfile(&format!("#+mesos_master: {masters}\n"))
}

/// A task as the server shows it now.
fn task_shown(server: &TestServer, task: &str) -> Value {
    let (status, text) = server.curl(&["-H", "Accept: application/json"], &format!("/tasks/{task}"));
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Waits until a task is in a state; the task as the server shows it then.
fn wait_until(server: &TestServer, task: &str, state: &str) -> Value {
    poll_until(DEADLINE, &format!("{task} is {state}"), || match task_shown(server, task) {
        task if task["state"] == state => Ok(task),
        task => Err(task),
    })
}

/// The standard output of a task.
fn stdout(server: &TestServer, task: &str) -> Vec<u8> {
    server.curl_bytes(&[], &format!("/tasks/{task}/stdout")).1
}

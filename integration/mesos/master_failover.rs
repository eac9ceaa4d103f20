//! Masters that are killed, hang, refuse or tear down, and the messages about them.

use std::fs;

use borges_clock::Clock;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{server_on, stdout, task_shown, wait_until};
use support::mesos::{Mesos, ask};
use support::poll::{DEADLINE, poll_until};
use support::server::{TestServer, free_port};

const WAITS: &str =
    "#+begin_src sh\necho up; while [ ! -e \"$MESOS_SANDBOX/go\" ]; do sleep 0.05; done\n#+end_src\n";
const TRUE: &str = "#+begin_src sh\ntrue\n#+end_src\n";

fn cluster(server: &TestServer) -> Value {
    let (status, text) = server.curl(&[], "/varz");
    assert_eq!(status, 200, "{text}");
    serde_json::from_str::<Value>(&text).unwrap()["cluster"].clone()
}

/// Submits a block, and waits until it runs; its task.
fn submit_running(server: &TestServer) -> String {
    let task = format!("{}.1", server.submit(WAITS));
    wait_until(server, &task, "running");
    poll_until(DEADLINE, "the block has written `up`", || stdout(server, &task) == b"up\n");
    task
}

fn open_gate(mesos: &Mesos, task: &str) {
    fs::write(super::output::sandbox(mesos, &format!("{task}.1")).join("go"), "").unwrap();
}

fn check_first_launch_finishes(server: &TestServer, task: &str) {
    let end = wait_until(server, task, "finished");
    assert_eq!(end["attempt"], 1, "{end}");
}

#[test]
#[ignore = "needs Mesos"]
fn scheduler_resubscribes_after_a_master_kill() {
    let mut mesos = Mesos::start();
    let server = server_on(&mesos.master.address);
    let task = submit_running(&server);
    let framework = cluster(&server)["framework"].clone();
    mesos.master.end(Signal::SIGKILL);
    poll_until(DEADLINE, "the server notices it", || cluster(&server)["connected"] == false);
    // What waits says why.
    let waiting = format!("{}.1", server.submit(TRUE));
    poll_until(DEADLINE, "the reason names the master", || {
        let reason = task_shown(&server, &waiting)["reason"].as_str().unwrap_or_default().to_owned();
        reason.contains("cannot be reached")
    });
    mesos.master.start();
    poll_until(DEADLINE, "the scheduler is subscribed again", || cluster(&server)["connected"] == true);
    assert_eq!(cluster(&server)["framework"], framework);
    mesos.wait_for_agents(2);
    check_first_launch_finishes(&server, &waiting);
    open_gate(&mesos, &task);
    check_first_launch_finishes(&server, &task);
}

#[test]
#[ignore = "needs Mesos"]
fn silent_master_is_noticed() {
    let mesos = Mesos::start();
    let server = server_on(&mesos.master.address);
    let task = submit_running(&server);
    mesos.master.signal(Signal::SIGSTOP);
    // Three beats of 15 s, and what a look each second adds.
    let clock = Clock::system();
    poll_until(DEADLINE, "the server notices it", || cluster(&server)["connected"] == false);
    assert!(clock.elapsed().as_secs() >= 25, "{:?}", clock.elapsed());
    assert!(cluster(&server)["trouble"].as_str().unwrap().contains("said nothing"));
    mesos.master.signal(Signal::SIGCONT);
    poll_until(DEADLINE, "the scheduler is subscribed again", || cluster(&server)["connected"] == true);
    open_gate(&mesos, &task);
    check_first_launch_finishes(&server, &task);
}

#[test]
#[ignore = "needs Mesos"]
fn younger_scheduler_of_a_framework_wins() {
    let mesos = Mesos::start();
    let mut elder = server_on(&mesos.master.address);
    let task = submit_running(&elder);
    let mut younger = server_on(&mesos.master.address);
    younger.stop(Signal::SIGTERM);
    fs::copy(elder.path("state/store.redb"), younger.path("state/store.redb")).unwrap();
    younger.restart();
    assert_eq!(elder.wait_for_exit(), Some(2));
    let log = elder.log();
    assert!(log.contains("another Borges has subscribed with the same framework id"), "{log}");
    open_gate(&mesos, &task);
    check_first_launch_finishes(&younger, &task);
}

#[test]
#[ignore = "needs Mesos"]
fn torn_down_framework_stops_the_server() {
    let mesos = Mesos::start();
    let mut server = server_on(&mesos.master.address);
    let task = submit_running(&server);
    let framework = cluster(&server)["framework"].as_str().unwrap().to_owned();
    let teardown = json!({"type": "TEARDOWN", "teardown": {"framework_id": {"value": framework}}});
    let (status, said) = ask(&mesos.master.address, "/api/v1", Some(&teardown));
    if status != 202 && status != 200 {
        // The operator's route, where version 1 has no such call.
        let (status, said) = ask_form(&mesos.master.address, &framework);
        assert_eq!(status, 200, "{said}");
    }
    drop(said);
    assert_eq!(server.wait_for_exit(), Some(2));
    assert!(server.log().contains("--new-framework"), "{}", server.log());
    // Started again it does not take another id of its own will.
    server.restart();
    assert_eq!(server.wait_for_exit(), Some(2));
    server.arguments.push("--new-framework".to_owned());
    server.restart();
    poll_until(DEADLINE, "the task is launched again", || {
        let task = task_shown(&server, &task);
        task["state"] == "running" && task["attempt"] == 2
    });
    assert_ne!(cluster(&server)["framework"], framework.as_str());
}

#[test]
#[ignore = "needs Mesos"]
fn leader_is_found_in_a_list_of_masters() {
    let directory = tempfile::TempDir::new().unwrap();
    let credentials = directory.path().join("credentials");
    let known = json!({"credentials": [{"principal": "borges", "secret": "secret"}]});
    fs::write(&credentials, known.to_string()).unwrap();
    let flag = format!("--credentials={}", credentials.display());
    let flags = ["--authenticate_http_frameworks", "--http_framework_authenticators=basic", &flag];
    let mut mesos = Mesos::with(&flags);
    mesos.add_agent(&[]);
    // A master that does not exist, and one that does not lead and names the leader.
    let standby = mesos.add_standby();
    let secret = directory.path().join("secret");
    fs::write(&secret, "secret\n").unwrap();
    let server = TestServer::with_setupfile(&format!(
        "#+mesos_master: 127.0.0.1:{},{standby}\n#+borges_principal: borges\n#+borges_secret_file: {}\n",
        free_port(),
        secret.display()
    ));
    check_first_launch_finishes(&server, &format!("{}.1", server.submit(TRUE)));
}

fn ask_form(address: &str, framework: &str) -> (u16, String) {
    let output = std::process::Command::new("curl")
        .args(["-s", "-w", "\n%{http_code}", "-d", &format!("frameworkId={framework}")])
        .arg(format!("http://{address}/master/teardown"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// Waits until the log, `/varz` and the reason of every waiting task contain the words.
fn wait_for_error(server: &TestServer, words: &str) {
    let runs = [server.submit(TRUE), server.submit(&TRUE.repeat(3))];
    let tasks =
        [(0, 1), (1, 1), (1, 2), (1, 3)].map(|(run, number): (usize, u32)| format!("{}.{number}", runs[run]));
    poll_until(DEADLINE, &format!("`{words}` is shown"), || {
        let is_told =
            |task: &String| task_shown(server, task)["reason"].as_str().unwrap_or_default().contains(words);
        tasks.iter().all(is_told) && server.log().contains(words)
    });
    let cluster = cluster(server);
    assert!(cluster["trouble"].as_str().unwrap_or_default().contains(words), "{cluster}");
    assert_eq!(number(server, "borges_cluster_connected"), Some(0.0));
}

/// A metric, by its name in `/metrics`.
fn number(server: &TestServer, name: &str) -> Option<f64> {
    let (_, text) = server.curl(&[], "/metrics");
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
#[ignore = "needs Mesos"]
fn cluster_errors_are_shown() {
    // No master listens on this port.
    let address = format!("127.0.0.1:{}", free_port());
    let server = server_on(&address);
    wait_for_error(&server, &format!("`{address}` cannot be reached"));

    // A name that the master does not know; then one that it does.
    let secrets = tempfile::TempDir::new().unwrap();
    let credentials = secrets.path().join("credentials");
    let known = json!({"credentials": [{"principal": "borges", "secret": "secret"}]});
    fs::write(&credentials, known.to_string()).unwrap();
    let flag = format!("--credentials={}", credentials.display());
    let flags = ["--authenticate_http_frameworks", "--http_framework_authenticators=basic", &flag];
    let mut mesos = Mesos::with(&flags);
    mesos.add_agent(&[]);
    let secret = secrets.path().join("secret");
    fs::write(&secret, "secret\n").unwrap();
    let named = |principal: &str| {
        TestServer::with_setupfile(&format!(
            "#+mesos_master: {}\n#+borges_principal: {principal}\n#+borges_secret_file: {}\n",
            mesos.master.address,
            secret.display()
        ))
    };
    let server = named("stranger");
    wait_for_error(&server, "does not know this principal and secret");
    let server = named("borges");
    check_first_launch_finishes(&server, &format!("{}.1", server.submit(TRUE)));

    // A role that the master does not have.
    let mut mesos = Mesos::with(&["--roles=analysts"]);
    let role = |role: &str| {
        TestServer::with_setupfile(&format!(
            "#+mesos_master: {}\n#+borges_role: {role}\n",
            mesos.master.address
        ))
    };
    let server = role("painters");
    wait_for_error(&server, "painters");

    // A role that is good, and gets nothing: there is no agent.
    let server = role("analysts");
    let tasks = [1, 2].map(|_| format!("{}.1", server.submit(TRUE)));
    let words = "no offers for role `analysts` since";
    poll_until(DEADLINE, "the error is shown everywhere", || {
        let is_told =
            |task: &String| task_shown(&server, task)["reason"].as_str().unwrap_or_default().contains(words);
        let varz = cluster(&server)["no_offers"].as_str().unwrap_or_default().contains(words);
        tasks.iter().all(is_told) && varz && server.log().contains(words)
    });
    assert_eq!(number(&server, "borges_cluster_connected"), Some(1.0));
    assert!(number(&server, "borges_offers_awaited_seconds").is_some_and(|seconds| seconds >= 10.0));
    mesos.add_agent(&[]);
    for task in &tasks {
        check_first_launch_finishes(&server, task);
    }
    assert_eq!(cluster(&server)["no_offers"], serde_json::Value::Null);
    assert_eq!(number(&server, "borges_offers_awaited_seconds"), Some(0.0));
    assert_eq!(server.log().matches(words).count(), 1, "once is enough");
}

//! Masters that die, hang, move or refuse; and what a person reads then.

use std::fs;

use borges_clock::Clock;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{on, shown, stdout, wait_until};
use support::mesos::{Mesos, ask, free_port};
use support::poll::{DEADLINE, poll_until};
use support::server::Served;

const WAITS: &str =
    "#+begin_src sh\necho up; while [ ! -e \"$MESOS_SANDBOX/go\" ]; do sleep 0.05; done\n#+end_src\n";
const TRUE: &str = "#+begin_src sh\ntrue\n#+end_src\n";

fn cluster(served: &Served) -> Value {
    let (status, text) = served.curl(&[], "/varz");
    assert_eq!(status, 200, "{text}");
    serde_json::from_str::<Value>(&text).unwrap()["cluster"].clone()
}

/// A block that runs.
fn running(served: &Served) -> String {
    let task = format!("{}.1", served.submit(WAITS));
    wait_until(served, &task, "running");
    poll_until(DEADLINE, "it is up", || stdout(served, &task) == b"up\n");
    task
}

fn let_go(mesos: &Mesos, task: &str) {
    fs::write(super::output::sandbox(mesos, &format!("{task}.1")).join("go"), "").unwrap();
}

fn ends_well(served: &Served, task: &str) {
    let end = wait_until(served, task, "finished");
    assert_eq!(end["attempt"], 1, "{end}");
}

#[test]
#[ignore = "needs Mesos"]
fn a_master_is_killed_and_started_again() {
    let mut mesos = Mesos::start();
    let served = on(&mesos.master.address);
    let task = running(&served);
    let framework = cluster(&served)["framework"].clone();
    mesos.master.end(Signal::SIGKILL);
    poll_until(DEADLINE, "it is noticed", || cluster(&served)["connected"] == false);
    // What waits says why.
    let waiting = format!("{}.1", served.submit(TRUE));
    poll_until(DEADLINE, "the reason is told", || {
        let reason = shown(&served, &waiting)["reason"].as_str().unwrap_or_default().to_owned();
        reason.contains("cannot be reached")
    });
    mesos.master.start();
    poll_until(DEADLINE, "it is subscribed again", || cluster(&served)["connected"] == true);
    assert_eq!(cluster(&served)["framework"], framework);
    mesos.wait_for_agents(2);
    ends_well(&served, &waiting);
    let_go(&mesos, &task);
    ends_well(&served, &task);
}

#[test]
#[ignore = "needs Mesos"]
fn a_master_hangs() {
    let mesos = Mesos::start();
    let served = on(&mesos.master.address);
    let task = running(&served);
    mesos.master.signal(Signal::SIGSTOP);
    // Three beats of 15 s, and what a look each second adds.
    let clock = Clock::system();
    poll_until(DEADLINE, "it is noticed", || cluster(&served)["connected"] == false);
    assert!(clock.elapsed().as_secs() >= 25, "{:?}", clock.elapsed());
    assert!(cluster(&served)["trouble"].as_str().unwrap().contains("said nothing"));
    mesos.master.signal(Signal::SIGCONT);
    poll_until(DEADLINE, "it is subscribed again", || cluster(&served)["connected"] == true);
    let_go(&mesos, &task);
    ends_well(&served, &task);
}

#[test]
#[ignore = "needs Mesos"]
fn the_younger_of_two_wins() {
    let mesos = Mesos::start();
    let mut elder = on(&mesos.master.address);
    let task = running(&elder);
    let mut younger = on(&mesos.master.address);
    younger.signal(Signal::SIGTERM);
    fs::copy(elder.path("state/store.redb"), younger.path("state/store.redb")).unwrap();
    younger.run();
    assert_eq!(elder.ended(), Some(2));
    let log = elder.log();
    assert!(log.contains("another Borges has subscribed with the same framework id"), "{log}");
    let_go(&mesos, &task);
    ends_well(&younger, &task);
}

#[test]
#[ignore = "needs Mesos"]
fn a_framework_is_torn_down() {
    let mesos = Mesos::start();
    let mut served = on(&mesos.master.address);
    let task = running(&served);
    let framework = cluster(&served)["framework"].as_str().unwrap().to_owned();
    let teardown = json!({"type": "TEARDOWN", "teardown": {"framework_id": {"value": framework}}});
    let (status, said) = ask(&mesos.master.address, "/api/v1", Some(&teardown));
    if status != 202 && status != 200 {
        // The operator's route, where version 1 has no such call.
        let (status, said) = ask_form(&mesos.master.address, &framework);
        assert_eq!(status, 200, "{said}");
    }
    drop(said);
    assert_eq!(served.ended(), Some(2));
    assert!(served.log().contains("--new-framework"), "{}", served.log());
    // Started again it does not take another id of its own will.
    served.run();
    assert_eq!(served.ended(), Some(2));
    served.arguments.push("--new-framework".to_owned());
    served.run();
    poll_until(DEADLINE, "it is launched again", || {
        let task = shown(&served, &task);
        task["state"] == "running" && task["attempt"] == 2
    });
    assert_ne!(cluster(&served)["framework"], framework.as_str());
}

#[test]
#[ignore = "needs Mesos"]
fn a_list_of_masters() {
    let directory = tempfile::TempDir::new().unwrap();
    let credentials = directory.path().join("credentials");
    let known = json!({"credentials": [{"principal": "borges", "secret": "secret"}]});
    fs::write(&credentials, known.to_string()).unwrap();
    let flag = format!("--credentials={}", credentials.display());
    let flags = ["--authenticate_http_frameworks", "--http_framework_authenticators=basic", &flag];
    let mut mesos = Mesos::with(&flags);
    mesos.add_agent(&[]);
    // One that is not there, and one that does not lead: it knows who does.
    let standby = mesos.add_standby();
    let secret = directory.path().join("secret");
    fs::write(&secret, "secret\n").unwrap();
    let served = Served::with(&format!(
        "#+mesos_master: 127.0.0.1:{},{standby}\n#+borges_principal: borges\n#+borges_secret_file: {}\n",
        free_port(),
        secret.display()
    ));
    ends_well(&served, &format!("{}.1", served.submit(TRUE)));
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

/// What a person reads: in the log, in `/varz`, and as the reason of every task that waits.
fn is_told(served: &Served, words: &str) {
    let runs = [served.submit(TRUE), served.submit(&TRUE.repeat(3))];
    let tasks =
        [(0, 1), (1, 1), (1, 2), (1, 3)].map(|(run, number): (usize, u32)| format!("{}.{number}", runs[run]));
    poll_until(DEADLINE, &format!("`{words}` is told"), || {
        let is_told =
            |task: &String| shown(served, task)["reason"].as_str().unwrap_or_default().contains(words);
        tasks.iter().all(is_told) && served.log().contains(words)
    });
    let cluster = cluster(served);
    assert!(cluster["trouble"].as_str().unwrap_or_default().contains(words), "{cluster}");
    assert_eq!(number(served, "borges_cluster_connected"), Some(0.0));
}

/// One of the numbers for Prometheus.
fn number(served: &Served, name: &str) -> Option<f64> {
    let (_, text) = served.curl(&[], "/metrics");
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
#[ignore = "needs Mesos"]
fn what_is_wrong_with_the_cluster_is_told() {
    // Nobody is there.
    let address = format!("127.0.0.1:{}", free_port());
    let served = on(&address);
    is_told(&served, &format!("`{address}` cannot be reached"));

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
        Served::with(&format!(
            "#+mesos_master: {}\n#+borges_principal: {principal}\n#+borges_secret_file: {}\n",
            mesos.master.address,
            secret.display()
        ))
    };
    let served = named("stranger");
    is_told(&served, "does not know this principal and secret");
    let served = named("borges");
    ends_well(&served, &format!("{}.1", served.submit(TRUE)));

    // A role that the master does not have.
    let mut mesos = Mesos::with(&["--roles=analysts"]);
    let role = |role: &str| {
        Served::with(&format!("#+mesos_master: {}\n#+borges_role: {role}\n", mesos.master.address))
    };
    let served = role("painters");
    is_told(&served, "painters");

    // A role that is good, and gets nothing: there is no agent.
    let served = role("analysts");
    let tasks = [1, 2].map(|_| format!("{}.1", served.submit(TRUE)));
    let words = "no offers for role `analysts` since";
    poll_until(DEADLINE, "it is told everywhere", || {
        let is_told =
            |task: &String| shown(&served, task)["reason"].as_str().unwrap_or_default().contains(words);
        let varz = cluster(&served)["no_offers"].as_str().unwrap_or_default().contains(words);
        tasks.iter().all(is_told) && varz && served.log().contains(words)
    });
    assert_eq!(number(&served, "borges_cluster_connected"), Some(1.0));
    assert!(number(&served, "borges_offers_awaited_seconds").is_some_and(|seconds| seconds >= 10.0));
    mesos.add_agent(&[]);
    for task in &tasks {
        ends_well(&served, task);
    }
    assert_eq!(cluster(&served)["no_offers"], serde_json::Value::Null);
    assert_eq!(number(&served, "borges_offers_awaited_seconds"), Some(0.0));
    assert_eq!(served.log().matches(words).count(), 1, "once is enough");
}

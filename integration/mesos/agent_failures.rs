//! Failures of agents and executors, drained agents, and maintenance.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::output::sandbox;
use super::{server_on, stdout, task_shown, wait_until};
use support::mesos::Mesos;
use support::poll::{DEADLINE, poll_until};
use support::server::TestServer;

/// A block that waits for a file in its sandbox, and appends a line to a file at each start.
fn gated_block(header: &str, count: &Path) -> String {
    format!(
        "#+begin_src sh {header}\necho $$ >>{}; echo up\n\
         while [ ! -e \"$MESOS_SANDBOX/go\" ]; do sleep 0.05; done; echo over\n#+end_src\n",
        count.display()
    )
}

/// A cluster, a server, and a running block with the index of its agent.
struct Scene {
    mesos: Mesos,
    server: TestServer,
    task: String,
    agent: usize,
}

impl Scene {
    fn of(header: &str) -> Self {
        let mesos = Mesos::start();
        let server = server_on(&mesos.master.address);
        let run = server.submit(&gated_block(header, &server.path("starts")));
        let task = format!("{run}.1");
        let running = wait_until(&server, &task, "running");
        let agent = mesos.place_of(running["agent"].as_str().unwrap());
        poll_until(DEADLINE, "the block has written `up`", || stdout(&server, &task) == b"up\n");
        Self { mesos, server, task, agent }
    }

    fn open_gate(&self, attempt: u32) {
        let launch = format!("{}.{attempt}", self.task);
        fs::write(sandbox(&self.mesos, &launch).join("go"), "").unwrap();
    }

    /// Checks that the block finishes in the launch with this number, and that it was started so many times.
    fn check_finished(&self, attempt: u32) {
        let end = wait_until(&self.server, &self.task, "finished");
        assert_eq!((&end["attempt"], &end["exit_code"]), (&attempt.into(), &0.into()), "{end}");
        assert_eq!(stdout(&self.server, &self.task), b"up\nover\n");
        let starts = fs::read_to_string(self.server.path("starts")).unwrap();
        assert_eq!(starts.lines().count(), usize::try_from(attempt).unwrap(), "{starts}");
    }
}

#[test]
#[ignore = "needs Mesos"]
fn block_survives_an_agent_that_returns() {
    let mut scene = Scene::of("");
    scene.mesos.agents[scene.agent].end(Signal::SIGKILL);
    let away = wait_until(&scene.server, &scene.task, "unreachable");
    assert_eq!(away["attempt"], 1, "{away}");
    scene.mesos.agents[scene.agent].start();
    wait_until(&scene.server, &scene.task, "running");
    scene.open_gate(1);
    scene.check_finished(1);
}

#[test]
#[ignore = "needs Mesos"]
fn block_survives_an_agent_restart() {
    let mut scene = Scene::of("");
    scene.mesos.agents[scene.agent].end(Signal::SIGKILL);
    scene.mesos.agents[scene.agent].start();
    scene.mesos.wait_for_agents(2);
    scene.open_gate(1);
    scene.check_finished(1);
}

#[test]
#[ignore = "needs Mesos"]
fn end_during_an_agent_outage_is_recovered() {
    let mut scene = Scene::of("");
    scene.mesos.agents[scene.agent].end(Signal::SIGKILL);
    scene.open_gate(1);
    let exit = sandbox(&scene.mesos, &format!("{}.1", scene.task)).join("block/exit");
    poll_until(DEADLINE, "the block has ended", || exit.exists());
    scene.mesos.agents[scene.agent].start();
    scene.check_finished(1);
}

#[test]
#[ignore = "needs Mesos"]
fn block_of_a_gone_agent_is_launched_elsewhere() {
    // By default a block with an unknown end is not launched again, until the operator marks its agent as gone.
    let mut scene = Scene::of("");
    let id = scene.mesos.agent_id(scene.agent);
    scene.mesos.agents[scene.agent].end(Signal::SIGKILL);
    wait_until(&scene.server, &scene.task, "unreachable");
    scene.mesos.order(&json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": id}}}));
    poll_until(DEADLINE, "the task is launched elsewhere", || {
        let task = task_shown(&scene.server, &scene.task);
        task["state"] == "running" && task["attempt"] == 2
    });
    scene.open_gate(2);
    scene.check_finished(2);

    let mut scene = Scene::of(":on-partition replace");
    scene.mesos.agents[scene.agent].end(Signal::SIGKILL);
    poll_until(DEADLINE, "the task is launched elsewhere", || {
        let task = task_shown(&scene.server, &scene.task);
        task["state"] == "running" && task["attempt"] == 2
    });
    scene.open_gate(2);
    scene.check_finished(2);
}

#[test]
#[ignore = "needs Mesos"]
fn block_of_a_drained_agent_is_launched_elsewhere() {
    let scene = Scene::of("");
    let id = scene.mesos.agent_id(scene.agent);
    let drain = json!({"agent_id": {"value": id}, "max_grace_period": {"nanoseconds": 1_000_000_000}});
    scene.mesos.order(&json!({"type": "DRAIN_AGENT", "drain_agent": drain}));
    poll_until(DEADLINE, "the task is launched elsewhere", || {
        let task = task_shown(&scene.server, &scene.task);
        task["state"] == "running" && task["attempt"] == 2
    });
    assert_ne!(task_shown(&scene.server, &scene.task)["agent"], id.as_str());
    scene.open_gate(2);
    scene.check_finished(2);
}

#[test]
#[ignore = "needs Mesos"]
fn killed_executor_fails_the_block() {
    let scene = Scene::of("");
    let launch = format!("{}.1", scene.task);
    let executors: Vec<i32> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|process| {
            let read = |file| fs::read(process.path().join(file)).unwrap_or_default();
            let about = String::from_utf8_lossy(&[read("cmdline"), read("environ")].concat()).into_owned();
            about.contains("mesos-executor") && about.contains(&launch)
        })
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .collect();
    assert!(!executors.is_empty());
    for executor in executors {
        let _ = kill(Pid::from_raw(executor), Signal::SIGKILL);
    }
    // It is unknown whether the block had done its work, so it is not launched again.
    let end = wait_until(&scene.server, &scene.task, "failed");
    assert_eq!((&end["attempt"], &end["exit_code"]), (&1.into(), &serde_json::Value::Null), "{end}");
    assert!(end["message"].as_str().unwrap().contains("exit status lost"), "{end}");
}

#[test]
#[ignore = "needs Mesos"]
fn killed_blocks_get_sigterm_and_a_grace_period() {
    let mesos = Mesos::start();
    let server = server_on(&mesos.master.address);
    let run = server.submit(
        "#+begin_src sh\nexec sleep 1000\n#+end_src\n\
         #+begin_src sh\ntrap 'exit 7' TERM; echo up; while :; do sleep 0.1; done\n#+end_src\n\
         #+begin_src sh\ntrap '' TERM; echo up; while :; do sleep 0.1; done\n#+end_src\n",
    );
    for (number, code) in [(1, 143), (2, 7), (3, 137)] {
        let task = format!("{run}.{number}");
        wait_until(&server, &task, "running");
        if number > 1 {
            poll_until(DEADLINE, "the block has written `up`", || stdout(&server, &task) == b"up\n");
        }
        assert_eq!(server.curl(&["-X", "DELETE"], &format!("/tasks/{task}")).0, 200);
        assert_eq!(wait_until(&server, &task, "killed")["exit_code"], code, "{task}");
    }
}

#[test]
#[ignore = "needs Mesos"]
fn inverse_offers_are_answered() {
    let scene = Scene::of("");
    // All machines here are one for Mesos.
    let machine = json!({"hostname": "localhost", "ip": "127.0.0.1"});
    let unavailable =
        json!({"start": {"nanoseconds": 1}, "duration": {"nanoseconds": 3_600_000_000_000_u64}});
    let schedule = json!({"windows": [{"machine_ids": [machine], "unavailability": unavailable}]});
    scene.mesos.order(&json!({"type": "UPDATE_MAINTENANCE_SCHEDULE",
        "update_maintenance_schedule": {"schedule": schedule}}));
    let called = |name: &str| {
        let (_, text) = scene.server.curl(&[], "/metrics");
        let begin = format!("borges_calls_total{{call=\"{name}\"}}");
        text.lines().any(|line| line.starts_with(&begin) && !line.ends_with(" 0"))
    };
    poll_until(DEADLINE, "the inverse offer of the used agent is declined", || {
        called("decline_inverse_offers")
    });
    poll_until(DEADLINE, "that of the other agent is accepted", || called("accept_inverse_offers"));
    scene.open_gate(1);
    scene.check_finished(1);
}

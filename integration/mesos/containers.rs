//! Containers on a real Mesos: the Docker containerizer of the agent, a Docker daemon, and a substitute for the executor
//! between them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{stdout, wait_until};
use support::docker::Daemon;
use support::features::Feature;
use support::mesos::Mesos;
use support::poll::{DEADLINE, poll_until};
use support::server::TestServer;

/// The example with three blocks around Redis, then a block that exits and one that is killed.
#[test]
#[ignore = "needs root, Docker, Mesos and Redis"]
fn redis_example_runs_on_an_agent() {
    if Feature::NetworkNamespaces.is_absent() {
        return;
    }
    if Feature::Mounts.is_absent() {
        return;
    }
    let daemon = Daemon::start();
    daemon.import("redis", &["redis-server"]);
    // `nc` of Debian's own kinds waits for the other side to end; the document wants one that does not.
    let bin = tempfile::TempDir::new().unwrap();
    let nc = bin.path().join("nc");
    fs::write(&nc, "#!/bin/sh\nexec busybox nc \"$@\"\n").unwrap();
    fs::set_permissions(&nc, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap());
    let executors = format!("--executor_environment_variables={}", serde_json::json!({"PATH": path}));
    // With host networking, containers have the network of their daemon; so must their clients.
    let network = format!("--net=/proc/{}/ns/net", daemon.network_holder());
    let within = ["nsenter", &network];
    let mut mesos = Mesos::within(&within, &[]);
    let socket = format!("--docker_socket={}", daemon.host().trim_start_matches("unix://"));
    mesos.add_agent(&["--containerizers=docker,mesos", &socket, &executors]);
    let master = format!("#+borges_port: 0\n#+mesos_master: {}\n", mesos.master.address);
    let server = TestServer::start_in(&within, &master);

    let run = server.submit(include_str!("../../examples/redis.org"));
    for task in 1..=3 {
        wait_until(&server, &format!("{run}.{task}"), "running");
    }
    let mut seen = std::collections::BTreeSet::new();
    poll_until(DEADLINE, "three different timestamps", || {
        let text = String::from_utf8(stdout(&server, &format!("{run}.3"))).unwrap();
        seen.extend(text.lines().filter_map(|line| line.trim().parse::<u64>().ok()));
        seen.len() >= 3
    });
    assert_eq!(server.curl(&["-X", "DELETE"], &format!("/org/{run}")).0, 200);
    for task in 1..=3 {
        wait_until(&server, &format!("{run}.{task}"), "killed");
    }

    let run = server.submit(
        "#+begin_src sh :dockerize t :image ubuntu :env A=\"two words\"\n\
         echo \"it's $A\"; pwd; echo wrong >&2; exit 3\n#+end_src\n\
         #+begin_src sh :dockerize t :image ubuntu\ntrap 'exit 7' TERM; echo up; while :; do sleep 0.1; done\n#+end_src\n",
    );
    let end = wait_until(&server, &format!("{run}.1"), "failed");
    assert_eq!(end["exit_code"], 3, "{end}");
    assert_eq!(stdout(&server, &format!("{run}.1")), b"it's two words\n/mnt/mesos/sandbox\n");
    let task = format!("{run}.2");
    poll_until(DEADLINE, "the block has written `up`", || stdout(&server, &task) == b"up\n");
    assert_eq!(server.curl(&["-X", "DELETE"], &format!("/tasks/{task}")).0, 200);
    assert_eq!(wait_until(&server, &task, "killed")["exit_code"], 7);
}

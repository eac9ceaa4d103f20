//! Blocks in containers of a real Docker daemon.

mod server;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::docker::Daemon;
use support::features::{Feature, say_untested};
use support::poll::{DEADLINE, poll_until};
use support::program;

use self::server::DockerTestServer;
use tempfile::TempDir;

/// A document of one block in a container of `ubuntu`.
fn block(header: &str, body: &str) -> String {
    format!("#+name: a\n#+header: {header}\n#+begin_src sh :dockerize t :image ubuntu\n{body}\n#+end_src\n")
}

const WAITS: &str = "echo up; while [ ! -e go ]; do sleep 0.05; done; echo over; exit 6";

/// Lets the block of [`WAITS`] go on.
fn open_gate(server: &DockerTestServer) {
    fs::write(sandbox(&server.sandboxes()).join("go"), "").unwrap();
}

/// The one sandbox under a state directory.
fn sandbox(directory: &Path) -> std::path::PathBuf {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.path().ends_with("runs") {
            return entry.path().join("latest");
        }
        if entry.path().is_dir() {
            let found = sandbox(&entry.path());
            if !found.as_os_str().is_empty() {
                return found;
            }
        }
    }
    std::path::PathBuf::new()
}

#[test]
#[ignore = "needs root and Docker"]
fn container_block_behaves_like_a_block_outside() {
    if Feature::NetworkNamespaces.is_absent() {
        return;
    }
    if Feature::Mounts.is_absent() {
        return;
    }
    let daemon = Daemon::start();
    let server = DockerTestServer::start(&daemon.host());
    let run = server.submit(&format!(
        "{}{}{}{}{}{}",
        block("", "echo out; printf 'e\\377\\0r' >&2; exit 3"),
        block("", "kill -9 $$"),
        block("", "head -c 1048576 /dev/urandom | tee copy"),
        block(":env A=\"two words\" PATH=/bin", "echo $0 $A; echo $PATH $HOME $LANG $TZ; id -u; pwd; echo $MESOS_SANDBOX $BORGES_RUN $BORGES_TASK $BORGES_ATTEMPT $BORGES_INDEX; cat"),
        block(":dir /bin", "pwd; sleep 1000 &"),
        block(":dir nowhere", "true"),
    ));
    let end = server.wait_for_state(&format!("{run}.1"), "failed");
    assert_eq!((&end["exit_code"], &end["message"]), (&3.into(), &"Command exited with status 3".into()));
    assert_eq!(server.output(&format!("{run}.1"), "stdout"), b"out\n");
    assert_eq!(server.output(&format!("{run}.1"), "stderr"), b"e\xff\0r");
    assert_eq!(server.wait_for_state(&format!("{run}.2"), "failed")["exit_code"], 137);
    server.wait_for_state(&format!("{run}.3"), "finished");
    let long = server.output(&format!("{run}.3"), "stdout");
    assert_eq!(long.len(), 1 << 20);
    let copy = server.path("copy");
    let found = Command::new("find").arg(server.sandboxes()).args(["-name", "copy"]).output().unwrap();
    fs::copy(String::from_utf8(found.stdout).unwrap().trim(), &copy).unwrap();
    assert!(fs::read(&copy).unwrap() == long, "byte for byte");
    server.wait_for_state(&format!("{run}.4"), "finished");
    assert_eq!(
        String::from_utf8(server.output(&format!("{run}.4"), "stdout")).unwrap(),
        format!(
            "block/body two words\n/bin / C.UTF-8 UTC\n{}\n/mnt/mesos/sandbox\n/mnt/mesos/sandbox {run} {run}.4 1 1\n",
            nix::unistd::geteuid()
        )
    );
    // What it left running ended with it.
    server.wait_for_state(&format!("{run}.5"), "finished");
    assert_eq!(server.output(&format!("{run}.5"), "stdout"), b"/bin\n");
    let end = server.wait_for_state(&format!("{run}.6"), "failed");
    assert_eq!(end["exit_code"], 126);
    assert_eq!(end["message"], "the working directory does not exist in the image `ubuntu`");
    daemon.wait_until_empty();
}

/// The kernel kills a process that exceeds the limit; the block fails although its shell went on.
#[test]
#[ignore = "needs root and Docker"]
fn container_memory_is_limited() {
    if Feature::NetworkNamespaces.is_absent() {
        return;
    }
    if Feature::Mounts.is_absent() {
        return;
    }
    let daemon = Daemon::start();
    let server = DockerTestServer::start(&daemon.host());
    // Fills the memory of a child of the block.
    let fill = "head -c 200m /dev/zero | tail >/dev/null";
    if let Err(reason) = daemon.can_limit_memory(fill) {
        return say_untested("Docker daemon that limits memory", &reason);
    }
    let run = server.submit(&format!(
        "{}{}{}",
        block(":mem 32", &format!("{fill}; echo on")),
        block(":mem 512", &format!("{fill}; echo on")),
        block("", &format!("{fill}; echo on")),
    ));
    let end = server.wait_for_state(&format!("{run}.1"), "failed");
    assert_eq!(end["message"], "it exceeded its `:mem 32`", "{end}");
    for task in [2, 3] {
        server.wait_for_state(&format!("{run}.{task}"), "finished");
        assert_eq!(server.output(&format!("{run}.{task}"), "stdout"), b"on\n");
    }
    daemon.wait_until_empty();
}

#[test]
#[ignore = "needs root and Docker"]
fn containers_end_on_kill_and_timeout() {
    if Feature::NetworkNamespaces.is_absent() {
        return;
    }
    if Feature::Mounts.is_absent() {
        return;
    }
    let daemon = Daemon::start();
    let server = DockerTestServer::start(&daemon.host());
    let run = server.submit(&format!(
        "{}{}{}{}",
        block("", "sleep 1000"),
        block("", "trap 'exit 7' TERM; echo up; sleep 1000 & wait"),
        block("", "trap '' TERM; echo up; sleep 1000"),
        block(":timeout 1s", "echo up; sleep 1000"),
    ));
    let end = server.wait_for_state(&format!("{run}.4"), "failed");
    assert_eq!(end["message"], "it ran for longer than its `:timeout`");
    assert_eq!(end["exit_code"], 137);
    for (task, code) in [(1, 143), (2, 7), (3, 137)] {
        let task = format!("{run}.{task}");
        server.wait_for_state(&task, "running");
        if code != 143 {
            server.wait_for_output(&task, |text| text == "up\n");
        }
        assert_eq!(server.curl(&["-X", "DELETE"], &format!("/tasks/{task}")).0, 200);
        assert_eq!(server.wait_for_state(&task, "killed")["exit_code"], code, "{task}");
    }
    daemon.wait_until_empty();
}

/// A container runs on if the server, the agent or the shim is killed. It is found again, and never started twice.
#[test]
#[ignore = "needs root and Docker"]
fn containers_survive_kills_of_server_agent_and_shim() {
    if Feature::NetworkNamespaces.is_absent() {
        return;
    }
    if Feature::Mounts.is_absent() {
        return;
    }
    let daemon = Daemon::start();
    for killed in [
        &["server"][..],
        &["agent"],
        &["server", "agent"],
        &["--container"],
        &["agent", "--container"],
        &["server", "agent", "--container"],
    ] {
        // The container ends while the killed processes are missing, or after they were started again.
        for ends_alone in [true, false] {
            let mut server = DockerTestServer::start(&daemon.host());
            let run = server.submit(&block("", WAITS));
            let task = format!("{run}.1");
            server.wait_for_state(&task, "running");
            server.wait_for_output(&task, |text| text == "up\n");
            for who in killed {
                match *who {
                    "server" => server.stop(Signal::SIGKILL),
                    // Reaper and agent at once: only the shims are left.
                    "agent" => server.kill("--role"),
                    who => server.kill(who),
                }
            }
            if ends_alone {
                open_gate(&server);
                let exit = sandbox(&server.sandboxes()).join("block/.code");
                poll_until(DEADLINE, "the block has ended", || exit.exists());
                if killed.len() == 3 {
                    // As if they had been killed before it was noted that the container runs.
                    poll_until(DEADLINE, "the container has ended", || {
                        daemon.containers()[0].ends_with(" exited")
                    });
                    let runs = sandbox(&server.sandboxes());
                    fs::remove_file(runs.ancestors().nth(2).unwrap().join("started")).unwrap();
                }
            }
            if killed.contains(&"server") {
                server.restart();
            }
            if !ends_alone {
                assert_eq!(daemon.containers(), [format!("borges-{task}.1 running")]);
                open_gate(&server);
            }
            let end = server.wait_for_state(&task, "failed");
            assert_eq!((&end["exit_code"], &end["attempt"]), (&6.into(), &1.into()), "{killed:?}: {end}");
            assert_eq!(server.output(&task, "stdout"), b"up\nover\n");
            daemon.wait_until_empty();
        }
    }
}

#[test]
#[ignore = "needs root and Docker"]
fn docker_errors_fail_the_block() {
    if Feature::NetworkNamespaces.is_absent() {
        return;
    }
    if Feature::Mounts.is_absent() {
        return;
    }
    let nowhere = DockerTestServer::start("unix:///nowhere/docker.sock");
    let run = nowhere.submit(&block("", "true"));
    let end = nowhere.wait_for_state(&format!("{run}.1"), "failed");
    let message = end["message"].as_str().unwrap();
    assert!(
        message.starts_with("no Docker daemon answers, so the image `ubuntu` cannot be run: "),
        "{message}"
    );
    assert!(message.contains("/nowhere/docker.sock"), "{message}");
    assert_eq!(nowhere.output(&format!("{run}.1"), "stderr"), format!("borges: {message}\n").as_bytes());

    let daemon = Daemon::start();
    let bare = TempDir::new().unwrap();
    fs::write(bare.path().join("nothing"), "").unwrap();
    daemon.import_tree("bare", bare.path());
    let server = DockerTestServer::start(&daemon.host());
    let document = block("", "true");
    let run = server.submit(&format!(
        "{}{}{}{}",
        document.replace("image ubuntu", "image no/such:1"),
        document.replace("image ubuntu", "image bare"),
        document.replace("_src sh", "_src python"),
        document.replace("image ubuntu", "image localhost:1/x"),
    ));
    let message = |task: u32, code: Option<i32>| {
        let end = server.wait_for_state(&format!("{run}.{task}"), "failed");
        assert_eq!(end["exit_code"], code.map_or(serde_json::Value::Null, Into::into), "{end}");
        end["message"].as_str().unwrap().to_owned()
    };
    let absent = message(1, None);
    let unreachable = "is not on this machine, and its registry cannot be reached: ";
    assert!(absent.starts_with(&format!("the image `no/such:1` {unreachable}")), "{absent}");
    let absent = message(4, None);
    assert!(absent.starts_with(&format!("the image `localhost:1/x` {unreachable}")), "{absent}");
    let bare = message(2, Some(127));
    assert!(
        bare.starts_with("the image `bare` has no `/bin/sh`, which every block's wrapper needs: "),
        "{bare}"
    );
    assert_eq!(message(3, Some(127)), "`python3` is not in the image `ubuntu`");
    daemon.wait_until_empty();

    fs::write(server.path("bad.org"), document.replace("image ubuntu", "image Ubuntu")).unwrap();
    let (status, text) = server.curl(&["-X", "POST", "--data-binary", "@bad.org"], "/org");
    assert!(
        status == 400 && text.contains("3:29: error: `Ubuntu` is no value of `:image`"),
        "{status} {text}"
    );
}

#[test]
#[ignore = "needs root and Docker"]
fn killed_daemon_is_reported() {
    if Feature::NetworkNamespaces.is_absent() {
        return;
    }
    if Feature::Mounts.is_absent() {
        return;
    }
    let daemon = Daemon::start();
    let server = DockerTestServer::start(&daemon.host());
    let run = server.submit(&block("", "echo up; sleep 1000"));
    let task = format!("{run}.1");
    server.wait_for_state(&task, "running");
    // A new daemon ends the containers of the old.
    daemon.kill(false);
    let end = server.wait_for_state(&task, "failed");
    let message = end["message"].as_str().unwrap();
    assert!(message.starts_with("the Docker daemon was away, and the container ended meanwhile"), "{end}");
    daemon.wait();

    // The block can say itself how it ended.
    let server = DockerTestServer::start(&daemon.host());
    let run = server.submit(&block("", WAITS));
    let task = format!("{run}.1");
    server.wait_for_output(&task, |text| text == "up\n");
    let other = DockerTestServer::start(&daemon.host());
    let endless = format!("{}.1", other.submit(&block("", "echo up; sleep 1000")));
    other.wait_for_output(&endless, |text| text == "up\n");
    daemon.kill(true);
    open_gate(&server);
    assert_eq!(server.wait_for_state(&task, "failed")["exit_code"], 6);
    assert_eq!(server.output(&task, "stdout"), b"up\nover\n");

    // Nobody can end this one, nor say that it has ended: that is said.
    assert_eq!(other.curl(&["-X", "DELETE"], &format!("/tasks/{endless}")).0, 200);
    let end = other.wait_for_state(&endless, "killed");
    assert!(end["message"].as_str().unwrap().starts_with("exit status lost: "), "{end}");
}

/// A block listens on a fixed port in its container, which is mapped to a port of the machine.
#[test]
#[ignore = "needs root and Docker"]
fn container_ports_are_mapped() {
    if Feature::NetworkNamespaces.is_absent() {
        return;
    }
    if Feature::Mounts.is_absent() {
        return;
    }
    let daemon = Daemon::with_bridge();
    let server = DockerTestServer::start(&daemon.host());
    let run = server.submit(&block(
        ":expose 0:80 18081:81",
        "echo $PORT0 $PORT_80 $PORT_81; for port in 80 81; do echo on $port | nc -l -p $port; done",
    ));
    let task = format!("{run}.1");
    server.wait_for_output(&task, |text| text.ends_with(" 18081\n"));
    let told = String::from_utf8(server.output(&task, "stdout")).unwrap();
    let [any, same, _] = told.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{told}") };
    assert_eq!(any, same);
    for (port, within) in [(any, "on 80\n"), ("18081", "on 81\n")] {
        poll_until(DEADLINE, "the block answers on the port", || {
            let answer = Command::new("nsenter")
                .arg(format!("--net=/proc/{}/ns/net", daemon.network_holder()))
                .args(["busybox", "nc", "-w", "5", "127.0.0.1", port])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            if answer.stdout == within.as_bytes() { Ok(()) } else { Err(answer) }
        });
    }
    server.wait_for_state(&task, "finished");
    daemon.wait_until_empty();
}

/// `borges run` removes its containers however it ends, also if it is killed.
#[test]
#[ignore = "needs root and Docker"]
fn borges_run_leaves_no_container() {
    if Feature::NetworkNamespaces.is_absent() {
        return;
    }
    if Feature::Mounts.is_absent() {
        return;
    }
    let daemon = Daemon::start();
    let place = TempDir::new().unwrap();
    fs::write(place.path().join("a.org"), block("", "trap '' TERM; echo up; sleep 1000")).unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut run = Command::new(program::path())
            .args(["run", "a.org"])
            .current_dir(place.path())
            .env("DOCKER_HOST", daemon.host())
            .env("TMPDIR", place.path())
            .env("XDG_STATE_HOME", place.path())
            .stdin(Stdio::null())
            .stdout(fs::File::create(place.path().join("out")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = place.path().join("out");
        poll_until(DEADLINE, "the block runs", || {
            fs::read_to_string(&out).is_ok_and(|text| text.contains("up\n"))
        });
        assert_eq!(daemon.containers().len(), 1);
        kill(Pid::from_raw(run.id().try_into().unwrap()), signal).unwrap();
        let code = run.wait().unwrap().code();
        if signal == Signal::SIGINT {
            assert_eq!(code, Some(130));
        }
        daemon.wait_until_empty();
    }
    // It takes what is there, and says how it ended.
    fs::write(place.path().join("b.org"), block("", "echo hello; exit 3")).unwrap();
    let run = Command::new(program::path())
        .args(["run", "-q", "b.org"])
        .current_dir(place.path())
        .env("DOCKER_HOST", daemon.host())
        .env("XDG_STATE_HOME", place.path())
        .output()
        .unwrap();
    assert_eq!((run.status.code(), run.stdout), (Some(1), b"==> a <==\nhello\n".to_vec()));
}

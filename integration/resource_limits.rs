//! Limits of a block: its memory, which the kernel enforces, and its output.
//!
//! Limits of memory need root, and a memory controller of control groups, version 1 or 2.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::cli::CliSandbox;
use support::features::Feature;
use support::poll::{DEADLINE, poll_until, within_deadline};
use support::server::TestServer;

const MIB: u64 = 1 << 20;

/// A command that allocates so many MiB, in a child of the shell.
fn allocate(mib: u64) -> String {
    format!("python3 -c 'b = bytearray({mib} << 20); print(len(b) >> 20)'\n")
}

fn task(server: &TestServer, task: &str) -> Value {
    let (status, text) = server.curl(&["-H", "Accept: application/json"], &format!("/tasks/{task}"));
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The control groups of a run's launches, in all mounted hierarchies.
fn groups(run: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().contains(run) {
                    found.push(entry.path());
                }
                open.push(entry.path());
            }
        }
    }
    found
}

fn wait_until_no_group_is_left(run: &str) {
    poll_until(DEADLINE, "no control group is left", || match groups(run) {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
}

/// The processes of the agent and its reaper, or only of the agent, by a part of their arguments.
fn agents(server: &TestServer, role: &str) -> Vec<i32> {
    let ours = server.path("state").to_str().unwrap().to_owned();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let of = |process: &fs::DirEntry| fs::read(process.path().join("cmdline")).unwrap_or_default();
    processes
        .filter(|process| {
            let line = String::from_utf8_lossy(&of(process)).into_owned();
            line.contains("agent\0") && line.contains(&ours) && line.contains(role)
        })
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .collect()
}

#[test]
#[ignore = "needs root"]
fn mem_argument_limits_memory() {
    if Feature::MemoryLimits.is_absent() {
        return;
    }
    let server = TestServer::start();
    let run = server.submit(&format!(
        "#+name: over\n#+begin_src sh :mem 32\n{0}echo on\n#+end_src\n\
         #+name: within\n#+begin_src sh :mem 128\n{1}#+end_src\n\
         #+name: unasked\n#+begin_src sh\n{0}#+end_src\n\
         #+name: retried\n#+begin_src python :mem 32 :retry 1 :backoff 10ms\nb = bytearray(200 << 20)\n#+end_src\n\
         #+name: itself\n#+header: :mem 32\n#+begin_src sh :env A=1\nexec {0}#+end_src\n",
        allocate(200),
        allocate(60),
    ));
    let end = |number: u32, state: &str| {
        let id = format!("{run}.{number}");
        server.wait_for_state(&id, state);
        task(&server, &id)
    };
    // A child of the block is what the kernel kills; the block fails all the same.
    let over = end(1, "failed");
    assert_eq!(over["message"], "it exceeded its `:mem 32`", "{over}");
    assert_eq!(server.curl(&[], &format!("/tasks/{run}.1/stdout")).1.matches("200").count(), 0);
    end(2, "finished");
    assert_eq!(server.curl(&[], &format!("/tasks/{run}.2/stdout")).1, "60\n");
    end(3, "finished");
    assert_eq!(server.curl(&[], &format!("/tasks/{run}.3/stdout")).1, "200\n");
    let retried = end(4, "failed");
    assert_eq!((&retried["attempt"], &retried["message"]), (&2.into(), &"it exceeded its `:mem 32`".into()));
    let itself = end(5, "failed");
    assert_eq!(
        (&itself["exit_code"], &itself["message"]),
        (&137.into(), &"it exceeded its `:mem 32`".into())
    );
    wait_until_no_group_is_left(&run);
}

/// The kernel kills a child of the block; the block itself is killed too, and fails.
#[test]
#[ignore = "needs root"]
fn block_fails_when_a_child_exceeds_its_memory() {
    if Feature::MemoryLimits.is_absent() {
        return;
    }
    let server = TestServer::start();
    let run = server.submit(&format!("#+begin_src sh :mem 32\n{}sleep 1000\n#+end_src\n", allocate(200)));
    server.wait_for_state(&format!("{run}.1"), "failed");
    let end = task(&server, &format!("{run}.1"));
    assert_eq!((&end["exit_code"], &end["message"]), (&137.into(), &"it exceeded its `:mem 32`".into()));
    wait_until_no_group_is_left(&run);
}

/// A block in a control group has the same arguments, working directory, exit code and input as one outside, and
/// leaves no process.
#[test]
#[ignore = "needs root"]
fn limited_block_behaves_like_an_unlimited_one() {
    let server = TestServer::start();
    // Neither a program nor a script.
    let program = server.path("nothing");
    fs::write(&program, "x").unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let body = "cat; echo $0 $A; pwd; sleep 1000 &\nexit 7";
    let run = server.submit(&format!(
        "#+name: a\n#+begin_src sh :env A=1\n{body}\n#+end_src\n#+name: a2\n#+begin_src sh :env A=1 :mem 64\n{body}\n#+end_src\n\
         #+name: b\n#+begin_src nothing :mem 64\nx\n#+end_src\n#+borges_lang: nothing {}\n",
        program.display()
    ));
    let said = |number: u32| {
        server.wait_for_state(&format!("{run}.{number}"), "failed");
        let code = task(&server, &format!("{run}.{number}"))["exit_code"].clone();
        let out = server.curl(&[], &format!("/tasks/{run}.{number}/stdout")).1;
        (code, out.replace(&format!("{run}.{number}.1"), "LAUNCH"))
    };
    assert_eq!(said(1), said(2));
    assert_eq!(said(1).0, 7);
    assert_eq!(said(3).0, 126);
    let why = server.curl(&[], &format!("/tasks/{run}.3/stderr")).1;
    assert!(why.contains("/nothing` cannot be started: Exec format error"), "{why}");
    wait_until_no_group_is_left(&run);
}

/// The limit holds after the agent is killed, and the next agent reports that it was exceeded.
#[test]
#[ignore = "needs root"]
fn memory_limit_outlives_the_agent() {
    if Feature::MemoryLimits.is_absent() {
        return;
    }
    for both in [false, true] {
        let server = TestServer::start();
        let gate = server.path("gate");
        let body = format!(
            "echo up; while [ ! -e {} ]; do sleep 0.05; done; {}sleep 1000",
            gate.display(),
            allocate(200)
        );
        let run = server.submit(&format!("#+begin_src sh :mem 32\n{body}\n#+end_src\n"));
        poll_until(DEADLINE, "the block runs", || {
            server.curl(&[], &format!("/tasks/{run}.1/stdout")).1 == "up\n"
        });
        for pid in agents(&server, if both { "--role" } else { "--role\0agent" }) {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        fs::write(&gate, "").unwrap();
        server.wait_for_state(&format!("{run}.1"), "failed");
        let end = task(&server, &format!("{run}.1"));
        let message = end["message"].as_str().unwrap().to_owned();
        assert!(message == "it exceeded its `:mem 32`", "{both}: {end}");
        wait_until_no_group_is_left(&run);
    }
}

#[test]
fn output_beyond_the_limit_fails_the_block() {
    let server = TestServer::with_setupfile("#+borges_max_output: 3M\n");
    let run = server.submit(
        "#+name: endless\n#+begin_src sh\nyes 0123456\n#+end_src\n\
         #+name: aside\n#+begin_src sh\nyes 0123456 >&2\n#+end_src\n\
         #+name: quick\n#+begin_src sh\nhead -c 4000000 /dev/zero\n#+end_src\n\
         #+name: within\n#+begin_src sh\nhead -c 3145728 /dev/zero; head -c 3145728 /dev/zero >&2\n#+end_src\n",
    );
    for (number, stream) in [(1, "stdout"), (2, "stderr"), (3, "stdout")] {
        let id = format!("{run}.{number}");
        server.wait_for_state(&id, "failed");
        assert_eq!(
            task(&server, &id)["message"],
            format!("it wrote more to its {stream} than `borges_max_output` allows: 3145728 bytes")
        );
        // Whole up to there.
        assert_eq!(server.curl_bytes(&[], &format!("/tasks/{id}/{stream}")).1.len() as u64, 3 * MIB);
    }
    server.wait_for_state(&format!("{run}.4"), "finished");

    let sandbox = CliSandbox::new();
    sandbox.write("setup.org", "#+borges_max_output: 3M\n");
    sandbox.write("d.org", "#+name: loud\n#+begin_src sh\nyes\n#+end_src\n");
    let run = sandbox.run(&["run", "-f", "setup.org", "d.org"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("than `borges_max_output` allows: 3145728 bytes"), "{}", run.stderr);
}

/// A service may write without end: the last 20 MB of its output are kept at their offsets, and the missing part is
/// reported.
#[test]
fn service_keeps_the_last_20_mb_of_output() {
    let server = TestServer::with_setupfile("#+borges_max_output: 1M\n");
    // Lines of 16 bytes with their numbers; more of them when it is told so.
    let run = server.submit(&format!(
        "#+begin_src sh :ensure it-keeps-running\nawk 'BEGIN {{ for (i = 0; i < 2000000; i++) printf \"%015d\\n\", i }}'\n\
         while [ ! -e {} ]; do sleep 0.05; done\necho end; sleep 1000\n#+end_src\n",
        server.path("gate").display()
    ));
    let id = format!("{run}.1");
    server.wait_for_state(&id, "running");
    let route = format!("/tasks/{id}/stdout");
    let begins = || {
        let (_, head) = server.curl(&["-sD", "-", "-o", "/dev/null"], &format!("{route}?offset=0&limit=1"));
        let line = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("borges-offset: ").map(str::to_owned));
        line.map_or(0, |at| at.trim().parse::<u64>().unwrap())
    };
    let whole = 2_000_000 * 16;
    let from = poll_until(DEADLINE, "the beginning is given back", || match begins() {
        from if from >= whole - 22 * MIB => Ok(from),
        from => Err(from),
    });
    assert!(whole - from >= 20 * MIB, "at least 20 MB stay: {from}");
    // What is left is where it was.
    let (_, line) = server.curl(&[], &format!("{route}?offset={from}&limit=16"));
    assert_eq!(line, format!("{:015}\n", from / 16));
    // Who names no place is told in the text.
    let all = server.curl(&[], &route).1;
    let mut lines = all.lines();
    assert_eq!(lines.next().unwrap(), format!("[{from} bytes are not kept any more]"));
    assert_eq!(lines.next().unwrap(), format!("{:015}", from / 16));
    assert_eq!(lines.next_back().unwrap(), "000000001999999");
    // The command says it beside the output.
    let sandbox = CliSandbox::new();
    let url = format!("http://{}", server.address);
    let logs = sandbox.run(&["logs", &id, "--server", &url]);
    assert_eq!(logs.stderr.trim(), format!("borges: {from} bytes are not kept any more"));
    assert_eq!(logs.stdout.len() as u64, whole - from);
    // So does the websocket, in a frame of its own.
    let frames = within_deadline(async {
        use futures_util::StreamExt;
        let url = format!("ws://{}/ws?output=1&task={id}", server.address);
        let (_, mut socket) = awc::Client::default().ws(url).max_frame_size(1 << 20).connect().await.unwrap();
        let mut frames: Vec<Value> = Vec::new();
        while frames.len() < 2 {
            if let awc::ws::Frame::Text(text) = socket.next().await.unwrap().unwrap() {
                let frame: Value = serde_json::from_slice(&text).unwrap();
                frames.extend(Some(frame).filter(|frame| frame["stream"] == "stdout"));
            }
        }
        frames
    });
    assert_eq!((&frames[0]["offset"], &frames[0]["gone"]), (&0.into(), &from.into()), "{}", frames[0]);
    assert_eq!(frames[1]["offset"], from);
    // On the disk no more than that is used.
    let said = server.curl(&["-H", "Accept: application/json"], &format!("/tasks/{id}/files/block")).1;
    assert!(said.contains(&format!("\"size\":{whole}")), "{said}");
    let (status, text) = server.curl(&[], &format!("/tasks/{id}/files/block/stdout"));
    assert!(status == 403 && text.contains("are not kept any more"), "{status} {text}");
    fs::write(server.path("gate"), "").unwrap();
    poll_until(DEADLINE, "the block continues", || {
        server.curl(&[], &format!("{route}?offset={whole}")).1 == "end\n"
    });
    assert_eq!(server.curl(&["-X", "DELETE"], &format!("/tasks/{id}")).0, 200);
    server.wait_for_state(&id, "killed");
}

/// Without control groups the server logs once that `:mem` is only subtracted from offers.
#[test]
#[ignore = "needs root"]
fn missing_control_groups_are_logged_once() {
    if Feature::Mounts.is_absent() {
        return;
    }
    let script = "mount -t tmpfs none /sys/fs/cgroup && exec \"$@\"";
    let within = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"];
    let mut server = TestServer::start_in(&within, "#+borges_port: 0\n");
    let run = server.submit(&format!("#+begin_src sh :mem 32\n{}#+end_src\n", allocate(100)));
    server.wait_for_state(&format!("{run}.1"), "finished");
    server.stop(Signal::SIGTERM);
    server.restart();
    server.wait_for_log(&["Received offer"]);
    let log = server.log_since_start();
    let (said, _) = log.split_once("Received offer").unwrap();
    let told = said.matches("`:mem` is subtracted from what is offered, and not enforced: ");
    assert_eq!(told.count(), 1, "{said}");
}

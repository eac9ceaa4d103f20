//! What a block may use: memory, enforced by the real kernel, and output. It needs root, and a memory controller of
//! either version of control groups.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::cli::Place;
use support::features::Feature;
use support::poll::{DEADLINE, poll_until, within_deadline};
use support::server::Served;

const MIB: u64 = 1 << 20;

/// Takes so many MiB, in a process of its own beside the shell.
fn takes(mib: u64) -> String {
    format!("python3 -c 'b = bytearray({mib} << 20); print(len(b) >> 20)'\n")
}

fn task(served: &Served, task: &str) -> Value {
    let (status, text) = served.curl(&["-H", "Accept: application/json"], &format!("/tasks/{task}"));
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The control groups of a run's launches, wherever they are mounted.
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

/// The agent and its parent, or only the agent.
fn agents(served: &Served, role: &str) -> Vec<i32> {
    let ours = served.path("state").to_str().unwrap().to_owned();
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
fn memory_is_a_limit_where_a_document_asks_for_it() {
    if Feature::MemoryLimits.is_absent() {
        return;
    }
    let served = Served::start();
    let run = served.submit(&format!(
        "#+name: over\n#+begin_src sh :mem 32\n{0}echo on\n#+end_src\n\
         #+name: within\n#+begin_src sh :mem 128\n{1}#+end_src\n\
         #+name: unasked\n#+begin_src sh\n{0}#+end_src\n\
         #+name: retried\n#+begin_src python :mem 32 :retry 1 :backoff 10ms\nb = bytearray(200 << 20)\n#+end_src\n\
         #+name: itself\n#+header: :mem 32\n#+begin_src sh :env A=1\nexec {0}#+end_src\n",
        takes(200),
        takes(60),
    ));
    let end = |number: u32, state: &str| {
        let id = format!("{run}.{number}");
        served.wait_for(&id, state);
        task(&served, &id)
    };
    // A child of the block is what the kernel kills; the block fails all the same.
    let over = end(1, "failed");
    assert_eq!(over["message"], "it exceeded its `:mem 32`", "{over}");
    assert_eq!(served.curl(&[], &format!("/tasks/{run}.1/stdout")).1.matches("200").count(), 0);
    end(2, "finished");
    assert_eq!(served.curl(&[], &format!("/tasks/{run}.2/stdout")).1, "60\n");
    end(3, "finished");
    assert_eq!(served.curl(&[], &format!("/tasks/{run}.3/stdout")).1, "200\n");
    let retried = end(4, "failed");
    assert_eq!((&retried["attempt"], &retried["message"]), (&2.into(), &"it exceeded its `:mem 32`".into()));
    let itself = end(5, "failed");
    assert_eq!(
        (&itself["exit_code"], &itself["message"]),
        (&137.into(), &"it exceeded its `:mem 32`".into())
    );
    wait_until_no_group_is_left(&run);
}

/// A service whose child is killed is ended, too, and launched again.
#[test]
#[ignore = "needs root"]
fn a_block_that_goes_on_without_its_child_is_ended() {
    if Feature::MemoryLimits.is_absent() {
        return;
    }
    let served = Served::start();
    let run = served.submit(&format!("#+begin_src sh :mem 32\n{}sleep 1000\n#+end_src\n", takes(200)));
    served.wait_for(&format!("{run}.1"), "failed");
    let end = task(&served, &format!("{run}.1"));
    assert_eq!((&end["exit_code"], &end["message"]), (&137.into(), &"it exceeded its `:mem 32`".into()));
    wait_until_no_group_is_left(&run);
}

/// A block in its group is the same block: arguments, working directory, exit code, input, leftovers.
#[test]
#[ignore = "needs root"]
fn a_limited_block_is_a_block_like_any_other() {
    let served = Served::start();
    // Neither a program nor a script.
    let program = served.path("nothing");
    fs::write(&program, "x").unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let body = "cat; echo $0 $A; pwd; sleep 1000 &\nexit 7";
    let run = served.submit(&format!(
        "#+name: a\n#+begin_src sh :env A=1\n{body}\n#+end_src\n#+name: a2\n#+begin_src sh :env A=1 :mem 64\n{body}\n#+end_src\n\
         #+name: b\n#+begin_src nothing :mem 64\nx\n#+end_src\n#+borges_lang: nothing {}\n",
        program.display()
    ));
    let said = |number: u32| {
        served.wait_for(&format!("{run}.{number}"), "failed");
        let code = task(&served, &format!("{run}.{number}"))["exit_code"].clone();
        let out = served.curl(&[], &format!("/tasks/{run}.{number}/stdout")).1;
        (code, out.replace(&format!("{run}.{number}.1"), "LAUNCH"))
    };
    assert_eq!(said(1), said(2));
    assert_eq!(said(1).0, 7);
    assert_eq!(said(3).0, 126);
    let why = served.curl(&[], &format!("/tasks/{run}.3/stderr")).1;
    assert!(why.contains("/nothing` cannot be started: Exec format error"), "{why}");
    wait_until_no_group_is_left(&run);
}

/// The limit outlives the agent: whoever comes after knows of it, and tells of it.
#[test]
#[ignore = "needs root"]
fn limits_outlive_the_agent() {
    if Feature::MemoryLimits.is_absent() {
        return;
    }
    for both in [false, true] {
        let served = Served::start();
        let gate = served.path("gate");
        let body = format!(
            "echo up; while [ ! -e {} ]; do sleep 0.05; done; {}sleep 1000",
            gate.display(),
            takes(200)
        );
        let run = served.submit(&format!("#+begin_src sh :mem 32\n{body}\n#+end_src\n"));
        poll_until(DEADLINE, "it runs", || served.curl(&[], &format!("/tasks/{run}.1/stdout")).1 == "up\n");
        for pid in agents(&served, if both { "--role" } else { "--role\0agent" }) {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        fs::write(&gate, "").unwrap();
        served.wait_for(&format!("{run}.1"), "failed");
        let end = task(&served, &format!("{run}.1"));
        let message = end["message"].as_str().unwrap().to_owned();
        assert!(message == "it exceeded its `:mem 32`", "{both}: {end}");
        wait_until_no_group_is_left(&run);
    }
}

#[test]
fn output_has_a_limit_and_what_goes_beyond_fails_aloud() {
    let served = Served::with("#+borges_max_output: 3M\n");
    let run = served.submit(
        "#+name: endless\n#+begin_src sh\nyes 0123456\n#+end_src\n\
         #+name: aside\n#+begin_src sh\nyes 0123456 >&2\n#+end_src\n\
         #+name: quick\n#+begin_src sh\nhead -c 4000000 /dev/zero\n#+end_src\n\
         #+name: within\n#+begin_src sh\nhead -c 3145728 /dev/zero; head -c 3145728 /dev/zero >&2\n#+end_src\n",
    );
    for (number, stream) in [(1, "stdout"), (2, "stderr"), (3, "stdout")] {
        let id = format!("{run}.{number}");
        served.wait_for(&id, "failed");
        assert_eq!(
            task(&served, &id)["message"],
            format!("it wrote more to its {stream} than `borges_max_output` allows: 3145728 bytes")
        );
        // Whole up to there.
        assert_eq!(served.bytes(&[], &format!("/tasks/{id}/{stream}")).1.len() as u64, 3 * MIB);
    }
    served.wait_for(&format!("{run}.4"), "finished");

    let place = Place::new();
    place.write("setup.org", "#+borges_max_output: 3M\n");
    place.write("d.org", "#+name: loud\n#+begin_src sh\nyes\n#+end_src\n");
    let run = place.borges(&["run", "-f", "setup.org", "d.org"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("than `borges_max_output` allows: 3145728 bytes"), "{}", run.stderr);
}

/// A service may write for ever: its last 20 MB stay, in their places, and the rest is told to be gone.
#[test]
fn a_service_keeps_the_end_of_its_output() {
    let served = Served::with("#+borges_max_output: 1M\n");
    // Lines of 16 bytes with their numbers; more of them when it is told so.
    let run = served.submit(&format!(
        "#+begin_src sh :ensure it-keeps-running\nawk 'BEGIN {{ for (i = 0; i < 2000000; i++) printf \"%015d\\n\", i }}'\n\
         while [ ! -e {} ]; do sleep 0.05; done\necho end; sleep 1000\n#+end_src\n",
        served.path("gate").display()
    ));
    let id = format!("{run}.1");
    served.wait_for(&id, "running");
    let route = format!("/tasks/{id}/stdout");
    let begins = || {
        let (_, head) = served.curl(&["-sD", "-", "-o", "/dev/null"], &format!("{route}?offset=0&limit=1"));
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
    let (_, line) = served.curl(&[], &format!("{route}?offset={from}&limit=16"));
    assert_eq!(line, format!("{:015}\n", from / 16));
    // Who names no place is told in the text.
    let all = served.curl(&[], &route).1;
    let mut lines = all.lines();
    assert_eq!(lines.next().unwrap(), format!("[{from} bytes are not kept any more]"));
    assert_eq!(lines.next().unwrap(), format!("{:015}", from / 16));
    assert_eq!(lines.next_back().unwrap(), "000000001999999");
    // The command says it beside the output.
    let place = Place::new();
    let url = format!("http://{}", served.address);
    let logs = place.borges(&["logs", &id, "--server", &url]);
    assert_eq!(logs.stderr.trim(), format!("borges: {from} bytes are not kept any more"));
    assert_eq!(logs.stdout.len() as u64, whole - from);
    // So does the websocket, in a frame of its own.
    let frames = within_deadline(async {
        use futures_util::StreamExt;
        let url = format!("ws://{}/ws?output=1&task={id}", served.address);
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
    let said = served.curl(&["-H", "Accept: application/json"], &format!("/tasks/{id}/files/block")).1;
    assert!(said.contains(&format!("\"size\":{whole}")), "{said}");
    let (status, text) = served.curl(&[], &format!("/tasks/{id}/files/block/stdout"));
    assert!(status == 403 && text.contains("are not kept any more"), "{status} {text}");
    fs::write(served.path("gate"), "").unwrap();
    poll_until(DEADLINE, "it goes on", || served.curl(&[], &format!("{route}?offset={whole}")).1 == "end\n");
    assert_eq!(served.curl(&["-X", "DELETE"], &format!("/tasks/{id}")).0, 200);
    served.wait_for(&id, "killed");
}

/// Where no group can be made that is said once, and memory is subtracted from what is offered, as before.
#[test]
#[ignore = "needs root"]
fn without_control_groups_memory_is_only_reckoned_with() {
    if Feature::Mounts.is_absent() {
        return;
    }
    let script = "mount -t tmpfs none /sys/fs/cgroup && exec \"$@\"";
    let within = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"];
    let mut served = Served::within(&within, "#+borges_port: 0\n");
    let run = served.submit(&format!("#+begin_src sh :mem 32\n{}#+end_src\n", takes(100)));
    served.wait_for(&format!("{run}.1"), "finished");
    served.signal(Signal::SIGTERM);
    served.run();
    served.wait_for_log(&["Received offer"]);
    let log = served.log_since_start();
    let (said, _) = log.split_once("Received offer").unwrap();
    let told = said.matches("`:mem` is subtracted from what is offered, and not enforced: ");
    assert_eq!(told.count(), 1, "{said}");
}

//! The server: runs and their output across kills of the server, the log, and refused requests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use futures_util::StreamExt;
use nix::sys::signal::Signal;
use support::cli::with_timeout;
use support::poll::{DEADLINE, poll_until, within_deadline};
use support::program;
use support::server::TestServer;
use tempfile::TempDir;

const FOREVER: &str = "#+TITLE: t\n#+name: run-forever\n#+BEGIN_SRC sh\necho \"Started running\"\nwhile true; do\n  \
                       echo \"Still running...\"\n  sleep 0.1\ndone\n#+END_SRC\n";

#[test]
fn running_block_survives_a_server_kill() {
    let mut server = TestServer::start();
    let run = server.submit(FOREVER);
    let task = format!("{run}.1");
    server.wait_for_state(&task, "running");
    let output = format!("/tasks/{task}/stdout");
    server.stop(Signal::SIGKILL);
    server.restart();
    let before = server.curl(&[], &output).1;
    assert!(before.starts_with("Started running\n"), "{before}");
    assert!(server.wait_for_state(&task, "running").contains("launch 1"));
    // It says more, so it runs; it never said its first words again, so it is the same.
    poll_until(DEADLINE, "the block writes more", || match server.curl(&[], &output).1 {
        text if text.len() > before.len() => Ok(()),
        text => Err(text),
    });
    server.stop(Signal::SIGTERM);
    server.restart();
    assert!(server.wait_for_state(&task, "running").contains("launch 1"));
    assert_eq!(server.curl(&[], &output).1.matches("Started running").count(), 1);

    assert_eq!(server.curl(&["-X", "DELETE"], &format!("/tasks/{task}")).0, 200);
    assert!(server.wait_for_state(&task, "killed").contains("exit code 143"));
    let (status, text) = server.curl(&[], &format!("/org/{run}"));
    assert!(status == 200 && text.contains("1 of 1 ended"), "{text}");
}

#[test]
fn waiting_blocks_continue_after_a_server_kill() {
    let mut server = TestServer::start();
    let gate = server.path("gate");
    let run = server.submit(&format!(
        "#+name: a\n#+begin_src sh\nwhile [ ! -e {} ]; do sleep 0.02; done; echo through; exit 3\n#+end_src\n\
         #+name: b\n#+begin_src sh :after a\necho after\n#+end_src\n\
         #+name: c\n#+begin_src sh :requires a\n#+end_src\n",
        gate.display()
    ));
    server.wait_for_state(&format!("{run}.1"), "running");
    server.stop(Signal::SIGKILL);
    // The block ends while no server runs.
    fs::write(&gate, "").unwrap();
    server.restart();
    assert!(server.wait_for_state(&format!("{run}.1"), "failed").contains("exit code 3"));
    server.wait_for_state(&format!("{run}.2"), "finished");
    assert!(server.wait_for_state(&format!("{run}.3"), "skipped").contains("requires `a`"));
    assert_eq!(server.curl(&[], &format!("/tasks/{run}.1/stdout")).1, "through\n");
    assert_eq!(server.curl(&[], &format!("/tasks/{run}.2/stdout?follow=1")).1, "after\n");
}

/// Frames are numbered without a gap, those of a task follow its states, and the end of the run comes last.
#[test]
fn run_frames_are_numbered_and_ordered() {
    let server = TestServer::start();
    let frames = within_deadline(async {
        let url = format!("ws://{}/ws", server.address);
        let (_, mut socket) = awc::Client::default().ws(url).connect().await.unwrap();
        server.submit("#+name: a\n#+begin_src sh\nexit 4\n#+end_src\n#+name: b\n#+begin_src sh :requires a\n#+end_src\n");
        let mut frames: Vec<serde_json::Value> = Vec::new();
        while frames.last().is_none_or(|frame| !frame["task"].is_null()) {
            match socket.next().await.unwrap().unwrap() {
                awc::ws::Frame::Text(text) => frames.push(serde_json::from_slice(&text).unwrap()),
                awc::ws::Frame::Ping(_) | awc::ws::Frame::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
        frames
    });
    let numbers: Vec<u64> = frames.iter().map(|frame| frame["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=frames.len() as u64).collect::<Vec<_>>());
    let life = |block: &str| -> Vec<&str> {
        let ours = frames.iter().filter(|frame| frame["block"] == block);
        ours.map(|frame| frame["state"].as_str().unwrap()).collect()
    };
    assert_eq!(life("a"), ["queued", "launching", "running", "failed"]);
    assert_eq!(life("b"), ["blocked", "skipped"]);
    assert_eq!(frames.last().unwrap()["state"], "failed");
    assert_eq!(frames.iter().rfind(|frame| frame["block"] == "a").unwrap()["exit_code"], 4);
}

/// The output is followed from before the first launch to the end of the second.
#[test]
fn output_is_followed_over_all_launches() {
    let server = TestServer::start();
    let gate = server.path("gate");
    let run = server.submit(&format!(
        "#+name: gate\n#+begin_src sh\nwhile [ ! -e {} ]; do sleep 0.02; done\n#+end_src\n\
         #+begin_src sh :after gate :retry 1 :backoff 10ms\necho launch $BORGES_ATTEMPT; exit 3\n#+end_src\n",
        gate.display()
    ));
    let said = std::thread::scope(|scope| {
        let follower = scope.spawn(|| server.curl(&[], &format!("/tasks/{run}.2/stdout?follow=1")));
        server.wait_for_state(&format!("{run}.1"), "running");
        fs::write(&gate, "").unwrap();
        follower.join().unwrap()
    });
    assert_eq!(said, (200, "launch 1\nlaunch 2\n".to_owned()));
}

/// Posts of a document with one `Idempotency-Key` make one run, also if they are concurrent or the server is killed.
#[test]
fn idempotency_key_makes_one_run() {
    let mut server = TestServer::start();
    let counter = server.path("counter");
    fs::write(
        server.path("a.org"),
        format!("#+begin_src sh\necho ran >> {}\n#+end_src\n", counter.display()),
    )
    .unwrap();
    fs::write(server.path("b.org"), "#+begin_src sh\ntrue\n#+end_src\n").unwrap();
    let post = |server: &TestServer, key: &str, file: &str| {
        let (key, file) = (format!("Idempotency-Key: {key}"), format!("@{file}"));
        server.curl(&["-X", "POST", "-H", &key, "--data-binary", &file], "/org")
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let posts: Vec<_> = (0..8).map(|_| scope.spawn(|| post(&server, "once", "a.org"))).collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    let first = &answers[0];
    assert!(first.0 == 200 && first.1.starts_with("Scheduled 1 code blocks"), "{first:?}");
    assert!(answers.iter().all(|answer| answer == first), "{answers:?}");
    server.stop(Signal::SIGKILL);
    server.restart();
    assert_eq!(post(&server, "once", "a.org"), *first);
    let (status, text) = post(&server, "once", "b.org");
    assert!(status == 422 && text.contains("another document"), "{text}");
    for key in ["", "two words", &"k".repeat(256)] {
        // curl takes `;` for a header without a value.
        let header =
            if key.is_empty() { "Idempotency-Key;".to_owned() } else { format!("Idempotency-Key: {key}") };
        let (status, text) = server.curl(&["-X", "POST", "-H", &header, "--data-binary", "@b.org"], "/org");
        assert!(status == 400 && text.contains("Idempotency-Key"), "{key}: {status} {text}");
    }
    assert_eq!(server.curl(&[], "/org").1.lines().count(), 1);
    let run = first.1.lines().find_map(|line| line.strip_prefix("run ")).unwrap();
    server.wait_for_state(&format!("{run}.1"), "finished");
    assert_eq!(fs::read_to_string(counter).unwrap(), "ran\n");
}

/// Whether the agent has noted the exit code of a launch.
fn has_exit_code(server: &TestServer, launch: &str) -> bool {
    let find = Command::new("find")
        .arg(server.path("state/frameworks"))
        .args(["-path", &format!("*/{launch}/*/block/exit")])
        .output()
        .unwrap();
    !find.stdout.is_empty()
}

/// Output files are indexed by size and hash, also those of a block that ended while no server ran.
#[test]
fn output_files_are_indexed_across_a_server_kill() {
    let mut server = TestServer::start();
    let gate = server.path("gate");
    let run = server.submit(&format!(
        "#+name: says\n#+begin_src sh\nprintf hello\n#+end_src\n\
         #+name: yields\n#+begin_src python :results value\nreturn 6*7\n#+end_src\n\
         #+name: much\n#+begin_src sh :requires says\nwhile [ ! -e {} ]; do sleep 0.02; done\n\
         head -c 9000000 /dev/zero\n#+end_src\n\
         #+name: never\n#+begin_src sh :requires fails\n#+end_src\n\
         #+name: fails\n#+begin_src sh\necho no >&2; exit 1\n#+end_src\n",
        gate.display()
    ));
    for (number, state) in [(1, "finished"), (2, "finished"), (5, "failed"), (3, "running")] {
        server.wait_for_state(&format!("{run}.{number}"), state);
    }
    server.stop(Signal::SIGKILL);
    // The third block ends while no server lives.
    fs::write(&gate, "").unwrap();
    poll_until(DEADLINE, "the exit code of the block is noted", || {
        has_exit_code(&server, &format!("{run}.3.1"))
    });
    server.restart();
    server.wait_for_state(&format!("{run}.3"), "finished");
    let route = format!("/org/{run}/results");
    let results = poll_until(DEADLINE, "the results of the four launched blocks", || {
        let (_, text) = server.curl(&["-H", "Accept: application/json"], &route);
        let page: serde_json::Value = serde_json::from_str(&text).unwrap();
        page["results"].as_array().filter(|results| results.len() == 4).cloned().ok_or(text)
    });
    let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let files = |number: usize| results[number]["files"].clone();
    assert_eq!(results[0]["block"], "says");
    assert_eq!(files(0), serde_json::json!([{"path": "block/stdout", "size": 5, "sha256": hello}]));
    assert_eq!(files(1)[0]["path"], "block/value");
    assert_eq!(files(2), serde_json::json!([{"path": "block/stdout", "size": 9_000_000, "sha256": null}]));
    assert_eq!((&results[3]["block"], &files(3)[0]["path"]), (&"fails".into(), &"block/stderr".into()));
    let (status, text) = server.curl(&[], &route);
    assert!(
        status == 200 && text.contains(&format!("{run}.1  says (line 2)  block/stdout  5  {hello}\n")),
        "{text}"
    );
}

/// A run is killed although the server is killed after the request, and it stays killed across restarts.
#[test]
fn kill_of_a_run_survives_a_server_kill() {
    let mut server = TestServer::start();
    let run = server.submit(&format!("{FOREVER}{}", "#+begin_src sh :cpu 9999\n#+end_src\n".repeat(100)));
    server.wait_for_state(&format!("{run}.1"), "running");
    assert_eq!(server.curl(&["-X", "DELETE"], &format!("/org/{run}")).0, 200);
    server.stop(Signal::SIGKILL);
    server.restart();
    server.wait_for_state(&format!("{run}.1"), "killed");
    server.wait_for_state(&format!("{run}.101"), "killed");
    for _ in 0..2 {
        let line =
            poll_until(DEADLINE, "the run has ended", || match server.curl(&[], &format!("/org/{run}")).1 {
                line if line.contains("101 of 101 ended") => Ok(line),
                line => Err(line),
            });
        assert!(line.contains("  killed  "), "{line}");
        server.stop(Signal::SIGTERM);
        server.restart();
    }
}

/// The reason uses the words of the document: over HTTP, and by `borges tasks --why`.
#[test]
fn reason_for_waiting_is_shown() {
    let server = TestServer::with_setupfile("#+borges_mem: 2812\n#+borges_cpus: 2\n");
    let run = server.submit(
        "#+name: fetch\n#+begin_src sh\nsleep 1000\n#+end_src\n\
         #+name: clean\n#+begin_src sh :after fetch\n#+end_src\n\
         #+name: large\n#+begin_src sh :mem 4096\n#+end_src\n\
         #+name: again\n#+begin_src sh :retry 1 :backoff 5m\nexit 3\n#+end_src\n",
    );
    server.wait_for_state(&format!("{run}.1"), "running");
    server.wait_for_state(&format!("{run}.4"), "delayed");
    let said = |task: u32| server.curl(&[], &format!("/tasks/{run}.{task}")).1;
    assert!(said(2).contains("waits for block `fetch` (line 2, running)"), "{}", said(2));
    let large = said(3);
    assert!(
        large.contains("line 9, :mem 4096: the ") && large.contains(" in the last 60 s had 2"),
        "{large}"
    );
    assert!(large.contains(" MB"), "{large}");
    let again = said(4);
    assert!(again.contains("backs off for ") && again.contains("launch 1 ended with exit code 3"), "{again}");
    let why = Command::new(program::path())
        .args(["tasks", "--why", "--server", &format!("http://{}", server.address)])
        .output()
        .unwrap();
    let text = String::from_utf8(why.stdout).unwrap();
    assert!(why.status.success() && text.lines().count() == 3, "{text}");
    assert!(text.contains("large: queued for ") && text.contains("line 9, :mem 4096: "), "{text}");
}

/// A run of 20,000 blocks does not delay the next run, and a block that fits on no agent delays no other.
#[test]
fn large_run_does_not_starve_the_next() {
    let server = TestServer::with_setupfile("#+borges_cpus: 1\n");
    let large = server.submit(&format!(
        "#+begin_src sh :cpu 99\n#+end_src\n{}",
        "#+begin_src sh\nsleep 0.02\n#+end_src\n".repeat(20_000)
    ));
    server.wait_for_state(&format!("{large}.2"), "finished");
    let next = server.submit(&"#+begin_src sh\ntrue\n#+end_src\n".repeat(3));
    server.wait_for_state(&format!("{next}.3"), "finished");
    let (_, line) = server.curl(&[], &format!("/org/{large}"));
    let ended = line.split(" of 20001 ended").next().and_then(|head| head.rsplit(' ').next());
    let ended: usize = ended.unwrap().parse().unwrap();
    assert!(ended < 10_000, "the large one had {ended} of its blocks before: {line}");
    assert_eq!(server.curl(&["-X", "DELETE"], &format!("/org/{large}")).0, 200);
}

#[test]
fn startup_is_logged_in_order() {
    let mut server =
        TestServer::with_setupfile("#+borges_cpus: 3\n#+borges_mem: 2812\n#+borges_user: somebody\n");
    server.stop(Signal::SIGTERM);
    server.restart();
    server.wait_for_log(&[
        "Reading #+setupfile: ",
        "API server running at 127.0.0.1:",
        "borges_user has no effect",
        "Master found: ",
        "Framework registered with id ",
        "] Received offer with cpu 3, mem 2812",
    ]);
}

#[test]
fn submission_errors_are_located_and_nothing_is_launched() {
    let server = TestServer::start();
    let (status, text) =
        server.curl(&["-X", "POST", "--data-binary", "#+begin_src sh :cpu zero\ntrue\n#+end_src\n"], "/org");
    assert_eq!(status, 400);
    assert!(
        text.contains("document:1:16: error: `zero`") && text.contains("No block was scheduled."),
        "{text}"
    );
    let (status, text) = server.curl(
        &["-X", "POST", "-H", "Accept: application/json", "--data-binary", "#+begin_src sh\ntrue\n"],
        "/org",
    );
    assert!(status == 400 && text.contains("\"line\":1"), "{text}");
    // What lies beside the document is not here; nor is it looked for.
    let document = "#+setupfile: /etc/hostname\n #+include: \"part.org\"\n#+begin_src sh\ntrue\n#+end_src\n";
    let (status, text) = server.curl(&["-X", "POST", "--data-binary", document], "/org");
    assert!(status == 400 && text.contains("document:1:14: error: `/etc/hostname` lies where"), "{text}");
    assert!(
        text.contains("document:2:13: error: `\"part.org\"` lies") && text.contains("borges submit"),
        "{text}"
    );
    assert_eq!(server.curl(&[], "/org").1, "");
}

#[test]
fn cross_origin_and_forwarded_requests_are_refused() {
    let server = TestServer::start();
    let post = ["-X", "POST", "--data-binary", "#+begin_src sh\ntrue\n#+end_src\n"];
    for (header, status) in [
        ("Origin: http://evil.example", 403),
        ("Host: evil.example", 421),
        ("X-Forwarded-For: 10.0.0.1", 401),
        ("Origin: null", 403),
    ] {
        for arguments in [[&post[..], &["-H", header]].concat(), vec!["-H", header]] {
            let (came, text) = server.curl(&arguments, "/org");
            assert_eq!(came, status, "{arguments:?}: {text}");
        }
    }
    assert_eq!(server.curl(&[], "/org").1, "", "nothing was launched");
    let token = fs::read_to_string(server.path("state/token")).unwrap();
    let bearer = format!("Authorization: Bearer {}", token.trim());
    assert_eq!(server.curl(&["-H", "X-Forwarded-For: 10.0.0.1", "-H", &bearer], "/org").0, 200);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&server.path("state/token")), mode(&server.path("state"))), (0o600, 0o700));
}

#[test]
fn missing_and_oversized_requests_are_refused() {
    let server = TestServer::with_setupfile("#+borges_max_document: 1M\n#+borges_max_blocks: 3\n");
    for route in [
        "/tasks/0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff.1",
        "/tasks/..%2f..%2fetc%2fpasswd",
        "/tasks/../../../etc/passwd",
        "/org/0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff",
        "/org/..",
        "/nope",
    ] {
        let (status, text) = server.curl(&[], route);
        assert!(status == 404 && text.starts_with("There is no "), "{route}: {status} {text}");
    }
    fs::write(server.path("large"), vec![b'*'; 2 << 20]).unwrap();
    assert_eq!(server.curl(&["-X", "POST", "--data-binary", "@large"], "/org").0, 413);
    fs::write(server.path("many"), "#+begin_src sh\n#+end_src\n".repeat(4)).unwrap();
    let (status, text) = server.curl(&["-X", "POST", "--data-binary", "@many"], "/org");
    assert!(status == 413 && text.contains("borges_max_blocks"), "{text}");
    let (status, text) = server.curl(&["-X", "POST", "--data-binary", "@many"], "/org?dry-run=1");
    assert!(status == 413, "{text}");
    assert_eq!(server.curl(&[], "/healthz"), (200, "OK\n".to_owned()));
    assert_eq!(server.curl(&[], "/").1, concat!("Borges Scheduler v", env!("CARGO_PKG_VERSION")));
}

#[test]
fn second_server_on_a_state_directory_or_port_is_refused() {
    let server = TestServer::start();
    let second = server.run_to_exit();
    assert_eq!(second.status.code(), Some(2));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("is in use by another Borges"), "{said}");
    let port = server.address.rsplit_once(':').unwrap().1;
    let other = TempDir::new().unwrap();
    let setup = other.path().join("setup.org");
    fs::write(&setup, format!("#+borges_port: {port}\n#+borges_data: {}\n", other.path().display())).unwrap();
    let borges = |arguments: &[&str], path: &Path| {
        let mut command = Command::new(program::path());
        command.args(arguments).arg(path);
        with_timeout(&command).output().unwrap()
    };
    let third = borges(&["serve", "-f"], &setup);
    assert_eq!(third.status.code(), Some(2));
    let said = String::from_utf8_lossy(&third.stderr).into_owned();
    assert!(said.contains("borges_port"), "{said}");
    let directory = borges(&["-f"], other.path());
    let said = String::from_utf8_lossy(&directory.stderr).into_owned();
    assert!(directory.status.code() == Some(2) && said.contains("is a directory"), "{said}");
}

//! The server, as curl meets it: the real program, the real curl, real kills.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use futures_util::StreamExt;
use nix::sys::signal::Signal;
use support::cli::with_timeout;
use support::poll::{DEADLINE, poll_until, within_deadline};
use support::program;
use support::server::Served;
use tempfile::TempDir;

const FOREVER: &str = "#+TITLE: t\n#+name: run-forever\n#+BEGIN_SRC sh\necho \"Started running\"\nwhile true; do\n  \
                       echo \"Still running...\"\n  sleep 0.1\ndone\n#+END_SRC\n";

#[test]
fn a_block_outlives_the_server_and_is_found_again() {
    let mut served = Served::start();
    let run = served.submit(FOREVER);
    let task = format!("{run}.1");
    served.wait_for(&task, "running");
    let output = format!("/tasks/{task}/stdout");
    served.signal(Signal::SIGKILL);
    served.run();
    let before = served.curl(&[], &output).1;
    assert!(before.starts_with("Started running\n"), "{before}");
    assert!(served.wait_for(&task, "running").contains("launch 1"));
    // It says more, so it runs; it never said its first words again, so it is the same.
    poll_until(DEADLINE, "the block writes more", || match served.curl(&[], &output).1 {
        text if text.len() > before.len() => Ok(()),
        text => Err(text),
    });
    served.signal(Signal::SIGTERM);
    served.run();
    assert!(served.wait_for(&task, "running").contains("launch 1"));
    assert_eq!(served.curl(&[], &output).1.matches("Started running").count(), 1);

    assert_eq!(served.curl(&["-X", "DELETE"], &format!("/tasks/{task}")).0, 200);
    assert!(served.wait_for(&task, "killed").contains("exit code 143"));
    let (status, text) = served.curl(&[], &format!("/org/{run}"));
    assert!(status == 200 && text.contains("1 of 1 ended"), "{text}");
}

#[test]
fn what_waits_goes_on_after_a_kill() {
    let mut served = Served::start();
    let gate = served.path("gate");
    let run = served.submit(&format!(
        "#+name: a\n#+begin_src sh\nwhile [ ! -e {} ]; do sleep 0.02; done; echo through; exit 3\n#+end_src\n\
         #+name: b\n#+begin_src sh :after a\necho after\n#+end_src\n\
         #+name: c\n#+begin_src sh :requires a\n#+end_src\n",
        gate.display()
    ));
    served.wait_for(&format!("{run}.1"), "running");
    served.signal(Signal::SIGKILL);
    // The block ends while nobody is there.
    fs::write(&gate, "").unwrap();
    served.run();
    assert!(served.wait_for(&format!("{run}.1"), "failed").contains("exit code 3"));
    served.wait_for(&format!("{run}.2"), "finished");
    assert!(served.wait_for(&format!("{run}.3"), "skipped").contains("requires `a`"));
    assert_eq!(served.curl(&[], &format!("/tasks/{run}.1/stdout")).1, "through\n");
    assert_eq!(served.curl(&[], &format!("/tasks/{run}.2/stdout?follow=1")).1, "after\n");
}

/// Frames are numbered without a gap, a task's come in the order of its life, and the run's end comes last.
#[test]
fn a_run_is_heard_of_as_it_happens() {
    let served = Served::start();
    let frames = within_deadline(async {
        let url = format!("ws://{}/ws", served.address);
        let (_, mut socket) = awc::Client::default().ws(url).connect().await.unwrap();
        served.submit("#+name: a\n#+begin_src sh\nexit 4\n#+end_src\n#+name: b\n#+begin_src sh :requires a\n#+end_src\n");
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

/// From before the first launch, over a second one, to the end.
#[test]
fn output_is_followed_as_long_as_the_task_lives() {
    let served = Served::start();
    let gate = served.path("gate");
    let run = served.submit(&format!(
        "#+name: gate\n#+begin_src sh\nwhile [ ! -e {} ]; do sleep 0.02; done\n#+end_src\n\
         #+begin_src sh :after gate :retry 1 :backoff 10ms\necho launch $BORGES_ATTEMPT; exit 3\n#+end_src\n",
        gate.display()
    ));
    let said = std::thread::scope(|scope| {
        let follower = scope.spawn(|| served.curl(&[], &format!("/tasks/{run}.2/stdout?follow=1")));
        served.wait_for(&format!("{run}.1"), "running");
        fs::write(&gate, "").unwrap();
        follower.join().unwrap()
    });
    assert_eq!(said, (200, "launch 1\nlaunch 2\n".to_owned()));
}

/// Under one key a document is one run: also after a kill, and also at the same moment.
#[test]
fn a_post_with_a_key_can_be_repeated() {
    let mut served = Served::start();
    let counter = served.path("counter");
    fs::write(
        served.path("a.org"),
        format!("#+begin_src sh\necho ran >> {}\n#+end_src\n", counter.display()),
    )
    .unwrap();
    fs::write(served.path("b.org"), "#+begin_src sh\ntrue\n#+end_src\n").unwrap();
    let post = |served: &Served, key: &str, file: &str| {
        let (key, file) = (format!("Idempotency-Key: {key}"), format!("@{file}"));
        served.curl(&["-X", "POST", "-H", &key, "--data-binary", &file], "/org")
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let posts: Vec<_> = (0..8).map(|_| scope.spawn(|| post(&served, "once", "a.org"))).collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    let first = &answers[0];
    assert!(first.0 == 200 && first.1.starts_with("Scheduled 1 code blocks"), "{first:?}");
    assert!(answers.iter().all(|answer| answer == first), "{answers:?}");
    served.signal(Signal::SIGKILL);
    served.run();
    assert_eq!(post(&served, "once", "a.org"), *first);
    let (status, text) = post(&served, "once", "b.org");
    assert!(status == 422 && text.contains("another document"), "{text}");
    for key in ["", "two words", &"k".repeat(256)] {
        // curl takes `;` for a header without a value.
        let header =
            if key.is_empty() { "Idempotency-Key;".to_owned() } else { format!("Idempotency-Key: {key}") };
        let (status, text) = served.curl(&["-X", "POST", "-H", &header, "--data-binary", "@b.org"], "/org");
        assert!(status == 400 && text.contains("Idempotency-Key"), "{key}: {status} {text}");
    }
    assert_eq!(served.curl(&[], "/org").1.lines().count(), 1);
    let run = first.1.lines().find_map(|line| line.strip_prefix("run ")).unwrap();
    served.wait_for(&format!("{run}.1"), "finished");
    assert_eq!(fs::read_to_string(counter).unwrap(), "ran\n");
}

/// Whether the agent has noted the exit code of a launch.
fn has_exit_code(served: &Served, launch: &str) -> bool {
    let find = Command::new("find")
        .arg(served.path("state/frameworks"))
        .args(["-path", &format!("*/{launch}/*/block/exit")])
        .output()
        .unwrap();
    !find.stdout.is_empty()
}

/// What blocks have left is known by size and hash, also of those that ended while no server lived, or just before.
#[test]
fn results_are_indexed_in_whichever_life() {
    let mut served = Served::start();
    let gate = served.path("gate");
    let run = served.submit(&format!(
        "#+name: says\n#+begin_src sh\nprintf hello\n#+end_src\n\
         #+name: yields\n#+begin_src python :results value\nreturn 6*7\n#+end_src\n\
         #+name: much\n#+begin_src sh :requires says\nwhile [ ! -e {} ]; do sleep 0.02; done\n\
         head -c 9000000 /dev/zero\n#+end_src\n\
         #+name: never\n#+begin_src sh :requires fails\n#+end_src\n\
         #+name: fails\n#+begin_src sh\necho no >&2; exit 1\n#+end_src\n",
        gate.display()
    ));
    for (number, state) in [(1, "finished"), (2, "finished"), (5, "failed"), (3, "running")] {
        served.wait_for(&format!("{run}.{number}"), state);
    }
    served.signal(Signal::SIGKILL);
    // The third block ends while no server lives.
    fs::write(&gate, "").unwrap();
    poll_until(DEADLINE, "the exit code of the block is noted", || {
        has_exit_code(&served, &format!("{run}.3.1"))
    });
    served.run();
    served.wait_for(&format!("{run}.3"), "finished");
    let route = format!("/org/{run}/results");
    let results = poll_until(DEADLINE, "the results of the four launched blocks", || {
        let (_, text) = served.curl(&["-H", "Accept: application/json"], &route);
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
    let (status, text) = served.curl(&[], &route);
    assert!(
        status == 200 && text.contains(&format!("{run}.1  says (line 2)  block/stdout  5  {hello}\n")),
        "{text}"
    );
}

/// A run that is to be killed is, whatever becomes of the server; and it is known to have been.
#[test]
fn a_kill_of_a_run_outlives_the_server() {
    let mut served = Served::start();
    let run = served.submit(&format!("{FOREVER}{}", "#+begin_src sh :cpu 9999\n#+end_src\n".repeat(100)));
    served.wait_for(&format!("{run}.1"), "running");
    assert_eq!(served.curl(&["-X", "DELETE"], &format!("/org/{run}")).0, 200);
    served.signal(Signal::SIGKILL);
    served.run();
    served.wait_for(&format!("{run}.1"), "killed");
    served.wait_for(&format!("{run}.101"), "killed");
    for _ in 0..2 {
        let line =
            poll_until(DEADLINE, "the run has ended", || match served.curl(&[], &format!("/org/{run}")).1 {
                line if line.contains("101 of 101 ended") => Ok(line),
                line => Err(line),
            });
        assert!(line.contains("  killed  "), "{line}");
        served.signal(Signal::SIGTERM);
        served.run();
    }
}

/// In the document's words: over HTTP, and by `borges tasks --why`.
#[test]
fn why_a_block_does_not_run_is_told() {
    let served = Served::with("#+borges_mem: 2812\n#+borges_cpus: 2\n");
    let run = served.submit(
        "#+name: fetch\n#+begin_src sh\nsleep 1000\n#+end_src\n\
         #+name: clean\n#+begin_src sh :after fetch\n#+end_src\n\
         #+name: large\n#+begin_src sh :mem 4096\n#+end_src\n\
         #+name: again\n#+begin_src sh :retry 1 :backoff 5m\nexit 3\n#+end_src\n",
    );
    served.wait_for(&format!("{run}.1"), "running");
    served.wait_for(&format!("{run}.4"), "delayed");
    let said = |task: u32| served.curl(&[], &format!("/tasks/{run}.{task}")).1;
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
        .args(["tasks", "--why", "--server", &format!("http://{}", served.address)])
        .output()
        .unwrap();
    let text = String::from_utf8(why.stdout).unwrap();
    assert!(why.status.success() && text.lines().count() == 3, "{text}");
    assert!(text.contains("large: queued for ") && text.contains("line 9, :mem 4096: "), "{text}");
}

/// A document of very many blocks does not keep the next one waiting, and what fits nowhere keeps nobody.
#[test]
fn the_next_document_is_not_starved() {
    let served = Served::with("#+borges_cpus: 1\n");
    let large = served.submit(&format!(
        "#+begin_src sh :cpu 99\n#+end_src\n{}",
        "#+begin_src sh\nsleep 0.02\n#+end_src\n".repeat(20_000)
    ));
    served.wait_for(&format!("{large}.2"), "finished");
    let next = served.submit(&"#+begin_src sh\ntrue\n#+end_src\n".repeat(3));
    served.wait_for(&format!("{next}.3"), "finished");
    let (_, line) = served.curl(&[], &format!("/org/{large}"));
    let ended = line.split(" of 20001 ended").next().and_then(|head| head.rsplit(' ').next());
    let ended: usize = ended.unwrap().parse().unwrap();
    assert!(ended < 10_000, "the large one had {ended} of its blocks before: {line}");
    assert_eq!(served.curl(&["-X", "DELETE"], &format!("/org/{large}")).0, 200);
}

#[test]
fn the_log_tells_the_story_in_its_order() {
    let mut served = Served::with("#+borges_cpus: 3\n#+borges_mem: 2812\n#+borges_user: somebody\n");
    served.signal(Signal::SIGTERM);
    served.run();
    served.wait_for_log(&[
        "Reading #+setupfile: ",
        "API server running at 127.0.0.1:",
        "borges_user has no effect",
        "Master found: ",
        "Framework registered with id ",
        "] Received offer with cpu 3, mem 2812",
    ]);
}

#[test]
fn errors_are_located_and_nothing_is_launched() {
    let served = Served::start();
    let (status, text) =
        served.curl(&["-X", "POST", "--data-binary", "#+begin_src sh :cpu zero\ntrue\n#+end_src\n"], "/org");
    assert_eq!(status, 400);
    assert!(
        text.contains("document:1:16: error: `zero`") && text.contains("No block was scheduled."),
        "{text}"
    );
    let (status, text) = served.curl(
        &["-X", "POST", "-H", "Accept: application/json", "--data-binary", "#+begin_src sh\ntrue\n"],
        "/org",
    );
    assert!(status == 400 && text.contains("\"line\":1"), "{text}");
    // What lies beside the document is not here; nor is it looked for.
    let document = "#+setupfile: /etc/hostname\n #+include: \"part.org\"\n#+begin_src sh\ntrue\n#+end_src\n";
    let (status, text) = served.curl(&["-X", "POST", "--data-binary", document], "/org");
    assert!(status == 400 && text.contains("document:1:14: error: `/etc/hostname` lies where"), "{text}");
    assert!(
        text.contains("document:2:13: error: `\"part.org\"` lies") && text.contains("borges submit"),
        "{text}"
    );
    assert_eq!(served.curl(&[], "/org").1, "");
}

#[test]
fn the_doors() {
    let served = Served::start();
    let post = ["-X", "POST", "--data-binary", "#+begin_src sh\ntrue\n#+end_src\n"];
    for (header, status) in [
        ("Origin: http://evil.example", 403),
        ("Host: evil.example", 421),
        ("X-Forwarded-For: 10.0.0.1", 401),
        ("Origin: null", 403),
    ] {
        for arguments in [[&post[..], &["-H", header]].concat(), vec!["-H", header]] {
            let (came, text) = served.curl(&arguments, "/org");
            assert_eq!(came, status, "{arguments:?}: {text}");
        }
    }
    assert_eq!(served.curl(&[], "/org").1, "", "nothing was launched");
    let token = fs::read_to_string(served.path("state/token")).unwrap();
    let bearer = format!("Authorization: Bearer {}", token.trim());
    assert_eq!(served.curl(&["-H", "X-Forwarded-For: 10.0.0.1", "-H", &bearer], "/org").0, 200);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&served.path("state/token")), mode(&served.path("state"))), (0o600, 0o700));
}

#[test]
fn what_is_not_there_and_what_is_too_much() {
    let served = Served::with("#+borges_max_document: 1M\n#+borges_max_blocks: 3\n");
    for route in [
        "/tasks/0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff.1",
        "/tasks/..%2f..%2fetc%2fpasswd",
        "/tasks/../../../etc/passwd",
        "/org/0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff",
        "/org/..",
        "/nope",
    ] {
        let (status, text) = served.curl(&[], route);
        assert!(status == 404 && text.starts_with("There is no "), "{route}: {status} {text}");
    }
    fs::write(served.path("large"), vec![b'*'; 2 << 20]).unwrap();
    assert_eq!(served.curl(&["-X", "POST", "--data-binary", "@large"], "/org").0, 413);
    fs::write(served.path("many"), "#+begin_src sh\n#+end_src\n".repeat(4)).unwrap();
    let (status, text) = served.curl(&["-X", "POST", "--data-binary", "@many"], "/org");
    assert!(status == 413 && text.contains("borges_max_blocks"), "{text}");
    let (status, text) = served.curl(&["-X", "POST", "--data-binary", "@many"], "/org?dry-run=1");
    assert!(status == 413, "{text}");
    assert_eq!(served.curl(&[], "/healthz"), (200, "OK\n".to_owned()));
    assert_eq!(served.curl(&[], "/").1, concat!("Borges Scheduler v", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_state_directory_has_one_server_and_a_port_too() {
    let served = Served::start();
    let second = served.output();
    assert_eq!(second.status.code(), Some(2));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("is in use by another Borges"), "{said}");
    let port = served.address.rsplit_once(':').unwrap().1;
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

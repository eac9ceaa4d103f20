//! The server, as curl meets it: the real program, the real curl, real kills.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use futures_util::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const BORGES: &str = env!("CARGO_BIN_EXE_borges");

/// A server with a state directory of its own.
struct Served {
    home: TempDir,
    server: Option<Child>,
    address: String,
}

impl Served {
    fn start() -> Self {
        Self::with("")
    }

    fn with(setupfile: &str) -> Self {
        let home = TempDir::new().unwrap();
        let data = home.path().join("state");
        let text = format!("#+borges_port: 0\n#+borges_data: {}\n{setupfile}", data.display());
        fs::write(home.path().join("setup.org"), text).unwrap();
        let mut served = Self { home, server: None, address: String::new() };
        served.run();
        served
    }

    /// Starts the server, and waits until it says where it listens.
    fn run(&mut self) {
        let mut server = self.command().stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(server.stderr.take().unwrap()).lines().map(Result::unwrap);
        let said = log.find_map(|line| {
            let (_, rest) = line.split_once("API server running at ")?;
            Some(rest.split(';').next()?.to_owned())
        });
        self.address = said.expect("the server says where it listens");
        // Somebody has to read on, or the server would wait for room.
        std::thread::spawn(move || log.for_each(drop));
        self.server = Some(server);
    }

    fn command(&self) -> Command {
        let mut command = Command::new(BORGES);
        // The original's own way to start it.
        command.arg("-logtostderr=true").arg("-f").arg(self.home.path().join("setup.org"));
        command.env_remove("BORGES_LOG").stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn signal(&mut self, signal: Signal) {
        let mut server = self.server.take().unwrap();
        kill(Pid::from_raw(server.id().try_into().unwrap()), signal).unwrap();
        server.wait().unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// curl's answer: status and body.
    fn curl(&self, arguments: &[&str], route: &str) -> (u16, String) {
        let Output { stdout, stderr, .. } = Command::new("curl")
            .args(["-sS", "--max-time", "60", "--path-as-is", "-w", "\n%{http_code}"])
            .args(arguments)
            .arg(format!("http://{}{route}", self.address))
            .current_dir(self.home.path())
            .output()
            .unwrap();
        let text = String::from_utf8(stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        assert_ne!(status, "000", "{}", String::from_utf8_lossy(&stderr));
        (status.parse().unwrap(), body.to_owned())
    }

    /// Submits a document; its run's id.
    fn submit(&self, document: &str) -> String {
        fs::write(self.path("submitted.org"), document).unwrap();
        let (status, text) = self.curl(&["-X", "POST", "--data-binary", "@submitted.org"], "/org");
        assert_eq!(status, 200, "{text}");
        text.lines().find_map(|line| line.strip_prefix("run ")).expect("a run").to_owned()
    }

    /// Waits until the task is in `state`; its line.
    fn wait_for(&self, task: &str, state: &str) -> String {
        for _ in 0..600 {
            let (status, line) = self.curl(&[], &format!("/tasks/{task}"));
            assert_eq!(status, 200, "{line}");
            if line.contains(&format!("  {state}  ")) {
                return line;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{task} was never {state}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        // The agent and its blocks outlive the server, as they should; they do not outlive the test.
        let ours = self.home.path().as_os_str().as_encoded_bytes().to_owned();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let about =
                ["cmdline", "environ"].map(|file| fs::read(process.path().join(file)).unwrap_or_default());
            let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid
                && about.iter().any(|text| text.windows(ours.len()).any(|part| part == ours))
            {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

const FOREVER: &str = "#+TITLE: t\n#+name: run-forever\n#+BEGIN_SRC sh\necho \"Started running\"\nwhile true; do\n  \
                       echo \"Still running...\"\n  sleep 0.1\ndone\n#+END_SRC\n";

#[test]
fn the_nine_ways_of_curl() {
    let served = Served::start();
    let document = "#+name: a\n#+begin_src sh\ntrue\n#+end_src\n";
    fs::write(served.path("a.org"), document).unwrap();
    let one = "Scheduled 1 code blocks for execution";
    let stripped = format!("curl -X POST --data-binary @FILE http://{}/org", served.address);
    let cases: [(&[&str], u16, &str); 9] = [
        (&["-d@a.org"], 400, &stripped),
        (&["-d", document], 200, one),
        (&["--data-binary", "@a.org"], 200, one),
        (&["-T", "a.org"], 200, one),
        (&["--data-raw", "@a.org"], 400, "the file's name"),
        (&["--data-urlencode", "@a.org"], 200, one),
        (&["--data-urlencode", "doc@a.org"], 200, one),
        (&["-F", "file=@a.org"], 200, one),
        (&["--data-binary", "@a.org", "-H", "Expect: 100-continue"], 200, one),
    ];
    for (arguments, status, said) in cases {
        let arguments = [&["-X", "POST"], arguments].concat();
        let (came, text) = served.curl(&arguments, "/org");
        assert!(came == status && text.contains(said), "{arguments:?}: {came} {text}");
    }
    // The spelling of the original's own design, and nothing but text.
    assert_eq!(served.curl(&["-X", "POST", "--data-binary", "@a.org"], "/org/").0, 200);
    let (status, text) = served.curl(&["-X", "POST", "--data-binary", "nothing here\n"], "/org");
    assert!(status == 200 && text.starts_with("Scheduled 0 code blocks for execution\n"), "{text}");
}

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
    while served.curl(&[], &output).1.len() <= before.len() {}
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
    let frames = actix::System::new().block_on(async {
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
    let second = served.command().stderr(Stdio::piped()).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("is in use by another Borges"), "{said}");
    let port = served.address.rsplit_once(':').unwrap().1;
    let other = TempDir::new().unwrap();
    let setup = other.path().join("setup.org");
    fs::write(&setup, format!("#+borges_port: {port}\n#+borges_data: {}\n", other.path().display())).unwrap();
    let third = Command::new(BORGES).arg("serve").arg("-f").arg(&setup).output().unwrap();
    assert_eq!(third.status.code(), Some(2));
    let said = String::from_utf8_lossy(&third.stderr).into_owned();
    assert!(said.contains("borges_port"), "{said}");
    let directory = Command::new(BORGES).arg("-f").arg(other.path()).output().unwrap();
    assert_eq!(directory.status.code(), Some(2));
}

//! The client commands (`submit`, `tasks`, `logs`, `kill`) against a real server, and against servers that are not Borges.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use support::cli::{CliOutput, CliSandbox, with_timeout};
use support::poll::DEADLINE;
use support::program;
use support::server::{TestServer, free_port};

const FOREVER: &str =
    "#+name: forever\n#+begin_src sh\necho begun\nwhile true; do echo on; sleep 0.1; done\n#+end_src\n";

fn stdout(run: &CliOutput) -> String {
    String::from_utf8_lossy(&run.stdout).into_owned()
}

/// Runs a command with the server's address as `--server`.
fn run_at(sandbox: &CliSandbox, server: &TestServer, arguments: &[&str]) -> CliOutput {
    let url = format!("http://{}", server.address);
    sandbox.run(&[arguments, &["--server", &url]].concat())
}

/// The program with these arguments, below `timeout`.
fn borges(arguments: &[&str]) -> Command {
    let mut command = Command::new(program::path());
    command.args(arguments);
    with_timeout(&command)
}

#[test]
fn submit_follow_shows_a_run_as_borges_run_does() {
    let (sandbox, server) = (CliSandbox::new(), TestServer::start());
    // More than is read at once, in one go.
    sandbox.write(
        "d.org",
        "#+name: a\n#+begin_src sh :retry 1 :backoff 100ms\necho a $BORGES_ATTEMPT; echo aside >&2; [ $BORGES_ATTEMPT = 2 ]\n#+end_src\n\
         #+name: much\n#+begin_src sh :after a\nyes 0123456 | head -c 1600000\n#+end_src\n\
         #+name: c\n#+begin_src sh :requires much\nexit 3\n#+end_src\n\
         #+name: d\n#+begin_src sh :requires c\n#+end_src\n#+begin_src conf\n#+end_src\n",
    );
    let (here, there) =
        (sandbox.run(&["run", "d.org"]), run_at(&sandbox, &server, &["submit", "d.org", "--follow"]));
    for run in [&here, &there] {
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        let said = run.block_output();
        assert_eq!(said["a"], b"a 1\na 2\n");
        assert!(
            said["much"].len() == 1_600_000 && said["much"].ends_with(b"0123456\n"),
            "{}",
            said["much"].len()
        );
        assert!(run.stderr.contains("aside\n"), "{}", run.stderr);
        assert!(run.states("a").last().unwrap().starts_with("finished"), "{}", run.stderr);
        assert!(run.states("c").last().unwrap().starts_with("failed, exit code 3 ("), "{}", run.stderr);
        assert!(run.states("d")[0].starts_with("skipped"), "{}", run.stderr);
        assert!(run.skip_reason("line-16").unwrap().contains("conf"), "{}", run.stderr);
        assert_eq!(run.summary(), "2 finished, 1 failed, 1 skipped");
    }
}

/// Included files are sent with the document, and errors in them are located in their own lines.
#[test]
fn submit_sends_included_files_along() {
    let (sandbox, server) = (CliSandbox::new(), TestServer::start());
    sandbox.write("setup.org", "#+PROPERTY: header-args :env WHO=setup\n");
    sandbox.write("part.org", "text\n#+name: part\n#+begin_src sh\necho part of $WHO\n#+end_src\n");
    sandbox.write(
        "whole.org",
        "#+SETUPFILE: setup.org\n\n#+INCLUDE: \"part.org\"\n#+begin_src conf\n#+end_src\n",
    );
    let run = run_at(&sandbox, &server, &["submit", "whole.org", "--follow"]);
    assert_eq!(
        (run.code, stdout(&run).as_str()),
        (Some(0), "==> part <==\npart of setup\n"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("  line 4: line-"), "{}", run.stderr);

    sandbox.write("part.org", "text\n#+begin_src sh :cpu none\n#+end_src\n");
    let run = run_at(&sandbox, &server, &["submit", "whole.org"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.starts_with("part.org:2:"), "{}", run.stderr);
    // As it lies there, the server has no use for it, and says what to type.
    sandbox.write("bare.org", "#+INCLUDE: \"part.org\"\n");
    let bare = format!("@{}", sandbox.path("bare.org").display());
    let (status, text) = server.curl(&["-X", "POST", "--data-binary", &bare], "/org");
    assert!(status == 400 && text.contains("document:1:") && text.contains("borges submit"), "{text}");
}

#[test]
fn submitted_run_is_listed_followed_and_killed() {
    let (sandbox, server) = (CliSandbox::new(), TestServer::start());
    sandbox.write("d.org", FOREVER);
    let submitted = run_at(&sandbox, &server, &["submit", "d.org"]);
    assert_eq!(submitted.code, Some(0), "{submitted:?}");
    let run = stdout(&submitted).trim().to_owned();
    let task = format!("{run}.1");
    server.wait_for_state(&task, "running");

    let tasks = stdout(&run_at(&sandbox, &server, &["tasks", "--run", &run]));
    assert!(
        tasks.starts_with(&format!("run {run}\nTASK  BLOCK "))
            && tasks.contains(".1    forever  2     running  1"),
        "{tasks}"
    );
    let listed: serde_json::Value =
        serde_json::from_slice(&run_at(&sandbox, &server, &["tasks", "--format", "json"]).stdout).unwrap();
    assert_eq!(listed[0]["task"], task.as_str());
    assert!(stdout(&run_at(&sandbox, &server, &["logs", &task])).starts_with("begun\non\n"));
    assert_eq!(run_at(&sandbox, &server, &["logs", &task, "--stderr"]).stdout, b"");

    let url = format!("http://{}", server.address);
    let interrupted = sandbox.run_interrupted(&["logs", &task, "--follow", "--server", &url], "begun");
    assert_eq!(interrupted.code, Some(130), "{interrupted:?}");

    let mut follower =
        borges(&["logs", &task, "--follow", "--server", &url]).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(run_at(&sandbox, &server, &["kill", &task]).code, Some(0));
    let mut heard = String::new();
    follower.stdout.take().unwrap().read_to_string(&mut heard).unwrap();
    assert_eq!(follower.wait().unwrap().code(), Some(1), "killed is not well");
    assert!(heard.starts_with("begun\non\n"), "{heard}");
    server.wait_for_state(&task, "killed");
    assert_eq!(heard, server.curl(&[], &format!("/tasks/{task}/stdout")).1, "all of it");

    let again = stdout(&run_at(&sandbox, &server, &["submit", "d.org"])).trim().to_owned();
    assert_eq!(run_at(&sandbox, &server, &["kill", &again]).code, Some(0));
    server.wait_for_state(&format!("{again}.1"), "killed");
}

#[test]
fn interrupted_submit_leaves_the_run_running() {
    let (sandbox, server) = (CliSandbox::new(), TestServer::start());
    sandbox.write("d.org", FOREVER);
    let url = format!("http://{}", server.address);
    let run = sandbox.run_interrupted(&["submit", "d.org", "--follow", "--server", &url], "on");
    assert_eq!(run.code, Some(130), "{run:?}");
    let (_, told) = run.stderr.split_once("`borges kill ").expect("how to end it");
    let id = told.split('`').next().unwrap();
    assert!(server.wait_for_state(&format!("{id}.1"), "running").contains("launch 1"));
}

/// The output of blocks is shown completely and once, also if the server restarts in between.
#[test]
fn follow_continues_across_a_server_restart() {
    let (sandbox, mut server) =
        (CliSandbox::new(), TestServer::with_setupfile(&format!("#+borges_port: {}\n", free_port())));
    let gates = ["one", "two"].map(|gate| server.path(gate));
    let wait = |n: usize| format!("while [ ! -e {} ]; do sleep 0.02; done\n", gates[n].display());
    sandbox.write(
        "d.org",
        format!("#+name: a\n#+begin_src sh\necho first\n{}echo second\n#+end_src\n#+name: b\n#+begin_src sh :after a\n{}echo third\n#+end_src\n", wait(0), wait(1)),
    );
    let url = format!("http://{}", server.address);
    let mut follower = borges(&["submit", "d.org", "--follow", "--server", &url])
        .current_dir(sandbox.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    let mut stdout = follower.stdout.take().unwrap();
    while !said.ends_with(b"first\n") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        said.push(byte[0]);
    }
    server.stop(Signal::SIGKILL);
    std::fs::write(&gates[0], "").unwrap();
    server.restart();
    std::fs::write(&gates[1], "").unwrap();
    stdout.read_to_end(&mut said).unwrap();
    let output = follower.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(
        String::from_utf8(said).unwrap(),
        "==> a <==\nfirst\nsecond\n\n==> b <==\nthird\n",
        "{stderr}"
    );
    assert!(stderr.ends_with("2 finished\n"), "{stderr}");
}

#[test]
fn errors_are_located_in_the_submitted_document() {
    let (sandbox, server) = (CliSandbox::new(), TestServer::start());
    sandbox.write("w.org", "#+begin_src sh :cpu zero\ntrue\n#+end_src\n#+begin_src sh\n");
    let (here, there) = (sandbox.run(&["run", "w.org"]), run_at(&sandbox, &server, &["submit", "w.org"]));
    assert_eq!((here.code, there.code), (Some(2), Some(2)));
    assert_eq!(here.stderr, there.stderr);
    assert!(there.stderr.starts_with("w.org:1:16: error: `zero`"), "{}", there.stderr);
    sandbox.write("many.org", "#+begin_src sh :cpu zero\n#+end_src\n".repeat(30));
    assert_eq!(
        sandbox.run(&["run", "many.org"]).stderr,
        run_at(&sandbox, &server, &["submit", "many.org"]).stderr
    );
    sandbox.write("s.org", "#+setupfile: nowhere.org\n#+begin_src sh\n#+end_src\n");
    let setupfile = run_at(&sandbox, &server, &["submit", "s.org"]);
    assert!(
        setupfile.code == Some(2) && setupfile.stderr.starts_with("s.org:1:14: error: "),
        "{setupfile:?}"
    );
    sandbox.write("odd.org", "#+begin_src sh :retyr 1\n#+end_src\n#+name: b\n#+begin_src sh\n#+end_src\n");
    let odd = run_at(&sandbox, &server, &["submit", "odd.org", "--follow", "--name", "b"]);
    assert_eq!((odd.code, odd.summary()), (Some(0), "1 finished"), "{odd:?}");
    let odd = run_at(&sandbox, &server, &["submit", "odd.org"]);
    assert!(odd.stderr.contains("odd.org:1:16: warning: "), "{odd:?}");
    let none = run_at(&sandbox, &server, &["submit", "odd.org", "--name", "c"]);
    assert!(none.code == Some(2) && none.stderr.contains("no block is called `c`"), "{none:?}");
    let json = run_at(&sandbox, &server, &["submit", "odd.org", "--format", "json"]);
    let told: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(told["scheduled"], 2);
    for (arguments, said) in [
        (&["submit", "none.org"][..], "there is no such file"),
        (&["kill", "x"], "write a task's id (RUN.1), or a run's"),
        (&["logs", "x"], "write a task's id"),
        (&["kill", "0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff"], "There is no run"),
        (&["logs", "0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff.1", "--follow"], "There is no task"),
        (&["tasks", "--run", "0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff"], "There is no run"),
    ] {
        let run = run_at(&sandbox, &server, arguments);
        assert!(run.code == Some(2) && run.stderr.contains(said), "{arguments:?}: {run:?}");
    }
}

/// A server that answers every connection with the same bytes, and passes on the requests.
fn stub_server(answer: &'static [u8]) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (to, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|it| it == b"\r\n\r\n") {
                match connection.read(&mut buffer) {
                    Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let _gone = connection.write_all(answer);
            let _gone = connection.shutdown(Shutdown::Write);
            let _gone = connection.read_to_end(&mut Vec::new());
            if to.send(String::from_utf8_lossy(&request).to_lowercase()).is_err() {
                return;
            }
        }
    });
    (url, asked)
}

#[test]
fn foreign_server_is_reported_in_one_line() {
    let sandbox = CliSandbox::new();
    sandbox.write("d.org", "#+begin_src sh\n#+end_src\n");
    let answers: [(&[u8], &str); 8] = [
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 3\r\n\r\n<p>", "is no Borges: it sent 200 OK, text/html"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "is no Borges: it sent 404 Not Found, without content"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", "is no Borges: it sent a redirection (302 Found)"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}", "is no Borges: it sent JSON that no Borges"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{}", "cannot be reached: its answer was cut off"),
        (b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: 2\r\n\r\n[]", "is no Borges"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "`http://127.0.0.1:"),
        (b"", "`http://127.0.0.1:"),
    ];
    for (answer, said) in answers {
        let (url, _asked) = stub_server(answer);
        for command in [
            &["tasks"][..],
            &["submit", "d.org", "--follow"],
            &["kill", "0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff"],
        ] {
            let run = sandbox.run(&[command, &["--server", &url]].concat());
            let told = String::from_utf8_lossy(answer);
            assert!(run.code == Some(3) && run.stderr.contains(said), "{told}: {command:?}: {run:?}");
            assert_eq!(run.stderr.lines().count(), 1, "{told}: {command:?}: {run:?}");
        }
    }
    let nobody = sandbox.run(&["tasks", "--server", "127.0.0.1:1"]);
    assert!(
        nobody.code == Some(3) && nobody.stderr.contains("cannot be reached: Connection refused"),
        "{nobody:?}"
    );
    for bad in ["https://h:1", "h/org", "ftp://h", "h:0"] {
        let run = sandbox.run(&["tasks", "--server", bad]);
        assert!(run.code == Some(2) && run.stderr.contains("http://HOST:PORT"), "{run:?}");
    }
}

#[test]
fn token_is_not_sent_to_the_address_in_a_document() {
    let sandbox = CliSandbox::new();
    let refused = b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/problem+json\r\ncontent-length: 34\r\n\r\n{\"status\":401,\"detail\":\"a token.\"}";
    let (url, asked) = stub_server(refused);
    sandbox.write("d.org", format!("#+borgesaddress: {url}\n#+begin_src sh\n#+end_src\n"));
    let submit = |variables: &[(&str, &str)], arguments: &[&str]| {
        let output = borges(&["submit", "d.org"])
            .args(arguments)
            .env_remove("BORGES_SERVER")
            .env("BORGES_TOKEN", "secret-of-the-user")
            .envs(variables.iter().copied())
            .current_dir(sandbox.path(""))
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), stderr, asked.recv_timeout(DEADLINE).unwrap())
    };
    let (code, stderr, asked) = submit(&[], &[]);
    assert!(asked.starts_with("post /org ") && !asked.contains("secret-of-the-user"), "{asked}");
    assert!(code == Some(2) && stderr.contains("BORGES_TOKEN is shown only to"), "{stderr}");
    for (variables, arguments) in
        [(&[("BORGES_SERVER", url.as_str())][..], &[][..]), (&[], &["--server", &url])]
    {
        let (code, _, asked) = submit(variables, arguments);
        assert!(code == Some(2) && asked.contains("authorization: bearer secret-of-the-user"), "{asked}");
    }
}

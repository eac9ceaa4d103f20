//! The commands that speak to a server: the real program against the real server, and against what is none.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use support::cli::{Place, Run, with_timeout};
use support::poll::DEADLINE;
use support::program;
use support::server::Served;

const FOREVER: &str =
    "#+name: forever\n#+begin_src sh\necho begun\nwhile true; do echo on; sleep 0.1; done\n#+end_src\n";

fn out(run: &Run) -> String {
    String::from_utf8_lossy(&run.stdout).into_owned()
}

/// The command with the server's address behind it.
fn at(place: &Place, served: &Served, arguments: &[&str]) -> Run {
    let url = format!("http://{}", served.address);
    place.borges(&[arguments, &["--server", &url]].concat())
}

/// The program with these arguments; it is ended when it does not end by itself.
fn borges(arguments: &[&str]) -> Command {
    let mut command = Command::new(program::path());
    command.args(arguments);
    with_timeout(&command)
}

#[test]
fn a_run_at_a_server_is_shown_as_one_here() {
    let (place, served) = (Place::new(), Served::start());
    // More than is read at once, in one go.
    place.write(
        "d.org",
        "#+name: a\n#+begin_src sh :retry 1 :backoff 100ms\necho a $BORGES_ATTEMPT; echo aside >&2; [ $BORGES_ATTEMPT = 2 ]\n#+end_src\n\
         #+name: much\n#+begin_src sh :after a\nyes 0123456 | head -c 1600000\n#+end_src\n\
         #+name: c\n#+begin_src sh :requires much\nexit 3\n#+end_src\n\
         #+name: d\n#+begin_src sh :requires c\n#+end_src\n#+begin_src conf\n#+end_src\n",
    );
    let (here, there) =
        (place.borges(&["run", "d.org"]), at(&place, &served, &["submit", "d.org", "--follow"]));
    for run in [&here, &there] {
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        let said = run.said();
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
        assert!(run.not_run("line-16").unwrap().contains("conf"), "{}", run.stderr);
        assert_eq!(run.summary(), "2 finished, 1 failed, 1 skipped");
    }
}

/// What the document names goes with it, and is told by its own lines.
#[test]
fn files_that_a_document_names_are_sent_along() {
    let (place, served) = (Place::new(), Served::start());
    place.write("setup.org", "#+PROPERTY: header-args :env WHO=setup\n");
    place.write("part.org", "text\n#+name: part\n#+begin_src sh\necho part of $WHO\n#+end_src\n");
    place.write(
        "whole.org",
        "#+SETUPFILE: setup.org\n\n#+INCLUDE: \"part.org\"\n#+begin_src conf\n#+end_src\n",
    );
    let run = at(&place, &served, &["submit", "whole.org", "--follow"]);
    assert_eq!((run.code, out(&run).as_str()), (Some(0), "==> part <==\npart of setup\n"), "{}", run.stderr);
    assert!(run.stderr.contains("  line 4: line-"), "{}", run.stderr);

    place.write("part.org", "text\n#+begin_src sh :cpu none\n#+end_src\n");
    let run = at(&place, &served, &["submit", "whole.org"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.starts_with("part.org:2:"), "{}", run.stderr);
    // As it lies there, the server has no use for it, and says what to type.
    place.write("bare.org", "#+INCLUDE: \"part.org\"\n");
    let bare = format!("@{}", place.path("bare.org").display());
    let (status, text) = served.curl(&["-X", "POST", "--data-binary", &bare], "/org");
    assert!(status == 400 && text.contains("document:1:") && text.contains("borges submit"), "{text}");
}

#[test]
fn a_run_is_submitted_followed_and_killed() {
    let (place, served) = (Place::new(), Served::start());
    place.write("d.org", FOREVER);
    let submitted = at(&place, &served, &["submit", "d.org"]);
    assert_eq!(submitted.code, Some(0), "{submitted:?}");
    let run = out(&submitted).trim().to_owned();
    let task = format!("{run}.1");
    served.wait_for(&task, "running");

    let tasks = out(&at(&place, &served, &["tasks", "--run", &run]));
    assert!(
        tasks.starts_with(&format!("run {run}\nTASK  BLOCK "))
            && tasks.contains(".1    forever  2     running  1"),
        "{tasks}"
    );
    let listed: serde_json::Value =
        serde_json::from_slice(&at(&place, &served, &["tasks", "--format", "json"]).stdout).unwrap();
    assert_eq!(listed[0]["task"], task.as_str());
    assert!(out(&at(&place, &served, &["logs", &task])).starts_with("begun\non\n"));
    assert_eq!(at(&place, &served, &["logs", &task, "--stderr"]).stdout, b"");

    let url = format!("http://{}", served.address);
    let interrupted = place.interrupted(&["logs", &task, "--follow", "--server", &url], "begun");
    assert_eq!(interrupted.code, Some(130), "{interrupted:?}");

    let mut follower =
        borges(&["logs", &task, "--follow", "--server", &url]).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(at(&place, &served, &["kill", &task]).code, Some(0));
    let mut heard = String::new();
    follower.stdout.take().unwrap().read_to_string(&mut heard).unwrap();
    assert_eq!(follower.wait().unwrap().code(), Some(1), "killed is not well");
    assert!(heard.starts_with("begun\non\n"), "{heard}");
    served.wait_for(&task, "killed");
    assert_eq!(heard, served.curl(&[], &format!("/tasks/{task}/stdout")).1, "all of it");

    let again = out(&at(&place, &served, &["submit", "d.org"])).trim().to_owned();
    assert_eq!(at(&place, &served, &["kill", &again]).code, Some(0));
    served.wait_for(&format!("{again}.1"), "killed");
}

#[test]
fn an_interrupt_leaves_the_run_to_the_server() {
    let (place, served) = (Place::new(), Served::start());
    place.write("d.org", FOREVER);
    let url = format!("http://{}", served.address);
    let run = place.interrupted(&["submit", "d.org", "--follow", "--server", &url], "on");
    assert_eq!(run.code, Some(130), "{run:?}");
    let (_, told) = run.stderr.split_once("`borges kill ").expect("how to end it");
    let id = told.split('`').next().unwrap();
    assert!(served.wait_for(&format!("{id}.1"), "running").contains("launch 1"));
}

/// What blocks say is shown whole, and once, also when the server ends and comes back in between.
#[test]
fn a_server_that_comes_back_is_followed_on() {
    let (place, mut served) = (Place::new(), Served::with(&format!("#+borges_port: {}\n", free_port())));
    let gates = ["one", "two"].map(|gate| served.path(gate));
    let wait = |n: usize| format!("while [ ! -e {} ]; do sleep 0.02; done\n", gates[n].display());
    place.write(
        "d.org",
        format!("#+name: a\n#+begin_src sh\necho first\n{}echo second\n#+end_src\n#+name: b\n#+begin_src sh :after a\n{}echo third\n#+end_src\n", wait(0), wait(1)),
    );
    let url = format!("http://{}", served.address);
    let mut follower = borges(&["submit", "d.org", "--follow", "--server", &url])
        .current_dir(place.path(""))
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
    served.signal(Signal::SIGKILL);
    std::fs::write(&gates[0], "").unwrap();
    served.run();
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

/// A port that nobody has; a server that is to come back needs the same one.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn errors_stand_where_the_document_has_them() {
    let (place, served) = (Place::new(), Served::start());
    place.write("w.org", "#+begin_src sh :cpu zero\ntrue\n#+end_src\n#+begin_src sh\n");
    let (here, there) = (place.borges(&["run", "w.org"]), at(&place, &served, &["submit", "w.org"]));
    assert_eq!((here.code, there.code), (Some(2), Some(2)));
    assert_eq!(here.stderr, there.stderr);
    assert!(there.stderr.starts_with("w.org:1:16: error: `zero`"), "{}", there.stderr);
    place.write("many.org", "#+begin_src sh :cpu zero\n#+end_src\n".repeat(30));
    assert_eq!(
        place.borges(&["run", "many.org"]).stderr,
        at(&place, &served, &["submit", "many.org"]).stderr
    );
    place.write("s.org", "#+setupfile: nowhere.org\n#+begin_src sh\n#+end_src\n");
    let setupfile = at(&place, &served, &["submit", "s.org"]);
    assert!(
        setupfile.code == Some(2) && setupfile.stderr.starts_with("s.org:1:14: error: "),
        "{setupfile:?}"
    );
    place.write("odd.org", "#+begin_src sh :retyr 1\n#+end_src\n#+name: b\n#+begin_src sh\n#+end_src\n");
    let odd = at(&place, &served, &["submit", "odd.org", "--follow", "--name", "b"]);
    assert_eq!((odd.code, odd.summary()), (Some(0), "1 finished"), "{odd:?}");
    let odd = at(&place, &served, &["submit", "odd.org"]);
    assert!(odd.stderr.contains("odd.org:1:16: warning: "), "{odd:?}");
    let none = at(&place, &served, &["submit", "odd.org", "--name", "c"]);
    assert!(none.code == Some(2) && none.stderr.contains("no block is called `c`"), "{none:?}");
    let json = at(&place, &served, &["submit", "odd.org", "--format", "json"]);
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
        let run = at(&place, &served, arguments);
        assert!(run.code == Some(2) && run.stderr.contains(said), "{arguments:?}: {run:?}");
    }
}

/// Answers every connection with the same bytes; tells what was asked last.
fn stub(answer: &'static [u8]) -> (String, std::sync::mpsc::Receiver<String>) {
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
fn what_is_no_borges_is_told_in_a_sentence() {
    let place = Place::new();
    place.write("d.org", "#+begin_src sh\n#+end_src\n");
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
        let (url, _asked) = stub(answer);
        for command in [
            &["tasks"][..],
            &["submit", "d.org", "--follow"],
            &["kill", "0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff"],
        ] {
            let run = place.borges(&[command, &["--server", &url]].concat());
            let told = String::from_utf8_lossy(answer);
            assert!(run.code == Some(3) && run.stderr.contains(said), "{told}: {command:?}: {run:?}");
            assert_eq!(run.stderr.lines().count(), 1, "{told}: {command:?}: {run:?}");
        }
    }
    let nobody = place.borges(&["tasks", "--server", "127.0.0.1:1"]);
    assert!(
        nobody.code == Some(3) && nobody.stderr.contains("cannot be reached: Connection refused"),
        "{nobody:?}"
    );
    for bad in ["https://h:1", "h/org", "ftp://h", "h:0"] {
        let run = place.borges(&["tasks", "--server", bad]);
        assert!(run.code == Some(2) && run.stderr.contains("http://HOST:PORT"), "{run:?}");
    }
}

#[test]
fn a_documents_own_address_never_hears_the_token() {
    let place = Place::new();
    let refused = b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/problem+json\r\ncontent-length: 34\r\n\r\n{\"status\":401,\"detail\":\"a token.\"}";
    let (url, asked) = stub(refused);
    place.write("d.org", format!("#+borgesaddress: {url}\n#+begin_src sh\n#+end_src\n"));
    let submit = |variables: &[(&str, &str)], arguments: &[&str]| {
        let output = borges(&["submit", "d.org"])
            .args(arguments)
            .env_remove("BORGES_SERVER")
            .env("BORGES_TOKEN", "secret-of-the-user")
            .envs(variables.iter().copied())
            .current_dir(place.path(""))
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

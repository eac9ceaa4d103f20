//! The routes of the server, with valid and invalid requests by curl.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use support::poll::DEADLINE;
use support::server::TestServer;

const JSON: [&str; 2] = ["-H", "Accept: application/json"];
const SENTENCE: &str = "is not the path of a file within a sandbox";

fn json(server: &TestServer, route: &str) -> Value {
    let (status, text) = server.curl(&JSON, route);
    assert_eq!(status, 200, "{route}: {text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn sandbox_files_are_served_and_no_others() {
    let server = TestServer::start();
    std::fs::write(server.path("secret"), "secret").unwrap();
    let script = format!(
        "if [ \"$BORGES_ATTEMPT\" = 1 ]; then echo one > try; exit 1; fi\n\
         mkdir -p deep; head -c 600000 /dev/zero > deep/large.bin; printf 'a,b\\n' > deep/t.csv\n\
         echo '<script>1</script>' > page.html; echo two > try\n\
         ln -s {} outside; ln -s deep/t.csv inside; ln -s / root; mkfifo pipe; echo 1 > 'with space'",
        server.path("secret").display()
    );
    let run = server.submit(&format!("#+begin_src sh :retry 1 :backoff 100ms\n{script}\n#+end_src\n"));
    let task = format!("{run}.1");
    server.wait_for_state(&task, "finished");
    let file = |path: &str| server.curl(&[], &format!("/tasks/{task}/files/{path}"));

    assert_eq!(file("try"), (200, "two\n".to_owned()));
    assert_eq!(file("try?attempt=1"), (200, "one\n".to_owned()));
    assert_eq!(file("inside"), (200, "a,b\n".to_owned()));
    assert_eq!(file("with%20space"), (200, "1\n".to_owned()));
    assert_eq!(file("deep/large.bin").1.len(), 600_000);
    let (status, head) = server.curl(&["-I"], &format!("/tasks/{task}/files/deep/large.bin"));
    let head = head.to_lowercase();
    assert!(status == 200 && head.contains("content-length: 600000"), "{head}");
    let (_, head) = server.curl(&["-I"], &format!("/tasks/{task}/files/page.html"));
    let head = head.to_lowercase();
    assert!(head.contains("text/html") && head.contains("content-security-policy: sandbox"), "{head}");

    for listing in ["", "?attempt=2", "/", "/?attempt=2"] {
        let files = json(&server, &format!("/tasks/{task}/files{listing}"));
        let found =
            |name: &str| files["files"].as_array().unwrap().iter().find(|file| file["name"] == name).cloned();
        assert_eq!(found("deep").unwrap()["kind"], "directory", "{files}");
        assert_eq!(found("outside").unwrap()["kind"], "link", "{files}");
        assert_eq!(found("try").unwrap()["size"], 4, "{files}");
    }
    assert!(file("deep").1.contains("large.bin\n"));
    assert!(file("deep/").1.contains("      600000  large.bin\n"));

    for (path, status, said) in [
        ("none", 404, "There is no file `none`"),
        ("deep/none", 404, "There is no file"),
        ("try/x", 404, "There is no file"),
        ("..", 400, SENTENCE),
        ("../../../../../../secret", 400, SENTENCE),
        ("deep/../try", 400, SENTENCE),
        ("%2e%2e/%2e%2e", 400, SENTENCE),
        ("..%2f..%2fetc%2fpasswd", 400, SENTENCE),
        ("/etc/passwd", 400, SENTENCE),
        ("%2Fetc%2Fpasswd", 400, SENTENCE),
        ("try%00", 400, SENTENCE),
        ("outside", 400, SENTENCE),
        ("root/etc/passwd", 400, SENTENCE),
        ("pipe", 400, SENTENCE),
        ("try?attempt=3", 404, "it has had 2"),
        ("try?attempt=0", 400, "write a whole number from 1"),
        ("try?atempt=1", 400, "Did you mean `attempt`?"),
    ] {
        let (came, text) = file(path);
        assert!(came == status && text.contains(said), "{path}: {came} {text}");
        assert!(!text.contains("secret\n"), "{path}: {text}");
    }
    let never =
        server.submit("#+name: a\n#+begin_src sh\nfalse\n#+end_src\n#+begin_src sh :requires a\n#+end_src\n");
    server.wait_for_state(&format!("{never}.2"), "skipped");
    assert_eq!(server.curl(&[], &format!("/tasks/{never}.2/files")).0, 404);
    assert_eq!(server.curl(&[], "/healthz").0, 200);
}

#[test]
fn bad_requests_are_answered_with_the_correction() {
    let server = TestServer::with_setupfile("#+borges_max_document: 1K\n");
    let run = server.submit("#+begin_src sh\ntrue\n#+end_src\n");
    for (route, status, said) in [
        ("/tasks?limit=0", 400, "`0` is no value of `limit`: write a whole number from 1 to 1000."),
        ("/tasks?limit=-1", 400, "from 1 to 1000"),
        ("/tasks?limit=99999999999999999999", 400, "from 1 to 1000"),
        ("/tasks?limit=1&limit=2", 400, "`limit` comes twice"),
        ("/tasks?after=x", 400, "a task's id (`RUN.N`)"),
        ("/tasks?run=x", 400, "a run's id"),
        ("/tasks?run=0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff", 404, "There is no run"),
        ("/org?limit=1001", 400, "from 1 to 1000"),
        ("/org?after=1", 400, "a run's id"),
        ("/healthz?x=1", 400, "It knows none."),
        ("/ws?run=x", 400, ""),
        ("/ws", 400, "websocket client"),
        ("/%ff", 404, "There is no "),
        ("/tasks/%ff", 404, "There is no "),
        ("/nope", 404, "There is no `GET /nope`."),
        (&format!("/tasks/{run}.1/stdout?follow=yes"), 400, "write `1` or `0`"),
        (&format!("/tasks/{run}.1/stdout?attempt=9"), 404, "such launch"),
    ] {
        let (came, text) = server.curl(&[], route);
        assert!(came == status && text.contains(said) && text.ends_with(".\n"), "{route}: {came} {text}");
        let (came, text) = server.curl(&[&JSON[..], &["-i"]].concat(), route);
        assert!(came == status && text.contains("application/problem+json"), "{route}: {came} {text}");
    }
    for (method, route, allow) in [
        ("PUT", "/org", "GET, HEAD, POST"),
        ("PATCH", "/tasks", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("OPTIONS", "/org/x", "GET, HEAD, DELETE"),
        ("HEAD", "/ws", "GET"),
    ] {
        let arguments = if method == "HEAD" { vec!["-I"] } else { vec!["-i", "-X", method] };
        let (came, text) = server.curl(&arguments, route);
        assert!(
            came == 405 && text.to_lowercase().contains(&format!("allow: {}\r\n", allow.to_lowercase())),
            "{method} {route}: {text}"
        );
    }
    for (arguments, status, said) in [
        (&["--data-binary", "#+begin_src sh\n#+end_src\n"][..], 400, "Did you mean `dry-run`?"),
        (&["--data-binary", &"x".repeat(2000)], 413, "longer than 1024 bytes"),
        (
            &["-H", "Transfer-Encoding: chunked", "--data-binary", &"x".repeat(2000)],
            413,
            "longer than 1024 bytes",
        ),
    ] {
        let route = if status == 413 { "/org" } else { "/org?dryrun=1" };
        let (came, text) = server.curl(&[&["-X", "POST"], arguments].concat(), route);
        assert!(came == status && text.contains(said), "{came} {text}");
    }
    assert_eq!(json(&server, "/org")["runs"].as_array().unwrap().len(), 1, "nothing else was launched");
}

#[test]
fn lists_are_paginated() {
    let server = TestServer::start();
    let block = "#+begin_src sh\ntrue\n#+end_src\n";
    let runs = [server.submit(&block.repeat(3)), server.submit(&block.repeat(2))];
    let pages = |first: &str, list: &str, id: &str| {
        let mut seen = Vec::new();
        let mut route = first.to_owned();
        loop {
            let page = json(&server, &route);
            seen.extend(page[list].as_array().unwrap().iter().map(|it| it[id].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { return seen };
            assert!(seen.len() < 1000, "the pages have no end: {seen:?}");
            route = format!("{first}&after={next}");
        }
    };
    let all: Vec<String> = [(0, 3), (1, 2)]
        .iter()
        .flat_map(|&(n, last)| (1..=last).map(move |task| (n, task)))
        .map(|(n, task)| format!("{}.{task}", runs[n]))
        .collect();
    for limit in [1, 2, 5, 1000] {
        assert_eq!(pages(&format!("/tasks?limit={limit}"), "tasks", "task"), all);
        assert_eq!(pages(&format!("/tasks?run={}&limit={limit}", runs[0]), "tasks", "task"), all[..3]);
        assert_eq!(pages(&format!("/org?limit={limit}"), "runs", "run"), [runs[1].clone(), runs[0].clone()]);
    }
    let named = server.curl(
        &[
            "-X",
            "POST",
            "--data-binary",
            "#+name: a\n#+begin_src sh\n#+end_src\n#+name: b\n#+begin_src sh\n#+end_src\n",
        ],
        "/org?name=b&dry-run=1",
    );
    assert!(named.0 == 200 && named.1.starts_with("Scheduled 1 code"), "{named:?}");
}

/// What the server remembers of a connection does not excuse a request: each is checked by its own headers.
#[test]
fn each_request_on_a_connection_is_checked() {
    let server = TestServer::start();
    let mut connection = TcpStream::connect(&server.address).unwrap();
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut ask = |headers: &str| {
        write!(connection, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while !answer.windows(4).any(|it| it == b"\r\n\r\n") {
            let read = connection.read(&mut buffer).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8_lossy(&answer[9..12]).into_owned()
    };
    // Whose connection it is first matters at the second request.
    for (headers, status) in [
        ("X-Forwarded-For: 10.0.0.1\r\n", "401"),
        ("", "200"),
        ("", "200"),
        ("Origin: http://evil.example\r\n", "403"),
        ("Via: 1.1 proxy\r\n", "401"),
        ("", "200"),
    ] {
        assert_eq!(ask(headers), status, "{headers}");
    }
}

//! Incomplete, slow, flooding and foreign clients: each gets an answer or is disconnected, and the next client is not
//! affected. Durations are printed.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use borges_clock::Clock;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::server::TestServer;

/// The peak memory that a server may have whatever clients do, in KiB: the limit of all bodies, and its own memory.
const MEMORY: u64 = 512 << 10;

fn connect(server: &TestServer) -> TcpStream {
    let client = TcpStream::connect(&server.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client
}

/// The status line of the answer; empty if there is none.
fn status_line(client: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that is reset has ended, too.
    let _reset = client.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

fn check_health(server: &TestServer) {
    assert_eq!(server.curl(&[], "/healthz"), (200, "OK\n".to_owned()));
}

fn is_refusal(line: &str) -> bool {
    line.is_empty() || line.starts_with("HTTP/1.1 4") || line.starts_with("HTTP/1.1 505")
}

#[test]
fn incomplete_and_foreign_requests_are_rejected() {
    let server = TestServer::start();
    let host = format!("Host: {}\r\n", server.address);
    let post = format!("POST /org HTTP/1.1\r\n{host}");
    let long = "x".repeat(300_000);
    let many: String = (0..20_000).map(|n| format!("X-{n}: 1\r\n")).collect();
    let cases: [Vec<u8>; 18] = [
        b"".to_vec(),
        b"\r\n\r\n\r\n".to_vec(),
        b"POST".to_vec(),
        b"POST /org HTTP/1.1\r\n".to_vec(),
        post.clone().into_bytes(),
        format!("{post}Content-Length: 100\r\n\r\n#+begin_src sh\n").into_bytes(),
        format!("{post}Content-Length: -1\r\n\r\n").into_bytes(),
        format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef").into_bytes(),
        format!("{post}Content-Length: 99999999999999999999999\r\n\r\n").into_bytes(),
        format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\nabc").into_bytes(),
        format!("{post}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc").into_bytes(),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n5\r\nab").into_bytes(),
        format!("GET /{long} HTTP/1.1\r\n{host}\r\n").into_bytes(),
        format!("GET / HTTP/1.1\r\n{host}X: {long}\r\n\r\n").into_bytes(),
        format!("GET / HTTP/1.1\r\n{host}{many}\r\n").into_bytes(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello".to_vec(),
        vec![0; 100_000],
    ];
    for case in &cases {
        let mut client = connect(&server);
        // It may be refused before it is all sent.
        let _cut_short = client.write_all(case).and_then(|()| client.shutdown(Shutdown::Write));
        let line = status_line(&mut client);
        assert!(is_refusal(&line), "{:?}: {line}", String::from_utf8_lossy(&case[..case.len().min(80)]));
        // The same, and the client disconnects without reading.
        let mut client = connect(&server);
        let _cut_short = client.write_all(case);
        drop(client);
        check_health(&server);
    }
    assert_eq!(server.curl(&[], "/org").1, "", "nothing was launched");
}

/// A client that sends nothing, one that stops in the head or the body, and one that sends a byte at a time are all
/// disconnected.
#[test]
fn slow_clients_are_timed_out() {
    let server = TestServer::start();
    let head = format!("POST /org HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000\r\n", server.address);
    let silent = connect(&server);
    let mut begun = connect(&server);
    begun.write_all(head.as_bytes()).unwrap();
    let mut stalled = connect(&server);
    stalled.write_all(format!("{head}\r\n#+begin_src sh\n").as_bytes()).unwrap();
    let mut drip = connect(&server);
    drip.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let clock = Clock::system();
    let mut dripping = drip.try_clone().unwrap();
    let drops = std::thread::spawn(move || {
        // Until the server closes the connection, which it must have done long before the last of these.
        for _ in 0..1000 {
            if dripping.write_all(b"#").is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        panic!("the server lets a client drip for ever");
    });
    for (name, mut client, wanted) in
        [("silent", silent, ""), ("begun", begun, "408"), ("stalled", stalled, "408"), ("drip", drip, "408")]
    {
        let line = status_line(&mut client);
        assert!(line.contains(wanted) && is_refusal(&line), "{name}: {line}");
        println!("{name}: let go after {:.1} s", clock.elapsed().as_secs_f64());
        check_health(&server);
    }
    drops.join().unwrap();
    assert_eq!(server.curl(&[], "/org").1, "", "nothing was launched");
}

#[test]
fn oversized_documents_are_rejected() {
    let server = TestServer::start();
    fs::write(server.path("large.org"), "#+begin_src sh\ntrue\n#+end_src\n".repeat(600_000)).unwrap();
    for arguments in [&["-X", "POST", "--data-binary", "@large.org"][..], &["-X", "POST", "-T", "large.org"]]
    {
        for more in [&[][..], &["-H", "Transfer-Encoding: chunked"]] {
            let (status, text) = server.curl(&[arguments, more].concat(), "/org");
            assert!(
                status == 413 && text.contains("borges_max_document"),
                "{arguments:?} {more:?}: {status} {text}"
            );
        }
    }
    check_health(&server);
    println!("most memory: {} KiB", server.peak_memory_kib());
    assert!(server.peak_memory_kib() < MEMORY);
}

#[test]
fn ten_thousand_idle_connections_are_served() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard >= 11_000, "this needs 11,000 open files: `ulimit -Hn` says {hard}");
    // A server that may have 1,000, and as many as the system gives when it takes them.
    let server = TestServer::start_in(&["prlimit", "--nofile=1000:", "--"], "#+borges_port: 0\n");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let before = server.peak_memory_kib();
    let clock = Clock::system();
    let idle: Vec<TcpStream> = (0..10_000).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    println!("10,000 connections: {:.1} s", clock.elapsed().as_secs_f64());
    let asked = clock.elapsed();
    check_health(&server);
    println!("an answer beside them: {:.3} s", clock.elapsed().saturating_sub(asked).as_secs_f64());
    println!("memory: {before} KiB before, {} KiB at most", server.peak_memory_kib());
    assert!(server.peak_memory_kib() < MEMORY);
    // Blocks run, and are heard of, all the same.
    let run = server.submit("#+begin_src sh\nulimit -Sn\n#+end_src\n");
    server.wait_for_state(&format!("{run}.1"), "finished");
    // It takes them for its clients, not for blocks.
    assert_eq!(server.curl(&[], &format!("/tasks/{run}.1/stdout")).1, "1000\n");
    drop(idle);
    check_health(&server);
}

/// Access control covers the websocket, too.
#[test]
fn unauthorised_websockets_are_rejected() {
    let server = TestServer::start();
    let upgrade = [
        "-H",
        "Connection: Upgrade",
        "-H",
        "Upgrade: websocket",
        "-H",
        "Sec-WebSocket-Version: 13",
        "-H",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    for (header, wanted) in [
        ("Origin: http://evil.example", 403),
        ("Origin: null", 403),
        ("Host: evil.example", 421),
        ("Forwarded: for=10.0.0.1", 401),
    ] {
        let arguments = [&upgrade[..], &["-H", header]].concat();
        for route in ["/ws", "/ws?since=0&output=1"] {
            assert_eq!(server.curl(&arguments, route).0, wanted, "{header} {route}");
        }
    }
    for (route, wanted) in
        [("/ws", 400), ("/ws?since=-1", 400), ("/ws?task=..%2f..", 404), ("/ws?run=1", 400)]
    {
        let (status, text) = server.curl(&[], route);
        assert_eq!(status, wanted, "{route}: {text}");
    }
    check_health(&server);
}

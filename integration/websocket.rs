//! `/ws`, read by the client of Python's package `websockets`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use borges_clock::Clock;
use nix::sys::signal::Signal;
use serde_json::Value;
use support::poll::DEADLINE;
use support::server::TestServer;
use support::websocket::WebsocketClient;

fn is(frame: &Value, block: &str, state: &str) -> bool {
    frame["block"] == block && frame["state"] == state
}

fn ends(frame: &Value, run: &str) -> bool {
    frame["task"].is_null() && frame["run"] == run
}

fn numbers(frames: &[Value]) -> Vec<u64> {
    frames.iter().filter_map(|frame| frame["seq"].as_u64()).collect()
}

/// The text of a stream, composed of its frames by their offsets.
fn text(frames: &[Value], task: &str, stream: &str) -> String {
    let mut pieces = BTreeMap::new();
    for frame in frames.iter().filter(|frame| frame["task"] == task && frame["stream"] == stream) {
        pieces.insert(frame["offset"].as_u64().unwrap(), frame["text"].as_str().unwrap());
    }
    let mut whole = String::new();
    for (offset, piece) in pieces {
        assert_eq!(offset, whole.len() as u64, "a gap in {stream} of {task}");
        whole += piece;
    }
    whole
}

/// A client submits, follows, loses the server, connects again and kills a task: it gets every event once.
#[test]
#[ignore = "needs Python packages: integration/check python"]
fn events_are_complete_across_a_server_kill() {
    let mut server = TestServer::start();
    let gate = server.path("gate");
    let first = WebsocketClient::start(&server, "?output=1&since=0");
    let run = server.submit(&format!(
        "#+name: quick\n#+begin_src sh\necho out; echo err >&2; exit 3\n#+end_src\n\
         #+name: gated\n#+begin_src sh\necho before; while [ ! -e {} ]; do sleep 0.02; done; echo äfter\n#+end_src\n\
         #+name: last\n#+begin_src sh :after gated\necho last\n#+end_src\n\
         #+name: endless\n#+begin_src sh\necho started; while true; do sleep 0.1; done\n#+end_src\n",
        gate.display()
    ));
    let mut heard = first.until(|frame| frame["text"] == "started\n");
    while text(&heard, &format!("{run}.2"), "stdout") != "before\n"
        || !heard.iter().any(|frame| is(frame, "quick", "failed"))
    {
        heard.push(first.next());
    }
    // All of a block's output comes before its end.
    let end = heard.iter().position(|frame| is(frame, "quick", "failed")).unwrap();
    assert_eq!(text(&heard[..end], &format!("{run}.1"), "stdout"), "out\n");
    assert_eq!(text(&heard[..end], &format!("{run}.1"), "stderr"), "err\n");

    server.stop(Signal::SIGKILL);
    heard.extend(first.until(|frame| frame.get("closed").is_some()));
    let last = *numbers(&heard).last().unwrap();
    fs::write(&gate, "").unwrap();
    server.restart();

    let second = WebsocketClient::start(&server, &format!("?output=1&since={last}"));
    let again = second.until(|frame| is(frame, "last", "finished"));
    assert_eq!(server.curl(&["-X", "DELETE"], &format!("/tasks/{run}.4")).0, 200);
    let again = [again, second.until(|frame| ends(frame, &run))].concat();
    assert_eq!(again.last().unwrap()["state"], "failed");
    assert_eq!(text(&again, &format!("{run}.2"), "stdout"), "before\näfter\n");
    assert_eq!(text(&again, &format!("{run}.3"), "stdout"), "last\n");
    assert_eq!(text(&again, &format!("{run}.4"), "stdout"), "started\n");

    let both = [heard, again].concat();
    let all = numbers(&both);
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>());
    for (block, life) in [
        ("quick", &["queued", "launching", "running", "failed"][..]),
        ("gated", &["queued", "launching", "running", "finished"]),
        ("last", &["blocked", "queued", "launching", "running", "finished"]),
        ("endless", &["queued", "launching", "running", "killing", "killed"]),
    ] {
        let ours = both.iter().filter(|frame| frame["block"] == block);
        let lived: Vec<_> = ours.map(|frame| frame["state"].as_str().unwrap()).collect();
        assert_eq!(lived, life, "{block}");
    }

    // A server that goes in peace says so; what it told is told the same again, to whom it concerns.
    server.stop(Signal::SIGTERM);
    let leave = second.until(|frame| frame.get("closed").is_some()).pop().unwrap();
    assert_eq!((&leave["closed"], &leave["reason"]), (&1001.into(), &"the server is going away".into()));
    server.restart();
    let other = server.submit("#+begin_src sh\ntrue\n#+end_src\n");
    let one = WebsocketClient::start(&server, &format!("?since=0&task={run}.1"));
    let mut told: Vec<Value> = both.iter().filter(|frame| is_of(frame, &run, 1)).cloned().collect();
    told.push(both.last().unwrap().clone());
    assert_eq!(one.until(|frame| ends(frame, &run)), told);
    let late = WebsocketClient::start(&server, &format!("?since=0&run={other}"));
    assert!(late.until(|frame| ends(frame, &other)).iter().all(|frame| frame["run"] == *other));
}

fn is_of(frame: &Value, run: &str, number: u32) -> bool {
    frame["task"] == format!("{run}.{number}") && frame.get("seq").is_some()
}

/// The time of a frame, in seconds since 1970.
fn second(frame: &Value) -> i64 {
    frame["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second()
}

#[test]
#[ignore = "needs Python packages: integration/check python"]
fn unknown_sequence_number_is_answered_with_a_gap() {
    let server = TestServer::start();
    let listener = WebsocketClient::start(&server, "?since=1000");
    let gap = listener.next();
    assert_eq!((&gap["gap"], &gap["from"], &gap["to"]), (&true.into(), &1.into(), &1000.into()));
    let run = server.submit("#+begin_src sh\ntrue\n#+end_src\n");
    let heard = listener.until(|frame| ends(frame, &run));
    assert_eq!(numbers(&heard), (1..=heard.len() as u64).collect::<Vec<_>>());
}

/// Megabytes of output in both streams arrive, with characters of several bytes across the borders of frames.
#[test]
#[ignore = "needs Python packages: integration/check python"]
fn large_output_is_streamed_completely() {
    let server = TestServer::start();
    let listener = WebsocketClient::start(&server, "?output=1&since=0");
    let run = server.submit(
        "#+begin_src sh\nawk 'BEGIN { for (i = 0; i < 200000; i++) print i \" älter ☃ 🦀\" }' | tee /dev/stderr\n#+end_src\n",
    );
    let heard = listener.until(|frame| ends(frame, &run));
    let wanted = (0..200_000).fold(String::new(), |text, i| text + &format!("{i} älter ☃ 🦀\n"));
    for stream in ["stdout", "stderr"] {
        assert!(text(&heard, &format!("{run}.1"), stream) == wanted, "{stream} differs");
    }
}

/// A client that does not read delays no other client. It is disconnected with the number from which to continue.
#[test]
#[ignore = "needs Python packages: integration/check python"]
fn slow_client_is_disconnected_and_can_resume() {
    let server = TestServer::start();
    let mut slow = TcpStream::connect(&server.address).unwrap();
    write!(
        slow,
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.address
    )
    .unwrap();
    let mut began = [0; 12];
    slow.read_exact(&mut began).unwrap();
    assert_eq!(&began, b"HTTP/1.1 101");
    let brisk = WebsocketClient::start(&server, "?since=0");
    // Nobody offers as much: they are queued, and killed.
    let many = "#+begin_src sh :cpu 9999\n#+end_src\n".repeat(20_000);
    let mut told = 0;
    let mut first = None;
    let mut last = 0;
    // Until the first of what was told is older than anybody may be late.
    let clock = Clock::system();
    while told < 100_000 || first.is_none_or(|first| last - first < 12) {
        let run = server.submit(&many);
        assert_eq!(server.curl(&["-X", "DELETE"], &format!("/org/{run}")).0, 200);
        let heard = brisk.until(|frame| ends(frame, &run));
        last = second(heard.last().unwrap());
        first = first.or(Some(last));
        told += heard.len();
        assert!(
            clock.elapsed() < 5 * DEADLINE,
            "{told} events, the last {:?} s after the first",
            first.map(|first| last - first)
        );
    }
    slow.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    let tail = String::from_utf8_lossy(&rest[rest.len().saturating_sub(80)..]).into_owned();
    assert!(tail.contains("s behind: come again with ?since="), "{tail}");
    let since: u64 = tail.rsplit('=').next().unwrap().parse().unwrap();
    assert!(since > 0 && since < told as u64, "{since} of {told}");
    let again = WebsocketClient::start(&server, &format!("?since={since}"));
    let heard = again.until(|frame| frame["seq"] == told as u64);
    assert_eq!(numbers(&heard), (since + 1..=told as u64).collect::<Vec<_>>());
}

//! The original's own setupfile, on the machine it was written for: a network namespace with its address. And
//! another machine beside it, which is not let in without the token.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;
use support::server::Served;

/// As the original's README has it.
const SETUPFILE: &str = include_str!("compatibility/borges-config.org");

/// Two machines on one wire.
struct Machines {
    ours: String,
    other: String,
}

impl Machines {
    fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        let machines = Self { ours: format!("borges-ours-{id}"), other: format!("borges-other-{id}") };
        let Self { ours, other } = &machines;
        for namespace in [ours, other] {
            ip(&["netns", "add", namespace]);
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
        }
        ip(&["-n", ours, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", other]);
        for (namespace, address) in [(ours, "192.168.0.7/24"), (other, "192.168.0.9/24")] {
            ip(&["-n", namespace, "address", "add", address, "dev", "wire"]);
            ip(&["-n", namespace, "link", "set", "wire", "up"]);
        }
        machines
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for namespace in [&self.ours, &self.other] {
            let _ = Command::new("ip").args(["netns", "delete", namespace]).status();
        }
    }
}

fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).status().expect("`ip` is there: Debian's iproute2");
    assert!(done.success(), "ip {arguments:?} (it needs root)");
}

#[test]
fn the_originals_setupfile_serves_its_own_machine_and_no_other() {
    let machines = Machines::new();
    let Machines { ours, other } = &machines;
    let within = ["ip", "netns", "exec", ours, "env", "BORGES_MESOS_MASTER=local"];
    let served = Served::within(&within, SETUPFILE);
    assert_eq!(served.address, "192.168.0.7:8888");

    // curl, typed on the other machine.
    let from_there = |arguments: &[&str], route: &str| {
        let (status, body) = served.bytes_from(&["ip", "netns", "exec", other], arguments, route);
        (status, String::from_utf8(body).unwrap())
    };

    let document = "\n#+name: a\n#+begin_src sh\necho here\n#+end_src\n";
    let post = ["-X", "POST", "-d", document];
    let (status, text) = served.curl(&post, "/org");
    assert!(status == 200 && text.starts_with("Scheduled 1 code blocks for execution\n"), "{status} {text}");
    let run = text.lines().find_map(|line| line.strip_prefix("run ")).unwrap();
    let output = format!("/tasks/{run}.1/stdout");
    assert_eq!(served.curl(&[], &format!("{output}?follow=1")), (200, "here\n".to_owned()));

    let websocket = [
        ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket"],
        ["-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
    ]
    .concat();
    for (arguments, route) in [(&post[..], "/org"), (&[], &output), (&[], "/"), (&websocket, "/ws")] {
        let (status, text) = from_there(arguments, route);
        assert!(status == 401 && text.contains("token"), "{route}: {status} {text}");
    }
    // Who says that somebody else asks is not the machine itself either.
    assert_eq!(served.curl(&["-H", "X-Forwarded-For: 192.168.0.9"], "/org").0, 401);
    assert_eq!(served.curl(&[], "/org").1.lines().count(), 1, "nothing else was launched");

    let token = fs::read_to_string(served.path("state/token")).unwrap();
    let bearer = format!("Authorization: Bearer {}", token.trim());
    assert_eq!(from_there(&["-H", &bearer], &output), (200, "here\n".to_owned()));
    assert_eq!(from_there(&[&post[..], &["-H", &bearer]].concat(), "/org").0, 200);
}

/// A browser on another machine brings the token once, and keeps it where no script and no other site gets at it.
#[test]
fn a_browser_keeps_the_token_as_a_cookie() {
    let machines = Machines::new();
    let Machines { ours, other } = &machines;
    let served =
        Served::within(&["ip", "netns", "exec", ours, "env", "BORGES_MESOS_MASTER=local"], SETUPFILE);
    let from_there = |arguments: &[&str], route: &str| {
        let (status, body) = served.bytes_from(&["ip", "netns", "exec", other], arguments, route);
        (status, String::from_utf8(body).unwrap())
    };
    let jar = served.path("jar");
    let jar = jar.to_str().unwrap();
    let token = fs::read_to_string(served.path("state/token")).unwrap();
    assert_eq!(from_there(&["-c", jar, "-b", jar], "/?token=wrong").0, 401);
    assert_eq!(from_there(&["-b", jar], "/").0, 401);
    let (status, head) = from_there(&["-D", "-", "-c", jar, "-b", jar], &format!("/?token={}", token.trim()));
    let cookie = head.lines().find(|line| line.to_lowercase().starts_with("set-cookie: ")).unwrap();
    assert!(status == 200 && cookie.contains("; HttpOnly; SameSite=Strict"), "{status} {head}");
    assert_eq!(from_there(&["-b", jar], "/org").0, 200);
    // With the cookie, too, only the server's own pages may ask.
    assert_eq!(from_there(&["-b", jar, "-H", "Origin: http://evil.example"], "/org").0, 403);
    assert_eq!(from_there(&["-b", jar, "-H", "Origin: http://192.168.0.7:8888"], "/org").0, 200);
}

#[test]
fn open_doors_are_open_and_the_log_says_so() {
    let machines = Machines::new();
    let Machines { ours, other } = &machines;
    let within = ["ip", "netns", "exec", ours, "env", "BORGES_MESOS_MASTER=local"];
    let mut served = Served::within(&within, &format!("{SETUPFILE}#+borges_open: t\n"));
    let there = ["ip", "netns", "exec", other];
    assert_eq!(served.bytes_from(&there, &[], "/org").0, 200);
    // Open to machines, not to the pages of others.
    assert_eq!(served.bytes_from(&there, &["-H", "Origin: http://evil.example"], "/org").0, 403);
    assert_eq!(served.bytes_from(&there, &["-H", "Host: evil.example"], "/org").0, 421);
    served.signal(Signal::SIGTERM);
    let mut again = served.command().stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(again.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(log.any(|line| line.contains("borges_open: whoever reaches 192.168.0.7:8888 may run code here")));
    again.kill().unwrap();
    again.wait().unwrap();
}

/// On the same machine, too: who is neither the server's user nor root needs the token.
#[test]
fn another_user_is_a_stranger() {
    let served = Served::with("#+borges_hosts: borges.example other.example\n");
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let (status, body) = served.bytes_from(&nobody, &[], "/org");
    let text = String::from_utf8(body).unwrap();
    assert!(status == 401 && text.contains("token"), "{status} {text}");
    let token = fs::read_to_string(served.path("state/token")).unwrap();
    let bearer = format!("Authorization: Bearer {}", token.trim());
    assert_eq!(served.bytes_from(&nobody, &["-H", &bearer], "/org").0, 200);
    for (host, status) in [("other.example", 200), ("borges.example:80", 200), ("evil.example", 421)] {
        assert_eq!(served.curl(&["-H", &format!("Host: {host}")], "/org").0, status, "{host}");
    }
}

//! The original's own setupfile, on the machine it was written for: a network namespace with its address. And
//! another machine beside it, which is not let in without the token.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod served;

use std::fs;
use std::process::Command;

use served::Served;

/// As the original's README has it.
const SETUPFILE: &str = "#+TITLE: Borges Configuration\n\n#+mesos_master: 192.168.0.7:5050\n\
                         #+borges_bind:  192.168.0.7\n#+borges_port:  8888\n";

/// Two machines on one wire.
struct Machines {
    ours: String,
    other: String,
}

impl Machines {
    fn new() -> Self {
        let pid = std::process::id();
        let machines = Self { ours: format!("borges-ours-{pid}"), other: format!("borges-other-{pid}") };
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

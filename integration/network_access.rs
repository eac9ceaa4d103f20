//! Access from the server's machine, from another machine, and by another user.
//!
//! The machines are network namespaces. The server has the setupfile of the original Borges, and the address in it.

use std::fs;

use nix::sys::signal::Signal;
use support::features::Feature;
use support::namespaces::ConnectedNamespaces;
use support::server::TestServer;

/// The setupfile in the README of the original Borges.
const SETUPFILE: &str = include_str!("compatibility/borges-config.org");

#[test]
#[ignore = "needs root"]
fn other_machine_needs_the_token() {
    if Feature::NetworkNamespaces.is_absent() {
        return;
    }
    let machines = ConnectedNamespaces::new();
    let (ours, other) = (machines.first.prefix(), machines.second.prefix());
    let within = [&ours[..], &["env", "BORGES_MESOS_MASTER=local"]].concat();
    let server = TestServer::start_in(&within, SETUPFILE);
    assert_eq!(server.address, "192.168.0.7:8888");

    // curl, typed on the other machine.
    let from_there = |arguments: &[&str], route: &str| {
        let (status, body) = server.curl_from(&other, arguments, route);
        (status, String::from_utf8(body).unwrap())
    };

    let document = "\n#+name: a\n#+begin_src sh\necho here\n#+end_src\n";
    let post = ["-X", "POST", "-d", document];
    let (status, text) = server.curl(&post, "/org");
    assert!(status == 200 && text.starts_with("Scheduled 1 code blocks for execution\n"), "{status} {text}");
    let run = text.lines().find_map(|line| line.strip_prefix("run ")).unwrap();
    let output = format!("/tasks/{run}.1/stdout");
    assert_eq!(server.curl(&[], &format!("{output}?follow=1")), (200, "here\n".to_owned()));

    let websocket = [
        ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket"],
        ["-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
    ]
    .concat();
    for (arguments, route) in [(&post[..], "/org"), (&[], &output), (&[], "/"), (&websocket, "/ws")] {
        let (status, text) = from_there(arguments, route);
        assert!(status == 401 && text.contains("token"), "{route}: {status} {text}");
    }
    // A forwarded request does not count as one from the machine itself.
    assert_eq!(server.curl(&["-H", "X-Forwarded-For: 192.168.0.9"], "/org").0, 401);
    assert_eq!(server.curl(&[], "/org").1.lines().count(), 1, "nothing else was launched");

    let token = fs::read_to_string(server.path("state/token")).unwrap();
    let bearer = format!("Authorization: Bearer {}", token.trim());
    assert_eq!(from_there(&["-H", &bearer], &output), (200, "here\n".to_owned()));
    assert_eq!(from_there(&[&post[..], &["-H", &bearer]].concat(), "/org").0, 200);
}

/// A browser on another machine sends the token once, and keeps it in a cookie that scripts and other sites cannot read.
#[test]
#[ignore = "needs root"]
fn browser_keeps_the_token_as_a_cookie() {
    if Feature::NetworkNamespaces.is_absent() {
        return;
    }
    let machines = ConnectedNamespaces::new();
    let (ours, other) = (machines.first.prefix(), machines.second.prefix());
    let server =
        TestServer::start_in(&[&ours[..], &["env", "BORGES_MESOS_MASTER=local"]].concat(), SETUPFILE);
    let from_there = |arguments: &[&str], route: &str| {
        let (status, body) = server.curl_from(&other, arguments, route);
        (status, String::from_utf8(body).unwrap())
    };
    let jar = server.path("jar");
    let jar = jar.to_str().unwrap();
    let token = fs::read_to_string(server.path("state/token")).unwrap();
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
#[ignore = "needs root"]
fn open_server_admits_other_machines_and_logs_it() {
    if Feature::NetworkNamespaces.is_absent() {
        return;
    }
    let machines = ConnectedNamespaces::new();
    let (ours, other) = (machines.first.prefix(), machines.second.prefix());
    let within = [&ours[..], &["env", "BORGES_MESOS_MASTER=local"]].concat();
    let mut server = TestServer::start_in(&within, &format!("{SETUPFILE}#+borges_open: t\n"));
    assert_eq!(server.curl_from(&other, &[], "/org").0, 200);
    // Open to machines, not to the pages of others.
    assert_eq!(server.curl_from(&other, &["-H", "Origin: http://evil.example"], "/org").0, 403);
    assert_eq!(server.curl_from(&other, &["-H", "Host: evil.example"], "/org").0, 421);
    server.stop(Signal::SIGTERM);
    server.restart();
    server.wait_for_log(&["borges_open: whoever reaches 192.168.0.7:8888 may run code here"]);
}

/// On the same machine, too, a user other than the server's and root needs the token.
#[test]
#[ignore = "needs root"]
fn other_local_user_needs_the_token() {
    let server = TestServer::with_setupfile("#+borges_hosts: borges.example other.example\n");
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let (status, body) = server.curl_from(&nobody, &[], "/org");
    let text = String::from_utf8(body).unwrap();
    assert!(status == 401 && text.contains("token"), "{status} {text}");
    let token = fs::read_to_string(server.path("state/token")).unwrap();
    let bearer = format!("Authorization: Bearer {}", token.trim());
    assert_eq!(server.curl_from(&nobody, &["-H", &bearer], "/org").0, 200);
    for (host, status) in [("other.example", 200), ("borges.example:80", 200), ("evil.example", 421)] {
        assert_eq!(server.curl(&["-H", &format!("Host: {host}")], "/org").0, status, "{host}");
    }
}

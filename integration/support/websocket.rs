//! A websocket client that is not ours: Python's package `websockets`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use serde_json::Value;

use crate::poll::DEADLINE;
use crate::repository;
use crate::server::TestServer;

/// A client of `/ws`, which reads frames until it is dropped.
pub struct WebsocketClient {
    client: Child,
    lines: Receiver<Value>,
}

impl WebsocketClient {
    /// Connects to `/ws` with a query string.
    pub fn start(server: &TestServer, query: &str) -> Self {
        let python = repository("target/python/bin/python3");
        let script = repository("integration/support/listen.py");
        let mut client = Command::new(python)
            .arg(script)
            .arg(format!("ws://{}/ws{query}", server.address))
            .stdout(Stdio::piped())
            .spawn()
            .expect("`integration/check python` installs the client");
        let output = BufReader::new(client.stdout.take().unwrap());
        let (to, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _nobody_reads = to.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { client, lines }
    }

    /// The next frame.
    pub fn next(&self) -> Value {
        self.lines.recv_timeout(DEADLINE).expect("another frame")
    }

    /// The frames up to the first one that is `wanted`, with that one.
    pub fn until(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            frames.push(self.next());
            if wanted(frames.last().unwrap()) {
                return frames;
            }
        }
    }
}

impl Drop for WebsocketClient {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

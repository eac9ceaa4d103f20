//! `/ws`, as a client written by others hears it: Python's `websockets`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use serde_json::Value;

use crate::poll::DEADLINE;
use crate::repository;
use crate::server::Served;

/// A client that listens.
pub struct Listener {
    client: Child,
    lines: Receiver<Value>,
}

impl Listener {
    pub fn start(served: &Served, query: &str) -> Self {
        let python = repository("target/python/bin/python3");
        let script = repository("integration/support/listen.py");
        let mut client = Command::new(python)
            .arg(script)
            .arg(format!("ws://{}/ws{query}", served.address))
            .stdout(Stdio::piped())
            .spawn()
            .expect("`integration/check python` installs what listens");
        let output = BufReader::new(client.stdout.take().unwrap());
        let (to, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _over = to.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { client, lines }
    }

    pub fn next(&self) -> Value {
        self.lines.recv_timeout(DEADLINE).expect("there is more to hear")
    }

    /// All that is heard up to the first that is `wanted`, it included.
    pub fn until(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut heard = Vec::new();
        loop {
            heard.push(self.next());
            if wanted(heard.last().unwrap()) {
                return heard;
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

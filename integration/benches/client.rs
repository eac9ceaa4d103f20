//! A minimal client for HTTP and websockets, so that the server dominates what is measured; and peers, which are this
//! program with other arguments.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use support::poll::DEADLINE;

use crate::message;

/// The bytes of a request.
pub(crate) fn request(method: &str, route: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{method} {route} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// A complete response.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Its end in the received bytes.
    pub(crate) end: usize,
}

/// The first response in the received bytes; `None` if it is incomplete.
pub(crate) fn answer(received: &[u8]) -> Result<Option<Response>, String> {
    let Some(mut at) = after_head(received) else { return Ok(None) };
    let text = std::str::from_utf8(&received[..at]).map_err(message)?;
    let header = |wanted: &str| {
        let mut headers = text.lines().filter_map(|line| line.split_once(':'));
        headers.find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then(|| value.trim()))
    };
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("an answer without a status: {text}"))?;
    let mut body = Vec::new();
    if let Some(length) = header("content-length") {
        let length = length.parse::<usize>().map_err(message)?;
        let Some(whole) = received.get(at..at + length) else { return Ok(None) };
        body.extend_from_slice(whole);
        return Ok(Some(Response { status, body, end: at + length }));
    }
    if header("transfer-encoding") != Some("chunked") {
        return Err(format!("an answer without a length: {text}"));
    }
    loop {
        let Some(line) = position(&received[at..], b"\r\n") else { return Ok(None) };
        let digits = std::str::from_utf8(&received[at..at + line]).map_err(message)?;
        let length = usize::from_str_radix(digits, 16).map_err(message)?;
        let start = at + line + 2;
        let Some(chunk) = received.get(start..start + length + 2) else { return Ok(None) };
        body.extend_from_slice(&chunk[..length]);
        at = start + length + 2;
        if length == 0 {
            return Ok(Some(Response { status, body, end: at }));
        }
    }
}

/// The index after the head of a response; `None` if it is incomplete.
pub(crate) fn after_head(received: &[u8]) -> Option<usize> {
    position(received, b"\r\n\r\n").map(|head| head + 4)
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The first websocket frame in the received bytes: its opcode, and the begin and end of its payload.
pub(crate) fn frame(received: &[u8]) -> Option<(u8, usize, usize)> {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, &byte| number << 8 | usize::from(byte));
    let (length, start) = match received.get(1)? {
        126 => (number(received.get(2..4)?), 4),
        127 => (number(received.get(2..10)?), 10),
        &short => (usize::from(short), 2),
    };
    (received.len() >= start + length).then_some((received[0] & 0x0f, start, start + length))
}

/// The opcode of a text frame.
pub(crate) const TEXT: u8 = 1;

/// A request for the websocket.
pub(crate) fn upgrade(query: &str) -> String {
    format!(
        "GET /ws{query} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A persistent connection for one request after another.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(message)?;
        stream.set_nodelay(true).map_err(message)?;
        stream.set_read_timeout(Some(DEADLINE)).map_err(message)?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Connects to the websocket, for [`Client::next_frame`].
    pub(crate) fn listen(address: &str, query: &str) -> Result<Self, String> {
        let mut client = Self::connect(address)?;
        client.stream.write_all(upgrade(query).as_bytes()).map_err(message)?;
        let head = loop {
            if let Some(head) = after_head(&client.received) {
                break head;
            }
            client.receive()?;
        };
        if !client.received.starts_with(b"HTTP/1.1 101 ") {
            return Err(format!("no websocket: {}", String::from_utf8_lossy(&client.received)));
        }
        client.received.drain(..head);
        Ok(client)
    }

    /// Sends a request; the body of a response with status 200.
    pub(crate) fn send(&mut self, method: &str, route: &str, body: &str) -> Result<String, String> {
        self.stream.write_all(&request(method, route, body)).map_err(message)?;
        let Response { status, body, end } = loop {
            if let Some(answer) = answer(&self.received)? {
                break answer;
            }
            self.receive()?;
        };
        let text = String::from_utf8_lossy(&body).into_owned();
        self.received.drain(..end);
        if status == 200 { Ok(text) } else { Err(format!("{method} {route} was answered {status}: {text}")) }
    }

    /// Submits a document; the id of its run.
    pub(crate) fn submit(&mut self, document: &str) -> Result<String, String> {
        let text = self.send("POST", "/org", document)?;
        let run = text.lines().find_map(|line| line.strip_prefix("run "));
        run.map(str::to_owned).ok_or_else(|| format!("no run was told: {text}"))
    }

    /// The text of the next frame.
    pub(crate) fn next_frame(&mut self) -> Result<String, String> {
        loop {
            if let Some((kind, start, end)) = frame(&self.received) {
                let text = String::from_utf8_lossy(&self.received[start..end]).into_owned();
                self.received.drain(..end);
                if kind == TEXT {
                    return Ok(text);
                }
                continue;
            }
            self.receive()?;
        }
    }

    /// Reads frames up to the end of a run.
    pub(crate) fn wait_for_run_end(&mut self, run: &str) -> Result<(), String> {
        loop {
            let told = self.next_frame()?;
            if told.contains(run) && !told.contains("\"task\"") {
                return Ok(());
            }
        }
    }

    fn receive(&mut self) -> Result<(), String> {
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes).map_err(message)? {
            0 => Err("the server has closed the connection".to_owned()),
            count => {
                self.received.extend_from_slice(&bytes[..count]);
                Ok(())
            }
        }
    }
}

/// This program as a server, which first prints its address.
pub(crate) struct Peer {
    process: Child,
    pub(crate) address: String,
}

impl Peer {
    pub(crate) fn start(arguments: &[&str]) -> Result<Self, String> {
        let mut command = Command::new(std::env::current_exe().map_err(message)?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut peer = Self { process: command.spawn().map_err(message)?, address: String::new() };
        if let Some(output) = peer.process.stdout.take() {
            BufReader::new(output).read_line(&mut peer.address).map_err(message)?;
        }
        peer.address.truncate(peer.address.trim_end().len());
        Ok(peer)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

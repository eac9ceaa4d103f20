//! Where agents are: the leading master knows, and is asked once an agent.

use std::cell::RefCell;
use std::collections::HashMap;

use serde::Deserialize;

use super::http::Leader;
use super::http_client::{HttpClient, read_body, transport_error};

/// The agents that have been asked for.
pub(super) struct AgentRegistry {
    link: HttpClient,
    leader: Leader,
    known: RefCell<HashMap<String, Agent>>,
}

/// Where an agent answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agent {
    /// `HOST:PORT`.
    pub(super) host: String,
    /// What its routes begin with: `/slave(1)`.
    pub(super) prefix: String,
}

/// What a master says of its agents, as far as it matters.
#[derive(Deserialize)]
struct Slaves {
    slaves: Vec<Slave>,
}

#[derive(Deserialize)]
struct Slave {
    id: String,
    pid: String,
}

/// The most bytes a master may say of one agent.
const MOST_SAID: usize = 8 << 20;

impl AgentRegistry {
    pub(super) fn new(link: HttpClient, leader: Leader) -> Self {
        Self { link, leader, known: RefCell::default() }
    }

    /// Where the agent with this id is. An error says why that cannot be told.
    pub(super) async fn find(&self, id: &str) -> Result<Agent, String> {
        let known = self.known.borrow().get(id).cloned();
        if let Some(agent) = known {
            return Ok(agent);
        }
        let master = self.leader.get().ok_or("no master has answered yet")?;
        let route = format!("/slaves?slave_id={}", percent_encode(id));
        let answer = self.link.get(&master, &route).send().await;
        let answer = answer.map_err(|error| transport_error(&master, error).to_string())?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("the master {master} does not tell where it is: {status}"));
        }
        let said = read_body(answer, MOST_SAID).await.map_err(|error| error.to_string())?;
        let agent = read(&said, id)?;
        self.known.borrow_mut().insert(id.to_owned(), agent.clone());
        Ok(agent)
    }

    /// An agent did not answer where it was: it may be elsewhere by now.
    pub(super) fn invalidate(&self, id: &str) {
        self.known.borrow_mut().remove(id);
    }
}

fn read(said: &[u8], id: &str) -> Result<Agent, String> {
    let Slaves { slaves } = serde_json::from_slice(said)
        .map_err(|error| format!("what the master says of its agents cannot be read: {error}"))?;
    let slave = slaves.into_iter().find(|slave| slave.id == id);
    let slave = slave.ok_or("the master does not know it now")?;
    match slave.pid.split_once('@') {
        Some((name, host)) if !name.is_empty() && !host.is_empty() => {
            Ok(Agent { host: host.to_owned(), prefix: format!("/{name}") })
        }
        _ => Err(format!("the master says that it is at `{}`", slave.pid)),
    }
}

/// A value of a query, each byte that might be something else there written as a number.
pub(super) fn percent_encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_where_the_master_says() {
        let said = br#"{"slaves":[{"id":"x-S0","pid":"slave(1)@10.0.0.2:5051","hostname":"h","port":5051}],
            "recovered_slaves":[]}"#;
        let agent = read(said, "x-S0").unwrap();
        assert_eq!((agent.host.as_str(), agent.prefix.as_str()), ("10.0.0.2:5051", "/slave(1)"));
        assert_eq!(read(said, "x-S1").unwrap_err(), "the master does not know it now");
        assert!(read(b"{}", "x-S0").is_err());
        assert_eq!(percent_encode("/a b/\u{e9}&"), "/a%20b/%C3%A9%26");
    }
}

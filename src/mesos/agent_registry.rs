//! The addresses of agents: asks the leading master once per agent, and caches the answer.

use std::cell::RefCell;
use std::collections::HashMap;

use serde::Deserialize;

use super::http::Leader;
use super::http_client::{HttpClient, read_body, transport_error};

/// A cache of agents' addresses, filled from the leading master.
pub(super) struct AgentRegistry {
    client: HttpClient,
    leader: Leader,
    agents: RefCell<HashMap<String, Agent>>,
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

/// The maximum size of a master's response, bytes.
const MAX_BODY: usize = 8 << 20;

impl AgentRegistry {
    pub(super) fn new(client: HttpClient, leader: Leader) -> Self {
        Self { client, leader, agents: RefCell::default() }
    }

    /// Where the agent with this id is. An error says why that cannot be told.
    pub(super) async fn find(&self, id: &str) -> Result<Agent, String> {
        let cached = self.agents.borrow().get(id).cloned();
        if let Some(agent) = cached {
            return Ok(agent);
        }
        let master = self.leader.get().ok_or("no master has answered yet")?;
        let route = format!("/slaves?slave_id={}", percent_encode(id));
        let response = self.client.get(&master, &route).send().await;
        let response = response.map_err(|error| transport_error(&master, error).to_string())?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("the master {master} does not tell where it is: {status}"));
        }
        let body = read_body(response, MAX_BODY).await.map_err(|error| error.to_string())?;
        let agent = parse_agent(&body, id)?;
        self.agents.borrow_mut().insert(id.to_owned(), agent.clone());
        Ok(agent)
    }

    /// Forgets an agent's address after a failed request: the agent may have moved.
    pub(super) fn invalidate(&self, id: &str) {
        self.agents.borrow_mut().remove(id);
    }
}

fn parse_agent(body: &[u8], id: &str) -> Result<Agent, String> {
    let Slaves { slaves } = serde_json::from_slice(body)
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
    fn agent_address_comes_from_the_master() {
        let body = br#"{"slaves":[{"id":"x-S0","pid":"slave(1)@10.0.0.2:5051","hostname":"h","port":5051}],
            "recovered_slaves":[]}"#;
        let agent = parse_agent(body, "x-S0").unwrap();
        assert_eq!((agent.host.as_str(), agent.prefix.as_str()), ("10.0.0.2:5051", "/slave(1)"));
        assert_eq!(parse_agent(body, "x-S1").unwrap_err(), "the master does not know it now");
        assert!(parse_agent(b"{}", "x-S0").is_err());
        assert_eq!(percent_encode("/a b/\u{e9}&"), "/a%20b/%C3%A9%26");
    }
}

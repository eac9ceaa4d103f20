//! Chooses the master to call: the last leader, the next of a list, or the leader that ZooKeeper names.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout;
use zookeeper_client::{Client, Error as ZooKeeperError};

use super::address::Address;

/// How long ZooKeeper may take for all that is asked of it.
const DETECT_TIMEOUT: Duration = Duration::from_secs(15);
/// What a session of ours lasts unheard: it is only ever used at once.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// How masters call the nodes by which they stand for election; a sequence number follows.
const CONTENDER_PREFIX: &str = "json.info_";

/// The masters worth a try, in this order; never empty.
///
/// `last_leader` is the one that led when it was last heard of.
pub(super) async fn candidates(address: &Address, last_leader: Option<&str>) -> Result<Vec<String>, String> {
    match address {
        Address::List(hosts) => Ok(candidate_order(hosts, last_leader)),
        Address::ZooKeeper { servers, path } => {
            let found = timeout(DETECT_TIMEOUT, leader(servers, path)).await;
            let leader = found.map_err(|_| "ZooKeeper does not answer".to_owned())??;
            Ok(vec![leader])
        }
    }
}

/// The last leader first, even one that only others of the list have named.
fn candidate_order(hosts: &[String], last_leader: Option<&str>) -> Vec<String> {
    let others = hosts.iter().filter(|host| Some(host.as_str()) != last_leader).cloned();
    last_leader.map(str::to_owned).into_iter().chain(others).collect()
}

/// The master with the lowest sequence number below `path`.
async fn leader(servers: &str, path: &str) -> Result<String, String> {
    let to_message = |error: ZooKeeperError| format!("ZooKeeper at {servers}: {error}");
    let client = Client::connector()
        .with_session_timeout(SESSION_TIMEOUT)
        .connect(servers)
        .await
        .map_err(to_message)?;
    let no_leader = || format!("ZooKeeper knows no leading master below {path}");
    let mut contenders = match client.list_children(path).await {
        Ok(children) => children,
        Err(ZooKeeperError::NoNode) => return Err(no_leader()),
        Err(error) => return Err(to_message(error)),
    };
    contenders.retain(|name| name.starts_with(CONTENDER_PREFIX));
    contenders.sort_unstable();
    for name in contenders {
        match client.get_data(&format!("{path}/{name}")).await {
            Ok((data, _)) => return parse_address(&data),
            // It stepped back meanwhile: the next one leads.
            Err(ZooKeeperError::NoNode) => {}
            Err(error) => return Err(to_message(error)),
        }
    }
    Err(no_leader())
}

/// What a master writes of itself, as far as it matters.
#[derive(Deserialize)]
struct MasterNode {
    hostname: Option<String>,
    port: Option<u16>,
    address: Option<AddressNode>,
}

#[derive(Deserialize)]
struct AddressNode {
    hostname: Option<String>,
    ip: Option<String>,
    port: u16,
}

/// `HOST:PORT` of a master's own words; its IP before its name, which need not be known here.
fn parse_address(json: &[u8]) -> Result<String, String> {
    let master: MasterNode = serde_json::from_slice(json).map_err(|error| {
        format!("what the leading master has written to ZooKeeper cannot be read: {error}")
    })?;
    let (host, port) = match master.address {
        Some(AddressNode { hostname, ip, port }) => (ip.or(hostname), Some(port)),
        None => (master.hostname, master.port),
    };
    match (host, port) {
        (Some(host), Some(port)) if host.contains(':') => Ok(format!("[{host}]:{port}")),
        (Some(host), Some(port)) => Ok(format!("{host}:{port}")),
        _ => Err("the leading master has written no address of itself to ZooKeeper".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn master_address_is_parsed_from_its_node() {
        let json =
            br#"{"address":{"hostname":"m.example","ip":"10.0.0.7","port":5050},"hostname":"m.example",
            "id":"x","ip":117440522,"pid":"master@10.0.0.7:5050","port":5050,"version":"1.11.0"}"#;
        assert_eq!(parse_address(json).unwrap(), "10.0.0.7:5050");
        assert_eq!(parse_address(br#"{"hostname":"m","port":1}"#).unwrap(), "m:1");
        assert_eq!(parse_address(br#"{"address":{"ip":"::1","port":1}}"#).unwrap(), "[::1]:1");
        assert!(parse_address(b"{}").is_err() && parse_address(b"info").is_err());
    }

    #[test]
    fn last_leader_comes_first() {
        let hosts = ["a:1".to_owned(), "b:1".to_owned()];
        assert_eq!(candidate_order(&hosts, None), ["a:1", "b:1"]);
        assert_eq!(candidate_order(&hosts, Some("b:1")), ["b:1", "a:1"]);
        assert_eq!(candidate_order(&hosts, Some("c:1")), ["c:1", "a:1", "b:1"]);
    }
}

//! The address of a Mesos master as the setupfile writes it: `HOST:PORT`, a comma-separated list, or `zk://H:P,H:P/PATH`.

use std::fmt;

/// Where masters are to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Any of these, each `HOST:PORT`; never empty. Those that do not lead know who does.
    List(Vec<String>),
    /// Whoever leads by the word of these ZooKeeper servers.
    ZooKeeper {
        /// `HOST:PORT,HOST:PORT`.
        servers: String,
        /// Below which masters write themselves down; begins with a slash, ends without one.
        path: String,
    },
}

/// The port of a master where none is written. Source: Mesos, `--port`.
const DEFAULT_PORT: u16 = 5050;
/// The port of a ZooKeeper server where none is written.
const DEFAULT_ZOOKEEPER_PORT: u16 = 2181;

impl Address {
    /// Reads it. An error says what to write instead.
    pub fn read(text: &str) -> Result<Self, String> {
        let help = "write `HOST:PORT`, several with commas between, or `zk://HOST:PORT,HOST:PORT/PATH`";
        let Some(rest) = text.strip_prefix("zk://") else {
            let hosts = parse_hosts(text, DEFAULT_PORT)
                .ok_or_else(|| format!("`{text}` is no address of a master: {help}"))?;
            return Ok(Self::List(hosts));
        };
        let (servers, path) = rest.split_once('/').unwrap_or((rest, ""));
        if servers.contains('@') {
            return Err(format!("`{text}` has a password in it, which is not supported: {help}"));
        }
        let path = path.trim_end_matches('/');
        let is_valid_path = !path.is_empty() && path.split('/').all(|part| !part.is_empty());
        match parse_hosts(servers, DEFAULT_ZOOKEEPER_PORT) {
            Some(servers) if is_valid_path => {
                Ok(Self::ZooKeeper { servers: servers.join(","), path: format!("/{path}") })
            }
            _ => Err(format!("`{text}` is no address of masters: {help}")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(hosts) => f.write_str(&hosts.join(",")),
            Self::ZooKeeper { servers, path } => write!(f, "zk://{servers}{path}"),
        }
    }
}

/// Each part with its port; `None` when one of them is no host.
fn parse_hosts(text: &str, port: u16) -> Option<Vec<String>> {
    text.split(',').map(|part| parse_host(part.trim(), port)).collect()
}

fn parse_host(text: &str, default: u16) -> Option<String> {
    let is_invalid = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@' | '?' | '#');
    if text.is_empty() || text.contains(is_invalid) {
        return None;
    }
    let (host, port) = match text.rsplit_once(':') {
        // An IPv6 address in its brackets, without a port.
        Some(_) if text.ends_with(']') => (text, default),
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
        None => (text, default),
    };
    let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    (!host.is_empty() && !bare_v6).then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_default_ports() {
        let read = |text| Address::read(text).map_or_else(|error| error, |address| format!("{address:?}"));
        insta::assert_snapshot!(read("10.0.0.1:5050"), @r#"List(["10.0.0.1:5050"])"#);
        insta::assert_snapshot!(read("a, b:6060"), @r#"List(["a:5050", "b:6060"])"#);
        insta::assert_snapshot!(read("[::1]:1,[::2]"), @r#"List(["[::1]:1", "[::2]:5050"])"#);
        insta::assert_snapshot!(
            read("zk://a,b:2182/mesos/"),
            @r#"ZooKeeper { servers: "a:2181,b:2182", path: "/mesos" }"#
        );
        for text in [
            "",
            "a:",
            "a:0",
            "a:x",
            ",",
            "http://a:1",
            "::1:5050",
            "zk://a",
            "zk://a/",
            "zk://a//b",
            "zk:///x",
            "zk://u:p@a/x",
        ] {
            assert!(Address::read(text).is_err(), "{text}");
        }
        assert_eq!(Address::read("zk://a,b/m").unwrap().to_string(), "zk://a:2181,b:2181/m");
    }
}

//! Parses the headers `Host` and `Origin` into a host (a name or an IP address) and a port. Pure.

use std::net::IpAddr;

/// The host and port of a `Host` header, an `Origin` header, or an entry of `borges_hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) host: Host,
    /// `None` is the default port of the scheme.
    pub(super) port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Address(IpAddr),
    /// In lower case, without a trailing dot.
    Name(String),
}

impl Authority {
    /// Parses `NAME`, `NAME:PORT`, `1.2.3.4:PORT` or `[::1]:PORT`; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim_matches([' ', '\t']);
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            (Host::Address(IpAddr::V6(address.parse().ok()?)), rest)
        } else {
            let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            (Host::parse(host)?, rest)
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some("") => None,
            // `str::parse` alone would accept a sign.
            Some(digits) if digits.bytes().all(|it| it.is_ascii_digit()) => Some(digits.parse().ok()?),
            _ => return None,
        };
        Some(Self { host, port })
    }

    /// Whether `origin` is the server with this host and port.
    pub(super) fn has_origin(&self, origin: &str) -> bool {
        let Some((scheme, authority)) = origin.trim_matches([' ', '\t']).split_once("://") else {
            return false;
        };
        let default_port = match scheme.to_ascii_lowercase().as_str() {
            "http" => 80,
            "https" => 443,
            _ => return false,
        };
        Self::parse(authority).is_some_and(|origin| {
            origin.host == self.host
                && origin.port.unwrap_or(default_port) == self.port.unwrap_or(default_port)
        })
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = text.parse() {
            return Some(Self::Address(IpAddr::V4(address)));
        }
        let is_name_byte =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte) || !byte.is_ascii();
        (!text.is_empty() && text.bytes().all(is_name_byte)).then(|| Self::Name(text.to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("localhost", Some("localhost"), None)]
    #[case("LocalHost.:8888", Some("localhost"), Some(8888))]
    #[case(" node_1.example:", Some("node_1.example"), None)]
    #[case("127.0.0.1:8888", Some("127.0.0.1"), Some(8888))]
    #[case("127.0.0.1.:8888", Some("127.0.0.1"), Some(8888))]
    #[case("[::1]:8888", Some("::1"), Some(8888))]
    #[case("[2001:DB8:0::1]", Some("2001:db8::1"), None)]
    #[case("::1", None, None)]
    #[case("[::1", None, None)]
    #[case("[::1]8888", None, None)]
    #[case("[localhost]:8888", None, None)]
    #[case("a:b", None, None)]
    #[case("a:+80", None, None)]
    #[case("a:65536", None, None)]
    #[case("a:80:80", None, None)]
    #[case("user@localhost", None, None)]
    #[case("localhost/x", None, None)]
    #[case("localhost, evil", None, None)]
    #[case(".", None, None)]
    #[case("", None, None)]
    fn authorities_are_parsed(#[case] text: &str, #[case] host: Option<&str>, #[case] port: Option<u16>) {
        let parse = Authority::parse(text);
        let text_of_host = parse.as_ref().map(|parse| match &parse.host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        });
        assert_eq!((text_of_host.as_deref(), parse.and_then(|parse| parse.port)), (host, port));
    }

    #[rstest]
    #[case("localhost:8888", "http://localhost:8888", true)]
    #[case("localhost:8888", "HTTP://LOCALHOST:8888", true)]
    #[case("[::1]:8888", "http://[::1]:8888", true)]
    #[case("borges.example", "http://borges.example", true)]
    #[case("borges.example", "https://borges.example", true)]
    #[case("borges.example:80", "http://borges.example", true)]
    #[case("borges.example:80", "https://borges.example", false)]
    #[case("localhost:8888", "http://localhost", false)]
    #[case("localhost:8888", "http://localhost:9999", false)]
    #[case("localhost:8888", "http://127.0.0.1:8888", false)]
    #[case("localhost:8888", "http://evil.example:8888", false)]
    #[case("localhost:8888", "http://localhost:8888/page", false)]
    #[case("localhost:8888", "http://localhost:8888@evil.example", false)]
    #[case("localhost:8888", "ftp://localhost:8888", false)]
    #[case("localhost:8888", "localhost:8888", false)]
    #[case("localhost:8888", "null", false)]
    #[case("localhost:8888", "", false)]
    fn origins_are_compared_with_the_host(
        #[case] host: &str,
        #[case] origin: &str,
        #[case] default_port: bool,
    ) {
        assert_eq!(Authority::parse(host).unwrap().has_origin(origin), default_port);
    }
}

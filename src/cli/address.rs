//! Chooses the server of a command, and decides whether that server may get the token.
//!
//! The sources in order: `--server`, `BORGES_SERVER`, `#+borgesaddress:` of the document, `127.0.0.1:8888`.

use thiserror::Error;

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// `http://HOST:PORT`.
    pub(super) url: String,
    /// The user named the server, not a document: the client sends it the token.
    pub(super) trusted: bool,
}

/// Why a text is not the address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum BadAddress {
    #[error("`{text}` ({place}) is no address of a server: write `http://HOST:PORT`")]
    InvalidUrl { text: String, place: &'static str },
    #[error(
        "`{text}` ({place}) asks for TLS, which is not built in: write `http://HOST:PORT`, of a tunnel for example"
    )]
    TlsUnsupported { text: String, place: &'static str },
}

/// The address at which a server listens by default.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8888";
/// The port of an address without scheme and port.
const DEFAULT_PORT: u16 = 8888;

/// The address in the argument, else in the variable, else in the document, else the default.
pub(super) fn choose(
    argument: Option<&str>,
    variable: Option<&str>,
    document: Option<&str>,
) -> Result<Address, BadAddress> {
    let candidates = [
        (argument, "--server", true),
        (variable, "BORGES_SERVER", true),
        (document, "#+borgesaddress:", false),
        // A server on this machine asks a process of its own user for no token.
        (Some(DEFAULT_ADDRESS), "the default", false),
    ];
    let mut candidates =
        candidates.into_iter().filter_map(|(text, place, trusted)| Some((text?, place, trusted)));
    let (text, place, trusted) =
        candidates.find(|(text, ..)| !text.is_empty()).unwrap_or((DEFAULT_ADDRESS, "", false));
    Ok(Address { url: normalized_url(text, place)?, trusted })
}

fn normalized_url(text: &str, place: &'static str) -> Result<String, BadAddress> {
    let text = text.trim();
    let invalid = || BadAddress::InvalidUrl { text: text.to_owned(), place };
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let rest = rest.trim_end_matches('/');
    let port = match scheme.to_ascii_lowercase().as_str() {
        "" => DEFAULT_PORT,
        "http" => 80,
        "https" => return Err(BadAddress::TlsUnsupported { text: text.to_owned(), place }),
        _ => return Err(invalid()),
    };
    // `[::1]:80` has colons within its host.
    let (host, digits) = match rest.rfind(':').filter(|&colon| !rest[colon..].contains(']')) {
        Some(colon) => (&rest[..colon], Some(&rest[colon + 1..])),
        None => (rest, None),
    };
    let is_name =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let is_v6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    let port = match digits {
        None => Some(port),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|&port| port > 0)
        }
        Some(_) => None,
    };
    match port {
        Some(port) if is_name || is_v6 => Ok(format!("http://{host}:{port}")),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("127.0.0.1:8888", "http://127.0.0.1:8888")]
    #[case("HTTP://localhost:8888/", "http://localhost:8888")]
    #[case(" borges.example ", "http://borges.example:8888")]
    #[case("http://borges.example", "http://borges.example:80")]
    #[case("[::1]:9", "http://[::1]:9")]
    #[case("http://[::1]", "http://[::1]:80")]
    fn valid_addresses_are_normalized(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(normalized_url(text, "here").unwrap(), expected);
    }

    #[rstest]
    #[case(
        "https://h:1",
        "`https://h:1` (here) asks for TLS, which is not built in: write `http://HOST:PORT`, of a tunnel for example"
    )]
    #[case("ftp://h", "`ftp://h` (here) is no address of a server: write `http://HOST:PORT`")]
    #[case("h:0", "`h:0` (here) is no address of a server: write `http://HOST:PORT`")]
    #[case("h:99999", "`h:99999` (here) is no address of a server: write `http://HOST:PORT`")]
    #[case("h:+1", "`h:+1` (here) is no address of a server: write `http://HOST:PORT`")]
    #[case("h:", "`h:` (here) is no address of a server: write `http://HOST:PORT`")]
    #[case("::1", "`::1` (here) is no address of a server: write `http://HOST:PORT`")]
    #[case("h/org", "`h/org` (here) is no address of a server: write `http://HOST:PORT`")]
    #[case("u:p@h", "`u:p@h` (here) is no address of a server: write `http://HOST:PORT`")]
    #[case("a b", "`a b` (here) is no address of a server: write `http://HOST:PORT`")]
    #[case("", "`` (here) is no address of a server: write `http://HOST:PORT`")]
    fn invalid_addresses_are_rejected(#[case] text: &str, #[case] message: &str) {
        assert_eq!(normalized_url(text, "here").unwrap_err().to_string(), message);
    }

    #[rstest]
    #[case([Some("a:1"), Some("b:1"), Some("c:1")], "http://a:1", true)]
    #[case([None, Some("b:1"), Some("c:1")], "http://b:1", true)]
    #[case([None, Some(""), Some("c:1")], "http://c:1", false)]
    #[case([None, None, None], "http://127.0.0.1:8888", false)]
    fn only_addresses_from_the_user_are_trusted(
        #[case] sources: [Option<&str>; 3],
        #[case] url: &str,
        #[case] trusted: bool,
    ) {
        let [argument, variable, document] = sources;
        let address = choose(argument, variable, document).unwrap();
        assert_eq!((address.url.as_str(), address.trusted), (url, trusted));
    }
}

//! Which server a command speaks to, and whether it may hear the token.

use thiserror::Error;

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// `http://HOST:PORT`.
    pub(super) url: String,
    /// The user named it, not a document: it may be shown the token.
    pub(super) trusted: bool,
}

/// What was written is no server's address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum BadAddress {
    #[error("`{text}` ({place}) is no address of a server: write `http://HOST:PORT`")]
    InvalidUrl { text: String, place: &'static str },
    #[error(
        "`{text}` ({place}) asks for TLS, which is not built in: write `http://HOST:PORT`, of a tunnel for example"
    )]
    TlsUnsupported { text: String, place: &'static str },
}

/// Where a server listens that nobody told otherwise.
const DEFAULT: &str = "127.0.0.1:8888";
/// The port where only a host is named.
const PORT: u16 = 8888;

/// The first that was named: by the command, by the environment, by the document; or the default one.
pub(super) fn choose(
    argument: Option<&str>,
    variable: Option<&str>,
    document: Option<&str>,
) -> Result<Address, BadAddress> {
    let named = [
        (argument, "--server", true),
        (variable, "BORGES_SERVER", true),
        (document, "#+borgesaddress:", false),
        // The token stays home: on this machine, from this user, none is needed.
        (Some(DEFAULT), "the default", false),
    ];
    let mut named = named.into_iter().filter_map(|(text, place, trusted)| Some((text?, place, trusted)));
    let (text, place, trusted) = named.find(|(text, ..)| !text.is_empty()).unwrap_or((DEFAULT, "", false));
    Ok(Address { url: url(text, place)?, trusted })
}

fn url(text: &str, place: &'static str) -> Result<String, BadAddress> {
    let text = text.trim();
    let no_url = || BadAddress::InvalidUrl { text: text.to_owned(), place };
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let rest = rest.trim_end_matches('/');
    let port = match scheme.to_ascii_lowercase().as_str() {
        "" => PORT,
        "http" => 80,
        "https" => return Err(BadAddress::TlsUnsupported { text: text.to_owned(), place }),
        _ => return Err(no_url()),
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
        _ => Err(no_url()),
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
    fn servers(#[case] text: &str, #[case] wanted: &str) {
        assert_eq!(url(text, "here").unwrap(), wanted);
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
    fn no_servers(#[case] text: &str, #[case] said: &str) {
        assert_eq!(url(text, "here").unwrap_err().to_string(), said);
    }

    #[rstest]
    #[case([Some("a:1"), Some("b:1"), Some("c:1")], "http://a:1", true)]
    #[case([None, Some("b:1"), Some("c:1")], "http://b:1", true)]
    #[case([None, Some(""), Some("c:1")], "http://c:1", false)]
    #[case([None, None, None], "http://127.0.0.1:8888", false)]
    fn the_token_goes_only_where_the_user_said(
        #[case] named: [Option<&str>; 3],
        #[case] url: &str,
        #[case] trusted: bool,
    ) {
        let [argument, variable, document] = named;
        let address = choose(argument, variable, document).unwrap();
        assert_eq!((address.url.as_str(), address.trusted), (url, trusted));
    }
}

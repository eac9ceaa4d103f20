//! Who may come in?
//!
//! A web page in a browser on this machine, another user of this machine, another machine: none of them may
//! run code, or read output, unless it shows the token. So three questions, on every request, reading ones
//! and the websocket's included: does it need the token and have it; was it meant for this server (`Host`);
//! did a page of this server send it (`Origin`)?

use std::net::SocketAddr;

use super::authority::{Authority, Host};
use super::token::TokenHash;

/// What is known of a request.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// The connection's own address; not the one that was bound to, which may be `0.0.0.0`.
    pub local: SocketAddr,
    /// The other end is held by a process of Borges' own user, or of root; matters where [`looks_local`].
    pub peer_is_ours: bool,
    /// It carries `Forwarded`, `X-Forwarded-For` or `Via`: somebody else is behind the peer.
    pub forwarded: bool,
    /// `Host`; `None` also where it came twice.
    pub host: Option<&'a str>,
    /// `Origin`; where it came twice, both, joined.
    pub origin: Option<&'a str>,
    /// The token of `Authorization: Bearer`.
    pub bearer: Option<&'a str>,
    /// The token of `?token=`.
    pub query: Option<&'a str>,
    /// The token of our cookie.
    pub cookie: Option<&'a str>,
}

/// What holds for this server.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Of the token that opens.
    pub token: TokenHash,
    /// `borges_open`: nobody needs the token.
    pub open: bool,
    /// The names by which it may be called, beside `localhost` and addresses: the machine's, the one it is
    /// bound to, those of `borges_hosts`. Ports in them do not count.
    pub hosts: Vec<String>,
    /// Its port, for what is said to people.
    pub port: u16,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Come in.
    Allowed {
        /// The token came by `?token=` alone: a browser did it, and is to keep it as a cookie.
        set_cookie: bool,
    },
    /// It needs the token (401).
    NeedsToken,
    /// It was meant for another server (421).
    BadHost,
    /// A page of another server sent it (403).
    BadOrigin,
}

/// Whether a peer can be a process of this machine, by its address; if so, its owner is worth a look.
pub fn looks_local(peer: SocketAddr, local: SocketAddr) -> bool {
    let (peer, local) = (peer.ip().to_canonical(), local.ip().to_canonical());
    peer.is_loopback() || peer == local
}

/// Judges a request by the rules.
///
/// A stranger hears first that a token is missing, and so learns nothing of the server's names.
pub fn judge(request: &Facts, rules: &Rules) -> Verdict {
    let opens = |token: Option<&str>| token.is_some_and(|token| rules.token.is_of(token));
    let (bearer, query, cookie) = (opens(request.bearer), opens(request.query), opens(request.cookie));
    let has_token = bearer || query || cookie;
    let is_local = looks_local(request.peer, request.local) && request.peer_is_ours && !request.forwarded;

    if !(has_token || is_local || rules.open) {
        Verdict::NeedsToken
    } else if !(has_token || request.host.is_some_and(|host| rules.are_called(host))) {
        // A name that somebody else's name server gave this machine's address.
        Verdict::BadHost
    } else if !request.origin.is_none_or(|origin| request.is_own(origin)) {
        // With a token too: a browser sends its cookie for any page of this machine, whatever its port.
        Verdict::BadOrigin
    } else {
        Verdict::Allowed { set_cookie: query && !bearer && !cookie }
    }
}

impl Facts<'_> {
    /// Whether a page of the very server that the request was meant for sent it.
    fn is_own(&self, origin: &str) -> bool {
        self.host.and_then(Authority::read).is_some_and(|host| host.is_of(origin))
    }
}

impl Rules {
    /// Whether this server is called so: any address will do, as no name server gives those out.
    fn are_called(&self, host: &str) -> bool {
        match Authority::read(host).map(|host| host.host) {
            None => false,
            Some(Host::Address(_)) => true,
            Some(Host::Name(name)) if name == "localhost" => true,
            Some(name) => {
                self.hosts.iter().filter_map(|own| Authority::read(own)).any(|own| own.host == name)
            }
        }
    }
}

impl Verdict {
    /// The status of the answer; `None` for who may come in.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Allowed { .. } => None,
            Self::NeedsToken => Some(401),
            Self::BadHost => Some(421),
            Self::BadOrigin => Some(403),
        }
    }

    /// What a person is told, and what to do instead; empty for who may come in.
    pub fn sentence(self, request: &Facts, rules: &Rules) -> String {
        let port = rules.port;
        let came = |header: Option<&str>| header.unwrap_or_default().escape_default().to_string();
        match self {
            Self::Allowed { .. } => String::new(),
            Self::NeedsToken if request.bearer.or(request.query).or(request.cookie).is_some() => {
                "the token that came is not this server's; the server's log names the file that holds it"
                    .to_owned()
            }
            Self::NeedsToken => {
                "this request needs the server's token, as `Authorization: Bearer TOKEN`, or once \
                as `?token=TOKEN` in a browser; the server's log names the file that holds it"
                    .to_owned()
            }
            Self::BadHost if request.host.is_none() => {
                format!("the request has no `Host`, or two: send one, such as `localhost:{port}`")
            }
            Self::BadHost => format!(
                "`{}` is no name of this server: use its address or `localhost:{port}`, or send the token, or \
                 write the name into `#+borges_hosts:` of its setupfile",
                came(request.host)
            ),
            Self::BadOrigin => format!(
                "a page of `{}` may not use this server, only its own pages may; programs send no `Origin`",
                came(request.origin)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn rules() -> Rules {
        Rules {
            token: TokenHash::of(TOKEN),
            open: false,
            hosts: vec!["node7".to_owned(), "Borges.Example.".to_owned(), "proxy.example:443".to_owned()],
            port: 8888,
        }
    }

    /// curl by Borges' own user on the machine itself.
    fn at_home() -> Facts<'static> {
        Facts {
            peer: "127.0.0.1:50000".parse().unwrap(),
            local: "127.0.0.1:8888".parse().unwrap(),
            peer_is_ours: true,
            forwarded: false,
            host: Some("127.0.0.1:8888"),
            origin: None,
            bearer: None,
            query: None,
            cookie: None,
        }
    }

    fn between(peer: &str, local: &str) -> Facts<'static> {
        Facts { peer: peer.parse().unwrap(), local: local.parse().unwrap(), ..at_home() }
    }

    /// Another machine, of which the kernel's tables know nothing.
    fn stranger() -> Facts<'static> {
        let facts = between("192.168.0.8:50000", "192.168.0.7:8888");
        Facts { peer_is_ours: false, host: Some("192.168.0.7:8888"), ..facts }
    }

    const ALLOWED: Verdict = Verdict::Allowed { set_cookie: false };
    const ALLOWED_WITH_COOKIE: Verdict = Verdict::Allowed { set_cookie: true };
    use Verdict::{BadHost, BadOrigin, NeedsToken};

    #[rstest]
    // Who is local.
    #[case::loopback(at_home(), ALLOWED)]
    #[case::anywhere_in_loopback(between("127.8.8.8:50000", "127.0.0.1:8888"), ALLOWED)]
    #[case::loopback_of_version_6(between("[::1]:50000", "[::1]:8888"), ALLOWED)]
    #[case::loopback_mapped(between("[::ffff:127.0.0.1]:50000", "[::ffff:127.0.0.1]:8888"), ALLOWED)]
    #[case::own_address(between("192.168.0.7:50000", "192.168.0.7:8888"), ALLOWED)]
    #[case::own_address_mapped(between("[::ffff:192.168.0.7]:50000", "192.168.0.7:8888"), ALLOWED)]
    #[case::own_address_of_version_6(between("[2001:db8::7]:50000", "[2001:db8::7]:8888"), ALLOWED)]
    #[case::another_user_of_the_machine(Facts { peer_is_ours: false, ..at_home() }, NeedsToken)]
    #[case::behind_a_proxy(Facts { forwarded: true, ..at_home() }, NeedsToken)]
    #[case::another_machine(stranger(), NeedsToken)]
    #[case::another_machine_whatever_the_tables_say(Facts { peer_is_ours: true, ..stranger() }, NeedsToken)]
    #[case::another_machine_of_version_6(between("[2001:db8::8]:50000", "[2001:db8::7]:8888"), NeedsToken)]
    #[case::another_machine_that_says_localhost(Facts { host: Some("localhost:8888"), ..stranger() }, NeedsToken)]
    // The token.
    #[case::bearer(Facts { bearer: Some(TOKEN), ..stranger() }, ALLOWED)]
    #[case::cookie(Facts { cookie: Some(TOKEN), ..stranger() }, ALLOWED)]
    #[case::query_once(Facts { query: Some(TOKEN), ..stranger() }, ALLOWED_WITH_COOKIE)]
    #[case::query_at_home(Facts { query: Some(TOKEN), ..at_home() }, ALLOWED_WITH_COOKIE)]
    #[case::query_again(Facts { query: Some(TOKEN), cookie: Some(TOKEN), ..stranger() }, ALLOWED)]
    #[case::query_with_an_old_cookie(Facts { query: Some(TOKEN), cookie: Some("old"), ..stranger() }, ALLOWED_WITH_COOKIE)]
    #[case::query_of_a_program(Facts { query: Some(TOKEN), bearer: Some(TOKEN), ..stranger() }, ALLOWED)]
    #[case::wrong_token(Facts { bearer: Some("0123"), query: Some(""), cookie: Some("x"), ..stranger() }, NeedsToken)]
    #[case::wrong_token_at_home(Facts { bearer: Some("0123"), ..at_home() }, ALLOWED)]
    #[case::another_user_with_the_token(Facts { peer_is_ours: false, bearer: Some(TOKEN), ..at_home() }, ALLOWED)]
    #[case::proxied_with_the_token(Facts { forwarded: true, bearer: Some(TOKEN), ..at_home() }, ALLOWED)]
    // `Host`.
    #[case::localhost(Facts { host: Some("localhost"), ..at_home() }, ALLOWED)]
    #[case::localhost_and_port(Facts { host: Some("localhost:8888"), ..at_home() }, ALLOWED)]
    #[case::through_a_tunnel(Facts { host: Some("localhost:9999"), ..at_home() }, ALLOWED)]
    #[case::upper_case(Facts { host: Some("LOCALHOST:8888"), ..at_home() }, ALLOWED)]
    #[case::trailing_dot(Facts { host: Some("localhost.:8888"), ..at_home() }, ALLOWED)]
    #[case::an_address(Facts { host: Some("10.1.2.3"), ..at_home() }, ALLOWED)]
    #[case::an_address_of_version_6(Facts { host: Some("[::1]:8888"), ..at_home() }, ALLOWED)]
    #[case::the_machines_name(Facts { host: Some("node7:8888"), ..at_home() }, ALLOWED)]
    #[case::a_name_of_the_setupfile(Facts { host: Some("borges.example"), ..at_home() }, ALLOWED)]
    #[case::its_port_does_not_count(Facts { host: Some("proxy.example"), ..at_home() }, ALLOWED)]
    #[case::rebound(Facts { host: Some("evil.example:8888"), ..at_home() }, BadHost)]
    #[case::rebound_with_its_origin(
        Facts { host: Some("evil.example:8888"), origin: Some("http://evil.example:8888"), ..at_home() }, BadHost
    )]
    #[case::below_our_name(Facts { host: Some("x.localhost:8888"), ..at_home() }, BadHost)]
    #[case::above_our_name(Facts { host: Some("localhost.evil.example"), ..at_home() }, BadHost)]
    #[case::looks_like_an_address(Facts { host: Some("127.0.0.1.evil.example"), ..at_home() }, BadHost)]
    #[case::with_a_user(Facts { host: Some("localhost@evil.example"), ..at_home() }, BadHost)]
    #[case::no_host(Facts { host: None, ..at_home() }, BadHost)]
    #[case::empty_host(Facts { host: Some(""), ..at_home() }, BadHost)]
    #[case::any_host_with_the_token(Facts { host: Some("tunnel.example"), bearer: Some(TOKEN), ..stranger() }, ALLOWED)]
    #[case::any_host_with_a_wrong_token(Facts { host: Some("evil.example"), bearer: Some("x"), ..at_home() }, BadHost)]
    #[case::no_host_with_the_token(Facts { host: None, bearer: Some(TOKEN), ..at_home() }, ALLOWED)]
    // `Origin`.
    #[case::own_page(Facts { origin: Some("http://127.0.0.1:8888"), ..at_home() }, ALLOWED)]
    #[case::own_page_by_name(
        Facts { host: Some("localhost:8888"), origin: Some("http://localhost:8888"), ..at_home() }, ALLOWED
    )]
    #[case::own_page_of_version_6(
        Facts { host: Some("[::1]:8888"), origin: Some("http://[::1]:8888"), ..at_home() }, ALLOWED
    )]
    #[case::own_page_by_a_proxy(
        Facts { host: Some("proxy.example"), origin: Some("https://proxy.example"), cookie: Some(TOKEN), ..stranger() },
        ALLOWED
    )]
    #[case::another_page(Facts { origin: Some("http://evil.example"), ..at_home() }, BadOrigin)]
    #[case::another_port(Facts { origin: Some("http://127.0.0.1:9999"), ..at_home() }, BadOrigin)]
    #[case::another_name_of_ours(Facts { origin: Some("http://localhost:8888"), ..at_home() }, BadOrigin)]
    #[case::another_address(Facts { origin: Some("http://203.0.113.9:8888"), ..at_home() }, BadOrigin)]
    #[case::null(Facts { origin: Some("null"), ..at_home() }, BadOrigin)]
    #[case::a_file(Facts { origin: Some("file://"), ..at_home() }, BadOrigin)]
    #[case::empty(Facts { origin: Some(""), ..at_home() }, BadOrigin)]
    #[case::two(Facts { origin: Some("http://127.0.0.1:8888, http://evil.example"), ..at_home() }, BadOrigin)]
    #[case::another_page_with_the_token(
        Facts { origin: Some("http://evil.example"), cookie: Some(TOKEN), ..stranger() }, BadOrigin
    )]
    #[case::a_page_without_the_token(Facts { origin: Some("http://evil.example"), ..stranger() }, NeedsToken)]
    #[case::a_page_and_no_host(
        Facts { host: None, origin: Some("http://127.0.0.1:8888"), bearer: Some(TOKEN), ..at_home() }, BadOrigin
    )]
    fn closed(#[case] request: Facts, #[case] verdict: Verdict) {
        assert_eq!(judge(&request, &rules()), verdict);
    }

    #[rstest]
    #[case::another_machine(stranger(), ALLOWED)]
    #[case::another_user(Facts { peer_is_ours: false, ..at_home() }, ALLOWED)]
    #[case::behind_a_proxy(Facts { forwarded: true, ..stranger() }, ALLOWED)]
    #[case::rebound(Facts { host: Some("evil.example"), ..stranger() }, BadHost)]
    #[case::another_page(Facts { origin: Some("http://evil.example"), ..stranger() }, BadOrigin)]
    fn open(#[case] request: Facts, #[case] verdict: Verdict) {
        assert_eq!(judge(&request, &Rules { open: true, ..rules() }), verdict);
    }

    #[test]
    fn what_people_read() {
        let told = |request: Facts| {
            let verdict = judge(&request, &rules());
            (verdict.status(), verdict.sentence(&request, &rules()))
        };
        let says = |status, text: &str| (Some(status), text.to_owned());
        let a_token = "this request needs the server's token, as `Authorization: Bearer TOKEN`, or once as \
            `?token=TOKEN` in a browser; the server's log names the file that holds it";
        let another =
            "the token that came is not this server's; the server's log names the file that holds it";
        let a_name = "is no name of this server: use its address or `localhost:8888`, or send the token, or write \
            the name into `#+borges_hosts:` of its setupfile";
        let no_host = "the request has no `Host`, or two: send one, such as `localhost:8888`";
        let a_page = "a page of `http://evil.example` may not use this server, only its own pages may; programs send no `Origin`";
        assert_eq!(told(at_home()), (None, String::new()));
        assert_eq!(told(stranger()), says(401, a_token));
        assert_eq!(told(Facts { query: Some("x"), ..stranger() }), says(401, another));
        let named = |host| told(Facts { host: Some(host), ..at_home() });
        assert_eq!(named("evil.example"), says(421, &format!("`evil.example` {a_name}")));
        assert_eq!(named("\u{1b}[2J"), says(421, &format!("`\\u{{1b}}[2J` {a_name}")));
        assert_eq!(told(Facts { host: None, ..at_home() }), says(421, no_host));
        assert_eq!(told(Facts { origin: Some("http://evil.example"), ..at_home() }), says(403, a_page));
    }

    proptest! {
        /// Whatever else is said: no token, no way in, unless a process of ours sits on this very machine.
        #[test]
        fn no_stranger_comes_in(
            host in proptest::option::of(".{0,20}"), origin in proptest::option::of(".{0,20}"),
            token in "[0-9a-f]{0,32}", forwarded: bool, peer_is_ours: bool, peer: u32,
        ) {
            let peer = SocketAddr::from((peer.to_be_bytes(), 50000));
            let request = Facts {
                peer, peer_is_ours, forwarded, host: host.as_deref(), origin: origin.as_deref(),
                bearer: Some(&token), query: Some(&token), cookie: Some(&token), ..stranger()
            };
            let local = (peer.ip().is_loopback() || peer.ip() == request.local.ip()) && peer_is_ours && !forwarded;
            prop_assume!(token != TOKEN && !local);
            prop_assert_eq!(judge(&request, &rules()), NeedsToken);
        }
    }
}

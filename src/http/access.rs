//! Who may come in?
//!
//! A web page in a browser on this machine, another user of this machine, another machine: none of them may
//! run code, or read output, unless it shows the token. So three questions, on every request, reading ones
//! and the websocket's included: does it need the token and have it; was it meant for this server (`Backend`);
//! did a page of this server send it (`Origin`)?

use std::net::SocketAddr;

use super::authority::{Authority, Host};
use super::token::TokenHash;

/// What is known of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// The connection's own address; not the one that was bound to, which may be `0.0.0.0`.
    pub local: SocketAddr,
    /// The other end is held by a process of Borges' own user, or of root; matters where [`is_local_peer`].
    pub peer_is_ours: bool,
    /// It carries `Forwarded`, `X-Forwarded-For` or `Via`: somebody else is behind the peer.
    pub forwarded: bool,
    /// `Backend`; `None` also where it came twice.
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
pub struct AccessPolicy {
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
pub enum AccessDecision {
    /// Come in.
    Allowed {
        /// The token came by `?token=` alone: a browser did it, and is to keep it as a cookie.
        set_cookie: bool,
    },
    /// It needs the token (401).
    Unauthenticated,
    /// It was meant for another server (421).
    MisdirectedRequest,
    /// A page of another server sent it (403).
    CrossOrigin,
}

/// Whether a peer can be a process of this machine, by its address; if so, its owner is worth a look.
pub fn is_local_peer(peer: SocketAddr, local: SocketAddr) -> bool {
    let (peer, local) = (peer.ip().to_canonical(), local.ip().to_canonical());
    peer.is_loopback() || peer == local
}

/// Judges a request by the rules.
///
/// A stranger hears first that a token is missing, and so learns nothing of the server's names.
pub fn decide(request: &RequestFacts, rules: &AccessPolicy) -> AccessDecision {
    let opens = |token: Option<&str>| token.is_some_and(|token| rules.token.matches(token));
    let (bearer, query, cookie) = (opens(request.bearer), opens(request.query), opens(request.cookie));
    let has_token = bearer || query || cookie;
    let is_local = is_local_peer(request.peer, request.local) && request.peer_is_ours && !request.forwarded;

    if !(has_token || is_local || rules.open) {
        AccessDecision::Unauthenticated
    } else if !(has_token || request.host.is_some_and(|host| rules.accepts_host(host))) {
        // A name that somebody else's name server gave this machine's address.
        AccessDecision::MisdirectedRequest
    } else if !request.origin.is_none_or(|origin| request.is_own(origin)) {
        // With a token too: a browser sends its cookie for any page of this machine, whatever its port.
        AccessDecision::CrossOrigin
    } else {
        AccessDecision::Allowed { set_cookie: query && !bearer && !cookie }
    }
}

impl RequestFacts<'_> {
    /// Whether a page of the very server that the request was meant for sent it.
    fn is_own(&self, origin: &str) -> bool {
        self.host.and_then(Authority::read).is_some_and(|host| host.is_of(origin))
    }
}

impl AccessPolicy {
    /// Whether this server is called so: any address will do, as no name server gives those out.
    fn accepts_host(&self, host: &str) -> bool {
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

impl AccessDecision {
    /// The status of the answer; `None` for who may come in.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Allowed { .. } => None,
            Self::Unauthenticated => Some(401),
            Self::MisdirectedRequest => Some(421),
            Self::CrossOrigin => Some(403),
        }
    }

    /// What a person is told, and what to do instead; empty for who may come in.
    pub fn message(self, request: &RequestFacts, rules: &AccessPolicy) -> String {
        let port = rules.port;
        let came = |header: Option<&str>| header.unwrap_or_default().escape_default().to_string();
        match self {
            Self::Allowed { .. } => String::new(),
            Self::Unauthenticated if request.bearer.or(request.query).or(request.cookie).is_some() => {
                "the token that came is not this server's; the server's log names the file that holds it"
                    .to_owned()
            }
            Self::Unauthenticated => {
                "this request needs the server's token, as `Authorization: Bearer TOKEN`, or once \
                as `?token=TOKEN` in a browser; the server's log names the file that holds it"
                    .to_owned()
            }
            Self::MisdirectedRequest if request.host.is_none() => {
                format!("the request has no `Host`, or two: send one, such as `localhost:{port}`")
            }
            Self::MisdirectedRequest => format!(
                "`{}` is no name of this server: use its address or `localhost:{port}`, or send the token, or \
                 write the name into `#+borges_hosts:` of its setupfile",
                came(request.host)
            ),
            Self::CrossOrigin => format!(
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

    fn rules() -> AccessPolicy {
        AccessPolicy {
            token: TokenHash::of(TOKEN),
            open: false,
            hosts: vec!["node7".to_owned(), "Borges.Example.".to_owned(), "proxy.example:443".to_owned()],
            port: 8888,
        }
    }

    /// curl by Borges' own user on the machine itself.
    fn at_home() -> RequestFacts<'static> {
        RequestFacts {
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

    fn between(peer: &str, local: &str) -> RequestFacts<'static> {
        RequestFacts { peer: peer.parse().unwrap(), local: local.parse().unwrap(), ..at_home() }
    }

    /// Another machine, of which the kernel's tables know nothing.
    fn stranger() -> RequestFacts<'static> {
        let facts = between("192.168.0.8:50000", "192.168.0.7:8888");
        RequestFacts { peer_is_ours: false, host: Some("192.168.0.7:8888"), ..facts }
    }

    const ALLOWED: AccessDecision = AccessDecision::Allowed { set_cookie: false };
    const ALLOWED_WITH_COOKIE: AccessDecision = AccessDecision::Allowed { set_cookie: true };
    use AccessDecision::{CrossOrigin, MisdirectedRequest, Unauthenticated};

    #[rstest]
    // Who is local.
    #[case::loopback(at_home(), ALLOWED)]
    #[case::anywhere_in_loopback(between("127.8.8.8:50000", "127.0.0.1:8888"), ALLOWED)]
    #[case::loopback_of_version_6(between("[::1]:50000", "[::1]:8888"), ALLOWED)]
    #[case::loopback_mapped(between("[::ffff:127.0.0.1]:50000", "[::ffff:127.0.0.1]:8888"), ALLOWED)]
    #[case::own_address(between("192.168.0.7:50000", "192.168.0.7:8888"), ALLOWED)]
    #[case::own_address_mapped(between("[::ffff:192.168.0.7]:50000", "192.168.0.7:8888"), ALLOWED)]
    #[case::own_address_of_version_6(between("[2001:db8::7]:50000", "[2001:db8::7]:8888"), ALLOWED)]
    #[case::another_user_of_the_machine(RequestFacts { peer_is_ours: false, ..at_home() }, Unauthenticated)]
    #[case::behind_a_proxy(RequestFacts { forwarded: true, ..at_home() }, Unauthenticated)]
    #[case::another_machine(stranger(), Unauthenticated)]
    #[case::another_machine_whatever_the_tables_say(RequestFacts { peer_is_ours: true, ..stranger() }, Unauthenticated)]
    #[case::another_machine_of_version_6(
        between("[2001:db8::8]:50000", "[2001:db8::7]:8888"),
        Unauthenticated
    )]
    #[case::another_machine_that_says_localhost(RequestFacts { host: Some("localhost:8888"), ..stranger() }, Unauthenticated)]
    // The token.
    #[case::bearer(RequestFacts { bearer: Some(TOKEN), ..stranger() }, ALLOWED)]
    #[case::cookie(RequestFacts { cookie: Some(TOKEN), ..stranger() }, ALLOWED)]
    #[case::query_once(RequestFacts { query: Some(TOKEN), ..stranger() }, ALLOWED_WITH_COOKIE)]
    #[case::query_at_home(RequestFacts { query: Some(TOKEN), ..at_home() }, ALLOWED_WITH_COOKIE)]
    #[case::query_again(RequestFacts { query: Some(TOKEN), cookie: Some(TOKEN), ..stranger() }, ALLOWED)]
    #[case::query_with_an_old_cookie(RequestFacts { query: Some(TOKEN), cookie: Some("old"), ..stranger() }, ALLOWED_WITH_COOKIE)]
    #[case::query_of_a_program(RequestFacts { query: Some(TOKEN), bearer: Some(TOKEN), ..stranger() }, ALLOWED)]
    #[case::wrong_token(RequestFacts { bearer: Some("0123"), query: Some(""), cookie: Some("x"), ..stranger() }, Unauthenticated)]
    #[case::wrong_token_at_home(RequestFacts { bearer: Some("0123"), ..at_home() }, ALLOWED)]
    #[case::another_user_with_the_token(RequestFacts { peer_is_ours: false, bearer: Some(TOKEN), ..at_home() }, ALLOWED)]
    #[case::proxied_with_the_token(RequestFacts { forwarded: true, bearer: Some(TOKEN), ..at_home() }, ALLOWED)]
    // `Backend`.
    #[case::localhost(RequestFacts { host: Some("localhost"), ..at_home() }, ALLOWED)]
    #[case::localhost_and_port(RequestFacts { host: Some("localhost:8888"), ..at_home() }, ALLOWED)]
    #[case::through_a_tunnel(RequestFacts { host: Some("localhost:9999"), ..at_home() }, ALLOWED)]
    #[case::upper_case(RequestFacts { host: Some("LOCALHOST:8888"), ..at_home() }, ALLOWED)]
    #[case::trailing_dot(RequestFacts { host: Some("localhost.:8888"), ..at_home() }, ALLOWED)]
    #[case::an_address(RequestFacts { host: Some("10.1.2.3"), ..at_home() }, ALLOWED)]
    #[case::an_address_of_version_6(RequestFacts { host: Some("[::1]:8888"), ..at_home() }, ALLOWED)]
    #[case::the_machines_name(RequestFacts { host: Some("node7:8888"), ..at_home() }, ALLOWED)]
    #[case::a_name_of_the_setupfile(RequestFacts { host: Some("borges.example"), ..at_home() }, ALLOWED)]
    #[case::its_port_does_not_count(RequestFacts { host: Some("proxy.example"), ..at_home() }, ALLOWED)]
    #[case::rebound(RequestFacts { host: Some("evil.example:8888"), ..at_home() }, MisdirectedRequest)]
    #[case::rebound_with_its_origin(
        RequestFacts { host: Some("evil.example:8888"), origin: Some("http://evil.example:8888"), ..at_home() }, MisdirectedRequest
    )]
    #[case::below_our_name(RequestFacts { host: Some("x.localhost:8888"), ..at_home() }, MisdirectedRequest)]
    #[case::above_our_name(RequestFacts { host: Some("localhost.evil.example"), ..at_home() }, MisdirectedRequest)]
    #[case::looks_like_an_address(RequestFacts { host: Some("127.0.0.1.evil.example"), ..at_home() }, MisdirectedRequest)]
    #[case::with_a_user(RequestFacts { host: Some("localhost@evil.example"), ..at_home() }, MisdirectedRequest)]
    #[case::no_host(RequestFacts { host: None, ..at_home() }, MisdirectedRequest)]
    #[case::empty_host(RequestFacts { host: Some(""), ..at_home() }, MisdirectedRequest)]
    #[case::any_host_with_the_token(RequestFacts { host: Some("tunnel.example"), bearer: Some(TOKEN), ..stranger() }, ALLOWED)]
    #[case::any_host_with_a_wrong_token(RequestFacts { host: Some("evil.example"), bearer: Some("x"), ..at_home() }, MisdirectedRequest)]
    #[case::no_host_with_the_token(RequestFacts { host: None, bearer: Some(TOKEN), ..at_home() }, ALLOWED)]
    // `Origin`.
    #[case::own_page(RequestFacts { origin: Some("http://127.0.0.1:8888"), ..at_home() }, ALLOWED)]
    #[case::own_page_by_name(
        RequestFacts { host: Some("localhost:8888"), origin: Some("http://localhost:8888"), ..at_home() }, ALLOWED
    )]
    #[case::own_page_of_version_6(
        RequestFacts { host: Some("[::1]:8888"), origin: Some("http://[::1]:8888"), ..at_home() }, ALLOWED
    )]
    #[case::own_page_by_a_proxy(
        RequestFacts { host: Some("proxy.example"), origin: Some("https://proxy.example"), cookie: Some(TOKEN), ..stranger() },
        ALLOWED
    )]
    #[case::another_page(RequestFacts { origin: Some("http://evil.example"), ..at_home() }, CrossOrigin)]
    #[case::another_port(RequestFacts { origin: Some("http://127.0.0.1:9999"), ..at_home() }, CrossOrigin)]
    #[case::another_name_of_ours(RequestFacts { origin: Some("http://localhost:8888"), ..at_home() }, CrossOrigin)]
    #[case::another_address(RequestFacts { origin: Some("http://203.0.113.9:8888"), ..at_home() }, CrossOrigin)]
    #[case::null(RequestFacts { origin: Some("null"), ..at_home() }, CrossOrigin)]
    #[case::a_file(RequestFacts { origin: Some("file://"), ..at_home() }, CrossOrigin)]
    #[case::empty(RequestFacts { origin: Some(""), ..at_home() }, CrossOrigin)]
    #[case::two(RequestFacts { origin: Some("http://127.0.0.1:8888, http://evil.example"), ..at_home() }, CrossOrigin)]
    #[case::another_page_with_the_token(
        RequestFacts { origin: Some("http://evil.example"), cookie: Some(TOKEN), ..stranger() }, CrossOrigin
    )]
    #[case::a_page_without_the_token(RequestFacts { origin: Some("http://evil.example"), ..stranger() }, Unauthenticated)]
    #[case::a_page_and_no_host(
        RequestFacts { host: None, origin: Some("http://127.0.0.1:8888"), bearer: Some(TOKEN), ..at_home() }, CrossOrigin
    )]
    fn closed(#[case] request: RequestFacts, #[case] verdict: AccessDecision) {
        assert_eq!(decide(&request, &rules()), verdict);
    }

    #[rstest]
    #[case::another_machine(stranger(), ALLOWED)]
    #[case::another_user(RequestFacts { peer_is_ours: false, ..at_home() }, ALLOWED)]
    #[case::behind_a_proxy(RequestFacts { forwarded: true, ..stranger() }, ALLOWED)]
    #[case::rebound(RequestFacts { host: Some("evil.example"), ..stranger() }, MisdirectedRequest)]
    #[case::another_page(RequestFacts { origin: Some("http://evil.example"), ..stranger() }, CrossOrigin)]
    fn open(#[case] request: RequestFacts, #[case] verdict: AccessDecision) {
        assert_eq!(decide(&request, &AccessPolicy { open: true, ..rules() }), verdict);
    }

    #[test]
    fn what_people_read() {
        let told = |request: RequestFacts| {
            let verdict = decide(&request, &rules());
            (verdict.status(), verdict.message(&request, &rules()))
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
        assert_eq!(told(RequestFacts { query: Some("x"), ..stranger() }), says(401, another));
        let named = |host| told(RequestFacts { host: Some(host), ..at_home() });
        assert_eq!(named("evil.example"), says(421, &format!("`evil.example` {a_name}")));
        assert_eq!(named("\u{1b}[2J"), says(421, &format!("`\\u{{1b}}[2J` {a_name}")));
        assert_eq!(told(RequestFacts { host: None, ..at_home() }), says(421, no_host));
        assert_eq!(
            told(RequestFacts { origin: Some("http://evil.example"), ..at_home() }),
            says(403, a_page)
        );
    }

    proptest! {
        /// Whatever else is said: no token, no way in, unless a process of ours sits on this very machine.
        #[test]
        fn no_stranger_comes_in(
            host in proptest::option::of(".{0,20}"), origin in proptest::option::of(".{0,20}"),
            token in "[0-9a-f]{0,32}", forwarded: bool, peer_is_ours: bool, peer: u32,
        ) {
            let peer = SocketAddr::from((peer.to_be_bytes(), 50000));
            let request = RequestFacts {
                peer, peer_is_ours, forwarded, host: host.as_deref(), origin: origin.as_deref(),
                bearer: Some(&token), query: Some(&token), cookie: Some(&token), ..stranger()
            };
            let local = (peer.ip().is_loopback() || peer.ip() == request.local.ip()) && peer_is_ours && !forwarded;
            prop_assume!(token != TOKEN && !local);
            prop_assert_eq!(decide(&request, &rules()), Unauthenticated);
        }
    }
}

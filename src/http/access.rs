//! The access policy: decides for each request whether the server answers it. Pure.
//!
//! Other machines, other users of this machine, and web pages of other servers may neither run code nor read output
//! without the token. Each request passes three checks: the token or a trusted local user, the `Host` header (against
//! DNS rebinding), and the `Origin` header (against cross-origin requests).

use std::net::SocketAddr;

use super::authority::{Authority, Host};
use super::token::TokenHash;

/// The parts of a request that the decision depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestFacts<'a> {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// The connection's own address; not the one that was bound to, which may be `0.0.0.0`.
    pub local: SocketAddr,
    /// Whether a process of the server's user, or of root, holds the peer's socket. Used only if [`is_local_peer`].
    pub is_trusted_user: bool,
    /// Whether the request has `Forwarded`, `X-Forwarded-For` or `Via`: the peer is then a proxy for another client.
    pub forwarded: bool,
    /// The `Host` header. `None` if it is missing or repeated.
    pub host: Option<&'a str>,
    /// The `Origin` header. A repeated header is replaced by a text that no origin equals.
    pub origin: Option<&'a str>,
    /// The token of `Authorization: Bearer`.
    pub bearer: Option<&'a str>,
    /// The token of `?token=`.
    pub query: Option<&'a str>,
    /// The token of the server's cookie.
    pub cookie: Option<&'a str>,
}

/// The settings of the server that decide who may use it.
#[derive(Debug, Clone)]
pub(crate) struct AccessPolicy {
    /// The hash of the server's token.
    pub token: TokenHash,
    /// `borges_open`: no client needs the token.
    pub open: bool,
    /// The accepted host names besides `localhost` and IP addresses: the machine's name, the name in the listen
    /// address, and those of `borges_hosts`. Their ports are ignored.
    pub hosts: Vec<String>,
    /// The port of the server, for messages.
    pub port: u16,
}

/// The result of [`decide`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessDecision {
    /// The request is answered.
    Allowed {
        /// The token came only by `?token=`: the response sets a cookie, so that a browser keeps it.
        set_cookie: bool,
    },
    /// The request needs the token (401).
    Unauthenticated,
    /// The `Host` is not a name of this server (421).
    MisdirectedRequest,
    /// A page of another server sent the request (403).
    CrossOrigin,
}

/// Whether the address of a peer belongs to this machine. Only then is the owner of its socket looked up.
pub(crate) fn is_local_peer(peer: SocketAddr, local: SocketAddr) -> bool {
    let (peer, local) = (peer.ip().to_canonical(), local.ip().to_canonical());
    peer.is_loopback() || peer == local
}

/// Decides whether a request is answered.
///
/// The token is checked first, so that a client without it learns nothing of the server's names.
pub(crate) fn decide(request: &RequestFacts, policy: &AccessPolicy) -> AccessDecision {
    let is_valid = |token: Option<&str>| token.is_some_and(|token| policy.token.matches(token));
    let (bearer, query, cookie) =
        (is_valid(request.bearer), is_valid(request.query), is_valid(request.cookie));
    let has_token = bearer || query || cookie;
    let is_local =
        is_local_peer(request.peer, request.local) && request.is_trusted_user && !request.forwarded;

    if !(has_token || is_local || policy.open) {
        AccessDecision::Unauthenticated
    } else if !(has_token || request.host.is_some_and(|host| policy.accepts_host(host))) {
        // DNS rebinding: a foreign name server resolved its name to this machine's address.
        AccessDecision::MisdirectedRequest
    } else if !request.origin.is_none_or(|origin| request.is_same_origin(origin)) {
        // This applies to requests with a token, too: browsers send cookies regardless of the port.
        AccessDecision::CrossOrigin
    } else {
        AccessDecision::Allowed { set_cookie: query && !bearer && !cookie }
    }
}

impl RequestFacts<'_> {
    /// Whether `origin` is the server that the request's `Host` names.
    fn is_same_origin(&self, origin: &str) -> bool {
        self.host.and_then(Authority::parse).is_some_and(|host| host.has_origin(origin))
    }
}

impl AccessPolicy {
    /// Whether `host` is a name of this server. Any IP address is accepted, because DNS rebinding needs a name.
    fn accepts_host(&self, host: &str) -> bool {
        match Authority::parse(host).map(|host| host.host) {
            None => false,
            Some(Host::Address(_)) => true,
            Some(Host::Name(name)) if name == "localhost" => true,
            Some(name) => self
                .hosts
                .iter()
                .filter_map(|allowed| Authority::parse(allowed))
                .any(|allowed| allowed.host == name),
        }
    }
}

impl AccessDecision {
    /// The HTTP status of the refusal. `None` if the request is allowed.
    pub(crate) fn status(self) -> Option<u16> {
        match self {
            Self::Allowed { .. } => None,
            Self::Unauthenticated => Some(401),
            Self::MisdirectedRequest => Some(421),
            Self::CrossOrigin => Some(403),
        }
    }

    /// The reason of the refusal and its remedy. Empty if the request is allowed.
    pub(crate) fn message(self, request: &RequestFacts, policy: &AccessPolicy) -> String {
        let port = policy.port;
        let escaped = |header: Option<&str>| header.unwrap_or_default().escape_default().to_string();
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
                escaped(request.host)
            ),
            Self::CrossOrigin => format!(
                "a page of `{}` may not use this server, only its own pages may; programs send no `Origin`",
                escaped(request.origin)
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

    fn policy() -> AccessPolicy {
        AccessPolicy {
            token: TokenHash::of(TOKEN),
            open: false,
            hosts: vec!["node7".to_owned(), "Borges.Example.".to_owned(), "proxy.example:443".to_owned()],
            port: 8888,
        }
    }

    /// curl by Borges' own user on the machine itself.
    fn local_request() -> RequestFacts<'static> {
        RequestFacts {
            peer: "127.0.0.1:50000".parse().unwrap(),
            local: "127.0.0.1:8888".parse().unwrap(),
            is_trusted_user: true,
            forwarded: false,
            host: Some("127.0.0.1:8888"),
            origin: None,
            bearer: None,
            query: None,
            cookie: None,
        }
    }

    fn connection(peer: &str, local: &str) -> RequestFacts<'static> {
        RequestFacts { peer: peer.parse().unwrap(), local: local.parse().unwrap(), ..local_request() }
    }

    /// A request from another machine.
    fn remote_request() -> RequestFacts<'static> {
        let facts = connection("192.168.0.8:50000", "192.168.0.7:8888");
        RequestFacts { is_trusted_user: false, host: Some("192.168.0.7:8888"), ..facts }
    }

    const ALLOWED: AccessDecision = AccessDecision::Allowed { set_cookie: false };
    const ALLOWED_WITH_COOKIE: AccessDecision = AccessDecision::Allowed { set_cookie: true };
    use AccessDecision::{CrossOrigin, MisdirectedRequest, Unauthenticated};

    #[rstest]
    // Local requests.
    #[case::loopback(local_request(), ALLOWED)]
    #[case::anywhere_in_loopback(connection("127.8.8.8:50000", "127.0.0.1:8888"), ALLOWED)]
    #[case::loopback_of_version_6(connection("[::1]:50000", "[::1]:8888"), ALLOWED)]
    #[case::loopback_mapped(connection("[::ffff:127.0.0.1]:50000", "[::ffff:127.0.0.1]:8888"), ALLOWED)]
    #[case::own_address(connection("192.168.0.7:50000", "192.168.0.7:8888"), ALLOWED)]
    #[case::own_address_mapped(connection("[::ffff:192.168.0.7]:50000", "192.168.0.7:8888"), ALLOWED)]
    #[case::own_address_of_version_6(connection("[2001:db8::7]:50000", "[2001:db8::7]:8888"), ALLOWED)]
    #[case::another_user_of_the_machine(RequestFacts { is_trusted_user: false, ..local_request() }, Unauthenticated)]
    #[case::behind_a_proxy(RequestFacts { forwarded: true, ..local_request() }, Unauthenticated)]
    #[case::another_machine(remote_request(), Unauthenticated)]
    #[case::another_machine_with_a_trusted_user(RequestFacts { is_trusted_user: true, ..remote_request() }, Unauthenticated)]
    #[case::another_machine_of_version_6(
        connection("[2001:db8::8]:50000", "[2001:db8::7]:8888"),
        Unauthenticated
    )]
    #[case::another_machine_that_says_localhost(RequestFacts { host: Some("localhost:8888"), ..remote_request() }, Unauthenticated)]
    // The token.
    #[case::bearer(RequestFacts { bearer: Some(TOKEN), ..remote_request() }, ALLOWED)]
    #[case::cookie(RequestFacts { cookie: Some(TOKEN), ..remote_request() }, ALLOWED)]
    #[case::query_once(RequestFacts { query: Some(TOKEN), ..remote_request() }, ALLOWED_WITH_COOKIE)]
    #[case::query_of_a_local_client(RequestFacts { query: Some(TOKEN), ..local_request() }, ALLOWED_WITH_COOKIE)]
    #[case::query_again(RequestFacts { query: Some(TOKEN), cookie: Some(TOKEN), ..remote_request() }, ALLOWED)]
    #[case::query_with_an_old_cookie(RequestFacts { query: Some(TOKEN), cookie: Some("old"), ..remote_request() }, ALLOWED_WITH_COOKIE)]
    #[case::query_of_a_program(RequestFacts { query: Some(TOKEN), bearer: Some(TOKEN), ..remote_request() }, ALLOWED)]
    #[case::wrong_token(RequestFacts { bearer: Some("0123"), query: Some(""), cookie: Some("x"), ..remote_request() }, Unauthenticated)]
    #[case::wrong_token_of_a_local_client(RequestFacts { bearer: Some("0123"), ..local_request() }, ALLOWED)]
    #[case::another_user_with_the_token(RequestFacts { is_trusted_user: false, bearer: Some(TOKEN), ..local_request() }, ALLOWED)]
    #[case::proxied_with_the_token(RequestFacts { forwarded: true, bearer: Some(TOKEN), ..local_request() }, ALLOWED)]
    // `Host`.
    #[case::localhost(RequestFacts { host: Some("localhost"), ..local_request() }, ALLOWED)]
    #[case::localhost_and_port(RequestFacts { host: Some("localhost:8888"), ..local_request() }, ALLOWED)]
    #[case::through_a_tunnel(RequestFacts { host: Some("localhost:9999"), ..local_request() }, ALLOWED)]
    #[case::upper_case(RequestFacts { host: Some("LOCALHOST:8888"), ..local_request() }, ALLOWED)]
    #[case::trailing_dot(RequestFacts { host: Some("localhost.:8888"), ..local_request() }, ALLOWED)]
    #[case::an_address(RequestFacts { host: Some("10.1.2.3"), ..local_request() }, ALLOWED)]
    #[case::an_address_of_version_6(RequestFacts { host: Some("[::1]:8888"), ..local_request() }, ALLOWED)]
    #[case::the_machines_name(RequestFacts { host: Some("node7:8888"), ..local_request() }, ALLOWED)]
    #[case::a_name_of_the_setupfile(RequestFacts { host: Some("borges.example"), ..local_request() }, ALLOWED)]
    #[case::its_port_does_not_count(RequestFacts { host: Some("proxy.example"), ..local_request() }, ALLOWED)]
    #[case::rebound(RequestFacts { host: Some("evil.example:8888"), ..local_request() }, MisdirectedRequest)]
    #[case::rebound_with_its_origin(
        RequestFacts { host: Some("evil.example:8888"), origin: Some("http://evil.example:8888"), ..local_request() }, MisdirectedRequest
    )]
    #[case::subdomain_of_localhost(RequestFacts { host: Some("x.localhost:8888"), ..local_request() }, MisdirectedRequest)]
    #[case::localhost_as_a_subdomain(RequestFacts { host: Some("localhost.evil.example"), ..local_request() }, MisdirectedRequest)]
    #[case::looks_like_an_address(RequestFacts { host: Some("127.0.0.1.evil.example"), ..local_request() }, MisdirectedRequest)]
    #[case::with_a_user(RequestFacts { host: Some("localhost@evil.example"), ..local_request() }, MisdirectedRequest)]
    #[case::no_host(RequestFacts { host: None, ..local_request() }, MisdirectedRequest)]
    #[case::empty_host(RequestFacts { host: Some(""), ..local_request() }, MisdirectedRequest)]
    #[case::any_host_with_the_token(RequestFacts { host: Some("tunnel.example"), bearer: Some(TOKEN), ..remote_request() }, ALLOWED)]
    #[case::any_host_with_a_wrong_token(RequestFacts { host: Some("evil.example"), bearer: Some("x"), ..local_request() }, MisdirectedRequest)]
    #[case::no_host_with_the_token(RequestFacts { host: None, bearer: Some(TOKEN), ..local_request() }, ALLOWED)]
    // `Origin`.
    #[case::own_page(RequestFacts { origin: Some("http://127.0.0.1:8888"), ..local_request() }, ALLOWED)]
    #[case::own_page_by_name(
        RequestFacts { host: Some("localhost:8888"), origin: Some("http://localhost:8888"), ..local_request() }, ALLOWED
    )]
    #[case::own_page_of_version_6(
        RequestFacts { host: Some("[::1]:8888"), origin: Some("http://[::1]:8888"), ..local_request() }, ALLOWED
    )]
    #[case::own_page_by_a_proxy(
        RequestFacts { host: Some("proxy.example"), origin: Some("https://proxy.example"), cookie: Some(TOKEN), ..remote_request() },
        ALLOWED
    )]
    #[case::another_page(RequestFacts { origin: Some("http://evil.example"), ..local_request() }, CrossOrigin)]
    #[case::another_port(RequestFacts { origin: Some("http://127.0.0.1:9999"), ..local_request() }, CrossOrigin)]
    #[case::another_name_of_this_server(RequestFacts { origin: Some("http://localhost:8888"), ..local_request() }, CrossOrigin)]
    #[case::another_address(RequestFacts { origin: Some("http://203.0.113.9:8888"), ..local_request() }, CrossOrigin)]
    #[case::null(RequestFacts { origin: Some("null"), ..local_request() }, CrossOrigin)]
    #[case::a_file(RequestFacts { origin: Some("file://"), ..local_request() }, CrossOrigin)]
    #[case::empty(RequestFacts { origin: Some(""), ..local_request() }, CrossOrigin)]
    #[case::two(RequestFacts { origin: Some("http://127.0.0.1:8888, http://evil.example"), ..local_request() }, CrossOrigin)]
    #[case::another_page_with_the_token(
        RequestFacts { origin: Some("http://evil.example"), cookie: Some(TOKEN), ..remote_request() }, CrossOrigin
    )]
    #[case::a_page_without_the_token(RequestFacts { origin: Some("http://evil.example"), ..remote_request() }, Unauthenticated)]
    #[case::a_page_and_no_host(
        RequestFacts { host: None, origin: Some("http://127.0.0.1:8888"), bearer: Some(TOKEN), ..local_request() }, CrossOrigin
    )]
    fn access_needs_a_trusted_user_or_the_token(
        #[case] request: RequestFacts,
        #[case] decision: AccessDecision,
    ) {
        assert_eq!(decide(&request, &policy()), decision);
    }

    #[rstest]
    #[case::another_machine(remote_request(), ALLOWED)]
    #[case::another_user(RequestFacts { is_trusted_user: false, ..local_request() }, ALLOWED)]
    #[case::behind_a_proxy(RequestFacts { forwarded: true, ..remote_request() }, ALLOWED)]
    #[case::rebound(RequestFacts { host: Some("evil.example"), ..remote_request() }, MisdirectedRequest)]
    #[case::another_page(RequestFacts { origin: Some("http://evil.example"), ..remote_request() }, CrossOrigin)]
    fn open_servers_still_check_host_and_origin(
        #[case] request: RequestFacts,
        #[case] decision: AccessDecision,
    ) {
        assert_eq!(decide(&request, &AccessPolicy { open: true, ..policy() }), decision);
    }

    #[test]
    fn refusals_name_the_remedy() {
        let response = |request: RequestFacts| {
            let decision = decide(&request, &policy());
            (decision.status(), decision.message(&request, &policy()))
        };
        let expected = |status, text: &str| (Some(status), text.to_owned());
        let needs_token = "this request needs the server's token, as `Authorization: Bearer TOKEN`, or once as \
            `?token=TOKEN` in a browser; the server's log names the file that holds it";
        let wrong_token_text =
            "the token that came is not this server's; the server's log names the file that holds it";
        let unknown_name = "is no name of this server: use its address or `localhost:8888`, or send the token, or write \
            the name into `#+borges_hosts:` of its setupfile";
        let no_host = "the request has no `Host`, or two: send one, such as `localhost:8888`";
        let foreign_page = "a page of `http://evil.example` may not use this server, only its own pages may; programs send no `Origin`";
        assert_eq!(response(local_request()), (None, String::new()));
        assert_eq!(response(remote_request()), expected(401, needs_token));
        assert_eq!(
            response(RequestFacts { query: Some("x"), ..remote_request() }),
            expected(401, wrong_token_text)
        );
        let with_host = |host| response(RequestFacts { host: Some(host), ..local_request() });
        assert_eq!(with_host("evil.example"), expected(421, &format!("`evil.example` {unknown_name}")));
        assert_eq!(with_host("\u{1b}[2J"), expected(421, &format!("`\\u{{1b}}[2J` {unknown_name}")));
        assert_eq!(response(RequestFacts { host: None, ..local_request() }), expected(421, no_host));
        assert_eq!(
            response(RequestFacts { origin: Some("http://evil.example"), ..local_request() }),
            expected(403, foreign_page)
        );
    }

    proptest! {
        /// Without the token, only a local process of a trusted user may use the server, whatever else the request holds.
        #[test]
        fn remote_requests_without_the_token_are_refused(
            host in proptest::option::of(".{0,20}"), origin in proptest::option::of(".{0,20}"),
            token in "[0-9a-f]{0,32}", forwarded: bool, is_trusted_user: bool, peer: u32,
        ) {
            let peer = SocketAddr::from((peer.to_be_bytes(), 50000));
            let request = RequestFacts {
                peer, is_trusted_user, forwarded, host: host.as_deref(), origin: origin.as_deref(),
                bearer: Some(&token), query: Some(&token), cookie: Some(&token), ..remote_request()
            };
            let local = (peer.ip().is_loopback() || peer.ip() == request.local.ip()) && is_trusted_user && !forwarded;
            prop_assume!(token != TOKEN && !local);
            prop_assert_eq!(decide(&request, &policy()), Unauthenticated);
        }
    }
}

//! The middleware that applies the access policy to every request, including reads and the websocket.
//!
//! The payload files of launches are exempt: agents have no token, and the address is signed instead.

use std::cell::OnceCell;
use std::net::SocketAddr;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, COOKIE, FORWARDED, HOST, ORIGIN, SET_COOKIE, VIA};
use actix_web::middleware::Next;
use actix_web::{Error, web};

use super::access::{AccessDecision, AccessPolicy, RequestFacts, decide, is_local_peer};
use super::response::problem;
use super::{credentials, payloads, peer_owner};

/// The server's own address on a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalAddress(pub(super) SocketAddr);

/// The user whose process holds the other end of a connection, cached for the connection once it has been looked up.
/// A failed look-up is not cached, because the next one may succeed.
#[derive(Debug, Default)]
pub(super) struct PeerOwner(OnceCell<u32>);

/// The settings of the middleware.
#[derive(Debug, Clone)]
pub(super) struct AuthState {
    pub(super) policy: AccessPolicy,
    pub(super) token: super::Token,
    /// The user whose processes need no token. Processes of root need none either.
    pub(super) user: u32,
}

pub(super) async fn authenticate(
    auth: web::Data<AuthState>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // Agents have no token; the address itself is signed.
    if request.path().starts_with(payloads::PREFIX) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    // A repeated header is ambiguous, and ignored.
    let header = |name| {
        let mut values = request.headers().get_all(name);
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    let has_several_origins = request.headers().get_all(ORIGIN).count() > 1;
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let peer = request.peer_addr().unwrap_or(unknown);
    let local = request.conn_data::<LocalAddress>().map_or(unknown, |local| local.0);
    let forwarded = [FORWARDED, VIA].iter().any(|name| request.headers().contains_key(name))
        || request.headers().contains_key("x-forwarded-for");
    // The owner of the socket is read from /proc, so only if the decision depends on it.
    let is_trusted_user = !forwarded && is_local_peer(peer, local) && {
        let cached_owner = request.conn_data::<PeerOwner>();
        let owner = cached_owner.and_then(|cached_owner| cached_owner.0.get().copied()).or_else(|| {
            let owner = peer_owner::socket_owner(peer, local).unwrap_or_else(|error| {
                log::warn!("whose the connection from {peer} is cannot be seen: {error}");
                None
            })?;
            Some(cached_owner.map_or(owner, |cached_owner| *cached_owner.0.get_or_init(|| owner)))
        });
        owner.is_some_and(|owner| owner == 0 || owner == auth.user)
    };
    let query_token = credentials::query_token(request.query_string());
    let facts = RequestFacts {
        peer,
        local,
        is_trusted_user,
        forwarded,
        host: header(HOST),
        origin: if has_several_origins { Some("two origins") } else { header(ORIGIN) },
        bearer: header(AUTHORIZATION).and_then(credentials::bearer),
        query: query_token.as_deref(),
        cookie: header(COOKIE).and_then(|cookies| credentials::cookie_token(cookies, auth.policy.port)),
    };
    let set_cookie = match decide(&facts, &auth.policy) {
        AccessDecision::Allowed { set_cookie } => set_cookie,
        refusal => {
            let status = refusal.status().and_then(|status| StatusCode::from_u16(status).ok());
            let message = refusal.message(&facts, &auth.policy);
            let (request, _) = request.into_parts();
            let response = problem(&request, status.unwrap_or(StatusCode::FORBIDDEN), &message);
            return Ok(ServiceResponse::new(request, response));
        }
    };
    let mut response = next.call(request).await?.map_into_boxed_body();
    if set_cookie && let Ok(cookie) = credentials::set_cookie(auth.token.secret(), auth.policy.port).parse() {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

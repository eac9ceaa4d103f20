//! Stands at the doors: no request, reading ones and the websocket included, gets past it unjudged. Only what
//! agents fetch has a door of its own, which the signature in the address opens.

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

/// The address of ours that a connection came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnAddress(pub(super) SocketAddr);

/// Whose process is at the other end of a connection, once a request has made it matter. It lives and dies with
/// the connection. That it is nobody's is not kept: a client that was not found may be found the next time.
#[derive(Debug, Default)]
pub(super) struct PeerOwner(OnceCell<u32>);

/// Who stands at the doors, and by which rules.
#[derive(Debug, Clone)]
pub(super) struct AuthState {
    pub(super) rules: AccessPolicy,
    pub(super) token: super::Token,
    /// Whose processes are let in without a token: ours, and root's.
    pub(super) user: u32,
}

pub(super) async fn authenticate(
    doors: web::Data<AuthState>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // Agents have no token; the address itself is signed.
    if request.path().starts_with(payloads::PREFIX) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    // A header that comes twice says two things; none of them is believed.
    let header = |name| {
        let mut values = request.headers().get_all(name);
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    let twice_from = request.headers().get_all(ORIGIN).count() > 1;
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let peer = request.peer_addr().unwrap_or(unknown);
    let local = request.conn_data::<OwnAddress>().map_or(unknown, |own| own.0);
    let forwarded = [FORWARDED, VIA].iter().any(|name| request.headers().contains_key(name))
        || request.headers().contains_key("x-forwarded-for");
    // Whose socket it is costs a look into /proc: only where it can matter.
    let peer_is_ours = !forwarded && is_local_peer(peer, local) && {
        let kept = request.conn_data::<PeerOwner>();
        let owner = kept.and_then(|kept| kept.0.get().copied()).or_else(|| {
            let owner = peer_owner::socket_owner(peer, local).unwrap_or_else(|error| {
                log::warn!("whose the connection from {peer} is cannot be seen: {error}");
                None
            })?;
            Some(kept.map_or(owner, |kept| *kept.0.get_or_init(|| owner)))
        });
        owner.is_some_and(|owner| owner == 0 || owner == doors.user)
    };
    let by_query = credentials::query_token(request.query_string());
    let facts = RequestFacts {
        peer,
        local,
        peer_is_ours,
        forwarded,
        host: header(HOST),
        origin: if twice_from { Some("two origins") } else { header(ORIGIN) },
        bearer: header(AUTHORIZATION).and_then(credentials::bearer),
        query: by_query.as_deref(),
        cookie: header(COOKIE).and_then(|cookies| credentials::cookie_token(cookies, doors.rules.port)),
    };
    let set_cookie = match decide(&facts, &doors.rules) {
        AccessDecision::Allowed { set_cookie } => set_cookie,
        refused => {
            let status = refused.status().and_then(|status| StatusCode::from_u16(status).ok());
            let sentence = refused.message(&facts, &doors.rules);
            let (request, _) = request.into_parts();
            let answer = problem(&request, status.unwrap_or(StatusCode::FORBIDDEN), &sentence);
            return Ok(ServiceResponse::new(request, answer));
        }
    };
    let mut response = next.call(request).await?.map_into_boxed_body();
    if set_cookie && let Ok(cookie) = credentials::set_cookie(doors.token.secret(), doors.rules.port).parse()
    {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

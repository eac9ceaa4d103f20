//! Stands at the doors: no request, reading ones and the websocket included, gets past it unjudged.

use std::cell::OnceCell;
use std::net::SocketAddr;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, COOKIE, FORWARDED, HOST, ORIGIN, SET_COOKIE, VIA};
use actix_web::middleware::Next;
use actix_web::{Error, web};

use super::answer::problem;
use super::doors::{Facts, Rules, Verdict, judge, looks_local};
use super::{credentials, peer};

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct Connected {
    /// The address of ours that it came to.
    own: SocketAddr,
    /// It was seen that a process of this user holds the other end: nobody else gets hold of that socket
    /// unless this user hands it on.
    owner: OnceCell<u32>,
}

impl Connected {
    pub(super) fn to(own: SocketAddr) -> Self {
        Self { own, owner: OnceCell::new() }
    }

    /// Whose process holds the other end.
    fn owner(&self, peer: SocketAddr) -> Option<u32> {
        if let Some(&owner) = self.owner.get() {
            return Some(owner);
        }
        let owner = peer::socket_owner(peer, self.own).unwrap_or_else(|error| {
            log::warn!("whose the connection from {peer} is cannot be seen: {error}");
            None
        })?;
        Some(*self.owner.get_or_init(|| owner))
    }
}

/// Who stands at the doors, and by which rules.
#[derive(Debug, Clone)]
pub(super) struct Doors {
    pub(super) rules: Rules,
    pub(super) token: super::Token,
    /// Whose processes are let in without a token: ours, and root's.
    pub(super) user: u32,
}

pub(super) async fn guard(
    doors: web::Data<Doors>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // A header that comes twice says two things; none of them is believed.
    let header = |name| {
        let mut values = request.headers().get_all(name);
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    let twice_from = request.headers().get_all(ORIGIN).count() > 1;
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let peer = request.peer_addr().unwrap_or(unknown);
    let connected = request.conn_data::<Connected>();
    let local = connected.map_or(unknown, |connected| connected.own);
    let forwarded = [FORWARDED, VIA].iter().any(|name| request.headers().contains_key(name))
        || request.headers().contains_key("x-forwarded-for");
    // Whose socket it is costs a look into all of the kernel's: once a connection, where it can matter.
    let peer_is_ours = !forwarded
        && looks_local(peer, local)
        && connected
            .and_then(|connected| connected.owner(peer))
            .is_some_and(|owner| owner == 0 || owner == doors.user);
    let by_query = credentials::query_token(request.query_string());
    let facts = Facts {
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
    let set_cookie = match judge(&facts, &doors.rules) {
        Verdict::Allowed { set_cookie } => set_cookie,
        refused => {
            let status = refused.status().and_then(|status| StatusCode::from_u16(status).ok());
            let sentence = refused.sentence(&facts, &doors.rules);
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

//! Requests and websocket clients, counted as they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, web};

use super::App;
use borges_engine::Counter;

/// The routes that are told apart; everything else is `other`.
pub(super) const ROUTES: [&str; 19] = [
    "/org",
    "/org/",
    "/org/{run}",
    "/org/{run}/document",
    "/org/{run}/results",
    "/tasks",
    "/tasks/{task}",
    "/tasks/{task}/stdout",
    "/tasks/{task}/stderr",
    "/tasks/{task}/files",
    "/tasks/{task}/files/{path:.*}",
    "/ws",
    "/",
    "/healthz",
    "/varz",
    "/metrics",
    "/openapi.json",
    "other",
    "refused",
];
/// The statuses that are told apart; every other one is 0.
const STATUSES: [u16; 13] = [101, 200, 400, 401, 403, 404, 405, 413, 421, 422, 500, 503, 0];

/// How many requests there were.
#[derive(Debug, Default)]
pub(super) struct RequestCounters {
    answered: [[Counter; STATUSES.len()]; ROUTES.len()],
    websockets: Arc<AtomicUsize>,
}

/// A websocket client, as long as it is there.
#[derive(Debug)]
pub(super) struct WebsocketGuard(Arc<AtomicUsize>);

impl RequestCounters {
    fn count(&self, route: Option<&str>, status: u16) {
        // Who is refused at the doors has got to no route.
        let route = if matches!(status, 401 | 403 | 421) { "refused" } else { route.unwrap_or("other") };
        let route = ROUTES.iter().position(|known| *known == route).unwrap_or(ROUTES.len() - 2);
        let status = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len() - 1);
        self.answered[route][status].increment();
    }

    /// Route, status, and how many requests were answered so; only what there was.
    pub(super) fn answered(&self) -> impl Iterator<Item = (&'static str, u16, u64)> + '_ {
        let rows = ROUTES.iter().zip(&self.answered);
        rows.flat_map(|(route, row)| STATUSES.iter().zip(row).map(|(status, n)| (*route, *status, n.get())))
            .filter(|(_, _, n)| *n > 0)
    }

    /// Another websocket client is there, until this is dropped.
    pub(super) fn websocket(&self) -> WebsocketGuard {
        self.websockets.fetch_add(1, Relaxed);
        WebsocketGuard(self.websockets.clone())
    }

    /// How many websocket clients are there.
    pub(super) fn websockets(&self) -> usize {
        self.websockets.load(Relaxed)
    }
}

impl Drop for WebsocketGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Counts a request when its answer begins.
pub(super) async fn count(
    app: web::Data<App>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let response = next.call(request).await?;
    let route = response.request().match_pattern();
    app.requests.count(route.as_deref(), response.status().as_u16());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let requests = RequestCounters::default();
        for (route, status) in
            [(Some("/org"), 200), (Some("/org"), 200), (None, 404), (Some("/org"), 401), (Some("/org"), 418)]
        {
            requests.count(route, status);
        }
        let counted: Vec<_> = requests.answered().collect();
        assert_eq!(counted, [("/org", 200, 2), ("/org", 0, 1), ("other", 404, 1), ("refused", 401, 1)]);
    }

    #[test]
    fn clients_are_counted_while_they_are_there() {
        let requests = RequestCounters::default();
        let (one, two) = (requests.websocket(), requests.websocket());
        drop(one);
        assert_eq!(requests.websockets(), 1);
        drop(two);
        assert_eq!(requests.websockets(), 0);
    }
}

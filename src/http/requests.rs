//! Counts requests by route and status, and connected websocket clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use borges_engine::Counter;

/// The routes that are counted separately. Other paths are `other`.
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
/// The statuses that are counted separately. Other statuses are 0.
const STATUSES: [u16; 13] = [101, 200, 400, 401, 403, 404, 405, 413, 421, 422, 500, 503, 0];

/// The counters of requests.
#[derive(Debug, Default)]
pub(super) struct RequestCounters {
    answered: [[Counter; STATUSES.len()]; ROUTES.len()],
    websockets: Arc<AtomicUsize>,
}

/// Counts a websocket client until it is dropped.
#[derive(Debug)]
pub(super) struct WebsocketGuard(Arc<AtomicUsize>);

impl RequestCounters {
    /// Counts a response by the route of its request and its status.
    pub(super) fn count(&self, route: Option<&str>, status: u16) {
        // Refused requests did not reach a route.
        let route = if matches!(status, 401 | 403 | 421) { "refused" } else { route.unwrap_or("other") };
        let route = ROUTES.iter().position(|candidate| *candidate == route).unwrap_or(ROUTES.len() - 2);
        let status = STATUSES.iter().position(|candidate| *candidate == status).unwrap_or(STATUSES.len() - 1);
        self.answered[route][status].increment();
    }

    /// The counters that are not zero: route, status, and number of responses.
    pub(super) fn answered(&self) -> impl Iterator<Item = (&'static str, u16, u64)> + '_ {
        let rows = ROUTES.iter().zip(&self.answered);
        rows.flat_map(|(route, row)| {
            STATUSES.iter().zip(row).map(|(status, count)| (*route, *status, count.get()))
        })
        .filter(|(_, _, count)| *count > 0)
    }

    /// Counts a websocket client until the guard is dropped.
    pub(super) fn websocket(&self) -> WebsocketGuard {
        self.websockets.fetch_add(1, Relaxed);
        WebsocketGuard(self.websockets.clone())
    }

    /// The number of connected websocket clients.
    pub(super) fn websockets(&self) -> usize {
        self.websockets.load(Relaxed)
    }
}

impl Drop for WebsocketGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
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
    fn websocket_clients_are_counted_while_connected() {
        let requests = RequestCounters::default();
        let (first, second) = (requests.websocket(), requests.websocket());
        drop(first);
        assert_eq!(requests.websockets(), 1);
        drop(second);
        assert_eq!(requests.websockets(), 0);
    }
}

//! The table of routes.

use actix_web::guard::{Any, Get, Head};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, Resource, Route};

use super::{
    documents, files, metrics, openapi, output, page, payloads, response, results, tasks, websocket,
};

/// Adds all routes of the server.
pub(super) fn routes(config: &mut ServiceConfig) {
    for org in ["/org", "/org/"] {
        let post = web::post().to(documents::submit);
        config.service(resource(org, "GET, HEAD, POST").route(post).route(get_or_head().to(documents::runs)));
    }
    config
        .service(
            resource("/org/{run}", "GET, HEAD, DELETE")
                .route(get_or_head().to(documents::run))
                .route(web::delete().to(documents::kill_run)),
        )
        .service(resource("/org/{run}/document", "POST").route(web::post().to(documents::document)))
        .service(
            resource("/tasks/{task}", "GET, HEAD, DELETE")
                .route(get_or_head().to(tasks::task))
                .route(web::delete().to(tasks::kill)),
        )
        .service(resource("/ws", "GET").route(web::get().to(websocket::events)))
        .service(resource(payloads::ROUTE, "GET").route(web::get().to(payloads::payload_file)));
    let read_only = [
        ("/org/{run}/results", get_or_head().to(results::results)),
        ("/tasks", get_or_head().to(tasks::tasks)),
        ("/tasks/{task}/stdout", get_or_head().to(output::stdout)),
        ("/tasks/{task}/stderr", get_or_head().to(output::stderr)),
        ("/tasks/{task}/files", get_or_head().to(files::root)),
        ("/tasks/{task}/files/{path:.*}", get_or_head().to(files::file)),
        ("/", get_or_head().to(page::index)),
        ("/healthz", get_or_head().to(page::healthz)),
        ("/varz", get_or_head().to(metrics::varz)),
        ("/metrics", get_or_head().to(metrics::metrics)),
        ("/openapi.json", get_or_head().to(openapi::openapi)),
    ];
    for (path, route) in read_only {
        config.service(resource(path, "GET, HEAD").route(route));
    }
    config.default_service(web::to(page::unknown_route));
}

/// A route for GET and HEAD.
fn get_or_head() -> Route {
    web::route().guard(Any(Get()).or(Head()))
}

/// A path with its methods. Other methods get status 405.
fn resource(path: &str, allowed: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move |request: HttpRequest| async move {
        response::method_not_allowed(&request, allowed)
    }))
}

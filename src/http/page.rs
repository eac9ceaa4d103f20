//! `/` and `/healthz`: the version, a page of runs for browsers, and a health check.

use actix_web::http::StatusCode;
use actix_web::http::header::ACCEPT;
use actix_web::{HttpRequest, HttpResponse, web};

use super::query::{Query, bad_request};
use super::response::{not_found, plain_text, unavailable};
use super::state::AppState;

/// `GET /`: a line for curl, a plain page for a browser.
#[utoipa::path(get, path = "/", tag = "server", description = "That Borges is there; in a browser, its runs.",
    responses((status = 200, description = "A line, or a page", content((String = "text/plain"), (String = "text/html")))))]
pub(super) async fn index(request: HttpRequest, app: web::Data<AppState>) -> HttpResponse {
    if let Err(message) = Query::parse(&request, &[]) {
        return bad_request(&request, &message);
    }
    let name = concat!("Borges Scheduler v", env!("CARGO_PKG_VERSION"));
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !accept.contains("text/html") {
        return plain_text(StatusCode::OK, name.to_owned());
    }
    let runs = match app.engine.runs(None, 100).await {
        Ok(runs) => runs,
        Err(error) => return unavailable(&request, &error),
    };
    let row = |run: &borges_engine::RunProgress| {
        format!(
            "<tr><td><a href=\"/org/{0}\">{0}</a></td><td>{1}</td><td>{2} of {3} ended</td><td>{4}</td></tr>\n",
            run.run, run.state, run.ended, run.tasks, run.accepted
        )
    };
    let rows: String = runs.iter().map(row).collect();
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{name}</title>\n\
         <h1>{name}</h1>\n<table>\n{rows}</table>\n</html>\n"
    ))
}

/// `GET /healthz`.
#[utoipa::path(get, path = "/healthz", tag = "server", description = "That the server answers.",
    responses((status = 200, description = "`OK`", content_type = "text/plain", body = String)))]
pub(super) async fn healthz(request: HttpRequest) -> HttpResponse {
    match Query::parse(&request, &[]) {
        Ok(_) => plain_text(StatusCode::OK, "OK\n".to_owned()),
        Err(message) => bad_request(&request, &message),
    }
}

/// The response to an unknown path.
pub(super) async fn unknown_route(request: HttpRequest) -> HttpResponse {
    not_found(&request, &format!("`{} {}`", request.method(), request.path()))
}

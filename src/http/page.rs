//! `/`, `/healthz`: that Borges is there.

use actix_web::http::StatusCode;
use actix_web::http::header::ACCEPT;
use actix_web::{HttpRequest, HttpResponse, web};

use super::App;
use super::answer::{failed, missing, plain};

/// `GET /`: a line for curl, a plain page for a browser.
pub(super) async fn index(request: HttpRequest, app: web::Data<App>) -> HttpResponse {
    let name = concat!("Borges Scheduler v", env!("CARGO_PKG_VERSION"));
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !accept.contains("text/html") {
        return plain(StatusCode::OK, name.to_owned());
    }
    let runs = match app.engine.runs(None, 100).await {
        Ok(runs) => runs,
        Err(error) => return failed(&request, &error),
    };
    let row = |run: &crate::actors::RunShown| {
        format!(
            "<tr><td><a href=\"/org/{0}\">{0}</a></td><td>{1}</td><td>{2} of {3} ended</td><td>{4}</td></tr>\n",
            run.run,
            run.state.name(),
            run.ended,
            run.tasks,
            run.accepted
        )
    };
    let rows: String = runs.iter().map(row).collect();
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{name}</title>\n\
         <h1>{name}</h1>\n<table>\n{rows}</table>\n</html>\n"
    ))
}

/// `GET /healthz`.
pub(super) async fn healthz() -> HttpResponse {
    plain(StatusCode::OK, "OK\n".to_owned())
}

/// Everything else.
pub(super) async fn nowhere(request: HttpRequest) -> HttpResponse {
    missing(&request, &format!("`{} {}`", request.method(), request.path()))
}

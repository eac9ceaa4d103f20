//! `/launches/{launch}/{file}`: the files that agents fetch for a launch.
//!
//! Agents have no token. The address carries a signature instead, which is valid for one file of one launch while the
//! launch is active.

use std::net::TcpListener;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use super::query::{Query, bad_request};
use super::response::{not_found, problem, unavailable};
use borges_engine::Engine;
use borges_task::{LaunchId, UrlSigner};

/// The state of this route.
pub(super) struct PayloadState {
    pub(super) engine: Engine,
    pub(super) url_signer: UrlSigner,
}

/// The prefix of the paths of this route.
pub(super) const PREFIX: &str = "/launches/";

/// The route.
pub(super) const ROUTE: &str = "/launches/{launch}/{payload_file}";

/// `GET /launches/{launch}/{file}?seal=…`.
pub(super) async fn payload_file(
    request: HttpRequest,
    path: web::Path<(String, usize)>,
    state: web::Data<PayloadState>,
) -> HttpResponse {
    let query = match Query::parse(&request, &["seal"]) {
        Ok(query) => query,
        Err(message) => return bad_request(&request, &message),
    };
    let (launch, number) = path.into_inner();
    let Ok(launch) = launch.parse::<LaunchId>() else { return not_found(&request, "such a launch") };
    let signature = query.get_all("seal").pop().unwrap_or_default();
    if !state.url_signer.verify(launch, number, &signature) {
        return problem(&request, StatusCode::FORBIDDEN, "This address is not signed for this file.");
    }
    match state.engine.payload_file(launch, number).await {
        Ok(Some(bytes)) => HttpResponse::Ok().content_type("application/octet-stream").body(bytes),
        Ok(None) => not_found(&request, "such a launch under way"),
        Err(error) => unavailable(&request, &error),
    }
}

/// Serves only this route, for `borges run`. The server ends with the runtime.
///
/// # Errors
/// The error of the operating system if the listener cannot be used.
pub fn serve_files(engine: Engine, url_signer: UrlSigner, listener: TcpListener) -> std::io::Result<()> {
    let state = web::Data::new(PayloadState { engine, url_signer });
    let server =
        HttpServer::new(move || App::new().app_data(state.clone()).route(ROUTE, web::get().to(payload_file)))
            .workers(1)
            .disable_signals()
            .listen(listener)?
            .run();
    actix_web::rt::spawn(server);
    Ok(())
}

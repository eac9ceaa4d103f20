//! `/launches/{launch}/{file}`: the files that agents fetch for a launch.
//!
//! Agents have no token. What opens this door is the signature in the address, which only the launch was told;
//! it opens one file of one launch, for as long as that is under way.

use std::net::TcpListener;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use super::query::{Query, bad_request};
use super::response::{not_found, problem, unavailable};
use borges_engine::Engine;
use borges_task::{LaunchId, UrlSigner};

/// What this route needs to know.
pub(super) struct PayloadState {
    pub(super) engine: Engine,
    pub(super) seal: UrlSigner,
}

/// What this route's paths begin with.
pub(super) const PREFIX: &str = "/launches/";

/// The route.
pub(super) const ROUTE: &str = "/launches/{launch}/{file}";

/// `GET /launches/{launch}/{file}?seal=…`.
pub(super) async fn file(
    request: HttpRequest,
    path: web::Path<(String, usize)>,
    files: web::Data<PayloadState>,
) -> HttpResponse {
    let query = match Query::parse(&request, &["seal"]) {
        Ok(query) => query,
        Err(wrong) => return bad_request(&request, &wrong),
    };
    let (launch, number) = path.into_inner();
    let Ok(launch) = launch.parse::<LaunchId>() else { return not_found(&request, "such a launch") };
    let signature = query.get_all("seal").pop().unwrap_or_default();
    if !files.seal.verify(launch, number, &signature) {
        return problem(&request, StatusCode::FORBIDDEN, "This address is not signed for this file.");
    }
    match files.engine.payload_file(launch, number).await {
        Ok(Some(bytes)) => HttpResponse::Ok().content_type("application/octet-stream").body(bytes),
        Ok(None) => not_found(&request, "such a launch under way"),
        Err(error) => unavailable(&request, &error),
    }
}

/// Serves this route alone, for a document that is run without a server; ends with the runtime.
///
/// # Errors
/// What the system says when the listener cannot be used.
pub fn serve_files(engine: Engine, seal: UrlSigner, listener: TcpListener) -> std::io::Result<()> {
    let files = web::Data::new(PayloadState { engine, seal });
    let server =
        HttpServer::new(move || App::new().app_data(files.clone()).route(ROUTE, web::get().to(file)))
            .workers(1)
            .disable_signals()
            .listen(listener)?
            .run();
    actix_web::rt::spawn(server);
    Ok(())
}

//! The HTTP server: accepts documents, and serves states, output and files.
//!
//! This layer calls the engine and formats its answers. It knows neither clusters nor how blocks run.
//!
//! | file | |
//! |---|---|
//! | `routes` | the table of routes |
//! | `state` | the state that the handlers share |
//! | `access` | the access policy (pure) |
//! | `auth` | the middleware that applies the access policy |
//! | `authority` | the headers `Host` and `Origin` (pure) |
//! | `credentials` | the token in a request (pure) |
//! | `peer_owner` | the user at the other end of a local connection |
//! | `token` | the server's token and its file |
//! | `body_limits` | the body of a request, within limits |
//! | `upload` | the document in the body of a request (pure) |
//! | `multipart` | the file of a multipart form (pure) |
//! | `query` | the parameters of a request |
//! | `response` | responses as text, JSON or problem+json |
//! | `documents` | `/org`: documents and runs |
//! | `submit_response` | the response to a submitted document |
//! | `results` | `/org/…/results`: output files |
//! | `tasks` | `/tasks`: states |
//! | `output` | `/tasks/…/stdout`, `/stderr` |
//! | `payload_state` | `/tasks/…/files`: sandboxes |
//! | `payloads` | `/launches`: files that agents fetch for a launch |
//! | `websocket` | `/ws`: connection and session |
//! | `event_stream` | the stream of frames for one client of `/ws` |
//! | `output_tail` | the output of running blocks for `/ws` |
//! | `ws_frames` | the frames and the filter of `/ws` |
//! | `page` | `/`, `/healthz` |
//! | `requests` | counters of requests and websocket clients |
//! | `metrics` | `/varz`, `/metrics` |
//! | `openapi` | `/openapi.json` |

mod access;
mod auth;
mod authority;
mod body_limits;
mod credentials;
mod documents;
mod event_stream;
mod files;
mod metrics;
mod multipart;
mod openapi;
mod output;
mod output_tail;
mod page;
mod payloads;
mod peer_owner;
mod query;
mod requests;
mod response;
mod results;
mod routes;
mod state;
mod submit_response;
mod tasks;
mod token;
mod upload;
mod websocket;
mod ws_frames;

use std::future::pending;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, PathConfig, QueryConfig};
use actix_web::{App, HttpServer};

use self::access::AccessPolicy;
use jiff::Timestamp;

use futures_util::join;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::signal::unix::{SignalKind, signal};

pub use output::OFFSET_HEADER;
pub use payloads::serve_files;

pub use token::Token;

use state::AppState;

use borges_clock::Clock;
use borges_engine::{Engine, ParserPool};
use borges_org::HeaderArgsProperty;
use borges_plan::PlanOptions;
use borges_store::Cache;
use borges_task::UrlSigner;

/// The parts and settings of a server.
pub struct Server {
    /// The engine that runs documents.
    pub engine: Engine,
    /// The threads that parse documents.
    pub parser: ParserPool,
    /// The clock.
    pub clock: Clock,
    /// The listen address.
    pub address: SocketAddr,
    /// The cluster, as the setupfile names it.
    pub master: String,
    /// The start time of the server.
    pub started: Timestamp,
    /// The token of the server.
    pub token: Token,
    /// The user whose processes need no token. Processes of root need none either.
    pub user: u32,
    /// No client needs the token.
    pub open: bool,
    /// The accepted host names, besides IP addresses and `localhost`.
    pub hosts: Vec<String>,
    /// The header arguments of the setupfile.
    pub header_args: Vec<HeaderArgsProperty>,
    /// The options that apply to every plan.
    pub plan_options: PlanOptions,
    /// The size limit of a document, bytes.
    pub max_document: usize,
    /// The most tasks of a document.
    pub max_blocks: usize,
    /// The result cache.
    pub cache: Cache,
    /// Signs the addresses that agents fetch.
    pub url_signer: UrlSigner,
}

/// Serves until SIGTERM or SIGINT. Open requests then have [`SHUTDOWN_TIMEOUT`] seconds to complete.
///
/// # Errors
/// The error of the operating system if the listener cannot be used.
pub async fn serve(server: Server, listener: TcpListener) -> std::io::Result<()> {
    let Server {
        engine,
        parser,
        clock,
        address,
        master,
        started,
        token,
        user,
        open,
        hosts,
        header_args,
        plan_options,
        max_document,
        max_blocks,
        cache,
        url_signer,
    } = server;
    let policy = AccessPolicy { token: token.hash(), open, hosts, port: address.port() };
    let auth_state = web::Data::new(auth::AuthState { policy, token, user });
    let app = web::Data::new(AppState {
        engine,
        parser,
        clock,
        address: address.to_string(),
        master,
        started,
        header_args,
        plan_options,
        max_document,
        max_blocks,
        cache,
        requests: requests::RequestCounters::default(),
        description: openapi::description().into(),
    });
    let engine = app.engine.clone();
    let payload_state = web::Data::new(payloads::PayloadState { engine: engine.clone(), url_signer });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(auth_state.clone())
            .app_data(app.clone())
            .app_data(payload_state.clone())
            .app_data(PathConfig::default().error_handler(|_, request| {
                let response = response::not_found(request, &format!("`{}`", request.path()));
                InternalError::from_response("a path that is no text", response).into()
            }))
            .app_data(QueryConfig::default().error_handler(|error, request| {
                let response = query::bad_request(request, &format!("The query is wrong: {error}."));
                InternalError::from_response("a wrong query", response).into()
            }))
            .configure(routes::routes)
            .wrap(from_fn(auth::authenticate))
            .wrap(from_fn(count_request))
    })
    .on_connect(|connection, data| {
        if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>()
            && let Ok(local) = stream.local_addr()
        {
            data.insert(auth::LocalAddress(local));
            data.insert(auth::PeerOwner::default());
            // A frame must not wait for the acknowledgement of the previous one. Failure only delays frames.
            let _ignored = stream.set_nodelay(true);
            // Failure only delays the detection of a client that does not read.
            let _ignored = set_tcp_user_timeout(stream, TCP_USER_TIMEOUT);
        }
    })
    .workers(WORKERS)
    .shutdown_timeout(SHUTDOWN_TIMEOUT)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    let mut server = pin!(server);
    tokio::select! {
        ended = &mut server => return ended,
        () = shutdown_signal() => {}
    }
    // Websocket clients are disconnected, because the shutdown would otherwise wait for them.
    engine.close_event_log();
    let (ended, ()) = join!(server, handle.stop(true));
    ended
}

/// The middleware that counts a request when its response begins.
async fn count_request(
    app: web::Data<AppState>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let response = next.call(request).await?;
    let route = response.request().match_pattern();
    app.requests.count(route.as_deref(), response.status().as_u16());
    Ok(response)
}

async fn shutdown_signal() {
    let [terminate, interrupt] = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    // Without handlers, a signal ends the process at once.
    let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else { return pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// The number of threads that answer requests.
const WORKERS: usize = 2;
/// The time for which sent data may stay unacknowledged before the connection is closed, milliseconds.
const TCP_USER_TIMEOUT: u32 = 60_000;
/// The time that open requests have at shutdown, seconds.
const SHUTDOWN_TIMEOUT: u64 = 5;

//! The server's room: documents come in, states and output go out.
//!
//! It knows nothing of clusters and of how blocks run: it asks the actors, and words their answers.
//!
//! | file | |
//! |---|---|
//! | `upload` | which document a client sent, however it spelt it (pure) |
//! | `multipart` | the only file of a form (pure) |
//! | `access` | who may come in (pure) |
//! | `authority` | `Backend` and `Origin`, taken apart (pure) |
//! | `credentials` | where a request carries the token (pure) |
//! | `peer_owner` | whose process is at the other end |
//! | `token` | the secret that opens the doors, and its file |
//! | `authenticate` | stands at the doors: nothing gets past unjudged |
//! | `response` | text, JSON, problem+json |
//! | `body_limits` | a request's body, read whole and within limits |
//! | `documents` | `/org`: documents and runs |
//! | `query` | the parameters of a request |
//! | `tasks` | `/tasks`: states |
//! | `output` | `/tasks/…/stdout`, `/stderr` |
//! | `files` | `/tasks/…/files`: sandboxes |
//! | `payloads` | `/launches`: what agents fetch for a launch |
//! | `websocket` | `/ws`: what happens, as it happens |
//! | `event_stream` | what one client of it is told |
//! | `output_tail` | the output of running blocks, as it is told there |
//! | `page` | `/`, `/healthz` |
//! | `requests` | requests and clients, counted |
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
mod tasks;
mod token;
mod upload;
mod websocket;

use std::future::pending;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;

use actix_web::error::InternalError;
use actix_web::guard::{Any, Get, Head};
use actix_web::middleware::from_fn;
use actix_web::web::{self, PathConfig, QueryConfig, ServiceConfig};
use actix_web::{App as WebApp, HttpRequest, HttpServer, Resource, Route};
use bytes::Bytes;
use jiff::Timestamp;

use futures_util::join;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::signal::unix::{SignalKind, signal};

pub use access::{AccessDecision, AccessPolicy, RequestFacts, decide, is_local_peer};
pub use credentials::{bearer, cookie_token, query_token, set_cookie};
pub use output::OFFSET_HEADER;
pub use payloads::serve_files;
pub use peer_owner::socket_owner;
pub use token::{Token, TokenError, TokenHash};
pub use upload::{UploadError, UploadedDocument, document};

use borges_clock::Clock;
use borges_engine::{Engine, ParserPool};
use borges_org::HeaderArgsProperty;
use borges_plan::PlanOptions;
use borges_store::Cache;
use borges_task::UrlSigner;

/// A server, ready to be started.
pub struct Server {
    /// Runs documents.
    pub engine: Engine,
    /// Reads documents.
    pub reader: ParserPool,
    /// Tells the time.
    pub clock: Clock,
    /// Where it listens.
    pub address: SocketAddr,
    /// The cluster, as the setupfile names it.
    pub master: String,
    /// When it was started.
    pub started: Timestamp,
    /// Opens the doors.
    pub token: Token,
    /// Whose processes are let in without it, beside root's.
    pub user: u32,
    /// Nobody needs a token.
    pub open: bool,
    /// The names by which it may be called, beside IP addresses and `localhost`.
    pub hosts: Vec<String>,
    /// The setupfile's header arguments.
    pub header_args: Vec<HeaderArgsProperty>,
    /// What is asked of every document.
    pub plan_request: PlanOptions,
    /// The longest document, bytes.
    pub max_document: usize,
    /// The most blocks of a document that run.
    pub max_blocks: usize,
    /// Results that need not be made again.
    pub cache: Cache,
    /// Signs what agents fetch.
    pub seal: UrlSigner,
}

/// What every route may know.
struct App {
    engine: Engine,
    reader: ParserPool,
    clock: Clock,
    address: String,
    master: String,
    started: Timestamp,
    header_args: Vec<HeaderArgsProperty>,
    plan_request: PlanOptions,
    max_document: usize,
    max_blocks: usize,
    cache: Cache,
    requests: requests::RequestCounters,
    /// `/openapi.json`.
    description: Bytes,
}

/// Serves until a signal ends it: open requests are given a few seconds.
///
/// # Errors
/// What the system says when the listener cannot be used.
pub async fn serve(server: Server, listener: TcpListener) -> std::io::Result<()> {
    let Server {
        engine,
        reader,
        clock,
        address,
        master,
        started,
        token,
        user,
        open,
        hosts,
        header_args,
        plan_request,
        max_document,
        max_blocks,
        cache,
        seal,
    } = server;
    let rules = AccessPolicy { token: token.hash(), open, hosts, port: address.port() };
    let doors = web::Data::new(auth::AuthState { rules, token, user });
    let app = web::Data::new(App {
        engine,
        reader,
        clock,
        address: address.to_string(),
        master,
        started,
        header_args,
        plan_request,
        max_document,
        max_blocks,
        cache,
        requests: requests::RequestCounters::default(),
        description: openapi::description().into(),
    });
    let engine = app.engine.clone();
    let files = web::Data::new(payloads::PayloadState { engine: engine.clone(), seal });
    let server = HttpServer::new(move || {
        WebApp::new()
            .app_data(doors.clone())
            .app_data(app.clone())
            .app_data(files.clone())
            .app_data(PathConfig::default().error_handler(|_, request| {
                let answer = response::not_found(request, &format!("`{}`", request.path()));
                InternalError::from_response("a path that is no text", answer).into()
            }))
            .app_data(QueryConfig::default().error_handler(|error, request| {
                let answer = query::bad_request(request, &format!("The query is wrong: {error}."));
                InternalError::from_response("a wrong query", answer).into()
            }))
            .configure(routes)
            .wrap(from_fn(auth::authenticate))
            .wrap(from_fn(requests::count))
    })
    .on_connect(|connection, data| {
        if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>()
            && let Ok(own) = stream.local_addr()
        {
            data.insert(auth::OwnAddress(own));
            data.insert(auth::PeerOwner::default());
            // A frame must not wait until the one before it is confirmed. Where it cannot be set, it is only later.
            let _late = stream.set_nodelay(true);
            // Where it cannot be set, a client that takes nothing in is only given up later.
            let _unset = set_tcp_user_timeout(stream, TCP_USER_TIMEOUT);
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
        () = wait_for_a_signal() => {}
    }
    // Who listens is told; otherwise the end would wait for them.
    engine.close_event_log();
    let (ended, ()) = join!(server, handle.stop(true));
    ended
}

async fn wait_for_a_signal() {
    let [terminate, interrupt] = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    // Without them the process ends at a signal as any other does.
    let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else { return pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Threads that answer requests.
const WORKERS: usize = 2;
/// Milliseconds for which a client may take in nothing of what was sent, before its connection is given up.
const TCP_USER_TIMEOUT: u32 = 60_000;
/// Seconds that open requests are given at the end.
const SHUTDOWN_TIMEOUT: u64 = 5;

fn routes(config: &mut ServiceConfig) {
    for org in ["/org", "/org/"] {
        let post = web::post().to(documents::submit);
        config.service(resource(org, "GET, HEAD, POST").route(post).route(reading().to(documents::runs)));
    }
    config
        .service(
            resource("/org/{run}", "GET, HEAD, DELETE")
                .route(reading().to(documents::run))
                .route(web::delete().to(documents::kill_run)),
        )
        .service(resource("/org/{run}/document", "POST").route(web::post().to(documents::document)))
        .service(
            resource("/tasks/{task}", "GET, HEAD, DELETE")
                .route(reading().to(tasks::task))
                .route(web::delete().to(tasks::kill)),
        )
        .service(resource("/ws", "GET").route(web::get().to(websocket::feed)))
        .service(resource(payloads::ROUTE, "GET").route(web::get().to(payloads::file)));
    let read_only = [
        ("/org/{run}/results", reading().to(results::results)),
        ("/tasks", reading().to(tasks::tasks)),
        ("/tasks/{task}/stdout", reading().to(output::stdout)),
        ("/tasks/{task}/stderr", reading().to(output::stderr)),
        ("/tasks/{task}/files", reading().to(files::root)),
        ("/tasks/{task}/files/{path:.*}", reading().to(files::file)),
        ("/", reading().to(page::index)),
        ("/healthz", reading().to(page::healthz)),
        ("/varz", reading().to(metrics::varz)),
        ("/metrics", reading().to(metrics::metrics)),
        ("/openapi.json", reading().to(openapi::openapi)),
    ];
    for (path, route) in read_only {
        config.service(resource(path, "GET, HEAD").route(route));
    }
    config.default_service(web::to(page::unknown_route));
}

/// A route for who wants to read: GET, and HEAD.
fn reading() -> Route {
    web::route().guard(Any(Get()).or(Head()))
}

/// A path, and the methods it has; any other one is told so.
fn resource(path: &str, allowed: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move |request: HttpRequest| async move {
        response::method_not_allowed(&request, allowed)
    }))
}

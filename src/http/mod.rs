//! The server's room: documents come in, states and output go out.
//!
//! It knows nothing of clusters and of how blocks run: it asks the actors, and words their answers.
//!
//! | file | |
//! |---|---|
//! | `body` | which document a client sent, however it spelt it (pure) |
//! | `multipart` | the only file of a form (pure) |
//! | `doors` | who may come in (pure) |
//! | `authority` | `Host` and `Origin`, taken apart (pure) |
//! | `credentials` | where a request carries the token (pure) |
//! | `peer` | whose process is at the other end |
//! | `token` | the secret that opens the doors, and its file |
//! | `guard` | stands at the doors: nothing gets past unjudged |
//! | `answer` | text, JSON, problem+json |
//! | `documents` | `/org`: documents and runs |
//! | `tasks` | `/tasks`: states and output |
//! | `feed` | `/ws`: what happens, as it happens |
//! | `telling` | what one client of it is told |
//! | `tails` | the output of running blocks, as it is told there |
//! | `page` | `/`, `/healthz` |

mod answer;
mod authority;
mod body;
mod credentials;
mod documents;
mod doors;
mod feed;
mod guard;
mod multipart;
mod page;
mod peer;
mod tails;
mod tasks;
mod telling;
mod token;

use std::future::pending;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;

use actix_web::middleware::from_fn;
use actix_web::web::{self, PayloadConfig, ServiceConfig};
use actix_web::{App as WebApp, HttpServer};

use futures_util::join;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::signal::unix::{SignalKind, signal};

pub use body::{BadBody, Received, document};
pub use credentials::{bearer, cookie_token, query_token, set_cookie};
pub use doors::{Facts, Rules, Verdict, judge, looks_local};
pub use peer::socket_owner;
pub use token::{Token, TokenError, TokenHash};

use crate::actors::{Engine, Reader};
use crate::clock::Clock;
use crate::org::Property;
use crate::spec::Request;

/// A server, ready to be started.
pub struct Server {
    /// Runs documents.
    pub engine: Engine,
    /// Reads documents.
    pub reader: Reader,
    /// Tells the time.
    pub clock: Clock,
    /// Where it listens.
    pub address: SocketAddr,
    /// Opens the doors.
    pub token: Token,
    /// Whose processes are let in without it, beside root's.
    pub user: u32,
    /// Nobody needs a token.
    pub open: bool,
    /// The names by which it may be called, beside IP addresses and `localhost`.
    pub hosts: Vec<String>,
    /// The setupfile's header arguments.
    pub header_args: Vec<Property>,
    /// What is asked of every document.
    pub plan_request: Request,
    /// The longest document, bytes.
    pub max_document: usize,
    /// The most blocks of a document that run.
    pub max_blocks: usize,
}

/// What every route may know.
struct App {
    engine: Engine,
    reader: Reader,
    clock: Clock,
    address: String,
    header_args: Vec<Property>,
    plan_request: Request,
    max_blocks: usize,
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
        token,
        user,
        open,
        hosts,
        header_args,
        plan_request,
        max_document,
        max_blocks,
    } = server;
    let rules = Rules { token: token.hash(), open, hosts, port: address.port() };
    let doors = web::Data::new(guard::Doors { rules, token, user });
    let app = web::Data::new(App {
        engine,
        reader,
        clock,
        address: address.to_string(),
        header_args,
        plan_request,
        max_blocks,
    });
    let engine = app.engine.clone();
    let server = HttpServer::new(move || {
        WebApp::new()
            .app_data(doors.clone())
            .app_data(app.clone())
            .app_data(PayloadConfig::new(max_document))
            .configure(routes)
            .wrap(from_fn(guard::guard))
    })
    .on_connect(|connection, data| {
        if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>()
            && let Ok(own) = stream.local_addr()
        {
            data.insert(guard::Connected::to(own));
            // A frame must not wait until the one before it is confirmed. Where it cannot be set, it is only later.
            let _late = stream.set_nodelay(true);
            // Where it cannot be set, a client that takes nothing in is only given up later.
            let _unset = set_tcp_user_timeout(stream, UNTAKEN);
        }
    })
    .workers(WORKERS)
    .shutdown_timeout(PATIENCE)
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
    engine.close_feed();
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
const UNTAKEN: u32 = 60_000;
/// Seconds that open requests are given at the end.
const PATIENCE: u64 = 5;

fn routes(config: &mut ServiceConfig) {
    for org in ["/org", "/org/"] {
        config.service(
            web::resource(org).route(web::post().to(documents::submit)).route(web::get().to(documents::runs)),
        );
    }
    config
        .service(
            web::resource("/org/{run}")
                .route(web::get().to(documents::run))
                .route(web::delete().to(documents::cancel)),
        )
        .service(web::resource("/tasks").route(web::get().to(tasks::tasks)))
        .service(
            web::resource("/tasks/{task}")
                .route(web::get().to(tasks::task))
                .route(web::delete().to(tasks::kill)),
        )
        .service(web::resource("/tasks/{task}/stdout").route(web::get().to(tasks::stdout)))
        .service(web::resource("/tasks/{task}/stderr").route(web::get().to(tasks::stderr)))
        .service(web::resource("/ws").route(web::get().to(feed::feed)))
        .service(web::resource("/").route(web::get().to(page::index)))
        .service(web::resource("/healthz").route(web::get().to(page::healthz)))
        .default_service(web::to(page::nowhere));
}

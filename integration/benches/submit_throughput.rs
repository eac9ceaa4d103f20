//! Benchmark 6: documents of three blocks, posted on 1, 8 and 64 connections, beside an echo of the same bodies
//! by the same library with as many threads.
//!
//! The blocks find no room, so what is measured is the acceptance: all that was accepted before is waiting.

use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;

use actix_web::{App, HttpServer, web};
use borges_clock::Clock;
use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Peer, answer, request};
use crate::measure::{Spread, cpu_of, cpu_of_threads, memory_of, quantile};
use crate::{Row, documents, message};
use support::server::TestServer;

const CONNECTIONS: [usize; 3] = [1, 8, 64];

/// What one turn of a contender came to.
pub(crate) struct Turn {
    /// Documents a second.
    pub(crate) rate: f64,
    /// Microseconds of CPU a document.
    cpu: f64,
    /// Of it, the store's.
    store: f64,
    /// Milliseconds that answers took, in the order they were asked for.
    pub(crate) times: Vec<f64>,
}

pub(crate) fn measured(rounds: usize, seconds: u64) -> Result<Vec<Row>, String> {
    let rounds = rounds.max(1);
    let length = Duration::from_secs(seconds) / u32::try_from(rounds).map_err(message)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(message)?;
    let request = request("POST", "/org", &documents::waiting(3));
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        let server = TestServer::with_setupfile("");
        let echo = Peer::start(&["echo"])?;
        let (mut borges, mut beside) = (Vec::new(), Vec::new());
        let held = memory_of(server.pid())?;
        for number in 1..=rounds {
            eprintln!("benchmark 6, {connections} connections, round {number} of {rounds}");
            let turn =
                |address: &str, pid| runtime.block_on(turn(address, pid, &request, connections, length));
            borges.push(turn(&server.address, server.pid())?);
            beside.push(turn(&echo.address, echo.pid())?);
        }
        let grown = memory_of(server.pid())?.saturating_sub(held);
        let work = format!("POST of three blocks, {connections} connections, {seconds} s in {rounds} rounds");
        rows.extend(self::rows(&work, &borges, &beside, grown));
    }
    Ok(rows)
}

fn rows(work: &str, borges: &[Turn], beside: &[Turn], grown: u64) -> [Row; 2] {
    let spread = |turns: &[Turn], of: fn(&Turn) -> f64| Spread::of(turns.iter().map(of));
    let p99 = |times: &[f64]| {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        quantile(&sorted, 0.99)
    };
    let row = |contender: &str, turns: &[Turn], more: Vec<String>| {
        let times: Vec<f64> = turns.iter().flat_map(|turn| turn.times.iter().copied()).collect();
        let quarter = times.len() / 4;
        let ratio = spread(turns, |turn| turn.cpu).median / spread(beside, |turn| turn.cpu).median;
        let figures = vec![
            spread(turns, |turn| turn.rate).text(0, "a second"),
            spread(turns, |turn| turn.cpu).text(1, "µs CPU each"),
            format!("{ratio:.1} × the echo"),
            format!(
                "p99 {:.2} ms; first quarter {:.2}, last {:.2}",
                p99(&times),
                p99(&times[..quarter]),
                p99(&times[times.len() - quarter..])
            ),
        ];
        let figures = figures.into_iter().chain(more).collect();
        Row { benchmark: 6, work: work.to_owned(), contender: contender.to_owned(), figures }
    };
    let store = spread(borges, |turn| turn.store).text(1, "µs of it the store's");
    let documents: usize = borges.iter().map(|turn| turn.times.len()).sum();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let memory = format!("{:.0} B held for each", grown as f64 / documents as f64);
    [row("Borges", borges, vec![store, memory]), row("actix-web, an echo", beside, Vec::new())]
}

/// Posts for so long on so many connections. Any answer that is not 200 ends the benchmark.
pub(crate) async fn turn(
    address: &str,
    process: u32,
    request: &[u8],
    connections: usize,
    length: Duration,
) -> Result<Turn, String> {
    let clock = Clock::system();
    let begun = (cpu_of(process)?, cpu_of_threads(process, "store")?);
    let posts = (0..connections).map(|_| post(address, request, &clock, length));
    let mut times: Vec<_> = try_join_all(posts).await?.into_iter().flatten().collect();
    let wall = clock.elapsed().as_secs_f64();
    let cpu = cpu_of(process)?.saturating_sub(begun.0).as_secs_f64();
    let store = cpu_of_threads(process, "store")?.saturating_sub(begun.1).as_secs_f64();
    times.sort_by_key(|&(at, _)| at);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let count = times.len() as f64;
    Ok(Turn {
        rate: count / wall,
        cpu: cpu * 1e6 / count,
        store: store * 1e6 / count,
        times: times.into_iter().map(|(_, took)| took.as_secs_f64() * 1e3).collect(),
    })
}

/// One after the other on one connection: when each was sent, and how long its answer took.
async fn post(
    address: &str,
    request: &[u8],
    clock: &Clock,
    length: Duration,
) -> Result<Vec<(Duration, Duration)>, String> {
    let mut stream = TcpStream::connect(address).await.map_err(message)?;
    stream.set_nodelay(true).map_err(message)?;
    let mut times = Vec::new();
    let mut received = Vec::new();
    while clock.elapsed() < length {
        let begun = clock.elapsed();
        stream.write_all(request).await.map_err(message)?;
        let answer = loop {
            if let Some(answer) = answer(&received)? {
                break answer;
            }
            if stream.read_buf(&mut received).await.map_err(message)? == 0 {
                return Err("a connection was closed".to_owned());
            }
        };
        if answer.status != 200 {
            let message = String::from_utf8_lossy(&answer.body);
            return Err(format!("a document was answered with {}: {message}", answer.status));
        }
        received.drain(..answer.end);
        times.push((begun, clock.elapsed().saturating_sub(begun)));
    }
    Ok(times)
}

/// The echo: `echo`. Says where it listens.
pub(crate) fn echo() -> ExitCode {
    let server: std::io::Result<()> = actix_web::rt::System::new().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        println!("{}", listener.local_addr()?);
        let routes = || App::new().route("/org", web::post().to(async |body: Bytes| body));
        HttpServer::new(routes).workers(2).listen(listener)?.run().await
    });
    if server.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

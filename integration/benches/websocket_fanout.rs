//! Benchmark 9: one change of state told to a thousand websockets, beside frames made beforehand and written to
//! as many raw sockets by one thread.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;

use borges_clock::Clock;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::client::{Client, Peer, TEXT, after_head, frame, request, upgrade};
use crate::measure::{Spread, cpu_of, quantile};
use crate::{Row, documents, message};
use support::server::TestServer;

const LISTENERS: usize = 1_000;
const CHANGES: usize = 100;
/// What happened before, and the slow one asks for: more than fits between it and the server.
const PAST: usize = 10_000;
/// How long a change may take to reach all.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one turn of a contender came to.
struct Turn {
    /// Milliseconds from a change until all had heard of it, sorted.
    times: Vec<f64>,
    /// Milliseconds of its CPU for each.
    cpu: f64,
    /// Bytes of a frame.
    frame: usize,
}

pub(crate) fn measured(rounds: usize) -> Result<Vec<Row>, String> {
    room_for(LISTENERS + 100)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(message)?;
    let server = TestServer::with_setupfile("");
    Client::connect(&server.address)?.submit(&documents::waiting(PAST))?;
    let (mut borges, mut with_a_slow_one, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=rounds.max(1) {
        eprintln!("benchmark 9, round {number} of {}", rounds.max(1));
        borges.push(LocalSet::new().block_on(&runtime, told(&server, false))?);
        with_a_slow_one.push(LocalSet::new().block_on(&runtime, told(&server, true))?);
        let size = borges.last().map_or(0, |turn: &Turn| turn.frame);
        let peer = Peer::start(&["raw-feed", &size.to_string()])?;
        raw.push(LocalSet::new().block_on(&runtime, written(&peer))?);
    }
    let middle = |turns: &[Turn]| Spread::of(turns.iter().map(|turn| quantile(&turn.times, 0.5)));
    let least = middle(&raw).median;
    let size = borges.first().map_or(0, |turn| turn.frame);
    let row = |contender: &str, turns: &[Turn]| Row {
        benchmark: 9,
        work: format!(
            "a change of {size} bytes told to {LISTENERS} websockets, {CHANGES} times, {} rounds",
            turns.len()
        ),
        contender: contender.to_owned(),
        figures: vec![
            middle(turns).text(2, "ms until the last has it"),
            format!("{:.2} × raw", middle(turns).median / least),
            Spread::of(turns.iter().map(|turn| quantile(&turn.times, 0.99))).text(2, "ms p99"),
            Spread::of(turns.iter().map(|turn| turn.cpu)).text(2, "ms own CPU"),
        ],
    };
    Ok(vec![
        row("Borges, from the POST", &borges),
        row("the same, and one never reads", &with_a_slow_one),
        row("raw sockets", &raw),
    ])
}

/// Files for so many connections, in this process and those it starts.
fn room_for(connections: usize) -> Result<(), String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(message)?;
    let wanted = u64::try_from(connections).map_err(message)?;
    if soft >= wanted {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted))
        .map_err(|error| format!("{wanted} open files are needed (`ulimit -n`): {error}"))
}

/// Changes by POST: a document whose block finds no room is one change.
async fn told(server: &TestServer, with_a_slow_one: bool) -> Result<Turn, String> {
    let slow = if with_a_slow_one { Some(never_read(&server.address).await?) } else { None };
    let post = request("POST", "/org", &documents::waiting(1));
    // Not before the first: a connection that asks nothing for seconds is closed.
    let mut posts = None;
    let change = async || {
        let stream = match posts.take() {
            Some(stream) => stream,
            None => TcpStream::connect(&server.address).await.map_err(message)?,
        };
        posts.insert(stream).write_all(&post).await.map_err(message)
    };
    let turn = broadcasts(&server.address, server.pid(), change).await;
    drop(slow);
    turn
}

/// One that has asked for all that ever happened, and takes in nothing.
async fn never_read(address: &str) -> Result<TcpStream, String> {
    let socket = TcpSocket::new_v4().map_err(message)?;
    socket.set_recv_buffer_size(4096).map_err(message)?;
    let mut stream = socket.connect(address.parse().map_err(message)?).await.map_err(message)?;
    stream.write_all(upgrade("?since=0").as_bytes()).await.map_err(message)?;
    Ok(stream)
}

/// Changes by a byte to the peer.
async fn written(peer: &Peer) -> Result<Turn, String> {
    let mut control = TcpStream::connect(&peer.address).await.map_err(message)?;
    control.set_nodelay(true).map_err(message)?;
    broadcasts(&peer.address, peer.pid(), async || control.write_all(b"!").await.map_err(message)).await
}

/// Connects all, then makes changes, each when the one before is heard by all.
async fn broadcasts(
    address: &str,
    process: u32,
    mut change: impl AsyncFnMut() -> Result<(), String>,
) -> Result<Turn, String> {
    let mut listeners = JoinSet::new();
    let (ears, mut hearing) = unbounded_channel();
    for _ in 0..LISTENERS {
        let mut stream = TcpStream::connect(address).await.map_err(message)?;
        stream.write_all(upgrade("").as_bytes()).await.map_err(message)?;
        listeners.spawn_local(listen(stream, ears.clone()));
        // More at once than a listener has room for would be kept waiting for seconds.
        next_frame(&mut hearing, 1).await?;
    }
    let clock = Clock::system();
    let mut times = Vec::with_capacity(CHANGES);
    let mut frame = 0;
    let cpu = cpu_of(process)?;
    for _ in 0..CHANGES {
        let begun = clock.elapsed();
        change().await?;
        frame = next_frame(&mut hearing, LISTENERS).await?;
        times.push(clock.elapsed().saturating_sub(begun).as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let cpu = cpu_of(process)?.saturating_sub(cpu).as_secs_f64() * 1e3 / CHANGES as f64;
    Ok(Turn { times, cpu, frame })
}

/// Waits until so many listeners have heard one thing more; how long the last frame was.
async fn next_frame(hearing: &mut UnboundedReceiver<usize>, count: usize) -> Result<usize, String> {
    let mut frame = 0;
    for number in 0..count {
        let told = timeout(PATIENCE, hearing.recv()).await;
        let told = told.map_err(|_| format!("only {number} of {count} heard of it"))?;
        frame = told.ok_or("all have stopped listening")?;
    }
    Ok(frame)
}

/// Says that the connection is there, then each frame's length when it has come.
async fn listen(mut stream: TcpStream, ears: UnboundedSender<usize>) {
    let mut received = Vec::with_capacity(4096);
    let mut is_greeted = false;
    while stream.read_buf(&mut received).await.is_ok_and(|count| count > 0) {
        if !is_greeted {
            let Some(head) = after_head(&received) else { continue };
            received.drain(..head);
            is_greeted = true;
            let _ = ears.send(0);
        }
        while let Some((kind, _, end)) = frame(&received) {
            received.drain(..end);
            if kind == TEXT {
                let _ = ears.send(end);
            }
        }
    }
}

/// The peer: `raw-feed BYTES`. Who connects first says when; all others are written to.
pub(crate) fn raw_feed(arguments: &[String]) -> ExitCode {
    let size = arguments.first().and_then(|size| size.parse().ok());
    if size.is_some_and(|size: usize| serve_raw(size).is_ok()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn serve_raw(size: usize) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let (mut control, _) = listener.accept()?;
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        stream.write_all(b"HTTP/1.1 101 Here\r\n\r\n")?;
        listeners.push(stream);
    }
    let payload = size.saturating_sub(4);
    let mut frame = vec![0x81, 126];
    frame.extend_from_slice(&u16::try_from(payload).unwrap_or(u16::MAX).to_be_bytes());
    frame.resize(4 + payload, b' ');
    let mut byte = [0];
    while control.read(&mut byte)? > 0 {
        for mut listener in &listeners {
            listener.write_all(&frame)?;
        }
    }
    Ok(())
}

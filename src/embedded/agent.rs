//! The agent's shell: it carries out what the state machine says.
//!
//! One task on one thread. A turn takes all there is to take (calls, ends, time), tells it to the state
//! machine, does what that wants, and writes to each client once.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{getpid, set_child_subreaper};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::{Connection, Received};
use super::driver::{AgentDriver, Clients};
use super::limits::CgroupRoot;
use super::options::AgentOptions;
use super::paths::{Paths, SOCKET};
use super::protocol::{PROTOCOL, SPOKEN};
use super::reap;
use super::state::{ClientId, Identity, Timestamps};
use borges_clock::Clock;
use borges_mesos::messages::scheduler::Event;

/// The id of the agent: the same at each start, as blocks outlive an agent.
pub const AGENT_ID: &str = "local";

/// Runs the agent until it has nothing to do.
pub(crate) fn run(options: &AgentOptions) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let result = runtime.and_then(|runtime| runtime.block_on(async { Shell::new(options)?.run().await }));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("the agent ends: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Shell {
    layout: Paths,
    clock: Clock,
    started: Instant,
    hands: AgentDriver,
    listener: UnixListener,
    connections: BTreeMap<ClientId, Connection>,
    last_peer: ClientId,
    children: Signal,
    sleep: Pin<Box<Sleep>>,
    /// When the sleep ends, if it still has to.
    armed: Option<Duration>,
}

impl Shell {
    fn new(options: &AgentOptions) -> io::Result<Self> {
        if !SPOKEN.contains(&options.protocol) {
            let why = format!("it is asked for protocol {}, and speaks {PROTOCOL}", options.protocol);
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        set_child_subreaper(Some(getpid()))?;
        let listener = std::os::unix::net::UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
        // Blocks inherit it.
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        listener.set_nonblocking(true)?;
        let children = signal(SignalKind::child())?;
        let layout = Paths::new(&options.directory);
        let groups = CgroupRoot::find().inspect_err(|why| log::warn!("memory is not enforced: {why}")).ok();
        let clock = Clock::system();
        let identity = Identity {
            agent: AGENT_ID.to_owned(),
            hostname: options.hostname.clone(),
            incarnation: clock.uuid(),
        };
        let (all, now) = (options.quantities(), now(&clock));
        let hands = AgentDriver::new(layout.clone(), groups, identity, all, options.end_with_client, now)?;
        let started = Instant::now();
        Ok(Self {
            layout,
            clock,
            started,
            hands,
            listener: UnixListener::from_std(listener)?,
            connections: BTreeMap::new(),
            last_peer: 0,
            children,
            sleep: Box::pin(sleep_until(started)),
            armed: None,
        })
    }

    async fn run(mut self) -> io::Result<()> {
        loop {
            self.turn();
            if self.hands.finished && self.finish() {
                return Ok(());
            }
            self.arm();
            poll_fn(|context| self.poll(context)).await;
        }
    }

    /// Waits until there is something to do, and takes in what can be.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut news = false;
        while let Poll::Ready(Some(())) = self.children.poll_recv(context) {
            news = true;
        }
        news |= self.poll_accept(context);
        for connection in self.connections.values_mut() {
            news |= connection.poll(context);
        }
        if self.armed.is_some() && self.sleep.as_mut().poll(context).is_ready() {
            self.armed = None;
            news = true;
        }
        if news { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> bool {
        let mut news = false;
        while let Poll::Ready(accepted) = self.listener.poll_accept(context) {
            match accepted {
                Ok((stream, _)) => {
                    self.add(stream);
                    news = true;
                }
                Err(error) => {
                    log::warn!("a client cannot be accepted: {error}");
                    break;
                }
            }
        }
        news
    }

    fn accepted(&mut self, stream: std::os::unix::net::UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        self.add(UnixStream::from_std(stream)?);
        Ok(())
    }

    fn add(&mut self, stream: UnixStream) {
        self.last_peer += 1;
        self.hands.state.connected(self.last_peer);
        self.connections.insert(self.last_peer, Connection::new(stream));
    }

    /// Tells the state machine all that is new, and does what it says.
    fn turn(&mut self) {
        let now = now(&self.clock);
        self.hands.poll(now, &mut self.connections);
        let peers: Vec<ClientId> = self.connections.keys().copied().collect();
        for peer in peers {
            while let Some(received) = self.connections.get_mut(&peer).and_then(Connection::received) {
                match received {
                    Received::Call(call) => self.hands.call(peer, *call, now, &mut self.connections),
                    Received::Malformed(message) => {
                        self.hands.reject(peer, &message, now, &mut self.connections);
                    }
                }
            }
        }
        self.hands.offer_free_resources(now, &mut self.connections);
        for connection in self.connections.values_mut() {
            connection.flush();
        }
        let over: Vec<ClientId> =
            self.connections.iter().filter(|(_, it)| it.is_closed()).map(|(peer, _)| *peer).collect();
        for peer in over {
            self.connections.remove(&peer);
            self.hands.closed(peer, now, &mut self.connections);
        }
    }

    /// Sets the alarm for what the state machine waits for.
    fn arm(&mut self) {
        let now = self.clock.elapsed();
        let next = self.hands.next_poll(now);
        // An alarm that is too early is harmless, and cheaper than setting it anew each time.
        if let Some(next) = next
            && self.armed.is_none_or(|armed| next < armed)
        {
            self.armed = Some(next);
            self.sleep.as_mut().reset(self.started + next);
        }
    }

    /// Ends, unless a client came at the last moment; true when it is over.
    fn finish(&mut self) -> bool {
        if self.hands.state.is_ending() {
            reap::kill_descendants();
            self.hands.processes.remove_groups();
            return true;
        }
        self.hands.finished = false;
        // Who starts an agent holds the lock from looking for one until one listens.
        let Ok(lock) = File::open(self.layout.lock()) else { return true };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            self.hands.state.wait_for_clients(now(&self.clock));
            return false;
        }
        // Asked directly: the runtime may not have looked yet.
        if let Ok(stream) = rustix::net::accept(&self.listener)
            && let Err(error) = self.accepted(stream.into())
        {
            log::warn!("a client cannot be accepted: {error}");
        }
        if !self.connections.is_empty() {
            return false;
        }
        let _ = std::fs::remove_file(self.layout.agent().join(SOCKET));
        true
    }
}

impl Clients for BTreeMap<ClientId, Connection> {
    fn send(&mut self, peer: ClientId, event: &Event) {
        if let Some(connection) = self.get_mut(&peer) {
            connection.send(event);
        }
    }

    fn close(&mut self, peer: ClientId) {
        if let Some(connection) = self.get_mut(&peer) {
            connection.close();
        }
    }
}

fn now(clock: &Clock) -> Timestamps {
    let wall = clock.now();
    Timestamps { elapsed: clock.elapsed(), wall: wall.as_duration().as_secs_f64() }
}

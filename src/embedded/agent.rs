//! The agent process: its event loop, and the socket on which its clients connect.
//!
//! One task on one thread. Each turn of the loop passes exits, calls and due timers to the driver, which executes
//! the actions of the state machine, and then writes to each client once.

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
use super::model::{ClientId, Timestamps};
use super::options::AgentOptions;
use super::paths::{Paths, SOCKET};
use super::protocol::{PROTOCOL, SPOKEN};
use super::reap;
use super::state::Identity;
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
    paths: Paths,
    clock: Clock,
    started: Instant,
    driver: AgentDriver,
    listener: UnixListener,
    connections: BTreeMap<ClientId, Connection>,
    last_client: ClientId,
    child_exits: Signal,
    sleep: Pin<Box<Sleep>>,
    /// When `sleep` ends; `None` if it has ended.
    wake_at: Option<Duration>,
}

impl Shell {
    fn new(options: &AgentOptions) -> io::Result<Self> {
        if !SPOKEN.contains(&options.protocol) {
            let why = format!("it is asked for protocol {}, and speaks {PROTOCOL}", options.protocol);
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        set_child_subreaper(Some(getpid()))?;
        let listener = std::os::unix::net::UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
        // Blocks inherit the agent's stdin.
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        listener.set_nonblocking(true)?;
        let child_exits = signal(SignalKind::child())?;
        let paths = Paths::new(&options.directory);
        let groups = CgroupRoot::find().inspect_err(|why| log::warn!("memory is not enforced: {why}")).ok();
        let clock = Clock::system();
        let identity = Identity {
            agent: AGENT_ID.to_owned(),
            hostname: options.hostname.clone(),
            incarnation: clock.uuid(),
        };
        let (total, now) = (options.total_resources(), timestamps(&clock));
        let driver = AgentDriver::new(paths.clone(), groups, identity, total, options.end_with_client, now)?;
        let started = Instant::now();
        Ok(Self {
            paths,
            clock,
            started,
            driver,
            listener: UnixListener::from_std(listener)?,
            connections: BTreeMap::new(),
            last_client: 0,
            child_exits,
            sleep: Box::pin(sleep_until(started)),
            wake_at: None,
        })
    }

    async fn run(mut self) -> io::Result<()> {
        loop {
            self.run_turn();
            if self.driver.finished && self.finish() {
                return Ok(());
            }
            self.set_timer();
            poll_fn(|context| self.poll(context)).await;
        }
    }

    /// Waits until a child exits, a client connects or sends, or a timer is due.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut is_ready = false;
        while let Poll::Ready(Some(())) = self.child_exits.poll_recv(context) {
            is_ready = true;
        }
        is_ready |= self.accept_clients(context);
        for connection in self.connections.values_mut() {
            is_ready |= connection.poll(context);
        }
        if self.wake_at.is_some() && self.sleep.as_mut().poll(context).is_ready() {
            self.wake_at = None;
            is_ready = true;
        }
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    }

    fn accept_clients(&mut self, context: &mut Context<'_>) -> bool {
        let mut is_ready = false;
        while let Poll::Ready(accepted) = self.listener.poll_accept(context) {
            match accepted {
                Ok((stream, _)) => {
                    self.add_client(stream);
                    is_ready = true;
                }
                Err(error) => {
                    log::warn!("a client cannot be accepted: {error}");
                    break;
                }
            }
        }
        is_ready
    }

    fn add_blocking_stream(&mut self, stream: std::os::unix::net::UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        self.add_client(UnixStream::from_std(stream)?);
        Ok(())
    }

    fn add_client(&mut self, stream: UnixStream) {
        self.last_client += 1;
        self.driver.state.connected(self.last_client);
        self.connections.insert(self.last_client, Connection::new(stream));
    }

    /// Passes exits, due timers and calls to the driver, then writes to all clients.
    fn run_turn(&mut self) {
        let now = timestamps(&self.clock);
        self.driver.poll(now, &mut self.connections);
        let clients: Vec<ClientId> = self.connections.keys().copied().collect();
        for client in clients {
            while let Some(received) = self.connections.get_mut(&client).and_then(Connection::next_call) {
                match received {
                    Received::Call(call) => self.driver.call(client, *call, now, &mut self.connections),
                    Received::Malformed(message) => {
                        self.driver.reject(client, &message, now, &mut self.connections);
                    }
                }
            }
        }
        self.driver.offer_free_resources(now, &mut self.connections);
        for connection in self.connections.values_mut() {
            connection.flush();
        }
        let closed: Vec<ClientId> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_closed())
            .map(|(client, _)| *client)
            .collect();
        for client in closed {
            self.connections.remove(&client);
            self.driver.closed(client, now, &mut self.connections);
        }
    }

    /// Sets the timer for the driver's next poll.
    fn set_timer(&mut self) {
        let now = self.clock.elapsed();
        let next = self.driver.next_poll(now);
        // A timer that fires too early is harmless, and cheaper than setting it again each turn.
        if let Some(next) = next
            && self.wake_at.is_none_or(|wake_at| next < wake_at)
        {
            self.wake_at = Some(next);
            self.sleep.as_mut().reset(self.started + next);
        }
    }

    /// Shuts the agent down. `false` if a client has connected meanwhile, or another process is about to connect.
    fn finish(&mut self) -> bool {
        if self.driver.state.is_ending() {
            reap::kill_descendants();
            self.driver.processes.remove_groups();
            return true;
        }
        self.driver.finished = false;
        // `connect_or_spawn` holds the lock from its look for an agent until an agent listens.
        let Ok(lock) = File::open(self.paths.lock()) else { return true };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            self.driver.state.wait_for_clients(timestamps(&self.clock));
            return false;
        }
        // A direct call: the runtime may not have polled the listener yet.
        if let Ok(stream) = rustix::net::accept(&self.listener)
            && let Err(error) = self.add_blocking_stream(stream.into())
        {
            log::warn!("a client cannot be accepted: {error}");
        }
        if !self.connections.is_empty() {
            return false;
        }
        let _ = std::fs::remove_file(self.paths.agent().join(SOCKET));
        true
    }
}

impl Clients for BTreeMap<ClientId, Connection> {
    fn send(&mut self, client: ClientId, event: &Event) {
        if let Some(connection) = self.get_mut(&client) {
            connection.send(event);
        }
    }

    fn close(&mut self, client: ClientId) {
        if let Some(connection) = self.get_mut(&client) {
            connection.close();
        }
    }
}

fn timestamps(clock: &Clock) -> Timestamps {
    let wall = clock.now();
    Timestamps { elapsed: clock.elapsed(), wall: wall.as_duration().as_secs_f64() }
}

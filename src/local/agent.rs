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
use super::end;
use super::exit::Exit;
use super::layout::{Layout, SOCKET};
use super::options::AgentOptions;
use super::processes::{Ended, How, Processes};
use super::state::{Action, Agent, Identity, Now, Peer, Started};
use super::table::Row;
use crate::clock::Clock;

/// The id of the agent: the same at each start, as blocks outlive an agent.
pub const AGENT_ID: &str = "local";

/// How often blocks are looked at of which nobody tells us.
const UNWATCHED: Duration = Duration::from_millis(100);

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
    layout: Layout,
    clock: Clock,
    started: Instant,
    state: Agent,
    processes: Processes,
    listener: UnixListener,
    connections: BTreeMap<Peer, Connection>,
    last_peer: Peer,
    children: Signal,
    sleep: Pin<Box<Sleep>>,
    /// When the sleep ends, if it still has to.
    armed: Option<Duration>,
    actions: Vec<Action>,
    finished: bool,
}

impl Shell {
    fn new(options: &AgentOptions) -> io::Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        let listener = std::os::unix::net::UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
        // Blocks inherit it.
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        listener.set_nonblocking(true)?;
        let children = signal(SignalKind::child())?;
        let layout = Layout::new(&options.directory);
        let mut processes = Processes::new(layout.clone())?;
        let clock = Clock::system();
        let identity = Identity {
            agent: AGENT_ID.to_owned(),
            hostname: options.hostname.clone(),
            incarnation: clock.uuid(),
        };
        let now = now(&clock);
        let mut state = Agent::new(identity, options.quantities(), options.end_with_client, now);
        let mut actions = Vec::new();
        for orphan in processes.orphans() {
            let Row { pid, framework, launch, held, .. } = &orphan.row;
            log::info!("`{launch}` still runs, as process {pid}");
            let stop = processes.stopped(framework, launch);
            let key = state.adopt(framework, launch, held.clone(), stop, orphan.began);
            if !processes.adopt(key, orphan) {
                state.ended(key, Exit::Lost, None, now, &mut actions);
            }
        }
        processes.adopted_all();
        let started = Instant::now();
        Ok(Self {
            layout,
            clock,
            started,
            state,
            processes,
            listener: UnixListener::from_std(listener)?,
            connections: BTreeMap::new(),
            last_peer: 0,
            children,
            sleep: Box::pin(sleep_until(started)),
            armed: None,
            actions,
            finished: false,
        })
    }

    async fn run(mut self) -> io::Result<()> {
        loop {
            self.turn();
            if self.finished && self.finish() {
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
        self.state.connected(self.last_peer);
        self.connections.insert(self.last_peer, Connection::new(stream));
    }

    /// Tells the state machine all that is new, and does what it says.
    fn turn(&mut self) {
        let now = now(&self.clock);
        while let Some(ended) = self.processes.reap() {
            self.ended(ended, now);
        }
        if self.processes.has_unwatched() {
            for key in self.processes.started() {
                self.state.started(key, Started::Running, now, &mut self.actions);
            }
            for ended in self.processes.ended_orphans() {
                self.ended(ended, now);
            }
        }
        for (key, excess) in self.processes.look(now.elapsed) {
            self.state.exceeded(key, excess, now, &mut self.actions);
        }
        self.state.tick(now, &mut self.actions);
        self.perform(now);
        let peers: Vec<Peer> = self.connections.keys().copied().collect();
        for peer in peers {
            while let Some(received) = self.connections.get_mut(&peer).and_then(Connection::received) {
                match received {
                    Received::Call(call) => self.state.call(peer, *call, now, &mut self.actions),
                    Received::Nonsense(message) => self.state.refuse(peer, &message, now, &mut self.actions),
                }
                self.perform(now);
            }
        }
        self.state.settle(now, &mut self.actions);
        self.perform(now);
        for connection in self.connections.values_mut() {
            connection.flush();
        }
        let over: Vec<Peer> =
            self.connections.iter().filter(|(_, it)| it.is_over()).map(|(peer, _)| *peer).collect();
        for peer in over {
            self.connections.remove(&peer);
            self.state.closed(peer, now, &mut self.actions);
            self.state.settle(now, &mut self.actions);
            self.perform(now);
        }
    }

    fn ended(&mut self, Ended { key, began, excess, how }: Ended, now: Now) {
        if began {
            self.state.started(key, Started::Running, now, &mut self.actions);
        }
        match how {
            How::Exit(exit) => self.state.ended(key, exit, excess, now, &mut self.actions),
            How::Trouble(reason, message) => {
                self.state.started(key, Started::Failed(reason, message), now, &mut self.actions);
            }
        }
    }

    /// Does what the state machine says, and what it says to that.
    fn perform(&mut self, now: Now) {
        let mut batch = Vec::new();
        while !self.actions.is_empty() {
            std::mem::swap(&mut batch, &mut self.actions);
            for action in batch.drain(..) {
                match action {
                    Action::Send(peer, event) => {
                        if let Some(connection) = self.connections.get_mut(&peer) {
                            connection.send(&event);
                        }
                    }
                    Action::Close(peer) => {
                        if let Some(connection) = self.connections.get_mut(&peer) {
                            connection.close();
                        }
                    }
                    Action::Launch(launch) => {
                        let started = self.processes.start(&launch);
                        self.state.started(launch.key, started, now, &mut self.actions);
                    }
                    Action::Signal(key, force) => self.processes.signal(key, force),
                    Action::Mark(key, stop) => self.processes.mark(key, stop),
                    Action::Recall(framework, launch) => {
                        let past = self.processes.past(&framework, &launch);
                        self.state.recalled(&framework, &launch, past, now, &mut self.actions);
                    }
                    Action::Finish => self.finished = true,
                }
            }
        }
        // Keeps its room for the next time.
        self.actions = batch;
    }

    /// Sets the alarm for what the state machine waits for.
    fn arm(&mut self) {
        let now = self.clock.elapsed();
        let unwatched = self.processes.has_unwatched().then(|| now + UNWATCHED);
        let next = [self.state.next_tick(), unwatched, self.processes.next_look(now)];
        let next = next.into_iter().flatten().min();
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
        if self.state.is_ending() {
            end::sweep();
            self.processes.remove_groups();
            return true;
        }
        self.finished = false;
        // Who starts an agent holds the lock from looking for one until one listens.
        let Ok(lock) = File::open(self.layout.lock()) else { return true };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            self.state.wait_for_clients(now(&self.clock));
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

fn now(clock: &Clock) -> Now {
    let wall = clock.now();
    Now { elapsed: clock.elapsed(), wall: wall.as_duration().as_secs_f64() }
}

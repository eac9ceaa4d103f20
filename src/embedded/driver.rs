//! All of the agent but its sockets: the state machine, and the processes that it speaks of.

use std::io;
use std::time::Duration;

use super::exit::Exit;
use super::limits::CgroupRoot;
use super::paths::Paths;
use super::process_table::Row;
use super::processes::{ExitKind, LaunchExit, Processes};
use super::state::{Action, Agent, ClientId, Identity, StartReport, Timestamps};
use borges_mesos::messages::scheduler::{Call, Event};
use borges_mesos::resources::Quantities;

/// How often blocks are looked at of which nobody tells us.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The agent's clients.
pub(super) trait Clients {
    fn send(&mut self, peer: ClientId, event: &Event);
    /// When all is sent.
    fn close(&mut self, peer: ClientId);
}

/// A state machine, and what carries out what it says.
pub(super) struct AgentDriver {
    pub(super) state: Agent,
    pub(super) processes: Processes,
    actions: Vec<Action>,
    /// The state machine has said that it is over.
    pub(super) finished: bool,
}

impl AgentDriver {
    /// Those of an agent that offers `all`; what earlier agents of the directory have left running is taken over.
    pub(super) fn new(
        layout: Paths,
        groups: Option<CgroupRoot>,
        identity: Identity,
        all: Quantities,
        end_with_client: bool,
        now: Timestamps,
    ) -> io::Result<Self> {
        let mut processes = Processes::new(layout, groups)?;
        let mut state = Agent::new(identity, all, end_with_client, now);
        let mut actions = Vec::new();
        for orphan in processes.orphans() {
            let Row { pid, framework, launch, held, .. } = &orphan.row;
            log::info!("`{launch}` still runs, as process {pid}");
            let stop = processes.stopped(framework, launch);
            let key = state.adopt(framework, launch, held.clone(), stop, orphan.began);
            if !processes.adopt(key, orphan) {
                state.ended(key, Exit::Unknown, None, now, &mut actions);
            }
        }
        processes.finish_adoption();
        Ok(Self { state, processes, actions, finished: false })
    }

    /// Takes in what has become of the blocks, and what is due.
    pub(super) fn poll(&mut self, now: Timestamps, peers: &mut impl Clients) {
        while let Some(ended) = self.processes.reap() {
            self.ended(ended, now);
        }
        if self.processes.needs_polling() {
            for key in self.processes.started() {
                self.state.started(key, StartReport::Running, now, &mut self.actions);
            }
            for ended in self.processes.ended_orphans() {
                self.ended(ended, now);
            }
        }
        for (key, excess) in self.processes.check_limits(now.elapsed) {
            self.state.on_limit_exceeded(key, excess, now, &mut self.actions);
        }
        self.state.tick(now, &mut self.actions);
        self.perform(now, peers);
    }

    /// Does what a client says.
    pub(super) fn call(&mut self, peer: ClientId, call: Call, now: Timestamps, peers: &mut impl Clients) {
        self.state.call(peer, call, now, &mut self.actions);
        self.perform(now, peers);
    }

    /// Answers what is no call.
    pub(super) fn reject(
        &mut self,
        peer: ClientId,
        message: &str,
        now: Timestamps,
        peers: &mut impl Clients,
    ) {
        self.state.refuse(peer, message, now, &mut self.actions);
        self.perform(now, peers);
    }

    /// A client is gone.
    pub(super) fn closed(&mut self, peer: ClientId, now: Timestamps, peers: &mut impl Clients) {
        self.state.closed(peer, now, &mut self.actions);
        self.offer_free_resources(now, peers);
    }

    /// Offers what has become free.
    pub(super) fn offer_free_resources(&mut self, now: Timestamps, peers: &mut impl Clients) {
        self.state.send_offers(now, &mut self.actions);
        self.perform(now, peers);
    }

    /// When [`Self::poll`] is to be called next, if nothing else happens.
    pub(super) fn next_poll(&mut self, now: Duration) -> Option<Duration> {
        let unwatched = self.processes.needs_polling().then(|| now + POLL_INTERVAL);
        [self.state.next_tick(), unwatched, self.processes.next_check(now)].into_iter().flatten().min()
    }

    fn ended(&mut self, LaunchExit { key, began, excess, how }: LaunchExit, now: Timestamps) {
        if began {
            self.state.started(key, StartReport::Running, now, &mut self.actions);
        }
        match how {
            ExitKind::Exit(exit) => self.state.ended(key, exit, excess, now, &mut self.actions),
            ExitKind::StartFailed(reason, message) => {
                self.state.started(key, StartReport::Failed(reason, message), now, &mut self.actions);
            }
        }
    }

    /// Does what the state machine says, and what it says to that.
    fn perform(&mut self, now: Timestamps, peers: &mut impl Clients) {
        let mut batch = Vec::new();
        while !self.actions.is_empty() {
            std::mem::swap(&mut batch, &mut self.actions);
            for action in batch.drain(..) {
                match action {
                    Action::Send(peer, event) => peers.send(peer, &event),
                    Action::Close(peer) => peers.close(peer),
                    Action::Launch(launch) => {
                        let started = self.processes.start(&launch);
                        self.state.started(launch.key, started, now, &mut self.actions);
                    }
                    Action::Signal(key, force) => self.processes.signal(key, force),
                    Action::RecordStop(key, stop) => self.processes.record_stop(key, stop),
                    Action::LookUpLaunch(framework, launch) => {
                        let past = self.processes.launch_history(&framework, &launch);
                        self.state.launch_looked_up(&framework, &launch, past, now, &mut self.actions);
                    }
                    Action::Shutdown => self.finished = true,
                }
            }
        }
        // Keeps its room for the next time.
        self.actions = batch;
    }
}

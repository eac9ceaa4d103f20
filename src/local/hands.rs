//! All of the agent but its sockets: the state machine, and the processes that it speaks of.

use std::io;
use std::time::Duration;

use super::exit::Exit;
use super::layout::Layout;
use super::limits::Groups;
use super::processes::{Ended, How, Processes};
use super::state::{Action, Agent, Identity, Now, Peer, Started};
use super::table::Row;
use crate::mesos::messages::scheduler::{Call, Event};
use crate::mesos::resources::Quantities;

/// How often blocks are looked at of which nobody tells us.
const UNWATCHED: Duration = Duration::from_millis(100);

/// The agent's clients.
pub(super) trait Peers {
    fn send(&mut self, peer: Peer, event: &Event);
    /// When all is sent.
    fn close(&mut self, peer: Peer);
}

/// A state machine, and what carries out what it says.
pub(super) struct Hands {
    pub(super) state: Agent,
    pub(super) processes: Processes,
    actions: Vec<Action>,
    /// The state machine has said that it is over.
    pub(super) finished: bool,
}

impl Hands {
    /// Those of an agent that offers `all`; what earlier agents of the directory have left running is taken over.
    pub(super) fn new(
        layout: Layout,
        groups: Option<Groups>,
        identity: Identity,
        all: Quantities,
        end_with_client: bool,
        now: Now,
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
                state.ended(key, Exit::Lost, None, now, &mut actions);
            }
        }
        processes.adopted_all();
        Ok(Self { state, processes, actions, finished: false })
    }

    /// Takes in what has become of the blocks, and what is due.
    pub(super) fn look(&mut self, now: Now, peers: &mut impl Peers) {
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
        self.perform(now, peers);
    }

    /// Does what a client says.
    pub(super) fn call(&mut self, peer: Peer, call: Call, now: Now, peers: &mut impl Peers) {
        self.state.call(peer, call, now, &mut self.actions);
        self.perform(now, peers);
    }

    /// Answers what is no call.
    pub(super) fn refuse(&mut self, peer: Peer, message: &str, now: Now, peers: &mut impl Peers) {
        self.state.refuse(peer, message, now, &mut self.actions);
        self.perform(now, peers);
    }

    /// A client is gone.
    pub(super) fn closed(&mut self, peer: Peer, now: Now, peers: &mut impl Peers) {
        self.state.closed(peer, now, &mut self.actions);
        self.settle(now, peers);
    }

    /// Offers what has become free.
    pub(super) fn settle(&mut self, now: Now, peers: &mut impl Peers) {
        self.state.settle(now, &mut self.actions);
        self.perform(now, peers);
    }

    /// When [`Self::look`] is to be called next, if nothing else happens.
    pub(super) fn next_look(&mut self, now: Duration) -> Option<Duration> {
        let unwatched = self.processes.has_unwatched().then(|| now + UNWATCHED);
        [self.state.next_tick(), unwatched, self.processes.next_look(now)].into_iter().flatten().min()
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
    fn perform(&mut self, now: Now, peers: &mut impl Peers) {
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
}

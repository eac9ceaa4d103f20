//! [`AgentDriver`], which executes the actions of the state machine and reports to it: the agent without its sockets.

use std::io;
use std::time::Duration;

use super::limits::CgroupRoot;
use super::model::{ClientId, Exit, StartReport, Timestamps};
use super::paths::Paths;
use super::process_table::Row;
use super::processes::{ExitKind, LaunchExit, Processes};
use super::state::{Action, Agent, Identity};
use borges_mesos::messages::scheduler::{Call, Event};
use borges_mesos::resources::Quantities;

/// The interval at which adopted blocks and starting containers are polled.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The agent's clients.
pub(super) trait Clients {
    /// Queues an event for a client.
    fn send(&mut self, client: ClientId, event: &Event);
    /// Closes a client's connection once all events are sent.
    fn close(&mut self, client: ClientId);
}

/// The state machine with its processes.
pub(super) struct AgentDriver {
    pub(super) state: Agent,
    pub(super) processes: Processes,
    actions: Vec<Action>,
    /// Whether the state machine has asked for the shutdown of the agent.
    pub(super) finished: bool,
}

impl AgentDriver {
    /// The driver of an agent that offers `total`. Adopts the blocks that earlier agents have left running.
    pub(super) fn new(
        paths: Paths,
        groups: Option<CgroupRoot>,
        identity: Identity,
        total: Quantities,
        end_with_client: bool,
        now: Timestamps,
    ) -> io::Result<Self> {
        let mut processes = Processes::new(paths, groups)?;
        let mut state = Agent::new(identity, total, end_with_client, now);
        let mut actions = Vec::new();
        for orphan in processes.orphans() {
            let Row { pid, framework, launch, resources, .. } = &orphan.row;
            log::info!("`{launch}` still runs, as process {pid}");
            let stop_reason = processes.stop_reason(framework, launch);
            let key = state.adopt(framework, launch, resources.clone(), stop_reason, orphan.has_started);
            if !processes.adopt(key, orphan) {
                state.exited(key, Exit::Unknown, None, now, &mut actions);
            }
        }
        processes.finish_adoption();
        Ok(Self { state, processes, actions, finished: false })
    }

    /// Reports exits, starts and exceeded limits to the state machine, and lets it execute due timers.
    pub(super) fn poll(&mut self, now: Timestamps, clients: &mut impl Clients) {
        while let Some(exit) = self.processes.reap() {
            self.report_exit(exit, now);
        }
        if self.processes.needs_polling() {
            for key in self.processes.started() {
                self.state.started(key, StartReport::Running, now, &mut self.actions);
            }
            for exit in self.processes.ended_orphans() {
                self.report_exit(exit, now);
            }
        }
        for (key, exceeded) in self.processes.check_limits(now.elapsed) {
            self.state.on_limit_exceeded(key, exceeded, now, &mut self.actions);
        }
        self.state.tick(now, &mut self.actions);
        self.perform(now, clients);
    }

    /// Executes a client's call.
    pub(super) fn call(&mut self, client: ClientId, call: Call, now: Timestamps, clients: &mut impl Clients) {
        self.state.call(client, call, now, &mut self.actions);
        self.perform(now, clients);
    }

    /// Answers bytes that are not a call with an error, and closes the connection.
    pub(super) fn reject(
        &mut self,
        client: ClientId,
        message: &str,
        now: Timestamps,
        clients: &mut impl Clients,
    ) {
        self.state.reject(client, message, now, &mut self.actions);
        self.perform(now, clients);
    }

    /// A client has disconnected.
    pub(super) fn closed(&mut self, client: ClientId, now: Timestamps, clients: &mut impl Clients) {
        self.state.closed(client, now, &mut self.actions);
        self.offer_free_resources(now, clients);
    }

    /// Offers free resources.
    pub(super) fn offer_free_resources(&mut self, now: Timestamps, clients: &mut impl Clients) {
        self.state.send_offers(now, &mut self.actions);
        self.perform(now, clients);
    }

    /// When [`Self::poll`] is due next, unless a child exits or a client sends before.
    pub(super) fn next_poll(&mut self, now: Duration) -> Option<Duration> {
        let next_poll = self.processes.needs_polling().then(|| now + POLL_INTERVAL);
        [self.state.next_tick(), next_poll, self.processes.next_check(now)].into_iter().flatten().min()
    }

    fn report_exit(
        &mut self,
        LaunchExit { key, unreported_start, exceeded, kind }: LaunchExit,
        now: Timestamps,
    ) {
        if unreported_start {
            self.state.started(key, StartReport::Running, now, &mut self.actions);
        }
        match kind {
            ExitKind::Exit(exit) => self.state.exited(key, exit, exceeded, now, &mut self.actions),
            ExitKind::StartFailed(reason, message) => {
                self.state.started(key, StartReport::Failed(reason, message), now, &mut self.actions);
            }
        }
    }

    /// Executes the actions of the state machine, and the actions that follow from them.
    fn perform(&mut self, now: Timestamps, clients: &mut impl Clients) {
        let mut batch = Vec::new();
        while !self.actions.is_empty() {
            std::mem::swap(&mut batch, &mut self.actions);
            for action in batch.drain(..) {
                match action {
                    Action::Send(client, event) => clients.send(client, &event),
                    Action::Close(client) => clients.close(client),
                    Action::Launch(launch) => {
                        let report = self.processes.start(&launch);
                        self.state.started(launch.key, report, now, &mut self.actions);
                    }
                    Action::Signal(key, stage) => self.processes.signal(key, stage),
                    Action::RecordStop(key, stop_reason) => self.processes.record_stop(key, stop_reason),
                    Action::LookUpLaunch(framework, launch) => {
                        let history = self.processes.launch_history(&framework, &launch);
                        self.state.launch_looked_up(&framework, &launch, history, now, &mut self.actions);
                    }
                    Action::Shutdown => self.finished = true,
                }
            }
        }
        // Reuses the allocation.
        self.actions = batch;
    }
}

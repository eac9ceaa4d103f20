//! Accepts the placements of a round of matching, after the intents of their launches are stored.
//!
//! Serves the payload files of a launch, which agents download because they are too large for a call.

use actix::fut::WrapFuture;
use actix::{Actor, ActorFutureExt, Addr, Context, Handler, ResponseActFuture};
use bytes::Bytes;

use super::super::failpoints::{Failpoint, is_enabled};
use super::super::matcher::MatchFinished;
use super::super::messages::Placed;
use super::super::subscription::ClusterCall;
use super::super::supervisor::Supervisor;
use super::super::tell;
use super::Scheduler;
use super::messages::ReadPayloadFile;
use borges_mesos::payload::TaskPayload;
use borges_mesos::resources::OfferedResources;
use borges_mesos::task_info;
use borges_placement::{Assignment, Placement};
use borges_store::{LaunchIntent, WriteOp};
use borges_task::{LaunchId, State, TaskId, TaskSpec};

/// The number of likely launches whose intents are stored although no placement waits for them.
const INTENT_BATCH: usize = 32;

/// The largest size of the commands in one ACCEPT call, in bytes.
const MAX_ACCEPT_BYTES: usize = 32 << 20;

impl Scheduler {
    /// The specification of a task with its complete command.
    pub(super) fn launch_spec(&self, id: TaskId) -> Option<TaskSpec> {
        let run = self.runs.get(&id.run)?;
        let task = run.task(id.number)?;
        match run.command(task.spec) {
            Ok(command) => Some(TaskSpec { command, ..TaskSpec::clone(task.spec) }),
            Err(error) => {
                // The inputs were read before the task was queued.
                log::error!("{id} cannot be put together: {error}");
                None
            }
        }
    }

    /// The next launch of a task. `None` unless the task is queued.
    pub(super) fn next_launch(&self, id: TaskId) -> Option<LaunchId> {
        let entry = self.task(id)?.entry;
        (entry.state == State::Queued).then(|| id.launch(entry.history.attempt + 1))
    }

    /// Accepts the offers of `placement`. Skips tasks that are not queued any more. Queues tasks again whose offer was
    /// rescinded.
    pub(super) fn accept(&mut self, placement: Placement) {
        let Placement { offers, agent, assignments } = placement;
        let accepted: Vec<_> =
            offers.into_iter().filter_map(|id| Some((self.offer_pool.remove(&id)?.resources, id))).collect();
        let (resources, offers): (Vec<OfferedResources>, Vec<String>) = accepted.into_iter().unzip();
        if offers.is_empty() {
            let tasks = assignments.into_iter().map(|assignment| assignment.task);
            let queued = tasks.filter(|&id| self.next_launch(id).is_some()).collect();
            self.queue(queued);
            return;
        }
        let Some(framework) = self.offer_pool.framework.clone() else { return };
        let mut offered = OfferedResources::merge(resources);
        let mut infos = Vec::with_capacity(assignments.len());
        let mut size = 0;
        for Assignment { task: id, ports } in assignments {
            let Some(launch) = self.next_launch(id) else { continue };
            let Some(task) = self.task(id) else { continue };
            let Some(resources) = offered.allocate(&task_info::quantities(&task.spec.resources, &ports))
            else {
                // One of several offers was rescinded, or the resources do not suffice after rounding.
                self.queue(vec![id]);
                continue;
            };
            let Some(spec) = self.launch_spec(id) else { continue };
            size += spec.command.size();
            if size > MAX_ACCEPT_BYTES && !infos.is_empty() {
                // The call is full. The cluster offers the remaining resources again.
                self.queue(vec![id]);
                continue;
            }
            infos.push(task_info::task_info(launch, &spec, &agent, &ports, resources));
            self.persisted_intents.remove(&launch);
            let placed = Placed { agent: agent.id.clone(), framework: framework.clone() };
            if let Some(supervisor) = self.supervisor_of(id) {
                tell(&supervisor, placed);
            }
            self.update_entry(id, |entry| {
                entry.state = State::Launching;
                entry.history.attempt = launch.attempt;
                entry.agent = Some(agent.id.clone());
            });
        }
        if infos.is_empty() {
            let decline = self.offer_pool.decline(offers);
            self.send_to_cluster(decline);
        } else {
            let blocks = infos.len();
            log::info!("[ {} ] Launching {blocks} code blocks with offer", offers.join(" "));
            self.offer_pool.note_filtered();
            let epoch = self.offer_pool.epoch;
            self.send_to_cluster(ClusterCall::Accept { epoch, offers, tasks: infos });
        }
    }

    /// The intent of the next launch of a task on `agent`. `None` if it is stored already.
    fn missing_intent(&self, task: TaskId, agent: &str) -> Option<LaunchIntent> {
        let launch = self.next_launch(task)?;
        let is_stored = self.persisted_intents.get(&launch).is_some_and(|stored_agent| stored_agent == agent);
        (!is_stored).then(|| LaunchIntent { launch, agent: Some(agent.to_owned()) })
    }

    /// Stores launch intents, then calls `then`.
    fn persist_intents(
        &mut self,
        intents: Vec<LaunchIntent>,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self) + 'static,
    ) {
        let writes = vec![WriteOp::Intents(intents.clone())];
        self.save(writes, Vec::new(), ctx, |this, _| {
            for LaunchIntent { launch, agent } in intents {
                this.persisted_intents.insert(launch, agent.unwrap_or_default());
            }
            then(this);
        });
    }

    /// The supervisor of a task. Starts one if there is none.
    pub(super) fn supervisor_of(&mut self, id: TaskId) -> Option<Addr<Supervisor>> {
        if let Some(supervisor) = self.supervisors.get(&id) {
            return Some(supervisor.clone());
        }
        let framework = self.offer_pool.framework.clone().unwrap_or_default();
        let run = self.runs.get(&id.run)?;
        let task = run.task(id.number)?;
        let supervisor = Supervisor::new(
            run.record.clone(),
            task.spec.clone(),
            task.record(),
            framework,
            self.deps.clone(),
        )
        .start();
        self.supervisors.insert(id, supervisor.clone());
        Some(supervisor)
    }
}

impl Handler<MatchFinished> for Scheduler {
    type Result = ();

    fn handle(&mut self, MatchFinished { result, likely_next }: MatchFinished, ctx: &mut Context<Self>) {
        let declined: Vec<String> =
            result.declined.into_iter().filter(|offer| self.offer_pool.remove(offer).is_some()).collect();
        if !declined.is_empty() {
            let decline = self.offer_pool.decline(declined);
            self.send_to_cluster(decline);
        }
        let placements = result.placements;
        let placed = placements.iter().flat_map(|Placement { agent, assignments, .. }| {
            assignments.iter().map(|assignment| (assignment.task, agent.id.as_str()))
        });
        let mut intents: Vec<LaunchIntent> =
            placed.filter_map(|(task, agent)| self.missing_intent(task, agent)).collect();
        // An intent for another agent is kept, because both are guesses.
        let ahead: Vec<LaunchIntent> = likely_next
            .iter()
            .filter_map(|(task, agent)| self.missing_intent(*task, agent))
            .filter(|intent| !self.persisted_intents.contains_key(&intent.launch))
            .collect();
        let must_wait = !intents.is_empty() && !is_enabled(Failpoint::AcceptBeforePersist);
        if must_wait || ahead.len() >= INTENT_BATCH {
            intents.extend(ahead);
        }
        if !must_wait {
            for placement in placements {
                self.accept(placement);
            }
            if !intents.is_empty() {
                self.persist_intents(intents, ctx, |_| {});
            }
            return;
        }
        self.persist_intents(intents, ctx, move |this| {
            for placement in placements {
                this.accept(placement);
            }
        });
    }
}

impl Handler<ReadPayloadFile> for Scheduler {
    type Result = ResponseActFuture<Self, Option<Bytes>>;

    fn handle(
        &mut self,
        ReadPayloadFile { launch, number }: ReadPayloadFile,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let id = launch.task;
        // After a restart the inputs of the launch have to be read again.
        let read = self.read_inputs(id);
        Box::pin(read.into_actor(self).map(move |(outputs, files), this, _| {
            this.record_outputs(id.run, outputs, files);
            let entry = this.task(id)?.entry;
            let is_active = entry.history.attempt <= launch.attempt && !entry.state.is_terminal();
            let mut files = TaskPayload::of(&this.launch_spec(id)?.command).files;
            (is_active && number < files.len()).then(|| files.swap_remove(number).content)
        }))
    }
}

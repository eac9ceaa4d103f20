//! From a round of matching to launches that are saved, then accepted.

use actix::{Actor, Addr, Context, Handler};

use super::super::failpoints::{Failpoint, is_enabled};
use super::super::matcher::MatchFinished;
use super::super::subscription::ClusterCall;
use super::super::supervisor::{Placed, Supervisor};
use super::super::tell;
use super::Scheduler;
use borges_mesos::resources::OfferedResources;
use borges_mesos::task_info;
use borges_placement::{Assignment, Placement};
use borges_store::{LaunchIntent, WriteOp};
use borges_task::{LaunchId, State, TaskId, TaskSpec};

/// How many launches must be unsaved ahead before they are saved without need.
const INTENT_BATCH: usize = 32;

/// How many bytes of code and files are sent in one message.
const MAX_ACCEPT_BYTES: usize = 32 << 20;

impl Scheduler {
    /// A task as it is launched.
    pub(super) fn launch_spec(&self, id: TaskId) -> Option<TaskSpec> {
        let run = self.runs.get(&id.run)?;
        let task = run.task(id.number)?;
        match run.command(task.spec) {
            Ok(command) => Some(TaskSpec { command, ..TaskSpec::clone(task.spec) }),
            Err(why) => {
                // What goes into it was read before it was queued.
                log::error!("{id} cannot be put together: {why}");
                None
            }
        }
    }

    /// The launch a task would have next, if it still waits for one.
    pub(super) fn next_launch(&self, id: TaskId) -> Option<LaunchId> {
        let row = self.task(id)?.row;
        (row.state == State::Queued).then(|| id.launch(row.history.attempt + 1))
    }

    /// Launches `placement` on its offers. What is not to be launched any more is left out; what cannot be
    /// because an offer is gone goes back into the queue.
    pub(super) fn accept(&mut self, placement: Placement) {
        let Placement { offers, agent, assignments } = placement;
        let held: Vec<_> =
            offers.into_iter().filter_map(|id| Some((self.market.remove(&id)?.resources, id))).collect();
        let (resources, offers): (Vec<OfferedResources>, Vec<String>) = held.into_iter().unzip();
        if offers.is_empty() {
            let tasks = assignments.into_iter().map(|seat| seat.task);
            let still = tasks.filter(|&id| self.next_launch(id).is_some()).collect();
            self.queue(still);
            return;
        }
        let Some(framework) = self.market.framework.clone() else { return };
        let mut offered = OfferedResources::merge(resources);
        let mut infos = Vec::with_capacity(assignments.len());
        let mut size = 0;
        for Assignment { task: id, ports } in assignments {
            let Some(launch) = self.next_launch(id) else { continue };
            let Some(task) = self.task(id) else { continue };
            let Some(resources) = offered.allocate(&task_info::quantities(&task.spec.resources, &ports))
            else {
                // One of several offers is gone; or it fitted in whole numbers, and in the wire's own does not.
                self.queue(vec![id]);
                continue;
            };
            let Some(spec) = self.launch_spec(id) else { continue };
            size += spec.command.size();
            if size > MAX_ACCEPT_BYTES && !infos.is_empty() {
                // Too much for one message; what is left of the offer comes again.
                self.queue(vec![id]);
                continue;
            }
            infos.push(task_info::task_info(launch, &spec, &agent, &ports, resources));
            self.persisted_intents.remove(&launch);
            let placed = Placed { agent: agent.id.clone(), framework: framework.clone() };
            if let Some(supervisor) = self.supervisor_of(id) {
                tell(&supervisor, placed);
            }
            self.set_row(id, |row| {
                row.state = State::Launching;
                row.history.attempt = launch.attempt;
                row.agent = Some(agent.id.clone());
            });
        }
        if infos.is_empty() {
            let decline = self.market.decline(offers);
            self.send_to_cluster(decline);
        } else {
            let blocks = infos.len();
            log::info!("[ {} ] Launching {blocks} code blocks with offer", offers.join(" "));
            self.market.note_filtered();
            let epoch = self.market.epoch;
            self.send_to_cluster(ClusterCall::Accept { epoch, offers, tasks: infos });
        }
    }

    /// The task's next launch on `agent`, if it is still to be saved as one that may be accepted.
    fn missing_intent(&self, task: TaskId, agent: &str) -> Option<LaunchIntent> {
        let launch = self.next_launch(task)?;
        let is_saved = self.persisted_intents.get(&launch).is_some_and(|meant| meant == agent);
        (!is_saved).then(|| LaunchIntent { launch, agent: Some(agent.to_owned()) })
    }

    /// Saves what may be accepted from then on, then does `then`.
    fn persist_intents(
        &mut self,
        intents: Vec<LaunchIntent>,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self) + 'static,
    ) {
        let saved = vec![WriteOp::Intents(intents.clone())];
        self.save(saved, Vec::new(), ctx, |this, _| {
            for LaunchIntent { launch, agent } in intents {
                this.persisted_intents.insert(launch, agent.unwrap_or_default());
            }
            then(this);
        });
    }

    /// The task's supervisor; made now if it has none.
    pub(super) fn supervisor_of(&mut self, id: TaskId) -> Option<Addr<Supervisor>> {
        if let Some(supervisor) = self.supervisors.get(&id) {
            return Some(supervisor.clone());
        }
        let framework = self.market.framework.clone().unwrap_or_default();
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

    fn handle(&mut self, MatchFinished { matching, likely_next }: MatchFinished, ctx: &mut Context<Self>) {
        let declined: Vec<String> =
            matching.declined.into_iter().filter(|offer| self.market.remove(offer).is_some()).collect();
        if !declined.is_empty() {
            let decline = self.market.decline(declined);
            self.send_to_cluster(decline);
        }
        let placements = matching.placements;
        let placed = placements.iter().flat_map(|Placement { agent, assignments, .. }| {
            assignments.iter().map(|seat| (seat.task, agent.id.as_str()))
        });
        let mut intents: Vec<LaunchIntent> =
            placed.filter_map(|(task, agent)| self.missing_intent(task, agent)).collect();
        // What was foreseen for another agent before is left as it is: either may turn out wrong.
        let foreseen: Vec<LaunchIntent> = likely_next
            .iter()
            .filter_map(|(task, agent)| self.missing_intent(*task, agent))
            .filter(|intent| !self.persisted_intents.contains_key(&intent.launch))
            .collect();
        let must_wait = !intents.is_empty() && !is_enabled(Failpoint::AcceptBeforePersist);
        if must_wait || foreseen.len() >= INTENT_BATCH {
            intents.extend(foreseen);
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

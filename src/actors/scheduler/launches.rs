//! From a round of matching to launches that are saved, then accepted.

use actix::{Actor, Addr, Context, Handler};

use super::super::connection::Request;
use super::super::matcher::Matched;
use super::super::supervisor::{Placed, Supervisor};
use super::super::tell;
use super::Scheduler;
use crate::mesos::tasks;
use crate::offer::Placement;
use crate::store::Write;
use crate::task::{LaunchId, State, TaskId};

/// How many launches must be unsaved ahead before they are saved without need.
const SAVE_AHEAD: usize = 32;

impl Scheduler {
    /// The launch a task would have next, if it still waits for one.
    pub(super) fn next_launch(&self, id: TaskId) -> Option<LaunchId> {
        let row = self.task(id)?.row;
        (row.state == State::Queued).then(|| id.launch(row.history.attempt + 1))
    }

    /// Launches `placement` on its offer. What is not to be launched any more is left out; what cannot be
    /// because its offer is gone goes back into the queue.
    pub(super) fn accept(&mut self, placement: Placement) {
        let Some(held) = self.market.remove(&placement.offer) else {
            let still = placement.tasks.into_iter().filter(|&id| self.next_launch(id).is_some()).collect();
            self.enqueue(still);
            return;
        };
        let Some(framework) = self.market.framework.clone() else { return };
        let mut offered = held.resources;
        let mut infos = Vec::with_capacity(placement.tasks.len());
        for id in placement.tasks {
            let Some(launch) = self.next_launch(id) else { continue };
            let Some(task) = self.task(id) else { continue };
            let Some(resources) = offered.take(&tasks::quantities(&task.spec.resources)) else {
                // Reckoned in whole numbers it fitted; in the wire's own it does not.
                self.enqueue(vec![id]);
                continue;
            };
            infos.push(tasks::info(launch, task.spec, &placement.agent, resources));
            self.intended.remove(&launch);
            let placed = Placed { agent: placement.agent.clone(), framework: framework.clone() };
            if let Some(supervisor) = self.supervise(id) {
                tell(&supervisor, placed);
            }
            self.set_row(id, |row| row.state = State::Launching);
        }
        if infos.is_empty() {
            let decline = self.market.decline(vec![placement.offer]);
            self.ask(decline);
        } else {
            let blocks = infos.len();
            log::info!("[ {} ] Launching {blocks} code blocks with offer", placement.offer);
            self.market.left_over();
            let epoch = self.market.epoch;
            self.ask(Request::Accept { epoch, offer: placement.offer, tasks: infos });
        }
    }

    /// The task's supervisor; made now if it has none.
    pub(super) fn supervise(&mut self, id: TaskId) -> Option<Addr<Supervisor>> {
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
            self.wires.clone(),
        )
        .start();
        self.supervisors.insert(id, supervisor.clone());
        Some(supervisor)
    }
}

impl Handler<Matched> for Scheduler {
    type Result = ();

    fn handle(&mut self, Matched { matching, ahead }: Matched, ctx: &mut Context<Self>) {
        self.why = matching.unmatched.into_iter().collect();
        let declined: Vec<String> =
            matching.declined.into_iter().filter(|offer| self.market.remove(offer).is_some()).collect();
        if !declined.is_empty() {
            let decline = self.market.decline(declined);
            self.ask(decline);
        }
        let placements = matching.placements;
        let unsaved = |this: &Self, tasks: &mut dyn Iterator<Item = TaskId>| -> Vec<LaunchId> {
            tasks.filter_map(|id| this.next_launch(id)).filter(|id| !this.intended.contains(id)).collect()
        };
        let mut launches = unsaved(self, &mut placements.iter().flat_map(|p| p.tasks.iter().copied()));
        let foreseen = unsaved(self, &mut ahead.into_iter());
        let must_wait = !launches.is_empty();
        if must_wait || foreseen.len() >= SAVE_AHEAD {
            launches.extend(foreseen);
        }
        if !must_wait {
            for placement in placements {
                self.accept(placement);
            }
            if launches.is_empty() {
                return;
            }
            let intents = Write::Intents(launches.clone());
            self.save(vec![intents], Vec::new(), ctx, |this, _| this.intended.extend(launches));
            return;
        }
        let intents = Write::Intents(launches.clone());
        self.save(vec![intents], Vec::new(), ctx, move |this, _| {
            this.intended.extend(launches);
            for placement in placements {
                this.accept(placement);
            }
        });
    }
}

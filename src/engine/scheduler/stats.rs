//! Counts runs, tasks and offers.

use std::collections::BTreeMap;

use actix::{Context, Handler};

use super::Scheduler;
use super::messages::GetStats;
use super::replies::Stats;
use borges_task::{RunState, State};

impl Handler<GetStats> for Scheduler {
    type Result = actix::MessageResult<GetStats>;

    fn handle(&mut self, GetStats(counters): GetStats, _: &mut Context<Self>) -> Self::Result {
        let mut runs = [RunState::Running, RunState::Finished, RunState::Failed, RunState::Killed]
            .map(|state| (state, 0))
            .to_vec();
        let mut tasks: BTreeMap<State, usize> = State::ALL.iter().map(|&state| (state, 0)).collect();
        for run in self.runs.values() {
            let state = run.state();
            runs.iter_mut().filter(|(counted, _)| *counted == state).for_each(|(_, count)| *count += 1);
            for task in run.tasks() {
                *tasks.entry(task.entry.state).or_default() += 1;
            }
        }
        let now = self.deps.clock.elapsed();
        actix::MessageResult(Stats {
            uptime: now,
            runs,
            tasks: tasks.into_iter().collect(),
            offers_held: self.offer_pool.held(),
            framework: self.offer_pool.framework.clone(),
            trouble: self.disconnected.as_ref().map(|(why, _)| why.clone()),
            no_offers: self
                .starvation_message()
                .zip(self.starved_since().map(|since| now.saturating_sub(since))),
            silence: counters.since_last_event(now),
        })
    }
}

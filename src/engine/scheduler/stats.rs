//! How many there are of everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Context, Handler, Message};

use super::super::counters::Counters;
use super::Scheduler;
use borges_task::{RunState, State};

/// How many are there of everything?
#[derive(Debug, Message)]
#[rtype(result = "Stats")]
pub(crate) struct GetStats(pub(crate) Arc<Counters>);

/// How many there are of everything, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// Since when this engine runs.
    pub uptime: Duration,
    /// Runs in each state, all states.
    pub runs: Vec<(RunState, usize)>,
    /// Tasks in each state, all states.
    pub tasks: Vec<(State, usize)>,
    /// Offers that are not answered yet.
    pub offers_held: usize,
    /// The framework's id, once the cluster has given it.
    pub framework: Option<String>,
    /// Why there is no subscription, when there is none.
    pub trouble: Option<String>,
    /// That nothing is offered while something waits, in words, and for how long.
    pub no_offers: Option<(String, Duration)>,
    /// How long ago the cluster last said something.
    pub silence: Option<Duration>,
}

impl Handler<GetStats> for Scheduler {
    type Result = actix::MessageResult<GetStats>;

    fn handle(&mut self, GetStats(counters): GetStats, _: &mut Context<Self>) -> Self::Result {
        let mut runs = [RunState::Running, RunState::Finished, RunState::Failed, RunState::Killed]
            .map(|state| (state, 0))
            .to_vec();
        let mut tasks: BTreeMap<State, usize> = State::ALL.iter().map(|&state| (state, 0)).collect();
        for run in self.runs.values() {
            let state = run.state();
            runs.iter_mut().filter(|(known, _)| *known == state).for_each(|(_, count)| *count += 1);
            for task in run.tasks() {
                *tasks.entry(task.row.state).or_default() += 1;
            }
        }
        let now = self.deps.clock.elapsed();
        actix::MessageResult(Stats {
            uptime: now,
            runs,
            tasks: tasks.into_iter().collect(),
            offers_held: self.market.held(),
            framework: self.market.framework.clone(),
            trouble: self.disconnected.as_ref().map(|(why, _)| why.clone()),
            no_offers: self
                .starvation_message()
                .zip(self.starved_since().map(|since| now.saturating_sub(since))),
            silence: counters.since_last_event(now),
        })
    }
}

//! Why tasks wait: what is known is put together here, and `offer::PendingReason` says it.

use std::time::Duration;

use super::super::run::{Run, TaskView};
use super::Scheduler;
use borges_placement::{Dependency, OfferHistory, PendingReason, RecentOffers, Since};
use borges_task::State;

/// How long nothing may be offered, while something waits, before that is told to who has not asked.
const DROUGHT: Duration = Duration::from_secs(10);

impl Scheduler {
    /// Since when nothing is offered while something waits, if that is long.
    pub(super) fn starved_since(&self) -> Option<Duration> {
        let since = self.waiting_since?.max(self.market.last_seen());
        let is_long = self.deps.clock.elapsed().saturating_sub(since) >= DROUGHT;
        (is_long && self.disconnected.is_none() && self.market.held() == 0).then_some(since)
    }

    /// The same in words.
    pub(super) fn starvation_message(&self) -> Option<String> {
        Some(PendingReason::NoOffers(&self.role, self.since(self.starved_since()?)).to_string())
    }

    /// Says it in the log, once each time. That a cluster is full of our own is no cause for alarm.
    pub(super) fn log_starvation(&mut self) {
        let drought = self.starved_since();
        if drought != self.starvation_logged
            && let Some(words) = self.starvation_message()
        {
            let level = if self.supervisors.is_empty() { log::Level::Warn } else { log::Level::Info };
            log::log!(level, "{words}; {} blocks wait", self.waiting);
        }
        self.starvation_logged = drought;
    }

    /// Since when something is so that began at that time of the clock.
    fn since(&self, began: Duration) -> Since {
        let clock = &self.deps.clock;
        let ago = clock.elapsed().saturating_sub(began);
        let now = clock.now();
        Since { at: now.saturating_sub(ago).unwrap_or(now), ago }
    }

    /// What the cluster has offered of late.
    pub(super) fn offer_history(&self) -> OfferHistory<'_> {
        let connection_error =
            self.disconnected.as_ref().map(|(why, since)| (why.as_str(), self.since(*since)));
        let clock = &self.deps.clock;
        let recent = RecentOffers::new(self.market.recent(clock.elapsed()), &self.spread, clock.now());
        OfferHistory { connection_error, role: &self.role, recent, last: self.since(self.market.last_seen()) }
    }

    /// Why a task does not run; `None` for one that runs, or has ended.
    pub(super) fn pending_reason(
        &self,
        run: &Run,
        task: TaskView<'_>,
        offered: &OfferHistory<'_>,
    ) -> Option<String> {
        let TaskView { id, spec, row } = task;
        let agent = row.agent.as_deref().unwrap_or("?");
        let why = match row.state {
            State::Queued => {
                return Some(format!(
                    "line {}, {}",
                    spec.line,
                    PendingReason::queued(&spec.resource_request(id.run), offered)
                ));
            }
            State::Blocked => PendingReason::Dependencies(
                run.waits_for(id.number)
                    .filter_map(|number| run.task(number))
                    .map(|other| Dependency {
                        block: &other.spec.block,
                        line: other.spec.line,
                        state: other.row.state,
                    })
                    .collect(),
            ),
            State::Held => PendingReason::Approval,
            State::Delayed => {
                let left =
                    row.pause.as_ref().map_or(Duration::ZERO, |pause| pause.remaining(self.deps.clock.now()));
                PendingReason::Backoff { left, launch: row.history.attempt, exit_code: row.history.exit_code }
            }
            State::Launching => PendingReason::AwaitingStatus(agent, self.since(row.since)),
            State::Unreachable => PendingReason::AgentUnreachable(agent, self.since(row.since)),
            State::Killing => PendingReason::Killing(self.since(row.since)),
            State::Running | State::Finished | State::Failed | State::Killed | State::Skipped => return None,
        };
        Some(why.to_string())
    }
}

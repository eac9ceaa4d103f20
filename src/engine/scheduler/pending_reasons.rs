//! Collects the reasons why tasks are not running. `placement::PendingReason` has the texts.

use std::time::Duration;

use super::super::run::{Run, TaskView};
use super::Scheduler;
use borges_placement::{Dependency, OfferHistory, PendingReason, RecentOffers, Since};
use borges_task::State;

/// How long tasks may wait without any offer before this is logged.
const STARVATION_DELAY: Duration = Duration::from_secs(10);

impl Scheduler {
    /// Since when tasks wait without any offer. `None` if it is shorter than [`STARVATION_DELAY`].
    pub(super) fn starved_since(&self) -> Option<Duration> {
        let since = self.waiting_since?.max(self.offer_pool.last_offer_at());
        let is_long = self.deps.clock.elapsed().saturating_sub(since) >= STARVATION_DELAY;
        (is_long && self.disconnected.is_none() && self.offer_pool.held() == 0).then_some(since)
    }

    /// The message about a starvation.
    pub(super) fn starvation_message(&self) -> Option<String> {
        Some(PendingReason::NoOffers(&self.role, self.since(self.starved_since()?)).to_string())
    }

    /// Logs each starvation once. It is a warning only if no task of ours is running.
    pub(super) fn log_starvation(&mut self) {
        let starved_since = self.starved_since();
        if starved_since != self.starvation_logged
            && let Some(message) = self.starvation_message()
        {
            let level = if self.supervisors.is_empty() { log::Level::Warn } else { log::Level::Info };
            log::log!(level, "{message}; {} blocks wait", self.waiting);
        }
        self.starvation_logged = starved_since;
    }

    /// The start of a condition, by the elapsed time of the clock, as a time of day.
    fn since(&self, start: Duration) -> Since {
        let clock = &self.deps.clock;
        let ago = clock.elapsed().saturating_sub(start);
        let now = clock.now();
        Since { at: now.saturating_sub(ago).unwrap_or(now), ago }
    }

    /// The recent offers of the cluster.
    pub(super) fn offer_history(&self) -> OfferHistory<'_> {
        let disconnected =
            self.disconnected.as_ref().map(|(reason, since)| (reason.as_str(), self.since(*since)));
        let clock = &self.deps.clock;
        let recent =
            RecentOffers::new(self.offer_pool.recent(clock.elapsed()), &self.peer_locations, clock.now());
        OfferHistory {
            connection_error: disconnected,
            role: &self.role,
            recent,
            last: self.since(self.offer_pool.last_offer_at()),
        }
    }

    /// Why a task is not running. `None` if it is running or has ended.
    pub(super) fn pending_reason(
        &self,
        run: &Run,
        task: TaskView<'_>,
        offer_history: &OfferHistory<'_>,
    ) -> Option<String> {
        let TaskView { id, spec, entry } = task;
        let agent = entry.agent.as_deref().unwrap_or("?");
        let reason = match entry.state {
            State::Queued => {
                return Some(format!(
                    "line {}, {}",
                    spec.line,
                    PendingReason::queued(&spec.resource_request(id.run), offer_history)
                ));
            }
            State::Blocked => PendingReason::Dependencies(
                run.unmet_dependencies(id.number)
                    .filter_map(|number| run.task(number))
                    .map(|other| Dependency {
                        block: &other.spec.block,
                        line: other.spec.line,
                        state: other.entry.state,
                    })
                    .collect(),
            ),
            State::Held => PendingReason::Approval,
            State::Delayed => {
                let left = entry
                    .pause
                    .as_ref()
                    .map_or(Duration::ZERO, |pause| pause.remaining(self.deps.clock.now()));
                PendingReason::Backoff {
                    left,
                    launch: entry.history.attempt,
                    exit_code: entry.history.exit_code,
                }
            }
            State::Launching => PendingReason::AwaitingStatus(agent, self.since(entry.since)),
            State::Unreachable => PendingReason::AgentUnreachable(agent, self.since(entry.since)),
            State::Killing => PendingReason::Killing(self.since(entry.since)),
            State::Running | State::Finished | State::Failed | State::Killed | State::Skipped => return None,
        };
        Some(reason.to_string())
    }
}

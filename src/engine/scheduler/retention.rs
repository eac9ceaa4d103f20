//! Forgets runs that ended long ago, or are too much: `store::expired` says which, here it is done.
//!
//! First what they left in their sandboxes goes, then they: killed in between, the next life begins again.

use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context};
use tokio::task::spawn_blocking;

use super::super::run::Run;
use super::Scheduler;
use borges_mesos::SandboxLocation;
use borges_store::{EndedRun, RunMarker, WriteOp, expired};
use borges_task::RunId;

/// How often it is looked for runs to be forgotten.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// The same for kept results.
const CACHE_EACH: Duration = Duration::from_secs(600);
/// Runs that are measured, or forgotten, in one go: it shares the machine with what runs.
const TOGETHER: usize = 64;

impl Scheduler {
    /// Forgets what is kept no longer, if anything is.
    pub(super) fn expire_runs(&mut self, ctx: &mut Context<Self>) {
        self.tidy_cache();
        if self.tidying {
            return;
        }
        let unmeasured: Vec<(RunId, Vec<SandboxLocation>)> = self
            .runs
            .values()
            .filter(|run| ended_at(run).is_some() && run.bytes.is_none())
            .take(TOGETHER)
            .map(|run| (run.record.id, self.places_of(run)))
            .collect();
        self.tidying = true;
        let sandbox = self.deps.sandbox.clone();
        let measured = async move {
            let mut measured = Vec::with_capacity(unmeasured.len());
            for (run, places) in unmeasured {
                measured.push((run, sandbox.size(places).await));
            }
            measured
        };
        ctx.spawn(measured.into_actor(self).map(|measured, this, ctx| {
            for (run, bytes) in measured {
                if let Some(run) = this.runs.get_mut(&run) {
                    run.bytes = Some(bytes.saturating_add(run.record.document.len() as u64));
                }
            }
            this.forget_expired(ctx);
        }));
    }

    /// Removes kept results that nobody asks for any more.
    fn tidy_cache(&mut self) {
        let now = self.deps.clock.elapsed();
        let Some(cache) = self.cache.clone() else { return };
        if self.cache_tidied.is_some_and(|last| now.saturating_sub(last) < CACHE_EACH) {
            return;
        }
        self.cache_tidied = Some(now);
        let (keep, now) = (self.keep, self.deps.clock.now());
        drop(spawn_blocking(move || match cache.evict(keep.time, keep.bytes, now) {
            Ok(0) => {}
            Ok(removed) => log::info!("{removed} kept results are removed, as `borges_keep` says"),
            Err(error) => log::warn!("kept results cannot be looked at: {error}"),
        }));
    }

    fn forget_expired(&mut self, ctx: &mut Context<Self>) {
        let ended = |run: &Run| {
            Some(EndedRun { run: run.record.id, at: ended_at(run)?, bytes: run.bytes.unwrap_or_default() })
        };
        let ended = self.runs.values().filter_map(ended).collect();
        let mut forgotten = expired(ended, self.keep.time, self.keep.bytes, self.deps.clock.now());
        forgotten.truncate(TOGETHER);
        if forgotten.is_empty() {
            self.tidying = false;
            return;
        }
        let places: Vec<SandboxLocation> =
            forgotten.iter().filter_map(|id| self.runs.get(id)).flat_map(|run| self.places_of(run)).collect();
        let discarded = self.deps.sandbox.discard(places);
        ctx.spawn(discarded.into_actor(self).map(|discarded, this, ctx| {
            if let Err(error) = discarded {
                // They stay known, and are tried again.
                log::warn!("sandboxes of ended runs cannot be removed: {error}");
                this.tidying = false;
                return;
            }
            log::info!("{} ended runs are forgotten, as `borges_keep` says", forgotten.len());
            this.save(vec![WriteOp::DeleteRuns(forgotten.clone())], Vec::new(), ctx, move |this, _| {
                for id in forgotten {
                    let Some(run) = this.runs.remove(&id) else { continue };
                    if let Some(key) = &run.record.key
                        && this.idempotency_keys.get(key).is_some_and(|record| record.id == id)
                    {
                        this.idempotency_keys.remove(key);
                    }
                }
                this.tidying = false;
            });
        }));
    }

    /// The sandboxes of all launches of a run.
    fn places_of(&self, run: &Run) -> Vec<SandboxLocation> {
        let Some(framework) = &self.market.framework else { return Vec::new() };
        run.tasks()
            .filter_map(|task| Some((task.id, task.row.history.attempt, task.row.agent.clone()?)))
            .flat_map(|(id, attempts, agent)| {
                let place = move |attempt| SandboxLocation {
                    agent: agent.clone(),
                    framework: framework.clone(),
                    executor: id.launch(attempt).to_string(),
                };
                (1..=attempts).map(place)
            })
            .collect()
    }
}

/// When a run ended, and nothing more happens to it; `None` for a live one.
fn ended_at(run: &Run) -> Option<jiff::Timestamp> {
    match run.mark {
        Some(RunMarker::Ended { at, .. }) if run.is_done() => Some(at.unwrap_or(run.record.accepted)),
        _ => None,
    }
}

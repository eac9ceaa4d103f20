//! Deletes ended runs that are too old or too large, as `store::expired` decides, and evicts entries of the result cache.
//!
//! The sandboxes are deleted before the runs, so that a crash in between leaves runs to be deleted again.

use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, AsyncContext, Context};
use tokio::task::spawn_blocking;

use super::super::run::Run;
use super::Scheduler;
use borges_mesos::SandboxLocation;
use borges_store::{EndedRun, RunMarker, WriteOp, expired};
use borges_task::RunId;

/// How often entries of the result cache are evicted.
const CACHE_EVICTION_INTERVAL: Duration = Duration::from_secs(600);
/// The number of runs that are measured or deleted in one step, because the machine runs blocks as well.
const BATCH_SIZE: usize = 64;

impl Scheduler {
    /// Measures ended runs and deletes the expired ones.
    pub(super) fn expire_runs(&mut self, ctx: &mut Context<Self>) {
        self.evict_cache();
        if self.is_expiring {
            return;
        }
        let unmeasured: Vec<(RunId, Vec<SandboxLocation>)> = self
            .runs
            .values()
            .filter(|run| ended_at(run).is_some() && run.bytes.is_none())
            .take(BATCH_SIZE)
            .map(|run| (run.record.id, self.sandboxes_of(run)))
            .collect();
        self.is_expiring = true;
        let sandbox = self.deps.sandbox.clone();
        let measured = async move {
            let mut measured = Vec::with_capacity(unmeasured.len());
            for (run, locations) in unmeasured {
                measured.push((run, sandbox.size(locations).await));
            }
            measured
        };
        ctx.spawn(measured.into_actor(self).map(|measured, this, ctx| {
            for (run, bytes) in measured {
                if let Some(run) = this.runs.get_mut(&run) {
                    run.bytes = Some(bytes.saturating_add(run.record.document.len() as u64));
                }
            }
            this.delete_expired_runs(ctx);
        }));
    }

    /// Evicts expired entries of the result cache.
    fn evict_cache(&mut self) {
        let now = self.deps.clock.elapsed();
        let Some(cache) = self.cache.clone() else { return };
        if self.cache_evicted_at.is_some_and(|last| now.saturating_sub(last) < CACHE_EVICTION_INTERVAL) {
            return;
        }
        self.cache_evicted_at = Some(now);
        let (retention, now) = (self.retention, self.deps.clock.now());
        drop(spawn_blocking(move || match cache.evict(retention.time, retention.bytes, now) {
            Ok(0) => {}
            Ok(removed) => log::info!("{removed} kept results are removed, as `borges_keep` says"),
            Err(error) => log::warn!("kept results cannot be looked at: {error}"),
        }));
    }

    fn delete_expired_runs(&mut self, ctx: &mut Context<Self>) {
        let ended_run = |run: &Run| {
            Some(EndedRun { run: run.record.id, at: ended_at(run)?, bytes: run.bytes.unwrap_or_default() })
        };
        let ended_runs = self.runs.values().filter_map(ended_run).collect();
        let mut expired_runs =
            expired(ended_runs, self.retention.time, self.retention.bytes, self.deps.clock.now());
        expired_runs.truncate(BATCH_SIZE);
        if expired_runs.is_empty() {
            self.is_expiring = false;
            return;
        }
        let locations: Vec<SandboxLocation> = expired_runs
            .iter()
            .filter_map(|id| self.runs.get(id))
            .flat_map(|run| self.sandboxes_of(run))
            .collect();
        let discarded = self.deps.sandbox.discard(locations);
        ctx.spawn(discarded.into_actor(self).map(|discarded, this, ctx| {
            if let Err(error) = discarded {
                // The runs stay, and the next interval tries again.
                log::warn!("sandboxes of ended runs cannot be removed: {error}");
                this.is_expiring = false;
                return;
            }
            log::info!("{} ended runs are forgotten, as `borges_keep` says", expired_runs.len());
            this.save(vec![WriteOp::DeleteRuns(expired_runs.clone())], Vec::new(), ctx, move |this, _| {
                for id in expired_runs {
                    let Some(run) = this.runs.remove(&id) else { continue };
                    if let Some(key) = &run.record.key
                        && this.idempotency_keys.get(key).is_some_and(|record| record.id == id)
                    {
                        this.idempotency_keys.remove(key);
                    }
                }
                this.is_expiring = false;
            });
        }));
    }

    /// The sandboxes of all launches of a run.
    fn sandboxes_of(&self, run: &Run) -> Vec<SandboxLocation> {
        let Some(framework) = &self.offer_pool.framework else { return Vec::new() };
        run.tasks()
            .filter_map(|task| Some((task.id, task.entry.history.attempt, task.entry.agent.clone()?)))
            .flat_map(|(id, attempts, agent)| {
                let location = move |attempt| SandboxLocation {
                    agent: agent.clone(),
                    framework: framework.clone(),
                    executor: id.launch(attempt).to_string(),
                };
                (1..=attempts).map(location)
            })
            .collect()
    }
}

/// When a run ended. `None` if it is active.
fn ended_at(run: &Run) -> Option<jiff::Timestamp> {
    match run.marker {
        Some(RunMarker::Ended { at, .. }) if run.is_done() => Some(at.unwrap_or(run.record.accepted)),
        _ => None,
    }
}

//! Exits of blocks: found, recorded and reported; and the limits that running and ended blocks have exceeded.

use std::path::Path;
use std::time::Duration;

use super::registry::{Origin, Processes, record_stop_reason};
use crate::container::shim_state;
use crate::launch_spec::Limits;
use crate::limits::{self, Cgroup, OutputCheck, OutputWatcher};
use crate::model::{Exit, LimitExceeded, StopReason, WaitResult};
use crate::paths::sandbox_in;
use crate::{os, reap, stop_note};
use borges_mesos::messages::task_status::Reason;

/// A launch that ended.
#[derive(Debug)]
pub(crate) struct LaunchExit {
    pub(crate) key: u64,
    /// Whether the container has started, and the start is not reported yet.
    pub(crate) unreported_start: bool,
    /// The limit that the block has exceeded, if any.
    pub(crate) exceeded: Option<LimitExceeded>,
    pub(crate) kind: ExitKind,
}

/// How a launch ended.
#[derive(Debug)]
pub(crate) enum ExitKind {
    /// The block's process exited.
    Exit(Exit),
    /// The container could not be run: Mesos' reason, and a message.
    StartFailed(Reason, String),
}

impl Processes {
    /// Reaps the next exited child. Its exit is recorded before it is reaped.
    ///
    /// `None` if no other block of this agent has exited.
    pub(crate) fn reap(&mut self) -> Option<LaunchExit> {
        loop {
            let (pid, exit) = match reap::wait_any_child(false) {
                Ok(WaitResult::Exited(pid, exit)) => (pid, exit),
                Ok(WaitResult::StillRunning | WaitResult::NoChildren) => return None,
                Err(error) => {
                    log::error!("children cannot be waited for: {error}");
                    return None;
                }
            };
            let Some((key, block)) =
                self.keys.remove(&pid).and_then(|key| Some((key, self.blocks.remove(&key)?)))
            else {
                // A descendant of a block: this process is its subreaper.
                reap::reap(pid);
                continue;
            };
            reap::kill_process_group(pid);
            let sandbox = sandbox_in(block.executor.clone());
            let exceeded = self.check_limits_at_exit(&block.executor, &sandbox, block.limits, block.group);
            let kind = if block.container.is_some() {
                container_exit(&block.executor, Some(exit))
            } else {
                if let Err(error) = reap::write_exit(&sandbox, exit) {
                    log::warn!("the exit code of process {} is not kept: {error}", pid.as_raw_nonzero());
                }
                Some(ExitKind::Exit(exit))
            };
            if let Origin::Child(Some(slot)) = block.origin
                && let Err(error) = self.table.clear(slot)
            {
                log::warn!("the table of processes cannot be written: {error}");
            }
            reap::reap(pid);
            if kind.is_none() && block.container.is_some_and(|row| self.restart_shim(key, *row)) {
                continue;
            }
            let unreported_start = self.starting.remove(&key) && shim_state::has_started(&block.executor);
            return Some(LaunchExit {
                key,
                unreported_start,
                exceeded,
                kind: kind.unwrap_or(ExitKind::Exit(Exit::Unknown)),
            });
        }
    }

    /// The exits of adopted blocks since the last call. To be polled, because they are not children of this agent.
    pub(crate) fn ended_orphans(&mut self) -> Vec<LaunchExit> {
        let (mut exits, mut ended_blocks, mut lost_shims) = (Vec::new(), Vec::new(), Vec::new());
        let starting = &mut self.starting;
        self.blocks.retain(|key, block| {
            let Origin::Adopted(session) = block.origin else { return true };
            // Before the exit code is read: the reaper writes the code before it reaps the process.
            let has_exited = !os::leads_group_in_session(block.pid, session);
            let kind = if block.container.is_some() {
                container_exit(&block.executor, None)
            } else {
                reap::read_exit(&sandbox_in(block.executor.clone())).map(ExitKind::Exit)
            };
            let kind = match (kind, has_exited, block.container.take_if(|_| has_exited)) {
                (Some(kind), ..) => kind,
                (None, true, Some(row)) => {
                    lost_shims.push((*key, *row));
                    return false;
                }
                (None, true, None) => ExitKind::Exit(Exit::Unknown),
                (None, false, _) => return true,
            };
            let unreported_start = starting.remove(key) && shim_state::has_started(&block.executor);
            exits.push(LaunchExit { key: *key, unreported_start, exceeded: None, kind });
            ended_blocks.push((block.executor.clone(), block.limits, block.group.take()));
            false
        });
        for (exit, (executor, limits, group)) in exits.iter_mut().zip(ended_blocks) {
            exit.exceeded =
                self.check_limits_at_exit(&executor, &sandbox_in(executor.clone()), limits, group);
        }
        for (key, row) in lost_shims {
            if !self.restart_shim(key, row) {
                self.starting.remove(&key);
                exits.push(LaunchExit {
                    key,
                    unreported_start: false,
                    exceeded: None,
                    kind: ExitKind::Exit(Exit::Unknown),
                });
            }
        }
        exits
    }

    /// Checks the limits of an ended block, and records an exceeded one. Returns the exceeded limit, also if another
    /// process has recorded it.
    fn check_limits_at_exit(
        &mut self,
        executor: &Path,
        sandbox: &Path,
        limits: Limits,
        group: Option<Cgroup>,
    ) -> Option<LimitExceeded> {
        self.busy_groups.retain(|group| group.remove().is_err());
        let (exceeded, busy_group) = limits::check_at_exit(limits, group, sandbox);
        self.busy_groups.extend(busy_group);
        match exceeded {
            None => stop_note::read(executor).and_then(StopReason::limit),
            Some(exceeded) => {
                record_stop_reason(executor, StopReason::LimitExceeded(exceeded));
                Some(exceeded)
            }
        }
    }

    /// Checks the limits of running blocks if that is due. Returns the blocks that have exceeded one.
    pub(crate) fn check_limits(&mut self, now: Duration) -> Vec<(u64, LimitExceeded)> {
        let mut exceeding = Vec::new();
        if self.check_at.is_none_or(|at| at > now) {
            return exceeding;
        }
        self.busy_groups.retain(|group| group.remove().is_err());
        self.check_at = None;
        for (key, block) in &mut self.blocks {
            let memory = block.limits.memory.filter(|_| block.group.as_ref().is_some_and(Cgroup::oom_killed));
            if let Some(mib) = memory {
                exceeding.push((*key, LimitExceeded::Memory(mib)));
                continue;
            }
            match block.output.check(&sandbox_in(block.executor.clone()), block.limits.output) {
                OutputCheck::Exceeded(exceeded) => exceeding.push((*key, exceeded)),
                OutputCheck::Within(interval) => {
                    let at = now + interval;
                    self.check_at = Some(self.check_at.map_or(at, |check_at| check_at.min(at)));
                }
            }
        }
        exceeding
    }

    /// When [`Self::check_limits`] is due next; `None` if there is neither a block nor a control group.
    pub(crate) fn next_check(&mut self, now: Duration) -> Option<Duration> {
        if self.blocks.is_empty() && self.busy_groups.is_empty() {
            self.check_at = None;
        } else if self.check_at.is_none() {
            self.check_at = Some(now + OutputWatcher::MAX_CHECK_INTERVAL);
        }
        self.check_at
    }

    /// The keys of the containers that have started since the last call.
    pub(crate) fn started(&mut self) -> Vec<u64> {
        let blocks = &self.blocks;
        let has_started =
            |key: &u64| blocks.get(key).is_some_and(|block| shim_state::has_started(&block.executor));
        let started: Vec<u64> = self.starting.iter().copied().filter(has_started).collect();
        for key in &started {
            self.starting.remove(key);
        }
        started
    }

    /// Whether there are adopted blocks or starting containers, which are to be polled.
    pub(crate) fn needs_polling(&self) -> bool {
        self.blocks.len() > self.keys.len() || !self.starting.is_empty()
    }
}

/// How a container's launch ended; `None` if a new shim can find out. `exit` is the exit of its shim, if known.
fn container_exit(executor: &Path, exit: Option<Exit>) -> Option<ExitKind> {
    if let Some((code, message)) = shim_state::read_error(executor) {
        let reason =
            if code.is_some() { Reason::CommandExecutorFailed } else { Reason::ContainerLaunchFailed };
        return Some(ExitKind::StartFailed(reason, message));
    }
    match (reap::read_exit(&sandbox_in(executor.to_owned())), exit) {
        (Some(exit), _) => Some(ExitKind::Exit(exit)),
        (None, Some(Exit::Signal(_)) | None) => None,
        // The shim could not record the exit; the log says why.
        (None, Some(_)) => Some(ExitKind::Exit(Exit::Unknown)),
    }
}

//! Ends of blocks: seen, noted, told.

use std::path::Path;
use std::time::Duration;

use super::{Origin, Processes, is_block, note};
use crate::container::shim_state;
use crate::exit::Exit;
use crate::limits::{self, Cgroup, LimitExceeded, Limits, OutputCheck, OutputWatcher};
use crate::paths::sandbox_in;
use crate::state::StopReason;
use crate::{reap, stop_note};
use borges_mesos::messages::task_status::Reason;

/// A launch that ended.
#[derive(Debug)]
pub(crate) struct LaunchExit {
    pub(crate) key: u64,
    /// It had not been told yet that it ran, though it did.
    pub(crate) began: bool,
    /// The limit that it was found to have gone beyond.
    pub(crate) excess: Option<LimitExceeded>,
    pub(crate) how: ExitKind,
}

/// How a launch ended.
#[derive(Debug)]
pub(crate) enum ExitKind {
    /// As its block did.
    Exit(Exit),
    /// Otherwise: why, in a word and in words.
    StartFailed(Reason, String),
}

impl Processes {
    /// The next child that has ended, with its launch's key: noted, then reaped.
    ///
    /// `None` when no other child of ours has ended.
    pub(crate) fn reap(&mut self) -> Option<LaunchExit> {
        loop {
            let (pid, exit) = match reap::wait_any_child(false) {
                Ok(reap::WaitResult::Exited(pid, exit)) => (pid, exit),
                Ok(reap::WaitResult::StillRunning | reap::WaitResult::NoChildren) => return None,
                Err(error) => {
                    log::error!("children cannot be waited for: {error}");
                    return None;
                }
            };
            let Some((key, block)) =
                self.keys.remove(&pid).and_then(|key| Some((key, self.blocks.remove(&key)?)))
            else {
                // Some block's grandchild, handed to us.
                reap::reap(pid);
                continue;
            };
            reap::kill_process_group(pid);
            let sandbox = sandbox_in(block.executor.clone());
            let excess = self.settle(&block.executor, &sandbox, block.limits, block.group);
            let how = if block.container.is_some() {
                container_end(&block.executor, Some(exit))
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
            if how.is_none() && block.container.is_some_and(|row| self.restart_shim(key, *row)) {
                continue;
            }
            let began = self.starting.remove(&key) && shim_state::has_started(&block.executor);
            return Some(LaunchExit {
                key,
                began,
                excess,
                how: how.unwrap_or(ExitKind::Exit(Exit::Unknown)),
            });
        }
    }

    /// Which of the adopted blocks have ended. Nobody tells us: this is to be asked now and then.
    pub(crate) fn ended_orphans(&mut self) -> Vec<LaunchExit> {
        let (mut ended, mut over, mut forsaken) = (Vec::new(), Vec::new(), Vec::new());
        let starting = &mut self.starting;
        self.blocks.retain(|key, block| {
            let Origin::Adopted(session) = block.origin else { return true };
            // In this order: its reaper writes the code before it lets the process go.
            let gone = !is_block(block.pid, session);
            let how = if block.container.is_some() {
                container_end(&block.executor, None)
            } else {
                reap::read_exit(&sandbox_in(block.executor.clone())).map(ExitKind::Exit)
            };
            let how = match (how, gone, block.container.take_if(|_| gone)) {
                (Some(how), ..) => how,
                (None, true, Some(row)) => {
                    forsaken.push((*key, *row));
                    return false;
                }
                (None, true, None) => ExitKind::Exit(Exit::Unknown),
                (None, false, _) => return true,
            };
            let began = starting.remove(key) && shim_state::has_started(&block.executor);
            ended.push(LaunchExit { key: *key, began, excess: None, how });
            over.push((block.executor.clone(), block.limits, block.group.take()));
            false
        });
        let from = ended.len() - over.len();
        for (ended, (executor, limits, group)) in ended[from..].iter_mut().zip(over) {
            ended.excess = self.settle(&executor, &sandbox_in(executor.clone()), limits, group);
        }
        for (key, row) in forsaken {
            if !self.restart_shim(key, row) {
                self.starting.remove(&key);
                ended.push(LaunchExit {
                    key,
                    began: false,
                    excess: None,
                    how: ExitKind::Exit(Exit::Unknown),
                });
            }
        }
        ended
    }

    /// Sees to what an ended block has used; the limit that it has gone beyond, by whoever that was noted.
    fn settle(
        &mut self,
        executor: &Path,
        sandbox: &Path,
        limits: Limits,
        group: Option<Cgroup>,
    ) -> Option<LimitExceeded> {
        self.left.retain(|group| group.remove().is_err());
        let (excess, left) = limits::check_at_exit(limits, group, sandbox);
        self.left.extend(left);
        let noted = |stop| if let StopReason::LimitExceeded(excess) = stop { Some(excess) } else { None };
        match excess {
            None => stop_note::read(executor).and_then(noted),
            Some(excess) => {
                note(executor, StopReason::LimitExceeded(excess));
                Some(excess)
            }
        }
    }

    /// Looks at what running blocks use, when that is due; those that have gone beyond a limit.
    pub(crate) fn check_limits(&mut self, now: Duration) -> Vec<(u64, LimitExceeded)> {
        let mut found = Vec::new();
        if self.look_at.is_none_or(|at| at > now) {
            return found;
        }
        self.left.retain(|group| group.remove().is_err());
        self.look_at = None;
        for (key, block) in &mut self.blocks {
            let memory = block.limits.memory.filter(|_| block.group.as_ref().is_some_and(Cgroup::oom_killed));
            if let Some(mib) = memory {
                found.push((*key, LimitExceeded::Memory(mib)));
                continue;
            }
            match block.streams.check(&sandbox_in(block.executor.clone()), block.limits.output) {
                OutputCheck::Excess(excess) => found.push((*key, excess)),
                OutputCheck::Well(again) => {
                    let at = now + again;
                    self.look_at = Some(self.look_at.map_or(at, |look| look.min(at)));
                }
            }
        }
        found
    }

    /// When [`Self::check`] is to be asked next; `None` while nothing runs, and no group is left.
    pub(crate) fn next_check(&mut self, now: Duration) -> Option<Duration> {
        if self.blocks.is_empty() && self.left.is_empty() {
            self.look_at = None;
        } else if self.look_at.is_none() {
            self.look_at = Some(now + OutputWatcher::CHECK_INTERVAL);
        }
        self.look_at
    }

    /// Containers that were seen to run since this was asked last.
    pub(crate) fn started(&mut self) -> Vec<u64> {
        let blocks = &self.blocks;
        let runs = |key: &u64| blocks.get(key).is_some_and(|block| shim_state::has_started(&block.executor));
        let started: Vec<u64> = self.starting.iter().copied().filter(runs).collect();
        for key in &started {
            self.starting.remove(key);
        }
        started
    }

    /// Whether there is something to look after that nobody tells us of.
    pub(crate) fn needs_polling(&self) -> bool {
        self.blocks.len() > self.keys.len() || !self.starting.is_empty()
    }
}

/// How a container's launch ended; `None` while another stand-in can find out.
///
/// `exit` is how its stand-in ended, where that is known.
fn container_end(executor: &Path, exit: Option<Exit>) -> Option<ExitKind> {
    if let Some((code, message)) = shim_state::read_error(executor) {
        let reason =
            if code.is_some() { Reason::CommandExecutorFailed } else { Reason::ContainerLaunchFailed };
        return Some(ExitKind::StartFailed(reason, message));
    }
    match (reap::read_exit(&sandbox_in(executor.to_owned())), exit) {
        (Some(exit), _) => Some(ExitKind::Exit(exit)),
        (None, Some(Exit::Signal(_)) | None) => None,
        // It could not write down what it knew; its log says why.
        (None, Some(_)) => Some(ExitKind::Exit(Exit::Unknown)),
    }
}

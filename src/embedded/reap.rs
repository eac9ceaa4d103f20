//! Exits of child processes: waited for, recorded in `block/exit`, and only then reaped.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::model::{Exit, WaitResult};
use super::os;

/// Finds a child that has exited, without reaping it. Waits for one if `block` is set.
pub(crate) fn wait_any_child(block: bool) -> io::Result<WaitResult> {
    #[cfg(feature = "failpoints")]
    if let Some(waited) = super::simulated_os::wait() {
        return Ok(waited);
    }
    let mut flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    if !block {
        flags |= WaitPidFlag::WNOHANG;
    }
    loop {
        return match waitid(Id::All, flags) {
            Ok(WaitStatus::Exited(pid, code)) => Ok(exited(pid.as_raw(), Exit::Code(code))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => Ok(exited(pid.as_raw(), Exit::Signal(signal as i32))),
            Ok(_) => Ok(WaitResult::StillRunning),
            Err(Errno::ECHILD) => Ok(WaitResult::NoChildren),
            Err(Errno::EINTR) => continue,
            // Some child was terminated by a signal that `nix` does not know, such as a real-time one.
            Err(Errno::EINVAL) => wait_each_child(),
            Err(error) => Err(error.into()),
        };
    }
}

fn exited(pid: i32, exit: Exit) -> WaitResult {
    Pid::from_raw(pid).map_or(WaitResult::StillRunning, |pid| WaitResult::Exited(pid, exit))
}

/// Finds a child that has exited by waiting for each child by its id.
fn wait_each_child() -> io::Result<WaitResult> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    for pid in children(rustix::process::getpid())? {
        if let Ok(Some(status)) = rustix::process::waitid(WaitId::Pid(pid), options) {
            let code = status.exit_status().map(Exit::Code);
            if let Some(exit) = code.or_else(|| status.terminating_signal().map(Exit::Signal)) {
                return Ok(WaitResult::Exited(pid, exit));
            }
        }
    }
    Ok(WaitResult::StillRunning)
}

/// The children of a process, zombies included.
pub(crate) fn children(of: Pid) -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for thread in fs::read_dir(format!("/proc/{}/task", of.as_raw_nonzero()))? {
        let Ok(text) = fs::read_to_string(thread?.path().join("children")) else { continue };
        pids.extend(text.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)));
    }
    Ok(pids)
}

/// Reaps an exited child. Its process id may be reused from now on.
pub(crate) fn reap(pid: Pid) {
    if let Err(error) = os::reap(pid) {
        log::warn!("process {} cannot be reaped: {error}", pid.as_raw_nonzero());
    }
}

/// Kills the remaining processes of an exited block's group. To be called before the block is reaped, while its id is
/// not reused.
pub(crate) fn kill_process_group(pid: Pid) {
    // Fails if the group is empty, or belongs to another user.
    let _ = os::signal_group(pid, Signal::KILL);
}

/// Writes `block/exit` atomically; nothing if the status is lost.
pub(crate) fn write_exit(sandbox: &Path, exit: Exit) -> io::Result<()> {
    let Some(code) = exit.code() else { return Ok(()) };
    os::write_atomic(&sandbox.join("block/exit"), format!("{code}\n").as_bytes())
}

/// Reads `block/exit`; `None` if there is none.
pub(crate) fn read_exit(sandbox: &Path) -> Option<Exit> {
    let text = fs::read_to_string(sandbox.join("block/exit")).ok()?;
    text.trim().parse().ok().map(Exit::Code)
}

/// Kills and reaps all descendants.
///
/// Children of killed processes become children of this subreaper, so the loop also reaches processes that have left
/// their session.
pub(crate) fn kill_descendants() {
    loop {
        for child in children(rustix::process::getpid()).unwrap_or_default() {
            kill_tree(child);
        }
        let mut block = true;
        loop {
            match wait_any_child(block) {
                Ok(WaitResult::Exited(pid, _)) => reap(pid),
                Ok(WaitResult::StillRunning) => break,
                Ok(WaitResult::NoChildren) => return,
                Err(error) => {
                    log::error!("cannot wait for what is left: {error}");
                    return;
                }
            }
            block = false;
        }
    }
}

/// Kills a process and its descendants; the parent first, so that it starts no more children.
fn kill_tree(pid: Pid) {
    let descendants = children(pid).unwrap_or_default();
    let _ = rustix::process::kill_process(pid, Signal::KILL);
    for child in descendants {
        kill_tree(child);
    }
}

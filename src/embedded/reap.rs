//! The end of a block's process: seen, noted, and only then reaped.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::exit::Exit;
use super::os;

/// What waiting for a child says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitResult {
    /// This one ended; it is still a zombie, so its id is still its own.
    Exited(Pid, Exit),
    /// There are children, and none has ended.
    StillRunning,
    /// There are no children.
    NoChildren,
}

/// Looks for a child that has ended, without reaping it; waits for one if `block` is set.
pub(crate) fn wait_any_child(block: bool) -> io::Result<WaitResult> {
    #[cfg(feature = "failpoints")]
    if let Some(waited) = super::simulated_machine::wait() {
        return Ok(waited);
    }
    let mut flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    if !block {
        flags |= WaitPidFlag::WNOHANG;
    }
    loop {
        return match waitid(Id::All, flags) {
            Ok(WaitStatus::Exited(pid, code)) => Ok(ended(pid.as_raw(), Exit::Code(code))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => Ok(ended(pid.as_raw(), Exit::Signal(signal as i32))),
            Ok(_) => Ok(WaitResult::StillRunning),
            Err(Errno::ECHILD) => Ok(WaitResult::NoChildren),
            Err(Errno::EINTR) => continue,
            // A signal without a name, such as a real-time one, ended some child: which?
            Err(Errno::EINVAL) => search(),
            Err(error) => Err(error.into()),
        };
    }
}

fn ended(pid: i32, exit: Exit) -> WaitResult {
    Pid::from_raw(pid).map_or(WaitResult::StillRunning, |pid| WaitResult::Exited(pid, exit))
}

/// Asks each child by itself.
fn search() -> io::Result<WaitResult> {
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

/// Reaps an ended child: its id may be somebody else's from now on.
pub(crate) fn reap(pid: Pid) {
    if let Err(error) = os::reap(pid) {
        log::warn!("process {} cannot be reaped: {error}", pid.as_raw_nonzero());
    }
}

/// Kills what a block left behind in its process group; call it while the block's zombie holds the id.
pub(crate) fn kill_process_group(pid: Pid) {
    // Nothing left, or not ours to kill: both are fine.
    let _ = os::signal_group(pid, Signal::KILL);
}

/// Writes `block/exit` whole.
pub(crate) fn write_exit(sandbox: &Path, exit: Exit) -> io::Result<()> {
    let Some(code) = exit.code() else { return Ok(()) };
    os::write_atomic(&sandbox.join("block/exit"), format!("{code}\n").as_bytes())
}

/// Reads `block/exit`.
pub(crate) fn read_exit(sandbox: &Path) -> Option<Exit> {
    let text = fs::read_to_string(sandbox.join("block/exit")).ok()?;
    text.trim().parse().ok().map(Exit::Code)
}

/// Kills all descendants, and reaps them, until none is left.
///
/// Children of the killed become ours, who are a subreaper: the loop reaches those that left their session.
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

/// Kills a process and what it is parent of; the parent first, so that it makes no more.
fn kill_tree(pid: Pid) {
    let below = children(pid).unwrap_or_default();
    let _ = rustix::process::kill_process(pid, Signal::KILL);
    for child in below {
        kill_tree(child);
    }
}

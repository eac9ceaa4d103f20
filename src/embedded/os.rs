//! All operations by which agent and reaper change files and processes.
//!
//! Files are not synced: no process outlives its machine, and the page cache outlives all processes. So the files must
//! be consistent if a process is killed between any two of these operations.
//!
//! With the feature `failpoints` the operations can act on a simulated machine, see `simulated_os`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

#[cfg(feature = "failpoints")]
use super::simulated_os as simulated;

/// Called before each operation. On a simulated machine it may return an error, or kill the agent.
#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unnecessary_wraps, reason = "fails on a simulated machine")]
const fn fail_point(_operation: &str, _path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
use simulated::fail_point;

/// A planted bug: launches that never started are not recorded as such.
#[cfg(not(feature = "failpoints"))]
pub(super) const fn fail_point_unstarted() -> bool {
    false
}

#[cfg(feature = "failpoints")]
pub(super) use simulated::fail_point_unstarted;

/// Creates a directory in an existing one.
pub(super) fn create_dir(path: &Path) -> io::Result<()> {
    fail_point("mkdir", path)?;
    DirBuilder::new().create(path)
}

/// Creates a directory and its missing parents.
pub(super) fn create_dir_all(path: &Path, mode: u32) -> io::Result<()> {
    fail_point("mkdir -p", path)?;
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Opens or creates a file.
pub(super) fn open_file(options: &mut OpenOptions, mode: u32, path: &Path) -> io::Result<File> {
    fail_point("make", path)?;
    options.mode(mode).open(path)
}

/// Writes all of `bytes` to the end of a file.
pub(super) fn write(file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    fail_point("write", path)?;
    #[cfg(feature = "failpoints")]
    simulated::tear(bytes, |torn| file.write_all(torn))?;
    file.write_all(bytes)
}

/// Writes all of `bytes` at an offset of a file.
pub(super) fn write_at(file: &File, path: &Path, bytes: &[u8], at: u64) -> io::Result<()> {
    fail_point("write", path)?;
    #[cfg(feature = "failpoints")]
    simulated::tear(bytes, |torn| file.write_all_at(torn, at))?;
    file.write_all_at(bytes, at)
}

/// Renames a file, in place of an existing one.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fail_point("rename", to)?;
    fs::rename(from, to)
}

/// Removes a file.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    fail_point("remove", path)?;
    fs::remove_file(path)
}

/// Writes a file completely or not at all: as `.NAME`, which is then renamed.
pub(super) fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}"));
    let mut file = open_file(File::options().write(true).create(true).truncate(true), 0o644, &temporary)?;
    write(&mut file, &temporary, bytes)?;
    rename(&temporary, path)
}

/// Starts a process.
pub(super) fn spawn(command: &mut Command) -> io::Result<Pid> {
    fail_point("spawn", command.get_current_dir().unwrap_or(Path::new("")))?;
    #[cfg(feature = "failpoints")]
    if let Some(pid) = simulated::spawn(command) {
        return Ok(pid);
    }
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Reaps an exited child. Its process id may be reused from now on.
pub(super) fn reap(pid: Pid) -> io::Result<()> {
    fail_point("reap", Path::new(""))?;
    #[cfg(feature = "failpoints")]
    if simulated::reap(pid) {
        return Ok(());
    }
    rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED)?;
    Ok(())
}

/// Signals a process group.
pub(super) fn signal_group(leader: Pid, signal: Signal) -> io::Result<()> {
    #[cfg(feature = "failpoints")]
    if simulated::signal_group(leader, signal) {
        return Ok(());
    }
    Ok(rustix::process::kill_process_group(leader, signal)?)
}

/// The session this process is in.
pub(super) fn session() -> io::Result<Pid> {
    #[cfg(feature = "failpoints")]
    if let Some(session) = simulated::session() {
        return Ok(session);
    }
    Ok(rustix::process::getsid(None)?)
}

/// The session of a process, also of a zombie; `None` if there is no such process.
pub(super) fn session_of(pid: Pid) -> Option<Pid> {
    #[cfg(feature = "failpoints")]
    if let Some(session) = simulated::session_of(pid) {
        return session;
    }
    rustix::process::getsid(Some(pid)).ok()
}

/// Whether a process leads its process group.
fn leads_group(pid: Pid) -> bool {
    #[cfg(feature = "failpoints")]
    if let Some(session) = simulated::session_of(pid) {
        return session.is_some();
    }
    rustix::process::getpgid(Some(pid)).is_ok_and(|group| group == pid)
}

/// Whether a process leads a group in a reaper's session, which only the process of a block does.
pub(super) fn leads_group_in_session(pid: Pid, session: Pid) -> bool {
    leads_group(pid) && session_of(pid) == Some(session)
}

/// All processes, each with its environment; empty if that cannot be read.
pub(super) fn environments() -> Vec<(Pid, Vec<u8>)> {
    #[cfg(feature = "failpoints")]
    if let Some(processes) = simulated::environments() {
        return processes;
    }
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids =
        processes.flatten().filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.map(|pid| (pid, fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default()))
        .collect()
}

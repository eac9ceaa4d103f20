//! The one door through which agent and reaper change anything: files, and processes.
//!
//! What is written here is not synced: no process outlives its machine, and the page cache outlives all of them. So
//! what has to hold holds after any of them was killed, between any two of these calls.
//!
//! In tests the machine behind the door can be another one: see `trial`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

#[cfg(feature = "failpoints")]
use super::simulated_machine as fake;

/// Something is about to be done: in tests it may fail, or be the last thing that was to be done.
#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it may fail")]
const fn fail_point(_what: &str, _path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
use fake::fail_point;

/// A bug that a test plants, to see that it would be found.
#[cfg(not(feature = "failpoints"))]
pub(super) const fn fail_point_unstarted() -> bool {
    false
}

#[cfg(feature = "failpoints")]
pub(super) use fake::fail_point_unstarted;

/// Makes a directory, of which only the last part may be missing.
pub(super) fn create_dir(path: &Path) -> io::Result<()> {
    fail_point("mkdir", path)?;
    DirBuilder::new().create(path)
}

/// Makes a directory and those it lies in, as far as they are missing.
pub(super) fn create_dir_all(path: &Path, mode: u32) -> io::Result<()> {
    fail_point("mkdir -p", path)?;
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Makes a file, or opens it, as `options` say.
pub(super) fn open_file(options: &mut OpenOptions, mode: u32, path: &Path) -> io::Result<File> {
    fail_point("make", path)?;
    options.mode(mode).open(path)
}

/// Writes all of `bytes` to the end of a file.
pub(super) fn write(file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    fail_point("write", path)?;
    #[cfg(feature = "failpoints")]
    fake::tear(bytes, |torn| file.write_all(torn))?;
    file.write_all(bytes)
}

/// Writes all of `bytes` to a place of a file.
pub(super) fn write_at(file: &File, path: &Path, bytes: &[u8], at: u64) -> io::Result<()> {
    fail_point("write", path)?;
    #[cfg(feature = "failpoints")]
    fake::tear(bytes, |torn| file.write_all_at(torn, at))?;
    file.write_all_at(bytes, at)
}

/// Puts a file in the place of another.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fail_point("rename", to)?;
    fs::rename(from, to)
}

/// Removes a file.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    fail_point("remove", path)?;
    fs::remove_file(path)
}

/// Writes a file whole or not at all: as `.NAME`, then by its name.
pub(super) fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!(".{name}"));
    let mut file = open_file(File::options().write(true).create(true).truncate(true), 0o644, &unfinished)?;
    write(&mut file, &unfinished, bytes)?;
    rename(&unfinished, path)
}

/// Starts a process.
pub(super) fn spawn(command: &mut Command) -> io::Result<Pid> {
    fail_point("spawn", command.get_current_dir().unwrap_or(Path::new("")))?;
    #[cfg(feature = "failpoints")]
    if let Some(pid) = fake::spawn(command) {
        return Ok(pid);
    }
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Reaps an ended child: its id may be somebody else's from now on.
pub(super) fn reap(pid: Pid) -> io::Result<()> {
    fail_point("reap", Path::new(""))?;
    #[cfg(feature = "failpoints")]
    if fake::reap(pid) {
        return Ok(());
    }
    rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED)?;
    Ok(())
}

/// Signals a process group.
pub(super) fn signal_group(leader: Pid, signal: Signal) -> io::Result<()> {
    #[cfg(feature = "failpoints")]
    if fake::signal_group(leader, signal) {
        return Ok(());
    }
    Ok(rustix::process::kill_process_group(leader, signal)?)
}

/// The session this process is in.
pub(super) fn session() -> io::Result<Pid> {
    #[cfg(feature = "failpoints")]
    if let Some(session) = fake::session() {
        return Ok(session);
    }
    Ok(rustix::process::getsid(None)?)
}

/// The session of a process, ended ones that nobody has reaped included; `None` where there is none.
pub(super) fn session_of(pid: Pid) -> Option<Pid> {
    #[cfg(feature = "failpoints")]
    if let Some(session) = fake::session_of(pid) {
        return session;
    }
    rustix::process::getsid(Some(pid)).ok()
}

/// Whether a process leads its group.
pub(super) fn leads_group(pid: Pid) -> bool {
    #[cfg(feature = "failpoints")]
    if let Some(session) = fake::session_of(pid) {
        return session.is_some();
    }
    rustix::process::getpgid(Some(pid)).is_ok_and(|group| group == pid)
}

/// The processes there are, each with its environment as far as that can be read.
pub(super) fn environments() -> Vec<(Pid, Vec<u8>)> {
    #[cfg(feature = "failpoints")]
    if let Some(processes) = fake::environments() {
        return processes;
    }
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|it| Pid::from_raw(it.file_name().to_str()?.parse().ok()?));
    pids.map(|pid| (pid, fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default()))
        .collect()
}

//! Wall, CPU and memory of processes, one or a whole tree; the middle of several measurements.

use std::fs;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use borges_clock::Clock;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::wait::{WaitPidFlag, WaitStatus, wait, waitpid};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::message;

/// What a command cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// From its start to its own end.
    pub(crate) wall: Duration,
    /// User and system time of it and of all that it started, up to the end of the last of them.
    pub(crate) cpu: Duration,
    /// How its own process ended.
    pub(crate) status: ExitStatus,
}

/// Runs a command and waits for its last descendant.
///
/// This process is made a child subreaper, so what the command leaves behind comes here to be waited for,
/// and its CPU with it. What would escape: a child whose parent ignores SIGCHLD.
pub(crate) fn tree(command: &mut Command) -> Result<Cost, String> {
    nix::sys::prctl::set_child_subreaper(true).map_err(|error| format!("no subreaper: {error}"))?;
    // What an earlier benchmark has left behind is none of this one's.
    while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status != WaitStatus::StillAlive) {}
    let clock = Clock::system();
    let before = cpu_of_children()?;
    let mut child = command.spawn().map_err(|error| format!("`{command:?}` does not start: {error}"))?;
    let status = child.wait().map_err(|error| format!("cannot wait for `{command:?}`: {error}"))?;
    let wall = clock.elapsed();
    while wait().is_ok() {}
    Ok(Cost { wall, cpu: cpu_of_children()?.saturating_sub(before), status })
}

/// User and system time of the processes waited for so far, theirs included.
fn cpu_of_children() -> Result<Duration, String> {
    cpu(UsageWho::RUSAGE_CHILDREN)
}

/// User and system time of this process so far.
pub(crate) fn cpu_of_this() -> Result<Duration, String> {
    cpu(UsageWho::RUSAGE_SELF)
}

fn cpu(who: UsageWho) -> Result<Duration, String> {
    let usage = getrusage(who).map_err(|error| format!("no resource usage: {error}"))?;
    let micros = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec().unsigned_abs())
            + Duration::from_micros(time.tv_usec().unsigned_abs())
    };
    Ok(micros(usage.user_time()) + micros(usage.system_time()))
}

/// User and system time of another process so far, all its threads included.
pub(crate) fn cpu_of(process: u32) -> Result<Duration, String> {
    let process = Pid::from_raw(i32::try_from(process).map_err(message)?);
    let time = clock_getcpuclockid(process).and_then(clock_gettime);
    time.map(Duration::from).map_err(|error| format!("no CPU time of process {process}: {error}"))
}

/// Of that, what the threads of this name have had.
pub(crate) fn cpu_of_threads(process: u32, name: &str) -> Result<Duration, String> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task")).map_err(message)? {
        let thread = thread.map_err(message)?.path();
        if fs::read_to_string(thread.join("comm")).map_err(message)?.trim_end() == name {
            let text = fs::read_to_string(thread.join("schedstat")).map_err(message)?;
            nanoseconds += text.split(' ').next().unwrap_or_default().parse::<u64>().map_err(message)?;
        }
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The memory another process holds for itself, in bytes: without the pages of its files.
pub(crate) fn memory_of(process: u32) -> Result<u64, String> {
    memory(&process.to_string(), "RssAnon:")
}

/// The most memory this process ever held, in bytes.
pub(crate) fn peak_memory() -> Result<u64, String> {
    memory("self", "VmHWM:")
}

fn memory(process: &str, kind: &str) -> Result<u64, String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).map_err(message)?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(kind)?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .map(|kib| kib * 1024)
        .ok_or_else(|| format!("no `{kind}` in /proc/{process}/status"))
}

/// The value below which this share of the sorted lies.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let place = (sorted.len() as f64 * share).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
    sorted.get((place as usize).saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The middle of what was measured, with its ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    smallest: f64,
    largest: f64,
}

impl Spread {
    /// Of at least one measurement.
    pub(crate) fn of(measured: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = measured.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let count = sorted.len();
        let median = f64::midpoint(middle(count.saturating_sub(1) / 2), middle(count / 2));
        Self { median, smallest: middle(0), largest: middle(count.saturating_sub(1)) }
    }

    /// `8.41 (8.30–9.02) s`
    pub(crate) fn text(&self, digits: usize, unit: &str) -> String {
        let Self { median, smallest, largest } = self;
        format!("{median:.digits$} ({smallest:.digits$}–{largest:.digits$}) {unit}")
    }
}

//! Wall and CPU of a whole tree of processes; the middle of several measurements.

use std::process::{Command, ExitStatus};
use std::time::Duration;

use borges::clock::Clock;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::wait::wait;

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

/// The most memory this process ever held, in bytes.
pub(crate) fn peak_memory() -> Result<u64, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .map(|kib| kib * 1024)
        .ok_or_else(|| "no `VmHWM` in /proc/self/status".to_owned())
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

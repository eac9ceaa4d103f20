//! What some machines do not offer to their programs, such as a root environment in a chroot.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A feature of the kernel, or of a daemon, that a test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// A control group can be made, and its memory be limited.
    MemoryLimits,
    /// A mount namespace can be made, and a file system mounted in it.
    Mounts,
    /// A network namespace can be made.
    NetworkNamespaces,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MemoryLimits => "control groups that limit memory",
            Self::Mounts => "mounts of file systems",
            Self::NetworkNamespaces => "network namespaces",
        })
    }
}

impl Feature {
    /// Whether the machine lacks the feature. Then it says so on standard error, past the capture of the test runner.
    ///
    /// The feature is tried without Borges, so a fault of Borges does not make it absent.
    pub fn is_absent(self) -> bool {
        // One probe a process, because two at the same time would use the same names.
        static PROBES: [OnceLock<Result<(), String>>; 3] = [const { OnceLock::new() }; 3];
        let probe = PROBES[self as usize].get_or_init(|| match self {
            Self::MemoryLimits => limit_memory(),
            Self::Mounts => run("unshare", &["--mount", "sh", "-c", "mount -t tmpfs none /mnt"]),
            Self::NetworkNamespaces => {
                let name = format!("borges-probe-{}", std::process::id());
                run("unshare", &["--net", "true"])
                    .and_then(|()| run("ip", &["netns", "add", &name]))
                    .and_then(|()| run("ip", &["netns", "delete", &name]))
            }
        });
        probe.as_ref().is_err_and(|reason| {
            say_untested(&self.to_string(), reason);
            true
        })
    }
}

/// Says on standard error, past the capture of the test runner, that a part of a test is left out.
pub fn say_untested(feature: &str, reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(io::stderr(), "{test}: not tested: this machine has no {feature}: {reason}");
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{program} {arguments:?}: {stderr}")) }
}

/// Makes a control group and limits its memory, in one of the places where a process may do that.
fn limit_memory() -> Result<(), String> {
    let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
    let mut failures = Vec::new();
    for mount in mounts.lines() {
        let fields: Vec<&str> = mount.split(' ').collect();
        let [_, point, kind, options, ..] = fields[..] else { continue };
        let (limit, is_own): (_, fn(&str) -> bool) = match kind {
            "cgroup" if options.split(',').any(|option| option == "memory") => {
                ("memory.limit_in_bytes", |controllers| controllers.split(',').any(|name| name == "memory"))
            }
            "cgroup2" => ("memory.max", str::is_empty),
            _ => continue,
        };
        let group = own.lines().find_map(|line| {
            let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
            is_own(controllers).then_some(group)
        });
        let below = Path::new(point).join(group.unwrap_or_default().trim_start_matches('/'));
        for parent in below.ancestors().take_while(|parent| parent.starts_with(point)) {
            match limit_memory_below(parent, limit) {
                Ok(()) => return Ok(()),
                Err(error) => failures.push(format!("{}: {error}", parent.display())),
            }
        }
    }
    Err(if failures.is_empty() { "none are mounted".to_owned() } else { failures.join("; ") })
}

fn limit_memory_below(parent: &Path, limit: &str) -> io::Result<()> {
    // The controller of version 2 may have to be handed down first.
    let control = parent.join("cgroup.subtree_control");
    if control.exists() && !fs::read_to_string(&control)?.contains("memory") {
        fs::write(control, "+memory")?;
    }
    let group: PathBuf = parent.join(format!("borges-probe-{}", std::process::id()));
    fs::create_dir(&group)?;
    let limited = fs::write(group.join(limit), "67108864");
    fs::remove_dir(&group)?;
    limited
}

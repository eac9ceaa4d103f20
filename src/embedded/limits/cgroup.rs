//! Control groups that limit the memory of launches: made, read and removed.
//!
//! Version 2 follows the kernel's documentation and is untested.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use super::cgroup_mounts::{CgroupMount, Version, candidates};
use crate::container::create::container_name;

/// The directory in which this process may make groups.
#[derive(Debug, Clone)]
pub(crate) struct CgroupRoot(CgroupMount);

/// The group of one launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroup {
    directory: PathBuf,
    version: Version,
}

impl CgroupRoot {
    /// Finds the first directory in which a group can be made. `Err` says why there is none.
    pub(crate) fn find() -> Result<Self, String> {
        let read = |file: &str| fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
        let mounts = candidates(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
        let mut first_error = None;
        for mount in mounts {
            match mount.probe() {
                Ok(()) => return Ok(Self(mount)),
                Err(error) => {
                    first_error.get_or_insert(format!(
                        "no control group can be made in `{}`: {error}",
                        mount.directory.display()
                    ));
                }
            }
        }
        Err(first_error.unwrap_or_else(|| "no controller of memory is mounted (cgroups)".to_owned()))
    }

    /// The group of a launch, whether it exists or not.
    pub(crate) fn for_launch(&self, launch: &str) -> Cgroup {
        Cgroup { directory: self.0.directory.join(container_name(launch)), version: self.0.version }
    }

    /// Makes the group of a launch, limited to `mib` MiB.
    pub(crate) fn create(&self, launch: &str, mib: u64) -> io::Result<Cgroup> {
        let group = self.for_launch(launch);
        match fs::create_dir(&group.directory) {
            // The group of an earlier launch of this name, whose directory was removed.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => result?,
        }
        group.set_limit(mib).inspect_err(|_| drop(group.remove()))?;
        Ok(group)
    }
}

impl CgroupMount {
    /// Makes, limits and removes a group, to find out whether that is permitted.
    fn probe(&self) -> io::Result<()> {
        if self.version == Version::V2 {
            self.enable_memory()?;
        }
        let probe = self.directory.join(format!("borges-probe-{}", std::process::id()));
        fs::create_dir(&probe)?;
        let group = Cgroup { directory: probe, version: self.version };
        let result = group.set_limit(1024);
        group.remove()?;
        result
    }

    /// Enables the memory controller for the groups below this one.
    fn enable_memory(&self) -> io::Result<()> {
        let control = self.directory.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&control)?;
        if enabled.split_ascii_whitespace().any(|controller| controller == "memory") {
            return Ok(());
        }
        fs::write(control, "+memory")
    }
}

impl Cgroup {
    fn set_limit(&self, mib: u64) -> io::Result<()> {
        let bytes = mib.saturating_mul(1 << 20).min(i64::MAX as u64 & !0xfff).to_string();
        match self.version {
            Version::V1 => {
                self.write("memory.limit_in_bytes", &bytes)?;
                self.write_if_exists("memory.memsw.limit_in_bytes", &bytes)
            }
            Version::V2 => {
                self.write("memory.max", &bytes)?;
                self.write_if_exists("memory.swap.max", "0")?;
                self.write_if_exists("memory.oom.group", "1")
            }
        }
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.directory.join(file), text)
    }

    /// For files that not every kernel has, such as swap accounting.
    fn write_if_exists(&self, file: &str, text: &str) -> io::Result<()> {
        if self.directory.join(file).exists() { self.write(file, text) } else { Ok(()) }
    }

    /// The file to which a process writes its id to enter the group.
    pub(crate) fn procs_file(&self) -> PathBuf {
        self.directory.join("cgroup.procs")
    }

    /// Whether the kernel's OOM killer has killed a process of the group.
    pub(crate) fn oom_killed(&self) -> bool {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = fs::read_to_string(self.directory.join(file)).unwrap_or_default();
        let killed = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok());
        killed.is_some_and(|killed| killed > 0)
    }

    /// Removes the group. `Ok` if it does not exist; fails while a process is in it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir(&self.directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

//! Control groups of memory, made and asked.
//!
//! Version 2 is written after its description, and was never run here: these machines have version 1.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use super::cgroup_mounts::{CgroupMount, Version, candidates};
use crate::container;

/// Where this process may make groups.
#[derive(Debug, Clone)]
pub(crate) struct CgroupRoot(CgroupMount);

/// The group of one launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroup {
    directory: PathBuf,
    version: Version,
}

impl CgroupRoot {
    /// Looks for a place where groups can be made. An error says why there is none.
    pub(crate) fn find() -> Result<Self, String> {
        let read = |file: &str| fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
        let places = candidates(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
        let mut why = None;
        for place in places {
            match place.try_out() {
                Ok(()) => return Ok(Self(place)),
                Err(error) => {
                    why.get_or_insert(format!(
                        "no control group can be made in `{}`: {error}",
                        place.directory.display()
                    ));
                }
            }
        }
        Err(why.unwrap_or_else(|| "no controller of memory is mounted (cgroups)".to_owned()))
    }

    /// The group of a launch, whether it has one or not.
    pub(crate) fn for_launch(&self, launch: &str) -> Cgroup {
        Cgroup { directory: self.0.directory.join(container::create::name(launch)), version: self.0.version }
    }

    /// Makes the group of a launch: what is in it may have so many MiB together.
    pub(crate) fn create(&self, launch: &str, mib: u64) -> io::Result<Cgroup> {
        let group = self.for_launch(launch);
        match fs::create_dir(&group.directory) {
            // Of a launch that was claimed and not started, and the claim removed.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made?,
        }
        group.limit(mib).inspect_err(|_| drop(group.remove()))?;
        Ok(group)
    }
}

impl CgroupMount {
    fn try_out(&self) -> io::Result<()> {
        if self.version == Version::V2 {
            self.manage_memory()?;
        }
        let probe = self.directory.join(format!("borges-probe-{}", std::process::id()));
        fs::create_dir(&probe)?;
        let group = Cgroup { directory: probe, version: self.version };
        let done = group.limit(1024);
        group.remove()?;
        done
    }

    /// Has the groups in this one given memory to manage, unless they are already.
    fn manage_memory(&self) -> io::Result<()> {
        let control = self.directory.join("cgroup.subtree_control");
        let managed = fs::read_to_string(&control)?;
        if managed.split_ascii_whitespace().any(|controller| controller == "memory") {
            return Ok(());
        }
        fs::write(control, "+memory")
    }
}

impl Cgroup {
    fn limit(&self, mib: u64) -> io::Result<()> {
        let bytes = mib.saturating_mul(1 << 20).min(i64::MAX as u64 & !0xfff).to_string();
        match self.version {
            Version::V1 => {
                self.write("memory.limit_in_bytes", &bytes)?;
                self.write_if_there("memory.memsw.limit_in_bytes", &bytes)
            }
            Version::V2 => {
                self.write("memory.max", &bytes)?;
                self.write_if_there("memory.swap.max", "0")?;
                self.write_if_there("memory.oom.group", "1")
            }
        }
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.directory.join(file), text)
    }

    /// Swap is not accounted for by every kernel.
    fn write_if_there(&self, file: &str, text: &str) -> io::Result<()> {
        if self.directory.join(file).exists() { self.write(file, text) } else { Ok(()) }
    }

    /// What a process writes its number into to enter.
    pub(crate) fn procs_file(&self) -> PathBuf {
        self.directory.join("cgroup.procs")
    }

    /// Whether the kernel has killed anything in it for want of memory.
    pub(crate) fn oom_killed(&self) -> bool {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = fs::read_to_string(self.directory.join(file)).unwrap_or_default();
        let killed = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok());
        killed.is_some_and(|killed| killed > 0)
    }

    /// Removes it; what is not there is removed already. Fails while a process is in it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir(&self.directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

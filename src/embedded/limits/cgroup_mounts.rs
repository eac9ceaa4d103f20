//! Finds the directories in which control groups of memory may be made, from the kernel's list of mounts and this
//! process's own group (pure).
//!
//! Source: the manual's pages `cgroups` and `proc_pid_mountinfo`.

use std::path::{Component, Path, PathBuf};

/// The versions of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// A control group in which others may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CgroupMount {
    pub(super) directory: PathBuf,
    pub(super) version: Version,
}

/// The candidates, best first. `mounts` is `/proc/self/mountinfo`, `own_groups` is `/proc/self/cgroup`.
///
/// They are below this process's own group, so that its limits apply to blocks, too. In version 2 a group that
/// contains processes cannot enable controllers for its children, so the groups above it are candidates, too.
pub(super) fn candidates(mounts: &str, own_groups: &str) -> Vec<CgroupMount> {
    let mut candidates = Vec::new();
    for Mount { root, point, kind, options } in mounts.lines().filter_map(parse_mount) {
        let version = match kind {
            "cgroup" if options.split(',').any(|option| option == "memory") => Version::V1,
            "cgroup2" => Version::V2,
            _ => continue,
        };
        // `4:memory:/path`, `0::/path`.
        let own_path = own_groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let is_memory = match version {
                Version::V1 => controllers.split(',').any(|controller| controller == "memory"),
                Version::V2 => controllers.is_empty(),
            };
            is_memory.then_some(path)
        });
        // If the own group is outside of the mounted tree, the mount point itself is the candidate.
        let relative =
            own_path.and_then(|path| Path::new(path).strip_prefix(&root).ok()).unwrap_or(Path::new(""));
        let mut parts = relative.components().peekable();
        let is_below = parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)));
        let group = if is_below { point.join(relative) } else { point.clone() };
        match version {
            Version::V1 => candidates.push(CgroupMount { directory: group, version }),
            Version::V2 => {
                let above = group.ancestors().take_while(|directory| directory.starts_with(&point));
                candidates
                    .extend(above.map(|directory| CgroupMount { directory: directory.to_owned(), version }));
            }
        }
    }
    // If version 1 has the memory controller, version 2 does not.
    candidates.sort_by_key(|mount| mount.version == Version::V2);
    candidates
}

/// A line of `mountinfo`.
struct Mount<'a> {
    /// The control group that is mounted at `point`.
    root: PathBuf,
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

fn parse_mount(line: &str) -> Option<Mount<'_>> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (unescape(before.next()?), unescape(before.next()?));
    let mut after = after.split(' ');
    let (kind, _device, options) = (after.next()?, after.next()?, after.next()?);
    Some(Mount { root: root.into(), point: point.into(), kind, options })
}

/// Replaces octal escapes, which `mountinfo` uses for white space.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok());
        match byte {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate_lines(mounts: &str, own_groups: &str) -> String {
        let line = |mount: CgroupMount| format!("{:?} {}\n", mount.version, mount.directory.display());
        candidates(mounts, own_groups).into_iter().map(line).collect()
    }

    #[test]
    fn candidates_are_found_for_both_versions() {
        let version_1 = "30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                     33 24 0:29 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory\n\
                     39 24 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        insta::assert_snapshot!(candidate_lines(version_1, "5:cpu:/\n4:memory:/user/me\n0::/"), @r"
        V1 /sys/fs/cgroup/memory/user/me
        V2 /sys/fs/cgroup/unified
        ");
        let version_2 = "24 1 0:22 / /sys/fs/cgroup rw,nosuid shared:2 - cgroup2 cgroup2 rw,nsdelegate\n";
        insta::assert_snapshot!(candidate_lines(version_2, "0::/system.slice/borges.service\n"), @r"
        V2 /sys/fs/cgroup/system.slice/borges.service
        V2 /sys/fs/cgroup/system.slice
        V2 /sys/fs/cgroup
        ");
        let container = "24 1 0:22 /docker/abc /sys/fs/cgroup/with\\040blank ro - cgroup cgroup rw,memory\n";
        insta::assert_snapshot!(candidate_lines(container, "4:memory:/docker/abc\n"), @"V1 /sys/fs/cgroup/with blank");
        insta::assert_snapshot!(candidate_lines(container, "4:memory:/../..\n"), @"V1 /sys/fs/cgroup/with blank");
        insta::assert_snapshot!(candidate_lines("24 1 0:22 / / rw - ext4 /dev/vda rw\nnonsense\n", "0::/\n"), @"");
    }
}

//! Where control groups of memory may be made, from what the kernel tells of mounts and of our own group.
//!
//! Source: the manual's pages `cgroups` and `proc_pid_mountinfo`.

use std::path::{Component, Path, PathBuf};

/// The two kinds of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// A group below which others may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CgroupMount {
    pub(super) directory: PathBuf,
    pub(super) version: Version,
}

/// The places to be tried, the best first, from `/proc/self/mountinfo` and `/proc/self/cgroup`.
///
/// Below our own group, so that what limits us limits our blocks. Of version 2 also below those above it: a group
/// with processes in it, as ours, gives its children no memory to manage; one further up often does.
pub(super) fn candidates(mounts: &str, own: &str) -> Vec<CgroupMount> {
    let mut places = Vec::new();
    for Mount { root, point, kind, options } in mounts.lines().filter_map(mount) {
        let version = match kind {
            "cgroup" if options.split(',').any(|option| option == "memory") => Version::V1,
            "cgroup2" => Version::V2,
            _ => continue,
        };
        // `4:memory:/path`, `0::/path`.
        let ours = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let is_it = match version {
                Version::V1 => controllers.split(',').any(|controller| controller == "memory"),
                Version::V2 => controllers.is_empty(),
            };
            is_it.then_some(path)
        });
        // A group outside what is mounted here is seen as none of ours.
        let below = ours.and_then(|path| Path::new(path).strip_prefix(&root).ok()).unwrap_or(Path::new(""));
        let mut parts = below.components().peekable();
        let is_below = parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)));
        let group = if is_below { point.join(below) } else { point.clone() };
        match version {
            Version::V1 => places.push(CgroupMount { directory: group, version }),
            Version::V2 => {
                let above = group.ancestors().take_while(|directory| directory.starts_with(&point));
                places
                    .extend(above.map(|directory| CgroupMount { directory: directory.to_owned(), version }));
            }
        }
    }
    // Where version 1 has the memory, version 2 does not.
    places.sort_by_key(|place| place.version == Version::V2);
    places
}

struct Mount<'a> {
    /// The group that is seen at `point`.
    root: PathBuf,
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

fn mount(line: &str) -> Option<Mount<'_>> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (unescaped(before.next()?), unescaped(before.next()?));
    let mut after = after.split(' ');
    let (kind, _device, options) = (after.next()?, after.next()?, after.next()?);
    Some(Mount { root: root.into(), point: point.into(), kind, options })
}

/// Blanks and the like are written as octal numbers.
fn unescaped(text: &str) -> String {
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

    fn told(mounts: &str, own: &str) -> String {
        let line = |place: CgroupMount| format!("{:?} {}\n", place.version, place.directory.display());
        candidates(mounts, own).into_iter().map(line).collect()
    }

    #[test]
    fn places_are_found_on_machines_of_all_kinds() {
        let first = "30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                     33 24 0:29 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory\n\
                     39 24 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        insta::assert_snapshot!(told(first, "5:cpu:/\n4:memory:/user/me\n0::/"), @r"
        V1 /sys/fs/cgroup/memory/user/me
        V2 /sys/fs/cgroup/unified
        ");
        let second = "24 1 0:22 / /sys/fs/cgroup rw,nosuid shared:2 - cgroup2 cgroup2 rw,nsdelegate\n";
        insta::assert_snapshot!(told(second, "0::/system.slice/borges.service\n"), @r"
        V2 /sys/fs/cgroup/system.slice/borges.service
        V2 /sys/fs/cgroup/system.slice
        V2 /sys/fs/cgroup
        ");
        let container = "24 1 0:22 /docker/abc /sys/fs/cgroup/with\\040blank ro - cgroup cgroup rw,memory\n";
        insta::assert_snapshot!(told(container, "4:memory:/docker/abc\n"), @"V1 /sys/fs/cgroup/with blank");
        insta::assert_snapshot!(told(container, "4:memory:/../..\n"), @"V1 /sys/fs/cgroup/with blank");
        insta::assert_snapshot!(told("24 1 0:22 / / rw - ext4 /dev/vda rw\nnonsense\n", "0::/\n"), @"");
    }
}

//! Every header argument by name: what it means to a run.

use crate::org::nearest;

/// What a header argument means to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// One of ours, built.
    Borges(Borges),
    /// Babel's: decides whether the block runs; read by the verdict.
    Verdict,
    /// Babel's: changes what is shown or exported, not what runs.
    Shown,
    /// Known, and not built yet; harmless only with these values.
    Unbuilt {
        /// Values that ask for nothing.
        harmless: &'static [&'static str],
    },
    /// Nobody's.
    Unknown,
}

/// Header arguments of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Borges {
    Cpus,
    Mem,
    Disk,
    Gpus,
    Ensure,
    Retry,
    RetryOn,
    Backoff,
    Timeout,
    OnPartition,
    Priority,
    Requires,
    After,
    Before,
    Env,
    Dockerize,
    Image,
    /// Babel's key, with Babel's meaning.
    Dir,
}

impl Borges {
    /// Whether Babel has no such key, so that writing it on a block says the block is to run here.
    pub(super) fn is_ours(self) -> bool {
        self != Self::Dir
    }
}

const BORGES: [(&str, Borges); 19] = [
    (":cpu", Borges::Cpus),
    (":cpus", Borges::Cpus),
    (":mem", Borges::Mem),
    (":disk", Borges::Disk),
    (":gpus", Borges::Gpus),
    (":ensure", Borges::Ensure),
    (":retry", Borges::Retry),
    (":retry-on", Borges::RetryOn),
    (":backoff", Borges::Backoff),
    (":timeout", Borges::Timeout),
    (":on-partition", Borges::OnPartition),
    (":priority", Borges::Priority),
    (":requires", Borges::Requires),
    (":after", Borges::After),
    (":before", Borges::Before),
    (":env", Borges::Env),
    (":dockerize", Borges::Dockerize),
    (":image", Borges::Image),
    (":dir", Borges::Dir),
];

const VERDICT: [&str; 2] = [":eval", ":tangle"];

/// Keys that change no run: how results look, what is exported, how files are tangled. (`:results` and
/// `:noweb` are looked at where they are read.)
const SHOWN: [&str; 21] = [
    ":exports",
    ":wrap",
    ":colnames",
    ":rownames",
    ":hlines",
    ":sep",
    ":file-desc",
    ":file-mode",
    ":comments",
    ":padline",
    ":tangle-mode",
    ":no-expand",
    ":noweb-ref",
    ":noweb-sep",
    ":noweb-prefix",
    ":results",
    ":noweb",
    ":async",
    ":exports-inline",
    ":export",
    ":hidden",
];

/// The words of `:results`.
pub(super) const RESULTS: [&str; 23] = [
    "file", "list", "vector", "table", "scalar", "verbatim", "raw", "html", "latex", "org", "code", "pp",
    "drawer", "link", "graphics", "replace", "silent", "none", "discard", "append", "prepend", "output",
    "value",
];

/// Keys that change what runs, and are not built yet, each with the values that ask for nothing.
const UNBUILT: [(&str, &[&str]); 40] = [
    (":var", &[]),
    (":session", &["none"]),
    (":cache", &["no"]),
    (":stdin", &[]),
    (":cmdline", &[]),
    (":prologue", &[]),
    (":epilogue", &[]),
    (":shebang", &[]),
    (":post", &[]),
    (":file", &[]),
    (":file-ext", &[]),
    (":output-dir", &[]),
    (":mkdirp", &["no", "nil"]),
    (":instances", &["1"]),
    (":procs", &["1"]),
    (":each", &[]),
    (":expose", &[]),
    (":constraint", &[]),
    (":containerizer", &[]),
    (":uri", &[]),
    (":python", &[]),
    (":ruby", &[]),
    (":perl", &[]),
    (":cmd", &[]),
    (":return", &[]),
    (":preamble", &[]),
    (":in-file", &[]),
    (":compiler", &[]),
    (":flags", &[]),
    (":libs", &[]),
    (":includes", &[]),
    (":main", &[]),
    (":defines", &[]),
    (":engine", &[]),
    (":db", &[]),
    (":dbhost", &[]),
    (":dbuser", &[]),
    (":dbpassword", &[]),
    (":database", &[]),
    (":url", &[]),
];

/// What `key`, as written with its colon, means.
pub(super) fn key(key: &str) -> Key {
    if let Some(&(_, borges)) = BORGES.iter().find(|(name, _)| *name == key) {
        Key::Borges(borges)
    } else if VERDICT.contains(&key) {
        Key::Verdict
    } else if SHOWN.contains(&key) {
        Key::Shown
    } else if let Some(&(_, harmless)) = UNBUILT.iter().find(|(name, _)| *name == key) {
        Key::Unbuilt { harmless }
    } else {
        Key::Unknown
    }
}

/// The key that `unknown` was most likely meant to be.
pub(super) fn meant(unknown: &str) -> Option<&'static str> {
    let known = BORGES
        .iter()
        .map(|&(name, _)| name)
        .chain(VERDICT)
        .chain(SHOWN)
        .chain(UNBUILT.iter().map(|&(name, _)| name));
    nearest(unknown, known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_stands_in_two_tables() {
        let mut names: Vec<_> = BORGES.iter().map(|&(name, _)| name).chain(VERDICT).chain(SHOWN).collect();
        names.extend(UNBUILT.iter().map(|&(name, _)| name));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}

//! Every header argument by name: what it means to a run.

use borges_org::suggest;

/// What a header argument means to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// One of ours, built.
    Borges(Borges),
    /// Babel's: decides whether the block runs; read by the verdict.
    Eligibility,
    /// Babel's: how results look, what is exported; and what is read elsewhere.
    ResultFormat,
    /// Babel's: what goes into a block, and how it is run.
    Babel,
    /// Known, and not built yet; harmless only with these values.
    Unsupported {
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
    Expose,
    Constraint,
    Instances,
    /// What it is given is read with the variables.
    Each,
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

const BORGES: [(&str, Borges); 24] = [
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
    (":expose", Borges::Expose),
    (":constraint", Borges::Constraint),
    (":instances", Borges::Instances),
    (":procs", Borges::Instances),
    (":each", Borges::Each),
    (":dockerize", Borges::Dockerize),
    (":image", Borges::Image),
    (":dir", Borges::Dir),
];

const VERDICT: [&str; 2] = [":eval", ":tangle"];

/// Keys of Babel that say how results look, what is exported, how code is put together. (They are read where they are
/// needed; Lisp in them is left alone.)
const SHOWN: &[&str] = &[
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
    ":cache",
];

/// Keys of Babel that say what goes into a block, how it is run, what it yields; `:var`'s Lisp is looked at where
/// variables are.
const BABEL: &[&str] = &[
    ":stdin",
    ":cmdline",
    ":prologue",
    ":epilogue",
    ":shebang",
    ":mkdirp",
    ":hline-string",
    ":separator",
    ":file",
    ":file-ext",
    ":output-dir",
    ":python",
    ":ruby",
    ":perl",
    ":lua",
    ":cmd",
    ":cmd-line",
    ":in-file",
    ":return",
    ":preamble",
    ":compiler",
    ":flags",
    ":libs",
    ":includes",
    ":namespaces",
    ":imports",
    ":main",
    ":defines",
    ":db",
    ":header",
    ":echo",
    ":bail",
    ":csv",
    ":column",
    ":html",
    ":line",
    ":list",
    ":nullvalue",
    ":lexical",
    ":width",
    ":height",
    ":bg",
    ":units",
    ":pointsize",
    ":antialias",
    ":quality",
    ":compression",
    ":res",
    ":type",
    ":family",
    ":title",
    ":fonts",
    ":version",
    ":paper",
    ":encoding",
    ":pagecentre",
    ":colormodel",
    ":horizontal",
];

/// The words of `:results`.
pub(super) const RESULTS: [&str; 23] = [
    "file", "list", "vector", "table", "scalar", "verbatim", "raw", "html", "latex", "org", "code", "pp",
    "drawer", "link", "graphics", "replace", "silent", "none", "discard", "append", "prepend", "output",
    "value",
];

/// Keys that change what runs, and are not built yet, each with the values that ask for nothing.
const UNBUILT: [(&str, &[&str]); 7] = [
    (":session", &["none"]),
    (":containerizer", &[]),
    (":uri", &[]),
    (":engine", &[]),
    (":dbhost", &[]),
    (":database", &[]),
    (":url", &[]),
];

/// What `key`, as written with its colon, means.
pub(super) fn key(key: &str) -> Key {
    if let Some(&(_, borges)) = BORGES.iter().find(|(name, _)| *name == key) {
        Key::Borges(borges)
    } else if VERDICT.contains(&key) {
        Key::Eligibility
    } else if SHOWN.contains(&key) || matches!(key, ":var" | ":post") {
        Key::ResultFormat
    } else if BABEL.contains(&key) {
        Key::Babel
    } else if let Some(&(_, harmless)) = UNBUILT.iter().find(|(name, _)| *name == key) {
        Key::Unsupported { harmless }
    } else {
        Key::Unknown
    }
}

/// Whether Babel has no such key, and only a cluster does.
pub(super) fn is_borges_key(text: &str) -> bool {
    matches!(key(text), Key::Borges(key) if key.is_ours())
}

/// The key that `unknown` was most likely meant to be.
pub(super) fn suggest_key(unknown: &str) -> Option<&'static str> {
    let known = BORGES
        .iter()
        .map(|&(name, _)| name)
        .chain(VERDICT)
        .chain(SHOWN.iter().copied())
        .chain([":var", ":post"])
        .chain(BABEL.iter().copied())
        .chain(UNBUILT.iter().map(|&(name, _)| name));
    suggest(unknown, known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_stands_in_two_tables() {
        let mut names: Vec<_> =
            BORGES.iter().map(|&(name, _)| name).chain(VERDICT).chain(SHOWN.iter().copied()).collect();
        names.extend(BABEL);
        names.extend(UNBUILT.iter().map(|&(name, _)| name));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}

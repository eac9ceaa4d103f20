//! The table of header arguments: Borges' own, Babel's, and unsupported ones.

use borges_org::suggest;

/// What a header argument means to a run: Borges' own, Babel's, unsupported or unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// A key of Borges.
    Borges(BorgesKey),
    /// Babel's: decides whether the block runs; read by `eligibility`.
    Eligibility,
    /// Babel's: how results look, what is exported; and what is read elsewhere.
    ResultFormat,
    /// Babel's: what goes into a block, and how it is run.
    Babel,
    /// Known, but not supported; accepted only with these values.
    Unsupported {
        /// Values that ask for nothing.
        harmless: &'static [&'static str],
    },
    /// Not a known key.
    Unknown,
}

/// Header arguments of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BorgesKey {
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

impl BorgesKey {
    /// Whether Babel has no such key, so that writing it on a block says the block is to run here.
    pub(super) fn is_extension(self) -> bool {
        self != Self::Dir
    }
}

const BORGES_KEYS: [(&str, BorgesKey); 24] = [
    (":cpu", BorgesKey::Cpus),
    (":cpus", BorgesKey::Cpus),
    (":mem", BorgesKey::Mem),
    (":disk", BorgesKey::Disk),
    (":gpus", BorgesKey::Gpus),
    (":ensure", BorgesKey::Ensure),
    (":retry", BorgesKey::Retry),
    (":retry-on", BorgesKey::RetryOn),
    (":backoff", BorgesKey::Backoff),
    (":timeout", BorgesKey::Timeout),
    (":on-partition", BorgesKey::OnPartition),
    (":priority", BorgesKey::Priority),
    (":requires", BorgesKey::Requires),
    (":after", BorgesKey::After),
    (":before", BorgesKey::Before),
    (":env", BorgesKey::Env),
    (":expose", BorgesKey::Expose),
    (":constraint", BorgesKey::Constraint),
    (":instances", BorgesKey::Instances),
    (":procs", BorgesKey::Instances),
    (":each", BorgesKey::Each),
    (":dockerize", BorgesKey::Dockerize),
    (":image", BorgesKey::Image),
    (":dir", BorgesKey::Dir),
];

const ELIGIBILITY_KEYS: [&str; 2] = [":eval", ":tangle"];

/// Keys of Babel that say how results look, what is exported, how code is put together. (They are read where they are
/// needed; Lisp in them is left alone.)
const RESULT_FORMAT_KEYS: &[&str] = &[
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
const BABEL_KEYS: &[&str] = &[
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
pub(super) const RESULTS_WORDS: [&str; 23] = [
    "file", "list", "vector", "table", "scalar", "verbatim", "raw", "html", "latex", "org", "code", "pp",
    "drawer", "link", "graphics", "replace", "silent", "none", "discard", "append", "prepend", "output",
    "value",
];

/// Unsupported keys that change what runs, each with the values that are accepted.
const UNSUPPORTED_KEYS: [(&str, &[&str]); 7] = [
    (":session", &["none"]),
    (":containerizer", &[]),
    (":uri", &[]),
    (":engine", &[]),
    (":dbhost", &[]),
    (":database", &[]),
    (":url", &[]),
];

/// The kind of `key`, as written with its colon.
pub(super) fn classify(key: &str) -> KeyKind {
    if let Some(&(_, key)) = BORGES_KEYS.iter().find(|(name, _)| *name == key) {
        KeyKind::Borges(key)
    } else if ELIGIBILITY_KEYS.contains(&key) {
        KeyKind::Eligibility
    } else if RESULT_FORMAT_KEYS.contains(&key) || matches!(key, ":var" | ":post") {
        KeyKind::ResultFormat
    } else if BABEL_KEYS.contains(&key) {
        KeyKind::Babel
    } else if let Some(&(_, harmless)) = UNSUPPORTED_KEYS.iter().find(|(name, _)| *name == key) {
        KeyKind::Unsupported { harmless }
    } else {
        KeyKind::Unknown
    }
}

/// Whether Babel has no such key, and only a cluster does.
pub(super) fn is_borges_key(text: &str) -> bool {
    matches!(classify(text), KeyKind::Borges(key) if key.is_extension())
}

/// The key that `unknown` was most likely meant to be.
pub(super) fn suggest_key(unknown: &str) -> Option<&'static str> {
    let all_keys = BORGES_KEYS
        .iter()
        .map(|&(name, _)| name)
        .chain(ELIGIBILITY_KEYS)
        .chain(RESULT_FORMAT_KEYS.iter().copied())
        .chain([":var", ":post"])
        .chain(BABEL_KEYS.iter().copied())
        .chain(UNSUPPORTED_KEYS.iter().map(|&(name, _)| name));
    suggest(unknown, all_keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_in_one_table_only() {
        let mut names: Vec<_> = BORGES_KEYS
            .iter()
            .map(|&(name, _)| name)
            .chain(ELIGIBILITY_KEYS)
            .chain(RESULT_FORMAT_KEYS.iter().copied())
            .collect();
        names.extend(BABEL_KEYS);
        names.extend(UNSUPPORTED_KEYS.iter().map(|&(name, _)| name));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}

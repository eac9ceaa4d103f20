//! The fingerprint of a call's header arguments: calls of a block with equal fingerprints run once.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use borges_org::Param;

/// Header arguments that change nothing of what a block does, but only what becomes of its result.
const RESULT_ONLY_KEYS: [&str; 4] = [":exports", ":wrap", ":cache", ":file-desc"];
/// Such words of `:results`.
const RESULT_ONLY_WORDS: [&str; 5] = ["replace", "silent", "none", "append", "prepend"];

/// What of header arguments makes one run of a block differ from another. Their order counts for variables alone: what
/// is merged once more stands in another.
pub(super) fn fingerprint(params: &[Param]) -> String {
    let mut lines: Vec<(bool, String)> = Vec::with_capacity(params.len());
    for param in params.iter().filter(|param| !RESULT_ONLY_KEYS.contains(&param.key.as_str())) {
        let mut line = format!("{} {}\n", param.key, param.text);
        if param.key == ":results" {
            let words: BTreeSet<&str> =
                param.text.split_whitespace().filter(|word| !RESULT_ONLY_WORDS.contains(word)).collect();
            if words.is_empty() {
                continue;
            }
            line = words.into_iter().fold(":results".to_owned(), |line, word| line + " " + word) + "\n";
        }
        lines.push((param.key == ":var", line));
    }
    lines.sort_by(|(is_variable, line), (is_other, other)| {
        is_variable.cmp(is_other).then_with(|| if *is_variable { Ordering::Equal } else { line.cmp(other) })
    });
    lines.into_iter().map(|(_, line)| line).collect()
}

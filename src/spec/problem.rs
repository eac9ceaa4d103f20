//! What is wrong with a document, where, and what to write instead.

use std::fmt;

use crate::org::Position;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing of the document is launched.
    Error,
    /// It runs; a person should know.
    Warning,
}

/// Something wrong, or odd, in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where it stands.
    pub at: Position,
    /// In the setupfile rather than in the document.
    pub in_setupfile: bool,
    /// What it is: a fragment in lower case.
    pub text: String,
    /// What to write instead: a sentence; may be empty.
    pub help: String,
}

impl Problem {
    /// Something wrong.
    pub fn error(at: Position, text: impl Into<String>, help: impl Into<String>) -> Self {
        Self { severity: Severity::Error, at, in_setupfile: false, text: text.into(), help: help.into() }
    }

    /// Something odd.
    pub fn warning(at: Position, text: impl Into<String>, help: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(at, text, help) }
    }
}

/// `14:3: error: text`; the caller knows the file's name.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Position { line, column } = self.at;
        match column {
            0 => write!(f, "{line}: {severity}: {}", self.text),
            _ => write!(f, "{line}:{column}: {severity}: {}", self.text),
        }
    }
}

/// The candidate that `word` was most likely meant to be: at most two letters off, and fewer than half.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    candidates
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= 2)
        .map(|candidate| (distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|&(distance, _)| distance <= 2 && distance * 2 < length)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let keys = [":cpu", ":mem", ":requires", ":retry", ":results"];
        for (word, meant) in [
            (":cpuu", Some(":cpu")),
            (":CPU", Some(":cpu")),
            (":meme", Some(":mem")),
            (":require", Some(":requires")),
            (":rety", Some(":retry")),
            (":reuslts", Some(":results")),
            (":wibble", None),
            (":x", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
    }
}

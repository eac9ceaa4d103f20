//! The documents the benchmarks work on, the same at every run.

use std::fmt::Write as _;

/// As many blocks `true`, without names.
pub(crate) fn blocks(count: usize) -> String {
    "#+begin_src sh\ntrue\n#+end_src\n".repeat(count)
}

/// As many blocks that say `hi`.
pub(crate) fn echoes(count: usize) -> String {
    "#+begin_src sh\necho hi\n#+end_src\n".repeat(count)
}

/// As many blocks for which no machine is large enough.
pub(crate) fn waiting(count: usize) -> String {
    format!("#+property: header-args :cpu 9999\n{}", blocks(count))
}

/// At least so many bytes of Org as people write it: a block with its arguments in each section, between
/// headlines, drawers, lists, tables and paragraphs.
pub(crate) fn prose(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 4096);
    text.push_str("#+TITLE: A long document\n#+PROPERTY: header-args:sh :mem 64\n\n");
    // A fixed seed: chance would make each run another benchmark.
    let mut chance = fastrand::Rng::with_seed(8);
    let mut number = 0;
    while text.len() < bytes {
        section(&mut text, number, &mut chance);
        number += 1;
    }
    text
}

fn section(text: &mut String, number: usize, chance: &mut fastrand::Rng) {
    let stars = "*".repeat(chance.usize(1..4));
    let _ = writeln!(text, "{stars} TODO [#A] Section {number} :tag:work:");
    if chance.u8(..) < 64 {
        let _ = writeln!(text, ":PROPERTIES:\n:CUSTOM_ID: section-{number}\n:header-args: :cpu 0.5\n:END:");
    }
    for _ in 0..chance.usize(1..4) {
        for _ in 0..chance.usize(3..9) {
            for _ in 0..chance.usize(8..14) {
                text.push_str(chance.choice(WORDS).unwrap_or(&"word"));
                text.push(' ');
            }
            text.push('\n');
        }
        text.push('\n');
    }
    if chance.bool() {
        for item in 1..chance.usize(3..6) {
            let _ = writeln!(text, "- [ ] item {item} with =code= and a [[https://example.org][link]]");
        }
        text.push('\n');
    }
    if chance.u8(..) < 64 {
        text.push_str("| name  | value |\n|-------+-------|\n");
        for row in 1..chance.usize(3..8) {
            let _ = writeln!(text, "| row {row} | {:5} |", chance.u16(..));
        }
        text.push('\n');
    }
    block(text, number, chance);
}

fn block(text: &mut String, number: usize, chance: &mut fastrand::Rng) {
    let language = chance.choice(["sh", "bash", "python", "emacs-lisp", "ruby"]).unwrap_or("sh");
    if chance.bool() {
        let _ = writeln!(text, "#+NAME: block-{number}");
    }
    if chance.u8(..) < 64 {
        text.push_str("#+HEADER: :mem 128 :retry 2\n");
    }
    let _ = writeln!(text, "#+BEGIN_SRC {language} :results output :cpu 0.5 :timeout 10m");
    for line in 0..chance.usize(3..16) {
        let _ = writeln!(text, "  echo \"line {line}\" | grep -c {} > /dev/null", chance.u32(..));
    }
    if chance.u8(..) < 16 {
        text.push_str(",* a line that is no headline\n,#+begin_src none\n");
    }
    text.push_str("#+END_SRC\n\n");
}

const WORDS: &[&str] = &[
    "the",
    "library",
    "is",
    "a",
    "sphere",
    "whose",
    "exact",
    "centre",
    "any",
    "hexagon",
    "and",
    "its",
    "circumference",
    "unreachable",
    "*bold*",
    "/slanted/",
    "=verbatim=",
    "galleries",
    "infinite,",
    "perhaps.",
];

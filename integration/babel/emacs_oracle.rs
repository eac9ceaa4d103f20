//! Emacs as the oracle: documents generated from a seed become the same bytes in Emacs and in Borges.
//!
//! Borges agrees with Org 9.8; Debian's Emacs has Org 9.5. Where these differ, the document is in [`OLDER`], and the test
//! asserts the difference. `ORG_LISP=org-9.8/lisp` selects another Org, with which none of that list may differ.
//! `BABEL_SEED` and `BABEL_DOCUMENTS` select the generated documents.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{generate, lines, made};

/// Documents that become different in Org 9.5 and 9.8.
const OLDER: &[(&str, &str)] = &[
    ("what a failing block printed is kept", "#+begin_src sh\necho out; exit 1\n#+end_src\n"),
    ("an empty list is nothing", "#+begin_src python\nreturn []\n#+end_src\n"),
    ("`discard` is a word of `:results`", "#+begin_src sh :results discard\necho x\n#+end_src\n"),
    ("`:wrap no` wraps nothing", "#+begin_src sh :wrap no\necho x\n#+end_src\n"),
    ("a dictionary stays one", "#+begin_src python\nreturn {\"a\": 1}\n#+end_src\n"),
    ("values of Lua are parted by commas", "#+begin_src lua\nreturn 1, 2\n#+end_src\n"),
    ("items of Perl are no lists", "#+begin_src perl :results list\n[\"p\", \"q\"];\n#+end_src\n"),
    ("quotes within a text are text", "#+begin_src sh\necho 'say \"a b\" twice'\n#+end_src\n"),
    ("fish has variables", "#+begin_src fish :var x=\"v\"\necho $x\n#+end_src\n"),
    ("awk has a prologue", "#+begin_src awk :prologue \"BEGIN { print 1 }\"\nBEGIN { print 2 }\n#+end_src\n"),
    ("a number is a command line too", "#+begin_src sh :cmdline 5\necho $1\n#+end_src\n"),
    ("a list is its items", "#+name: l\n- a\n- b\n\n#+begin_src python :var x=l\nreturn x\n#+end_src\n"),
    (
        "rows of a list are items of several lines",
        "#+begin_src sh :results list\necho a b\necho\n#+end_src\n",
    ),
    ("a list of R is a column", "#+name: t\n| 1 | 2 |\n\n#+begin_src R :var x=t[0]\nx\n#+end_src\n"),
    ("sqlite needs no file", "#+begin_src sqlite\nselect 1, 2;\n#+end_src\n"),
];

/// The documents that Emacs has run.
pub(super) struct Answers {
    /// The version of Org.
    pub(super) org: String,
    pub(super) documents: Vec<Answer>,
    /// The standard error of Emacs.
    pub(super) said: String,
}

/// A document that Emacs has run.
pub(super) struct Answer {
    pub(super) document: Vec<u8>,
    /// The files beside it, by name.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// The blocks that ended in an error of Emacs.
    pub(super) stopped: Vec<usize>,
}

/// The first seed and the number of generated documents.
pub(super) fn seeds(count: u64) -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    // A fixed seed, because a failure must not depend on the day.
    (number("BABEL_SEED").unwrap_or(1), number("BABEL_DOCUMENTS").unwrap_or(count))
}

/// Clears the environment of a command, except for `PATH`, and sets its home.
pub(super) fn bare<'a>(command: &'a mut Command, home: &Path) -> &'a mut Command {
    command
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| name == "PATH"))
        .env("HOME", home)
        .envs([("LANG", "C.UTF-8"), ("TZ", "UTC")])
}

/// The files beside a document, by name.
pub(super) fn beside(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
        .collect()
}

/// Runs documents in Emacs, each in a directory of its own: `run-documents` runs their blocks, `run-buffers` also calls and
/// inline code.
pub(super) fn emacs(sources: &[String], function: &str) -> Answers {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..sources.len())
        .map(|n| {
            let directory = folder.path().join(n.to_string());
            fs::create_dir(&directory).unwrap();
            let path = directory.join("made.org");
            fs::write(&path, &sources[n]).unwrap();
            path
        })
        .collect();
    let output = bare(&mut Command::new("emacs"), folder.path())
        .args(["-Q", "--batch"])
        .args(support::org_lisp().iter().flat_map(|lisp| ["-L".as_ref(), lisp.as_os_str()]))
        .arg("-l")
        .arg(support::repository("integration/babel/emacs.el"))
        .args(["-f", function])
        .args(&paths)
        .output()
        .expect("`emacs` is missing: apt-get install emacs-nox");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A block may print to the standard output of Emacs; the answer is the last line.
    let said = output.stdout.split(|&byte| byte == b'\n').rfind(|line| line.starts_with(b"{")).unwrap();
    let said: Value = serde_json::from_slice(said).unwrap();
    let errors: Vec<Vec<usize>> = serde_json::from_value(said["errors"].clone()).unwrap();
    Answers {
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
        org: said["org"].as_str().unwrap().to_owned(),
        documents: paths
            .iter()
            .zip(errors)
            .map(|(path, stopped)| Answer {
                document: fs::read(path).unwrap(),
                files: beside(path.parent().unwrap()),
                stopped,
            })
            .collect(),
    }
}

/// The document that Borges has run.
fn borges(source: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    made(source.as_bytes(), directory.path())
}

/// The first lines that differ, below the block to which they belong.
pub(super) fn shown(emacs: &[u8], borges: &[u8]) -> String {
    let (emacs, borges) = (lines(emacs), lines(borges));
    let same = emacs.iter().zip(&borges).take_while(|(emacs, borges)| emacs == borges).count();
    let begin = emacs[..same].iter().rposition(|line| line.starts_with("#+begin_src")).unwrap_or(0);
    let part = |lines: &[String], from: usize| -> String {
        lines.iter().skip(from).take(6).map(|line| format!("      {line}\n")).collect()
    };
    format!(
        "{}    Emacs\n{}    Borges\n{}",
        part(&emacs[..same], begin),
        part(&emacs, same),
        part(&borges, same)
    )
}

#[test]
#[ignore = "needs Emacs"]
fn generated_blocks_give_the_results_of_emacs() {
    let (first, count) = seeds(12);
    println!("documents of the seeds {first} to {}", first + count - 1);
    let sources: Vec<String> = (first..first + count).map(generate::document).collect();
    let answers = emacs(&sources, "run-documents");
    let mut wrong = String::new();
    for (seed, (source, Answer { document: expected, stopped, .. })) in
        (first..).zip(sources.iter().zip(&answers.documents))
    {
        if !stopped.is_empty() {
            wrong += &format!("seed {seed}: Emacs stops at the blocks {stopped:?}, counted from 0\n");
            continue;
        }
        let got = borges(source);
        if got != *expected {
            wrong += &format!("seed {seed}\n{}", shown(expected, &got));
        }
    }
    assert!(wrong.is_empty(), "Org {}: documents differ\n{wrong}", answers.org);
}

#[test]
#[ignore = "needs Emacs"]
fn changes_since_org_9_5_are_followed() {
    let sources: Vec<String> = OLDER.iter().map(|(_, source)| (*source).to_owned()).collect();
    let answers = emacs(&sources, "run-documents");
    let older = answers.org.starts_with("9.5");
    for ((name, source), Answer { document: emacs, .. }) in OLDER.iter().zip(&answers.documents) {
        let got = borges(source);
        assert_eq!(got != *emacs, older, "Org {}, {name}:\n{}", answers.org, shown(emacs, &got));
    }
}

/// Emacs replaces the note of a failure by the next result.
#[test]
#[ignore = "needs Emacs"]
fn emacs_replaces_failure_notes() {
    let note = ":results:\n#+attr_borges: :state failed :exit 3\n";
    let block = |line: &str| format!("#+begin_src sh {line}\necho x\n#+end_src\n");
    let noted = |line: &str, keyword: &str, old: &str| {
        format!("{}\n{keyword}\n{note}{old}:end:\n\nText\n", block(line))
    };
    let sources = [
        noted("", "#+RESULTS:", ""),
        noted("", "#+RESULTS:", ": half\n: of it\n"),
        noted(":results output file :file e.txt", "#+RESULTS:", "[[file:e.txt]]\n"),
        noted(":cache yes", "#+RESULTS:", "#+begin_example\nhalf\n#+end_example\n"),
        noted(":cache yes", "#+RESULTS[0123456789abcdef]:", "| a | b |\n"),
        format!(
            "- i\n  {}",
            noted("", "#+RESULTS:", ": half\n").trim_end().replace('\n', "\n  ").replace("  \n", "\n") + "\n"
        ),
    ];
    let never = |source: &String| {
        let (before, rest) = source.split_once("\n\n").unwrap();
        let (_, text) = rest.split_once(":end:\n").unwrap();
        format!("{before}\n{text}")
    };
    let (noted, plain) =
        (emacs(&sources, "run-documents"), emacs(&sources.each_ref().map(never), "run-documents"));
    for (source, (noted, plain)) in sources.iter().zip(noted.documents.iter().zip(&plain.documents)) {
        assert_eq!(
            String::from_utf8_lossy(&noted.document),
            String::from_utf8_lossy(&plain.document),
            "{source}"
        );
    }
}

#[test]
#[ignore = "needs Emacs"]
fn listed_differences_still_differ() {
    let list = include_str!("DIFFERENCES.org");
    let entries: Vec<(&str, String)> = list.split("\n* ").skip(1).map(entry).collect();
    assert!(!entries.is_empty());
    let sources: Vec<String> = entries.iter().map(|(_, source)| source.clone()).collect();
    let answers = emacs(&sources, "run-documents");
    for ((title, source), Answer { document: emacs, .. }) in entries.iter().zip(&answers.documents) {
        let got = borges(source);
        assert_ne!(&got, emacs, "{title}: no difference");
    }
}

/// The title and the document of an entry. Its example has no commas then; `␄` is an end without a newline.
fn entry(section: &'static str) -> (&'static str, String) {
    let title = section.lines().next().unwrap();
    let example = section.split_once("#+begin_example\n").unwrap().1.split_once("#+end_example").unwrap().0;
    let document: String =
        example.lines().map(|line| format!("{}\n", line.strip_prefix(',').unwrap_or(line))).collect();
    (title, document.replace("␄\n", ""))
}

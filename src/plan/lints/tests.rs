//! Tests of the lints, and of the messages for typical mistakes.

use std::fmt::Write as _;

use super::super::unclosed;
use super::*;
use crate::{PlanOptions, plan};
use borges_org as org;

fn warning_count(source: &str) -> usize {
    let mut diagnostics = Vec::new();
    let document = org::parse(source.as_bytes(), &[]);
    unclosed::nested_begin_lines(&document, &org::SourceMap::default(), &mut diagnostics);
    lint(source.as_bytes(), &document, &mut diagnostics);
    diagnostics.len()
}

#[test]
fn correct_documents_cause_no_warnings() {
    for source in [
        "#+name: a\n#+header: :cpu 1\n#+begin_src sh\n#+end_src\n",
        "#+begin_quote\n#+end_quote\n#+begin_sidebar\n#+end_sidebar\n",
        "#+begin_src sh\n#+begin_scr\n#+name x\n#+end_src\n",
        "#+begin_src org\n#+begin_src sh\n#+end_src\n",
        "see #+begin_src sh\n- see #+begin_src\n",
        "#+title: x\n#+named x\n#+options toc:nil\n",
        "#+name: t\n| a |\n",
    ] {
        assert_eq!(warning_count(source), 0, "{source}");
    }
}

#[test]
fn each_typo_causes_one_warning() {
    for source in [
        "#+begin_scr sh\n#+end_scr\n",
        "#+Name a\n#+begin_src sh\n#+end_src\n",
        "1. #+begin_src sh\n   #+end_src\n",
        "#+begin_src sh\n#+end_src\n#+name: a\n",
        "#+begin_src sh\n\n#+begin_src sh\n#+end_src\n",
    ] {
        assert_eq!(warning_count(source), 1, "{source}");
    }
}

/// What a person sees of a document, errors first; and what would be skipped.
fn rendered(source: &str) -> String {
    let source = source.as_bytes();
    match plan(source, &org::parse(source, &[]), &PlanOptions::default()) {
        Ok(plan) => plan.warnings.iter().map(|warning| warning.render("a.org", source)).collect(),
        Err(diagnostics) => diagnostics.iter().map(|diagnostic| diagnostic.render("a.org", source)).collect(),
    }
}

#[test]
fn typical_mistakes_get_suggestions() {
    let block = |first: &str| format!("{first}\ntrue\n#+end_src\n");
    let mistakes = [
        ("a block that is not closed", "#+begin_src sh\ntrue\n".to_owned()),
        ("`end_scr`", "#+begin_src sh\ntrue\n#+end_scr\n".to_owned()),
        (
            "`end_scr`, and another block",
            format!("#+begin_src sh\ntrue\n#+end_scr\n\n{}", block("#+begin_src sh")),
        ),
        ("`:cpu` without a value", block("#+begin_src sh :cpu :mem 64")),
        ("a tab after `#+begin_src`", block("#+begin_src\tsh :cpu 1")),
        ("a block that is not there", block("#+begin_src sh :requires fetch")),
        ("`begin_scr`", "#+begin_scr sh\ntrue\n#+end_scr\n".to_owned()),
        ("a name after the block", block("#+begin_src sh") + "#+name: late\n"),
        ("a name, then a blank line", "#+name: early\n\n".to_owned() + &block("#+begin_src sh")),
        ("no colon", block("#+begin_src sh cpu 2")),
        ("a blank after the colon", block("#+begin_src sh : cpu 2")),
        ("no blank after the key", block("#+begin_src sh :cpus2")),
        ("a header line without a colon", block("#+header :cpu 2\n#+begin_src sh")),
        ("no language", block("#+begin_src")),
        ("a block on the line of a list item", block("- #+begin_src sh")),
        ("a heading inside a block", "#+begin_src sh\ncat <<EOF\n* one\nEOF\n#+end_src\n".to_owned()),
        ("a language in capitals", block("#+begin_src Python")),
        ("a block that requires itself", block("#+name: a\n#+begin_src sh :requires a")),
        ("a quote that is not closed", block("#+begin_src sh :dir \"my data :cpu 1")),
        (
            "a blank before the language",
            format!("#+property: header-args sh :cpu 2\n{}", block("#+begin_src sh")),
        ),
        ("`ouput`", block("#+begin_src sh :results ouput")),
        ("a run mode without a colon", format!("#+runmode sequential\n{}", block("#+begin_src sh"))),
        ("Lisp", block("#+begin_src sh :dir (getenv \"HOME\")")),
        (
            "a reference to nothing",
            block("#+name: setup\n#+begin_src sh") + "#+begin_src sh :noweb yes\n<<setpu>>\n#+end_src\n",
        ),
    ];
    let mut shown = String::new();
    for (mistake, source) in mistakes {
        let rendered = rendered(&source);
        assert!(rendered.lines().any(|line| line.trim_start().starts_with('^')), "{mistake}: {rendered}");
        let _ = writeln!(shown, "## {mistake}\n\n{rendered}");
    }
    insta::assert_snapshot!(shown);
}

/// Lines that may go wrong, and pieces of them.
const PIECES: [&str; 40] = [
    "#+begin_src",
    " sh",
    "\tsh",
    " conf",
    " Python",
    "\n",
    "\n\n",
    "#+end_src\n",
    "#+end_scr\n",
    "#+begin_scr",
    "#+name: a\n",
    "#+name a\n",
    "#+header: ",
    "#+header ",
    "#+property: header-args ",
    "#+runmode: sequential\n",
    "#+setupfile: x\n",
    "#+include: \"x.org\"\n",
    " :cpu 1",
    " :cpu",
    " cpu 2",
    " : mem 1",
    " :requires a",
    " :after b",
    " :noweb yes",
    " :noweb-ref b",
    " :dir (f)",
    " :env \"A=1",
    " :results ouput",
    " :eval query",
    " :tangle ../x",
    "<<a>>",
    "<<b()>>",
    "* ",
    "- ",
    " ,* x\n",
    "(ref:x)",
    "\r",
    "\0",
    "\u{e9}",
];

proptest::proptest! {
    /// The twin of `integration/fuzz/fuzz_targets/plan.rs`.
    #[test]
    fn any_document_yields_a_plan_or_errors(
        pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..60),
    ) {
        let source = pieces.concat();
        let document = org::parse(source.as_bytes(), &[]);
        let diagnostics = match plan(source.as_bytes(), &document, &PlanOptions::default()) {
            Ok(plan) => {
                proptest::prop_assert!(plan.tasks.len() + plan.skipped.len() == document.blocks.len());
                plan.warnings
            }
            Err(diagnostics) => {
                proptest::prop_assert!(diagnostics.iter().any(|p| p.severity == crate::Severity::Error));
                diagnostics
            }
        };
        let lines = u32::try_from(source.split('\n').count()).unwrap();
        for diagnostic in diagnostics {
            proptest::prop_assert!((1..=lines).contains(&diagnostic.at.line), "{diagnostic}");
            proptest::prop_assert!(!diagnostic.render("a.org", source.as_bytes()).is_empty());
        }
    }
}

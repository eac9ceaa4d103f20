//! Lines that Org reads as text, or as something else, though most likely a block or a keyword was meant.

use crate::org::{Block, Document, Position, nearest};

use super::problem::Problem;

/// Keywords that mean something here, and nothing without their colon.
const KEYWORDS: [&str; 8] =
    ["name", "header", "headers", "property", "runmode", "borges_lang", "call", "setupfile"];

/// A begin line without an end is text for Emacs; here somebody meant code to run.
pub(super) fn unclosed(source: &[u8], document: &Document, problems: &mut Vec<Problem>) {
    let mut open = document.look_alikes.iter().filter(|found| found.within == "paragraph").peekable();
    if open.peek().is_none() {
        return;
    }
    let lines: Vec<&[u8]> = source.split(|&byte| byte == b'\n').collect();
    for (place, look_alike) in open.enumerate() {
        // At most twenty are shown; the others need no search of their own.
        let help = if place < 20 { ending(&lines, look_alike.line) } else { None };
        problems.push(Problem::error(
            at(&lines, look_alike.line),
            "this `#+begin_src` has no `#+end_src`",
            help.unwrap_or_else(|| "Close it with a line `#+end_src` before the next heading.".to_owned()),
        ));
    }
}

/// What stands where the end of the block that begins on line `begin` should be.
fn ending(lines: &[&[u8]], begin: u32) -> Option<String> {
    let mut heading = None;
    for (number, line) in (begin.saturating_add(1)..).zip(lines.iter().skip(begin as usize)) {
        let text = trimmed(line);
        if is_heading(line) {
            heading = heading.or(Some(number));
        } else if let Some(word) = keyword(text) {
            let word = word.to_lowercase();
            if word == "begin_src" {
                return None;
            }
            if word.starts_with("end_") && word != "end_src" && heading.is_none() {
                let near = nearest(&word, ["end_src"])?;
                return Some(format!("Line {number} says `#+{word}`: did you mean `#+{near}`?"));
            }
            if word == "end_src" {
                return heading.map(|heading| {
                    format!(
                        "Line {heading} begins with stars, which ends the block: write it with a comma, `,*`."
                    )
                });
            }
        }
    }
    None
}

/// A block that names no language is skipped, and seldom meant to be.
pub(super) fn no_language(block: &Block) -> Problem {
    let at = Position { line: block.begin_line, column: 1 };
    match &block.parameters {
        // Only after a tab can anything else be left on the line.
        Some(rest) => Problem::warning(
            at,
            "a tab stands between `#+begin_src` and the language, so the block has none",
            format!("Write a space: `#+begin_src {rest}`."),
        ),
        None => Problem::warning(
            at,
            "this block names no language, and does not run",
            "Write one after `#+begin_src`: `#+begin_src sh`.",
        ),
    }
}

/// Warns of what looks like a slip outside the blocks.
pub(super) fn slips(source: &[u8], document: &Document, problems: &mut Vec<Problem>) {
    orphans(document, problems);
    swallowed(document, problems);
    let mut blocks = document.blocks.iter().peekable();
    for (number, line) in (1..).zip(source.split(|&byte| byte == b'\n')) {
        while blocks.next_if(|block| block.end_line < number).is_some() {}
        if blocks.peek().is_some_and(|block| block.begin_line <= number) {
            continue;
        }
        let Some(hash) = memchr::memmem::find(line, b"#+") else { continue };
        let column =
            u32::try_from(String::from_utf8_lossy(&line[..hash]).chars().count() + 1).unwrap_or(u32::MAX);
        let at = Position { line: number, column };
        let Some(word) = keyword(&line[hash..]) else { continue };
        if trimmed(line).len() == line.len() - hash {
            problems.extend(misspelt(at, word, &line[hash..]));
        } else if word.eq_ignore_ascii_case("begin_src") && is_bullet(&line[..hash]) {
            problems.push(Problem::warning(
                at,
                "a block cannot begin on the line of a list item",
                "Put `#+begin_src` on the next line, indented like the item's text.",
            ));
        }
    }
}

fn misspelt(at: Position, word: &str, line: &[u8]) -> Option<Problem> {
    let small = word.to_lowercase();
    if let Some(kind) = small.strip_prefix("begin_") {
        nearest(kind, ["src"]).filter(|&near| near != kind)?;
        let text = format!("`#+{word}` begins no source block");
        return Some(Problem::warning(at, text, "Did you mean `#+begin_src`?"));
    }
    let bare = !line[2 + word.len()..].starts_with(b":");
    if bare && KEYWORDS.contains(&small.as_str()) {
        let text = format!("`#+{word}` has no colon, and no effect");
        return Some(Problem::warning(at, text, format!("Write `#+{word}:`.")));
    }
    None
}

/// Names and header lines that belong to nothing.
fn orphans(document: &Document, problems: &mut Vec<Problem>) {
    let lost = |key: &str| matches!(key, "NAME" | "HEADER" | "HEADERS");
    for keyword in
        document.keywords.iter().filter(|keyword| lost(&keyword.key) && !document.blocks.is_empty())
    {
        let small = keyword.key.to_lowercase();
        problems.push(Problem::warning(
            keyword.at,
            format!("this `#+{small}:` belongs to nothing"),
            "Put it above `#+begin_src`, with no blank line between.",
        ));
    }
}

/// A begin line in the body of another block: most likely that one was not closed.
fn swallowed(document: &Document, problems: &mut Vec<Problem>) {
    let mut blocks = document.blocks.iter().peekable();
    for look_alike in document.look_alikes.iter().filter(|found| found.within == "src-block") {
        while blocks.next_if(|block| block.end_line < look_alike.line).is_some() {}
        let Some(block) = blocks.peek() else { return };
        if block.language.as_deref().is_some_and(|language| language.eq_ignore_ascii_case("org")) {
            continue;
        }
        problems.push(Problem::warning(
            Position { line: look_alike.line, column: 1 },
            format!("this `#+begin_src` is text of the block that begins at line {}", block.begin_line),
            "Close that block first with a line `#+end_src`, or write `,#+begin_src`.",
        ));
    }
}

/// The line without blanks before it.
fn trimmed(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|&&byte| byte == b' ' || byte == b'\t').count();
    &line[blanks..]
}

/// The word after `#+`: letters and underscores.
fn keyword(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(b"#+")?;
    let length = rest.iter().take_while(|&&byte| byte.is_ascii_alphabetic() || byte == b'_').count();
    std::str::from_utf8(&rest[..length]).ok().filter(|word| !word.is_empty())
}

fn is_heading(line: &[u8]) -> bool {
    let stars = line.iter().take_while(|&&byte| byte == b'*').count();
    stars > 0 && line.get(stars) == Some(&b' ')
}

/// A bullet and nothing else.
fn is_bullet(before: &[u8]) -> bool {
    let text = trimmed(before).trim_ascii_end();
    let number = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    matches!((&text[number..], number), (b"-" | b"+", 0) | (b"." | b")", 1..))
        || text == b"*" && before.starts_with(b" ")
}

/// The first thing on a line.
fn at(lines: &[&[u8]], line: u32) -> Position {
    let blanks =
        lines.get((line as usize).saturating_sub(1)).map_or(0, |text| text.len() - trimmed(text).len());
    Position { line, column: u32::try_from(blanks + 1).unwrap_or(u32::MAX) }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::org;
    use crate::spec::{Request, plan};

    fn warned(source: &str) -> usize {
        let mut problems = Vec::new();
        slips(source.as_bytes(), &org::parse(source.as_bytes(), &[]), &mut problems);
        problems.len()
    }

    #[test]
    fn what_is_right_is_not_warned_of() {
        for source in [
            "#+name: a\n#+header: :cpu 1\n#+begin_src sh\n#+end_src\n",
            "#+begin_quote\n#+end_quote\n#+begin_sidebar\n#+end_sidebar\n",
            "#+begin_src sh\n#+begin_scr\n#+name x\n#+end_src\n",
            "#+begin_src org\n#+begin_src sh\n#+end_src\n",
            "see #+begin_src sh\n- see #+begin_src\n",
            "#+title: x\n#+named x\n#+options toc:nil\n",
            "#+name: t\n| a |\n",
        ] {
            assert_eq!(warned(source), 0, "{source}");
        }
    }

    #[test]
    fn each_slip_is_warned_of_once() {
        for source in [
            "#+begin_scr sh\n#+end_scr\n",
            "#+Name a\n#+begin_src sh\n#+end_src\n",
            "1. #+begin_src sh\n   #+end_src\n",
            "#+begin_src sh\n#+end_src\n#+name: a\n",
            "#+begin_src sh\n\n#+begin_src sh\n#+end_src\n",
        ] {
            assert_eq!(warned(source), 1, "{source}");
        }
    }

    /// What a person sees of a document, errors first; and what would be skipped.
    fn seen(source: &str) -> String {
        let source = source.as_bytes();
        match plan(source, &org::parse(source, &[]), &Request::default()) {
            Ok(plan) => plan.warnings.iter().map(|warning| warning.shown("a.org", source)).collect(),
            Err(problems) => problems.iter().map(|problem| problem.shown("a.org", source)).collect(),
        }
    }

    #[test]
    fn typical_mistakes_are_shown_with_what_to_write() {
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
            let seen = seen(&source);
            assert!(seen.lines().any(|line| line.trim_start().starts_with('^')), "{mistake}: {seen}");
            let _ = writeln!(shown, "## {mistake}\n\n{seen}");
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
        fn any_document_is_planned_or_told_what_is_wrong_with_it(
            pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..60),
        ) {
            let source = pieces.concat();
            let document = org::parse(source.as_bytes(), &[]);
            let problems = match plan(source.as_bytes(), &document, &Request::default()) {
                Ok(plan) => {
                    proptest::prop_assert!(plan.tasks.len() + plan.skipped.len() == document.blocks.len());
                    plan.warnings
                }
                Err(problems) => {
                    proptest::prop_assert!(problems.iter().any(|p| p.severity == crate::spec::Severity::Error));
                    problems
                }
            };
            let lines = u32::try_from(source.split('\n').count()).unwrap();
            for problem in problems {
                proptest::prop_assert!((1..=lines).contains(&problem.at.line), "{problem}");
                proptest::prop_assert!(!problem.shown("a.org", source.as_bytes()).is_empty());
            }
        }
    }
}

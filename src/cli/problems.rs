//! What is wrong, shown to a person: where, what, the line with a caret, what to write instead.

use crate::config::ConfigError;
use crate::org::{self, Position};
use crate::spec::{Problem, Severity};

/// More of them help nobody.
const AT_MOST: usize = 20;

/// Shows errors, or warnings, of the document `name`.
pub(super) fn show(name: &str, source: &[u8], problems: &[Problem], severity: Severity) {
    let mut shown = 0;
    let mut rest = 0;
    for problem in problems.iter().filter(|problem| problem.severity == severity) {
        if shown == AT_MOST {
            rest += 1;
            continue;
        }
        shown += 1;
        eprint!("{}", text(name, source, problem));
    }
    if rest > 0 {
        let kind = match severity {
            Severity::Error => "errors",
            Severity::Warning => "warnings",
        };
        eprintln!("… and {rest} more {kind}");
    }
}

fn text(name: &str, source: &[u8], problem: &Problem) -> String {
    if problem.in_setupfile {
        return with_help(format!("the setupfile:{problem}\n"), &problem.help);
    }
    if problem.at == Position::default() {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        return with_help(format!("{name}: {severity}: {}\n", problem.text), &problem.help);
    }
    if let Some(file) = &problem.file {
        return with_help(format!("{file}:{problem}\n"), &problem.help);
    }
    let head = format!("{name}:{problem}\n");
    let excerpt = org::excerpt(source, problem.at);
    with_help(head + excerpt.trim_end_matches('\n') + "\n", &problem.help)
}

/// Shows what is wrong with a setupfile, or with the environment.
pub(super) fn show_config_error(name: &str, setupfile: &[u8], error: &ConfigError) {
    let text = match error.at {
        Some(at) => {
            let head = format!("{name}:{}:{}: error: {}\n", at.line, at.column, error.text);
            head + org::excerpt(setupfile, at).trim_end_matches('\n') + "\n"
        }
        None => format!("the environment: error: {}\n", error.text),
    };
    eprint!("{}", with_help(text, &error.help));
}

fn with_help(text: String, help: &str) -> String {
    if help.is_empty() { text } else { format!("{text}  {help}\n") }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::spec::{self, Request};

    /// What a person sees of a document, errors first; and what would be skipped.
    fn seen(source: &str) -> String {
        let source = source.as_bytes();
        match spec::plan(source, &org::parse(source, &[]), &Request::default()) {
            Ok(plan) => plan.warnings.iter().map(|warning| text("a.org", source, warning)).collect(),
            Err(problems) => problems.iter().map(|problem| text("a.org", source, problem)).collect(),
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
}

//! Decides whether a block runs, needs approval or is skipped, and why.

use std::fmt;

use borges_babel::Languages;
use borges_org::{Block, Origin, Param};

use super::keys::{self, KeyKind};

/// What becomes of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Eligibility {
    /// It runs.
    Runs,
    /// It runs once a person has approved it.
    Held,
    /// It does not run.
    Skipped(SkipReason),
}

/// Why a block does not run, though the document is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SkipReason {
    /// Under a `COMMENT` headline.
    Commented,
    /// Under an archived headline.
    Archived,
    /// `:eval no` or `:eval never`, as written.
    Eval(String),
    /// No word after `#+begin_src`.
    NoLanguage,
    /// The language's table has no such row.
    UnknownLanguage(String),
    /// emacs-lisp, which is most often somebody's configuration.
    EmacsLisp,
    /// A file for other blocks.
    Tangled(String),
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commented => f.write_str("it stands under a COMMENT heading"),
            Self::Archived => f.write_str("it stands under an archived heading"),
            Self::Eval(value) => write!(f, "`:eval {value}`"),
            Self::NoLanguage => f.write_str("it names no language"),
            Self::UnknownLanguage(language) => {
                write!(f, "nothing is known to run `{language}` (`#+borges_lang:` adds a language)")
            }
            Self::EmacsLisp => f.write_str("emacs-lisp runs only with `:eval yes`"),
            Self::Tangled(file) => write!(f, "it is tangled to `{file}` (`:eval yes` runs it)"),
        }
    }
}

/// What becomes of `block`; `emacs_compatible` is [`super::PlanOptions::emacs_compatible`].
pub(super) fn eligibility(block: &Block, languages: &Languages, emacs_compatible: bool) -> Eligibility {
    let skipped = Eligibility::Skipped;
    if block.commented {
        return skipped(SkipReason::Commented);
    }
    if block.archived {
        return skipped(SkipReason::Archived);
    }
    let eval = argument(block, ":eval").unwrap_or_default();
    if matches!(eval, "no" | "never") {
        return skipped(SkipReason::Eval(eval.to_owned()));
    }
    if let Some(file) = argument(block, ":tangle").filter(|&file| file != "no")
        && eval != "yes"
        && !block.params.iter().any(implies_run)
    {
        return skipped(SkipReason::Tangled(file.to_owned()));
    }
    let Some(language) = block.language.as_deref() else { return skipped(SkipReason::NoLanguage) };
    if matches!(language, "emacs-lisp" | "elisp") && eval != "yes" && !emacs_compatible {
        return skipped(SkipReason::EmacsLisp);
    }
    if languages.get(language).is_none() {
        return skipped(SkipReason::UnknownLanguage(language.to_owned()));
    }
    if eval == "query" { Eligibility::Held } else { Eligibility::Runs }
}

/// The value in force, as written; `None` where the key is not there or stands alone.
fn argument<'a>(block: &'a Block, key: &str) -> Option<&'a str> {
    let param = block.params.iter().rfind(|param| param.key == key)?;
    Some(param.text.as_str()).filter(|text| !text.is_empty())
}

/// Written on the block itself, and of no use to a block that is only a file.
fn implies_run(param: &Param) -> bool {
    param.origin == Origin::Block
        && (param.key == ":results"
            || matches!(keys::classify(&param.key), KeyKind::Borges(key) if key.is_extension()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use borges_org as org;

    /// `(document, outcome)`: one block each; first single rules, then combinations.
    #[test]
    fn eligibility_follows_the_header_arguments() {
        let block = |line: &str| format!("#+begin_src {line}\ntrue\n#+end_src\n");
        let under = |headline: &str| format!("{headline}\n{}", block("sh"));
        let property = |value: &str, line: &str| format!("#+property: header-args {value}\n{}", block(line));
        let cases = [
            (block("sh"), "runs"),
            (block("SH"), "nothing is known to run `SH` (`#+borges_lang:` adds a language)"),
            (block("yaml"), "nothing is known to run `yaml` (`#+borges_lang:` adds a language)"),
            (block("yaml :eval yes"), "nothing is known to run `yaml` (`#+borges_lang:` adds a language)"),
            (block(""), "it names no language"),
            (block("py"), "runs"),
            (under("* COMMENT a"), "it stands under a COMMENT heading"),
            (under("* a :ARCHIVE:"), "it stands under an archived heading"),
            (under("* commented"), "runs"),
            (block("sh :eval no"), "`:eval no`"),
            (block("sh :eval never"), "`:eval never`"),
            (block("sh :eval never-export"), "runs"),
            (block("sh :eval no-export"), "runs"),
            (block("sh :eval query-export"), "runs"),
            (block("sh :eval"), "runs"),
            (block("sh :eval yes"), "runs"),
            (block("sh :eval query"), "held"),
            (property(":eval no", "sh"), "`:eval no`"),
            (property(":eval no", "sh :eval yes"), "runs"),
            (block("emacs-lisp"), "emacs-lisp runs only with `:eval yes`"),
            (block("elisp :eval query"), "emacs-lisp runs only with `:eval yes`"),
            (block("sh :tangle x.sh"), "it is tangled to `x.sh` (`:eval yes` runs it)"),
            (block("sh :tangle yes"), "it is tangled to `yes` (`:eval yes` runs it)"),
            (block("sh :tangle no"), "runs"),
            (block("yaml :tangle x.yaml"), "it is tangled to `x.yaml` (`:eval yes` runs it)"),
            (block("elisp :tangle x.el"), "it is tangled to `x.el` (`:eval yes` runs it)"),
            (block("elisp :tangle x.el :cpu 1"), "emacs-lisp runs only with `:eval yes`"),
            (block("sh :tangle x.sh :eval no"), "`:eval no`"),
            (property(":tangle x.sh", "sh"), "it is tangled to `x.sh` (`:eval yes` runs it)"),
            (property(":tangle x.sh :cpu 2", "sh"), "it is tangled to `x.sh` (`:eval yes` runs it)"),
            (property(":tangle x.sh", "sh :eval yes"), "runs"),
            (property(":tangle x.sh", "sh :results output"), "runs"),
            (property(":tangle x.sh", "sh :cpu 2"), "runs"),
            (property(":tangle x.sh", "sh :dir /"), "it is tangled to `x.sh` (`:eval yes` runs it)"),
            (property(":tangle x.sh", "sh :eval query"), "it is tangled to `x.sh` (`:eval yes` runs it)"),
        ];
        let mut languages = Languages::default();
        languages.add("py python3").unwrap();
        for (source, expected) in cases {
            let document = org::parse(source.as_bytes(), &[]);
            let outcome = match eligibility(&document.blocks[0], &languages, false) {
                Eligibility::Runs => "runs".to_owned(),
                Eligibility::Held => "held".to_owned(),
                Eligibility::Skipped(reason) => reason.to_string(),
            };
            assert_eq!(outcome, expected, "{source}");
        }
    }
}

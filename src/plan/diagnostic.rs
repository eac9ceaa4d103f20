//! Errors and warnings about a document: position, text, and what to write instead.

use std::fmt;
use std::sync::Arc;

use borges_org::{self as org, Origin, Param, Position, SourceLocation, SourceMap};

/// The severity of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing of the document is launched.
    Error,
    /// It runs; a person should know.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// An error or a warning about a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where it stands.
    pub at: Position,
    /// In the setupfile rather than in the document.
    pub in_setupfile: bool,
    /// In this file, which the document names, rather than in the document itself.
    pub file: Option<Arc<str>>,
    /// The position in the text with included files, if it differs from the position in its own file.
    expanded_at: Option<Position>,
    /// What it is: a fragment in lower case.
    pub text: String,
    /// What to write instead: a sentence; may be empty.
    pub help: String,
}

impl Diagnostic {
    /// An error at `at`.
    pub fn error(at: Position, text: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            at,
            in_setupfile: false,
            file: None,
            expanded_at: None,
            text: text.into(),
            help: help.into(),
        }
    }

    /// The same diagnostic, located in the file that `param` comes from.
    #[must_use]
    pub(super) fn of(mut self, param: &Param) -> Self {
        self.in_setupfile = param.origin == Origin::Setup;
        self
    }

    /// At most so many of a kind are shown to a person: more help nobody.
    pub const MAX_SHOWN: usize = 20;

    /// For a person: those of `diagnostics` that are of this severity, [`Diagnostic::MAX_SHOWN`] of them.
    pub fn render_all(diagnostics: &[Self], severity: Severity, name: &str, source: &[u8]) -> String {
        let mut selected = diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity);
        let mut text: String = selected
            .by_ref()
            .take(Self::MAX_SHOWN)
            .map(|diagnostic| diagnostic.render(name, source))
            .collect();
        let rest = selected.count();
        if rest > 0 {
            text.extend(["… and ", &rest.to_string(), " more ", &severity.to_string(), "s\n"]);
        }
        text
    }

    /// Replaces the position in the text with included files by the position in the file of origin.
    pub fn locate(&mut self, source_map: &SourceMap) {
        if !self.in_setupfile && self.at != Position::default() {
            self.expanded_at = Some(self.at);
            SourceLocation { file: self.file, at: self.at } = source_map.locate(self.at);
        }
    }

    /// For a person: where in the document `name`, what, the line with a caret, what to write instead. `source` is
    /// the text that was read.
    pub fn render(&self, name: &str, source: &[u8]) -> String {
        let mut text = if self.in_setupfile {
            format!("the setupfile:{self}\n")
        } else if self.at == Position::default() {
            // Nothing that stands in the document: what was asked of it.
            format!("{name}: {}: {}\n", self.severity, self.text)
        } else {
            let excerpt = org::snippet(source, self.expanded_at.unwrap_or(self.at));
            let name = self.file.as_deref().unwrap_or(name);
            format!("{name}:{self}\n{}\n", excerpt.trim_end_matches('\n'))
        };
        if !self.help.is_empty() {
            text.extend(["  ", &self.help, "\n"]);
        }
        text
    }

    /// A warning at `at`.
    pub fn warning(at: Position, text: impl Into<String>, help: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(at, text, help) }
    }
}

/// `14:3: error: text`; the caller knows the file's name.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, at: Position { line, column }, text, .. } = self;
        match column {
            0 => write!(f, "{line}: {severity}: {text}"),
            _ => write!(f, "{line}:{column}: {severity}: {text}"),
        }
    }
}

//! The way through: a document in, a plan or problems out.

use std::collections::BTreeMap;
use std::sync::Arc;

use borges_babel::{self as babel, Languages};
use borges_org::{self as org, BodyExpander, Document, Keyword, Position, SourceMap};
use borges_task::{DependencyKind, Edge, TaskSpec};

use super::assemble::{Parts, assemble, placed};
use super::builder::PlanBuilder;
use super::diagnostic::{Diagnostic, Severity};
use super::encoding;
use super::file_dependencies;
use super::graph::{self, Dependency};
use super::instances;
use super::lints;
use super::recipe::Recipes;
use super::symbols::SymbolTable;
use super::unclosed;
use super::unit::{Disposition, runs, select, skip_dependents};

/// What is asked of a document, beside what it says itself.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// Only these blocks, and those they require; empty means all.
    pub names: Vec<String>,
    /// The setupfile's languages.
    pub languages: Languages,
    /// Values of blocks' variables, in place of those they have.
    pub variables: Vec<Variable>,
    /// Emacs-lisp runs without `:eval yes` too: somebody wants of this document what Emacs makes of it.
    pub emacs_compatible: bool,
    /// Somebody can approve a block with `:eval query`; otherwise it is skipped.
    pub approval_available: bool,
    /// Blocks start here, and `:dir` is relative to it; `None` is each block's sandbox.
    pub directory: Option<String>,
    /// What `~` in `:dir` stands for.
    pub home: Option<String>,
    /// Files that the document names by `#+INCLUDE:` and `#+SETUPFILE:` have been put in; otherwise naming one is
    /// an error.
    pub files_read: bool,
    /// Where its lines come from, if files have been put into it.
    pub places: SourceMap,
}

/// A value for a variable of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub(super) block: String,
    pub(super) name: String,
    /// As a `:var` has it.
    pub(super) value: String,
}

impl Variable {
    /// Reads `block.name=value`; the value is a number, or a text with or without quotes.
    pub fn read(text: &str) -> Option<Self> {
        let (key, value) = text.split_once('=')?;
        Self::of(key, value)
    }

    /// The same, in two parts.
    pub fn of(key: &str, value: &str) -> Option<Self> {
        let (block, name) = key.rsplit_once('.')?;
        let is_text = babel::read(value) == babel::Value::text(value);
        let value = if is_text {
            format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
        } else {
            value.to_owned()
        };
        let filled = !block.is_empty() && !name.is_empty();
        filled.then(|| Self { block: block.to_owned(), name: name.to_owned(), value })
    }
}

/// What a document comes down to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// What runs, in document order, numbered from 1.
    pub tasks: Vec<Arc<TaskSpec>>,
    /// The files of those tasks whose blocks stand in another file than the document, by number; their lines are
    /// those of that file.
    pub included: BTreeMap<u32, Arc<str>>,
    /// How they are put together, and what becomes of what they yield.
    pub recipes: Recipes,
    /// Who waits for whom; no circles; at most one edge between two tasks; sorted.
    pub edges: Vec<Edge>,
    /// What does not run, in document order.
    pub skipped: Vec<SkippedBlock>,
    /// What is odd, in document order.
    pub warnings: Vec<Diagnostic>,
}

/// A block that does not run, though the document is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedBlock {
    /// Its name, or `line-14`.
    pub block: String,
    /// The file it stands in, if it is not the document itself.
    pub file: Option<Arc<str>>,
    /// Line of its `#+begin_src`.
    pub line: u32,
    /// Why.
    pub reason: String,
}

impl SkippedBlock {
    /// For a person: `line 7`, or `line 7 of part.org`.
    pub fn place(&self) -> String {
        match &self.file {
            None => format!("line {}", self.line),
            Some(file) => format!("line {} of {file}", self.line),
        }
    }
}

/// `#+runmode:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunMode {
    Parallel,
    /// Document order; stops at the first failure.
    Sequential(Position),
}

/// Makes the plan of a document that was read from `source`.
///
/// # Errors
/// Everything that is wrong with it, in document order; then nothing of it may be launched.
pub fn plan(source: &[u8], document: &Document, request: &PlanOptions) -> Result<Plan, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let languages = languages(document, request, &mut problems);
    let run_mode = run_mode(document, &mut problems);
    unclosed::unclosed(source, document, &request.places, &mut problems);
    files(document, request, &mut problems);
    unclosed::swallowed(document, &request.places, &mut problems);
    lints::lint(source, document, &mut problems);

    let mut names = SymbolTable::of(&document.blocks, &request.places, &mut problems);
    let mut bodies = BodyExpander::new(source, document);
    let mut units = PlanBuilder::new(document, source.len(), &languages, request, &mut problems);
    units.set_variables(&names, &mut problems);
    units.add_calls(&mut names, &mut problems);
    let mut place = 0;
    while place < units.candidates.len() {
        units.resolve_inputs(place, &mut bodies, &mut names, &mut problems);
        place += 1;
    }
    let order = units.order();
    let candidates = &mut units.candidates;
    let running = candidates.iter().take(document.blocks.len()).filter(|candidate| runs(candidate));
    encoding::check_encoding(source, running.map(|candidate| &*candidate.block), &mut problems);

    let mut waits: Vec<Dependency> = Vec::with_capacity(candidates.len());
    for (place, candidate) in candidates.iter_mut().enumerate() {
        if let Disposition::Runs { asked, .. } = &mut candidate.disposition {
            // What they come to is all that is wanted of them from here on.
            waits.extend(names.waits(place, &std::mem::take(&mut asked.references), &mut problems));
        }
    }
    for (place, candidate) in candidates.iter().enumerate() {
        if let Disposition::Runs { inputs: Some(inputs), .. } = &candidate.disposition {
            waits.extend(graph::input_dependencies(place, candidate, inputs, candidates));
        }
    }
    select(candidates, &names, &waits, request, &mut problems);
    skip_dependents(candidates, &names, &waits);
    waits.retain(|wait| runs(&candidates[wait.from]) && runs(&candidates[wait.to]));
    if let RunMode::Sequential(at) = run_mode {
        let running: Vec<usize> = order.iter().copied().filter(|&place| runs(&candidates[place])).collect();
        let in_order = running.windows(2).map(|pair| Dependency {
            from: pair[0],
            to: pair[1],
            requirement: DependencyKind::Succeeded,
            at,
        });
        waits.extend(in_order);
    }
    instances::check_limits(candidates, &waits, &names, &mut problems);
    if let Some(circle) = graph::cycle(&waits) {
        problems.extend(graph::cycle_error(&circle, &names));
    } else if let Some(directory) = &request.directory {
        // What the document says itself holds against what is only supposed.
        let said = waits.len();
        waits.extend(file_dependencies::file_dependencies(candidates, &order, directory));
        if graph::cycle(&waits).is_some() {
            waits.truncate(said);
        }
    }
    let files = placed(candidates, |place| {
        bodies.run_body(place).map(|body| body.text.into_owned()).unwrap_or_default()
    });

    // Within a line, the setupfile's own problems come last.
    problems.sort_by_key(|problem| (problem.severity, problem.in_setupfile, problem.at));
    problems.dedup();
    for problem in &mut problems {
        problem.locate(&request.places);
    }
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(problems);
    }
    let (order, names, waits) = (&order, &names, &waits);
    Ok(assemble(Parts { units, order, names, waits, files, warnings: problems, request, document }))
}

/// The table of languages for this document: the setupfile's, then its own.
fn languages(document: &Document, request: &PlanOptions, problems: &mut Vec<Diagnostic>) -> Languages {
    let mut languages = request.languages.clone();
    for Keyword { value, at, .. } in keywords(document, "BORGES_LANG") {
        if let Err(bad) = languages.add(value) {
            problems.push(Diagnostic::error(*at, bad.to_string(), ""));
        }
    }
    languages
}

fn run_mode(document: &Document, problems: &mut Vec<Diagnostic>) -> RunMode {
    let mut mode = RunMode::Parallel;
    for Keyword { value, at, .. } in keywords(document, "RUNMODE") {
        match value.as_str() {
            "parallel" => mode = RunMode::Parallel,
            "sequential" => mode = RunMode::Sequential(*at),
            _ => problems.push(Diagnostic::error(
                *at,
                format!("`{value}` is no value of `#+runmode:`"),
                "Write `parallel` or `sequential`.",
            )),
        }
    }
    mode
}

/// Other files that the document names. Examples need none: nothing in them means anything here.
fn files(document: &Document, request: &PlanOptions, problems: &mut Vec<Diagnostic>) {
    if request.files_read {
        return;
    }
    let named = |keyword: &&Keyword| match keyword.key.as_str() {
        "SETUPFILE" => true,
        "INCLUDE" => !keyword.commented && !org::includes_text(&keyword.value),
        _ => false,
    };
    for Keyword { key, value, at, .. } in document.keywords.iter().filter(named) {
        let help = match key.as_str() {
            "SETUPFILE" => "write its lines `#+PROPERTY:` into the document",
            _ => "put what it holds into the document",
        };
        problems.push(Diagnostic::error(
            *at,
            format!("`{value}` lies where this document came from, and cannot be read here"),
            format!("Send the document by `borges submit`, which reads that file, or {help}."),
        ));
    }
}

fn keywords<'a>(document: &'a Document, key: &'a str) -> impl Iterator<Item = &'a Keyword> {
    document.keywords.iter().filter(move |keyword| keyword.key == key)
}

#[cfg(test)]
mod tests;

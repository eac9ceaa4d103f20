//! The way through: a document in, a plan or problems out.

use borges_babel::Languages;
use borges_org::{self as org, BodyExpander, Document, Keyword, Position};
use borges_task::DependencyKind;

use super::assemble::{Parts, assemble, placed};
use super::builder::PlanBuilder;
use super::dependency::Dependency;
use super::diagnostic::{Diagnostic, Severity};
use super::encoding;
use super::file_dependencies;
use super::graph;
use super::instances;
use super::lints;
use super::options::PlanOptions;
use super::plan::Plan;
use super::select::{select, skip_dependents};
use super::symbols::SymbolTable;
use super::unclosed;
use super::unit::{Disposition, runs};

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

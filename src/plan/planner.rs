//! Plans a document: reads its blocks and calls, checks them, and returns a plan or all errors.

use borges_babel::Languages;
use borges_org::{self as org, BodyExpander, Document, Keyword, Position};
use borges_task::DependencyKind;

use super::assemble::{PlanParts, assemble, tangled_files};
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
pub fn plan(source: &[u8], document: &Document, options: &PlanOptions) -> Result<Plan, Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let languages = languages(document, options, &mut diagnostics);
    let run_mode = run_mode(document, &mut diagnostics);
    unclosed::unclosed(source, document, &options.source_map, &mut diagnostics);
    files(document, options, &mut diagnostics);
    unclosed::nested_begin_lines(document, &options.source_map, &mut diagnostics);
    lints::lint(source, document, &mut diagnostics);

    let mut symbols = SymbolTable::of(&document.blocks, &options.source_map, &mut diagnostics);
    let mut bodies = BodyExpander::new(source, document);
    let mut builder = PlanBuilder::new(document, source.len(), &languages, options, &mut diagnostics);
    builder.set_variables(&symbols, &mut diagnostics);
    builder.add_calls(&mut symbols, &mut diagnostics);
    let mut index = 0;
    while index < builder.units.len() {
        builder.resolve_inputs(index, &mut bodies, &mut symbols, &mut diagnostics);
        index += 1;
    }
    let order = builder.order();
    let units = &mut builder.units;
    let running = units.iter().take(document.blocks.len()).filter(|unit| runs(unit));
    encoding::check_encoding(source, running.map(|unit| &*unit.block), &mut diagnostics);

    let mut dependencies: Vec<Dependency> = Vec::with_capacity(units.len());
    for (index, unit) in units.iter_mut().enumerate() {
        if let Disposition::Runs { block_options, .. } = &mut unit.disposition {
            // What they come to is all that is wanted of them from here on.
            dependencies.extend(symbols.dependencies(
                index,
                &std::mem::take(&mut block_options.references),
                &mut diagnostics,
            ));
        }
    }
    for (index, unit) in units.iter().enumerate() {
        if let Disposition::Runs { inputs: Some(inputs), .. } = &unit.disposition {
            dependencies.extend(graph::input_dependencies(index, unit, inputs, units));
        }
    }
    select(units, &symbols, &dependencies, options, &mut diagnostics);
    skip_dependents(units, &symbols, &dependencies);
    dependencies.retain(|dependency| runs(&units[dependency.from]) && runs(&units[dependency.to]));
    if let RunMode::Sequential(at) = run_mode {
        let running: Vec<usize> = order.iter().copied().filter(|&index| runs(&units[index])).collect();
        let in_order = running.windows(2).map(|pair| Dependency {
            from: pair[0],
            to: pair[1],
            requirement: DependencyKind::Succeeded,
            at,
        });
        dependencies.extend(in_order);
    }
    instances::check_limits(units, &dependencies, &symbols, &mut diagnostics);
    if let Some(cycle) = graph::cycle(&dependencies) {
        diagnostics.extend(graph::cycle_error(&cycle, &symbols));
    } else if let Some(directory) = &options.directory {
        // What the document says itself holds against what is only supposed.
        let explicit = dependencies.len();
        dependencies.extend(file_dependencies::file_dependencies(units, &order, directory));
        if graph::cycle(&dependencies).is_some() {
            dependencies.truncate(explicit);
        }
    }
    let files = tangled_files(units, |index| {
        bodies.run_body(index).map(|body| body.text.into_owned()).unwrap_or_default()
    });

    // Within a line, the setupfile's own problems come last.
    diagnostics.sort_by_key(|diagnostic| (diagnostic.severity, diagnostic.in_setupfile, diagnostic.at));
    diagnostics.dedup();
    for diagnostic in &mut diagnostics {
        diagnostic.locate(&options.source_map);
    }
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(diagnostics);
    }
    let (order, symbols, dependencies) = (&order, &symbols, &dependencies);
    Ok(assemble(PlanParts {
        builder,
        order,
        symbols,
        dependencies,
        files,
        warnings: diagnostics,
        options,
        document,
    }))
}

/// The table of languages for this document: the setupfile's, then its own.
fn languages(document: &Document, options: &PlanOptions, diagnostics: &mut Vec<Diagnostic>) -> Languages {
    let mut languages = options.languages.clone();
    for Keyword { value, at, .. } in keywords(document, "BORGES_LANG") {
        if let Err(bad) = languages.add(value) {
            diagnostics.push(Diagnostic::error(*at, bad.to_string(), ""));
        }
    }
    languages
}

fn run_mode(document: &Document, diagnostics: &mut Vec<Diagnostic>) -> RunMode {
    let mut mode = RunMode::Parallel;
    for Keyword { value, at, .. } in keywords(document, "RUNMODE") {
        match value.as_str() {
            "parallel" => mode = RunMode::Parallel,
            "sequential" => mode = RunMode::Sequential(*at),
            _ => diagnostics.push(Diagnostic::error(
                *at,
                format!("`{value}` is no value of `#+runmode:`"),
                "Write `parallel` or `sequential`.",
            )),
        }
    }
    mode
}

/// Other files that the document names. Examples need none: nothing in them means anything here.
fn files(document: &Document, options: &PlanOptions, diagnostics: &mut Vec<Diagnostic>) {
    if options.files_read {
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
        diagnostics.push(Diagnostic::error(
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

//! `borges plan`: what would run, and what not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};

use bytes::Bytes;

use super::args::PlanArguments;
use super::exit::Exit;
use super::serve::state_directory;
use super::{diagnostics, input};
use borges_org as org;
use borges_plan::{self as plan, CacheMode, Plan, Severity, SkippedBlock};
use borges_store::{Cache, predict_cache_hits};
use borges_task::{DependencyKind, Edge, Ensure, RetryLimit, TaskSpec, index_of};

/// Shows the plan of a document.
pub(super) fn plan(arguments: &PlanArguments) -> Exit {
    let input = match input::read(&arguments.document) {
        Ok(input) => input,
        Err(exit) => return exit,
    };
    let document = org::parse(&input.source, &input.config.header_args);
    match plan::plan(&input.source, &document, &input.request) {
        Ok(plan) => {
            diagnostics::show(&input.name, &input.source, &plan.warnings, Severity::Warning);
            let caching = if arguments.resume { CacheMode::Resume } else { CacheMode::OptIn };
            let cache = state_directory(&input.config).map(|data| Cache::new(&data));
            let read = |path: &str| fs::read(path).map(Bytes::from).map_err(|error| error.to_string());
            let known = predict_cache_hits(&plan, &input.written, caching, cache.as_ref(), read);
            let _reader_gone = io::stdout().lock().write_all(table(&plan, &known).as_bytes());
            Exit::Success
        }
        Err(found) => {
            diagnostics::show(&input.name, &input.source, &found, Severity::Error);
            Exit::InvalidInput
        }
    }
}

fn table(plan: &Plan, known: &BTreeMap<u32, String>) -> String {
    let mut text = String::new();
    let name = |number: u32| plan.tasks.get(index_of(number)?).map(|task| &*task.block);
    let widest = |names: &mut dyn Iterator<Item = usize>| names.max().unwrap_or_default();
    let width = widest(&mut plan.tasks.iter().map(|task| task.block.chars().count())).min(32);
    let amounts = widest(&mut plan.tasks.iter().map(|task| task.resources.to_string().len()));
    let programs = widest(&mut plan.tasks.iter().map(|task| task.command.program.chars().count()));
    let _infallible = writeln!(text, "{} run", counted(plan.tasks.len() - known.len()));
    if !known.is_empty() {
        let _infallible = writeln!(text, "{} cached", counted(known.len()));
    }
    // Sorted by who is waited for, and wanted by who waits.
    let mut edges: Vec<&Edge> = plan.edges.iter().collect();
    edges.sort_unstable_by_key(|edge| (edge.to, edge.from));
    let mut edges = edges.into_iter().peekable();
    for task in &plan.tasks {
        let TaskSpec { number, block, line, command, resources, .. } = &**task;
        let mut notes = notes(task);
        notes.extend(plan.included.get(number).map(|file| format!("in {file}")));
        notes.extend(known.get(number).cloned());
        while let Some(edge) = edges.next_if(|edge| edge.to == *number) {
            let word = match edge.requirement {
                DependencyKind::Succeeded => "requires",
                DependencyKind::Completed => "after",
            };
            let mut shown = format!("{word} {}", name(edge.from).unwrap_or_default());
            // Of the tasks of one block, the first and the last.
            let block = plan.recipes.numbers(edge.from);
            let mut last = edge.from;
            while let Some(next) = edges.next_if(|next| next.to == *number && block.contains(&next.from)) {
                last = next.from;
            }
            if last != edge.from {
                shown.extend([" … ", name(last).unwrap_or_default()]);
            }
            notes.push(shown);
        }
        let notes = notes.join(", ");
        let row = format!(
            "{number:>5}  {block:width$}  line {line:<5}  {:programs$}  {:amounts$}  {notes}",
            command.program,
            resources.to_string()
        );
        let _infallible = writeln!(text, "{}", row.trim_end());
    }
    if !plan.skipped.is_empty() {
        let _infallible = writeln!(text, "{} skipped", counted(plan.skipped.len()));
        for skip in &plan.skipped {
            let SkippedBlock { block, reason, .. } = skip;
            let _infallible = writeln!(text, "       {block}  {}: {reason}", skip.location());
        }
    }
    text
}

fn counted(blocks: usize) -> String {
    if blocks == 1 { "1 block".to_owned() } else { format!("{blocks} blocks") }
}

/// What else a task asks for.
fn notes(task: &TaskSpec) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(image) = &task.command.image {
        notes.push(format!("in {image}"));
    }
    if let Some(wishes) = &task.requirements {
        notes.extend(wishes.ports.iter().map(|port| format!("listens on {port}")));
        notes.extend(wishes.constraints.iter().map(|constraint| format!("where {constraint}")));
    }
    let policy = &task.policy;
    if policy.ensure == Ensure::KeepsRunning {
        notes.push("keeps running".to_owned());
    }
    match policy.retry {
        RetryLimit::Limited(0) | RetryLimit::Unlimited => {}
        RetryLimit::Limited(1) => notes.push("retried once".to_owned()),
        RetryLimit::Limited(times) => notes.push(format!("retried {times} times")),
    }
    if let Some(timeout) = policy.timeout {
        notes.push(format!("ends after {timeout:?}"));
    }
    notes
}

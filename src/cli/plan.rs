//! `borges plan`: prints the tasks of a document, their dependencies, and the skipped blocks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};

use bytes::Bytes;

use super::args::PlanArgs;
use super::exit::Exit;
use super::serve::state_directory;
use super::{diagnostics, input};
use borges_org as org;
use borges_plan::{self as plan, CacheMode, Plan, Severity, SkippedBlock, predict_cache_hits};
use borges_store::Cache;
use borges_task::{DependencyKind, Edge, Ensure, RetryLimit, TaskSpec, index_of};

/// Prints the plan of a document.
pub(super) fn plan(arguments: &PlanArgs) -> Exit {
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
            let cached = |key: &_| cache.as_ref()?.peek(key);
            let cache_hits = predict_cache_hits(&plan, &input.written, caching, cached, read);
            let _closed_pipe = io::stdout().lock().write_all(table(&plan, &cache_hits).as_bytes());
            Exit::Success
        }
        Err(errors) => {
            diagnostics::show(&input.name, &input.source, &errors, Severity::Error);
            Exit::InvalidInput
        }
    }
}

fn table(plan: &Plan, cache_hits: &BTreeMap<u32, String>) -> String {
    let mut text = String::new();
    let name = |number: u32| plan.tasks.get(index_of(number)?).map(|task| &*task.block);
    let max_width = |widths: &mut dyn Iterator<Item = usize>| widths.max().unwrap_or_default();
    let block_width = max_width(&mut plan.tasks.iter().map(|task| task.block.chars().count())).min(32);
    let resources_width = max_width(&mut plan.tasks.iter().map(|task| task.resources.to_string().len()));
    let program_width = max_width(&mut plan.tasks.iter().map(|task| task.command.program.chars().count()));
    let _infallible = writeln!(text, "{} run", count_of_blocks(plan.tasks.len() - cache_hits.len()));
    if !cache_hits.is_empty() {
        let _infallible = writeln!(text, "{} cached", count_of_blocks(cache_hits.len()));
    }
    // The plan sorts edges by prerequisite. The table needs them by dependent task.
    let mut edges: Vec<&Edge> = plan.edges.iter().collect();
    edges.sort_unstable_by_key(|edge| (edge.to, edge.from));
    let mut edges = edges.into_iter().peekable();
    for task in &plan.tasks {
        let TaskSpec { number, block, line, command, resources, .. } = &**task;
        let mut notes = notes(task);
        notes.extend(plan.included.get(number).map(|file| format!("in {file}")));
        notes.extend(cache_hits.get(number).cloned());
        while let Some(edge) = edges.next_if(|edge| edge.to == *number) {
            let relation = match edge.requirement {
                DependencyKind::Succeeded => "requires",
                DependencyKind::Completed => "after",
            };
            let mut note = format!("{relation} {}", name(edge.from).unwrap_or_default());
            // Of several tasks of one block, only the first and the last are printed.
            let block = plan.recipes.numbers(edge.from);
            let mut last = edge.from;
            while let Some(next) = edges.next_if(|next| next.to == *number && block.contains(&next.from)) {
                last = next.from;
            }
            if last != edge.from {
                note.extend([" … ", name(last).unwrap_or_default()]);
            }
            notes.push(note);
        }
        let notes = notes.join(", ");
        let row = format!(
            "{number:>5}  {block:block_width$}  line {line:<5}  {:program_width$}  {:resources_width$}  {notes}",
            command.program,
            resources.to_string()
        );
        let _infallible = writeln!(text, "{}", row.trim_end());
    }
    if !plan.skipped.is_empty() {
        let _infallible = writeln!(text, "{} skipped", count_of_blocks(plan.skipped.len()));
        for skip in &plan.skipped {
            let SkippedBlock { block, reason, .. } = skip;
            let _infallible = writeln!(text, "       {block}  {}: {reason}", skip.location());
        }
    }
    text
}

fn count_of_blocks(blocks: usize) -> String {
    if blocks == 1 { "1 block".to_owned() } else { format!("{blocks} blocks") }
}

/// The container, ports, constraints and policy of a task, as notes.
fn notes(task: &TaskSpec) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(image) = &task.command.image {
        notes.push(format!("in {image}"));
    }
    if let Some(requirements) = &task.requirements {
        notes.extend(requirements.ports.iter().map(|port| format!("listens on {port}")));
        notes.extend(requirements.constraints.iter().map(|constraint| format!("where {constraint}")));
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

//! The response to a submitted document: its tasks and skipped blocks, or its errors.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};

use super::response::{ResponseFormat, document_errors, negotiate, plain_text};
use borges_api::{BlockSummary, DocumentError, SubmitResponse};
use borges_plan::{Diagnostic, Plan, Severity};
use borges_task::{RunId, State};

/// The response to a document with errors.
pub(super) fn invalid_document(
    request: &HttpRequest,
    document: &[u8],
    diagnostics: &[Diagnostic],
) -> HttpResponse {
    let mut text = Diagnostic::render_all(diagnostics, Severity::Error, "document", document);
    text += "No block was scheduled.\n";
    if negotiate(request) == ResponseFormat::Text {
        return plain_text(StatusCode::BAD_REQUEST, text);
    }
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    let errors: Vec<_> = errors
        .take(Diagnostic::MAX_SHOWN)
        .map(|diagnostic| DocumentError {
            file: diagnostic
                .file
                .as_deref()
                .map(str::to_owned)
                .or_else(|| diagnostic.in_setupfile.then(|| "the setupfile".to_owned())),
            line: diagnostic.at.line,
            column: diagnostic.at.column,
            text: diagnostic.text.clone(),
            help: diagnostic.help.clone(),
        })
        .collect();
    document_errors(StatusCode::BAD_REQUEST, "The document is wrong", &text, errors)
}

/// The response to a valid document. `run` is `None` for a dry run. `cache_hits` maps the numbers of tasks with a
/// predicted cache hit to the origin of the result.
pub(super) fn submit_response(
    request: &HttpRequest,
    run: Option<RunId>,
    plan: &Plan,
    cache_hits: &BTreeMap<u32, String>,
    note: Option<&str>,
) -> HttpResponse {
    if negotiate(request) == ResponseFormat::Json {
        let is_blocked = |number: u32| plan.edges.iter().any(|edge| edge.to == number);
        let tasks = plan.tasks.iter().map(|task| BlockSummary {
            block: task.block.to_string(),
            task: run.map(|run| run.task(task.number).to_string()),
            line: task.line,
            index: task.index,
            state: match cache_hits.get(&task.number) {
                Some(_) => State::Finished,
                None if is_blocked(task.number) => State::Blocked,
                None => State::Queued,
            },
            reason: cache_hits.get(&task.number).cloned(),
        });
        let skipped = plan.skipped.iter().map(|skip| BlockSummary {
            block: skip.block.clone(),
            task: None,
            line: skip.line,
            index: 1,
            state: State::Skipped,
            reason: Some(skip.reason.clone()),
        });
        let mut blocks: Vec<BlockSummary> = tasks.chain(skipped).collect();
        blocks.sort_by_key(|block| block.line);
        let warnings = plan.warnings.iter().map(ToString::to_string).chain(note.map(str::to_owned));
        return HttpResponse::Ok().json(SubmitResponse {
            run,
            scheduled: plan.tasks.len(),
            blocks,
            warnings: warnings.collect(),
        });
    }
    let mut text = format!("Scheduled {} code blocks for execution\n", plan.tasks.len());
    if plan.tasks.is_empty() && plan.skipped.is_empty() {
        text += "The document holds no source block.\n";
    }
    if !cache_hits.is_empty() {
        text += &format!("Cached {}:\n", cache_hits.len());
        for task in &plan.tasks {
            if let Some(origin) = cache_hits.get(&task.number) {
                text += &format!("  line {}: {}: {origin}\n", task.line, task.block);
            }
        }
    }
    if !plan.skipped.is_empty() {
        text += &format!("Skipped {}:\n", plan.skipped.len());
        for skip in &plan.skipped {
            text += &format!("  line {}: {}: {}\n", skip.line, skip.block, skip.reason);
        }
    }
    for warning in &plan.warnings {
        text += &format!("{warning}\n");
    }
    if let Some(note) = note {
        text += &format!("{note}\n");
    }
    match run {
        Some(run) => text += &format!("run {run}\n"),
        None => text += "Nothing was launched: this was a dry run.\n",
    }
    plain_text(StatusCode::OK, text)
}

//! `/org`: documents and the runs they became.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HOST};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{Wish, answer, failed, missing, plain, problem, wish};
use super::{App, body};
use crate::actors::{ParseDocument, RunShown, Submission};
use crate::spec::{Plan, Problem, Severity};
use crate::task::{RunId, State};

/// `?dry-run=1` plans, and runs nothing.
#[derive(Debug, Deserialize)]
pub(super) struct Options {
    #[serde(rename = "dry-run")]
    dry_run: Option<String>,
}

/// What became of a block.
#[derive(Debug, Serialize)]
struct BlockShown<'a> {
    block: &'a str,
    task: Option<String>,
    line: u32,
    index: u32,
    state: State,
    reason: Option<&'a str>,
}

/// Runs listed.
const RUNS: usize = 100;

/// `POST /org`.
pub(super) async fn submit(
    request: HttpRequest,
    options: web::Query<Options>,
    sent: Bytes,
    app: web::Data<App>,
) -> HttpResponse {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let told_at = header(HOST).unwrap_or(&app.address);
    let received = match body::document(header(CONTENT_TYPE), &sent, told_at) {
        Ok(received) => received,
        Err(bad) => return problem(&request, StatusCode::BAD_REQUEST, &bad.to_string()),
    };
    let document = Bytes::from(received.document.into_owned());
    let question = ParseDocument {
        source: document.clone(),
        defaults: app.header_args.clone(),
        request: app.plan_request.clone(),
    };
    let plan = match app.reader.read(question).await {
        Ok(parsed) => parsed.plan,
        Err(error) => return failed(&request, &error),
    };
    let plan = match plan {
        Ok(plan) => plan,
        Err(problems) => return wrong(&request, &document, &problems),
    };
    if plan.tasks.len() > app.max_blocks {
        let detail = format!(
            "The document has {} blocks to run, and at most {} are taken (`borges_max_blocks`). No block was scheduled.",
            plan.tasks.len(),
            app.max_blocks
        );
        return problem(&request, StatusCode::PAYLOAD_TOO_LARGE, &detail);
    }
    let note = received.note;
    if options.dry_run.as_deref().is_some_and(|wanted| wanted != "0") {
        return scheduled(&request, None, &plan, note.as_deref());
    }
    let shown = plan.clone();
    let submission = Submission { title: String::new(), document, plan };
    match app.engine.submit(submission).await {
        Ok(accepted) => scheduled(&request, Some(accepted.run), &shown, note.as_deref()),
        Err(error) => failed(&request, &error),
    }
}

/// `GET /org`.
pub(super) async fn runs(request: HttpRequest, app: web::Data<App>) -> HttpResponse {
    match app.engine.runs(None, RUNS).await {
        Ok(runs) => answer(&request, &json!({ "runs": runs }), || runs.iter().map(line).collect()),
        Err(error) => failed(&request, &error),
    }
}

/// `GET /org/{run}`.
pub(super) async fn run(request: HttpRequest, id: web::Path<String>, app: web::Data<App>) -> HttpResponse {
    let Ok(id) = id.parse::<RunId>() else { return missing(&request, &format!("run `{id}`")) };
    match app.engine.run(id).await {
        Ok(Some(run)) => answer(&request, &run, || line(&run)),
        Ok(None) => missing(&request, &format!("run `{id}`")),
        Err(error) => failed(&request, &error),
    }
}

/// `DELETE /org/{run}`.
pub(super) async fn cancel(request: HttpRequest, id: web::Path<String>, app: web::Data<App>) -> HttpResponse {
    let Ok(id) = id.parse::<RunId>() else { return missing(&request, &format!("run `{id}`")) };
    match app.engine.kill_run(id).await {
        Ok(true) => {
            answer(&request, &json!({ "run": id, "killing": true }), || format!("{id} is being killed\n"))
        }
        Ok(false) => missing(&request, &format!("run `{id}`")),
        Err(error) => failed(&request, &error),
    }
}

fn line(run: &RunShown) -> String {
    let RunShown { run, state, tasks, ended, accepted, .. } = run;
    format!("{run}  {}  {ended} of {tasks} ended  {accepted}\n", state.name())
}

/// The document is wrong: nothing of it was launched.
fn wrong(request: &HttpRequest, document: &[u8], problems: &[Problem]) -> HttpResponse {
    let mut text = Problem::all_shown(problems, Severity::Error, "document", document);
    text += "No block was scheduled.\n";
    if wish(request) == Wish::Text {
        return plain(StatusCode::BAD_REQUEST, text);
    }
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let shown: Vec<_> = errors
        .take(Problem::AT_MOST)
        .map(|problem| {
            json!({
                "line": problem.at.line,
                "column": problem.at.column,
                "text": problem.text,
                "help": problem.help,
            })
        })
        .collect();
    let body = json!({
        "type": "about:blank",
        "title": "The document is wrong",
        "status": 400,
        "detail": text,
        "errors": shown,
    });
    HttpResponse::BadRequest().content_type("application/problem+json").body(body.to_string())
}

fn scheduled(request: &HttpRequest, run: Option<RunId>, plan: &Plan, note: Option<&str>) -> HttpResponse {
    if wish(request) == Wish::Json {
        let waits = |number: u32| plan.edges.iter().any(|edge| edge.to == number);
        let tasks = plan.tasks.iter().map(|task| BlockShown {
            block: &task.block,
            task: run.map(|run| run.task(task.number).to_string()),
            line: task.line,
            index: task.index,
            state: if waits(task.number) { State::Blocked } else { State::Queued },
            reason: None,
        });
        let skipped = plan.skipped.iter().map(|skip| BlockShown {
            block: &skip.block,
            task: None,
            line: skip.line,
            index: 1,
            state: State::Skipped,
            reason: Some(&skip.reason),
        });
        let mut blocks: Vec<BlockShown> = tasks.chain(skipped).collect();
        blocks.sort_by_key(|block| block.line);
        let warnings = plan.warnings.iter().map(ToString::to_string).chain(note.map(str::to_owned));
        return HttpResponse::Ok().json(json!({
            "run": run,
            "scheduled": plan.tasks.len(),
            "blocks": blocks,
            "warnings": warnings.collect::<Vec<_>>(),
        }));
    }
    let mut text = format!("Scheduled {} code blocks for execution\n", plan.tasks.len());
    if plan.tasks.is_empty() && plan.skipped.is_empty() {
        text += "The document holds no source block.\n";
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
    plain(StatusCode::OK, text)
}

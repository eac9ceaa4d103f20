//! `/org`: documents and the runs they became.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HOST};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;

use super::body_limits::RequestBody;
use super::query::{Query, bad_request};
use super::response::{
    ResponseFormat, document_errors, negotiate, not_found, plain_text, problem, respond, unavailable,
};
use super::tasks::MAX_PAGE;
use super::{App, upload};
use borges_api::{
    self as api, BlockSummary, DocumentError, Problem, RunDetails, RunKillResponse, RunPage, SubmitResponse,
    WaitingTasks,
};
use borges_engine::{EngineError, ParseDocument, RunProgress, Submission, WaitingGroup};
use borges_plan::{CacheMode, Diagnostic as Wrong, Plan, PlanOptions as PlanRequest, Severity, Variable};
use borges_store::predict_cache_hits;
use borges_task::{RunId, State};

/// The header by which a POST can safely be repeated.
const KEY: &str = "Idempotency-Key";
/// Bytes of a key.
const LONGEST_KEY: usize = 255;
/// Runs on a page, unless asked for another number.
const RUNS: u64 = 100;

/// The wire type of a run.
pub(super) fn run_summary(run: RunProgress) -> api::RunSummary {
    let RunProgress { run, title, accepted, state, tasks, ended } = run;
    api::RunSummary { run, title, accepted, state, tasks, ended }
}

/// The wire type of a group of waiting tasks.
fn waiting_tasks(WaitingGroup { block, line, waited, tasks, reason }: WaitingGroup) -> WaitingTasks {
    WaitingTasks { block: block.to_string(), line, seconds: waited.as_secs_f64(), tasks, reason }
}

/// `POST /org`.
#[utoipa::path(
    post, path = "/org", tag = "documents",
    description = "Runs a document: the body, raw.",
    params(
        ("resume" = Option<u8>, Query, maximum = 1,
         description = "1: what has ended well in a run that was submitted so is not run again, where nothing that goes into it has changed"),
        ("dry-run" = Option<u8>, Query, maximum = 1, description = "1: only says what would run"),
        ("name" = Option<Vec<String>>, Query, description = "only this block, and those it requires"),
        ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$",
         description = "makes a repeat safe: the same key with the same document answers with the first one's run"),
    ),
    request_body(content((String = "text/plain"), (String = "text/org")), description = "An Org document"),
    responses(
        (status = 200, description = "What runs, and what does not", content((SubmitResponse = "application/json"), (String = "text/plain"))),
        (status = 408, description = "It comes too slowly",
         content((Problem = "application/problem+json"), (String = "text/plain"))),
        (status = 413, description = "It is too long, or has too many blocks",
         content((Problem = "application/problem+json"), (String = "text/plain"))),
        (status = 422, description = "The `Idempotency-Key` came with another document before",
         content((Problem = "application/problem+json"), (String = "text/plain"))),
        (status = 503, description = "Too many documents come at once",
         content((Problem = "application/problem+json"), (String = "text/plain"))),
    ),
)]
pub(super) async fn submit(request: HttpRequest, sent: RequestBody, app: web::Data<App>) -> HttpResponse {
    let query = match Query::parse(&request, &["dry-run", "name", "resume", VARIABLES]) {
        Ok(query) => query,
        Err(wrong) => return bad_request(&request, &wrong),
    };
    let dry_run = match query.flag("dry-run") {
        Ok(dry_run) => dry_run,
        Err(wrong) => return bad_request(&request, &wrong),
    };
    let caching = match query.flag("resume") {
        Ok(true) => CacheMode::Resume,
        Ok(false) => CacheMode::OptIn,
        Err(wrong) => return bad_request(&request, &wrong),
    };
    let variables = match variables(&query) {
        Ok(variables) => variables,
        Err(wrong) => return bad_request(&request, &wrong),
    };
    let key = match key(&request) {
        Ok(key) => key,
        Err(wrong) => return bad_request(&request, &wrong),
    };
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let server_address = header(HOST).unwrap_or(&app.address);
    let received = match upload::document(header(CONTENT_TYPE), &sent.bytes, server_address) {
        Ok(received) => received,
        Err(bad) => return problem(&request, StatusCode::BAD_REQUEST, &bad.to_string()),
    };
    let document = Bytes::from(received.document.into_owned());
    let question = ParseDocument {
        source: document.clone(),
        defaults: app.header_args.clone(),
        options: PlanRequest { names: query.get_all("name"), variables, ..app.plan_request.clone() },
    };
    let plan = match app.reader.read(question).await {
        Ok(parsed) => parsed.plan,
        Err(error) => return unavailable(&request, &error),
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
    if dry_run {
        let cache = app.cache.clone();
        let foreseen = web::block(move || {
            let read = |_: &str| Err("a server reads no files for a document".to_owned());
            (predict_cache_hits(&plan, &document, caching, Some(&cache), read), plan)
        });
        return match foreseen.await {
            Ok((known, plan)) => scheduled(&request, None, &plan, &known, note.as_deref()),
            Err(error) => {
                let detail = format!("Borges cannot look for results: {error}. No block was scheduled.");
                problem(&request, StatusCode::SERVICE_UNAVAILABLE, &detail)
            }
        };
    }
    let shown = plan.clone();
    let submission = Submission { title: String::new(), document, plan, key, caching };
    match app.engine.submit(submission).await {
        Ok(accepted) => scheduled(&request, Some(accepted.run), &shown, &BTreeMap::new(), note.as_deref()),
        Err(EngineError::IdempotencyConflict(run)) => {
            let detail = format!(
                "Under this `{KEY}` another document was submitted before, as run {run}. No block was scheduled; \
                 take a new key for a new document."
            );
            problem(&request, StatusCode::UNPROCESSABLE_ENTITY, &detail)
        }
        Err(error) => unavailable(&request, &error),
    }
}

/// What parameters begin with that are a block's variables: `var.BLOCK.NAME=VALUE`.
const VARIABLES: &str = "var.";

fn variables(query: &Query) -> Result<Vec<Variable>, String> {
    let read = |(key, value): (&str, &str)| {
        Variable::of(key, value)
            .ok_or_else(|| format!("`{VARIABLES}{key}` is no variable: write `var.BLOCK.NAME=VALUE`."))
    };
    query.with_prefix(VARIABLES).map(read).collect()
}

/// The client's name for its submission.
fn key(request: &HttpRequest) -> Result<Option<String>, String> {
    let mut keys = request.headers().get_all(KEY);
    let Some(key) = keys.next() else { return Ok(None) };
    let is_good = |key: &&str| {
        (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match (key.to_str().ok().filter(is_good), keys.next()) {
        (Some(key), None) => Ok(Some(key.to_owned())),
        (_, None) => Err(format!(
            "`{KEY}` is not 1 to {LONGEST_KEY} visible ASCII characters. No block was scheduled."
        )),
        (_, Some(_)) => Err(format!("There are two `{KEY}`. No block was scheduled.")),
    }
}

/// `GET /org`.
#[utoipa::path(
    get, path = "/org", tag = "documents",
    description = "Runs, newest first.",
    params(
        ("after" = Option<String>, Query, description = "only those behind this run: the `next` of the page before"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000, description = "at most so many; 100 without"),
    ),
    responses((status = 200, description = "Runs", content((RunPage = "application/json"), (String = "text/plain")))),
)]
pub(super) async fn runs(request: HttpRequest, app: web::Data<App>) -> HttpResponse {
    let query = match Query::parse(&request, &["after", "limit"]) {
        Ok(query) => query,
        Err(wrong) => return bad_request(&request, &wrong),
    };
    let wanted = query.get("after", "a run's id").and_then(|after| {
        let limit = query.number("limit", 1, MAX_PAGE)?.unwrap_or(RUNS);
        Ok((after, usize::try_from(limit).unwrap_or(usize::MAX)))
    });
    let (after, limit) = match wanted {
        Ok(wanted) => wanted,
        Err(wrong) => return bad_request(&request, &wrong),
    };
    match app.engine.runs(after, limit + 1).await {
        Ok(mut runs) => {
            let more = runs.len() > limit;
            runs.truncate(limit);
            let next = runs.last().filter(|_| more).map(|run| run.run);
            let page = RunPage { runs: runs.into_iter().map(run_summary).collect(), next };
            respond(&request, &page, || page.runs.iter().map(line).collect())
        }
        Err(error) => unavailable(&request, &error),
    }
}

/// `GET /org/{run}`.
#[utoipa::path(
    get, path = "/org/{run}", tag = "documents",
    description = "How a run stands.",
    params(("run" = String, Path)),
    responses((status = 200, description = "The run", content((RunDetails = "application/json"), (String = "text/plain"))),
              (status = 404, description = "")),
)]
pub(super) async fn run(request: HttpRequest, id: web::Path<String>, app: web::Data<App>) -> HttpResponse {
    if let Err(wrong) = Query::parse(&request, &[]) {
        return bad_request(&request, &wrong);
    }
    if let Some(id) = id.strip_suffix(".org").and_then(|id| id.parse::<RunId>().ok()) {
        return document_with_results(&request, id, &app, None).await;
    }
    let Ok(id) = id.parse::<RunId>() else { return not_found(&request, &format!("run `{id}`")) };
    match app.engine.run(id).await {
        Ok(Some(run)) => {
            let waiting = match app.engine.waiting(id).await {
                Ok(waiting) => waiting.into_iter().map(waiting_tasks).collect(),
                Err(error) => return unavailable(&request, &error),
            };
            let now = RunDetails { run: run_summary(run), waiting };
            respond(&request, &now, || {
                line(&now.run) + &now.waiting.iter().map(wait_line).collect::<String>()
            })
        }
        Ok(None) => not_found(&request, &format!("run `{id}`")),
        Err(error) => unavailable(&request, &error),
    }
}

/// `POST /org/{run}/document`.
#[utoipa::path(
    post, path = "/org/{run}/document", tag = "documents",
    description = "The body, which is what has become of a run's document since, with the results there are: each at \
                   its block, wherever that stands now.",
    params(("run" = String, Path)),
    request_body(content((String = "text/plain"), (String = "text/org")), description = "An Org document"),
    responses(
        (status = 200, description = "The document with results", content((String = "text/org"))),
        (status = 404, description = ""),
        (status = 408, description = "It comes too slowly",
         content((Problem = "application/problem+json"), (String = "text/plain"))),
        (status = 413, description = "It is too long",
         content((Problem = "application/problem+json"), (String = "text/plain"))),
    ),
)]
pub(super) async fn document(
    request: HttpRequest,
    sent: RequestBody,
    id: web::Path<String>,
    app: web::Data<App>,
) -> HttpResponse {
    if let Err(wrong) = Query::parse(&request, &[]) {
        return bad_request(&request, &wrong);
    }
    let Ok(id) = id.parse::<RunId>() else { return not_found(&request, &format!("run `{id}`")) };
    document_with_results(&request, id, &app, Some(sent.bytes.clone())).await
}

/// The document of a run with the results there are; of `current`, if that is what has become of it.
async fn document_with_results(
    request: &HttpRequest,
    id: RunId,
    app: &App,
    current: Option<Bytes>,
) -> HttpResponse {
    let yielded = match app.engine.run_outputs(id).await {
        Ok(Some(yielded)) => yielded,
        Ok(None) => return not_found(request, &format!("run `{id}`")),
        Err(error) => return unavailable(request, &error),
    };
    // A long document takes a while, and others are to be heard meanwhile.
    match web::block(move || yielded.document(current.as_deref(), false)).await {
        Ok(returned) => {
            let mut answer = HttpResponse::Ok();
            answer.insert_header((CONTENT_TYPE, "text/org; charset=utf-8"));
            for why in returned.missing.iter().take(Wrong::MAX_SHOWN) {
                answer.append_header((NOT_WRITTEN, in_header(why)));
            }
            answer.body(returned.text)
        }
        Err(error) => problem(request, StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

/// The header that names a result that is there and not in the document, and why.
const NOT_WRITTEN: &str = "Borges-Not-Written";

/// What may stand in a header.
fn in_header(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

/// `DELETE /org/{run}`.
#[utoipa::path(
    delete, path = "/org/{run}", tag = "documents", operation_id = "cancel",
    description = "Ends a run. Of one that has ended nothing is changed.",
    params(("run" = String, Path)),
    responses((status = 200, description = "It is being ended", content((RunKillResponse = "application/json"), (String = "text/plain"))),
              (status = 404, description = "")),
)]
pub(super) async fn kill_run(
    request: HttpRequest,
    id: web::Path<String>,
    app: web::Data<App>,
) -> HttpResponse {
    if let Err(wrong) = Query::parse(&request, &[]) {
        return bad_request(&request, &wrong);
    }
    let Ok(id) = id.parse::<RunId>() else { return not_found(&request, &format!("run `{id}`")) };
    match app.engine.kill_run(id).await {
        Ok(true) => respond(&request, &RunKillResponse { run: id, killing: true }, || {
            format!("{id} is being killed\n")
        }),
        Ok(false) => not_found(&request, &format!("run `{id}`")),
        Err(error) => unavailable(&request, &error),
    }
}

fn line(run: &api::RunSummary) -> String {
    let api::RunSummary { run, state, tasks, ended, accepted, .. } = run;
    format!("{run}  {state}  {ended} of {tasks} ended  {accepted}\n")
}

fn wait_line(WaitingTasks { block, line, seconds, tasks, reason }: &WaitingTasks) -> String {
    let more = if *tasks > 1 { format!(", and {} more", tasks - 1) } else { String::new() };
    format!("  {block}{more}: line {line}: waits for {seconds:.0} s: {reason}\n")
}

/// The document is wrong: nothing of it was launched.
fn wrong(request: &HttpRequest, document: &[u8], problems: &[Wrong]) -> HttpResponse {
    let mut text = Wrong::render_all(problems, Severity::Error, "document", document);
    text += "No block was scheduled.\n";
    if negotiate(request) == ResponseFormat::Text {
        return plain_text(StatusCode::BAD_REQUEST, text);
    }
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let shown: Vec<_> = errors
        .take(Wrong::MAX_SHOWN)
        .map(|problem| DocumentError {
            file: problem
                .file
                .as_deref()
                .map(str::to_owned)
                .or_else(|| problem.in_setupfile.then(|| "the setupfile".to_owned())),
            line: problem.at.line,
            column: problem.at.column,
            text: problem.text.clone(),
            help: problem.help.clone(),
        })
        .collect();
    document_errors(StatusCode::BAD_REQUEST, "The document is wrong", &text, shown)
}

/// What runs and what does not; `known` are the tasks that need not be run, where that was looked for.
fn scheduled(
    request: &HttpRequest,
    run: Option<RunId>,
    plan: &Plan,
    known: &BTreeMap<u32, String>,
    note: Option<&str>,
) -> HttpResponse {
    if negotiate(request) == ResponseFormat::Json {
        let waits = |number: u32| plan.edges.iter().any(|edge| edge.to == number);
        let tasks = plan.tasks.iter().map(|task| BlockSummary {
            block: task.block.to_string(),
            task: run.map(|run| run.task(task.number).to_string()),
            line: task.line,
            index: task.index,
            state: match known.get(&task.number) {
                Some(_) => State::Finished,
                None if waits(task.number) => State::Blocked,
                None => State::Queued,
            },
            reason: known.get(&task.number).cloned(),
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
    if !known.is_empty() {
        text += &format!("Cached {}:\n", known.len());
        for task in &plan.tasks {
            if let Some(origin) = known.get(&task.number) {
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

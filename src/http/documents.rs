//! `/org`: submits documents, and lists, shows and kills runs.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HOST};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;

use super::body_limits::RequestBody;
use super::query::{Query, bad_request};
use super::response::{not_found, problem, respond, unavailable};
use super::state::AppState;
use super::submit_response::{invalid_document, submit_response};
use super::tasks::MAX_PAGE;
use super::upload;
use borges_api::{self as api, Problem, RunDetails, RunKillResponse, RunPage, SubmitResponse, WaitingTasks};
use borges_engine::{EngineError, ParseDocument, RunProgress, Submission, WaitingGroup};
use borges_plan::{CacheMode, Diagnostic, PlanOptions, Variable, predict_cache_hits};
use borges_task::RunId;

/// The header by which a client can repeat a POST without a second run.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The longest key, bytes.
const MAX_KEY_LEN: usize = 255;
/// The number of runs on a page, without `?limit=`.
const DEFAULT_PAGE: u64 = 100;

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
pub(super) async fn submit(
    request: HttpRequest,
    body: RequestBody,
    app: web::Data<AppState>,
) -> HttpResponse {
    let query = match Query::parse(&request, &["dry-run", "name", "resume", VARIABLE_PREFIX]) {
        Ok(query) => query,
        Err(message) => return bad_request(&request, &message),
    };
    let dry_run = match query.flag("dry-run") {
        Ok(dry_run) => dry_run,
        Err(message) => return bad_request(&request, &message),
    };
    let caching = match query.flag("resume") {
        Ok(true) => CacheMode::Resume,
        Ok(false) => CacheMode::OptIn,
        Err(message) => return bad_request(&request, &message),
    };
    let variables = match variables(&query) {
        Ok(variables) => variables,
        Err(message) => return bad_request(&request, &message),
    };
    let idempotency_key = match idempotency_key(&request) {
        Ok(idempotency_key) => idempotency_key,
        Err(message) => return bad_request(&request, &message),
    };
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let server_address = header(HOST).unwrap_or(&app.address);
    let received = match upload::document(header(CONTENT_TYPE), &body.bytes, server_address) {
        Ok(received) => received,
        Err(error) => return problem(&request, StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let document = Bytes::from(received.document.into_owned());
    let parse_request = ParseDocument {
        source: document.clone(),
        defaults: app.header_args.clone(),
        options: PlanOptions { names: query.get_all("name"), variables, ..app.plan_options.clone() },
    };
    let plan = match app.parser.read(parse_request).await {
        Ok(parsed) => parsed.plan,
        Err(error) => return unavailable(&request, &error),
    };
    let plan = match plan {
        Ok(plan) => plan,
        Err(diagnostics) => return invalid_document(&request, &document, &diagnostics),
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
        let prediction = web::block(move || {
            let read_file = |_: &str| Err("a server reads no files for a document".to_owned());
            (predict_cache_hits(&plan, &document, caching, |key| cache.peek(key), read_file), plan)
        });
        return match prediction.await {
            Ok((cache_hits, plan)) => submit_response(&request, None, &plan, &cache_hits, note.as_deref()),
            Err(error) => {
                let detail = format!("Borges cannot look for results: {error}. No block was scheduled.");
                problem(&request, StatusCode::SERVICE_UNAVAILABLE, &detail)
            }
        };
    }
    let submitted_plan = plan.clone();
    let submission = Submission { title: String::new(), document, plan, key: idempotency_key, caching };
    match app.engine.submit(submission).await {
        Ok(accepted) => {
            submit_response(&request, Some(accepted.run), &submitted_plan, &BTreeMap::new(), note.as_deref())
        }
        Err(EngineError::IdempotencyConflict(run)) => {
            let detail = format!(
                "Under this `{IDEMPOTENCY_KEY}` another document was submitted before, as run {run}. No block was scheduled; \
                 take a new key for a new document."
            );
            problem(&request, StatusCode::UNPROCESSABLE_ENTITY, &detail)
        }
        Err(error) => unavailable(&request, &error),
    }
}

/// The prefix of parameters that set variables of blocks: `var.BLOCK.NAME=VALUE`.
const VARIABLE_PREFIX: &str = "var.";

fn variables(query: &Query) -> Result<Vec<Variable>, String> {
    let parse = |(key, value): (&str, &str)| {
        Variable::of(key, value)
            .ok_or_else(|| format!("`{VARIABLE_PREFIX}{key}` is no variable: write `var.BLOCK.NAME=VALUE`."))
    };
    query.with_prefix(VARIABLE_PREFIX).map(parse).collect()
}

/// The idempotency key of a submission. `None` without the header.
fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, String> {
    let mut keys = request.headers().get_all(IDEMPOTENCY_KEY);
    let Some(idempotency_key) = keys.next() else { return Ok(None) };
    let is_valid = |idempotency_key: &&str| {
        (1..=MAX_KEY_LEN).contains(&idempotency_key.len())
            && idempotency_key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match (idempotency_key.to_str().ok().filter(is_valid), keys.next()) {
        (Some(idempotency_key), None) => Ok(Some(idempotency_key.to_owned())),
        (_, None) => Err(format!(
            "`{IDEMPOTENCY_KEY}` is not 1 to {MAX_KEY_LEN} visible ASCII characters. No block was scheduled."
        )),
        (_, Some(_)) => Err(format!("There are two `{IDEMPOTENCY_KEY}`. No block was scheduled.")),
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
pub(super) async fn runs(request: HttpRequest, app: web::Data<AppState>) -> HttpResponse {
    let query = match Query::parse(&request, &["after", "limit"]) {
        Ok(query) => query,
        Err(message) => return bad_request(&request, &message),
    };
    let page_query = query.get("after", "a run's id").and_then(|after| {
        let limit = query.number("limit", 1, MAX_PAGE)?.unwrap_or(DEFAULT_PAGE);
        Ok((after, usize::try_from(limit).unwrap_or(usize::MAX)))
    });
    let (after, limit) = match page_query {
        Ok(page_query) => page_query,
        Err(message) => return bad_request(&request, &message),
    };
    match app.engine.runs(after, limit + 1).await {
        Ok(mut runs) => {
            let has_more = runs.len() > limit;
            runs.truncate(limit);
            let next = runs.last().filter(|_| has_more).map(|run| run.run);
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
pub(super) async fn run(
    request: HttpRequest,
    id: web::Path<String>,
    app: web::Data<AppState>,
) -> HttpResponse {
    if let Err(message) = Query::parse(&request, &[]) {
        return bad_request(&request, &message);
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
            let details = RunDetails { run: run_summary(run), waiting };
            respond(&request, &details, || {
                line(&details.run) + &details.waiting.iter().map(waiting_line).collect::<String>()
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
    body: RequestBody,
    id: web::Path<String>,
    app: web::Data<AppState>,
) -> HttpResponse {
    if let Err(message) = Query::parse(&request, &[]) {
        return bad_request(&request, &message);
    }
    let Ok(id) = id.parse::<RunId>() else { return not_found(&request, &format!("run `{id}`")) };
    document_with_results(&request, id, &app, Some(body.bytes.clone())).await
}

/// The document of a run with its results. If `current` is given, the results are written into that text instead.
async fn document_with_results(
    request: &HttpRequest,
    id: RunId,
    app: &AppState,
    current: Option<Bytes>,
) -> HttpResponse {
    let outputs = match app.engine.run_outputs(id).await {
        Ok(Some(outputs)) => outputs,
        Ok(None) => return not_found(request, &format!("run `{id}`")),
        Err(error) => return unavailable(request, &error),
    };
    // Writing results into a long document takes time, and must not block the worker thread.
    match web::block(move || outputs.document(current.as_deref(), false)).await {
        Ok(written) => {
            let mut response = HttpResponse::Ok();
            response.insert_header((CONTENT_TYPE, "text/org; charset=utf-8"));
            for reason in written.missing.iter().take(Diagnostic::MAX_SHOWN) {
                response.append_header((NOT_WRITTEN_HEADER, header_text(reason)));
            }
            response.body(written.text)
        }
        Err(error) => problem(request, StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

/// The header that names a result that could not be written into the document, and the reason.
const NOT_WRITTEN_HEADER: &str = "Borges-Not-Written";

/// The text with `?` in place of characters that a header cannot hold.
fn header_text(text: &str) -> String {
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
    app: web::Data<AppState>,
) -> HttpResponse {
    if let Err(message) = Query::parse(&request, &[]) {
        return bad_request(&request, &message);
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

fn waiting_line(WaitingTasks { block, line, seconds, tasks, reason }: &WaitingTasks) -> String {
    let others = if *tasks > 1 { format!(", and {} more", tasks - 1) } else { String::new() };
    format!("  {block}{others}: line {line}: waits for {seconds:.0} s: {reason}\n")
}

//! `/tasks`: lists, shows and kills tasks.

use actix_web::{HttpRequest, HttpResponse, web};

use super::query::{Query, bad_request};
use super::response::{not_found, respond, unavailable};
use super::state::AppState;
use borges_api::{self as api, TaskKillResponse, TaskPage};
use borges_engine::{Engine, EngineError, TaskProgress};
use borges_task::{RunId, TaskId};

/// The most runs or tasks on a page.
pub(super) const MAX_PAGE: u64 = 1000;

/// `GET /tasks`.
#[utoipa::path(
    get, path = "/tasks", tag = "tasks",
    description = "Tasks, in order.",
    params(
        ("run" = Option<String>, Query,
         description = "only those of this run"),
        ("after" = Option<String>, Query,
         description = "only those behind this task: the `next` of the page before"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000, description = "at most so many; 1000 without"),
    ),
    responses((status = 200, description = "Tasks", content((TaskPage = "application/json"), (String = "text/plain"))),
              (status = 404, description = "")),
)]
pub(super) async fn tasks(request: HttpRequest, app: web::Data<AppState>) -> HttpResponse {
    let query = match Query::parse(&request, &["run", "after", "limit"]) {
        Ok(query) => query,
        Err(message) => return bad_request(&request, &message),
    };
    let (run, after, limit) = match parse_query(&query) {
        Ok(query) => query,
        Err(message) => return bad_request(&request, &message),
    };
    match page(&app.engine, run, after, limit).await {
        Ok(Ok(page)) => respond(&request, &page, || page.tasks.iter().map(line).collect()),
        Ok(Err(run)) => not_found(&request, &format!("run `{run}`")),
        Err(error) => unavailable(&request, &error),
    }
}

/// The run, the task after which the page begins, and the page size.
type TaskQuery = (Option<RunId>, Option<TaskId>, usize);

fn parse_query(query: &Query) -> Result<TaskQuery, String> {
    let run = query.get("run", "a run's id")?;
    let after = query.get("after", "a task's id (`RUN.N`)")?;
    let limit = query.number("limit", 1, MAX_PAGE)?.unwrap_or(MAX_PAGE);
    Ok((run, after, usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// A page of tasks. The inner `Err` is a run that does not exist.
async fn page(
    engine: &Engine,
    run: Option<RunId>,
    after: Option<TaskId>,
    limit: usize,
) -> Result<Result<TaskPage, RunId>, EngineError> {
    let mut tasks = engine.tasks(run, after, limit + 1).await?;
    if let Some(run) = run
        && tasks.is_empty()
        && engine.run(run).await?.is_none()
    {
        return Ok(Err(run));
    }
    let has_more = tasks.len() > limit;
    tasks.truncate(limit);
    let next = tasks.last().filter(|_| has_more).map(|task| task.task.clone());
    Ok(Ok(TaskPage { tasks: tasks.into_iter().map(task_summary).collect(), next }))
}

/// `GET /tasks/{task}`.
#[utoipa::path(
    get, path = "/tasks/{task}", tag = "tasks",
    description = "How a task stands.",
    params(("task" = String, Path)),
    responses((status = 200, description = "The task", content((api::TaskSummary = "application/json"), (String = "text/plain"))),
              (status = 404, description = "")),
)]
pub(super) async fn task(
    request: HttpRequest,
    id: web::Path<String>,
    app: web::Data<AppState>,
) -> HttpResponse {
    if let Err(message) = Query::parse(&request, &[]) {
        return bad_request(&request, &message);
    }
    match find_task(&id, &app.engine).await {
        Ok(Some((_, task))) => {
            let task = task_summary(task);
            respond(&request, &task, || line(&task))
        }
        Ok(None) => not_found(&request, &format!("task `{id}`")),
        Err(error) => unavailable(&request, &error),
    }
}

/// `DELETE /tasks/{task}`.
#[utoipa::path(
    delete, path = "/tasks/{task}", tag = "tasks",
    description = "Ends a task. Of one that has ended nothing is changed.",
    params(("task" = String, Path)),
    responses((status = 200, description = "It is being ended",
               content((TaskKillResponse = "application/json"), (String = "text/plain"))),
              (status = 404, description = "")),
)]
pub(super) async fn kill(
    request: HttpRequest,
    id: web::Path<String>,
    app: web::Data<AppState>,
) -> HttpResponse {
    if let Err(message) = Query::parse(&request, &[]) {
        return bad_request(&request, &message);
    }
    let Ok(task) = id.parse::<TaskId>() else { return not_found(&request, &format!("task `{id}`")) };
    match app.engine.kill_task(task).await {
        Ok(true) => {
            let response = TaskKillResponse { task: task.to_string(), killing: true };
            respond(&request, &response, || format!("{task} is being killed\n"))
        }
        Ok(false) => not_found(&request, &format!("task `{id}`")),
        Err(error) => unavailable(&request, &error),
    }
}

/// Finds a task by its id. `None` if it does not exist, or the id is invalid.
pub(super) async fn find_task(
    id: &str,
    engine: &Engine,
) -> Result<Option<(TaskId, TaskProgress)>, EngineError> {
    let Ok(task) = id.parse::<TaskId>() else { return Ok(None) };
    Ok(engine.task(task).await?.map(|summary| (task, summary)))
}

/// The wire type of a task.
fn task_summary(task: TaskProgress) -> api::TaskSummary {
    let TaskProgress {
        task,
        run,
        block,
        line,
        index,
        state,
        attempt,
        agent,
        exit_code,
        message,
        reason,
        seconds,
    } = task;
    api::TaskSummary {
        task,
        run,
        block,
        line,
        index,
        state,
        attempt,
        agent,
        exit_code,
        message,
        reason,
        seconds,
    }
}

fn line(task: &api::TaskSummary) -> String {
    let api::TaskSummary { task: id, block, line, state, attempt, exit_code, reason, message, .. } = task;
    let exit_text = exit_code.map(|code| format!("  exit code {code}")).unwrap_or_default();
    let reason_text =
        reason.as_ref().or(message.as_ref()).map(|text| format!("  {text}")).unwrap_or_default();
    format!("{id}  {block}  line {line}  {state}  launch {attempt}{exit_text}{reason_text}\n")
}

//! `/tasks`: where each task stands, and what it has written.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;

use super::App;
use super::answer::{answer, failed, missing, problem};
use crate::actors::{Engine, EngineError, Piece, TaskShown};
use crate::task::{LaunchId, RunId, State, TaskId};

/// Which tasks are listed.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    run: Option<RunId>,
    after: Option<String>,
    limit: Option<usize>,
}

/// How output is read.
#[derive(Debug, Deserialize)]
pub(super) struct Reading {
    follow: Option<String>,
}

/// Tasks on a page, unless asked for fewer.
const PAGE: usize = 1000;
/// Bytes read at once.
const CHUNK: usize = 256 << 10;
/// How often a running block is looked at for more.
const LISTEN: Duration = Duration::from_millis(100);

/// `GET /tasks`.
pub(super) async fn tasks(request: HttpRequest, page: web::Query<Page>, app: web::Data<App>) -> HttpResponse {
    let after = match page.after.as_deref().map(str::parse::<TaskId>).transpose() {
        Ok(after) => after,
        Err(bad) => {
            return problem(&request, actix_web::http::StatusCode::BAD_REQUEST, &format!("`after`: {bad}."));
        }
    };
    let limit = page.limit.unwrap_or(PAGE).min(PAGE);
    match app.engine.tasks(page.run, after, limit).await {
        Ok(tasks) => {
            let next = (tasks.len() == limit).then(|| tasks.last().map(|task| task.task.clone())).flatten();
            answer(&request, &json!({ "tasks": tasks, "next": next }), || tasks.iter().map(line).collect())
        }
        Err(error) => failed(&request, &error),
    }
}

/// `GET /tasks/{task}`.
pub(super) async fn task(request: HttpRequest, id: web::Path<String>, app: web::Data<App>) -> HttpResponse {
    match find(&id, &app.engine).await {
        Ok(Some((_, task))) => answer(&request, &task, || line(&task)),
        Ok(None) => missing(&request, &format!("task `{id}`")),
        Err(error) => failed(&request, &error),
    }
}

/// `DELETE /tasks/{task}`.
pub(super) async fn kill(request: HttpRequest, id: web::Path<String>, app: web::Data<App>) -> HttpResponse {
    let Ok(task) = id.parse::<TaskId>() else { return missing(&request, &format!("task `{id}`")) };
    match app.engine.kill_task(task).await {
        Ok(true) => {
            let said = json!({ "task": task.to_string(), "killing": true });
            answer(&request, &said, || format!("{task} is being killed\n"))
        }
        Ok(false) => missing(&request, &format!("task `{id}`")),
        Err(error) => failed(&request, &error),
    }
}

/// `GET /tasks/{task}/stdout`.
pub(super) async fn stdout(
    request: HttpRequest,
    id: web::Path<String>,
    reading: web::Query<Reading>,
    app: web::Data<App>,
) -> HttpResponse {
    output(request, id, reading, app, "block/stdout").await
}

/// `GET /tasks/{task}/stderr`.
pub(super) async fn stderr(
    request: HttpRequest,
    id: web::Path<String>,
    reading: web::Query<Reading>,
    app: web::Data<App>,
) -> HttpResponse {
    output(request, id, reading, app, "block/stderr").await
}

/// What the task's last launch has written; with `follow`, until it ends.
async fn output(
    request: HttpRequest,
    id: web::Path<String>,
    reading: web::Query<Reading>,
    app: web::Data<App>,
    file: &'static str,
) -> HttpResponse {
    let (task, shown) = match find(&id, &app.engine).await {
        Ok(Some(found)) => found,
        Ok(None) => return missing(&request, &format!("task `{id}`")),
        Err(error) => return failed(&request, &error),
    };
    let reader = Follower {
        engine: app.engine.clone(),
        launch: task.launch(shown.attempt),
        file,
        offset: 0,
        follow: reading.follow.as_deref().is_some_and(|wanted| wanted != "0"),
    };
    let chunks = stream::try_unfold(reader, |mut reader| async move {
        Ok::<_, EngineError>(reader.next().await?.map(|bytes| (bytes, reader)))
    });
    // What it is, only its author knows; a browser must not guess.
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .streaming(chunks)
}

/// Reads a file of a launch, piece by piece.
struct Follower {
    engine: Engine,
    launch: LaunchId,
    file: &'static str,
    offset: u64,
    follow: bool,
}

impl Follower {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            // Asked before the file is read: what a block writes at its very end is then not missed.
            let over = match self.engine.task(self.launch.task).await? {
                Some(task) => task.attempt != self.launch.attempt || !may_write(task.state),
                None => true,
            };
            let mut read =
                self.engine.read_output(self.launch, vec![(self.file.into(), self.offset)], CHUNK).await?;
            match read.pop() {
                Some(Piece::Bytes(bytes, _)) if !bytes.is_empty() => {
                    self.offset += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Some(Piece::Bytes(..) | Piece::Missing | Piece::Directory) | None => {}
                Some(Piece::Unreadable(why) | Piece::BadPath(why)) => {
                    log::warn!("{}: {why}", self.launch);
                    return Ok(None);
                }
            }
            if over || !self.follow {
                return Ok(None);
            }
            actix_web::rt::time::sleep(LISTEN).await;
        }
    }
}

/// A launch of a task in this state may write more.
fn may_write(state: State) -> bool {
    match state {
        State::Held
        | State::Blocked
        | State::Queued
        | State::Launching
        | State::Running
        | State::Unreachable
        | State::Killing => true,
        State::Delayed | State::Finished | State::Failed | State::Killed | State::Skipped => false,
    }
}

async fn find(id: &str, engine: &Engine) -> Result<Option<(TaskId, TaskShown)>, EngineError> {
    let Ok(task) = id.parse::<TaskId>() else { return Ok(None) };
    Ok(engine.task(task).await?.map(|shown| (task, shown)))
}

fn line(task: &TaskShown) -> String {
    let TaskShown { task: id, block, line, state, attempt, exit_code, reason, message, .. } = task;
    let code = exit_code.map(|code| format!("  exit code {code}")).unwrap_or_default();
    let why = reason.as_ref().or(message.as_ref()).map(|why| format!("  {why}")).unwrap_or_default();
    format!("{id}  {block}  line {line}  {state}  launch {attempt}{code}{why}\n")
}

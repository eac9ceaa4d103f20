//! `/tasks/{task}/stdout`, `/stderr`: streams the output of a task, also while it is written.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;

use super::query::{Query, bad_request};
use super::response::{not_found, unavailable};
use super::state::AppState;
use super::tasks::find_task;
use borges_engine::{Engine, EngineError, FileRead, TaskProgress};
use borges_task::{LaunchId, State, TaskId};

/// The most bytes that are read at once.
pub(super) const CHUNK: usize = 256 << 10;
/// The interval between two reads of the output of a running block.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// `GET /tasks/{task}/stdout`.
#[utoipa::path(
    get, path = "/tasks/{task}/stdout", tag = "tasks",
    description = "What the task has written to its standard output, byte by byte.",
    params(
        ("task" = String, Path),
        ("follow" = Option<u8>, Query, maximum = 1, description = "1: goes on until the task ends, or the launch that is asked for"),
        ("attempt" = Option<u32>, Query, minimum = 1, description = "of this launch; without it, of the last"),
        ("offset" = Option<u64>, Query, maximum = 9_223_372_036_854_775_807_u64, description = "from this byte on"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 9_223_372_036_854_775_807_u64, description = "at most so many bytes"),
    ),
    responses((status = 200, description = "What was written", content_type = "text/plain", body = String,
               headers(("Borges-Offset" = u64, description = "where it begins, when what comes before is not kept any more"))),
              (status = 404, description = "")),
)]
pub(super) async fn stdout(
    request: HttpRequest,
    id: web::Path<String>,
    app: web::Data<AppState>,
) -> HttpResponse {
    output(request, id, app, "block/stdout").await
}

/// `GET /tasks/{task}/stderr`.
#[utoipa::path(
    get, path = "/tasks/{task}/stderr", tag = "tasks",
    description = "What the task has written to its standard error, byte by byte.",
    params(
        ("task" = String, Path),
        ("follow" = Option<u8>, Query, maximum = 1, description = "1: goes on until the task ends, or the launch that is asked for"),
        ("attempt" = Option<u32>, Query, minimum = 1, description = "of this launch; without it, of the last"),
        ("offset" = Option<u64>, Query, maximum = 9_223_372_036_854_775_807_u64, description = "from this byte on"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 9_223_372_036_854_775_807_u64, description = "at most so many bytes"),
    ),
    responses((status = 200, description = "What was written", content_type = "text/plain", body = String,
               headers(("Borges-Offset" = u64, description = "where it begins, when what comes before is not kept any more"))),
              (status = 404, description = "")),
)]
pub(super) async fn stderr(
    request: HttpRequest,
    id: web::Path<String>,
    app: web::Data<AppState>,
) -> HttpResponse {
    output(request, id, app, "block/stderr").await
}

/// The header with the offset of the first byte, if it is not the requested one.
pub const OFFSET_HEADER: &str = "Borges-Offset";

/// The largest offset in a file.
const MAX_OFFSET: u64 = i64::MAX.unsigned_abs();

/// The parameters of a request.
struct OutputQuery {
    follow: bool,
    attempt: Option<u32>,
    /// Set if the client gave `?offset=`: truncation is then reported in `Borges-Offset`, and otherwise in the body.
    offset: Option<u64>,
    limit: u64,
}

fn parse_output_query(query: &Query) -> Result<OutputQuery, String> {
    Ok(OutputQuery {
        follow: query.flag("follow")?,
        attempt: attempt(query)?,
        offset: query.number("offset", 0, MAX_OFFSET)?,
        limit: query.number("limit", 1, MAX_OFFSET)?.unwrap_or(u64::MAX),
    })
}

/// The launch number in `?attempt=`. `None` without the parameter.
pub(super) fn attempt(query: &Query) -> Result<Option<u32>, String> {
    let number = query.number("attempt", 1, u32::MAX.into())?;
    Ok(number.and_then(|number| u32::try_from(number).ok()))
}

/// The launch with the number `attempt`, or the last one. `None` if there was no such launch.
pub(super) fn launch(task: TaskId, summary: &TaskProgress, attempt: Option<u32>) -> Option<LaunchId> {
    let attempt = attempt.unwrap_or(summary.attempt);
    (attempt <= summary.attempt).then(|| task.launch(attempt))
}

async fn output(
    request: HttpRequest,
    id: web::Path<String>,
    app: web::Data<AppState>,
    path: &'static str,
) -> HttpResponse {
    let query = match Query::parse(&request, &["follow", "attempt", "offset", "limit"]) {
        Ok(query) => query,
        Err(message) => return bad_request(&request, &message),
    };
    let OutputQuery { follow, attempt, offset, limit } = match parse_output_query(&query) {
        Ok(query) => query,
        Err(message) => return bad_request(&request, &message),
    };
    let (task, summary) = match find_task(&id, &app.engine).await {
        Ok(Some(found)) => found,
        Ok(None) => return not_found(&request, &format!("task `{id}`")),
        Err(error) => return unavailable(&request, &error),
    };
    let Some(launch) = launch(task, &summary, attempt) else {
        return not_found(&request, &format!("such launch of task `{id}`: it has had {}", summary.attempt));
    };
    // The type of the output is unknown, and a browser must not guess it.
    let mut response = HttpResponse::Ok();
    response.content_type("text/plain; charset=utf-8").insert_header(("X-Content-Type-Options", "nosniff"));
    if request.method() == Method::HEAD {
        return response.finish();
    }
    let across_launches = attempt.is_none();
    let mut reader = OutputReader {
        engine: app.engine.clone(),
        launch,
        path: path.into(),
        offset: offset.unwrap_or_default(),
        remaining: limit,
        follow,
        across_launches,
        reports_gaps: offset.is_none(),
    };
    if let Some(offset) = offset {
        match reader.skip_truncated().await {
            Ok(()) if reader.offset > offset => {
                response.insert_header((OFFSET_HEADER, reader.offset));
            }
            Ok(()) => {}
            Err(error) => return unavailable(&request, &error),
        }
    }
    // A part that is read at once has a Content-Length, so the client notices if it was cut off.
    if !follow && !reader.reports_gaps && limit <= CHUNK as u64 {
        return match reader.next().await {
            Ok(bytes) => response.body(bytes.unwrap_or_default()),
            Err(error) => unavailable(&request, &error),
        };
    }
    response.streaming(stream::try_unfold(reader, |mut reader| async move {
        Ok::<_, EngineError>(reader.next().await?.map(|bytes| (bytes, reader)))
    }))
}

/// Reads an output file of a task's launches in chunks.
struct OutputReader {
    engine: Engine,
    launch: LaunchId,
    path: Arc<str>,
    offset: u64,
    /// The number of bytes still to send.
    remaining: u64,
    follow: bool,
    /// Whether to continue with the next launch until the task ends.
    across_launches: bool,
    /// Whether missing bytes are reported in the body.
    reports_gaps: bool,
}

impl OutputReader {
    /// Advances the offset to the first stored byte.
    async fn skip_truncated(&mut self) -> Result<(), EngineError> {
        let files = vec![(self.path.clone(), self.offset)];
        if let Some(FileRead::Bytes { from, .. }) =
            self.engine.read_output(self.launch, files, 1).await?.pop()
        {
            self.offset = from;
        }
        Ok(())
    }

    /// The next chunk. `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            let length = CHUNK.min(usize::try_from(self.remaining).unwrap_or(CHUNK));
            if length == 0 {
                return Ok(None);
            }
            // The state is read before the file, so that the last output before the end is not missed.
            let task = self.engine.task(self.launch.task).await?;
            let files = vec![(self.path.clone(), self.offset)];
            let mut read = self.engine.read_output(self.launch, files, length).await?;
            match read.pop() {
                Some(FileRead::Bytes { from, .. }) if from > self.offset => {
                    let missing = from - self.offset;
                    self.offset = from;
                    // A client that uses offsets gets the offset in a header of its next request.
                    let notice = format!("[{missing} bytes are not kept any more]\n");
                    return Ok(self.reports_gaps.then(|| notice.into()));
                }
                Some(FileRead::Bytes { bytes, .. }) if !bytes.is_empty() => {
                    self.offset += bytes.len() as u64;
                    self.remaining -= bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Some(FileRead::Bytes { .. } | FileRead::NotFound) | None => {}
                Some(FileRead::Directory) => return Ok(None),
                Some(FileRead::Unreadable(reason) | FileRead::BadPath(reason)) => {
                    log::warn!("{}: {reason}", self.launch);
                    return Ok(None);
                }
            }
            let Some(task) = task.filter(|_| self.follow) else { return Ok(None) };
            let is_last = task.attempt == self.launch.attempt;
            if self.across_launches && !is_last {
                self.launch.attempt += 1;
                self.offset = 0;
                continue;
            }
            let has_ended = if self.across_launches {
                task.state.is_terminal()
            } else {
                !is_last || !may_write(task.state)
            };
            if has_ended {
                return Ok(None);
            }
            actix_web::rt::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Whether a launch of a task in this state may write more output.
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

//! `/tasks/{task}/stdout`, `/stderr`: what a task has written, and what it writes.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;

use super::App;
use super::query::{Query, bad_request};
use super::response::{not_found, unavailable};
use super::tasks::find;
use borges_engine::{Engine, EngineError, FileRead, TaskProgress};
use borges_task::{LaunchId, State, TaskId};

/// Bytes read at once.
pub(super) const CHUNK: usize = 256 << 10;
/// How often a running block is looked at for more.
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
pub(super) async fn stdout(request: HttpRequest, id: web::Path<String>, app: web::Data<App>) -> HttpResponse {
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
pub(super) async fn stderr(request: HttpRequest, id: web::Path<String>, app: web::Data<App>) -> HttpResponse {
    output(request, id, app, "block/stderr").await
}

/// The header that says where the bytes of an answer begin in the stream, where that is not where they were to.
pub const OFFSET_HEADER: &str = "Borges-Offset";

/// The last place of a file that systems know of.
const MAX_OFFSET: u64 = i64::MAX.unsigned_abs();

/// Which part of it, and whether to go on.
struct OutputQuery {
    follow: bool,
    attempt: Option<u32>,
    /// Who names a place can be told that the answer begins behind it; all others are told in the text.
    offset: Option<u64>,
    limit: u64,
}

fn part(query: &Query) -> Result<OutputQuery, String> {
    Ok(OutputQuery {
        follow: query.flag("follow")?,
        attempt: attempt(query)?,
        offset: query.number("offset", 0, MAX_OFFSET)?,
        limit: query.number("limit", 1, MAX_OFFSET)?.unwrap_or(u64::MAX),
    })
}

/// `?attempt=`: which launch.
pub(super) fn attempt(query: &Query) -> Result<Option<u32>, String> {
    let number = query.number("attempt", 1, u32::MAX.into())?;
    Ok(number.and_then(|number| u32::try_from(number).ok()))
}

/// The launch meant: the last one, or the one asked for, if there was such a one.
pub(super) fn launch(task: TaskId, shown: &TaskProgress, attempt: Option<u32>) -> Option<LaunchId> {
    let attempt = attempt.unwrap_or(shown.attempt);
    (attempt <= shown.attempt).then(|| task.launch(attempt))
}

async fn output(
    request: HttpRequest,
    id: web::Path<String>,
    app: web::Data<App>,
    file: &'static str,
) -> HttpResponse {
    let query = match Query::parse(&request, &["follow", "attempt", "offset", "limit"]) {
        Ok(query) => query,
        Err(wrong) => return bad_request(&request, &wrong),
    };
    let OutputQuery { follow, attempt, offset, limit } = match part(&query) {
        Ok(part) => part,
        Err(wrong) => return bad_request(&request, &wrong),
    };
    let (task, shown) = match find(&id, &app.engine).await {
        Ok(Some(found)) => found,
        Ok(None) => return not_found(&request, &format!("task `{id}`")),
        Err(error) => return unavailable(&request, &error),
    };
    let Some(launch) = launch(task, &shown, attempt) else {
        return not_found(&request, &format!("such launch of task `{id}`: it has had {}", shown.attempt));
    };
    // What it is, only its author knows; a browser must not guess.
    let mut answer = HttpResponse::Ok();
    answer.content_type("text/plain; charset=utf-8").insert_header(("X-Content-Type-Options", "nosniff"));
    if request.method() == Method::HEAD {
        return answer.finish();
    }
    let across_launches = attempt.is_none();
    let mut reader = OutputReader {
        engine: app.engine.clone(),
        launch,
        file: file.into(),
        offset: offset.unwrap_or_default(),
        left: limit,
        follow,
        across_launches,
        tells_gaps: offset.is_none(),
    };
    if let Some(offset) = offset {
        match reader.skip_truncated().await {
            Ok(()) if reader.offset > offset => {
                answer.insert_header((OFFSET_HEADER, reader.offset));
            }
            Ok(()) => {}
            Err(error) => return unavailable(&request, &error),
        }
    }
    // A piece that is read at once comes with its length: a client sees when it was cut off.
    if !follow && !reader.tells_gaps && limit <= CHUNK as u64 {
        return match reader.next().await {
            Ok(bytes) => answer.body(bytes.unwrap_or_default()),
            Err(error) => unavailable(&request, &error),
        };
    }
    answer.streaming(stream::try_unfold(reader, |mut reader| async move {
        Ok::<_, EngineError>(reader.next().await?.map(|bytes| (bytes, reader)))
    }))
}

/// Reads a file of a task's launches, piece by piece.
struct OutputReader {
    engine: Engine,
    launch: LaunchId,
    file: Arc<str>,
    offset: u64,
    /// How many bytes are still wanted.
    left: u64,
    follow: bool,
    /// From launch to launch, to the task's end.
    across_launches: bool,
    /// Says in the text what is not kept any more.
    tells_gaps: bool,
}

impl OutputReader {
    /// Begins where there is something, when what comes before is not kept any more.
    async fn skip_truncated(&mut self) -> Result<(), EngineError> {
        let files = vec![(self.file.clone(), self.offset)];
        if let Some(FileRead::Bytes { from, .. }) =
            self.engine.read_output(self.launch, files, 1).await?.pop()
        {
            self.offset = from;
        }
        Ok(())
    }

    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            let length = CHUNK.min(usize::try_from(self.left).unwrap_or(CHUNK));
            if length == 0 {
                return Ok(None);
            }
            // Asked before the file is read: what a block writes at its very end is then not missed.
            let task = self.engine.task(self.launch.task).await?;
            let files = vec![(self.file.clone(), self.offset)];
            let mut read = self.engine.read_output(self.launch, files, length).await?;
            match read.pop() {
                Some(FileRead::Bytes { from, .. }) if from > self.offset => {
                    let gone = from - self.offset;
                    self.offset = from;
                    // Who reckons with places comes again, and is told by the head of the answer.
                    let note = format!("[{gone} bytes are not kept any more]\n");
                    return Ok(self.tells_gaps.then(|| note.into()));
                }
                Some(FileRead::Bytes { bytes, .. }) if !bytes.is_empty() => {
                    self.offset += bytes.len() as u64;
                    self.left -= bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Some(FileRead::Bytes { .. } | FileRead::NotFound) | None => {}
                Some(FileRead::Directory) => return Ok(None),
                Some(FileRead::Unreadable(why) | FileRead::BadPath(why)) => {
                    log::warn!("{}: {why}", self.launch);
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
            let is_over = if self.across_launches {
                task.state.is_terminal()
            } else {
                !is_last || !may_write(task.state)
            };
            if is_over {
                return Ok(None);
            }
            actix_web::rt::time::sleep(POLL_INTERVAL).await;
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

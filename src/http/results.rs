//! `/org/{run}/results`: what the blocks of a run have left.

use std::fmt::Write;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::query::{Query, bad_request};
use super::response::{not_found, respond, unavailable};
use borges_store::{ResultFile, ResultRecord};
use borges_task::RunId;

/// What the blocks of a run have left.
#[derive(Debug, Serialize, ToSchema)]
struct ResultPage {
    /// Of each task that has ended and been launched, in order.
    results: Vec<TaskResult>,
}

/// What a task has left.
#[derive(Debug, Serialize, ToSchema)]
struct TaskResult {
    task: String,
    block: String,
    line: u32,
    /// The instance of the block.
    index: u32,
    /// Which of its launches.
    attempt: u32,
    /// What is in its sandbox.
    files: Vec<ResultFileInfo>,
}

/// A file that a task has left.
#[derive(Debug, Serialize, ToSchema)]
struct ResultFileInfo {
    /// To be read at `/tasks/{task}/files/{path}`.
    path: String,
    /// Bytes.
    size: u64,
    /// Of what is in it; `null` for one that is too large to be handed on to another block.
    sha256: Option<String>,
}

impl From<ResultRecord> for TaskResult {
    fn from(record: ResultRecord) -> Self {
        let ResultRecord { task, attempt, block, line, index, files } = record;
        let files = files.into_iter().map(ResultFileInfo::from).collect();
        Self { task: task.to_string(), block: block.to_string(), line, index, attempt, files }
    }
}

impl From<ResultFile> for ResultFileInfo {
    fn from(ResultFile { path, size, sha256 }: ResultFile) -> Self {
        let hexadecimal = |hash: [u8; 32]| {
            hash.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
        };
        Self { path, size, sha256: sha256.map(hexadecimal) }
    }
}

/// `GET /org/{run}/results`.
#[utoipa::path(
    get, path = "/org/{run}/results", tag = "documents",
    description = "What the blocks of a run have left: files, their sizes and hashes. A block is told of within seconds \
                   of its end.",
    params(("run" = String, Path)),
    responses((status = 200, description = "What they have left",
               content((ResultPage = "application/json"), (String = "text/plain"))),
              (status = 404, description = "")),
)]
pub(super) async fn results(
    request: HttpRequest,
    id: web::Path<String>,
    app: web::Data<App>,
) -> HttpResponse {
    if let Err(wrong) = Query::parse(&request, &[]) {
        return bad_request(&request, &wrong);
    }
    let Ok(run) = id.parse::<RunId>() else { return not_found(&request, &format!("run `{id}`")) };
    match app.engine.run(run).await {
        Ok(Some(_)) => {}
        Ok(None) => return not_found(&request, &format!("run `{id}`")),
        Err(error) => return unavailable(&request, &error),
    }
    match app.engine.results(run).await {
        Ok(results) => {
            let page = ResultPage { results: results.into_iter().map(TaskResult::from).collect() };
            respond(&request, &page, || page.results.iter().map(lines).collect())
        }
        Err(error) => unavailable(&request, &error),
    }
}

/// A line a file.
fn lines(result: &TaskResult) -> String {
    let TaskResult { task, block, line, files, .. } = result;
    files.iter().fold(String::new(), |mut text, ResultFileInfo { path, size, sha256 }| {
        let sha256 = sha256.as_deref().unwrap_or("-");
        let _ = writeln!(text, "{task}  {block} (line {line})  {path}  {size}  {sha256}");
        text
    })
}

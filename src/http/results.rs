//! `/org/{run}/results`: lists the output files of a run.

use std::fmt::Write;

use actix_web::{HttpRequest, HttpResponse, web};

use super::query::{Query, bad_request};
use super::response::{not_found, respond, unavailable};
use super::state::AppState;
use borges_api::{ResultFileInfo, ResultPage, TaskResult};
use borges_store::{ResultFile, ResultRecord};
use borges_task::RunId;

/// The wire type of the output files of a task.
fn task_result(record: ResultRecord) -> TaskResult {
    let ResultRecord { task, attempt, block, line, index, files } = record;
    let files = files.into_iter().map(file_info).collect();
    TaskResult { task: task.to_string(), block: block.to_string(), line, index, attempt, files }
}

/// The wire type of an output file.
fn file_info(ResultFile { path, size, sha256 }: ResultFile) -> ResultFileInfo {
    let hexadecimal = |hash: [u8; 32]| {
        hash.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    ResultFileInfo { path, size, sha256: sha256.map(hexadecimal) }
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
    app: web::Data<AppState>,
) -> HttpResponse {
    if let Err(message) = Query::parse(&request, &[]) {
        return bad_request(&request, &message);
    }
    let Ok(run) = id.parse::<RunId>() else { return not_found(&request, &format!("run `{id}`")) };
    match app.engine.run(run).await {
        Ok(Some(_)) => {}
        Ok(None) => return not_found(&request, &format!("run `{id}`")),
        Err(error) => return unavailable(&request, &error),
    }
    match app.engine.results(run).await {
        Ok(results) => {
            let page = ResultPage { results: results.into_iter().map(task_result).collect() };
            respond(&request, &page, || page.results.iter().map(lines).collect())
        }
        Err(error) => unavailable(&request, &error),
    }
}

/// One line for each file.
fn lines(result: &TaskResult) -> String {
    let TaskResult { task, block, line, files, .. } = result;
    files.iter().fold(String::new(), |mut text, ResultFileInfo { path, size, sha256 }| {
        let sha256 = sha256.as_deref().unwrap_or("-");
        let _ = writeln!(text, "{task}  {block} (line {line})  {path}  {size}  {sha256}");
        text
    })
}

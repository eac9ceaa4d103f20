//! `/tasks/{task}/files/…`: lists directories of a launch's sandbox, and streams its files.

use std::sync::Arc;

use actix_web::body::SizedStream;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;

use super::output::{CHUNK, attempt, launch};
use super::query::{Query, bad_request};
use super::response::{not_found, problem, respond, unavailable};
use super::state::AppState;
use super::tasks::find_task;
use borges_api::{FileInfo, Listing};
use borges_engine::{DirectoryRead, Engine, EngineError, FileRead};
use borges_task::LaunchId;

/// `GET /tasks/{task}/files`.
#[utoipa::path(
    get, path = "/tasks/{task}/files", tag = "tasks",
    description = "What the sandbox of the task's last launch holds.",
    params(
        ("task" = String, Path),
        ("attempt" = Option<u32>, Query, minimum = 1, description = "of this launch; without it, of the last"),
    ),
    responses((status = 200, description = "What it holds",
               content((Listing = "application/json"), (String = "text/plain"))),
              (status = 404, description = "")),
)]
pub(super) async fn root(
    request: HttpRequest,
    id: web::Path<String>,
    app: web::Data<AppState>,
) -> HttpResponse {
    let id = id.into_inner();
    file(request, web::Path::from((id, String::new())), app).await
}

/// `GET /tasks/{task}/files/{path}`.
#[utoipa::path(
    get, path = "/tasks/{task}/files/{path}", tag = "tasks",
    description = "A file of the sandbox of the task's last launch, whole; or what a directory of it holds.",
    params(
        ("task" = String, Path),
        ("path" = String, Path, description = "relative to the sandbox, without `..`; may hold slashes"),
        ("attempt" = Option<u32>, Query, minimum = 1, description = "of this launch; without it, of the last"),
    ),
    responses((status = 200, description = "The file's bytes, of the type that its name tells; or what the directory holds",
               content((Listing = "application/json"), (String = "text/plain"), (Vec<u8> = "*/*"))),
              (status = 404, description = "")),
)]
pub(super) async fn file(
    request: HttpRequest,
    path_parameters: web::Path<(String, String)>,
    app: web::Data<AppState>,
) -> HttpResponse {
    let (id, path) = path_parameters.into_inner();
    let attempt = match Query::parse(&request, &["attempt"]).and_then(|query| attempt(&query)) {
        Ok(attempt) => attempt,
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
    let path: Arc<str> = path.into();
    if path.is_empty() {
        return directory(&request, &app.engine, launch, path).await;
    }
    let read = app.engine.read_output(launch, vec![(path.clone(), 0)], CHUNK).await;
    match read.map(|mut reads| reads.pop()) {
        Ok(Some(FileRead::Bytes { from, .. })) if from > 0 => {
            unreadable(&request, &truncated_message(&path, from))
        }
        Ok(Some(FileRead::Bytes { bytes, size, .. })) => {
            file_response(&request, &app.engine, launch, path, bytes, size)
        }
        Ok(Some(FileRead::Directory)) => directory(&request, &app.engine, launch, path).await,
        Ok(Some(FileRead::NotFound) | None) => file_not_found(&request, launch, &path),
        Ok(Some(FileRead::BadPath(reason))) => bad_request(&request, &format!("{reason}.")),
        Ok(Some(FileRead::Unreadable(reason))) => unreadable(&request, &reason),
        Err(error) => unavailable(&request, &error),
    }
}

async fn directory(request: &HttpRequest, engine: &Engine, launch: LaunchId, path: Arc<str>) -> HttpResponse {
    match engine.list_files(launch, path.clone()).await {
        Ok(DirectoryRead::Files(entries)) => {
            let files: Vec<FileInfo> = entries
                .into_iter()
                .map(|file| FileInfo { name: file.name, size: file.size, kind: file.kind.name().into() })
                .collect();
            let listing = Listing { files };
            respond(request, &listing, || listing.files.iter().map(line).collect())
        }
        Ok(DirectoryRead::NotFound) => file_not_found(request, launch, &path),
        Ok(DirectoryRead::BadPath(reason)) => bad_request(request, &format!("{reason}.")),
        Ok(DirectoryRead::Unreadable(reason)) => unreadable(request, &reason),
        Err(error) => unavailable(request, &error),
    }
}

fn line(FileInfo { name, size, kind }: &FileInfo) -> String {
    let suffix = if *kind == "directory" { "/" } else { "" };
    let kind = if matches!(&**kind, "file" | "directory") { String::new() } else { format!("  ({kind})") };
    format!("{size:>12}  {}{suffix}{kind}\n", name.escape_debug())
}

fn file_not_found(request: &HttpRequest, launch: LaunchId, path: &str) -> HttpResponse {
    match path {
        "" => {
            not_found(request, &format!("sandbox of launch `{launch}`: it was not launched, or is removed"))
        }
        path => not_found(request, &format!("file `{}` in the sandbox of `{launch}`", path.escape_debug())),
    }
}

fn unreadable(request: &HttpRequest, reason: &str) -> HttpResponse {
    problem(request, StatusCode::FORBIDDEN, &format!("{reason}."))
}

/// The message for an output file of a service whose first bytes are no longer stored.
fn truncated_message(path: &str, from: u64) -> String {
    let stream = path.trim_start_matches("block/");
    format!(
        "the first {from} bytes of `{path}` are not kept any more: `/{stream}` of the task tells the rest"
    )
}

/// Streams a file up to its current size. `first_chunk` is its beginning. Bytes appended later are not sent.
fn file_response(
    request: &HttpRequest,
    engine: &Engine,
    launch: LaunchId,
    path: Arc<str>,
    first_chunk: Bytes,
    size: u64,
) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .content_type(content_type(&path))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        // A page that a block wrote must not act as a page of this server: the sandbox gives it an origin of its own.
        .insert_header(("Content-Security-Policy", "sandbox"));
    if request.method() == Method::HEAD {
        return response.body(SizedStream::new(size, stream::empty::<Result<Bytes, EngineError>>()));
    }
    let engine = engine.clone();
    let start = (Some(first_chunk), 0);
    let chunks = stream::try_unfold(start, move |(first_chunk, offset)| {
        let (engine, path) = (engine.clone(), path.clone());
        async move {
            let bytes = match first_chunk {
                Some(first_chunk) => first_chunk,
                None if offset >= size => Bytes::new(),
                None => match engine.read_output(launch, vec![(path, offset)], CHUNK).await?.pop() {
                    Some(FileRead::Bytes { from, bytes, .. }) if from == offset => bytes,
                    _ => Bytes::new(),
                },
            };
            let remaining = usize::try_from(size - offset).unwrap_or(usize::MAX);
            let bytes = bytes.slice(..bytes.len().min(remaining));
            let next = offset + bytes.len() as u64;
            // If the file was truncated meanwhile, the body ends early, and the client sees that from its length.
            Ok::<_, EngineError>((!bytes.is_empty()).then_some((bytes, (None, next))))
        }
    });
    response.body(SizedStream::new(size, Box::pin(chunks)))
}

/// The content type of a file, by the extension of its name.
fn content_type(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match (extension.as_deref(), name) {
        (Some("txt" | "log" | "org" | "md" | "out" | "err" | "dat" | "tsv" | "yaml" | "yml" | "toml"), _)
        | (None, "stdout" | "stderr" | "body" | "exit" | "value") => "text/plain; charset=utf-8",
        (Some("csv"), _) => "text/csv; charset=utf-8",
        (Some("json"), _) => "application/json",
        (Some("xml"), _) => "application/xml",
        (Some("html" | "htm"), _) => "text/html; charset=utf-8",
        (Some("svg"), _) => "image/svg+xml",
        (Some("png"), _) => "image/png",
        (Some("jpg" | "jpeg"), _) => "image/jpeg",
        (Some("gif"), _) => "image/gif",
        (Some("webp"), _) => "image/webp",
        (Some("pdf"), _) => "application/pdf",
        (Some("gz" | "tgz"), _) => "application/gzip",
        (Some("zip"), _) => "application/zip",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_follow_the_extension() {
        for (path, expected) in [
            ("block/stdout", "text/plain; charset=utf-8"),
            ("stdout.gz", "application/gzip"),
            ("plot.PNG", "image/png"),
            (".log/x", "application/octet-stream"),
            ("png", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(content_type(path), expected, "{path}");
        }
    }
}

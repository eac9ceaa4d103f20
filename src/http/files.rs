//! `/tasks/{task}/files/…`: the sandbox of a launch.

use std::sync::Arc;

use actix_web::body::SizedStream;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;

use super::App;
use super::output::{CHUNK, attempt, launch};
use super::query::{Query, bad_request};
use super::response::{not_found, problem, respond, unavailable};
use super::tasks::find;
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
pub(super) async fn root(request: HttpRequest, id: web::Path<String>, app: web::Data<App>) -> HttpResponse {
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
    names: web::Path<(String, String)>,
    app: web::Data<App>,
) -> HttpResponse {
    let (id, path) = names.into_inner();
    let attempt = match Query::parse(&request, &["attempt"]).and_then(|query| attempt(&query)) {
        Ok(attempt) => attempt,
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
    let path: Arc<str> = path.into();
    if path.is_empty() {
        return directory(&request, &app.engine, launch, path).await;
    }
    let read = app.engine.read_output(launch, vec![(path.clone(), 0)], CHUNK).await;
    match read.map(|mut pieces| pieces.pop()) {
        Ok(Some(FileRead::Bytes { from, .. })) if from > 0 => {
            unreadable(&request, &truncated_message(&path, from))
        }
        Ok(Some(FileRead::Bytes { bytes, size, .. })) => {
            whole(&request, &app.engine, launch, path, bytes, size)
        }
        Ok(Some(FileRead::Directory)) => directory(&request, &app.engine, launch, path).await,
        Ok(Some(FileRead::NotFound) | None) => absent(&request, launch, &path),
        Ok(Some(FileRead::BadPath(why))) => bad_request(&request, &format!("{why}.")),
        Ok(Some(FileRead::Unreadable(why))) => unreadable(&request, &why),
        Err(error) => unavailable(&request, &error),
    }
}

async fn directory(request: &HttpRequest, engine: &Engine, launch: LaunchId, path: Arc<str>) -> HttpResponse {
    match engine.list_files(launch, path.clone()).await {
        Ok(DirectoryRead::Files(found)) => {
            let files: Vec<FileInfo> = found
                .into_iter()
                .map(|file| FileInfo { name: file.name, size: file.size, kind: file.kind.name().into() })
                .collect();
            let listing = Listing { files };
            respond(request, &listing, || listing.files.iter().map(line).collect())
        }
        Ok(DirectoryRead::NotFound) => absent(request, launch, &path),
        Ok(DirectoryRead::BadPath(why)) => bad_request(request, &format!("{why}.")),
        Ok(DirectoryRead::Unreadable(why)) => unreadable(request, &why),
        Err(error) => unavailable(request, &error),
    }
}

fn line(FileInfo { name, size, kind }: &FileInfo) -> String {
    let slash = if *kind == "directory" { "/" } else { "" };
    let kind = if matches!(&**kind, "file" | "directory") { String::new() } else { format!("  ({kind})") };
    format!("{size:>12}  {}{slash}{kind}\n", name.escape_debug())
}

fn absent(request: &HttpRequest, launch: LaunchId, path: &str) -> HttpResponse {
    match path {
        "" => {
            not_found(request, &format!("sandbox of launch `{launch}`: it was not launched, or is removed"))
        }
        path => not_found(request, &format!("file `{}` in the sandbox of `{launch}`", path.escape_debug())),
    }
}

fn unreadable(request: &HttpRequest, why: &str) -> HttpResponse {
    problem(request, StatusCode::FORBIDDEN, &format!("{why}."))
}

/// Of a service's stream only the end is kept.
fn truncated_message(path: &str, from: u64) -> String {
    let stream = path.trim_start_matches("block/");
    format!(
        "the first {from} bytes of `{path}` are not kept any more: `/{stream}` of the task tells the rest"
    )
}

/// A file of which the first bytes are here, as long as it is now. What is written to it later is another
/// request's.
fn whole(
    request: &HttpRequest,
    engine: &Engine,
    launch: LaunchId,
    path: Arc<str>,
    first: Bytes,
    size: u64,
) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    answer
        .content_type(kind(&path))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        // A block's page must not act as one of ours: a browser gives it an origin of its own.
        .insert_header(("Content-Security-Policy", "sandbox"));
    if request.method() == Method::HEAD {
        return answer.body(SizedStream::new(size, stream::empty::<Result<Bytes, EngineError>>()));
    }
    let engine = engine.clone();
    let begin = (Some(first), 0);
    let chunks = stream::try_unfold(begin, move |(first, at)| {
        let (engine, path) = (engine.clone(), path.clone());
        async move {
            let bytes = match first {
                Some(first) => first,
                None if at >= size => Bytes::new(),
                None => match engine.read_output(launch, vec![(path, at)], CHUNK).await?.pop() {
                    Some(FileRead::Bytes { from, bytes, .. }) if from == at => bytes,
                    _ => Bytes::new(),
                },
            };
            let left = usize::try_from(size - at).unwrap_or(usize::MAX);
            let bytes = bytes.slice(..bytes.len().min(left));
            let next = at + bytes.len() as u64;
            // Where it has become shorter meanwhile, the answer is cut off, and the client sees that.
            Ok::<_, EngineError>((!bytes.is_empty()).then_some((bytes, (None, next))))
        }
    });
    answer.body(SizedStream::new(size, Box::pin(chunks)))
}

/// What a file is, by the end of its name.
fn kind(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    let end = name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase());
    match (end.as_deref(), name) {
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
    fn names_tell_what_a_file_is() {
        for (path, wanted) in [
            ("block/stdout", "text/plain; charset=utf-8"),
            ("stdout.gz", "application/gzip"),
            ("plot.PNG", "image/png"),
            (".log/x", "application/octet-stream"),
            ("png", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(kind(path), wanted, "{path}");
        }
    }
}

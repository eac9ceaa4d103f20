//! Answers: text for curl, JSON for machines, and what is wrong as `application/problem+json`, or text.

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, ALLOW, CONTENT_TYPE, ContentType, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use borges_api::{DocumentError, Problem};
use borges_engine::EngineError;

/// What a client would rather read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseFormat {
    Text,
    Json,
}

/// Reads `Accept`: JSON for who names it, text for everybody else (curl says `*/*`).
pub(super) fn negotiate(request: &HttpRequest) -> ResponseFormat {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let json = accept
        .split(',')
        .map(|kind| kind.split(';').next().unwrap_or_default().trim())
        .any(|kind| matches!(kind, "application/json" | "application/problem+json" | "text/json"));
    if json { ResponseFormat::Json } else { ResponseFormat::Text }
}

/// `value` as JSON, or the text that says the same.
pub(super) fn respond(
    request: &HttpRequest,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> HttpResponse {
    match negotiate(request) {
        ResponseFormat::Json => HttpResponse::Ok().json(value),
        ResponseFormat::Text => plain_text(StatusCode::OK, text()),
    }
}

/// Why there is no other answer: a sentence, or several lines.
pub(super) fn problem(request: &HttpRequest, status: StatusCode, detail: &str) -> HttpResponse {
    match negotiate(request) {
        ResponseFormat::Text => plain_text(status, format!("{}\n", detail.trim_end())),
        ResponseFormat::Json => {
            document_errors(status, status.canonical_reason().unwrap_or_default(), detail, Vec::new())
        }
    }
}

/// What is wrong with a document, for programs.
pub(super) fn document_errors(
    status: StatusCode,
    title: &str,
    detail: &str,
    errors: Vec<DocumentError>,
) -> HttpResponse {
    let detail = detail.trim_end().to_owned();
    let (kind, title) = ("about:blank".into(), title.to_owned());
    let problem = Problem { kind, title, status: status.as_u16(), detail, errors };
    let mut answer = HttpResponse::build(status).json(problem);
    let kind = HeaderValue::from_static("application/problem+json");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// The route is there, and has no such method.
pub(super) fn method_not_allowed(request: &HttpRequest, allowed: &'static str) -> HttpResponse {
    let detail = format!("`{}` has no {}; it has {allowed}.", request.path(), request.method());
    let mut answer = problem(request, StatusCode::METHOD_NOT_ALLOWED, &detail);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// There is no such thing.
pub(super) fn not_found(request: &HttpRequest, what: &str) -> HttpResponse {
    problem(request, StatusCode::NOT_FOUND, &format!("There is no {what}."))
}

/// The engine gave no answer.
pub(super) fn unavailable(request: &HttpRequest, error: &EngineError) -> HttpResponse {
    log::error!("{error}");
    problem(request, StatusCode::SERVICE_UNAVAILABLE, &format!("Borges cannot answer: {error}."))
}

pub(super) fn plain_text(status: StatusCode, text: String) -> HttpResponse {
    HttpResponse::build(status).content_type(ContentType::plaintext()).body(text)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn machines_say_that_they_want_json() {
        for (accept, wanted) in [
            ("*/*", ResponseFormat::Text),
            ("text/plain", ResponseFormat::Text),
            ("application/json", ResponseFormat::Json),
            ("text/html, application/json;q=0.9, */*", ResponseFormat::Json),
            ("application/jsonp", ResponseFormat::Text),
        ] {
            let request = TestRequest::default().insert_header((ACCEPT, accept)).to_http_request();
            assert_eq!(negotiate(&request), wanted, "{accept}");
        }
        assert_eq!(negotiate(&TestRequest::default().to_http_request()), ResponseFormat::Text);
    }
}

//! Responses as text or JSON, by the `Accept` header, and errors as text or `application/problem+json`.

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, ALLOW, CONTENT_TYPE, ContentType, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use borges_api::{DocumentError, Problem};
use borges_engine::EngineError;

/// The format of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseFormat {
    Text,
    Json,
}

/// The format by the `Accept` header: JSON if it is named, otherwise text (curl sends `*/*`).
pub(super) fn negotiate(request: &HttpRequest) -> ResponseFormat {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let accepts_json =
        accept.split(',').map(|media_type| media_type.split(';').next().unwrap_or_default().trim()).any(
            |media_type| matches!(media_type, "application/json" | "application/problem+json" | "text/json"),
        );
    if accepts_json { ResponseFormat::Json } else { ResponseFormat::Text }
}

/// A successful response: `value` as JSON, or `text`.
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

/// An error response with `detail`, one sentence or several lines.
pub(super) fn problem(request: &HttpRequest, status: StatusCode, detail: &str) -> HttpResponse {
    match negotiate(request) {
        ResponseFormat::Text => plain_text(status, format!("{}\n", detail.trim_end())),
        ResponseFormat::Json => {
            document_errors(status, status.canonical_reason().unwrap_or_default(), detail, Vec::new())
        }
    }
}

/// The errors of a document as `application/problem+json`.
pub(super) fn document_errors(
    status: StatusCode,
    title: &str,
    detail: &str,
    errors: Vec<DocumentError>,
) -> HttpResponse {
    let detail = detail.trim_end().to_owned();
    let (media_type, title) = ("about:blank".into(), title.to_owned());
    let problem = Problem { kind: media_type, title, status: status.as_u16(), detail, errors };
    let mut response = HttpResponse::build(status).json(problem);
    let media_type = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// The response to a method that the route does not have.
pub(super) fn method_not_allowed(request: &HttpRequest, allowed: &'static str) -> HttpResponse {
    let detail = format!("`{}` has no {}; it has {allowed}.", request.path(), request.method());
    let mut response = problem(request, StatusCode::METHOD_NOT_ALLOWED, &detail);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The response to a request for something that does not exist.
pub(super) fn not_found(request: &HttpRequest, noun: &str) -> HttpResponse {
    problem(request, StatusCode::NOT_FOUND, &format!("There is no {noun}."))
}

/// The response if the engine fails.
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
    fn json_is_sent_if_it_is_accepted() {
        for (accept, expected) in [
            ("*/*", ResponseFormat::Text),
            ("text/plain", ResponseFormat::Text),
            ("application/json", ResponseFormat::Json),
            ("text/html, application/json;q=0.9, */*", ResponseFormat::Json),
            ("application/jsonp", ResponseFormat::Text),
        ] {
            let request = TestRequest::default().insert_header((ACCEPT, accept)).to_http_request();
            assert_eq!(negotiate(&request), expected, "{accept}");
        }
        assert_eq!(negotiate(&TestRequest::default().to_http_request()), ResponseFormat::Text);
    }
}

//! Answers: text for curl, JSON for machines, and what is wrong as `application/problem+json`, or text.

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, ContentType};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::json;

use crate::actors::EngineError;

/// What a client would rather read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Text,
    Json,
}

/// Reads `Accept`: JSON for who names it, text for everybody else (curl says `*/*`).
pub(super) fn wish(request: &HttpRequest) -> Wish {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let json = accept
        .split(',')
        .map(|kind| kind.split(';').next().unwrap_or_default().trim())
        .any(|kind| matches!(kind, "application/json" | "application/problem+json" | "text/json"));
    if json { Wish::Json } else { Wish::Text }
}

/// `value` as JSON, or the text that says the same.
pub(super) fn answer(
    request: &HttpRequest,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> HttpResponse {
    match wish(request) {
        Wish::Json => HttpResponse::Ok().json(value),
        Wish::Text => plain(StatusCode::OK, text()),
    }
}

/// Why there is no other answer: a sentence, or several lines.
pub(super) fn problem(request: &HttpRequest, status: StatusCode, detail: &str) -> HttpResponse {
    match wish(request) {
        Wish::Text => plain(status, format!("{}\n", detail.trim_end())),
        Wish::Json => {
            let body = json!({
                "type": "about:blank",
                "title": status.canonical_reason().unwrap_or_default(),
                "status": status.as_u16(),
                "detail": detail.trim_end(),
            });
            HttpResponse::build(status).content_type("application/problem+json").body(body.to_string())
        }
    }
}

/// There is no such thing.
pub(super) fn missing(request: &HttpRequest, what: &str) -> HttpResponse {
    problem(request, StatusCode::NOT_FOUND, &format!("There is no {what}."))
}

/// The engine gave no answer.
pub(super) fn failed(request: &HttpRequest, error: &EngineError) -> HttpResponse {
    log::error!("{error}");
    problem(request, StatusCode::SERVICE_UNAVAILABLE, &format!("Borges cannot answer: {error}."))
}

pub(super) fn plain(status: StatusCode, text: String) -> HttpResponse {
    HttpResponse::build(status).content_type(ContentType::plaintext()).body(text)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn machines_say_that_they_want_json() {
        for (accept, wanted) in [
            ("*/*", Wish::Text),
            ("text/plain", Wish::Text),
            ("application/json", Wish::Json),
            ("text/html, application/json;q=0.9, */*", Wish::Json),
            ("application/jsonp", Wish::Text),
        ] {
            let request = TestRequest::default().insert_header((ACCEPT, accept)).to_http_request();
            assert_eq!(wish(&request), wanted, "{accept}");
        }
        assert_eq!(wish(&TestRequest::default().to_http_request()), Wish::Text);
    }
}

//! Reads the responses of a server, and classifies each failure: the server is unreachable, it is not a Borges server,
//! or it rejected the request.

use std::fmt::Display;
use std::time::Duration;

use actix_web::error::ParseError;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use awc::ClientResponse;
use awc::error::{ConnectError, PayloadError, SendRequestError};
use bytes::Bytes;
use futures_util::Stream;
use serde::de::DeserializeOwned;

use super::exit::Exit;
use borges_api::{DocumentError, Problem};
use borges_http::OFFSET_HEADER;
use borges_org::Position;
use borges_plan::Diagnostic;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The server cannot be reached, or cannot handle the request now. A later attempt may succeed.
    #[error("{0}")]
    Unreachable(String),
    /// The response is not from a Borges server.
    #[error("{0}")]
    NotBorges(String),
    /// The server rejected the request.
    #[error("{}", .0.detail)]
    Rejected(Problem),
}

/// Why a client sends no token.
#[derive(Debug, Clone, Copy)]
pub(super) enum UnusedToken {
    /// `BORGES_TOKEN` is not set.
    Missing,
    /// `BORGES_TOKEN` is set, but the address of the server is from a document or the default.
    Withheld,
}

/// Reads the responses of one server.
#[derive(Clone)]
pub(super) struct ResponseReader {
    /// `http://HOST:PORT`.
    url: String,
    /// Why the client sends no token; `None` if it sends one.
    unused_token: Option<UnusedToken>,
}

/// The maximum time until a whole body arrives.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);
/// The largest body, in bytes.
const MAX_BODY: usize = 256 << 20;

impl ResponseReader {
    pub(super) fn new(url: String, unused_token: Option<UnusedToken>) -> Self {
        Self { url, unused_token }
    }

    /// The URL of the server: `http://HOST:PORT`.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The value of a successful JSON response.
    pub(super) async fn json<S: Payload, T: DeserializeOwned>(
        &self,
        response: ClientResponse<S>,
    ) -> Result<T, ApiError> {
        let text = self.json_text(response).await?;
        self.parse(&text)
    }

    /// The text of a successful JSON response.
    pub(super) async fn json_text<S: Payload>(&self, response: ClientResponse<S>) -> Result<Bytes, ApiError> {
        if !response.status().is_success() || media_type(&response) != "application/json" {
            return Err(self.failure(response).await);
        }
        self.body(response).await
    }

    /// Parses the text of a JSON response.
    pub(super) fn parse<T: DeserializeOwned>(&self, text: &[u8]) -> Result<T, ApiError> {
        serde_json::from_slice(text).map_err(|error| {
            self.not_borges(&format!("JSON that no Borges of this version writes ({error})"))
        })
    }

    /// Passes a successful `text/plain` response, whose body is the output of a launch.
    pub(super) async fn plain_text<S: Payload>(
        &self,
        response: ClientResponse<S>,
    ) -> Result<ClientResponse<S>, ApiError> {
        if response.status().is_success() && media_type(&response) == "text/plain" {
            return Ok(response);
        }
        Err(self.failure(response).await)
    }

    /// The whole body of a response.
    pub(super) async fn body<S: Payload>(&self, mut response: ClientResponse<S>) -> Result<Bytes, ApiError> {
        let expected =
            response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        match tokio::time::timeout(BODY_TIMEOUT, response.body().limit(MAX_BODY)).await {
            // The HTTP client reports no error for a truncated body.
            Ok(Ok(bytes)) if expected.is_some_and(|expected: usize| expected != bytes.len()) => {
                Err(self.unreachable(&"its answer was cut off"))
            }
            Ok(bytes) => bytes.map_err(|error| self.unreachable(&error)),
            Err(_) => Err(self.unreachable(&"its answer does not end")),
        }
    }

    /// The error of a response with an unexpected status or media type.
    pub(super) async fn failure<S: Payload>(&self, response: ClientResponse<S>) -> ApiError {
        let (status, media_type) = (response.status(), media_type(&response));
        let description = match status {
            _ if status.is_redirection() => format!("a redirection ({status})"),
            _ if media_type.is_empty() => format!("{status}, without content"),
            _ => format!("{status}, {media_type}"),
        };
        if media_type != "application/problem+json" {
            return self.not_borges(&description);
        }
        let text = match self.body(response).await {
            Ok(text) => text,
            Err(error) => return error,
        };
        match serde_json::from_slice::<Problem>(&text) {
            Ok(problem) if status.is_server_error() => {
                ApiError::Unreachable(format!("`{}` cannot do it now: {}", self.url, problem.detail))
            }
            Ok(mut problem) => {
                if problem.status == 401 {
                    problem.detail += match self.unused_token {
                        Some(UnusedToken::Withheld) => {
                            "\nBORGES_TOKEN is shown only to a server that `--server` or `BORGES_SERVER` names."
                        }
                        Some(UnusedToken::Missing) => {
                            "\nWrite it into BORGES_TOKEN, and name the server by `--server`."
                        }
                        None => "",
                    };
                }
                ApiError::Rejected(problem)
            }
            Err(_) => self.not_borges(&description),
        }
    }

    /// The error of a request that got no response.
    pub(super) fn send_error(&self, error: &SendRequestError) -> ApiError {
        match error {
            SendRequestError::Connect(ConnectError::Io(error)) => self.unreachable(error),
            SendRequestError::Connect(ConnectError::Timeout) | SendRequestError::Timeout => {
                ApiError::Unreachable(format!("`{}` does not answer", self.url))
            }
            SendRequestError::Response(ParseError::Incomplete | ParseError::Io(_)) => {
                self.unreachable(&"it closed the connection without an answer")
            }
            SendRequestError::Response(_) => self.not_borges("something that is no HTTP"),
            error => self.unreachable(error),
        }
    }

    pub(super) fn unreachable(&self, reason: &impl Display) -> ApiError {
        ApiError::Unreachable(format!("`{}` cannot be reached: {reason}", self.url))
    }

    pub(super) fn not_borges(&self, description: &str) -> ApiError {
        ApiError::NotBorges(format!("what answers at `{}` is no Borges: it sent {description}", self.url))
    }
}

/// The body stream of a response.
pub(super) trait Payload: Stream<Item = Result<Bytes, PayloadError>> + Unpin {}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Payload for S {}

/// The offset at which an output begins; `None` if it is the requested one.
pub(super) fn content_offset<S>(response: &ClientResponse<S>) -> Option<u64> {
    response.headers().get(OFFSET_HEADER)?.to_str().ok()?.parse().ok()
}

/// The media type of a response, in lower case and without parameters; empty if there is none.
pub(super) fn media_type<S>(response: &ClientResponse<S>) -> String {
    let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    header.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

impl ApiError {
    /// Prints the error, and returns the exit code.
    pub(super) fn print(&self) -> Exit {
        eprintln!("borges: {self}");
        self.exit()
    }

    /// The exit code of a command that ends with this error.
    fn exit(&self) -> Exit {
        match self {
            Self::Unreachable(_) | Self::NotBorges(_) => Exit::Unavailable,
            Self::Rejected(_) => Exit::InvalidInput,
        }
    }
}

/// The errors of a rejected document, each with its place.
pub(super) fn diagnostics(problem: &Problem) -> Vec<Diagnostic> {
    let diagnostic = |DocumentError { file, line, column, text, help }: &DocumentError| {
        let mut diagnostic = Diagnostic::error(Position { line: *line, column: *column }, text, help);
        diagnostic.file = file.as_deref().map(Into::into);
        diagnostic
    };
    problem.errors.iter().map(diagnostic).collect()
}

/// The line with the number of errors that are not listed; `None` if all are.
pub(super) fn unlisted_errors(problem: &Problem) -> Option<&str> {
    problem.detail.lines().find(|line| line.starts_with("… and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_errors_have_places() {
        let text = r#"{"type":"about:blank","title":"x","status":400,"detail":"d\n… and 3 more errors\n",
            "errors":[{"file":null,"line":2,"column":5,"text":"t","help":"h"}]}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        assert_eq!(diagnostics(&problem), [Diagnostic::error(Position { line: 2, column: 5 }, "t", "h")]);
        assert_eq!(unlisted_errors(&problem), Some("… and 3 more errors"));
    }
}

//! A server, as the commands that speak to one see it.

use std::env;
use std::time::Duration;

use actix_web::error::ParseError;
use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use awc::error::{ConnectError, SendRequestError};
use awc::{ClientResponse, Connector};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::address::{self, Address};
use super::exit::Exit;
use borges_api::{
    DocumentError, Problem, RunDetails, RunKillResponse, RunSummary, SubmitResponse, TaskKillResponse,
    TaskPage, TaskSummary, WaitingTasks,
};
use borges_engine::{FileRead, WaitingGroup};
use borges_http::OFFSET_HEADER;
use borges_org::Position;
use borges_plan::Diagnostic;
use borges_plan::UpdatedDocument;
use borges_task::{LaunchId, RunId, TaskId};

/// The way to a server.
#[derive(Clone)]
pub(super) struct ApiClient {
    http: awc::Client,
    /// `http://HOST:PORT`.
    pub(super) url: String,
    token: Option<String>,
    /// A token is there, and is not shown to this server.
    withheld: bool,
}

/// Why a server did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// It is not there, or not now; later it may be.
    #[error("{0}")]
    Unreachable(String),
    /// What is there is no Borges.
    #[error("{0}")]
    NotBorges(String),
    /// It says no.
    #[error("{}", .0.detail)]
    Rejected(Problem),
}

/// A run and its waiting tasks.
#[derive(Debug)]
pub(super) struct RunStatus {
    pub(super) run: RunSummary,
    pub(super) waiting: Vec<WaitingGroup>,
}

/// Until the head of an answer is there.
const HEAD: Duration = Duration::from_secs(15);
/// Until a document is planned and saved.
const ACCEPTANCE: Duration = Duration::from_secs(120);
/// Until a whole answer is there.
const WHOLE: Duration = Duration::from_secs(120);
/// The longest answer, bytes.
const LONGEST: usize = 256 << 20;
/// The longest piece of an output that is asked for at once, bytes.
pub(super) const MAX_CHUNK: usize = 256 << 10;
/// The longest frame of a websocket, bytes.
const LONGEST_FRAME: usize = 16 << 20;

impl ApiClient {
    /// The server that the user, or the document, names; an error is said.
    pub(super) fn from_args(argument: Option<&str>, document: Option<&str>) -> Result<Self, Exit> {
        let variable = env::var("BORGES_SERVER").ok();
        let Address { url, trusted } =
            address::choose(argument, variable.as_deref(), document).map_err(|bad| {
                eprintln!("borges: {bad}");
                Exit::InvalidInput
            })?;
        let token = env::var("BORGES_TOKEN").ok().filter(|token| !token.is_empty());
        let withheld = token.is_some() && !trusted;
        // Idle connections are left before the server leaves them, after 5 s.
        let connector =
            Connector::new().timeout(Duration::from_secs(5)).conn_keep_alive(Duration::from_secs(4));
        let http = awc::Client::builder()
            .timeout(HEAD)
            .disable_redirects()
            .max_http_version(actix_web::http::Version::HTTP_11)
            .connector(connector)
            .finish();
        Ok(Self { http, url, token: token.filter(|_| trusted), withheld })
    }

    fn request(&self, method: Method, route: &str) -> awc::ClientRequest {
        let request = self.http.request(method, format!("{}{route}", self.url));
        let request = request.insert_header((ACCEPT, "application/json"));
        match &self.token {
            Some(token) => request.insert_header((AUTHORIZATION, format!("Bearer {token}"))),
            None => request,
        }
    }

    /// A value that a route answers.
    async fn get<T: DeserializeOwned>(&self, route: &str) -> Result<T, ApiError> {
        let sent = self.request(Method::GET, route).send().await;
        self.read(sent.map_err(|error| self.unsent(&error))?).await
    }

    /// Runs a document; only these blocks of it, if there are any.
    pub(super) async fn submit(
        &self,
        document: Bytes,
        names: &[String],
        resume: bool,
    ) -> Result<(RunId, SubmitResponse, Bytes), ApiError> {
        let resume = resume.then(|| "resume=1".to_owned());
        let names: Vec<String> =
            names.iter().map(|name| format!("name={}", encoded(name))).chain(resume).collect();
        let route = if names.is_empty() { "/org".to_owned() } else { format!("/org?{}", names.join("&")) };
        let request =
            self.request(Method::POST, &route).timeout(ACCEPTANCE).insert_header((CONTENT_TYPE, "text/org"));
        let sent = request.send_body(document).await.map_err(|error| self.unsent(&error))?;
        let text = self.text(sent).await?;
        let submitted: SubmitResponse = self.value(&text)?;
        let run = submitted.run.ok_or_else(|| self.no_borges("no run for a document that it took"))?;
        Ok((run, submitted, text))
    }

    /// What has become of a run's document since, with the results there are.
    pub(super) async fn document_with_results(
        &self,
        run: RunId,
        current: Bytes,
    ) -> Result<UpdatedDocument, ApiError> {
        let request = self.request(Method::POST, &format!("/org/{run}/document"));
        let request = request.timeout(ACCEPTANCE).insert_header((CONTENT_TYPE, "text/org"));
        let answer = request.send_body(current).await.map_err(|error| self.unsent(&error))?;
        if !answer.status().is_success() || kind(&answer) != "text/org" {
            return Err(self.refusal(answer).await);
        }
        let told = answer.headers().get_all("Borges-Not-Written").filter_map(|value| value.to_str().ok());
        let missing = told.map(str::to_owned).collect();
        Ok(UpdatedDocument { text: self.whole(answer).await?.to_vec(), missing })
    }

    /// Ends a run; a task of it, if one is named.
    pub(super) async fn kill(&self, run: RunId, task: Option<TaskId>) -> Result<(), ApiError> {
        let route = task.map_or_else(|| format!("/org/{run}"), |task| format!("/tasks/{task}"));
        let sent = self.request(Method::DELETE, &route).send().await;
        let answer = sent.map_err(|error| self.unsent(&error))?;
        match task {
            Some(_) => self.read::<_, TaskKillResponse>(answer).await.map(drop),
            None => self.read::<_, RunKillResponse>(answer).await.map(drop),
        }
    }

    /// How a task stands.
    pub(super) async fn task(&self, task: TaskId) -> Result<TaskSummary, ApiError> {
        self.get(&format!("/tasks/{task}")).await
    }

    /// How a run stands, and what of it waits.
    pub(super) async fn run(&self, run: RunId) -> Result<RunStatus, ApiError> {
        let RunDetails { run, waiting } = self.get(&format!("/org/{run}")).await?;
        let waiting = waiting.into_iter().map(|WaitingTasks { block, line, seconds, tasks, reason }| {
            let waited = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            WaitingGroup { block: block.into(), line, waited, tasks, reason }
        });
        Ok(RunStatus { run, waiting: waiting.collect() })
    }

    /// All tasks, or those of a run.
    pub(super) async fn tasks(&self, run: Option<RunId>) -> Result<Vec<TaskSummary>, ApiError> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let fields = [
                run.map(|run| format!("run={run}")),
                after.map(|after| format!("after={}", encoded(&after))),
            ];
            let query = fields.into_iter().flatten().collect::<Vec<_>>().join("&");
            let TaskPage { tasks, next } = self.get(&format!("/tasks?{query}")).await?;
            let nothing = tasks.is_empty();
            all.extend(tasks);
            match next {
                Some(next) if !nothing => after = Some(next),
                _ => return Ok(all),
            }
        }
    }

    /// What a launch has written to a stream, from `offset` on, at most `length` bytes, and those at most [`MAX_CHUNK`]:
    /// an answer of that length says how long it is, so that a part of it is not taken for the whole.
    pub(super) async fn output(
        &self,
        launch: LaunchId,
        stream: &str,
        offset: u64,
        length: usize,
    ) -> Result<FileRead, ApiError> {
        let LaunchId { task, attempt } = launch;
        let length = length.min(MAX_CHUNK);
        let route = format!("/tasks/{task}/{stream}?attempt={attempt}&offset={offset}&limit={length}");
        let sent = self.request(Method::GET, &route).send().await.map_err(|error| self.unsent(&error))?;
        let from = begins_at(&sent).unwrap_or(offset);
        let bytes = self.plain(sent).await?;
        let size = from + bytes.len() as u64;
        Ok(FileRead::Bytes { from, bytes, size })
    }

    /// What a launch writes to a stream, from `offset` on, until it ends; `each` is handed the pieces, and where they
    /// begin.
    pub(super) async fn follow_output(
        &self,
        launch: LaunchId,
        stream: &str,
        offset: u64,
        mut each: impl FnMut(u64, &[u8]),
    ) -> Result<(), ApiError> {
        let LaunchId { task, attempt } = launch;
        let route = format!("/tasks/{task}/{stream}?attempt={attempt}&offset={offset}&follow=1");
        let sent = self.request(Method::GET, &route).send().await.map_err(|error| self.unsent(&error))?;
        let mut at = begins_at(&sent).unwrap_or(offset);
        let mut answer = self.output_answer(sent).await?;
        while let Some(bytes) = answer.next().await {
            let bytes = bytes.map_err(|error| self.out_of_reach(&error))?;
            each(at, &bytes);
            at += bytes.len() as u64;
        }
        Ok(())
    }

    /// Opens the websocket on which a run is heard of; the request is not sent yet.
    pub(super) fn websocket(&self, run: RunId) -> awc::ws::WebsocketsRequest {
        let request = self.http.ws(format!("{}/ws?run={run}", self.url)).max_frame_size(LONGEST_FRAME);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Why the websocket could not be opened.
    pub(super) fn upgrade_error(&self, error: &impl std::fmt::Display) -> ApiError {
        self.out_of_reach(error)
    }

    async fn read<S: Answers, T: DeserializeOwned>(&self, answer: ClientResponse<S>) -> Result<T, ApiError> {
        let text = self.text(answer).await?;
        self.value(&text)
    }

    fn value<T: DeserializeOwned>(&self, text: &[u8]) -> Result<T, ApiError> {
        self.known(serde_json::from_slice(text))
    }

    fn known<T>(&self, read: serde_json::Result<T>) -> Result<T, ApiError> {
        read.map_err(|error| self.no_borges(&format!("JSON that no Borges of this version writes ({error})")))
    }

    /// JSON that says yes.
    async fn text<S: Answers>(&self, answer: ClientResponse<S>) -> Result<Bytes, ApiError> {
        let (status, kind) = (answer.status(), kind(&answer));
        if !status.is_success() || kind != "application/json" {
            return Err(self.refusal(answer).await);
        }
        self.whole(answer).await
    }

    /// The bytes of an output.
    async fn plain<S: Answers>(&self, answer: ClientResponse<S>) -> Result<Bytes, ApiError> {
        let answer = self.output_answer(answer).await?;
        self.whole(answer).await
    }

    async fn output_answer<S: Answers>(
        &self,
        answer: ClientResponse<S>,
    ) -> Result<ClientResponse<S>, ApiError> {
        if answer.status().is_success() && kind(&answer) == "text/plain" {
            return Ok(answer);
        }
        Err(self.refusal(answer).await)
    }

    /// What an answer that is no success means.
    async fn refusal<S: Answers>(&self, answer: ClientResponse<S>) -> ApiError {
        let (status, kind) = (answer.status(), kind(&answer));
        let said = match status {
            _ if status.is_redirection() => format!("a redirection ({status})"),
            _ if kind.is_empty() => format!("{status}, without content"),
            _ => format!("{status}, {kind}"),
        };
        if kind != "application/problem+json" {
            return self.no_borges(&said);
        }
        let text = match self.whole(answer).await {
            Ok(text) => text,
            Err(failure) => return failure,
        };
        match serde_json::from_slice::<Problem>(&text) {
            Ok(refusal) if status.is_server_error() => {
                ApiError::Unreachable(format!("`{}` cannot do it now: {}", self.url, refusal.detail))
            }
            Ok(mut refusal) => {
                if refusal.status == 401 && self.withheld {
                    refusal.detail +=
                        "\nBORGES_TOKEN is shown only to a server that `--server` or `BORGES_SERVER` names.";
                } else if refusal.status == 401 && self.token.is_none() {
                    refusal.detail += "\nWrite it into BORGES_TOKEN, and name the server by `--server`.";
                }
                ApiError::Rejected(refusal)
            }
            Err(_) => self.no_borges(&said),
        }
    }

    async fn whole<S: Answers>(&self, mut answer: ClientResponse<S>) -> Result<Bytes, ApiError> {
        let promised =
            answer.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        match tokio::time::timeout(WHOLE, answer.body().limit(LONGEST)).await {
            // To the client library, an answer that was cut off is one that has ended.
            Ok(Ok(text)) if promised.is_some_and(|promised: usize| promised != text.len()) => {
                Err(self.out_of_reach(&"its answer was cut off"))
            }
            Ok(read) => read.map_err(|error| self.out_of_reach(&error)),
            Err(_) => Err(self.out_of_reach(&"its answer does not end")),
        }
    }

    fn unsent(&self, error: &SendRequestError) -> ApiError {
        match error {
            SendRequestError::Connect(ConnectError::Io(error)) => self.out_of_reach(error),
            SendRequestError::Connect(ConnectError::Timeout) | SendRequestError::Timeout => {
                ApiError::Unreachable(format!("`{}` does not answer", self.url))
            }
            SendRequestError::Response(ParseError::Incomplete | ParseError::Io(_)) => {
                self.out_of_reach(&"it closed the connection without an answer")
            }
            SendRequestError::Response(_) => self.no_borges("something that is no HTTP"),
            error => self.out_of_reach(error),
        }
    }

    fn out_of_reach(&self, why: &impl std::fmt::Display) -> ApiError {
        ApiError::Unreachable(format!("`{}` cannot be reached: {why}", self.url))
    }

    fn no_borges(&self, what: &str) -> ApiError {
        ApiError::NotBorges(format!("what answers at `{}` is no Borges: it sent {what}", self.url))
    }
}

/// The body of an answer.
trait Answers: futures_util::Stream<Item = Result<Bytes, awc::error::PayloadError>> + Unpin {}

impl<S: futures_util::Stream<Item = Result<Bytes, awc::error::PayloadError>> + Unpin> Answers for S {}

/// Where an output begins, when that is not where it was to.
fn begins_at<S>(answer: &ClientResponse<S>) -> Option<u64> {
    answer.headers().get(OFFSET_HEADER)?.to_str().ok()?.parse().ok()
}

fn kind<S>(answer: &ClientResponse<S>) -> String {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A value in a query.
fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

impl ApiError {
    /// Says it, to a person, and what to end with.
    pub(super) fn say(&self) -> Exit {
        eprintln!("borges: {self}");
        self.exit()
    }

    /// What to end with.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Unreachable(_) | Self::NotBorges(_) => Exit::Unavailable,
            Self::Rejected(_) => Exit::InvalidInput,
        }
    }
}

/// The errors of a refused document, each with its place.
pub(super) fn diagnostics(problem: &Problem) -> Vec<Diagnostic> {
    let diagnostic = |DocumentError { file, line, column, text, help }: &DocumentError| {
        let mut diagnostic = Diagnostic::error(Position { line: *line, column: *column }, text, help);
        diagnostic.file = file.as_deref().map(Into::into);
        diagnostic
    };
    problem.errors.iter().map(diagnostic).collect()
}

/// The line that says how many errors are not listed; `None` if all are.
pub(super) fn unlisted_errors(problem: &Problem) -> Option<&str> {
    problem.detail.lines().find(|line| line.starts_with("… and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_a_query_has_them() {
        assert_eq!(encoded("a b&c=ä"), "a%20b%26c%3D%C3%A4");
    }

    #[test]
    fn errors_come_with_their_places() {
        let text = r#"{"type":"about:blank","title":"x","status":400,"detail":"d\n… and 3 more errors\n",
            "errors":[{"file":null,"line":2,"column":5,"text":"t","help":"h"}]}"#;
        let refusal: Problem = serde_json::from_str(text).unwrap();
        assert_eq!(diagnostics(&refusal), [Diagnostic::error(Position { line: 2, column: 5 }, "t", "h")]);
        assert_eq!(unlisted_errors(&refusal), Some("… and 3 more errors"));
    }
}

//! The client of the HTTP API: one method for each request of the commands. The responses are read in `api_response`.

use std::env;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use awc::Connector;
use awc::error::WsClientError;
use bytes::Bytes;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::address::{self, Address};
use super::api_response::{ApiError, ResponseReader, UnusedToken, content_offset, media_type};
use super::exit::Exit;
use borges_api::{
    RunDetails, RunKillResponse, RunSummary, SubmitResponse, TaskKillResponse, TaskPage, TaskSummary,
    WaitingTasks,
};
use borges_engine::{FileRead, WaitingGroup};
use borges_plan::UpdatedDocument;
use borges_task::{LaunchId, RunId, TaskId};

/// A client of one server.
#[derive(Clone)]
pub(super) struct ApiClient {
    http: awc::Client,
    token: Option<String>,
    reader: ResponseReader,
}

/// A run and its waiting tasks.
#[derive(Debug)]
pub(super) struct RunStatus {
    pub(super) run: RunSummary,
    pub(super) waiting: Vec<WaitingGroup>,
}

/// The maximum time until the head of a response arrives.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// The maximum time until a document is planned and stored.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(120);
/// The largest chunk of an output in one request, in bytes.
pub(super) const MAX_CHUNK: usize = 256 << 10;
/// The largest WebSocket frame, in bytes.
const MAX_FRAME: usize = 16 << 20;

impl ApiClient {
    /// A client of the server that the argument, `BORGES_SERVER` or the document names. Prints an invalid address.
    pub(super) fn from_args(argument: Option<&str>, document: Option<&str>) -> Result<Self, Exit> {
        let variable = env::var("BORGES_SERVER").ok();
        let Address { url, trusted } =
            address::choose(argument, variable.as_deref(), document).map_err(|error| {
                eprintln!("borges: {error}");
                Exit::InvalidInput
            })?;
        let token = env::var("BORGES_TOKEN").ok().filter(|token| !token.is_empty());
        let unused_token = match (&token, trusted) {
            (Some(_), false) => Some(UnusedToken::Withheld),
            (None, _) => Some(UnusedToken::Missing),
            (Some(_), true) => None,
        };
        // The server closes idle connections after 5 s. The client closes them first.
        let connector =
            Connector::new().timeout(Duration::from_secs(5)).conn_keep_alive(Duration::from_secs(4));
        let http = awc::Client::builder()
            .timeout(HEAD_TIMEOUT)
            .disable_redirects()
            .max_http_version(actix_web::http::Version::HTTP_11)
            .connector(connector)
            .finish();
        Ok(Self { http, token: token.filter(|_| trusted), reader: ResponseReader::new(url, unused_token) })
    }

    /// The URL of the server: `http://HOST:PORT`.
    pub(super) fn url(&self) -> &str {
        self.reader.url()
    }

    fn request(&self, method: Method, route: &str) -> awc::ClientRequest {
        let request = self.http.request(method, format!("{}{route}", self.url()));
        let request = request.insert_header((ACCEPT, "application/json"));
        match &self.token {
            Some(token) => request.insert_header((AUTHORIZATION, format!("Bearer {token}"))),
            None => request,
        }
    }

    /// Gets a JSON value.
    async fn get<T: DeserializeOwned>(&self, route: &str) -> Result<T, ApiError> {
        let response = self.request(Method::GET, route).send().await;
        self.reader.json(response.map_err(|error| self.reader.send_error(&error))?).await
    }

    /// Submits a document: only the blocks in `names`, or all if it is empty. Returns the response also as text.
    pub(super) async fn submit(
        &self,
        document: Bytes,
        names: &[String],
        resume: bool,
    ) -> Result<(RunId, SubmitResponse, Bytes), ApiError> {
        let resume = resume.then(|| "resume=1".to_owned());
        let query: Vec<String> =
            names.iter().map(|name| format!("name={}", percent_encode(name))).chain(resume).collect();
        let route = if query.is_empty() { "/org".to_owned() } else { format!("/org?{}", query.join("&")) };
        let request = self
            .request(Method::POST, &route)
            .timeout(SUBMIT_TIMEOUT)
            .insert_header((CONTENT_TYPE, "text/org"));
        let response = request.send_body(document).await.map_err(|error| self.reader.send_error(&error))?;
        let text = self.reader.json_text(response).await?;
        let submitted: SubmitResponse = self.reader.parse(&text)?;
        let run =
            submitted.run.ok_or_else(|| self.reader.not_borges("no run for a document that it took"))?;
        Ok((run, submitted, text))
    }

    /// The document `current` with the results that the run has by now.
    pub(super) async fn document_with_results(
        &self,
        run: RunId,
        current: Bytes,
    ) -> Result<UpdatedDocument, ApiError> {
        let request = self.request(Method::POST, &format!("/org/{run}/document"));
        let request = request.timeout(SUBMIT_TIMEOUT).insert_header((CONTENT_TYPE, "text/org"));
        let response = request.send_body(current).await.map_err(|error| self.reader.send_error(&error))?;
        if !response.status().is_success() || media_type(&response) != "text/org" {
            return Err(self.reader.failure(response).await);
        }
        let headers = response.headers().get_all("Borges-Not-Written");
        let missing = headers.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
        Ok(UpdatedDocument { text: self.reader.body(response).await?.to_vec(), missing })
    }

    /// Kills a task; all tasks of the run if `task` is `None`.
    pub(super) async fn kill(&self, run: RunId, task: Option<TaskId>) -> Result<(), ApiError> {
        let route = task.map_or_else(|| format!("/org/{run}"), |task| format!("/tasks/{task}"));
        let response = self.request(Method::DELETE, &route).send().await;
        let response = response.map_err(|error| self.reader.send_error(&error))?;
        match task {
            Some(_) => self.reader.json::<_, TaskKillResponse>(response).await.map(drop),
            None => self.reader.json::<_, RunKillResponse>(response).await.map(drop),
        }
    }

    /// The current state of a task.
    pub(super) async fn task(&self, task: TaskId) -> Result<TaskSummary, ApiError> {
        self.get(&format!("/tasks/{task}")).await
    }

    /// The current state of a run and its waiting tasks.
    pub(super) async fn run(&self, run: RunId) -> Result<RunStatus, ApiError> {
        let RunDetails { run, waiting } = self.get(&format!("/org/{run}")).await?;
        let waiting = waiting.into_iter().map(|WaitingTasks { block, line, seconds, tasks, reason }| {
            let waited = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            WaitingGroup { block: block.into(), line, waited, tasks, reason }
        });
        Ok(RunStatus { run, waiting: waiting.collect() })
    }

    /// The tasks of a run; all tasks if `run` is `None`. Reads all pages.
    pub(super) async fn tasks(&self, run: Option<RunId>) -> Result<Vec<TaskSummary>, ApiError> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let fields = [
                run.map(|run| format!("run={run}")),
                after.map(|after| format!("after={}", percent_encode(&after))),
            ];
            let query = fields.into_iter().flatten().collect::<Vec<_>>().join("&");
            let TaskPage { tasks, next } = self.get(&format!("/tasks?{query}")).await?;
            let is_empty = tasks.is_empty();
            all.extend(tasks);
            match next {
                Some(next) if !is_empty => after = Some(next),
                _ => return Ok(all),
            }
        }
    }

    /// Reads a stream of a launch from `offset` on: at most `length` bytes, and at most [`MAX_CHUNK`], because a response
    /// of that size has a `Content-Length`, so that a truncated one is detected.
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
        let response = self.request(Method::GET, &route).send().await;
        let response = response.map_err(|error| self.reader.send_error(&error))?;
        let from = content_offset(&response).unwrap_or(offset);
        let response = self.reader.plain_text(response).await?;
        let bytes = self.reader.body(response).await?;
        let size = from + bytes.len() as u64;
        Ok(FileRead::Bytes { from, bytes, size })
    }

    /// Follows a stream of a launch from `offset` on until the launch ends. Calls `on_chunk` with the offset and the bytes
    /// of each chunk.
    pub(super) async fn follow_output(
        &self,
        launch: LaunchId,
        stream: &str,
        offset: u64,
        mut on_chunk: impl FnMut(u64, &[u8]),
    ) -> Result<(), ApiError> {
        let LaunchId { task, attempt } = launch;
        let route = format!("/tasks/{task}/{stream}?attempt={attempt}&offset={offset}&follow=1");
        let response = self.request(Method::GET, &route).send().await;
        let response = response.map_err(|error| self.reader.send_error(&error))?;
        let mut position = content_offset(&response).unwrap_or(offset);
        let mut response = self.reader.plain_text(response).await?;
        while let Some(bytes) = response.next().await {
            let bytes = bytes.map_err(|error| self.reader.unreachable(&error))?;
            on_chunk(position, &bytes);
            position += bytes.len() as u64;
        }
        Ok(())
    }

    /// A request for the WebSocket with the events of a run.
    pub(super) fn websocket(&self, run: RunId) -> awc::ws::WebsocketsRequest {
        let request = self.http.ws(format!("{}/ws?run={run}", self.url())).max_frame_size(MAX_FRAME);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// The error of a WebSocket request that failed.
    pub(super) fn websocket_error(&self, error: &WsClientError) -> ApiError {
        self.reader.unreachable(error)
    }
}

/// A value in a query, percent-encoded.
fn percent_encode(value: &str) -> String {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value
        .bytes()
        .map(|byte| if is_unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_percent_encoded() {
        assert_eq!(percent_encode("a b&c=ä"), "a%20b%26c%3D%C3%A4");
    }
}

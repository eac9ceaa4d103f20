//! HTTP requests to masters and agents, with the timeouts that an endless event stream needs.

use std::io;
use std::time::Duration;

use awc::error::{ConnectError, SendRequestError};
use awc::http::header::{ACCEPT, CONTENT_TYPE};
use awc::{Client, ClientRequest, Connector};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::credential::Credential;
use super::master::MasterError;

/// Sends requests to masters and agents.
#[derive(Clone)]
pub(super) struct HttpClient {
    client: Client,
    credential: Option<Credential>,
}

/// A response whose body is read in chunks.
pub(super) type Body = awc::ClientResponse;

/// Timeout for the head of a response.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection is used again after at most so long: some servers close an idle one after 5 s.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// The maximum size of an error response, bytes.
const MAX_ERROR_BODY: usize = 64 << 10;

pub(super) const PROTOBUF: &str = "application/x-protobuf";

impl HttpClient {
    pub(super) fn new(credential: Option<Credential>) -> Self {
        let client = Client::builder()
            .timeout(RESPONSE_TIMEOUT)
            // Followed by hand: on its own it would leave our name behind.
            .disable_redirects()
            .connector(Connector::new().timeout(CONNECT_TIMEOUT).conn_keep_alive(KEEP_ALIVE))
            .finish();
        Self { client, credential }
    }

    /// A POST of a message, answered by another.
    pub(super) fn post(&self, host: &str, path: &str) -> ClientRequest {
        let request = self.client.post(format!("http://{host}{path}"));
        self.authenticated(request).insert_header((CONTENT_TYPE, PROTOBUF)).insert_header((ACCEPT, PROTOBUF))
    }

    /// A GET.
    pub(super) fn get(&self, host: &str, path: &str) -> ClientRequest {
        self.authenticated(self.client.get(format!("http://{host}{path}")))
    }

    fn authenticated(&self, request: ClientRequest) -> ClientRequest {
        match &self.credential {
            Some(credential) => request.basic_auth(&credential.principal, credential.secret()),
            None => request,
        }
    }
}

/// The error of a request to `host` that got no response.
pub(super) fn transport_error(host: &str, error: SendRequestError) -> MasterError {
    let master = host.to_owned();
    match error {
        SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout) => {
            MasterError::Timeout { master }
        }
        SendRequestError::Connect(ConnectError::Io(source)) | SendRequestError::Send(source) => {
            MasterError::Unreachable { master, source }
        }
        other => MasterError::Unreachable { master, source: io::Error::other(other.to_string()) },
    }
}

/// Whether the connection broke during the request, as when the server has just closed an idle connection.
pub(super) fn is_connection_reset(error: &SendRequestError) -> bool {
    matches!(
        error,
        SendRequestError::Send(_)
            | SendRequestError::Response(_)
            | SendRequestError::Connect(ConnectError::Disconnected)
    )
}

/// The text of a response's body; empty if it does not arrive in time.
pub(super) async fn body_text(response: Body) -> String {
    let read = timeout(CONNECT_TIMEOUT, read_body(response, MAX_ERROR_BODY)).await;
    let bytes = read.ok().and_then(Result::ok).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// A whole body of at most `limit` bytes.
pub(super) async fn read_body(mut response: Body, limit: usize) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.next().await {
        let chunk = chunk.map_err(|error| io::Error::other(error.to_string()))?;
        if bytes.len() + chunk.len() > limit {
            return Err(io::Error::other(format!("an answer of more than {limit} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

//! One request over HTTP, with the settings that a stream without end and a master behind others ask for.

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

/// What comes of a body, piece by piece.
pub(super) type Body = awc::ClientResponse;

/// Until the head of an answer has come.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// Until a connection stands.
const CONNECTED: Duration = Duration::from_secs(5);
/// A connection is used again after at most so long: some servers close an idle one after 5 s.
const KEPT: Duration = Duration::from_secs(4);
/// The most bytes of an answer that is not a stream.
const MOST_WORDS: usize = 64 << 10;

pub(super) const PROTOBUF: &str = "application/x-protobuf";

impl HttpClient {
    pub(super) fn new(credential: Option<Credential>) -> Self {
        let client = Client::builder()
            .timeout(RESPONSE_TIMEOUT)
            // Followed by hand: on its own it would leave our name behind.
            .disable_redirects()
            .connector(Connector::new().timeout(CONNECTED).conn_keep_alive(KEPT))
            .finish();
        Self { client, credential }
    }

    /// A POST of a message, answered by another.
    pub(super) fn post(&self, host: &str, path: &str) -> ClientRequest {
        let request = self.client.post(format!("http://{host}{path}"));
        self.named(request).insert_header((CONTENT_TYPE, PROTOBUF)).insert_header((ACCEPT, PROTOBUF))
    }

    /// A GET.
    pub(super) fn get(&self, host: &str, path: &str) -> ClientRequest {
        self.named(self.client.get(format!("http://{host}{path}")))
    }

    fn named(&self, request: ClientRequest) -> ClientRequest {
        match &self.credential {
            Some(credential) => request.basic_auth(&credential.principal, credential.secret()),
            None => request,
        }
    }
}

/// What a request that got no answer comes to; `host` is whom it was for.
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

/// Whether a connection broke under a request, as one does that the other side has just closed for idleness.
pub(super) fn is_connection_reset(error: &SendRequestError) -> bool {
    matches!(
        error,
        SendRequestError::Send(_)
            | SendRequestError::Response(_)
            | SendRequestError::Connect(ConnectError::Disconnected)
    )
}

/// The words of an answer, as far as they come in time.
pub(super) async fn body_text(answer: Body) -> String {
    let read = timeout(CONNECTED, read_body(answer, MOST_WORDS)).await;
    let bytes = read.ok().and_then(Result::ok).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// A whole body of at most `most` bytes.
pub(super) async fn read_body(mut answer: Body, most: usize) -> io::Result<Bytes> {
    let mut whole = Vec::new();
    while let Some(piece) = answer.next().await {
        let piece = piece.map_err(|error| io::Error::other(error.to_string()))?;
        if whole.len() + piece.len() > most {
            return Err(io::Error::other(format!("an answer of more than {most} bytes")));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}

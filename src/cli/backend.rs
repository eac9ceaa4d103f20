//! The two ways to run blocks, behind one interface: an engine in this process, or a server.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::api_client::ApiClient;
use super::api_response::ApiError;
use borges_engine::{Engine, EngineError, FileRead, WaitingGroup};
use borges_task::{LaunchId, RunId};

/// Runs the blocks of the watched run.
pub(super) enum Backend {
    /// An engine in this process: the blocks end with it.
    Local(Engine),
    /// A server: the blocks continue after this process ends.
    Remote(ApiClient),
}

/// Why the backend did not answer a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackendError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Server(#[from] ApiError),
}

/// The pauses between attempts to reach a server, in milliseconds.
const RETRY_PAUSES: [u64; 8] = [250, 500, 1000, 2000, 4000, 8000, 8000, 8000];

impl Backend {
    /// Reads at most `length` bytes of each stream of a launch, from the given offset. The results are in the order
    /// of `streams`.
    pub(super) async fn read(
        &self,
        launch: LaunchId,
        streams: &[(&'static str, u64)],
        length: usize,
    ) -> Result<Vec<FileRead>, BackendError> {
        match self {
            Self::Local(engine) => {
                let file = |stream: &str| Arc::<str>::from(format!("block/{stream}"));
                let files = streams.iter().map(|(stream, offset)| (file(stream), *offset)).collect();
                Ok(engine.read_output(launch, files, length).await?)
            }
            Self::Remote(server) => {
                let read = |&(stream, offset): &(&'static str, u64)| {
                    with_retries(move || server.output(launch, stream, offset, length))
                };
                let chunks: Result<_, _> = join_all(streams.iter().map(read)).await.into_iter().collect();
                Ok(chunks?)
            }
        }
    }

    /// The waiting tasks of a run, grouped by block and reason.
    pub(super) async fn waiting(&self, run: RunId) -> Result<Vec<WaitingGroup>, BackendError> {
        match self {
            Self::Local(engine) => Ok(engine.waiting(run).await?),
            Self::Remote(server) => Ok(with_retries(|| server.run(run)).await?.waiting),
        }
    }
}

/// Sends a request until the server answers, because the server may be restarting. Gives up after the last pause.
pub(super) async fn with_retries<T, F: Future<Output = Result<T, ApiError>>>(
    send: impl Fn() -> F,
) -> Result<T, ApiError> {
    for pause in RETRY_PAUSES {
        match send().await {
            Err(ApiError::Unreachable(why)) => log::warn!("{why}"),
            response => return response,
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    send().await
}

//! Who runs the blocks that are watched: an engine of our own, or a server.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::api_client::{ApiClient, ApiError as ServerFailure};
use borges_engine::{Engine, EngineError, FileRead, WaitingGroup};
use borges_task::{LaunchId, RunId};

/// Who runs the blocks.
pub(super) enum Backend {
    /// An engine in this process: the blocks end with us.
    Local(Engine),
    /// A server: the blocks run on without us.
    Remote(ApiClient),
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackendError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Server(#[from] ServerFailure),
}

/// Between tries to reach a server that was there before, milliseconds.
const PAUSES: [u64; 8] = [250, 500, 1000, 2000, 4000, 8000, 8000, 8000];

impl Backend {
    /// Pieces of what a launch has written, in the order of `streams`, each from its offset on, at most `length`
    /// bytes of it.
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
                let pieces: Result<_, _> = join_all(streams.iter().map(read)).await.into_iter().collect();
                Ok(pieces?)
            }
        }
    }

    /// What of a run waits, and why.
    pub(super) async fn waiting(&self, run: RunId) -> Result<Vec<WaitingGroup>, BackendError> {
        match self {
            Self::Local(engine) => Ok(engine.waiting(run).await?),
            Self::Remote(server) => Ok(with_retries(|| server.run(run)).await?.waiting),
        }
    }
}

/// Asks again while the server is away: it may be started anew.
pub(super) async fn with_retries<T, F: Future<Output = Result<T, ServerFailure>>>(
    ask: impl Fn() -> F,
) -> Result<T, ServerFailure> {
    for pause in PAUSES {
        match ask().await {
            Err(ServerFailure::Unreachable(why)) => log::warn!("{why}"),
            answered => return answered,
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    ask().await
}

//! The errors of the engine.

use std::io;
use std::sync::Arc;

use actix::MailboxError;

use borges_store::StoreError;
use borges_task::RunId;

/// Why a write or a read of the store failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PersistError {
    /// The store reported an error.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    /// The thread of the store has ended.
    #[error("the store is closed")]
    Closed,
}

/// Why a document was not accepted.
#[derive(Debug)]
pub(crate) enum SubmitError {
    /// The run could not be stored.
    Persist(PersistError),
    /// Another document was accepted under the same idempotency key, as this run.
    KeyReused(RunId),
}

/// Why a request to the engine failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The actor has stopped.
    #[error("the scheduler has stopped: {0}")]
    Stopped(#[from] MailboxError),
    /// The change could not be stored and was not made.
    #[error("nothing was launched: {0}")]
    NotPersisted(#[from] PersistError),
    /// Another document was submitted under the same idempotency key, as this run.
    #[error("nothing was launched: under this key another document was submitted before, as run {0}")]
    IdempotencyConflict(RunId),
}

impl From<SubmitError> for EngineError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Persist(error) => Self::NotPersisted(error),
            SubmitError::KeyReused(run) => Self::IdempotencyConflict(run),
        }
    }
}

/// Why the engine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread of the store cannot be started.
    #[error("the store's thread cannot be started: {0}")]
    Thread(#[from] io::Error),
}

//! The traits of a cluster: [`Master`] for scheduling, [`Sandbox`] for reading output.
//!
//! Each has three implementations: Mesos over HTTP, the embedded cluster, and the scripted fake of the tests.

use std::io;

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, ready};
use futures_util::stream::LocalBoxStream;

use super::events::{Event, MalformedEvent};
use super::messages::scheduler::Call;
use super::recordio::RecordError;

/// A cluster, as a scheduler sees it: calls in, events out.
pub trait Master {
    /// Opens a subscription, by a SUBSCRIBE call; the stream ends when the connection does. One at a time.
    fn subscribe(&mut self, call: Call) -> LocalBoxFuture<'static, Result<Subscription, MasterError>>;

    /// Sends any other call. `Ok` means accepted, not done.
    fn call(&mut self, call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>>;
}

/// An open subscription; dropping it closes the connection.
pub struct Subscription {
    /// What the master says, from SUBSCRIBED on. An error is the last item, as is the end: both mean that the
    /// connection is lost.
    pub events: LocalBoxStream<'static, Result<Event, MasterError>>,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

/// Why a call did not reach a cluster, or was refused.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// No connection, or one that broke.
    #[error("`{master}` cannot be reached: {source}")]
    Unreachable {
        /// Whom we called, as the setupfile names it.
        master: String,
        /// What the system says.
        source: io::Error,
    },
    /// No answer in time.
    #[error("`{master}` does not answer")]
    Timeout {
        /// Whom we called.
        master: String,
    },
    /// It works, but not now: no leader, or still recovering (503).
    #[error("`{master}` is not ready: {message}")]
    NotReady {
        /// Whom we called.
        master: String,
        /// Its own words.
        message: String,
    },
    /// A call was sent without an open subscription (403).
    #[error("the framework is not subscribed")]
    NotSubscribed,
    /// A call was sent in a subscription that is no longer ours; its stream has told, or will.
    #[error("the subscription is no longer ours: {message}")]
    StaleStream {
        /// The master's own words.
        message: String,
    },
    /// The call is wrong, or forbidden (400, 401, 406, 415).
    #[error("`{master}` refuses the call: {message}")]
    Rejected {
        /// Whom we called.
        master: String,
        /// Its own words.
        message: String,
    },
    /// The stream is no RecordIO.
    #[error("the stream of events is broken: {0}")]
    Record(#[from] RecordError),
    /// A record is no message.
    #[error("the stream of events is broken: {0}")]
    Message(#[from] prost::DecodeError),
    /// A message is no event.
    #[error("the stream of events is broken: {0}")]
    Event(#[from] MalformedEvent),
    /// The stream ended within a record.
    #[error("the stream of events was cut, with {0} bytes left over")]
    StreamEnded(usize),
}

impl MasterError {
    /// Whether a new connection, later, may do better.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::NotReady { .. }
            | Self::NotSubscribed
            | Self::Record(_)
            | Self::Message(_)
            | Self::Event(_)
            | Self::StreamEnded(_) => true,
            Self::Rejected { .. } | Self::StaleStream { .. } => false,
        }
    }
}

/// Reads what a task has written.
pub trait Sandbox {
    /// Reads at most `length` bytes of the file `path`, relative to the sandbox, from `offset` on.
    ///
    /// At or behind the end the chunk is empty: there may be more later.
    fn read(
        &self,
        location: &SandboxLocation,
        path: &str,
        offset: u64,
        length: usize,
    ) -> LocalBoxFuture<'static, Result<Chunk, SandboxError>>;

    /// What the directory `path`, relative to the sandbox, holds, in the order of names; the empty path is the
    /// sandbox itself.
    fn list(
        &self,
        location: &SandboxLocation,
        path: &str,
    ) -> LocalBoxFuture<'static, Result<Vec<SandboxFile>, SandboxError>>;

    /// Called when a launch has ended: copies its output if the cluster may delete the sandbox. The default does
    /// nothing, because embedded sandboxes are ours.
    fn archive(&self, _location: &SandboxLocation) {}

    /// How many bytes of our disk these sandboxes take in all, or what is kept of them.
    fn size(&self, _locations: Vec<SandboxLocation>) -> LocalBoxFuture<'static, u64> {
        Box::pin(ready(0))
    }

    /// Removes from our disk these sandboxes, or what is kept of them: their launches have ended, and nobody will ask
    /// for them again. That one is not there is no error.
    fn discard(&self, _locations: Vec<SandboxLocation>) -> LocalBoxFuture<'static, io::Result<()>> {
        Box::pin(ready(Ok(())))
    }
}

/// A file of a sandbox, as a directory tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxFile {
    /// Its name within its directory; what is no UTF-8 in it is shown as U+FFFD.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// What it is.
    pub kind: FileKind,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// An ordinary file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A pipe, a socket, a device: nothing that can be read.
    Other,
}

impl FileKind {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Link => "link",
            Self::Other => "other",
        }
    }
}

/// Where a launch ran.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SandboxLocation {
    /// The agent's id.
    pub agent: String,
    /// The framework's id.
    pub framework: String,
    /// The executor's id: the launch id.
    pub executor: String,
}

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where the bytes begin: at the offset asked for, or behind it, when what lay between is not kept any more.
    pub offset: u64,
    /// The bytes from there on.
    pub bytes: Bytes,
    /// How many bytes the file had when it was read.
    pub size: u64,
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// There is no such file: not written yet, or never.
    #[error("the sandbox has no file `{0}`")]
    Missing(String),
    /// It is a directory.
    #[error("`{0}` is a directory")]
    Directory(String),
    /// The path leaves the sandbox, or names nothing that can be read.
    #[error("`{0}` is not the path of a file within a sandbox: write it relative, without `..`")]
    BadPath(String),
    /// The agent is not known, or does not answer.
    #[error("the agent `{agent}` cannot be reached: {message}")]
    Unreachable {
        /// The agent's id.
        agent: String,
        /// What went wrong.
        message: String,
    },
    /// The file is there and cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    Unreadable {
        /// The path asked for.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

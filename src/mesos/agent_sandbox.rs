//! The sandboxes of a Mesos cluster: read from the agents, and from our copies after a launch has ended.
//!
//! An agent deletes a sandbox some time after its launch has ended, or when its disk is full, and its machine may go away.
//! So the files under `block/` are copied to a local directory when the launch ends, and read there once the copy is
//! complete.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use awc::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::{FutureExt, LocalBoxFuture, ready};
use prost::Message;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::task::{spawn_blocking, spawn_local};

use super::agent_registry::{Agent, AgentRegistry, percent_encode};
use super::credential::Credential;
use super::http::Leader;
use super::http_client::{Body, HttpClient, read_body, transport_error};
use super::master::{Chunk, FileKind, Sandbox, SandboxError, SandboxFile, SandboxLocation};
use super::messages::agent::{Call, Response, call, response};
use super::output_archive::OutputArchive;
use super::payload::is_contained_path;
use borges_task::Backoff;

/// The sandboxes of a cluster, and the copies of those whose blocks have ended. Clones share them.
#[derive(Clone)]
pub struct AgentSandbox {
    state: Rc<State>,
}

struct State {
    client: HttpClient,
    agents: AgentRegistry,
    archive: OutputArchive,
    /// How many launches may be copied at once.
    copy_permits: Semaphore,
}

/// The files below `block/` that are copied.
const COPIED_FILES: [&str; 4] = ["stdout", "stderr", "exit", "value"];
/// Launches copied at the same time.
const MAX_CONCURRENT_COPIES: usize = 4;
/// Between tries to copy from an agent that does not answer.
const RETRY_BACKOFF: Backoff =
    Backoff { initial: Duration::from_secs(1), factor: 2.0, max: Duration::from_secs(60) };
/// How often that is tried: for about a day.
const MAX_ATTEMPTS: u32 = 1440;
/// The most bytes of an answer: a piece is at most 16 pages of an agent, a directory may be long.
const MAX_BODY: usize = 16 << 20;

impl AgentSandbox {
    /// Reads from the agents of the master that `leader` knows; copies lie in `directory`.
    pub fn new(leader: Leader, credential: Option<Credential>, directory: PathBuf) -> Self {
        let client = HttpClient::new(credential);
        let state = State {
            agents: AgentRegistry::new(client.clone(), leader),
            client,
            archive: OutputArchive::new(directory),
            copy_permits: Semaphore::new(MAX_CONCURRENT_COPIES),
        };
        Self { state: Rc::new(state) }
    }

    /// Takes up the copies that an earlier life has begun. To be called once, within the runtime.
    pub fn resume_copies(&self) -> io::Result<()> {
        for location in self.state.archive.pending()? {
            self.copy(location);
        }
        Ok(())
    }

    fn copy(&self, location: SandboxLocation) {
        let state = self.state.clone();
        spawn_local(async move { state.copy(&location).await });
    }
}

impl Sandbox for AgentSandbox {
    fn read(
        &self,
        location: &SandboxLocation,
        path: &str,
        offset: u64,
        length: usize,
    ) -> LocalBoxFuture<'static, Result<Chunk, SandboxError>> {
        if !is_contained_path(path) {
            return ready(Err(SandboxError::BadPath(path.to_owned()))).boxed_local();
        }
        if let Some(read) = self.state.archive.read(location, path, offset, length) {
            return ready(read).boxed_local();
        }
        let (state, location, path) = (self.state.clone(), location.clone(), path.to_owned());
        async move {
            let read = state.read(&location, &path, offset, length).await;
            match &read {
                Err(error) if is_unavailable(error) && state.archive.list(&location, &path).is_some() => {
                    Err(SandboxError::Directory(path))
                }
                _ => read,
            }
        }
        .boxed_local()
    }

    fn list(
        &self,
        location: &SandboxLocation,
        path: &str,
    ) -> LocalBoxFuture<'static, Result<Vec<SandboxFile>, SandboxError>> {
        if !path.is_empty() && !is_contained_path(path.trim_end_matches('/')) {
            return ready(Err(SandboxError::BadPath(path.to_owned()))).boxed_local();
        }
        let (state, location, path) =
            (self.state.clone(), location.clone(), path.trim_end_matches('/').to_owned());
        async move {
            let listing = state.list(&location, &path).await;
            match (listing, state.archive.list(&location, &path)) {
                (Err(error), Some(archived)) if is_unavailable(&error) => Ok(archived),
                (listing, _) => listing,
            }
        }
        .boxed_local()
    }

    fn archive(&self, location: &SandboxLocation) {
        match self.state.archive.request(location) {
            Ok(true) => self.copy(location.clone()),
            Ok(false) => {}
            Err(error) => log::error!("the output of {} cannot be copied: {error}", location.executor),
        }
    }

    /// Of the copies: the agents see to the sandboxes themselves.
    fn size(&self, locations: Vec<SandboxLocation>) -> LocalBoxFuture<'static, u64> {
        let archive = self.state.archive.clone();
        let measure = move || locations.iter().map(|location| archive.size(location)).sum();
        spawn_blocking(measure).map(Result::unwrap_or_default).boxed_local()
    }

    fn discard(&self, locations: Vec<SandboxLocation>) -> LocalBoxFuture<'static, io::Result<()>> {
        let archive = self.state.archive.clone();
        let discard = move || locations.iter().try_for_each(|location| archive.remove(location));
        spawn_blocking(discard)
            .map(|done| done.unwrap_or_else(|error| Err(io::Error::other(error))))
            .boxed_local()
    }
}

impl State {
    async fn read(
        &self,
        location: &SandboxLocation,
        path: &str,
        offset: u64,
        length: usize,
    ) -> Result<Chunk, SandboxError> {
        let mut bytes = BytesMut::new();
        loop {
            let at = offset + bytes.len() as u64;
            let remaining = (length - bytes.len()) as u64;
            let read_file =
                call::ReadFile { path: agent_path(location, path), offset: at, length: Some(remaining) };
            let call = Call {
                r#type: Some(call::Type::ReadFile as i32),
                read_file: Some(read_file),
                ..Call::default()
            };
            let read = self.call_agent(location, path, &call).await?.read_file;
            let response::ReadFile { size, data } =
                read.ok_or_else(|| unreadable(path, "the agent gives no bytes"))?;
            bytes.extend_from_slice(&data);
            let is_end = data.is_empty() || offset + bytes.len() as u64 >= size;
            if is_end || bytes.len() >= length {
                bytes.truncate(length);
                return Ok(Chunk { offset, bytes: bytes.freeze(), size });
            }
        }
    }

    async fn list(&self, location: &SandboxLocation, path: &str) -> Result<Vec<SandboxFile>, SandboxError> {
        let list_files = call::ListFiles { path: agent_path(location, path) };
        let call = Call {
            r#type: Some(call::Type::ListFiles as i32),
            list_files: Some(list_files),
            ..Call::default()
        };
        let listed = self.call_agent(location, path, &call).await?.list_files.unwrap_or_default();
        let mut seen = HashSet::new();
        let mut files: Vec<SandboxFile> = listed
            .file_infos
            .into_iter()
            .filter_map(|file| {
                let name = file.path.trim_end_matches('/').rsplit('/').next()?.to_owned();
                let kind = file_kind(file.mode.unwrap_or_default());
                Some(SandboxFile { name, size: file.size.unwrap_or_default(), kind })
            })
            .filter(|file| seen.insert(file.name.clone()))
            .collect();
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    /// Asks the agent of a launch; once more where it may have moved.
    async fn call_agent(
        &self,
        location: &SandboxLocation,
        path: &str,
        call: &Call,
    ) -> Result<Response, SandboxError> {
        let unreachable =
            |message: String| SandboxError::Unreachable { agent: location.agent.clone(), message };
        let message = Bytes::from(call.encode_to_vec());
        let mut failures = 0;
        let (agent, response) = loop {
            let agent = self.agents.find(&location.agent).await.map_err(unreachable)?;
            let route = format!("{}/api/v1", agent.prefix);
            match self.client.post(&agent.host, &route).send_body(message.clone()).await {
                Ok(response) => break (agent, response),
                Err(error) => {
                    self.agents.invalidate(&location.agent);
                    failures += 1;
                    if failures > 1 {
                        return Err(unreachable(transport_error(&agent.host, error).to_string()));
                    }
                }
            }
        };
        let status = response.status();
        let body = read_body(response, MAX_BODY).await.map_err(|error| unreachable(error.to_string()))?;
        match status {
            StatusCode::OK => Response::decode(body).map_err(|error| {
                unreadable(path, &format!("the answer of the agent {} is no message: {error}", agent.host))
            }),
            StatusCode::NOT_FOUND => Err(SandboxError::Missing(path.to_owned())),
            StatusCode::BAD_REQUEST if body.to_ascii_lowercase().ends_with(b"directory") => {
                Err(SandboxError::Directory(path.to_owned()))
            }
            status => {
                let body = String::from_utf8_lossy(&body);
                Err(unreadable(path, &format!("the agent {} says {status}: {}", agent.host, body.trim())))
            }
        }
    }

    async fn copy(&self, location: &SandboxLocation) {
        for attempt in 1..=MAX_ATTEMPTS {
            match self.try_copy(location).await {
                Ok(()) => return,
                Err(error) if attempt == MAX_ATTEMPTS => {
                    log::error!(
                        "the output of {} was not copied, and no longer will be: {error}",
                        location.executor
                    );
                    self.archive.cancel(location);
                }
                Err(error) => {
                    let pause = RETRY_BACKOFF.delay(attempt, 0.5);
                    log::debug!("the output of {} is not copied yet: {error}", location.executor);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn try_copy(&self, location: &SandboxLocation) -> io::Result<()> {
        // Held for one try: an agent that is unreachable for hours delays no other copy.
        let _permit = self.copy_permits.acquire().await.map_err(io::Error::other)?;
        // Most blocks write nothing, or one of these: one question tells what is worth others.
        let files = match self.list(location, "block").await {
            Err(SandboxError::Missing(_)) => Vec::new(),
            listed => listed.map_err(io::Error::other)?,
        };
        let agent = self.agents.find(&location.agent).await.map_err(io::Error::other)?;
        let partial = self.archive.create_partial(location)?;
        for SandboxFile { name, size, .. } in files.iter().filter(|file| COPIED_FILES.contains(&&*file.name))
        {
            if *size == 0 {
                File::create(partial.join(name)).await?;
                continue;
            }
            match self.download(&agent, location, name).await {
                Ok(Some(response)) => write(response, partial.join(name)).await?,
                Ok(None) => {}
                Err(error) => {
                    self.agents.invalidate(&location.agent);
                    return Err(error);
                }
            }
        }
        self.archive.commit(location)
    }

    /// A file below `block/` as it is; `None` when there is none.
    async fn download(
        &self,
        agent: &Agent,
        location: &SandboxLocation,
        file: &str,
    ) -> io::Result<Option<Body>> {
        let path = agent_path(location, &format!("block/{file}"));
        let route = format!("/files/download?path={}", percent_encode(&path));
        let response = self.client.get(&agent.host, &route).send().await;
        let response =
            response.map_err(|error| io::Error::other(transport_error(&agent.host, error).to_string()))?;
        match response.status() {
            StatusCode::OK => Ok(Some(response)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(io::Error::other(format!("the agent {} says {status}", agent.host))),
        }
    }
}

async fn write(mut response: Body, path: PathBuf) -> io::Result<()> {
    let mut file = File::create(path).await?;
    while let Some(chunk) = response.next().await {
        file.write_all(&chunk.map_err(|error| io::Error::other(error.to_string()))?).await?;
    }
    file.sync_all().await
}

/// Whether a sandbox has been collected, or is on a machine that is away: what we have of it counts then.
fn is_unavailable(error: &SandboxError) -> bool {
    matches!(error, SandboxError::Missing(_) | SandboxError::Unreachable { .. })
}

/// A path as agents know it. It does not change when the sandbox does.
fn agent_path(location: &SandboxLocation, path: &str) -> String {
    let SandboxLocation { framework, executor, .. } = location;
    let slash = if path.is_empty() { "" } else { "/" };
    format!("/frameworks/{framework}/executors/{executor}/runs/latest{slash}{path}")
}

/// What a file is, by its mode. Source: inode(7).
fn file_kind(mode: u32) -> FileKind {
    match mode & 0o170_000 {
        0o100_000 => FileKind::File,
        0o040_000 => FileKind::Directory,
        0o120_000 => FileKind::Link,
        _ => FileKind::Other,
    }
}

fn unreadable(path: &str, message: &str) -> SandboxError {
    SandboxError::Unreadable { path: path.to_owned(), source: io::Error::other(message.to_owned()) }
}

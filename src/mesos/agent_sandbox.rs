//! The sandboxes of a real Mesos: read from the agents while they are there, copied when their block has ended.
//!
//! An agent collects a sandbox some time after its block's end, or when its disk is full; and a machine may go
//! away with all it has. So the files under `block/` are copied into a directory of ours as soon as the cluster
//! tells the end, and read there once the copy is whole.

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
    link: HttpClient,
    agents: AgentRegistry,
    copies: OutputArchive,
    /// How many launches may be copied at once.
    copying: Semaphore,
}

/// The files below `block/` that are copied.
const KEPT: [&str; 4] = ["stdout", "stderr", "exit", "value"];
/// Launches copied at the same time.
const AT_ONCE: usize = 4;
/// Between tries to copy from an agent that does not answer.
const RETRY: Backoff = Backoff { initial: Duration::from_secs(1), factor: 2.0, max: Duration::from_secs(60) };
/// How often that is tried: for about a day.
const TRIES: u32 = 1440;
/// The most bytes of an answer: a piece is at most 16 pages of an agent, a directory may be long.
const MOST_SAID: usize = 16 << 20;

impl AgentSandbox {
    /// Reads from the agents of the master that `leader` knows; copies lie in `directory`.
    pub fn new(leader: Leader, credential: Option<Credential>, directory: PathBuf) -> Self {
        let link = HttpClient::new(credential);
        let state = State {
            agents: AgentRegistry::new(link.clone(), leader),
            link,
            copies: OutputArchive::new(directory),
            copying: Semaphore::new(AT_ONCE),
        };
        Self { state: Rc::new(state) }
    }

    /// Takes up the copies that an earlier life has begun. To be called once, within the runtime.
    pub fn resume_copies(&self) -> io::Result<()> {
        for place in self.state.copies.pending()? {
            self.copy(place);
        }
        Ok(())
    }

    fn copy(&self, place: SandboxLocation) {
        let state = self.state.clone();
        spawn_local(async move { state.copy(&place).await });
    }
}

impl Sandbox for AgentSandbox {
    fn read(
        &self,
        place: &SandboxLocation,
        path: &str,
        offset: u64,
        length: usize,
    ) -> LocalBoxFuture<'static, Result<Chunk, SandboxError>> {
        if !is_contained_path(path) {
            return ready(Err(SandboxError::BadPath(path.to_owned()))).boxed_local();
        }
        if let Some(read) = self.state.copies.read(place, path, offset, length) {
            return ready(read).boxed_local();
        }
        let (state, place, path) = (self.state.clone(), place.clone(), path.to_owned());
        async move {
            let read = state.read(&place, &path, offset, length).await;
            match &read {
                Err(error) if is_away(error) && state.copies.list(&place, &path).is_some() => {
                    Err(SandboxError::Directory(path))
                }
                _ => read,
            }
        }
        .boxed_local()
    }

    fn list(
        &self,
        place: &SandboxLocation,
        path: &str,
    ) -> LocalBoxFuture<'static, Result<Vec<SandboxFile>, SandboxError>> {
        if !path.is_empty() && !is_contained_path(path.trim_end_matches('/')) {
            return ready(Err(SandboxError::BadPath(path.to_owned()))).boxed_local();
        }
        let (state, place, path) = (self.state.clone(), place.clone(), path.trim_end_matches('/').to_owned());
        async move {
            let there = state.list(&place, &path).await;
            match (there, state.copies.list(&place, &path)) {
                (Err(error), Some(kept)) if is_away(&error) => Ok(kept),
                (there, _) => there,
            }
        }
        .boxed_local()
    }

    fn keep(&self, place: &SandboxLocation) {
        match self.state.copies.request(place) {
            Ok(true) => self.copy(place.clone()),
            Ok(false) => {}
            Err(error) => log::error!("the output of {} cannot be copied: {error}", place.executor),
        }
    }

    /// Of the copies: the agents see to the sandboxes themselves.
    fn size(&self, places: Vec<SandboxLocation>) -> LocalBoxFuture<'static, u64> {
        let copies = self.state.copies.clone();
        let measure = move || places.iter().map(|place| copies.size(place)).sum();
        spawn_blocking(measure).map(Result::unwrap_or_default).boxed_local()
    }

    fn discard(&self, places: Vec<SandboxLocation>) -> LocalBoxFuture<'static, io::Result<()>> {
        let copies = self.state.copies.clone();
        let discard = move || places.iter().try_for_each(|place| copies.remove(place));
        spawn_blocking(discard)
            .map(|done| done.unwrap_or_else(|error| Err(io::Error::other(error))))
            .boxed_local()
    }
}

impl State {
    async fn read(
        &self,
        place: &SandboxLocation,
        path: &str,
        offset: u64,
        length: usize,
    ) -> Result<Chunk, SandboxError> {
        let mut bytes = BytesMut::new();
        loop {
            let at = offset + bytes.len() as u64;
            let wanted = (length - bytes.len()) as u64;
            let read_file = call::ReadFile { path: full(place, path), offset: at, length: Some(wanted) };
            let call = Call {
                r#type: Some(call::Type::ReadFile as i32),
                read_file: Some(read_file),
                ..Call::default()
            };
            let read = self.ask(place, path, &call).await?.read_file;
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

    async fn list(&self, place: &SandboxLocation, path: &str) -> Result<Vec<SandboxFile>, SandboxError> {
        let list_files = call::ListFiles { path: full(place, path) };
        let call = Call {
            r#type: Some(call::Type::ListFiles as i32),
            list_files: Some(list_files),
            ..Call::default()
        };
        let listed = self.ask(place, path, &call).await?.list_files.unwrap_or_default();
        let mut seen = HashSet::new();
        let mut files: Vec<SandboxFile> = listed
            .file_infos
            .into_iter()
            .filter_map(|file| {
                let name = file.path.trim_end_matches('/').rsplit('/').next()?.to_owned();
                let kind = kind(file.mode.unwrap_or_default());
                Some(SandboxFile { name, size: file.size.unwrap_or_default(), kind })
            })
            .filter(|file| seen.insert(file.name.clone()))
            .collect();
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    /// Asks the agent of a launch; once more where it may have moved.
    async fn ask(&self, place: &SandboxLocation, path: &str, call: &Call) -> Result<Response, SandboxError> {
        let unreachable = |message: String| SandboxError::Unreachable { agent: place.agent.clone(), message };
        let message = Bytes::from(call.encode_to_vec());
        let mut tries = 0;
        let (agent, answer) = loop {
            let agent = self.agents.find(&place.agent).await.map_err(unreachable)?;
            let route = format!("{}/api/v1", agent.prefix);
            match self.link.post(&agent.host, &route).send_body(message.clone()).await {
                Ok(answer) => break (agent, answer),
                Err(error) => {
                    self.agents.invalidate(&place.agent);
                    tries += 1;
                    if tries > 1 {
                        return Err(unreachable(transport_error(&agent.host, error).to_string()));
                    }
                }
            }
        };
        let status = answer.status();
        let said = read_body(answer, MOST_SAID).await.map_err(|error| unreachable(error.to_string()))?;
        match status {
            StatusCode::OK => Response::decode(said).map_err(|error| {
                unreadable(path, &format!("the answer of the agent {} is no message: {error}", agent.host))
            }),
            StatusCode::NOT_FOUND => Err(SandboxError::Missing(path.to_owned())),
            StatusCode::BAD_REQUEST if said.to_ascii_lowercase().ends_with(b"directory") => {
                Err(SandboxError::Directory(path.to_owned()))
            }
            status => {
                let said = String::from_utf8_lossy(&said);
                Err(unreadable(path, &format!("the agent {} says {status}: {}", agent.host, said.trim())))
            }
        }
    }

    async fn copy(&self, place: &SandboxLocation) {
        for tried in 1..=TRIES {
            match self.try_to_copy(place).await {
                Ok(()) => return,
                Err(error) if tried == TRIES => {
                    log::error!(
                        "the output of {} was not copied, and no longer will be: {error}",
                        place.executor
                    );
                    self.copies.cancel(place);
                }
                Err(error) => {
                    let pause = RETRY.delay(tried, 0.5);
                    log::debug!("the output of {} is not copied yet: {error}", place.executor);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn try_to_copy(&self, place: &SandboxLocation) -> io::Result<()> {
        // Held for one try: an agent that is away for hours keeps nobody else waiting.
        let _turn = self.copying.acquire().await.map_err(io::Error::other)?;
        // Most blocks write nothing, or one of these: one question tells what is worth others.
        let written = match self.list(place, "block").await {
            Err(SandboxError::Missing(_)) => Vec::new(),
            listed => listed.map_err(io::Error::other)?,
        };
        let agent = self.agents.find(&place.agent).await.map_err(io::Error::other)?;
        let part = self.copies.create_partial(place)?;
        for SandboxFile { name, size, .. } in written.iter().filter(|file| KEPT.contains(&&*file.name)) {
            if *size == 0 {
                File::create(part.join(name)).await?;
                continue;
            }
            match self.download(&agent, place, name).await {
                Ok(Some(answer)) => write(answer, part.join(name)).await?,
                Ok(None) => {}
                Err(error) => {
                    self.agents.invalidate(&place.agent);
                    return Err(error);
                }
            }
        }
        self.copies.commit(place)
    }

    /// A file below `block/` as it is; `None` when there is none.
    async fn download(&self, agent: &Agent, place: &SandboxLocation, file: &str) -> io::Result<Option<Body>> {
        let path = full(place, &format!("block/{file}"));
        let route = format!("/files/download?path={}", percent_encode(&path));
        let answer = self.link.get(&agent.host, &route).send().await;
        let answer =
            answer.map_err(|error| io::Error::other(transport_error(&agent.host, error).to_string()))?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(io::Error::other(format!("the agent {} says {status}", agent.host))),
        }
    }
}

async fn write(mut answer: Body, path: PathBuf) -> io::Result<()> {
    let mut file = File::create(path).await?;
    while let Some(piece) = answer.next().await {
        file.write_all(&piece.map_err(|error| io::Error::other(error.to_string()))?).await?;
    }
    file.sync_all().await
}

/// Whether a sandbox has been collected, or is on a machine that is away: what we have of it counts then.
fn is_away(error: &SandboxError) -> bool {
    matches!(error, SandboxError::Missing(_) | SandboxError::Unreachable { .. })
}

/// A path as agents know it. It does not change when the sandbox does.
fn full(place: &SandboxLocation, path: &str) -> String {
    let SandboxLocation { framework, executor, .. } = place;
    let slash = if path.is_empty() { "" } else { "/" };
    format!("/frameworks/{framework}/executors/{executor}/runs/latest{slash}{path}")
}

/// What a file is, by its mode. Source: inode(7).
fn kind(mode: u32) -> FileKind {
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

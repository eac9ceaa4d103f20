//! The store's thread: saves what it is given, many saves in one commit, and numbers what has happened.
//!
//! A commit waits for the disk. What arrives meanwhile is saved together by the next one, so the disk's pace
//! sets how long a save takes, not how many there can be.

use std::mem::take;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::counters::Counters;
use super::engine::Threading;
use super::event_log::{CommittedEvents, EventLog};
use borges_store::{LoggedEvent, ResultRecord, Store, StoreError, TaskRecord, WriteOp};
use borges_task::{RunId, TaskId};

/// The way to the store.
#[derive(Clone, Debug)]
pub(super) struct StoreHandle {
    inbox: UnboundedSender<Command>,
}

/// Why something was not saved, or not read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PersistError {
    /// The store says so.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    /// Its thread has ended.
    #[error("the store is closed")]
    Closed,
}

enum Command {
    Save(Save),
    Read { after: u64, read: oneshot::Sender<Result<Vec<LoggedEvent>, PersistError>> },
    Results { run: RunId, read: oneshot::Sender<Result<Vec<ResultRecord>, PersistError>> },
    ReadTask { task: TaskId, read: oneshot::Sender<Result<Option<TaskRecord>, PersistError>> },
}

struct Save {
    writes: Vec<WriteOp>,
    entries: Vec<LoggedEvent>,
    done: oneshot::Sender<Result<CommittedEvents, PersistError>>,
}

/// What nobody waits for is saved with what somebody does, if that comes soon.
const LINGER: Duration = Duration::from_millis(10);
/// Unless there is more than this of it.
const LINGER_MAX: usize = 256;

impl StoreHandle {
    /// Starts the thread; what it numbers becomes news of `feed`. It ends when the last clone of this is
    /// dropped, with everything saved.
    pub(super) fn start(
        store: Box<dyn Store>,
        feed: EventLog,
        counters: Arc<Counters>,
        threads: Threading,
    ) -> std::io::Result<Self> {
        let (inbox, wishes) = mpsc::unbounded_channel();
        let keeping = StoreThread { store, feed, counters };
        match threads {
            Threading::Dedicated => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
                let keep = move || runtime.block_on(keeping.keep(wishes));
                thread::Builder::new().name("store".to_owned()).spawn(keep)?;
            }
            Threading::Single => {
                actix::spawn(keeping.keep(wishes));
            }
        }
        Ok(Self { inbox })
    }

    /// Saves `writes`, and `entries` numbered, all or none; when it is answered well, they survive a crash. The
    /// entries are told when the news that come back are dropped.
    ///
    /// They are on their way when this returns: saves keep the order in which they were asked for.
    pub(super) fn save(
        &self,
        writes: Vec<WriteOp>,
        entries: Vec<LoggedEvent>,
    ) -> BoxFuture<'static, Result<CommittedEvents, PersistError>> {
        let (done, answer) = oneshot::channel();
        // A thread that has ended drops `done`, and that is the answer.
        let _closed = self.inbox.send(Command::Save(Save { writes, entries, done }));
        Box::pin(async move { answer.await.unwrap_or(Err(PersistError::Closed)) })
    }

    /// Saves what has happened where nothing waits for it to be saved; it is told then.
    pub(super) fn append_events(&self, entries: Vec<LoggedEvent>) {
        if entries.is_empty() {
            return;
        }
        drop(self.save(Vec::new(), entries));
    }

    /// Some of the entries after number `after`, in order; none at the end.
    pub(super) fn entries(&self, after: u64) -> BoxFuture<'static, Result<Vec<LoggedEvent>, PersistError>> {
        let (read, answer) = oneshot::channel();
        let _closed = self.inbox.send(Command::Read { after, read });
        Box::pin(async move { answer.await.unwrap_or(Err(PersistError::Closed)) })
    }

    /// What the ended tasks of a run have left, as far as that is known.
    pub(super) fn results(&self, run: RunId) -> BoxFuture<'static, Result<Vec<ResultRecord>, PersistError>> {
        let (read, answer) = oneshot::channel();
        let _closed = self.inbox.send(Command::Results { run, read });
        Box::pin(async move { answer.await.unwrap_or(Err(PersistError::Closed)) })
    }

    /// The task as it was saved last; `None` if it never was.
    pub(super) fn read_task(
        &self,
        task: TaskId,
    ) -> BoxFuture<'static, Result<Option<TaskRecord>, PersistError>> {
        let (read, answer) = oneshot::channel();
        let _closed = self.inbox.send(Command::ReadTask { task, read });
        Box::pin(async move { answer.await.unwrap_or(Err(PersistError::Closed)) })
    }
}

struct StoreThread {
    store: Box<dyn Store>,
    feed: EventLog,
    counters: Arc<Counters>,
}

impl StoreThread {
    async fn keep(mut self, mut inbox: UnboundedReceiver<Command>) {
        let mut saves = Vec::new();
        while let Some(wish) = inbox.recv().await {
            let mut next = Some(wish);
            while let Some(wish) = next {
                match wish {
                    Command::Save(save) => saves.push(save),
                    Command::Read { after, read } => {
                        let entries = self.store.events(after).map_err(|error| Arc::new(error).into());
                        let _gone = read.send(entries);
                    }
                    Command::Results { run, read } => {
                        let results = self.store.results(run).map_err(|error| Arc::new(error).into());
                        let _gone = read.send(results);
                    }
                    Command::ReadTask { task, read } => {
                        // With what was asked to be saved before.
                        self.commit(take(&mut saves));
                        let _gone = read.send(self.store.task(task).map_err(|error| Arc::new(error).into()));
                    }
                }
                next = inbox.try_recv().ok();
                let unhurried = !saves.is_empty()
                    && saves.len() < LINGER_MAX
                    && saves.iter().all(|save| save.writes.is_empty() && !save.entries.is_empty());
                if next.is_none() && unhurried {
                    next = timeout(LINGER, inbox.recv()).await.ok().flatten();
                }
            }
            self.commit(take(&mut saves));
        }
    }

    fn commit(&mut self, saves: Vec<Save>) {
        if saves.is_empty() {
            return;
        }
        let mut writes = Vec::new();
        let mut entries = Vec::new();
        let mut waiting = Vec::with_capacity(saves.len());
        let mut number = self.feed.last_numbered();
        for mut save in saves {
            writes.append(&mut save.writes);
            for entry in &mut save.entries {
                number += 1;
                entry.set_seq(number);
            }
            entries.extend(save.entries.iter().cloned());
            waiting.push((save.entries, save.done));
        }
        if !entries.is_empty() {
            writes.push(WriteOp::Events(entries));
        }
        // A commit that fails gives no numbers: they stay free.
        let result = if writes.is_empty() { Ok(()) } else { self.store.commit(&writes).map_err(Arc::new) };
        self.counters.store_commits.increment();
        self.counters.store_rows.add(writes.len());
        if let Err(error) = &result {
            log::error!("{error}");
        }
        for (entries, done) in waiting {
            let news = result.clone().map_err(PersistError::from).map(|()| self.feed.commit(entries));
            // Whoever asked may be gone; the save stands, and dropping the news tells it.
            let _gone = done.send(news);
        }
    }
}

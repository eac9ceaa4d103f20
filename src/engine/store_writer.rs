//! The thread of the store: groups writes into commits and numbers the events.
//!
//! A commit waits for the disk. The writes that arrive meanwhile share the next commit, so that the disk determines the
//! latency of a write and not the throughput.

use std::mem::take;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::counters::Counters;
use super::error::PersistError;
use super::event_log::{CommittedEvents, EventLog, EventSource};
use super::threading::Threading;
use borges_store::{LoggedEvent, ResultRecord, Store, TaskRecord, WriteOp};
use borges_task::{RunId, TaskId};

/// Sends commands to the thread of the store.
#[derive(Clone, Debug)]
pub(super) struct StoreHandle {
    inbox: UnboundedSender<Command>,
}

enum Command {
    Save(Save),
    ReadEvents { after: u64, reply: oneshot::Sender<Result<Vec<LoggedEvent>, PersistError>> },
    ReadResults { run: RunId, reply: oneshot::Sender<Result<Vec<ResultRecord>, PersistError>> },
    ReadTask { task: TaskId, reply: oneshot::Sender<Result<Option<TaskRecord>, PersistError>> },
}

struct Save {
    writes: Vec<WriteOp>,
    events: Vec<LoggedEvent>,
    reply: oneshot::Sender<Result<CommittedEvents, PersistError>>,
}

/// How long events without a waiting caller linger for a write with one, to share its commit (as `linger.ms` of Kafka).
const LINGER: Duration = Duration::from_millis(10);
/// The number of lingering writes that are committed at once.
const LINGER_MAX: usize = 256;

impl StoreHandle {
    /// Starts the thread. It adds the numbered events to `event_log`, and ends with the last clone of the handle, after
    /// all writes are committed.
    pub(super) fn start(
        store: Box<dyn Store>,
        event_log: EventLog,
        counters: Arc<Counters>,
        threading: Threading,
    ) -> std::io::Result<Self> {
        let (inbox, commands) = mpsc::unbounded_channel();
        let store_thread = StoreThread { store, event_log, counters };
        match threading {
            Threading::Dedicated => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
                let run = move || runtime.block_on(store_thread.run(commands));
                thread::Builder::new().name("store".to_owned()).spawn(run)?;
            }
            Threading::Single => {
                actix::spawn(store_thread.run(commands));
            }
        }
        Ok(Self { inbox })
    }

    /// Stores `writes` and the numbered `events` atomically. They survive a crash once the future is `Ok`. The events
    /// are published when the returned [`CommittedEvents`] are dropped.
    ///
    /// The command is queued before this function returns, so that writes keep the order of the calls.
    pub(super) fn save(
        &self,
        writes: Vec<WriteOp>,
        events: Vec<LoggedEvent>,
    ) -> BoxFuture<'static, Result<CommittedEvents, PersistError>> {
        let (reply, receiver) = oneshot::channel();
        // A thread that has ended drops `reply`, which the receiver reports as `Closed`.
        let _closed = self.inbox.send(Command::Save(Save { writes, events, reply }));
        Box::pin(async move { receiver.await.unwrap_or(Err(PersistError::Closed)) })
    }

    /// Stores and publishes events for which no caller waits.
    pub(super) fn append_events(&self, events: Vec<LoggedEvent>) {
        if events.is_empty() {
            return;
        }
        drop(self.save(Vec::new(), events));
    }

    /// The indexed output files of the ended tasks of a run.
    pub(super) fn results(&self, run: RunId) -> BoxFuture<'static, Result<Vec<ResultRecord>, PersistError>> {
        let (reply, receiver) = oneshot::channel();
        let _closed = self.inbox.send(Command::ReadResults { run, reply });
        Box::pin(async move { receiver.await.unwrap_or(Err(PersistError::Closed)) })
    }

    /// The stored record of a task. `None` if the task was never stored.
    pub(super) fn read_task(
        &self,
        task: TaskId,
    ) -> BoxFuture<'static, Result<Option<TaskRecord>, PersistError>> {
        let (reply, receiver) = oneshot::channel();
        let _closed = self.inbox.send(Command::ReadTask { task, reply });
        Box::pin(async move { receiver.await.unwrap_or(Err(PersistError::Closed)) })
    }
}

impl EventSource for StoreHandle {
    fn events_after(&self, after: u64) -> BoxFuture<'static, Result<Vec<LoggedEvent>, PersistError>> {
        let (reply, receiver) = oneshot::channel();
        let _closed = self.inbox.send(Command::ReadEvents { after, reply });
        Box::pin(async move { receiver.await.unwrap_or(Err(PersistError::Closed)) })
    }
}

/// The store and its command loop.
struct StoreThread {
    store: Box<dyn Store>,
    event_log: EventLog,
    counters: Arc<Counters>,
}

impl StoreThread {
    async fn run(mut self, mut inbox: UnboundedReceiver<Command>) {
        let mut saves = Vec::new();
        while let Some(command) = inbox.recv().await {
            let mut next = Some(command);
            while let Some(command) = next {
                match command {
                    Command::Save(save) => saves.push(save),
                    Command::ReadEvents { after, reply } => {
                        let events = self.store.events(after).map_err(|error| Arc::new(error).into());
                        let _dropped = reply.send(events);
                    }
                    Command::ReadResults { run, reply } => {
                        let results = self.store.results(run).map_err(|error| Arc::new(error).into());
                        let _dropped = reply.send(results);
                    }
                    Command::ReadTask { task, reply } => {
                        // The record includes the writes that were queued before this read.
                        self.commit(take(&mut saves));
                        let _dropped =
                            reply.send(self.store.task(task).map_err(|error| Arc::new(error).into()));
                    }
                }
                next = inbox.try_recv().ok();
                let may_linger = !saves.is_empty()
                    && saves.len() < LINGER_MAX
                    && saves.iter().all(|save| save.writes.is_empty() && !save.events.is_empty());
                if next.is_none() && may_linger {
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
        let mut events = Vec::new();
        let mut pending = Vec::with_capacity(saves.len());
        let mut seq = self.event_log.last_numbered();
        for mut save in saves {
            writes.append(&mut save.writes);
            for event in &mut save.events {
                seq += 1;
                event.set_seq(seq);
            }
            events.extend(save.events.iter().cloned());
            pending.push((save.events, save.reply));
        }
        if !events.is_empty() {
            writes.push(WriteOp::Events(events));
        }
        // The sequence numbers of a failed commit are used again.
        let result = if writes.is_empty() { Ok(()) } else { self.store.commit(&writes).map_err(Arc::new) };
        self.counters.store_commits.increment();
        self.counters.store_rows.add(writes.len());
        if let Err(error) = &result {
            log::error!("{error}");
        }
        for (events, reply) in pending {
            let committed =
                result.clone().map_err(PersistError::from).map(|()| self.event_log.commit(events));
            // The events are committed. If the caller has dropped its receiver, the failed send publishes them.
            let _dropped = reply.send(committed);
        }
    }
}

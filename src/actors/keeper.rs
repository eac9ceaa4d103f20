//! The store's thread: saves what it is given, many saves in one commit.
//!
//! A commit waits for the disk. What arrives meanwhile is saved together by the next one, so the disk's pace
//! sets how long a save takes, not how many there can be.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::counters::Counters;
use crate::store::{Store, StoreError, Write};

/// The way to the store.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    saves: Sender<Save>,
}

/// Why something was not saved.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unsaved {
    /// The store says so.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    /// Its thread has ended.
    #[error("the store is closed")]
    Closed,
}

struct Save {
    writes: Vec<Write>,
    done: oneshot::Sender<Result<(), Unsaved>>,
}

impl Keeper {
    /// Starts the thread. It ends when the last clone of this is dropped, with everything saved.
    pub(super) fn start(store: Box<dyn Store>, counters: Arc<Counters>) -> std::io::Result<Self> {
        let (saves, inbox) = mpsc::channel();
        thread::Builder::new().name("store".to_owned()).spawn(move || keep(store, &inbox, &counters))?;
        Ok(Self { saves })
    }

    /// Saves `writes`, all or none; when it is answered well, they survive a crash.
    ///
    /// They are on their way when this returns: saves keep the order in which they were asked for.
    pub(super) fn save(&self, writes: Vec<Write>) -> BoxFuture<'static, Result<(), Unsaved>> {
        let (done, answer) = oneshot::channel();
        // A thread that has ended drops `done`, and that is the answer.
        let _closed = self.saves.send(Save { writes, done });
        Box::pin(async move { answer.await.unwrap_or(Err(Unsaved::Closed)) })
    }
}

fn keep(mut store: Box<dyn Store>, inbox: &Receiver<Save>, counters: &Counters) {
    while let Ok(first) = inbox.recv() {
        let mut writes = first.writes;
        let mut waiting = vec![first.done];
        for Save { writes: more, done } in inbox.try_iter() {
            writes.extend(more);
            waiting.push(done);
        }
        let result = store.commit(&writes).map_err(Arc::new);
        counters.store_commits.increment();
        counters.store_rows.add(writes.len());
        if let Err(error) = &result {
            log::error!("{error}");
        }
        for done in waiting {
            // Whoever asked may be gone; the save stands.
            let _gone = done.send(result.clone().map_err(Unsaved::from));
        }
    }
}

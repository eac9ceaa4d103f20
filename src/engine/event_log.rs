//! What has happened, told to whoever follows: in order, without a gap, each entry once.
//!
//! The newest entries lie in a ring that all followers share, so a follower costs a number, and the slowest
//! holds up nobody. One that falls off the ring, or asks for the past, reads it from the store.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::watch;

use super::store_writer::{PersistError, StoreHandle};
use borges_store::LoggedEvent;

/// Entries the ring holds, at least; up to twice as many where they come in large batches.
const RING: usize = 16_384;
/// Entries of a batch, at most.
const BATCH: usize = 256;

/// All that is told. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct EventLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ring: Mutex<Ring>,
    /// The number of the last entry that was told.
    told: watch::Sender<u64>,
}

#[derive(Debug)]
struct Ring {
    /// The number of the last entry that has one.
    last_numbered: u64,
    /// The number of the last entry that was told.
    last_published: u64,
    /// Saved, and not to be told before those with lower numbers; by the first number.
    out_of_order: BTreeMap<u64, Vec<LoggedEvent>>,
    batches: VecDeque<Arc<Batch>>,
    /// How many these are.
    held: usize,
    /// Nothing more will be told.
    closed: bool,
}

/// Consecutive entries that became known together.
#[derive(Debug)]
struct Batch {
    entries: Vec<LoggedEvent>,
    encoded: OnceLock<Encoded>,
}

/// A batch as bytes.
#[derive(Debug)]
struct Encoded {
    bytes: Bytes,
    /// Where each entry ends.
    ends: Vec<usize>,
}

/// Entries that are saved. They are told when this is dropped, and those with lower numbers have been.
#[derive(Debug)]
pub(super) struct CommittedEvents {
    feed: EventLog,
    entries: Vec<LoggedEvent>,
}

/// Follows what happens.
#[derive(Debug)]
pub struct EventSubscriber {
    feed: EventLog,
    keeper: StoreHandle,
    told: watch::Receiver<u64>,
    /// The last entry it has had.
    at: u64,
    /// It asked for what comes after an entry that nobody has numbered yet.
    ahead: Option<u64>,
}

/// What comes next for a follower.
#[derive(Debug)]
pub enum Delivery {
    /// These entries.
    Entries(BatchTail),
    /// What was told between these numbers, both included, is not there any more.
    Gap {
        /// The first that is missing.
        from: u64,
        /// The last.
        to: u64,
    },
    /// What was asked for begins after a number that was never given: another store's.
    SequenceInFuture {
        /// The number after which it was to begin.
        after: u64,
        /// The last number that was given.
        last: u64,
    },
}

/// The end of a batch.
#[derive(Debug, Clone)]
pub struct BatchTail {
    batch: Arc<Batch>,
    /// Entries of the batch that are not part of it.
    skip: usize,
    /// They came from the store: the follower is behind the ring.
    pub from_store: bool,
}

impl EventLog {
    /// Goes on after the entry with the number `last`.
    pub(super) fn after(last: u64) -> Self {
        let ring = Ring {
            last_numbered: last,
            last_published: last,
            out_of_order: BTreeMap::new(),
            batches: VecDeque::new(),
            held: 0,
            closed: false,
        };
        Self(Arc::new(Shared { ring: Mutex::new(ring), told: watch::Sender::new(last) }))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the last entry that has one.
    pub(super) fn last_numbered(&self) -> u64 {
        self.ring().last_numbered
    }

    /// Takes note of numbered entries, which are saved: they come next, and are to be told.
    pub(super) fn commit(&self, entries: Vec<LoggedEvent>) -> CommittedEvents {
        if let Some(last) = entries.last() {
            self.ring().last_numbered = last.seq();
        }
        CommittedEvents { feed: self.clone(), entries }
    }

    /// Follows what happens after entry `since`; from now on without it.
    pub(super) fn follow(&self, since: Option<u64>, keeper: StoreHandle) -> EventSubscriber {
        let told = self.0.told.subscribe();
        let last = *told.borrow();
        let ahead = since.filter(|&since| since > last);
        EventSubscriber { feed: self.clone(), keeper, told, at: since.unwrap_or(last).min(last), ahead }
    }

    /// Nothing more is told from now on: each follower hears that when it has had the rest.
    pub(super) fn close(&self) {
        self.ring().closed = true;
        self.0.told.send_modify(|_| {});
    }

    fn publish(&self, entries: Vec<LoggedEvent>) {
        let Some(first) = entries.first().map(LoggedEvent::seq) else { return };
        let told = {
            let mut ring = self.ring();
            ring.out_of_order.insert(first, entries);
            ring.publish();
            ring.last_published
        };
        self.0.told.send_if_modified(|last| std::mem::replace(last, told) != told);
    }
}

impl Ring {
    /// Tells what is saved up to the first number that is still held back.
    fn publish(&mut self) {
        let mut told = Vec::new();
        while let Some(mut entries) = self.out_of_order.remove(&(self.last_published + 1)) {
            self.last_published += entries.len() as u64;
            told.append(&mut entries);
        }
        // Each batch has room for its own entries only, and what falls off goes at once: of a document with a
        // hundred thousand blocks nothing is held twice.
        let mut told = told.into_iter();
        while told.len() > 0 {
            let entries: Vec<LoggedEvent> = told.by_ref().take(BATCH).collect();
            self.held += entries.len();
            self.batches.push_back(Arc::new(Batch::new(entries)));
            while self.held > RING
                && let Some(oldest) = self.batches.pop_front()
            {
                self.held -= oldest.entries.len();
            }
        }
    }

    /// The number of the oldest entry that is here, or of the next to come.
    fn first(&self) -> u64 {
        self.batches.front().map_or(self.last_published + 1, |batch| batch.first())
    }

    /// The batch that has the entry after `at`.
    fn after(&self, at: u64) -> Lookup {
        if at >= self.last_published {
            return if self.closed { Lookup::Closed } else { Lookup::End };
        }
        let place = self.batches.partition_point(|batch| batch.last() <= at);
        let batch = self.batches.get(place).filter(|batch| batch.first() <= at + 1);
        batch.cloned().map_or(Lookup::Older, Lookup::Here)
    }
}

/// Where an entry is to be found.
enum Lookup {
    Here(Arc<Batch>),
    /// In the store.
    Older,
    /// It has not happened yet.
    End,
    /// It will never be told.
    Closed,
}

impl Batch {
    fn new(entries: Vec<LoggedEvent>) -> Self {
        Self { entries, encoded: OnceLock::new() }
    }

    fn first(&self) -> u64 {
        self.entries.first().map_or(0, LoggedEvent::seq)
    }

    fn last(&self) -> u64 {
        self.entries.last().map_or(0, LoggedEvent::seq)
    }

    fn encoded(&self, encode: impl Fn(&LoggedEvent, &mut BytesMut)) -> &Encoded {
        self.encoded.get_or_init(|| {
            let mut bytes = BytesMut::new();
            let end = |entry| {
                encode(entry, &mut bytes);
                bytes.len()
            };
            let ends = self.entries.iter().map(end).collect();
            Encoded { bytes: bytes.freeze(), ends }
        })
    }
}

impl BatchTail {
    /// The entries, in order.
    pub fn entries(&self) -> &[LoggedEvent] {
        self.batch.entries.get(self.skip..).unwrap_or_default()
    }

    /// All of them in the bytes that `encode` makes of each. The work is done once for all followers, so all
    /// must encode alike.
    pub fn encoded(&self, encode: impl Fn(&LoggedEvent, &mut BytesMut)) -> Bytes {
        let Encoded { bytes, ends } = self.batch.encoded(encode);
        let start = self.skip.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or_default();
        bytes.slice(start..)
    }
}

impl Drop for CommittedEvents {
    fn drop(&mut self) {
        self.feed.publish(std::mem::take(&mut self.entries));
    }
}

impl EventSubscriber {
    /// What comes next; waits for it. `None` when nothing will come any more.
    ///
    /// Nothing is lost when the wait is given up and begun again.
    ///
    /// # Errors
    /// When the past cannot be read from the store.
    pub async fn next(&mut self) -> Result<Option<Delivery>, PersistError> {
        if let Some(after) = self.ahead.take() {
            return Ok(Some(Delivery::SequenceInFuture { after, last: self.at }));
        }
        loop {
            let place = self.feed.ring().after(self.at);
            let (batch, from_store) = match place {
                Lookup::Here(batch) => (batch, false),
                Lookup::End => match self.told.changed().await {
                    Ok(()) => continue,
                    Err(_) => return Ok(None),
                },
                Lookup::Closed => return Ok(None),
                Lookup::Older => (Arc::new(Batch::new(self.keeper.entries(self.at).await?)), true),
            };
            let next = self.at + 1;
            let first = match batch.entries.first() {
                Some(entry) => entry.seq(),
                // The store has less than the ring.
                None => self.feed.ring().first(),
            };
            if first > next {
                self.at = first - 1;
                return Ok(Some(Delivery::Gap { from: next, to: self.at }));
            }
            let skip = usize::try_from(next - batch.first()).unwrap_or(usize::MAX);
            self.at = batch.last();
            return Ok(Some(Delivery::Entries(BatchTail { batch, skip, from_store })));
        }
    }

    /// The entries one by one, to the end of all or until the past cannot be read.
    pub fn entries(self) -> impl Stream<Item = LoggedEvent> + Unpin {
        let next = |(mut follower, mut rest): (Self, std::vec::IntoIter<LoggedEvent>)| async move {
            loop {
                if let Some(entry) = rest.next() {
                    return Some((entry, (follower, rest)));
                }
                if let Delivery::Entries(excerpt) = follower.next().await.ok()?? {
                    rest = excerpt.entries().to_vec().into_iter();
                }
            }
        };
        Box::pin(unfold((self, Vec::new().into_iter()), next))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::super::engine::Threading;
    use super::*;
    use borges_store::{MemoryStore, RunEnded};
    use borges_task::{RunId, RunState};

    /// Something to tell, without a number.
    fn entries(count: usize) -> Vec<LoggedEvent> {
        let (run, time) = (RunId(Uuid::from_u128(1)), Timestamp::UNIX_EPOCH);
        vec![LoggedEvent::Run(RunEnded { seq: 0, time, run, state: RunState::Finished }); count]
    }

    fn start() -> (EventLog, StoreHandle) {
        let feed = EventLog::after(0);
        (
            feed.clone(),
            StoreHandle::start(Box::<MemoryStore>::default(), feed, Arc::default(), Threading::Dedicated)
                .unwrap(),
        )
    }

    /// The numbers a follower hears until it has heard `last`.
    async fn hear(follower: &mut EventSubscriber, last: u64) -> Vec<u64> {
        let mut heard = Vec::new();
        while heard.last().is_none_or(|&number| number < last) {
            match follower.next().await.unwrap() {
                Some(Delivery::Entries(excerpt)) => {
                    heard.extend(excerpt.entries().iter().map(LoggedEvent::seq));
                }
                other => panic!("{other:?}"),
            }
        }
        heard
    }

    #[tokio::test]
    async fn what_is_saved_first_is_told_first() {
        let (feed, keeper) = start();
        let mut follower = feed.follow(None, keeper.clone());
        let first = keeper.save(Vec::new(), entries(2)).await.unwrap();
        let second = keeper.save(Vec::new(), entries(1)).await.unwrap();
        drop(second);
        assert_eq!(feed.0.ring.lock().unwrap().last_published, 0, "the first are held back still");
        drop(first);
        assert_eq!(hear(&mut follower, 3).await, [1, 2, 3]);
    }

    #[tokio::test]
    async fn one_who_never_listens_hears_all_of_it_later() {
        let (feed, keeper) = start();
        let mut late = feed.follow(None, keeper.clone());
        let many = RING + 3 * BATCH;
        for _ in 0..many / BATCH {
            drop(keeper.save(Vec::new(), entries(BATCH)).await.unwrap());
        }
        assert!(feed.0.ring.lock().unwrap().held <= RING);
        let all: Vec<u64> = (1..=many as u64).collect();
        assert_eq!(hear(&mut late, many as u64).await, all);
        let mut again = feed.follow(Some(many as u64 - 5), keeper.clone());
        assert_eq!(hear(&mut again, many as u64).await, all[many - 5..]);
        let mut from_the_middle = feed.follow(Some(100), keeper);
        assert_eq!(hear(&mut from_the_middle, many as u64).await, all[100..]);
    }

    #[tokio::test]
    async fn what_is_missing_is_said() {
        let (mut store, feed) = (MemoryStore::default(), EventLog::after(9));
        let mut kept = entries(2);
        kept.iter_mut().zip(8..).for_each(|(entry, number)| entry.set_seq(number));
        borges_store::Store::commit(&mut store, &[borges_store::WriteOp::Events(kept)]).unwrap();
        let keeper =
            StoreHandle::start(Box::new(store), feed.clone(), Arc::default(), Threading::Dedicated).unwrap();
        let mut old = feed.follow(Some(3), keeper.clone());
        assert!(matches!(old.next().await, Ok(Some(Delivery::Gap { from: 4, to: 7 }))));
        assert_eq!(hear(&mut old, 9).await, [8, 9]);
        let mut strange = feed.follow(Some(40), keeper.clone());
        assert!(matches!(strange.next().await, Ok(Some(Delivery::SequenceInFuture { after: 40, last: 9 }))));
        keeper.append_events(entries(1));
        assert_eq!(hear(&mut strange, 10).await, [10]);
        feed.close();
        assert!(strange.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn bytes_are_made_once_and_cut_where_entries_end() {
        let (feed, keeper) = start();
        let (mut one, mut other) = (feed.follow(None, keeper.clone()), feed.follow(Some(0), keeper.clone()));
        drop(keeper.save(Vec::new(), entries(3)).await.unwrap());
        let text = |entry: &LoggedEvent, out: &mut BytesMut| {
            out.extend_from_slice(format!("<{}>", entry.seq()).as_bytes());
        };
        let Ok(Some(Delivery::Entries(whole))) = one.next().await else { panic!() };
        assert_eq!(whole.encoded(text), "<1><2><3>");
        let Ok(Some(Delivery::Entries(shared))) = other.next().await else { panic!() };
        assert_eq!(shared.encoded(|_, _| unreachable!("they are made")), "<1><2><3>");
        let mut last = feed.follow(Some(2), keeper);
        let Ok(Some(Delivery::Entries(end))) = last.next().await else { panic!() };
        assert_eq!(end.encoded(text), "<3>");
    }
}

//! The event log: publishes the stored events to subscribers, in order, without a gap, each event once.
//!
//! All subscribers share a ring of the newest events, so that a subscriber costs one sequence number and a slow one
//! delays no other. A subscriber that is behind the ring reads the older events from the store.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream::unfold;
use tokio::sync::watch;

use super::error::PersistError;
use borges_store::LoggedEvent;

/// The largest number of events in the ring.
const RING_CAPACITY: usize = 16_384;
/// The largest number of events in a batch.
const MAX_BATCH: usize = 256;

/// The published events. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct EventLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ring: Mutex<Ring>,
    /// The sequence number of the last published event.
    published: watch::Sender<u64>,
}

#[derive(Debug)]
struct Ring {
    /// The largest sequence number that was assigned.
    last_numbered: u64,
    /// The sequence number of the last published event.
    last_published: u64,
    /// Stored events that wait for events with smaller sequence numbers, by their first sequence number.
    out_of_order: BTreeMap<u64, Vec<LoggedEvent>>,
    batches: VecDeque<Arc<Batch>>,
    /// The number of events in `batches`.
    len: usize,
    /// Whether the log is closed: no more events are published.
    closed: bool,
}

/// Consecutive events that were published together.
#[derive(Debug)]
struct Batch {
    events: Vec<LoggedEvent>,
    encoded: OnceLock<Encoded>,
}

/// A batch as bytes.
#[derive(Debug)]
struct Encoded {
    bytes: Bytes,
    /// The offset of the end of each event.
    ends: Vec<usize>,
}

/// Stored events. They are published when this is dropped and all events with smaller sequence numbers are published.
#[derive(Debug)]
pub(super) struct CommittedEvents {
    event_log: EventLog,
    events: Vec<LoggedEvent>,
}

/// The stored events. A subscriber reads those that the ring does not hold any more.
pub(super) trait EventSource: fmt::Debug + Send + Sync {
    /// Some of the events after the sequence number `after`, in order. Empty at the end.
    fn events_after(&self, after: u64) -> BoxFuture<'static, Result<Vec<LoggedEvent>, PersistError>>;
}

/// Reads the event log from a sequence number on.
#[derive(Debug)]
pub struct EventSubscriber {
    event_log: EventLog,
    source: Arc<dyn EventSource>,
    published: watch::Receiver<u64>,
    /// The sequence number of the last delivered event.
    position: u64,
    /// The requested sequence number, if it was not assigned yet when the subscription began.
    future_seq: Option<u64>,
}

/// The next item for a subscriber.
#[derive(Debug)]
pub enum Delivery {
    /// Consecutive events.
    Events(BatchTail),
    /// The events between these sequence numbers, both included, are deleted.
    Gap {
        /// The first missing sequence number.
        from: u64,
        /// The last missing sequence number.
        to: u64,
    },
    /// The requested sequence number was never assigned: it belongs to another store.
    SequenceInFuture {
        /// The requested sequence number.
        after: u64,
        /// The last assigned sequence number.
        last: u64,
    },
}

/// The events of a batch from some position on.
#[derive(Debug, Clone)]
pub struct BatchTail {
    batch: Arc<Batch>,
    /// The number of events of the batch that are left out.
    skip: usize,
    /// Whether the events were read from the store, because the subscriber is behind the ring.
    pub from_store: bool,
}

impl EventLog {
    /// A log that continues after the sequence number `last`.
    pub(super) fn after(last: u64) -> Self {
        let ring = Ring {
            last_numbered: last,
            last_published: last,
            out_of_order: BTreeMap::new(),
            batches: VecDeque::new(),
            len: 0,
            closed: false,
        };
        Self(Arc::new(Shared { ring: Mutex::new(ring), published: watch::Sender::new(last) }))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The largest sequence number that was assigned.
    pub(super) fn last_numbered(&self) -> u64 {
        self.ring().last_numbered
    }

    /// Registers stored events, whose sequence numbers continue [`EventLog::last_numbered`].
    pub(super) fn commit(&self, events: Vec<LoggedEvent>) -> CommittedEvents {
        if let Some(last) = events.last() {
            self.ring().last_numbered = last.seq();
        }
        CommittedEvents { event_log: self.clone(), events }
    }

    /// Subscribes to the events after the sequence number `since`. `None` subscribes to future events only.
    pub(super) fn subscribe(&self, since: Option<u64>, source: Arc<dyn EventSource>) -> EventSubscriber {
        let published = self.0.published.subscribe();
        let last = *published.borrow();
        let future_seq = since.filter(|&since| since > last);
        EventSubscriber {
            event_log: self.clone(),
            source,
            published,
            position: since.unwrap_or(last).min(last),
            future_seq,
        }
    }

    /// Closes the log. Each subscriber ends after it has read the events published so far.
    pub(super) fn close(&self) {
        self.ring().closed = true;
        self.0.published.send_modify(|_| {});
    }

    fn publish(&self, events: Vec<LoggedEvent>) {
        let Some(first) = events.first().map(LoggedEvent::seq) else { return };
        let published = {
            let mut ring = self.ring();
            ring.out_of_order.insert(first, events);
            ring.publish();
            ring.last_published
        };
        self.0.published.send_if_modified(|last| std::mem::replace(last, published) != published);
    }
}

impl Ring {
    /// Publishes the stored events up to the first missing sequence number.
    fn publish(&mut self) {
        let mut published = Vec::new();
        while let Some(mut events) = self.out_of_order.remove(&(self.last_published + 1)) {
            self.last_published += events.len() as u64;
            published.append(&mut events);
        }
        // Each batch is allocated for its own events only, and old batches are dropped at once. A document with a hundred
        // thousand blocks publishes that many events together.
        let mut published = published.into_iter();
        while published.len() > 0 {
            let events: Vec<LoggedEvent> = published.by_ref().take(MAX_BATCH).collect();
            self.len += events.len();
            self.batches.push_back(Arc::new(Batch::new(events)));
            while self.len > RING_CAPACITY
                && let Some(oldest) = self.batches.pop_front()
            {
                self.len -= oldest.events.len();
            }
        }
    }

    /// The smallest sequence number in the ring. The next one, if the ring is empty.
    fn first(&self) -> u64 {
        self.batches.front().map_or(self.last_published + 1, |batch| batch.first())
    }

    /// Looks up the batch with the event after `position`.
    fn after(&self, position: u64) -> Lookup {
        if position >= self.last_published {
            return if self.closed { Lookup::Closed } else { Lookup::End };
        }
        let lookup = self.batches.partition_point(|batch| batch.last() <= position);
        let batch = self.batches.get(lookup).filter(|batch| batch.first() <= position + 1);
        batch.cloned().map_or(Lookup::InStore, Lookup::Found)
    }
}

/// The result of a lookup in the ring.
enum Lookup {
    Found(Arc<Batch>),
    /// The event is older than the ring.
    InStore,
    /// The event is not published yet.
    End,
    /// The event will never be published, because the log is closed.
    Closed,
}

impl Batch {
    fn new(events: Vec<LoggedEvent>) -> Self {
        Self { events, encoded: OnceLock::new() }
    }

    fn first(&self) -> u64 {
        self.events.first().map_or(0, LoggedEvent::seq)
    }

    fn last(&self) -> u64 {
        self.events.last().map_or(0, LoggedEvent::seq)
    }

    fn encoded(&self, encode: impl Fn(&LoggedEvent, &mut BytesMut)) -> &Encoded {
        self.encoded.get_or_init(|| {
            let mut bytes = BytesMut::new();
            let end = |event| {
                encode(event, &mut bytes);
                bytes.len()
            };
            let ends = self.events.iter().map(end).collect();
            Encoded { bytes: bytes.freeze(), ends }
        })
    }
}

impl BatchTail {
    /// The events, in order.
    pub fn events(&self) -> &[LoggedEvent] {
        self.batch.events.get(self.skip..).unwrap_or_default()
    }

    /// The events as `encode` writes them. All subscribers share the bytes of the first call, so they must pass the same
    /// encoding.
    pub fn encoded(&self, encode: impl Fn(&LoggedEvent, &mut BytesMut)) -> Bytes {
        let Encoded { bytes, ends } = self.batch.encoded(encode);
        let start = self.skip.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or_default();
        bytes.slice(start..)
    }
}

impl Drop for CommittedEvents {
    fn drop(&mut self) {
        self.event_log.publish(std::mem::take(&mut self.events));
    }
}

impl EventSubscriber {
    /// Waits for the next item. `None` at the end of a closed log.
    ///
    /// Cancel safe: a dropped future loses no event.
    ///
    /// # Errors
    /// If older events cannot be read from the store.
    pub async fn next(&mut self) -> Result<Option<Delivery>, PersistError> {
        if let Some(after) = self.future_seq.take() {
            return Ok(Some(Delivery::SequenceInFuture { after, last: self.position }));
        }
        loop {
            let lookup = self.event_log.ring().after(self.position);
            let (batch, from_store) = match lookup {
                Lookup::Found(batch) => (batch, false),
                Lookup::End => match self.published.changed().await {
                    Ok(()) => continue,
                    Err(_) => return Ok(None),
                },
                Lookup::Closed => return Ok(None),
                Lookup::InStore => {
                    (Arc::new(Batch::new(self.source.events_after(self.position).await?)), true)
                }
            };
            let next = self.position + 1;
            let first = match batch.events.first() {
                Some(event) => event.seq(),
                // The store holds fewer events than the ring.
                None => self.event_log.ring().first(),
            };
            if first > next {
                self.position = first - 1;
                return Ok(Some(Delivery::Gap { from: next, to: self.position }));
            }
            let skip = usize::try_from(next - batch.first()).unwrap_or(usize::MAX);
            self.position = batch.last();
            return Ok(Some(Delivery::Events(BatchTail { batch, skip, from_store })));
        }
    }

    /// The events one by one. Ends with the log, or if older events cannot be read from the store.
    pub fn events(self) -> impl Stream<Item = LoggedEvent> + Unpin {
        let next = |(mut subscriber, mut rest): (Self, std::vec::IntoIter<LoggedEvent>)| async move {
            loop {
                if let Some(event) = rest.next() {
                    return Some((event, (subscriber, rest)));
                }
                if let Delivery::Events(tail) = subscriber.next().await.ok()?? {
                    rest = tail.events().to_vec().into_iter();
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

    use super::super::store_writer::StoreHandle;
    use super::super::threading::Threading;
    use super::*;
    use borges_store::{MemoryStore, RunEnded};
    use borges_task::{RunId, RunState};

    /// Events without sequence numbers.
    fn events(count: usize) -> Vec<LoggedEvent> {
        let (run, time) = (RunId(Uuid::from_u128(1)), Timestamp::UNIX_EPOCH);
        vec![LoggedEvent::Run(RunEnded { seq: 0, time, run, state: RunState::Finished }); count]
    }

    fn start() -> (EventLog, StoreHandle) {
        let event_log = EventLog::after(0);
        (
            event_log.clone(),
            StoreHandle::start(
                Box::<MemoryStore>::default(),
                event_log,
                Arc::default(),
                Threading::Dedicated,
            )
            .unwrap(),
        )
    }

    /// The sequence numbers that a subscriber reads, up to `last`.
    async fn read_until(subscriber: &mut EventSubscriber, last: u64) -> Vec<u64> {
        let mut seqs = Vec::new();
        while seqs.last().is_none_or(|&number| number < last) {
            match subscriber.next().await.unwrap() {
                Some(Delivery::Events(tail)) => {
                    seqs.extend(tail.events().iter().map(LoggedEvent::seq));
                }
                other => panic!("{other:?}"),
            }
        }
        seqs
    }

    #[tokio::test]
    async fn events_are_published_in_the_order_of_their_writes() {
        let (event_log, store) = start();
        let mut subscriber = event_log.subscribe(None, Arc::new(store.clone()));
        let first = store.save(Vec::new(), events(2)).await.unwrap();
        let second = store.save(Vec::new(), events(1)).await.unwrap();
        drop(second);
        assert_eq!(
            event_log.0.ring.lock().unwrap().last_published,
            0,
            "the first write is not published yet"
        );
        drop(first);
        assert_eq!(read_until(&mut subscriber, 3).await, [1, 2, 3]);
    }

    #[tokio::test]
    async fn slow_subscriber_reads_older_events_from_the_store() {
        let (event_log, store) = start();
        let mut slow = event_log.subscribe(None, Arc::new(store.clone()));
        let many = RING_CAPACITY + 3 * MAX_BATCH;
        for _ in 0..many / MAX_BATCH {
            drop(store.save(Vec::new(), events(MAX_BATCH)).await.unwrap());
        }
        assert!(event_log.0.ring.lock().unwrap().len <= RING_CAPACITY);
        let all: Vec<u64> = (1..=many as u64).collect();
        assert_eq!(read_until(&mut slow, many as u64).await, all);
        let mut resumed = event_log.subscribe(Some(many as u64 - 5), Arc::new(store.clone()));
        assert_eq!(read_until(&mut resumed, many as u64).await, all[many - 5..]);
        let mut from_the_middle = event_log.subscribe(Some(100), Arc::new(store));
        assert_eq!(read_until(&mut from_the_middle, many as u64).await, all[100..]);
    }

    #[tokio::test]
    async fn deleted_events_and_future_sequence_numbers_are_reported() {
        let (mut store, event_log) = (MemoryStore::default(), EventLog::after(9));
        let mut stored = events(2);
        stored.iter_mut().zip(8..).for_each(|(event, number)| event.set_seq(number));
        borges_store::Store::commit(&mut store, &[borges_store::WriteOp::Events(stored)]).unwrap();
        let store =
            StoreHandle::start(Box::new(store), event_log.clone(), Arc::default(), Threading::Dedicated)
                .unwrap();
        let mut outdated = event_log.subscribe(Some(3), Arc::new(store.clone()));
        assert!(matches!(outdated.next().await, Ok(Some(Delivery::Gap { from: 4, to: 7 }))));
        assert_eq!(read_until(&mut outdated, 9).await, [8, 9]);
        let mut future = event_log.subscribe(Some(40), Arc::new(store.clone()));
        assert!(matches!(future.next().await, Ok(Some(Delivery::SequenceInFuture { after: 40, last: 9 }))));
        store.append_events(events(1));
        assert_eq!(read_until(&mut future, 10).await, [10]);
        event_log.close();
        assert!(future.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn batch_is_encoded_once_and_cut_at_event_boundaries() {
        let (event_log, store) = start();
        let mut first = event_log.subscribe(None, Arc::new(store.clone()));
        let mut second = event_log.subscribe(Some(0), Arc::new(store.clone()));
        drop(store.save(Vec::new(), events(3)).await.unwrap());
        let text = |event: &LoggedEvent, out: &mut BytesMut| {
            out.extend_from_slice(format!("<{}>", event.seq()).as_bytes());
        };
        let Ok(Some(Delivery::Events(complete))) = first.next().await else { panic!() };
        assert_eq!(complete.encoded(text), "<1><2><3>");
        let Ok(Some(Delivery::Events(shared))) = second.next().await else { panic!() };
        assert_eq!(shared.encoded(|_, _| unreachable!("the bytes are shared")), "<1><2><3>");
        let mut last = event_log.subscribe(Some(2), Arc::new(store));
        let Ok(Some(Delivery::Events(end))) = last.next().await else { panic!() };
        assert_eq!(end.encoded(text), "<3>");
    }
}

//! Encodes batches of events. Runs and agents that several events share are stored once per batch.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::event::{LoggedEvent, RunEnded, TaskEvent};
use super::record::VersionedRecord;
use borges_task::{RunId, RunState, State};

/// The most events in a batch.
pub(super) const BATCH_LEN: usize = 256;

/// A batch of consecutive events.
#[derive(Debug, Default, Serialize, Deserialize)]
struct EventBatch {
    /// When the first happened, nanoseconds since 1970.
    began: i128,
    runs: Vec<RunId>,
    agents: Vec<String>,
    events: Vec<PackedEvent>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PackedEvent {
    /// Nanoseconds after the first; before it where a clock was set back.
    after: i64,
    /// Which of the runs.
    run: usize,
    kind: PackedKind,
}

#[derive(Debug, Serialize, Deserialize)]
enum PackedKind {
    Task {
        number: u32,
        block: Arc<str>,
        line: u32,
        index: u32,
        attempt: u32,
        state: State,
        reason: Option<String>,
        message: Option<String>,
        /// Which of the agents.
        agent: Option<usize>,
        exit_code: Option<i32>,
    },
    Run(RunState),
}

impl VersionedRecord for EventBatch {
    const NAME: &'static str = "piece of the feed";
}

/// Encodes consecutive events, without their sequence numbers.
pub(super) fn pack(events: &[LoggedEvent]) -> Result<Vec<u8>, StoreError> {
    let began = events.first().map_or(0, |event| event.time().as_nanosecond());
    let mut packed = EventBatch { began, events: Vec::with_capacity(events.len()), ..EventBatch::default() };
    for event in events {
        let kind = match event {
            LoggedEvent::Task(event) => PackedKind::Task {
                number: event.task.number,
                block: event.block.clone(),
                line: event.line,
                index: event.index,
                attempt: event.attempt,
                state: event.state,
                reason: event.reason.clone(),
                message: event.message.clone(),
                agent: event.agent.as_ref().map(|agent| index_in(&mut packed.agents, agent)),
                exit_code: event.exit_code,
            },
            LoggedEvent::Run(ended) => PackedKind::Run(ended.state),
        };
        let after = event.time().as_nanosecond() - began;
        packed.events.push(PackedEvent {
            after: i64::try_from(after).unwrap_or(if after < 0 { i64::MIN } else { i64::MAX }),
            run: index_in(&mut packed.runs, &event.run()),
            kind,
        });
    }
    packed.to_bytes()
}

/// Decodes a batch. `first` is the sequence number of its first event.
pub(super) fn unpack(first: u64, bytes: &[u8]) -> Result<Vec<LoggedEvent>, StoreError> {
    let EventBatch { began, runs, agents, events } = EventBatch::from_bytes(bytes)?;
    let corrupt = |reason: &str| StoreError::Corrupt { record: EventBatch::NAME, reason: reason.to_owned() };
    let event = |(seq, PackedEvent { after, run, kind }): (u64, PackedEvent)| {
        let run = *runs.get(run).ok_or_else(|| corrupt("it names a run that is not in it"))?;
        let time =
            Timestamp::from_nanosecond(began + i128::from(after)).map_err(|_| corrupt("its time is none"))?;
        Ok(match kind {
            PackedKind::Run(state) => LoggedEvent::Run(RunEnded { seq, time, run, state }),
            PackedKind::Task {
                number,
                block,
                line,
                index,
                attempt,
                state,
                reason,
                message,
                agent,
                exit_code,
            } => {
                let agent = agent
                    .map(|agent| agents.get(agent).cloned())
                    .map(|agent| agent.ok_or_else(|| corrupt("it names an agent that is not in it")))
                    .transpose()?;
                LoggedEvent::Task(TaskEvent {
                    seq,
                    time,
                    run,
                    task: run.task(number),
                    block,
                    line,
                    index,
                    attempt,
                    state,
                    reason,
                    message,
                    agent,
                    exit_code,
                })
            }
        })
    };
    (first..).zip(events).map(event).collect()
}

/// Where `item` stands in `items`; it is put there when it is not. What is sought is nearly always the last.
fn index_in<T: PartialEq + Clone>(items: &mut Vec<T>, item: &T) -> usize {
    items.iter().rposition(|candidate| candidate == item).unwrap_or_else(|| {
        items.push(item.clone());
        items.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn events() -> Vec<LoggedEvent> {
        let (first_run, other) = (RunId(Uuid::from_u128(7)), RunId(Uuid::from_u128(8)));
        let task = |seq, run: RunId, time: i128, agent: Option<&str>| {
            LoggedEvent::Task(TaskEvent {
                seq,
                time: Timestamp::from_nanosecond(1_700_000_000_000_000_000 + time).unwrap(),
                run,
                task: run.task(3),
                block: "fetch".into(),
                line: 14,
                index: 1,
                attempt: 2,
                state: State::Failed,
                reason: None,
                message: Some("exited with status 3".to_owned()),
                agent: agent.map(str::to_owned),
                exit_code: Some(3),
            })
        };
        let ended =
            RunEnded { seq: 44, time: Timestamp::UNIX_EPOCH, run: first_run, state: RunState::Killed };
        vec![
            task(41, first_run, 0, Some("a")),
            task(42, other, 7_123, Some("b")),
            task(43, first_run, -5_000_000_001, None),
            LoggedEvent::Run(ended),
        ]
    }

    #[test]
    fn packed_events_are_unpacked() {
        let bytes = pack(&events()).unwrap();
        assert_eq!(unpack(41, &bytes).unwrap(), events());
        assert_eq!(unpack(1, &pack(&[]).unwrap()).unwrap(), []);
    }

    #[test]
    fn packed_events_are_small() {
        let many: Vec<LoggedEvent> = std::iter::repeat_n(events().remove(0), BATCH_LEN).collect();
        let bytes = pack(&many).unwrap();
        assert!(bytes.len() < BATCH_LEN * 48, "{} bytes", bytes.len());
    }

    #[test]
    fn corrupt_batches_are_named() {
        let mut bytes = pack(&events()[..1]).unwrap();
        assert!(unpack(1, &bytes[..9]).unwrap_err().to_string().contains("piece of the feed"));
        bytes[0] = 9;
        assert!(unpack(1, &bytes).unwrap_err().to_string().contains("version 9"));
    }
}

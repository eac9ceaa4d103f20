//! Reads the output of running blocks, and writes it as frames of `/ws`.
//!
//! Each byte is sent once, with its offset, and before the event that reports the end of the launch.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;

use super::ws_frames::{EventFilter, OutputFrame, TruncatedFrame, write_text_frame};
use borges_engine::{Engine, EngineError, FileRead};
use borges_store::TaskEvent;
use borges_task::{LaunchId, State, TaskId};

/// The most bytes of a stream that are read at once.
const CHUNK: usize = 64 << 10;

/// Follows the output of the tasks that match a filter.
pub(super) struct OutputTailer {
    engine: Engine,
    filter: EventFilter,
    /// Whether the launches that already ran when the client connected are still to be added.
    needs_running: bool,
    tails: BTreeMap<TaskId, Tail>,
}

/// The position in the output of a launch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    launch: LaunchId,
    offsets: [u64; 2],
    /// The launch has ended, and all its output was sent.
    has_ended: bool,
}

/// The streams of a block: names and files.
const STREAMS: [(&str, &str); 2] = [("stdout", "block/stdout"), ("stderr", "block/stderr")];

impl OutputTailer {
    pub(super) fn new(engine: Engine, filter: EventFilter) -> Self {
        Self { engine, filter, needs_running: true, tails: BTreeMap::new() }
    }

    /// Records the new state of a task. Returns the launch to [`drain`](Self::drain) if the event reports its end.
    pub(super) fn observe(&mut self, event: &TaskEvent) -> Option<Tail> {
        let TaskEvent { task, attempt, state, .. } = *event;
        let launch = (attempt > 0).then(|| task.launch(attempt))?;
        let existing = self.tails.get(&task).copied().filter(|tail| tail.launch == launch);
        let tail = existing.unwrap_or(Tail { launch, offsets: [0; 2], has_ended: false });
        match state {
            State::Held | State::Blocked | State::Skipped => None,
            State::Launching | State::Running | State::Unreachable | State::Killing => {
                self.tails.insert(task, tail);
                None
            }
            State::Delayed | State::Queued | State::Finished | State::Failed | State::Killed => {
                if state.is_terminal() {
                    self.tails.remove(&task);
                } else {
                    self.tails.insert(task, Tail { has_ended: true, ..tail });
                }
                (!tail.has_ended).then_some(tail)
            }
        }
    }

    /// Writes new output of running blocks, up to [`CHUNK`] bytes of each stream. Returns whether there is more.
    pub(super) async fn poll(&mut self, frames: &mut BytesMut) -> Result<bool, EngineError> {
        if std::mem::take(&mut self.needs_running) {
            self.add_running().await?;
        }
        let running: Vec<Tail> = self.tails.values().filter(|tail| !tail.has_ended).copied().collect();
        let mut more = false;
        for mut tail in running {
            more |= self.read_new(&mut tail, frames).await?;
            self.tails.insert(tail.launch.task, tail);
        }
        Ok(more)
    }

    /// Writes remaining output of a launch that has ended, up to [`CHUNK`] bytes of each stream. Returns whether there is
    /// more.
    pub(super) async fn drain(&self, tail: &mut Tail, frames: &mut BytesMut) -> Result<bool, EngineError> {
        tail.has_ended = true;
        self.read_new(tail, frames).await
    }

    async fn add_running(&mut self) -> Result<(), EngineError> {
        for (task, attempt) in self.engine.running(self.filter.run()).await? {
            if self.filter.matches_task(task) {
                let tail = Tail { launch: task.launch(attempt), offsets: [0; 2], has_ended: false };
                self.tails.entry(task).or_insert(tail);
            }
        }
        Ok(())
    }

    async fn read_new(&self, tail: &mut Tail, frames: &mut BytesMut) -> Result<bool, EngineError> {
        let Tail { launch, offsets, has_ended } = tail;
        let files =
            STREAMS.iter().zip(*offsets).map(|((_, file), offset)| (Arc::from(*file), offset)).collect();
        let reads = self.engine.read_output(*launch, files, CHUNK).await?;
        let mut more = false;
        for ((read, (stream, _)), offset) in reads.into_iter().zip(STREAMS).zip(offsets) {
            let write_output = |offset: u64, text: &str, frames: &mut BytesMut| {
                let (task, attempt) = (launch.task.to_string(), launch.attempt);
                write_text_frame(&OutputFrame { task, attempt, stream, offset, text }, frames);
            };
            match read {
                FileRead::Bytes { from, bytes, .. } => {
                    if from > *offset {
                        let (task, attempt) = (launch.task.to_string(), launch.attempt);
                        write_text_frame(
                            &TruncatedFrame {
                                task,
                                attempt,
                                stream,
                                offset: *offset,
                                truncated: from - *offset,
                            },
                            frames,
                        );
                        *offset = from;
                    }
                    let is_full = bytes.len() == CHUNK;
                    let whole = whole_characters(&bytes, *has_ended && !is_full);
                    if !whole.is_empty() {
                        write_output(*offset, &String::from_utf8_lossy(whole), frames);
                        *offset += whole.len() as u64;
                        more |= is_full;
                    }
                }
                FileRead::NotFound => {}
                FileRead::Unreadable(reason) | FileRead::BadPath(reason) if *has_ended => {
                    write_output(
                        *offset,
                        &format!("[what it wrote from here on cannot be read: {reason}]"),
                        frames,
                    );
                }
                // The next poll tries again.
                FileRead::Unreadable(_) | FileRead::BadPath(_) | FileRead::Directory => {}
            }
        }
        Ok(more)
    }
}

/// The bytes without an incomplete UTF-8 character at the end. All bytes if the stream has ended (`is_end`).
fn whole_characters(bytes: &[u8], is_end: bool) -> &[u8] {
    let incomplete = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    let is_incomplete = std::str::from_utf8(incomplete).is_err_and(|error| error.error_len().is_none());
    if is_incomplete && !is_end { &bytes[..bytes.len() - incomplete.len()] } else { bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_characters_are_held_back() {
        for (bytes, middle, end) in [
            (&b"abc"[..], 3, 3),
            ("né".as_bytes(), 3, 3),
            (&"né".as_bytes()[..2], 1, 2),
            (&"a🦀".as_bytes()[..4], 1, 4),
            (b"a\xff", 2, 2),
            (b"\xff\xc3", 1, 2),
            (b"", 0, 0),
        ] {
            let lengths = [false, true].map(|is_end| whole_characters(bytes, is_end).len());
            assert_eq!(lengths, [middle, end], "{bytes:?}");
        }
    }
}

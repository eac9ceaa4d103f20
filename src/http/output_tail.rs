//! The output of running blocks, as frames of `/ws`: each byte once, with its place, and all of it before the
//! frame that tells the block's end.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;
use serde::Serialize;

use super::event_stream::{EventFilter, write_text_frame};
use borges_engine::{Engine, EngineError, FileRead};
use borges_store::TaskEvent;
use borges_task::{LaunchId, State, TaskId};

/// Bytes read at once of a stream.
const CHUNK: usize = 64 << 10;

/// Listens to the tasks of a topic.
pub(super) struct OutputTailer {
    engine: Engine,
    topic: EventFilter,
    /// What runs now may have begun before the client came.
    seeks_running: bool,
    heard: BTreeMap<TaskId, Tail>,
}

/// How far a launch has been heard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    launch: LaunchId,
    offsets: [u64; 2],
    /// Its end was told: all has been heard.
    is_over: bool,
}

/// A block's streams: their names, and their files.
const STREAMS: [(&str, &str); 2] = [("stdout", "block/stdout"), ("stderr", "block/stderr")];

/// A piece of output.
#[derive(Debug, Serialize)]
struct OutputFrame<'a> {
    task: String,
    attempt: u32,
    stream: &'static str,
    /// Where it begins in the stream, bytes.
    offset: u64,
    text: &'a str,
}

/// What a service wrote, and is not kept any more.
#[derive(Debug, Serialize)]
struct TruncatedFrame {
    task: String,
    attempt: u32,
    stream: &'static str,
    /// Where it began, bytes.
    offset: u64,
    /// How many bytes it was.
    truncated: u64,
}

impl OutputTailer {
    pub(super) fn new(engine: Engine, topic: EventFilter) -> Self {
        Self { engine, topic, seeks_running: true, heard: BTreeMap::new() }
    }

    /// Takes note of a task's new state. When its launch has ended, what is left of it has to be said first.
    pub(super) fn changed(&mut self, change: &TaskEvent) -> Option<Tail> {
        let TaskEvent { task, attempt, state, .. } = *change;
        let launch = (attempt > 0).then(|| task.launch(attempt))?;
        let known = self.heard.get(&task).copied().filter(|tail| tail.launch == launch);
        let tail = known.unwrap_or(Tail { launch, offsets: [0; 2], is_over: false });
        match state {
            State::Held | State::Blocked | State::Skipped => None,
            State::Launching | State::Running | State::Unreachable | State::Killing => {
                self.heard.insert(task, tail);
                None
            }
            State::Delayed | State::Queued | State::Finished | State::Failed | State::Killed => {
                if state.is_terminal() {
                    self.heard.remove(&task);
                } else {
                    self.heard.insert(task, Tail { is_over: true, ..tail });
                }
                (!tail.is_over).then_some(tail)
            }
        }
    }

    /// Says what running blocks have written since the last time, of each a piece; whether there is more.
    pub(super) async fn poll(&mut self, frames: &mut BytesMut) -> Result<bool, EngineError> {
        if std::mem::take(&mut self.seeks_running) {
            self.seek_running().await?;
        }
        let live: Vec<Tail> = self.heard.values().filter(|tail| !tail.is_over).copied().collect();
        let mut more = false;
        for mut tail in live {
            more |= self.read_new(&mut tail, frames).await?;
            self.heard.insert(tail.launch.task, tail);
        }
        Ok(more)
    }

    /// Says a piece of what is left of a launch that has ended; whether there is more.
    pub(super) async fn drain(&self, tail: &mut Tail, frames: &mut BytesMut) -> Result<bool, EngineError> {
        tail.is_over = true;
        self.read_new(tail, frames).await
    }

    async fn seek_running(&mut self) -> Result<(), EngineError> {
        for (task, attempt) in self.engine.running(self.topic.run()).await? {
            if self.topic.has_task(task) {
                let tail = Tail { launch: task.launch(attempt), offsets: [0; 2], is_over: false };
                self.heard.entry(task).or_insert(tail);
            }
        }
        Ok(())
    }

    async fn read_new(&self, tail: &mut Tail, frames: &mut BytesMut) -> Result<bool, EngineError> {
        let Tail { launch, offsets, is_over } = tail;
        let files =
            STREAMS.iter().zip(*offsets).map(|((_, file), offset)| (Arc::from(*file), offset)).collect();
        let pieces = self.engine.read_output(*launch, files, CHUNK).await?;
        let mut more = false;
        for ((piece, (stream, _)), offset) in pieces.into_iter().zip(STREAMS).zip(offsets) {
            let say = |offset: u64, text: &str, frames: &mut BytesMut| {
                let (task, attempt) = (launch.task.to_string(), launch.attempt);
                write_text_frame(&OutputFrame { task, attempt, stream, offset, text }, frames);
            };
            match piece {
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
                    let whole = whole_characters(&bytes, *is_over && !is_full);
                    if !whole.is_empty() {
                        say(*offset, &String::from_utf8_lossy(whole), frames);
                        *offset += whole.len() as u64;
                        more |= is_full;
                    }
                }
                FileRead::NotFound => {}
                FileRead::Unreadable(why) | FileRead::BadPath(why) if *is_over => {
                    say(*offset, &format!("[what it wrote from here on cannot be read: {why}]"), frames);
                }
                // It is asked for again.
                FileRead::Unreadable(_) | FileRead::BadPath(_) | FileRead::Directory => {}
            }
        }
        Ok(more)
    }
}

/// The bytes without those of a character whose rest is still to come; all of them at the end.
fn whole_characters(bytes: &[u8], is_end: bool) -> &[u8] {
    let begun = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    let is_begun = std::str::from_utf8(begun).is_err_and(|error| error.error_len().is_none());
    if is_begun && !is_end { &bytes[..bytes.len() - begun.len()] } else { bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_torn() {
        for (bytes, open, end) in [
            (&b"abc"[..], 3, 3),
            ("né".as_bytes(), 3, 3),
            (&"né".as_bytes()[..2], 1, 2),
            (&"a🦀".as_bytes()[..4], 1, 4),
            (b"a\xff", 2, 2),
            (b"\xff\xc3", 1, 2),
            (b"", 0, 0),
        ] {
            let lengths = [false, true].map(|is_end| whole_characters(bytes, is_end).len());
            assert_eq!(lengths, [open, end], "{bytes:?}");
        }
    }
}

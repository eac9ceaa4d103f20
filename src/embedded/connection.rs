//! One client, seen from the agent: bytes in, calls out; events in, bytes out.

use std::io::ErrorKind;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio::net::UnixStream;

use borges_mesos::messages::scheduler::{Call, Event};
use borges_mesos::recordio::{self, Decoder, RecordError};

/// The most bytes a call may have: an ACCEPT holds the bodies of all it launches.
const MOST_CALL: usize = 1 << 30;

/// How much is read before others have their turn.
const TURN: usize = 1 << 20;

/// A client that has this much unread is dead or broken.
const MOST_UNREAD: usize = 256 << 20;

/// One client.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    unsent: BytesMut,
    /// Nothing more comes.
    ended: bool,
    /// Nothing more goes once what is unsent is sent.
    closing: bool,
}

/// What a client sent.
#[derive(Debug)]
pub(crate) enum Received {
    /// A call.
    Call(Box<Call>),
    /// What is no call; nothing after it can be trusted.
    Malformed(String),
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            decoder: Decoder::new(MOST_CALL),
            unsent: BytesMut::new(),
            ended: false,
            closing: false,
        }
    }

    /// Reads and writes what can be without waiting; true when there is something to be looked at.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> bool {
        let mut news = false;
        let mut read = 0;
        while !self.ended && read < TURN {
            if self.stream.poll_read_ready(context).is_pending() {
                break;
            }
            let buffer = self.decoder.buffer();
            if buffer.spare_capacity_mut().len() < 4096 {
                buffer.reserve(64 << 10);
            }
            match self.stream.try_read_buf(buffer) {
                Ok(0) => {
                    self.ended = true;
                    news = true;
                }
                Ok(bytes) => {
                    read += bytes;
                    news = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => {
                    log::debug!("a client is gone: {error}");
                    self.ended = true;
                    news = true;
                }
            }
        }
        while !self.unsent.is_empty() && !self.ended {
            match self.stream.poll_write_ready(context) {
                Poll::Pending => break,
                Poll::Ready(_) => self.flush(),
            }
        }
        // What was read up to the limit may have more behind it.
        if read >= TURN {
            context.waker().wake_by_ref();
        }
        news || self.is_closed()
    }

    /// The next whole call of what was read.
    pub(crate) fn received(&mut self) -> Option<Received> {
        if self.closing {
            return None;
        }
        let record: Result<Option<Bytes>, RecordError> = self.decoder.next_record();
        let call = match record {
            Ok(None) => return None,
            Ok(Some(record)) => Call::decode(record).map_err(|error| format!("no call: {error}")),
            Err(error) => Err(error.to_string()),
        };
        Some(call.map_or_else(Received::Malformed, |call| Received::Call(Box::new(call))))
    }

    /// Puts an event behind what is unsent.
    pub(crate) fn send(&mut self, event: &Event) {
        if !self.closing {
            recordio::encode_message(event, &mut self.unsent);
        }
    }

    /// Closes, once what is unsent is sent.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    /// Writes what can be without waiting.
    pub(crate) fn flush(&mut self) {
        while !self.unsent.is_empty() && !self.ended {
            match self.stream.try_write(&self.unsent) {
                Ok(0) => self.ended = true,
                Ok(bytes) => {
                    let _ = self.unsent.split_to(bytes);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    log::debug!("a client is gone: {error}");
                    self.ended = true;
                }
            }
        }
        if self.unsent.len() > MOST_UNREAD {
            log::warn!("a client does not read: it is given up");
            self.ended = true;
        }
    }

    /// Whether it may be dropped.
    pub(crate) fn is_closed(&self) -> bool {
        self.ended || self.closing && self.unsent.is_empty()
    }
}

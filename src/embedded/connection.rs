//! The agent's side of one client's connection: decodes calls, and encodes and buffers events.

use std::io::ErrorKind;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio::net::UnixStream;

use borges_mesos::messages::scheduler::{Call, Event};
use borges_mesos::recordio::{self, Decoder, RecordError};

/// The largest call, in bytes: an ACCEPT holds the bodies of all its launches.
const MAX_CALL_BYTES: usize = 1 << 30;

/// The most bytes read from one client in one poll, so that other clients are served, too.
const MAX_BYTES_PER_POLL: usize = 1 << 20;

/// A client with more unsent bytes than this is dropped: it does not read.
const MAX_UNSENT_BYTES: usize = 256 << 20;

/// One client.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    unsent: BytesMut,
    /// The client has closed the connection, or the connection has failed.
    disconnected: bool,
    /// To be closed once `unsent` is sent.
    closing: bool,
}

/// What a client sent.
#[derive(Debug)]
pub(crate) enum Received {
    /// A call.
    Call(Box<Call>),
    /// Bytes that are not a call; what follows them cannot be decoded either.
    Malformed(String),
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            decoder: Decoder::new(MAX_CALL_BYTES),
            unsent: BytesMut::new(),
            disconnected: false,
            closing: false,
        }
    }

    /// Reads and writes without waiting. `true` if there is a call to decode, or the connection is closed.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> bool {
        let mut is_ready = false;
        let mut read = 0;
        while !self.disconnected && read < MAX_BYTES_PER_POLL {
            if self.stream.poll_read_ready(context).is_pending() {
                break;
            }
            let buffer = self.decoder.buffer();
            if buffer.spare_capacity_mut().len() < 4096 {
                buffer.reserve(64 << 10);
            }
            match self.stream.try_read_buf(buffer) {
                Ok(0) => {
                    self.disconnected = true;
                    is_ready = true;
                }
                Ok(bytes) => {
                    read += bytes;
                    is_ready = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => {
                    log::debug!("a client is gone: {error}");
                    self.disconnected = true;
                    is_ready = true;
                }
            }
        }
        while !self.unsent.is_empty() && !self.disconnected {
            match self.stream.poll_write_ready(context) {
                Poll::Pending => break,
                Poll::Ready(_) => self.flush(),
            }
        }
        // More may be readable.
        if read >= MAX_BYTES_PER_POLL {
            context.waker().wake_by_ref();
        }
        is_ready || self.is_closed()
    }

    /// Decodes the next complete call that was read; `None` if there is none.
    pub(crate) fn next_call(&mut self) -> Option<Received> {
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

    /// Appends an event to the unsent bytes.
    pub(crate) fn send(&mut self, event: &Event) {
        if !self.closing {
            recordio::encode_message(event, &mut self.unsent);
        }
    }

    /// Closes the connection once all unsent bytes are sent.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    /// Writes unsent bytes without waiting.
    pub(crate) fn flush(&mut self) {
        while !self.unsent.is_empty() && !self.disconnected {
            match self.stream.try_write(&self.unsent) {
                Ok(0) => self.disconnected = true,
                Ok(bytes) => {
                    let _ = self.unsent.split_to(bytes);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    log::debug!("a client is gone: {error}");
                    self.disconnected = true;
                }
            }
        }
        if self.unsent.len() > MAX_UNSENT_BYTES {
            log::warn!("a client does not read: it is given up");
            self.disconnected = true;
        }
    }

    /// Whether the connection may be dropped.
    pub(crate) fn is_closed(&self) -> bool {
        self.disconnected || self.closing && self.unsent.is_empty()
    }
}

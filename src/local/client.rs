//! The embedded cluster, seen from a scheduler: [`Client`] is its [`Master`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use futures_util::future::{FutureExt, LocalBoxFuture, ready};
use futures_util::stream::{StreamExt, poll_fn};
use prost::Message;
use tokio::net::UnixStream;

use super::options::AgentOptions;
use super::start::start;
use crate::mesos::Event;
use crate::mesos::master::{Master, MasterError, Subscription};
use crate::mesos::messages::scheduler::{Call, Event as Wire};
use crate::mesos::recordio::{self, Decoder};

/// What the embedded cluster is called where a master's address would stand.
const NAME: &str = "local";

/// The embedded cluster of one directory; each subscription starts its agent if there is none.
///
/// Calls and events share one connection, which the subscription's stream reads *and writes*: calls go out
/// when the stream is polled, all that have gathered at once.
#[derive(Debug)]
pub struct Client {
    options: AgentOptions,
    exe: PathBuf,
    /// What is unsent, as long as the subscription lives.
    unsent: Weak<RefCell<Unsent>>,
}

#[derive(Debug, Default)]
struct Unsent {
    bytes: BytesMut,
    /// Who polls the stream.
    waker: Option<Waker>,
}

impl Client {
    /// A client of the agent in `options.directory`, which `exe agent …` starts if need be.
    pub fn new(options: AgentOptions, exe: PathBuf) -> Self {
        Self { options, exe, unsent: Weak::new() }
    }
}

impl Master for Client {
    fn subscribe(&mut self, call: Call) -> LocalBoxFuture<'static, Result<Subscription, MasterError>> {
        let mut unsent = Unsent::default();
        recordio::encode_message(&call, &mut unsent.bytes);
        let unsent = Rc::new(RefCell::new(unsent));
        self.unsent = Rc::downgrade(&unsent);
        let (options, exe) = (self.options.clone(), self.exe.clone());
        async move {
            let stream = start(&options, &exe).map_err(|error| unreachable(io::Error::other(error)))?;
            stream.set_nonblocking(true).map_err(unreachable)?;
            let stream = UnixStream::from_std(stream).map_err(unreachable)?;
            let mut line =
                Line { stream, unsent, decoder: Decoder::default(), ready: VecDeque::new(), over: false };
            Ok(Subscription { events: poll_fn(move |context| line.poll(context)).boxed_local() })
        }
        .boxed_local()
    }

    fn call(&mut self, call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>> {
        let result = self.unsent.upgrade().ok_or(MasterError::NotSubscribed).map(|unsent| {
            let mut unsent = unsent.borrow_mut();
            recordio::encode_message(&call, &mut unsent.bytes);
            if let Some(waker) = unsent.waker.take() {
                waker.wake();
            }
        });
        ready(result).boxed_local()
    }
}

/// The connection of one subscription.
struct Line {
    stream: UnixStream,
    unsent: Rc<RefCell<Unsent>>,
    decoder: Decoder,
    ready: VecDeque<Event>,
    over: bool,
}

impl Line {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event, MasterError>>> {
        if let Some(event) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        if self.over {
            return Poll::Ready(None);
        }
        match self.advance(context) {
            Poll::Ready(Ok(true)) => Poll::Ready(self.ready.pop_front().map(Ok)),
            Poll::Ready(Ok(false)) => {
                self.over = true;
                Poll::Ready(None)
            }
            Poll::Ready(Err(error)) => {
                self.over = true;
                Poll::Ready(Some(Err(error)))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes what is unsent, then reads until there is an event; false at the end.
    fn advance(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, MasterError>> {
        if let Err(error) = self.write(context) {
            // What the agent said last is worth more than that it hung up.
            log::debug!("the agent takes no calls: {error}");
        }
        loop {
            if self.stream.poll_read_ready(context).is_pending() {
                return Poll::Pending;
            }
            let buffer = self.decoder.buffer();
            if buffer.spare_capacity_mut().len() < 4096 {
                buffer.reserve(64 << 10);
            }
            match self.stream.try_read_buf(buffer) {
                Ok(0) if self.decoder.left_over() > 0 => {
                    return Poll::Ready(Err(MasterError::Cut(self.decoder.left_over())));
                }
                Ok(0) => return Poll::Ready(Ok(false)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Poll::Ready(Err(unreachable(error))),
            }
            while let Some(record) = self.decoder.next_record()? {
                self.ready.push_back(Event::try_from(Wire::decode(record)?)?);
            }
            if !self.ready.is_empty() {
                return Poll::Ready(Ok(true));
            }
        }
    }

    fn write(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let mut unsent = self.unsent.borrow_mut();
        unsent.waker = Some(context.waker().clone());
        while !unsent.bytes.is_empty() {
            if self.stream.poll_write_ready(context)?.is_pending() {
                break;
            }
            match self.stream.try_write(&unsent.bytes) {
                Ok(bytes) => drop(unsent.bytes.split_to(bytes)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => {
                    unsent.bytes.clear();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

fn unreachable(source: io::Error) -> MasterError {
    MasterError::Unreachable { master: NAME.to_owned(), source }
}

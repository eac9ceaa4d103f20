//! The embedded cluster, seen from a scheduler: [`Client`] is its [`Master`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use std::thread::JoinHandle;

use bytes::BytesMut;
use futures_util::future::{FutureExt, LocalBoxFuture};
use futures_util::stream::{StreamExt, poll_fn};
use prost::Message;
use tokio::net::UnixStream;

use super::options::AgentOptions;
use super::spawn_agent::{Started, connect_or_spawn};
use borges_mesos::Event;
use borges_mesos::master::{Master, MasterError, Subscription};
use borges_mesos::messages::scheduler::{Call, Event as Wire};
use borges_mesos::recordio::{self, Decoder};

/// What the embedded cluster is called where a master's address would stand.
const NAME: &str = "local";

/// The embedded cluster of one directory; each subscription starts its agent if there is none.
///
/// Calls and events share one connection. Calls go out when one of their futures is polled, or the stream is:
/// all that have gathered by then, in the order they were made.
#[derive(Debug)]
pub struct Client {
    options: AgentOptions,
    exe: PathBuf,
    /// The way out of the subscription, as long as it lives.
    way: Rc<RefCell<Weak<CallWriter>>>,
    /// The agent that was started for it.
    started: AgentExit,
}

/// The outgoing half of a connection.
struct CallWriter {
    stream: UnixStream,
    unsent: RefCell<BytesMut>,
    /// Who polls the stream, and goes on writing when the socket has room again.
    reader: Cell<Option<Waker>>,
}

impl Client {
    /// A client of the agent in `options.directory`, which `exe agent …` starts if need be.
    pub fn new(options: AgentOptions, exe: PathBuf) -> Self {
        Self { options, exe, way: Rc::default(), started: AgentExit::default() }
    }
}

/// The end of the agent that a client has started, if it did start one.
#[derive(Debug, Clone, Default)]
pub struct AgentExit(Rc<RefCell<Option<JoinHandle<io::Result<ExitStatus>>>>>);

impl AgentExit {
    /// Waits for it. Comes at once when the client has started none.
    pub async fn wait(self) {
        let started = self.0.borrow_mut().take();
        if let Some(thread) = started {
            // How it ended is in its log; here it matters only that it did.
            let _ended = tokio::task::spawn_blocking(|| thread.join()).await;
        }
    }
}

impl Client {
    /// The end of the agent that this client starts: to be waited for by who told it to end with its client.
    pub fn agent_exit(&self) -> AgentExit {
        self.started.clone()
    }
}

impl Master for Client {
    fn subscribe(&mut self, call: Call) -> LocalBoxFuture<'static, Result<Subscription, MasterError>> {
        let mut unsent = BytesMut::new();
        recordio::encode_message(&call, &mut unsent);
        self.way = Rc::default();
        let (options, exe, place) = (self.options.clone(), self.exe.clone(), self.way.clone());
        let started = self.started.0.clone();
        async move {
            let Started { stream, end } =
                connect_or_spawn(&options, &exe).map_err(|error| unreachable(io::Error::other(error)))?;
            if end.is_some() {
                *started.borrow_mut() = end;
            }
            stream.set_nonblocking(true).map_err(unreachable)?;
            let stream = UnixStream::from_std(stream).map_err(unreachable)?;
            let way = Rc::new(CallWriter { stream, unsent: RefCell::new(unsent), reader: Cell::default() });
            *place.borrow_mut() = Rc::downgrade(&way);
            way.write().map_err(unreachable)?;
            let mut line =
                AgentStream { way, decoder: Decoder::default(), ready: VecDeque::new(), over: false };
            Ok(Subscription { events: poll_fn(move |context| line.poll(context)).boxed_local() })
        }
        .boxed_local()
    }

    fn call(&mut self, call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>> {
        let way = self.way.borrow().upgrade();
        if let Some(way) = &way {
            recordio::encode_message(&call, &mut way.unsent.borrow_mut());
        }
        async move { way.ok_or(MasterError::NotSubscribed)?.write().map_err(unreachable) }.boxed_local()
    }
}

impl CallWriter {
    /// Writes what is unsent, as far as there is room.
    fn write(&self) -> io::Result<()> {
        let mut unsent = self.unsent.borrow_mut();
        while !unsent.is_empty() {
            match self.stream.try_write(&unsent) {
                Ok(bytes) => drop(unsent.split_to(bytes)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if let Some(reader) = self.reader.take() {
                        reader.wake();
                    }
                    break;
                }
                Err(error) => {
                    unsent.clear();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// The connection of one subscription.
struct AgentStream {
    way: Rc<CallWriter>,
    decoder: Decoder,
    ready: VecDeque<Event>,
    over: bool,
}

impl AgentStream {
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
        let stream = &self.way.stream;
        while !self.way.unsent.borrow().is_empty() && stream.poll_write_ready(context).is_ready() {
            if let Err(error) = self.way.write() {
                // What the agent said last is worth more than that it hung up.
                log::debug!("the agent takes no calls: {error}");
            }
        }
        self.way.reader.set(Some(context.waker().clone()));
        loop {
            if stream.poll_read_ready(context).is_pending() {
                return Poll::Pending;
            }
            let buffer = self.decoder.buffer();
            if buffer.spare_capacity_mut().len() < 4096 {
                buffer.reserve(64 << 10);
            }
            match stream.try_read_buf(buffer) {
                Ok(0) if self.decoder.pending_len() > 0 => {
                    return Poll::Ready(Err(MasterError::StreamEnded(self.decoder.pending_len())));
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
}

fn unreachable(source: io::Error) -> MasterError {
    MasterError::Unreachable { master: NAME.to_owned(), source }
}

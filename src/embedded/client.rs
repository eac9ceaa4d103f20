//! [`Client`], the scheduler's side of the embedded cluster: a [`Master`] on the agent's unix socket.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use std::thread::JoinHandle;

use bytes::BytesMut;
use futures_util::future::{FutureExt, LocalBoxFuture};
use futures_util::stream::{StreamExt, poll_fn};
use prost::Message;
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::options::AgentOptions;
use super::spawn_agent::{Started, connect_or_spawn};
use borges_mesos::Event;
use borges_mesos::master::{Master, MasterError, Subscription};
use borges_mesos::messages::scheduler::{Call, Event as Wire};
use borges_mesos::recordio::{self, Decoder};

/// The name of the embedded cluster in messages, instead of a master's address.
const MASTER_NAME: &str = "local";

/// How long an agent of another protocol is left alone. A connection restarts its idle timer of one minute, so more
/// frequent attempts would keep it from ever ending.
const OTHER_AGENT_INTERVAL: Duration = Duration::from_secs(70);

/// The embedded cluster of one directory; each subscription starts its agent if there is none.
///
/// Calls and events share one connection. Calls are written in their order, when one of their futures or the event
/// stream is polled.
#[derive(Debug)]
pub struct Client {
    options: AgentOptions,
    exe: PathBuf,
    /// The writer of the current subscription; dangling if there is none.
    writer: Rc<RefCell<Weak<CallWriter>>>,
    /// The exit of the agent that this client has started.
    agent_exit: AgentExit,
    /// When an agent of another protocol was last met, and the error.
    other_agent: Rc<RefCell<Option<(Instant, String)>>>,
}

/// The writing half of a connection.
struct CallWriter {
    stream: UnixStream,
    unsent: RefCell<BytesMut>,
    /// The task that polls the stream: woken to continue writing when the socket is writable again.
    reader: Cell<Option<Waker>>,
}

impl Client {
    /// A client of the agent in `options.directory`, which `exe agent …` starts if need be.
    pub fn new(options: AgentOptions, exe: PathBuf) -> Self {
        Self {
            options,
            exe,
            writer: Rc::default(),
            agent_exit: AgentExit::default(),
            other_agent: Rc::default(),
        }
    }
}

/// The exit of the agent that a client has started, if it has started one.
#[derive(Debug, Clone, Default)]
pub struct AgentExit(Rc<RefCell<Option<JoinHandle<io::Result<ExitStatus>>>>>);

impl AgentExit {
    /// Waits until the agent has exited. Returns at once if the client has started no agent.
    pub async fn wait(self) {
        let thread = self.0.borrow_mut().take();
        if let Some(thread) = thread {
            // The exit status is in the agent's log.
            let _exit = tokio::task::spawn_blocking(|| thread.join()).await;
        }
    }
}

impl Client {
    /// The exit of the agent that this client starts, for a caller that sets `end_with_client`.
    pub fn agent_exit(&self) -> AgentExit {
        self.agent_exit.clone()
    }
}

impl Master for Client {
    fn subscribe(&mut self, call: Call) -> LocalBoxFuture<'static, Result<Subscription, MasterError>> {
        let mut unsent = BytesMut::new();
        recordio::encode_message(&call, &mut unsent);
        self.writer = Rc::default();
        let (options, exe, current_writer) = (self.options.clone(), self.exe.clone(), self.writer.clone());
        let agent_exit = self.agent_exit.0.clone();
        let other_agent = self.other_agent.clone();
        async move {
            if let Some((met, error)) = &*other_agent.borrow()
                && met.elapsed() < OTHER_AGENT_INTERVAL
            {
                return Err(unreachable_agent(io::Error::other(error.clone())));
            }
            let Started { stream, end } = connect_or_spawn(&options, &exe).map_err(|error| {
                if error.is_other_protocol() {
                    *other_agent.borrow_mut() = Some((Instant::now(), error.to_string()));
                }
                unreachable_agent(io::Error::other(error))
            })?;
            if end.is_some() {
                *agent_exit.borrow_mut() = end;
            }
            stream.set_nonblocking(true).map_err(unreachable_agent)?;
            let stream = UnixStream::from_std(stream).map_err(unreachable_agent)?;
            let writer =
                Rc::new(CallWriter { stream, unsent: RefCell::new(unsent), reader: Cell::default() });
            *current_writer.borrow_mut() = Rc::downgrade(&writer);
            writer.write().map_err(unreachable_agent)?;
            let mut agent_stream =
                AgentStream { writer, decoder: Decoder::default(), events: VecDeque::new(), ended: false };
            Ok(Subscription { events: poll_fn(move |context| agent_stream.poll(context)).boxed_local() })
        }
        .boxed_local()
    }

    fn call(&mut self, call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>> {
        let writer = self.writer.borrow().upgrade();
        if let Some(writer) = &writer {
            recordio::encode_message(&call, &mut writer.unsent.borrow_mut());
        }
        async move { writer.ok_or(MasterError::NotSubscribed)?.write().map_err(unreachable_agent) }
            .boxed_local()
    }
}

impl CallWriter {
    /// Writes unsent bytes without waiting.
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

/// The events of one subscription.
struct AgentStream {
    writer: Rc<CallWriter>,
    decoder: Decoder,
    events: VecDeque<Event>,
    ended: bool,
}

impl AgentStream {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event, MasterError>>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        match self.advance(context) {
            Poll::Ready(Ok(true)) => Poll::Ready(self.events.pop_front().map(Ok)),
            Poll::Ready(Ok(false)) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Err(error)) => {
                self.ended = true;
                Poll::Ready(Some(Err(error)))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes unsent calls, then reads until there is an event. `false` at the end of the stream.
    fn advance(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, MasterError>> {
        let stream = &self.writer.stream;
        while !self.writer.unsent.borrow().is_empty() && stream.poll_write_ready(context).is_ready() {
            if let Err(error) = self.writer.write() {
                // Events that were sent before the connection failed are still to be read.
                log::debug!("the agent takes no calls: {error}");
            }
        }
        self.writer.reader.set(Some(context.waker().clone()));
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
                Err(error) => return Poll::Ready(Err(unreachable_agent(error))),
            }
            while let Some(record) = self.decoder.next_record()? {
                self.events.push_back(Event::try_from(Wire::decode(record)?)?);
            }
            if !self.events.is_empty() {
                return Poll::Ready(Ok(true));
            }
        }
    }
}

fn unreachable_agent(source: io::Error) -> MasterError {
    MasterError::Unreachable { master: MASTER_NAME.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn agent_of_another_protocol_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let agent = directory.path().join("agent");
        fs::create_dir(&agent).unwrap();
        fs::write(agent.join("protocol"), "9\n").unwrap();
        let listener = UnixListener::bind(agent.join("socket")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let options = AgentOptions::new(directory.path().to_owned());
        let mut client = Client::new(options, PathBuf::from("/bin/false"));
        let mut subscribe = async || match client.subscribe(Call::default()).await {
            Err(error) => error.to_string(),
            Ok(_) => panic!("subscribed"),
        };
        let error = subscribe().await;
        assert!(error.contains("speaks protocol 9"), "{error}");
        listener.accept().unwrap();
        assert_eq!(subscribe().await, error);
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "it connects once");
    }
}

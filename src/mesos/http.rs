//! A real Mesos over HTTP: [`HttpMaster`] speaks the v1 scheduler API with whoever leads.
//!
//! A subscription is one connection and one number, the stream id; calls go over connections of their own, in
//! the order they were made, and bear that number. With the next subscription all that is left of the last one
//! is dropped.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use futures_util::Stream;
use futures_util::future::{FutureExt, LocalBoxFuture};
use futures_util::stream::{StreamExt, unfold};
use prost::Message;

use super::address::Address;
use super::credential::Credential;
use super::events::Event;
use super::http_client::{Body, HttpClient, body_text, transport_error};
use super::master::{Master, MasterError, Subscription};
use super::master_detector;
use super::messages::scheduler::{Call, Event as Wire, call};
use super::outbox::Outbox;
use super::recordio::Decoder;
use super::responses::{ResponseKind, classify};
use super::wrapper::{FetchUrls, wrap};

/// A cluster of Apache Mesos.
pub struct HttpMaster {
    state: Rc<State>,
}

struct State {
    address: Address,
    link: HttpClient,
    shelf: FetchUrls,
    /// Who led when it was last heard of.
    leader: Leader,
    outbox: RefCell<Option<Outbox>>,
}

/// The leading master as last heard of, `HOST:PORT`; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Leader(Rc<RefCell<Option<String>>>);

impl Leader {
    /// Where it is; `None` before the first subscription.
    pub fn get(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    fn set(&self, host: &str) {
        *self.0.borrow_mut() = Some(host.to_owned());
    }
}

/// Where schedulers are spoken to. Both Mesos' own master and one behind `/master` know it.
pub(super) const PATH: &str = "/api/v1/scheduler";

/// The header that ties calls to a subscription.
pub(super) const STREAM_ID: &str = "Mesos-Stream-Id";

/// How often one master may name another before we give up.
const HOPS: usize = 5;

impl HttpMaster {
    /// A client of the masters at `address`. Files too large for a launch are fetched by agents from `shelf`.
    pub fn new(address: Address, credential: Option<Credential>, shelf: FetchUrls) -> Self {
        let state = State {
            address,
            link: HttpClient::new(credential),
            shelf,
            leader: Leader::default(),
            outbox: RefCell::default(),
        };
        Self { state: Rc::new(state) }
    }

    /// Who leads, as this client learns it.
    pub fn leader(&self) -> Leader {
        self.state.leader.clone()
    }
}

impl Master for HttpMaster {
    fn subscribe(&mut self, call: Call) -> LocalBoxFuture<'static, Result<Subscription, MasterError>> {
        // What was still to be said in the last subscription has no meaning in the next.
        self.state.outbox.take();
        let state = self.state.clone();
        async move { state.subscribe(&call).await }.boxed_local()
    }

    fn call(&mut self, call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>> {
        let outbox = self.state.outbox.borrow();
        match &*outbox {
            Some(outbox) => outbox.send(self.state.prepared(call)),
            None => async { Err(MasterError::NotSubscribed) }.boxed_local(),
        }
    }
}

impl State {
    async fn subscribe(&self, call: &Call) -> Result<Subscription, MasterError> {
        let unready = |message| MasterError::NotReady { master: self.address.to_string(), message };
        let masters = master_detector::candidates(&self.address, self.leader.get().as_deref())
            .await
            .map_err(unready)?;
        let mut failure = None;
        for host in masters {
            match self.subscribe_at(host, call).await {
                Ok(subscription) => return Ok(subscription),
                // A refusal is the leader's word, and the others would only lead back to it.
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) => {
                    log::debug!("no subscription: {error}");
                    failure.get_or_insert(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| unready("there is no master to call".to_owned())))
    }

    /// Subscribes at `host`, or where that one leads us.
    async fn subscribe_at(&self, mut host: String, call: &Call) -> Result<Subscription, MasterError> {
        let message = call.encode_to_vec();
        for _ in 0..HOPS {
            let request = self.link.post(&host, PATH);
            let answer =
                request.send_body(message.clone()).await.map_err(|error| transport_error(&host, error))?;
            let status = answer.status().as_u16();
            let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
            let (location, stream_id) = (header("location"), header(STREAM_ID));
            if status == 200 {
                let Some(stream_id) = stream_id else {
                    let message = format!("it gives no `{STREAM_ID}`: it is no Mesos master of version 1");
                    return Err(MasterError::Rejected { master: host, message });
                };
                self.leader.set(&host);
                *self.outbox.borrow_mut() = Some(Outbox::open(self.link.clone(), host, stream_id));
                return Ok(Subscription { events: events(answer).boxed_local() });
            }
            let said = body_text(answer).await;
            match classify(status, location.as_deref(), &said) {
                ResponseKind::Redirect(leader) => host = leader,
                meaning => return Err(to_error(host, status, &meaning, said)),
            }
        }
        let message = format!("masters named each other as the leader {HOPS} times");
        Err(MasterError::NotReady { master: host, message })
    }

    /// A call as Mesos is to see it: what it launches runs within the wrapper.
    fn prepared(&self, mut call: Call) -> Call {
        if let Some(call::Accept { operations, .. }) = &mut call.accept {
            for launch in operations.iter_mut().filter_map(|operation| operation.launch.as_mut()) {
                let tasks = std::mem::take(&mut launch.task_infos);
                launch.task_infos = tasks.into_iter().map(|task| wrap(task, &self.shelf)).collect();
            }
        }
        call
    }
}

/// The error that an answer comes to.
pub(super) fn to_error(master: String, status: u16, meaning: &ResponseKind, said: String) -> MasterError {
    let message = if said.is_empty() { format!("it answers {status}") } else { said };
    match meaning {
        ResponseKind::NotSubscribed => MasterError::NotSubscribed,
        ResponseKind::NotReady | ResponseKind::Redirect(_) => MasterError::NotReady { master, message },
        ResponseKind::StaleStream => MasterError::StaleStream { message },
        ResponseKind::Unauthorised => MasterError::Rejected {
            master,
            message: "it does not know this principal and secret (`borges_principal`, `borges_secret_file`)"
                .to_owned(),
        },
        ResponseKind::NoMaster => {
            MasterError::Rejected { master, message: format!("it is no Mesos master: it answers {status}") }
        }
        ResponseKind::Accepted | ResponseKind::Rejected => MasterError::Rejected { master, message },
    }
}

/// The events of a stream; an error is the last.
fn events(answer: Body) -> impl Stream<Item = Result<Event, MasterError>> {
    let reading = EventReader { answer, decoder: Decoder::default(), over: false };
    unfold(reading, |mut reading| async move {
        if reading.over {
            return None;
        }
        let event = reading.next().await.transpose()?;
        reading.over = event.is_err();
        Some((event, reading))
    })
}

struct EventReader<S> {
    answer: S,
    decoder: Decoder,
    over: bool,
}

impl<S, E> EventReader<S>
where
    S: Stream<Item = Result<bytes::Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    async fn next(&mut self) -> Result<Option<Event>, MasterError> {
        loop {
            if let Some(record) = self.decoder.next_record()? {
                return Ok(Some(Event::try_from(Wire::decode(record)?)?));
            }
            match self.answer.next().await {
                Some(Ok(piece)) => self.decoder.push(&piece),
                Some(Err(error)) => {
                    let source = io::Error::other(error.to_string());
                    return Err(MasterError::Unreachable {
                        master: "the stream of events".to_owned(),
                        source,
                    });
                }
                // A connection that is cut looks just like one that ends.
                None if self.decoder.pending_len() > 0 => {
                    return Err(MasterError::StreamEnded(self.decoder.pending_len()));
                }
                None => return Ok(None),
            }
        }
    }
}

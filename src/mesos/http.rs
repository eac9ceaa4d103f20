//! A Mesos cluster over HTTP: [`HttpMaster`] uses the v1 scheduler API of the leading master.
//!
//! A subscription is one connection with a stream id. Calls use other connections, are sent in order, and carry the
//! stream id. A new subscription drops the unsent calls of the previous one.

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
use super::messages::scheduler::{Call, Event as WireEvent, call};
use super::outbox::Outbox;
use super::protocol::{SCHEDULER_PATH, STREAM_ID_HEADER, to_error};
use super::recordio::Decoder;
use super::responses::{ResponseKind, classify};
use super::wrapper::{FetchUrls, wrap};

/// A cluster of Apache Mesos.
pub struct HttpMaster {
    state: Rc<State>,
}

struct State {
    address: Address,
    client: HttpClient,
    fetch_urls: FetchUrls,
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

/// How often one master may name another before we give up.
const MAX_REDIRECTS: usize = 5;

impl HttpMaster {
    /// A client of the masters at `address`. Files too large for a launch are fetched by agents from `fetch_urls`.
    pub fn new(address: Address, credential: Option<Credential>, fetch_urls: FetchUrls) -> Self {
        let state = State {
            address,
            client: HttpClient::new(credential),
            fetch_urls,
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
            Some(outbox) => outbox.send(self.state.wrap_tasks(call)),
            None => async { Err(MasterError::NotSubscribed) }.boxed_local(),
        }
    }
}

impl State {
    async fn subscribe(&self, call: &Call) -> Result<Subscription, MasterError> {
        let not_ready = |message| MasterError::NotReady { master: self.address.to_string(), message };
        let masters = master_detector::candidates(&self.address, self.leader.get().as_deref())
            .await
            .map_err(not_ready)?;
        let mut first_error = None;
        for host in masters {
            match self.subscribe_at(host, call).await {
                Ok(subscription) => return Ok(subscription),
                // A refusal is the leader's word, and the others would only lead back to it.
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) => {
                    log::debug!("no subscription: {error}");
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| not_ready("there is no master to call".to_owned())))
    }

    /// Subscribes at `host`, or where that one leads us.
    async fn subscribe_at(&self, mut host: String, call: &Call) -> Result<Subscription, MasterError> {
        let message = call.encode_to_vec();
        for _ in 0..MAX_REDIRECTS {
            let request = self.client.post(&host, SCHEDULER_PATH);
            let response =
                request.send_body(message.clone()).await.map_err(|error| transport_error(&host, error))?;
            let status = response.status().as_u16();
            let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
            let (location, stream_id) = (header("location"), header(STREAM_ID_HEADER));
            if status == 200 {
                let Some(stream_id) = stream_id else {
                    let message =
                        format!("it gives no `{STREAM_ID_HEADER}`: it is no Mesos master of version 1");
                    return Err(MasterError::Rejected { master: host, message });
                };
                self.leader.set(&host);
                *self.outbox.borrow_mut() = Some(Outbox::open(self.client.clone(), host, stream_id));
                return Ok(Subscription { events: events(response).boxed_local() });
            }
            let body = body_text(response).await;
            match classify(status, location.as_deref(), &body) {
                ResponseKind::Redirect(leader) => host = leader,
                kind => return Err(to_error(host, status, &kind, body)),
            }
        }
        let message = format!("masters named each other as the leader {MAX_REDIRECTS} times");
        Err(MasterError::NotReady { master: host, message })
    }

    /// A call as Mesos is to see it: what it launches runs within the wrapper.
    fn wrap_tasks(&self, mut call: Call) -> Call {
        if let Some(call::Accept { operations, .. }) = &mut call.accept {
            for launch in operations.iter_mut().filter_map(|operation| operation.launch.as_mut()) {
                let tasks = std::mem::take(&mut launch.task_infos);
                launch.task_infos = tasks.into_iter().map(|task| wrap(task, &self.fetch_urls)).collect();
            }
        }
        call
    }
}

/// The events of a stream; an error is the last.
fn events(response: Body) -> impl Stream<Item = Result<Event, MasterError>> {
    let reader = EventReader { response, decoder: Decoder::default(), is_finished: false };
    unfold(reader, |mut reader| async move {
        if reader.is_finished {
            return None;
        }
        let event = reader.next().await.transpose()?;
        reader.is_finished = event.is_err();
        Some((event, reader))
    })
}

struct EventReader<S> {
    response: S,
    decoder: Decoder,
    is_finished: bool,
}

impl<S, E> EventReader<S>
where
    S: Stream<Item = Result<bytes::Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    async fn next(&mut self) -> Result<Option<Event>, MasterError> {
        loop {
            if let Some(record) = self.decoder.next_record()? {
                return Ok(Some(Event::try_from(WireEvent::decode(record)?)?));
            }
            match self.response.next().await {
                Some(Ok(chunk)) => self.decoder.push(&chunk),
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

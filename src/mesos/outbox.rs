//! The queue of calls of one subscription. Calls are sent in order, on connections other than the event stream's.
//!
//! Acknowledgements are frequent and independent of each other, so several are sent concurrently.

use bytes::Bytes;
use futures_util::future::{FutureExt, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use prost::Message;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};

use super::http_client::{HttpClient, body_text, is_connection_reset, transport_error};
use super::master::MasterError;
use super::messages::scheduler::{Call, call::Type};
use super::protocol::{SCHEDULER_PATH, STREAM_ID_HEADER, to_error};
use super::responses::{ResponseKind, classify};

/// Queues calls and sends them. Calls that are not sent when it is dropped are lost.
pub(super) struct Outbox {
    queue: UnboundedSender<QueuedCall>,
    worker: JoinHandle<()>,
}

struct QueuedCall {
    call: Call,
    reply: oneshot::Sender<Result<(), MasterError>>,
}

struct Sender {
    client: HttpClient,
    host: String,
    stream_id: String,
}

/// Acknowledgements that are sent concurrently.
const MAX_CONCURRENT_ACKNOWLEDGEMENTS: usize = 8;

impl Outbox {
    /// Starts sending calls to `host`, in the subscription `stream_id`.
    pub(super) fn open(client: HttpClient, host: String, stream_id: String) -> Self {
        let (queue, calls) = mpsc::unbounded_channel();
        let worker = spawn_local(run_worker(Sender { client, host, stream_id }, calls));
        Self { queue, worker }
    }

    /// Queues a call. Resolves when the master has accepted or rejected it.
    pub(super) fn send(&self, call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>> {
        let (reply, receiver) = oneshot::channel();
        let _closed = self.queue.send(QueuedCall { call, reply });
        async move { receiver.await.unwrap_or(Err(MasterError::NotSubscribed)) }.boxed_local()
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

async fn run_worker(sender: Sender, mut queue: UnboundedReceiver<QueuedCall>) {
    let mut acknowledgements = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = acknowledgements.next(), if !acknowledgements.is_empty() => {}
            queued = queue.recv(), if acknowledgements.len() < MAX_CONCURRENT_ACKNOWLEDGEMENTS => {
                let Some(QueuedCall { call, reply }) = queued else { return };
                let is_acknowledgement = call.r#type() == Type::Acknowledge;
                let sending = sender.send(call).map(|sent| {
                    let _no_receiver = reply.send(sent);
                });
                if is_acknowledgement {
                    acknowledgements.push(sending);
                } else {
                    sending.await;
                }
            }
        }
    }
}

impl Sender {
    async fn send(&self, call: Call) -> Result<(), MasterError> {
        let message = Bytes::from(call.encode_to_vec());
        let mut may_retry = is_repeatable(call.r#type());
        loop {
            let request = self
                .client
                .post(&self.host, SCHEDULER_PATH)
                .insert_header((STREAM_ID_HEADER, self.stream_id.as_str()));
            let response = match request.send_body(message.clone()).await {
                // The other side had just closed an idle connection: on a new one it goes through.
                Err(error) if may_retry && is_connection_reset(&error) => {
                    may_retry = false;
                    continue;
                }
                response => response.map_err(|error| transport_error(&self.host, error))?,
            };
            let status = response.status().as_u16();
            let body = if status == 202 { String::new() } else { body_text(response).await };
            return match classify(status, None, &body) {
                ResponseKind::Accepted => Ok(()),
                kind => Err(to_error(self.host.clone(), status, &kind, body)),
            };
        }
    }
}

/// Whether a call that may have been taken can be said once more. Nobody can tell whether a launch was: what
/// became of it is asked about instead.
fn is_repeatable(kind: Type) -> bool {
    match kind {
        Type::Acknowledge
        | Type::AcknowledgeOperationStatus
        | Type::Decline
        | Type::AcceptInverseOffers
        | Type::DeclineInverseOffers
        | Type::Kill
        | Type::Shutdown
        | Type::Reconcile
        | Type::ReconcileOperations
        | Type::Revive
        | Type::Suppress
        | Type::UpdateFramework
        | Type::Teardown => true,
        Type::Accept | Type::Message | Type::Request | Type::Subscribe | Type::Unknown => false,
    }
}

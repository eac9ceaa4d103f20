//! The calls of one subscription: sent in the order they were made, each on a connection that is not the
//! stream's.
//!
//! Acknowledgements are many and independent of each other: some of them go at once, side by side.

use bytes::Bytes;
use futures_util::future::{FutureExt, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use prost::Message;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};

use super::http::{PATH, STREAM_ID, to_error};
use super::http_client::{HttpClient, body_text, is_connection_reset, transport_error};
use super::master::MasterError;
use super::messages::scheduler::{Call, call::Type};
use super::responses::{ResponseKind, classify};

/// Takes calls, and sends them. What is not sent when it is dropped never is.
pub(super) struct Outbox {
    queue: UnboundedSender<Queued>,
    worker: JoinHandle<()>,
}

struct Queued {
    call: Call,
    answer: oneshot::Sender<Result<(), MasterError>>,
}

struct Sender {
    link: HttpClient,
    host: String,
    stream_id: String,
}

/// Acknowledgements on their way at the same time.
const SIDE_BY_SIDE: usize = 8;

impl Outbox {
    /// For calls to `host`, in the subscription `stream_id`.
    pub(super) fn open(link: HttpClient, host: String, stream_id: String) -> Self {
        let (queue, queued) = mpsc::unbounded_channel();
        let worker = spawn_local(work(Sender { link, host, stream_id }, queued));
        Self { queue, worker }
    }

    /// Queues a call; answered once it is taken, or not.
    pub(super) fn send(&self, call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>> {
        let (answer, answered) = oneshot::channel();
        let _gone = self.queue.send(Queued { call, answer });
        async move { answered.await.unwrap_or(Err(MasterError::NotSubscribed)) }.boxed_local()
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

async fn work(sender: Sender, mut queue: UnboundedReceiver<Queued>) {
    let mut acknowledgements = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = acknowledgements.next(), if !acknowledgements.is_empty() => {}
            queued = queue.recv(), if acknowledgements.len() < SIDE_BY_SIDE => {
                let Some(Queued { call, answer }) = queued else { return };
                let is_acknowledgement = call.r#type() == Type::Acknowledge;
                let sending = sender.send(call).map(|sent| {
                    let _nobody_waits = answer.send(sent);
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
        let mut may_repeat = may_repeat(call.r#type());
        loop {
            let request =
                self.link.post(&self.host, PATH).insert_header((STREAM_ID, self.stream_id.as_str()));
            let answer = match request.send_body(message.clone()).await {
                // The other side had just closed an idle connection: on a new one it goes through.
                Err(error) if may_repeat && is_connection_reset(&error) => {
                    may_repeat = false;
                    continue;
                }
                answer => answer.map_err(|error| transport_error(&self.host, error))?,
            };
            let status = answer.status().as_u16();
            let said = if status == 202 { String::new() } else { body_text(answer).await };
            return match classify(status, None, &said) {
                ResponseKind::Accepted => Ok(()),
                meaning => Err(to_error(self.host.clone(), status, &meaning, said)),
            };
        }
    }
}

/// Whether a call that may have been taken can be said once more. Nobody can tell whether a launch was: what
/// became of it is asked about instead.
fn may_repeat(kind: Type) -> bool {
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

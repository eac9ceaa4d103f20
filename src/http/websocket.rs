//! `/ws`: events and output of blocks over a websocket.
//!
//! The encoded frames of events are shared by all clients, so they bypass the websocket library, which would encode and
//! queue them for each client. Its session sends only the control frames: pings, pongs, and the close.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::{Error, HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, CloseReason, Message, MessageStream, Session};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::LocalBoxStream;
use tokio::sync::oneshot;

use super::event_stream::EventStream;
use super::query::{Query, bad_request};
use super::response::not_found;
use super::state::AppState;
use super::ws_frames::EventFilter;
use borges_task::RunId;

/// The interval between two pings.
const PING: Duration = Duration::from_secs(5);
/// The most consecutive pings without any message from the client.
const MAX_MISSED_PONGS: u32 = 6;

/// `GET /ws`.
#[utoipa::path(
    get, path = "/ws", tag = "feed", operation_id = "feed",
    description = "A websocket: one JSON object a frame, each change of a task's state and the end of each run.",
    params(
        ("run" = Option<String>, Query, description = "only this run"),
        ("task" = Option<String>, Query, description = "only this task, and its run's end"),
        ("since" = Option<u64>, Query, description = "what came after the frame of this number, first"),
        ("output" = Option<u8>, Query, maximum = 1, description = "1: also what blocks write"),
    ),
    responses((status = 101, description = "The websocket is open"), (status = 404, description = "")),
)]
pub(super) async fn events(
    request: HttpRequest,
    body: web::Payload,
    app: web::Data<AppState>,
) -> Result<HttpResponse, Error> {
    let query = match parse_query(&request) {
        Ok(query) => query,
        Err(message) => return Ok(bad_request(&request, &message)),
    };
    let Some(filter) = query.filter else { return Ok(not_found(&request, "such task")) };
    let Ok((response, session, messages)) = actix_ws::handle(&request, body) else {
        let message = "This route is a websocket: open it by a websocket client, as `ws://…/ws`.";
        return Ok(bad_request(&request, message));
    };
    let (close_sender, close_receiver) = oneshot::channel();
    let stream = EventStream::new(app.engine.clone(), app.clock.clone(), query.since, filter, query.output);
    let events = Some(stream.into_stream(close_sender).boxed_local());
    let response = response.map_body(|_, control| BoxBody::new(WebsocketBody { control, events }));
    let guard = app.requests.websocket();
    actix_web::rt::spawn(async move {
        run_session(session, messages, close_receiver).await;
        drop(guard);
    });
    Ok(response)
}

/// The parameters of a request.
struct WebsocketQuery {
    /// `None` if `?task=` is not a task id.
    filter: Option<EventFilter>,
    since: Option<u64>,
    output: bool,
}

fn parse_query(request: &HttpRequest) -> Result<WebsocketQuery, String> {
    let query = Query::parse(request, &["run", "task", "since", "output"])?;
    let run = query.get::<RunId>("run", "a run's id")?;
    let filter = match (query.get_all("task").first(), run) {
        (Some(task), _) => task.parse().ok().map(EventFilter::Task),
        (None, Some(run)) => Some(EventFilter::Run(run)),
        (None, None) => Some(EventFilter::All),
    };
    Ok(WebsocketQuery { filter, since: query.number("since", 0, u64::MAX)?, output: query.flag("output")? })
}

/// Answers pings of a client, sends pings to it, and closes the session.
async fn run_session(
    mut session: Session,
    mut messages: MessageStream,
    mut close_receiver: oneshot::Receiver<CloseReason>,
) {
    let mut pings = actix_web::rt::time::interval(PING);
    let mut missed_pongs = 0;
    let reason = loop {
        tokio::select! {
            reason = &mut close_receiver => break reason.unwrap_or_else(|_| CloseCode::Away.into()),
            message = messages.next() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => break CloseCode::Normal.into(),
                Some(Ok(message)) => {
                    missed_pongs = 0;
                    if let Message::Ping(bytes) = message
                        && session.pong(&bytes).await.is_err()
                    {
                        return;
                    }
                }
            },
            _ = pings.tick() => {
                missed_pongs += 1;
                if missed_pongs > MAX_MISSED_PONGS {
                    let description = Some(format!("{MAX_MISSED_PONGS} pings were left without an answer"));
                    break CloseReason { code: CloseCode::Policy, description };
                }
                if session.ping(b"").await.is_err() {
                    return;
                }
            }
        }
    };
    let _closed = session.close(Some(reason)).await;
}

/// The response body of a websocket: control frames of the session first, then frames of events.
struct WebsocketBody {
    control: BoxBody,
    /// `None` after the end of the stream.
    events: Option<LocalBoxStream<'static, Bytes>>,
}

impl MessageBody for WebsocketBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let control = Pin::new(&mut self.control).poll_next(context);
        if control.is_ready() {
            return control.map_err(Into::into);
        }
        if let Some(events) = &mut self.events {
            match events.poll_next_unpin(context) {
                Poll::Ready(Some(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Poll::Ready(None) => self.events = None,
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }
}

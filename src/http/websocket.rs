//! `/ws`: what happens, as it happens.
//!
//! What a client is told is bytes that all clients share, so they go past the websocket library, which would
//! encode and queue them for each; its session says what is for one client alone: pings, pongs, the close.

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

use super::App;
use super::event_stream::{EventFilter, EventStream};
use super::query::{Query, bad_request};
use super::response::not_found;
use borges_task::RunId;

/// How often a client is asked whether it is there.
const PING: Duration = Duration::from_secs(5);
/// Pings that a client may leave without any sign of life.
const MAX_MISSED_PONGS: u32 = 6;

/// `GET /ws`.
#[utoipa::path(
    get, path = "/ws", tag = "feed",
    description = "A websocket: one JSON object a frame, each change of a task's state and the end of each run.",
    params(
        ("run" = Option<String>, Query, description = "only this run"),
        ("task" = Option<String>, Query, description = "only this task, and its run's end"),
        ("since" = Option<u64>, Query, description = "what came after the frame of this number, first"),
        ("output" = Option<u8>, Query, maximum = 1, description = "1: also what blocks write"),
    ),
    responses((status = 101, description = "The websocket is open"), (status = 404, description = "")),
)]
pub(super) async fn feed(
    request: HttpRequest,
    body: web::Payload,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    let wish = match parse_query(&request) {
        Ok(wish) => wish,
        Err(wrong) => return Ok(bad_request(&request, &wrong)),
    };
    let Some(topic) = wish.topic else { return Ok(not_found(&request, "such task")) };
    let Ok((response, session, messages)) = actix_ws::handle(&request, body) else {
        let wanted = "This route is a websocket: open it by a websocket client, as `ws://…/ws`.";
        return Ok(bad_request(&request, wanted));
    };
    let (over, ends) = oneshot::channel();
    let telling = EventStream::new(app.engine.clone(), app.clock.clone(), wish.since, topic, wish.output);
    let told = Some(telling.into_stream(over).boxed_local());
    let response = response.map_body(|_, control| BoxBody::new(Frames { control, told }));
    let present = app.requests.websocket();
    actix_web::rt::spawn(async move {
        run_session(session, messages, ends).await;
        drop(present);
    });
    Ok(response)
}

/// What a client wants to hear of.
struct WebsocketQuery {
    /// `None` for a task that is no task's name.
    topic: Option<EventFilter>,
    since: Option<u64>,
    output: bool,
}

fn parse_query(request: &HttpRequest) -> Result<WebsocketQuery, String> {
    let query = Query::parse(request, &["run", "task", "since", "output"])?;
    let run = query.get::<RunId>("run", "a run's id")?;
    let topic = match (query.get_all("task").first(), run) {
        (Some(task), _) => task.parse().ok().map(EventFilter::Task),
        (None, Some(run)) => Some(EventFilter::Run(run)),
        (None, None) => Some(EventFilter::All),
    };
    Ok(WebsocketQuery { topic, since: query.number("since", 0, u64::MAX)?, output: query.flag("output")? })
}

/// Answers the client, asks whether it is there, and takes leave of it.
async fn run_session(
    mut session: Session,
    mut messages: MessageStream,
    mut ends: oneshot::Receiver<CloseReason>,
) {
    let mut pings = actix_web::rt::time::interval(PING);
    let mut unanswered = 0;
    let reason = loop {
        tokio::select! {
            reason = &mut ends => break reason.unwrap_or_else(|_| CloseCode::Away.into()),
            message = messages.next() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => break CloseCode::Normal.into(),
                Some(Ok(message)) => {
                    unanswered = 0;
                    if let Message::Ping(bytes) = message
                        && session.pong(&bytes).await.is_err()
                    {
                        return;
                    }
                }
            },
            _ = pings.tick() => {
                unanswered += 1;
                if unanswered > MAX_MISSED_PONGS {
                    let description = Some(format!("{MAX_MISSED_PONGS} pings were left without an answer"));
                    break CloseReason { code: CloseCode::Policy, description };
                }
                if session.ping(b"").await.is_err() {
                    return;
                }
            }
        }
    };
    let _gone = session.close(Some(reason)).await;
}

/// The bytes of a websocket: what the session says, before what is told.
struct Frames {
    control: BoxBody,
    /// `None` when all is told.
    told: Option<LocalBoxStream<'static, Bytes>>,
}

impl MessageBody for Frames {
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
        if let Some(told) = &mut self.told {
            match told.poll_next_unpin(context) {
                Poll::Ready(Some(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Poll::Ready(None) => self.told = None,
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }
}

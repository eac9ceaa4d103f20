//! `/ws`: what happens, as it happens.

use std::time::Duration;

use actix_web::{Error, HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, CloseReason, Message, MessageStream, Session};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::App;
use super::answer::failed;
use crate::actors::Entry;
use crate::task::{RunId, TaskId};

/// What a client wants to hear of.
#[derive(Debug, Deserialize)]
pub(super) struct Wish {
    run: Option<RunId>,
    task: Option<String>,
}

/// Entries a client may be behind. One that is further behind is told so, and closed: nothing is dropped in
/// silence.
const BEHIND: usize = 10_000;
/// How often a client is asked whether it is there.
const PING: Duration = Duration::from_secs(5);

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
    wish: web::Query<Wish>,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    let task = wish.task.as_deref().and_then(|id| id.parse::<TaskId>().ok());
    if wish.task.is_some() && task.is_none() {
        return Ok(super::answer::missing(&request, "such task"));
    }
    let Ok((response, session, messages)) = actix_ws::handle(&request, body) else {
        return Ok(no_websocket(&request));
    };
    let (to, entries) = mpsc::unbounded_channel();
    if let Err(error) = app.engine.follow(wish.run.or(task.map(|task| task.run)), to).await {
        return Ok(failed(&request, &error));
    }
    let present = app.requests.websocket();
    actix_web::rt::spawn(async move {
        pass_on(session, messages, entries, task).await;
        drop(present);
    });
    Ok(response)
}

fn no_websocket(request: &HttpRequest) -> HttpResponse {
    super::query::bad(request, "This route is a websocket: open it by a websocket client, as `ws://…/ws`.")
}

async fn pass_on(
    mut session: Session,
    mut messages: MessageStream,
    mut entries: UnboundedReceiver<Entry>,
    task: Option<TaskId>,
) {
    let mut pings = actix_web::rt::time::interval(PING);
    // A client that answers no ping until the next one is gone.
    let mut answered = true;
    let reason = loop {
        tokio::select! {
            entry = entries.recv() => {
                let Some(entry) = entry else { break CloseCode::Away.into() };
                if entries.len() > BEHIND {
                    break CloseReason {
                        code: CloseCode::Again,
                        description: Some(format!("more than {BEHIND} entries behind")),
                    };
                }
                if !concerns(&entry, task) {
                    continue;
                }
                let Ok(text) = serde_json::to_string(&entry) else { break CloseCode::Error.into() };
                if session.text(text).await.is_err() {
                    return;
                }
            }
            message = messages.next() => match message {
                Some(Ok(Message::Ping(bytes))) => {
                    if session.pong(&bytes).await.is_err() {
                        return;
                    }
                }
                Some(Ok(Message::Pong(_))) => answered = true,
                Some(Ok(Message::Close(_)) | Err(_)) | None => break CloseCode::Normal.into(),
                Some(Ok(_)) => {}
            },
            _ = pings.tick() => {
                if !std::mem::replace(&mut answered, false) || session.ping(b"").await.is_err() {
                    return;
                }
            }
        }
    };
    let _gone = session.close(Some(reason)).await;
}

fn concerns(entry: &Entry, task: Option<TaskId>) -> bool {
    match (entry, task) {
        (Entry::Task(frame), Some(task)) => frame.task == task,
        (Entry::Task(_), None) | (Entry::Run(_), _) => true,
    }
}

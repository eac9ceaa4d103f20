//! A scripted master: over real HTTP, it sends what a real master sends only rarely.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use borges_mesos::Call;
use borges_mesos::events::TaskState;
use borges_mesos::messages::scheduler::{Event, call, event};
use borges_mesos::messages::{AgentId, FrameworkId, Offer, OfferId, TaskId, TaskStatus};
use borges_mesos::recordio;
use borges_mesos::resources::Quantities;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::unfold;
use prost::Message;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::protocol_checker::ProtocolChecker;

/// The calls that it gets.
type Calls = UnboundedSender<Call>;
/// The stream of the subscription, while there is one.
type Way = Arc<Mutex<Option<UnboundedSender<Bytes>>>>;
/// Responses that are given instead of the usual ones, in this order: status, body, `Location`.
type Answers = Arc<Mutex<VecDeque<(u16, String, Option<String>)>>>;

struct State {
    calls: Calls,
    way: Way,
    answers: Answers,
    checker: Arc<Mutex<ProtocolChecker>>,
    subscriptions: Mutex<u32>,
}

impl State {
    fn forward(&self, call: Call) {
        // At the end of a test there is no receiver.
        let _nobody = self.calls.send(call);
    }
}

/// A master that sends what the test asks for.
pub(crate) struct ScriptedMaster {
    pub(crate) address: String,
    calls: UnboundedReceiver<Call>,
    way: Way,
    answers: Answers,
    checker: Arc<Mutex<ProtocolChecker>>,
    server: Option<(actix_web::dev::ServerHandle, JoinHandle<()>)>,
    offers: u32,
}

/// The framework id that it assigns.
pub(crate) const FRAMEWORK: &str = "master-0000";

impl ScriptedMaster {
    pub(crate) fn start() -> Self {
        let (calls, called) = mpsc::unbounded_channel();
        let (way, answers) = (Way::default(), Answers::default());
        let checker = Arc::<Mutex<ProtocolChecker>>::default();
        let state = State {
            calls,
            way: way.clone(),
            answers: answers.clone(),
            checker: checker.clone(),
            subscriptions: Mutex::default(),
        };
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async {
                let state = web::Data::new(state);
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(state.clone())
                        .app_data(web::PayloadConfig::new(1 << 30))
                        .route("/api/v1/scheduler", web::post().to(scheduler))
                })
                .workers(1)
                .shutdown_timeout(0)
                .disable_signals()
                .bind("127.0.0.1:0")
                .unwrap();
                let address = server.addrs()[0].to_string();
                let server = server.run();
                tell.send((address, server.handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (address, handle) = told.recv().unwrap();
        let server = Some((handle, thread));
        Self { address, calls: called, way, answers, checker, server, offers: 0 }
    }

    /// Sets the response of the next call.
    pub(crate) fn respond_next(&self, status: u16, words: &str, location: Option<&str>) {
        let answer = (status, words.to_owned(), location.map(str::to_owned));
        self.answers.lock().unwrap().push_back(answer);
    }

    /// The next call of a kind; calls of other kinds before it are dropped.
    pub(crate) async fn call(&mut self, kind: call::Type) -> Call {
        loop {
            let call = self.next_call().await;
            if call.r#type() == kind {
                return call;
            }
        }
    }

    pub(crate) async fn next_call(&mut self) -> Call {
        let hangs = std::time::Duration::from_secs(60);
        tokio::time::timeout(hangs, self.calls.recv()).await.expect("a call").unwrap()
    }

    /// The next so many launches.
    pub(crate) async fn launches(&mut self, count: usize) -> Vec<String> {
        let mut launches = Vec::new();
        while launches.len() < count {
            let call = self.call(call::Type::Accept).await;
            let operations = call.accept.unwrap().operations.into_iter();
            let tasks =
                operations.filter_map(|operation| operation.launch).flat_map(|launch| launch.task_infos);
            launches.extend(tasks.map(|task| task.task_id.value));
        }
        launches
    }

    /// The next call of a kind, if one comes within a second.
    pub(crate) async fn call_within_1s(&mut self, kind: call::Type) -> Option<Call> {
        tokio::time::timeout(std::time::Duration::from_secs(1), self.call(kind)).await.ok()
    }

    pub(crate) fn is_subscribed(&self) -> bool {
        self.way.lock().unwrap().is_some()
    }

    /// A handle of its checker, for another part of a test.
    pub(crate) fn checker(&self) -> CheckerHandle {
        CheckerHandle(self.checker.clone())
    }

    /// The violations in the calls so far.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.checker.lock().unwrap().violations()
    }

    /// What the scheduler has not answered yet.
    pub(crate) fn outstanding(&self) -> Vec<String> {
        self.checker.lock().unwrap().outstanding()
    }

    /// Sends bytes as one chunk of the stream.
    pub(crate) fn send_bytes(&self, bytes: Bytes) {
        self.way.lock().unwrap().as_ref().expect("a subscription").send(bytes).unwrap();
    }

    pub(crate) fn send(&self, event: &Event) {
        self.checker.lock().unwrap().sent(event);
        self.send_bytes(record(event));
    }

    /// Ends the stream.
    pub(crate) fn disconnect(&self) {
        self.checker.lock().unwrap().disconnected();
        self.way.lock().unwrap().take();
    }

    /// Sends offers of so many agents, each with 4 cpus and 1 GiB; the ids of the offers.
    pub(crate) fn offer(&mut self, agents: u32) -> Vec<String> {
        let free = Quantities { milli_cpus: 4000, mem_mib: 1024, ..Quantities::default() };
        let from = self.offers;
        self.offers += agents;
        let offers: Vec<Offer> = (from..self.offers)
            .map(|number| Offer {
                id: OfferId { value: format!("o{number}") },
                framework_id: FrameworkId { value: FRAMEWORK.to_owned() },
                agent_id: AgentId { value: format!("a{}", number - from) },
                hostname: "h".to_owned(),
                resources: free.to_resources(Some("*")),
                ..Offer::default()
            })
            .collect();
        let ids = offers.iter().map(|offer| offer.id.value.clone()).collect();
        self.send(&Event {
            r#type: Some(event::Type::Offers as i32),
            offers: Some(event::Offers { offers }),
            ..Event::default()
        });
        ids
    }

    /// Sends an update of a launch. An update with a number must be acknowledged.
    pub(crate) fn update(&self, launch: &str, state: i32, reason: Option<i32>, number: Option<u32>) {
        let status = TaskStatus {
            task_id: TaskId { value: launch.to_owned() },
            state,
            reason,
            agent_id: Some(AgentId { value: "a0".to_owned() }),
            uuid: number.map(|number| Bytes::copy_from_slice(&number.to_be_bytes())),
            ..TaskStatus::default()
        };
        self.send(&Event {
            r#type: Some(event::Type::Update as i32),
            update: Some(event::Update { status }),
            ..Event::default()
        });
    }

    /// Sends an update with a known state, which must be acknowledged.
    pub(crate) fn status(&self, launch: &str, state: TaskState, number: u32) {
        self.update(launch, state.to_wire(), None, Some(number));
    }
}

/// The checker of a scripted master.
pub(crate) struct CheckerHandle(Arc<Mutex<ProtocolChecker>>);

impl CheckerHandle {
    /// The violations in the calls so far.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.0.lock().unwrap().violations()
    }

    /// What the scheduler has not answered yet.
    pub(crate) fn outstanding(&self) -> Vec<String> {
        self.0.lock().unwrap().outstanding()
    }
}

impl Drop for ScriptedMaster {
    fn drop(&mut self) {
        self.disconnect();
        if let Some((handle, thread)) = self.server.take() {
            drop(handle.stop(false));
            let _ = thread.join();
        }
    }
}

/// An event in `RecordIO`.
pub(crate) fn record(event: &Event) -> Bytes {
    let mut bytes = BytesMut::new();
    recordio::encode_message(event, &mut bytes);
    bytes.freeze()
}

/// An event without fields.
pub(crate) fn bare(kind: i32) -> Event {
    Event { r#type: Some(kind), ..Event::default() }
}

async fn scheduler(request: HttpRequest, state: web::Data<State>, body: Bytes) -> HttpResponse {
    let call = Call::decode(body).expect("a call");
    let is_subscribe = call.r#type() == call::Type::Subscribe;
    let stream_id = request.headers().get("Mesos-Stream-Id").map(|id| id.to_str().unwrap().to_owned());
    state.checker.lock().unwrap().received(&call);
    if let Some((status, words, location)) = state.answers.lock().unwrap().pop_front() {
        let mut answer = HttpResponse::build(status.try_into().unwrap());
        if let Some(location) = location {
            answer.insert_header(("Location", location));
        }
        state.forward(call);
        return answer.body(words);
    }
    let mut subscriptions = state.subscriptions.lock().unwrap();
    if !is_subscribe {
        assert_eq!(stream_id, Some(format!("stream-{subscriptions}")), "of the last subscription");
        state.forward(call);
        return HttpResponse::Accepted().finish();
    }
    assert_eq!(stream_id, None, "a subscription has no stream yet");
    *subscriptions += 1;
    let (way, out) = mpsc::unbounded_channel();
    let subscribed = event::Subscribed {
        framework_id: FrameworkId { value: FRAMEWORK.to_owned() },
        heartbeat_interval_seconds: Some(15.0),
        master_info: None,
    };
    let first = Event {
        r#type: Some(event::Type::Subscribed as i32),
        subscribed: Some(subscribed),
        ..Event::default()
    };
    state.checker.lock().unwrap().sent(&first);
    way.send(record(&first)).unwrap();
    *state.way.lock().unwrap() = Some(way);
    // Only now can the test send events.
    state.forward(call);
    let stream = unfold(out, |mut out| async move { Some((out.recv().await?, out)) });
    HttpResponse::Ok()
        .insert_header(("Mesos-Stream-Id", format!("stream-{subscriptions}")))
        .content_type("application/x-protobuf")
        .streaming(stream.map(Ok::<_, std::io::Error>))
}

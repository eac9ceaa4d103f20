//! The test environment: a scripted cluster and a recording store, which write into one log.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{FutureExt, LocalBoxFuture, ready};
use futures_util::stream::LocalBoxStream;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::{Engine, EngineParts, FatalError, Submission};
use borges_clock::Clock;
use borges_config::Retention;
use borges_mesos::events::{StatusUpdate, TaskState};
use borges_mesos::messages::scheduler::call::Type;
use borges_mesos::messages::{AgentId, FrameworkId, FrameworkInfo, Offer, OfferId, TaskId, TaskStatus};
use borges_mesos::resources::Quantities;
use borges_mesos::{
    Call, Chunk, Event, Master, MasterError, Sandbox, SandboxError, SandboxFile, SandboxLocation,
    Subscription,
};
use borges_org as org;
use borges_plan::{PlanOptions, plan};
use borges_store::{LoggedEvent, MemoryStore, Snapshot, Store, StoreError, TaskRecord, WriteOp};

type Log = Arc<Mutex<Vec<String>>>;

fn append_log(log: &Log, line: String) {
    log.lock().unwrap().push(line);
}

/// A cluster whose events the test sends.
struct ScriptedCluster {
    log: Log,
    /// The sender of the current subscription.
    stream: Rc<RefCell<Option<UnboundedSender<Event>>>>,
    /// Calls, for the test to wait for.
    calls: UnboundedSender<Call>,
}

impl Master for ScriptedCluster {
    fn subscribe(&mut self, call: Call) -> LocalBoxFuture<'static, Result<Subscription, MasterError>> {
        let is_registered = call.framework_id.is_some();
        append_log(&self.log, format!("call SUBSCRIBE{}", if is_registered { " again" } else { "" }));
        let (sender, receiver) = mpsc::unbounded_channel();
        let heartbeat = Duration::from_secs(15);
        sender.send(Event::Subscribed { framework: "f".to_owned(), master: None, heartbeat }).unwrap();
        *self.stream.borrow_mut() = Some(sender);
        let events = receiver_stream(receiver).map(Ok).boxed_local();
        ready(Ok(Subscription { events })).boxed_local()
    }

    fn call(&mut self, call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>> {
        let kind = Type::try_from(call.r#type.unwrap()).unwrap();
        let detail = match kind {
            Type::Acknowledge => call.acknowledge.as_ref().map(|call| call.task_id.value.clone()),
            Type::Kill => call.kill.as_ref().map(|call| call.task_id.value.clone()),
            Type::Reconcile => {
                let tasks = &call.reconcile.as_ref().unwrap().tasks;
                Some(tasks.iter().map(|task| task.task_id.value.clone()).collect::<Vec<_>>().join(" "))
            }
            Type::Accept => Some(launches(&call).join(" ")),
            _ => None,
        };
        let detail = detail.map(|detail| format!(" {}", short_ids(&detail))).unwrap_or_default();
        append_log(&self.log, format!("call {}{detail}", kind.as_str_name()));
        self.calls.send(call).ok();
        ready(Ok(())).boxed_local()
    }
}

fn receiver_stream<T>(mut receiver: UnboundedReceiver<T>) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
}

pub(super) fn launches(call: &Call) -> Vec<String> {
    let accept = call.accept.as_ref().unwrap();
    let tasks = accept.operations.iter().flat_map(|operation| &operation.launch.as_ref().unwrap().task_infos);
    tasks.map(|task| task.task_id.value.clone()).collect()
}

/// `RUN.N.K` without the run.
pub(super) fn short_ids(ids: &str) -> String {
    ids.split(' ').map(|id| id.split_once('.').map_or(id, |(_, rest)| rest)).collect::<Vec<_>>().join(" ")
}

struct RecordingStore {
    log: Log,
    /// Survives the engine, as a disk does.
    memory_store: Arc<Mutex<MemoryStore>>,
    /// Whether commits with task records fail. Commits cannot be counted, because writes share them.
    reject_task_writes: bool,
}

impl Store for RecordingStore {
    fn commit(&mut self, writes: &[WriteOp]) -> Result<(), StoreError> {
        if self.reject_task_writes && writes.iter().any(|write| matches!(write, WriteOp::Task(_))) {
            return Err(StoreError::Io {
                operation: "written",
                reason: "no space left on device".to_owned(),
            });
        }
        for write in writes {
            append_log(
                &self.log,
                match write {
                    WriteOp::MarkRun(_, mark) => format!("save {mark:?}"),
                    WriteOp::Events(_) => continue,
                    WriteOp::Run(_) => "save run".to_owned(),
                    WriteOp::Intents(intents) => {
                        let ids: Vec<_> = intents.iter().map(|intent| intent.launch.to_string()).collect();
                        format!("save intent {}", short_ids(&ids.join(" ")))
                    }
                    WriteOp::Task(task) => format!("save {} {}", task.id.number, task.state),
                    WriteOp::Results(results) => format!("save {} results", results.len()),
                    WriteOp::Framework(_) => "save framework".to_owned(),
                    WriteOp::DeleteRuns(runs) => format!("forget {} runs", runs.len()),
                },
            );
        }
        self.memory_store.lock().unwrap().commit(writes)
    }

    fn load(&self) -> Result<Snapshot, StoreError> {
        self.memory_store.lock().unwrap().load()
    }

    fn task(&self, task: borges_task::TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.memory_store.lock().unwrap().task(task)
    }

    fn results(&self, run: borges_task::RunId) -> Result<Vec<borges_store::ResultRecord>, StoreError> {
        self.memory_store.lock().unwrap().results(run)
    }

    fn events(&self, after: u64) -> Result<Vec<LoggedEvent>, StoreError> {
        self.memory_store.lock().unwrap().events(after)
    }
}

/// A sandbox in which each launch has printed `3` and exited with code 3. Reads are logged and yield once.
struct FixedExitSandbox(Log);

impl Sandbox for FixedExitSandbox {
    fn read(
        &self,
        _: &SandboxLocation,
        path: &str,
        _: u64,
        _: usize,
    ) -> LocalBoxFuture<'static, Result<Chunk, SandboxError>> {
        append_log(&self.0, format!("read {path}"));
        let read = match path {
            "block/exit" | "block/stdout" => {
                Ok(Chunk { offset: 0, bytes: Bytes::from_static(b"3\n"), size: 2 })
            }
            _ => Err(SandboxError::Missing(path.to_owned())),
        };
        async move {
            tokio::task::yield_now().await;
            read
        }
        .boxed_local()
    }

    fn list(
        &self,
        _: &SandboxLocation,
        path: &str,
    ) -> LocalBoxFuture<'static, Result<Vec<SandboxFile>, SandboxError>> {
        ready(Err(SandboxError::Missing(path.to_owned()))).boxed_local()
    }
}

/// An engine with a scripted cluster, a recording store and a subscriber.
pub(super) struct TestEnv {
    log: Log,
    pub(super) stream: Rc<RefCell<Option<UnboundedSender<Event>>>>,
    calls: UnboundedReceiver<Call>,
    pub(super) events: LocalBoxStream<'static, LoggedEvent>,
    pub(super) fatal_errors: UnboundedReceiver<FatalError>,
    pub(super) engine: Engine,
    offers: u32,
}

impl TestEnv {
    pub(super) async fn new() -> Self {
        Self::with_store(Arc::default(), false).await
    }

    pub(super) async fn with_store(memory_store: Arc<Mutex<MemoryStore>>, reject_task_writes: bool) -> Self {
        let log = Log::default();
        let stream = Rc::new(RefCell::new(None));
        let (calls, call_receiver) = mpsc::unbounded_channel();
        let master = ScriptedCluster { log: log.clone(), stream: stream.clone(), calls };
        let store = RecordingStore { log: log.clone(), memory_store, reject_task_writes };
        let (engine, fatal_errors) = Engine::start(EngineParts {
            store: Box::new(store),
            master: Box::new(master),
            sandbox: Rc::new(FixedExitSandbox(log.clone())),
            framework: FrameworkInfo::default(),
            retention: Retention::default(),
            index_results: false,
            cache: None,
            clock: Clock::system(),
        })
        .unwrap();
        let events = engine.subscribe(None).events().boxed_local();
        while stream.borrow().is_none() {
            tokio::task::yield_now().await;
        }
        Self { log, stream, calls: call_receiver, events, fatal_errors, engine, offers: 0 }
    }

    pub(super) async fn submit(&self, document: &'static str) {
        let source = Bytes::from_static(document.as_bytes());
        let plan = plan(&source, &org::parse(&source, &[]), &PlanOptions::default()).unwrap();
        let submission = Submission {
            title: String::new(),
            document: source,
            plan,
            key: None,
            caching: borges_plan::CacheMode::OptIn,
        };
        self.engine.submit(submission).await.unwrap();
    }

    pub(super) fn send_event(&self, event: Event) {
        self.stream.borrow().as_ref().unwrap().send(event).unwrap();
    }

    pub(super) fn offer(&mut self) {
        self.offers += 1;
        let free = Quantities { milli_cpus: 4000, mem_mib: 1024, ..Quantities::default() };
        self.send_event(Event::Offers(vec![Offer {
            id: OfferId { value: format!("o{}", self.offers) },
            framework_id: FrameworkId { value: "f".to_owned() },
            agent_id: AgentId { value: "a".to_owned() },
            hostname: "h".to_owned(),
            resources: free.to_resources(Some("*")),
            ..Offer::default()
        }]));
    }

    pub(super) fn update(&self, launch: &str, state: TaskState) {
        self.send_event(Event::Update(Box::new(
            StatusUpdate::try_from(TaskStatus {
                task_id: TaskId { value: launch.to_owned() },
                state: state.to_wire(),
                agent_id: Some(AgentId { value: "a".to_owned() }),
                uuid: Some(Bytes::from_static(b"u")),
                ..TaskStatus::default()
            })
            .unwrap(),
        )));
    }

    pub(super) async fn call(&mut self, kind: Type) -> Call {
        loop {
            let call = self.calls.recv().await.unwrap();
            if call.r#type == Some(kind as i32) {
                return call;
            }
        }
    }

    /// Waits until the event is published that task `number` is in `state`.
    pub(super) async fn wait_for_state(&mut self, number: u32, state: &str) {
        self.wait_for_states(&[(number, state)]).await;
    }

    /// Waits for several states, in any order.
    pub(super) async fn wait_for_states(&mut self, expected: &[(u32, &str)]) {
        let mut expected = expected.to_vec();
        while !expected.is_empty() {
            match self.events.next().await.unwrap() {
                LoggedEvent::Task(event) => {
                    append_log(&self.log, format!("published {} {}", event.task.number, event.state));
                    let current = (event.task.number, event.state.to_string());
                    expected.retain(|(number, state)| (*number, *state) != (current.0, current.1.as_str()));
                }
                LoggedEvent::Run(run_ended) => {
                    append_log(&self.log, format!("published the run {:?}", run_ended.state));
                }
            }
        }
    }

    pub(super) fn log_lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The position of the first such line in the log. Panics if there is none.
    pub(super) fn position(&self, line: &str) -> usize {
        let log_lines = self.log_lines();
        log_lines
            .iter()
            .position(|logged| logged == line)
            .unwrap_or_else(|| panic!("no `{line}` in {log_lines:#?}"))
    }
}

pub(super) fn run_test<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    actix::System::new().block_on(async { test().await });
}

//! Tests of the order of effects: a scripted cluster, a recording store and a subscriber write into one log.

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
use borges_task::RunState;

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

fn launches(call: &Call) -> Vec<String> {
    let accept = call.accept.as_ref().unwrap();
    let tasks = accept.operations.iter().flat_map(|operation| &operation.launch.as_ref().unwrap().task_infos);
    tasks.map(|task| task.task_id.value.clone()).collect()
}

/// `RUN.N.K` without the run.
fn short_ids(ids: &str) -> String {
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
            return Err(StoreError::Io { doing: "written", why: "no space left on device".to_owned() });
        }
        for write in writes {
            append_log(
                &self.log,
                match write {
                    WriteOp::MarkRun(_, mark) => format!("save {mark:?}"),
                    WriteOp::Entries(_) => continue,
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

    fn entries(&self, after: u64) -> Result<Vec<LoggedEvent>, StoreError> {
        self.memory_store.lock().unwrap().entries(after)
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

struct TestEnv {
    log: Log,
    stream: Rc<RefCell<Option<UnboundedSender<Event>>>>,
    calls: UnboundedReceiver<Call>,
    events: LocalBoxStream<'static, LoggedEvent>,
    fatal_errors: UnboundedReceiver<FatalError>,
    engine: Engine,
    offers: u32,
}

impl TestEnv {
    async fn new() -> Self {
        Self::with_store(Arc::default(), false).await
    }

    async fn with_store(memory_store: Arc<Mutex<MemoryStore>>, reject_task_writes: bool) -> Self {
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

    async fn submit(&self, document: &'static str) {
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

    fn send_event(&self, event: Event) {
        self.stream.borrow().as_ref().unwrap().send(event).unwrap();
    }

    fn offer(&mut self) {
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

    fn update(&self, launch: &str, state: TaskState) {
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

    async fn call(&mut self, kind: Type) -> Call {
        loop {
            let call = self.calls.recv().await.unwrap();
            if call.r#type == Some(kind as i32) {
                return call;
            }
        }
    }

    /// Waits until the event is published that task `number` is in `state`.
    async fn wait_for_state(&mut self, number: u32, state: &str) {
        self.wait_for_states(&[(number, state)]).await;
    }

    /// Waits for several states, in any order.
    async fn wait_for_states(&mut self, expected: &[(u32, &str)]) {
        let mut expected = expected.to_vec();
        while !expected.is_empty() {
            match self.events.next().await.unwrap() {
                LoggedEvent::Task(event) => {
                    append_log(&self.log, format!("published {} {}", event.task.number, event.state));
                    let current = (event.task.number, event.state.to_string());
                    expected.retain(|(number, state)| (*number, *state) != (current.0, current.1.as_str()));
                }
                LoggedEvent::Run(run_ended) => {
                    append_log(&self.log, format!("published the run {:?}", run_ended.state))
                }
            }
        }
    }

    fn log_lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The position of the first such line in the log. Panics if there is none.
    fn position(&self, line: &str) -> usize {
        let log_lines = self.log_lines();
        log_lines
            .iter()
            .position(|logged| logged == line)
            .unwrap_or_else(|| panic!("no `{line}` in {log_lines:#?}"))
    }
}

fn run_test<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    actix::System::new().block_on(async { test().await });
}

const TWO_BLOCKS: &str =
    "#+name: a\n#+begin_src sh\n#+end_src\n#+name: b\n#+begin_src sh :requires a :retry 1\n#+end_src\n";

#[test]
fn launches_and_updates_are_stored_before_they_are_accepted_and_acknowledged() {
    run_test(|| async {
        let mut env = TestEnv::new().await;
        env.submit(TWO_BLOCKS).await;
        env.offer();
        let launch = launches(&env.call(Type::Accept).await).remove(0);
        env.update(&launch, TaskState::Running);
        env.wait_for_state(1, "running").await;
        env.update(&launch, TaskState::Finished);
        env.wait_for_state(1, "finished").await;
        env.wait_for_state(2, "queued").await;
        for order in [
            ["save run", "save intent 1.1", "call ACCEPT 1.1"],
            ["save 1 running", "call ACKNOWLEDGE 1.1", "published 1 running"],
            ["published 1 running", "save 1 finished", "published 1 finished"],
        ] {
            let positions = order.map(|line| env.position(line));
            assert!(positions.is_sorted(), "{order:?} in {:#?}", env.log_lines());
        }
    });
}

#[test]
fn value_for_many_dependents_is_read_once() {
    const DOCUMENT: &str = "#+name: a\n#+begin_src sh\n#+end_src\n\
                       #+begin_src sh :var x=a\n#+end_src\n#+begin_src sh :var x=a\n#+end_src\n\
                       #+begin_src sh :var x=a\n#+end_src\n#+begin_src sh :var x=a\n#+end_src\n";
    run_test(|| async {
        let mut env = TestEnv::new().await;
        env.submit(DOCUMENT).await;
        env.offer();
        let launch = launches(&env.call(Type::Accept).await).remove(0);
        env.update(&launch, TaskState::Running);
        env.update(&launch, TaskState::Finished);
        env.wait_for_states(&[(2, "queued"), (3, "queued"), (4, "queued"), (5, "queued")]).await;
        env.offer();
        let mut launched = 0;
        while launched < 4 {
            launched += launches(&env.call(Type::Accept).await).len();
        }
        let log_lines = env.log_lines();
        let read = log_lines.iter().filter(|line| *line == "read block/stdout").count();
        assert_eq!(read, 1, "{log_lines:#?}");
    });
}

#[test]
fn update_that_cannot_be_stored_is_neither_acknowledged_nor_published() {
    run_test(|| async {
        let mut env = TestEnv::with_store(Arc::default(), true).await;
        env.submit(TWO_BLOCKS).await;
        env.offer();
        let launch = launches(&env.call(Type::Accept).await).remove(0);
        env.update(&launch, TaskState::Running);
        let fatal_error = env.fatal_errors.recv().await.unwrap();
        assert_eq!(fatal_error.reason, "the store cannot be written: no space left on device");
        let log_lines = env.log_lines();
        assert!(
            !log_lines.iter().any(|line| line.contains("ACKNOWLEDGE") || line == "published 1 running"),
            "{log_lines:#?}"
        );
    });
}

#[test]
fn failed_task_is_retried_as_a_new_launch_and_stale_launch_is_killed() {
    run_test(|| async {
        let mut env = TestEnv::new().await;
        env.submit("#+begin_src sh :retry 1 :backoff 1ms\n#+end_src\n").await;
        env.offer();
        let first = launches(&env.call(Type::Accept).await).remove(0);
        env.update(&first, TaskState::Running);
        env.update(&first, TaskState::Failed);
        env.wait_for_state(1, "delayed").await;
        env.wait_for_state(1, "queued").await;
        env.offer();
        let second = launches(&env.call(Type::Accept).await).remove(0);
        assert_eq!((short_ids(&first), short_ids(&second)), ("1.1".to_owned(), "1.2".to_owned()));
        // The first launch reappears.
        env.update(&first, TaskState::Running);
        let kill = env.call(Type::Kill).await.kill.unwrap();
        assert_eq!(kill.task_id.value, first);
    });
}

#[test]
fn lost_connection_is_restored_and_active_launches_are_reconciled() {
    run_test(|| async {
        let mut env = TestEnv::new().await;
        env.submit(TWO_BLOCKS).await;
        env.offer();
        let launch = launches(&env.call(Type::Accept).await).remove(0);
        env.update(&launch, TaskState::Running);
        env.wait_for_state(1, "running").await;
        env.stream.borrow_mut().take();
        let reconcile = env.call(Type::Reconcile).await.reconcile.unwrap();
        assert_eq!(reconcile.tasks[0].task_id.value, launch);
        assert!(env.position("call SUBSCRIBE") < env.position("call SUBSCRIBE again"));
    });
}

#[test]
fn rescinded_offer_is_not_accepted() {
    run_test(|| async {
        let mut env = TestEnv::new().await;
        env.offer();
        env.send_event(Event::Rescind("o1".to_owned()));
        env.submit(TWO_BLOCKS).await;
        env.offer();
        let accept = env.call(Type::Accept).await;
        assert_eq!(accept.accept.as_ref().unwrap().offer_ids[0].value, "o2");
        assert_eq!(short_ids(&launches(&accept).join(" ")), "1.1");
    });
}

#[test]
fn unknown_launch_is_killed_and_acknowledged() {
    run_test(|| async {
        let mut env = TestEnv::new().await;
        env.submit(TWO_BLOCKS).await;
        let unknown_launch = "0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff.1.1";
        env.update(unknown_launch, TaskState::Running);
        assert_eq!(env.call(Type::Kill).await.kill.unwrap().task_id.value, unknown_launch);
        assert_eq!(env.call(Type::Acknowledge).await.acknowledge.unwrap().task_id.value, unknown_launch);
    });
}

#[test]
fn kill_of_a_run_ends_running_and_blocked_tasks() {
    run_test(|| async {
        let mut env = TestEnv::new().await;
        env.submit("#+name: a\n#+begin_src sh\n#+end_src\n#+begin_src sh :after a\n#+end_src\n").await;
        env.offer();
        let launch = launches(&env.call(Type::Accept).await).remove(0);
        env.update(&launch, TaskState::Running);
        env.wait_for_state(1, "running").await;
        let run = launch.split_once('.').unwrap().0.parse().unwrap();
        assert!(env.engine.kill_run(run).await.unwrap());
        assert_eq!(env.call(Type::Kill).await.kill.unwrap().task_id.value, launch);
        env.update(&launch, TaskState::Killed);
        env.wait_for_state(1, "killed").await;
        let Some(LoggedEvent::Run(run_ended)) = env.events.next().await else { panic!("the run's end") };
        assert_eq!(run_ended.state, RunState::Killed);
        assert!(env.log_lines().contains(&"published 2 killed".to_owned()));
    });
}

/// A second engine on the store of the first reconciles running launches and does not run ended tasks again.
#[test]
fn restarted_engine_reconciles_running_launches_and_keeps_ended_tasks() {
    run_test(|| async {
        let memory_store = Arc::<Mutex<MemoryStore>>::default();
        let mut first = TestEnv::with_store(memory_store.clone(), false).await;
        let document = "#+name: a\n#+begin_src sh\n#+end_src\n#+name: b\n#+begin_src sh\n#+end_src\n\
                        #+name: c\n#+begin_src sh :mem 9999\n#+end_src\n\
                        #+name: d\n#+begin_src sh :requires a b\n#+end_src\n";
        first.submit(document).await;
        first.offer();
        let accepted = launches(&first.call(Type::Accept).await);
        assert_eq!(short_ids(&accepted.join(" ")), "1.1 2.1");
        first.update(&accepted[0], TaskState::Running);
        first.update(&accepted[0], TaskState::Finished);
        first.update(&accepted[1], TaskState::Running);
        first.wait_for_states(&[(1, "finished"), (2, "running")]).await;

        let mut second = TestEnv::with_store(memory_store, false).await;
        let reconcile = second.call(Type::Reconcile).await.reconcile.unwrap();
        let reconcile: Vec<_> = reconcile.tasks.into_iter().map(|task| task.task_id.value).collect();
        assert_eq!(reconcile, [accepted[1].clone()]);
        assert_eq!(second.position("call SUBSCRIBE again"), 0);
        second.update(&accepted[1], TaskState::Finished);
        second.wait_for_state(4, "queued").await;
        second.offer();
        let accepted = launches(&second.call(Type::Accept).await);
        assert_eq!(short_ids(&accepted.join(" ")), "4.1");
    });
}

/// A launch with only an intent may have been accepted. Only the cluster knows.
#[test]
fn launch_with_only_an_intent_is_reconciled_before_it_is_retried() {
    run_test(|| async {
        let memory_store = Arc::<Mutex<MemoryStore>>::default();
        let mut first = TestEnv::with_store(memory_store.clone(), false).await;
        first.submit(TWO_BLOCKS).await;
        first.offer();
        let launch = launches(&first.call(Type::Accept).await).remove(0);

        let mut second = TestEnv::with_store(memory_store, false).await;
        second.offer();
        let reconcile = second.call(Type::Reconcile).await.reconcile.unwrap();
        assert_eq!(reconcile.tasks[0].task_id.value, launch);
        assert!(!second.log_lines().iter().any(|line| line.contains("ACCEPT")), "{:#?}", second.log_lines());
        second.update(&launch, TaskState::Gone);
        second.wait_for_state(1, "queued").await;
        second.offer();
        assert_eq!(short_ids(&launches(&second.call(Type::Accept).await).join(" ")), "1.2");
    });
}

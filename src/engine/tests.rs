//! The order of things, seen from outside: a scripted cluster, a store that notes what it saves, and a
//! follower, all writing into one log.

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

fn note(log: &Log, line: String) {
    log.lock().unwrap().push(line);
}

/// A cluster that does only what the test says.
struct ScriptedCluster {
    log: Log,
    /// The current subscription's events.
    stream: Rc<RefCell<Option<UnboundedSender<Event>>>>,
    /// Calls, for the test to wait for.
    calls: UnboundedSender<Call>,
}

impl Master for ScriptedCluster {
    fn subscribe(&mut self, call: Call) -> LocalBoxFuture<'static, Result<Subscription, MasterError>> {
        let known = call.framework_id.is_some();
        note(&self.log, format!("call SUBSCRIBE{}", if known { " again" } else { "" }));
        let (sender, receiver) = mpsc::unbounded_channel();
        let heartbeat = Duration::from_secs(15);
        sender.send(Event::Subscribed { framework: "f".to_owned(), master: None, heartbeat }).unwrap();
        *self.stream.borrow_mut() = Some(sender);
        let events = tokio_stream(receiver).map(Ok).boxed_local();
        ready(Ok(Subscription { events })).boxed_local()
    }

    fn call(&mut self, call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>> {
        let kind = Type::try_from(call.r#type.unwrap()).unwrap();
        let about = match kind {
            Type::Acknowledge => call.acknowledge.as_ref().map(|call| call.task_id.value.clone()),
            Type::Kill => call.kill.as_ref().map(|call| call.task_id.value.clone()),
            Type::Reconcile => {
                let tasks = &call.reconcile.as_ref().unwrap().tasks;
                Some(tasks.iter().map(|task| task.task_id.value.clone()).collect::<Vec<_>>().join(" "))
            }
            Type::Accept => Some(launches(&call).join(" ")),
            _ => None,
        };
        let about = about.map(|about| format!(" {}", short(&about))).unwrap_or_default();
        note(&self.log, format!("call {}{about}", kind.as_str_name()));
        self.calls.send(call).ok();
        ready(Ok(())).boxed_local()
    }
}

fn tokio_stream<T>(mut receiver: UnboundedReceiver<T>) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
}

fn launches(call: &Call) -> Vec<String> {
    let accept = call.accept.as_ref().unwrap();
    let tasks = accept.operations.iter().flat_map(|operation| &operation.launch.as_ref().unwrap().task_infos);
    tasks.map(|task| task.task_id.value.clone()).collect()
}

/// `RUN.N.K` without the run.
fn short(ids: &str) -> String {
    ids.split(' ').map(|id| id.split_once('.').map_or(id, |(_, rest)| rest)).collect::<Vec<_>>().join(" ")
}

struct RecordingStore {
    log: Log,
    /// Outlives an engine, as a disk does.
    disk: Arc<Mutex<MemoryStore>>,
    /// Refuses whatever becomes of a task: saves share commits, so they cannot be counted.
    full: bool,
}

impl Store for RecordingStore {
    fn commit(&mut self, writes: &[WriteOp]) -> Result<(), StoreError> {
        if self.full && writes.iter().any(|write| matches!(write, WriteOp::Task(_))) {
            return Err(StoreError::Io {
                operation: "written",
                reason: "no space left on device".to_owned(),
            });
        }
        for write in writes {
            note(
                &self.log,
                match write {
                    WriteOp::MarkRun(_, mark) => format!("save {mark:?}"),
                    WriteOp::Events(_) => continue,
                    WriteOp::Run(_) => "save run".to_owned(),
                    WriteOp::Intents(intents) => {
                        let ids: Vec<_> = intents.iter().map(|intent| intent.launch.to_string()).collect();
                        format!("save intent {}", short(&ids.join(" ")))
                    }
                    WriteOp::Task(task) => format!("save {} {}", task.id.number, task.state),
                    WriteOp::Results(results) => format!("save {} results", results.len()),
                    WriteOp::Framework(_) => "save framework".to_owned(),
                    WriteOp::DeleteRuns(runs) => format!("forget {} runs", runs.len()),
                },
            );
        }
        self.disk.lock().unwrap().commit(writes)
    }

    fn load(&self) -> Result<Snapshot, StoreError> {
        self.disk.lock().unwrap().load()
    }

    fn task(&self, task: borges_task::TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.disk.lock().unwrap().task(task)
    }

    fn results(&self, run: borges_task::RunId) -> Result<Vec<borges_store::ResultRecord>, StoreError> {
        self.disk.lock().unwrap().results(run)
    }

    fn events(&self, after: u64) -> Result<Vec<LoggedEvent>, StoreError> {
        self.disk.lock().unwrap().events(after)
    }
}

/// Every launch ended with exit code 3, and printed that. What is read is noted, and takes a moment.
struct FixedExitSandbox(Log);

impl Sandbox for FixedExitSandbox {
    fn read(
        &self,
        _: &SandboxLocation,
        path: &str,
        _: u64,
        _: usize,
    ) -> LocalBoxFuture<'static, Result<Chunk, SandboxError>> {
        note(&self.0, format!("read {path}"));
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
    entries: LocalBoxStream<'static, LoggedEvent>,
    breaks: UnboundedReceiver<FatalError>,
    engine: Engine,
    offers: u32,
}

impl TestEnv {
    async fn new() -> Self {
        Self::with_disk(Arc::default(), false).await
    }

    async fn with_disk(disk: Arc<Mutex<MemoryStore>>, full: bool) -> Self {
        let log = Log::default();
        let stream = Rc::new(RefCell::new(None));
        let (calls, made) = mpsc::unbounded_channel();
        let master = ScriptedCluster { log: log.clone(), stream: stream.clone(), calls };
        let store = RecordingStore { log: log.clone(), disk, full };
        let (engine, breaks) = Engine::start(EngineParts {
            store: Box::new(store),
            master: Box::new(master),
            sandbox: Rc::new(FixedExitSandbox(log.clone())),
            framework: FrameworkInfo::default(),
            keep: Retention::default(),
            keeps_results: false,
            cache: None,
            clock: Clock::system(),
        })
        .unwrap();
        let entries = engine.follow(None).entries().boxed_local();
        while stream.borrow().is_none() {
            tokio::task::yield_now().await;
        }
        Self { log, stream, calls: made, entries, breaks, engine, offers: 0 }
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

    fn say(&self, event: Event) {
        self.stream.borrow().as_ref().unwrap().send(event).unwrap();
    }

    fn offer(&mut self) {
        self.offers += 1;
        let free = Quantities { milli_cpus: 4000, mem_mib: 1024, ..Quantities::default() };
        self.say(Event::Offers(vec![Offer {
            id: OfferId { value: format!("o{}", self.offers) },
            framework_id: FrameworkId { value: "f".to_owned() },
            agent_id: AgentId { value: "a".to_owned() },
            hostname: "h".to_owned(),
            resources: free.to_resources(Some("*")),
            ..Offer::default()
        }]));
    }

    fn update(&self, launch: &str, state: TaskState) {
        self.say(Event::Update(Box::new(
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

    /// Waits until the follower hears that task `number` is in `state`.
    async fn hear(&mut self, number: u32, state: &str) {
        self.hear_all(&[(number, state)]).await;
    }

    /// The same for several, in any order.
    async fn hear_all(&mut self, wanted: &[(u32, &str)]) {
        let mut wanted = wanted.to_vec();
        while !wanted.is_empty() {
            match self.entries.next().await.unwrap() {
                LoggedEvent::Task(frame) => {
                    note(&self.log, format!("told {} {}", frame.task.number, frame.state));
                    let heard = (frame.task.number, frame.state.to_string());
                    wanted.retain(|(number, state)| (*number, *state) != (heard.0, heard.1.as_str()));
                }
                LoggedEvent::Run(ended) => note(&self.log, format!("told the run {:?}", ended.state)),
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The place of a line in the log; the first one, which must be there.
    fn place(&self, line: &str) -> usize {
        let lines = self.lines();
        lines.iter().position(|noted| noted == line).unwrap_or_else(|| panic!("no `{line}` in {lines:#?}"))
    }
}

fn on_stage<F: Future<Output = ()>>(play: impl FnOnce() -> F) {
    actix::System::new().block_on(async { play().await });
}

const TWO: &str =
    "#+name: a\n#+begin_src sh\n#+end_src\n#+name: b\n#+begin_src sh :requires a :retry 1\n#+end_src\n";

#[test]
fn saved_then_accepted_and_saved_then_acknowledged_then_told() {
    on_stage(|| async {
        let mut stage = TestEnv::new().await;
        stage.submit(TWO).await;
        stage.offer();
        let launch = launches(&stage.call(Type::Accept).await).remove(0);
        stage.update(&launch, TaskState::Running);
        stage.hear(1, "running").await;
        stage.update(&launch, TaskState::Finished);
        stage.hear(1, "finished").await;
        stage.hear(2, "queued").await;
        for order in [
            ["save run", "save intent 1.1", "call ACCEPT 1.1"],
            ["save 1 running", "call ACKNOWLEDGE 1.1", "told 1 running"],
            ["told 1 running", "save 1 finished", "told 1 finished"],
        ] {
            let places = order.map(|line| stage.place(line));
            assert!(places.is_sorted(), "{order:?} in {:#?}", stage.lines());
        }
    });
}

/// What it takes to hand a value on does not grow with how many it goes into.
#[test]
fn what_goes_into_many_is_read_once() {
    const FAN: &str = "#+name: a\n#+begin_src sh\n#+end_src\n\
                       #+begin_src sh :var x=a\n#+end_src\n#+begin_src sh :var x=a\n#+end_src\n\
                       #+begin_src sh :var x=a\n#+end_src\n#+begin_src sh :var x=a\n#+end_src\n";
    on_stage(|| async {
        let mut stage = TestEnv::new().await;
        stage.submit(FAN).await;
        stage.offer();
        let launch = launches(&stage.call(Type::Accept).await).remove(0);
        stage.update(&launch, TaskState::Running);
        stage.update(&launch, TaskState::Finished);
        stage.hear_all(&[(2, "queued"), (3, "queued"), (4, "queued"), (5, "queued")]).await;
        stage.offer();
        let mut launched = 0;
        while launched < 4 {
            launched += launches(&stage.call(Type::Accept).await).len();
        }
        let lines = stage.lines();
        let read = lines.iter().filter(|line| *line == "read block/stdout").count();
        assert_eq!(read, 1, "{lines:#?}");
    });
}

#[test]
fn what_cannot_be_saved_is_neither_acknowledged_nor_told() {
    on_stage(|| async {
        let mut stage = TestEnv::with_disk(Arc::default(), true).await;
        stage.submit(TWO).await;
        stage.offer();
        let launch = launches(&stage.call(Type::Accept).await).remove(0);
        stage.update(&launch, TaskState::Running);
        let broken = stage.breaks.recv().await.unwrap();
        assert_eq!(broken.reason, "the store cannot be written: no space left on device");
        let lines = stage.lines();
        assert!(
            !lines.iter().any(|line| line.contains("ACKNOWLEDGE") || line == "told 1 running"),
            "{lines:#?}"
        );
    });
}

#[test]
fn a_failure_is_tried_again_under_a_new_launch_and_its_old_one_is_killed_where_it_lives() {
    on_stage(|| async {
        let mut stage = TestEnv::new().await;
        stage.submit("#+begin_src sh :retry 1 :backoff 1ms\n#+end_src\n").await;
        stage.offer();
        let first = launches(&stage.call(Type::Accept).await).remove(0);
        stage.update(&first, TaskState::Running);
        stage.update(&first, TaskState::Failed);
        stage.hear(1, "delayed").await;
        stage.hear(1, "queued").await;
        stage.offer();
        let second = launches(&stage.call(Type::Accept).await).remove(0);
        assert_eq!((short(&first), short(&second)), ("1.1".to_owned(), "1.2".to_owned()));
        // The first comes back from the dead.
        stage.update(&first, TaskState::Running);
        let kill = stage.call(Type::Kill).await.kill.unwrap();
        assert_eq!(kill.task_id.value, first);
    });
}

#[test]
fn a_lost_connection_is_sought_again_and_what_is_out_is_asked_about() {
    on_stage(|| async {
        let mut stage = TestEnv::new().await;
        stage.submit(TWO).await;
        stage.offer();
        let launch = launches(&stage.call(Type::Accept).await).remove(0);
        stage.update(&launch, TaskState::Running);
        stage.hear(1, "running").await;
        stage.stream.borrow_mut().take();
        let asked = stage.call(Type::Reconcile).await.reconcile.unwrap();
        assert_eq!(asked.tasks[0].task_id.value, launch);
        assert!(stage.place("call SUBSCRIBE") < stage.place("call SUBSCRIBE again"));
    });
}

#[test]
fn an_offer_that_is_gone_costs_nothing() {
    on_stage(|| async {
        let mut stage = TestEnv::new().await;
        stage.offer();
        stage.say(Event::Rescind("o1".to_owned()));
        stage.submit(TWO).await;
        stage.offer();
        let accept = stage.call(Type::Accept).await;
        assert_eq!(accept.accept.as_ref().unwrap().offer_ids[0].value, "o2");
        assert_eq!(short(&launches(&accept).join(" ")), "1.1");
    });
}

#[test]
fn what_nobody_knows_is_killed_and_acknowledged() {
    on_stage(|| async {
        let mut stage = TestEnv::new().await;
        stage.submit(TWO).await;
        let stranger = "0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff.1.1";
        stage.update(stranger, TaskState::Running);
        assert_eq!(stage.call(Type::Kill).await.kill.unwrap().task_id.value, stranger);
        assert_eq!(stage.call(Type::Acknowledge).await.acknowledge.unwrap().task_id.value, stranger);
    });
}

#[test]
fn a_kill_reaches_what_runs_and_what_waits() {
    on_stage(|| async {
        let mut stage = TestEnv::new().await;
        stage.submit("#+name: a\n#+begin_src sh\n#+end_src\n#+begin_src sh :after a\n#+end_src\n").await;
        stage.offer();
        let launch = launches(&stage.call(Type::Accept).await).remove(0);
        stage.update(&launch, TaskState::Running);
        stage.hear(1, "running").await;
        let run = launch.split_once('.').unwrap().0.parse().unwrap();
        assert!(stage.engine.kill_run(run).await.unwrap());
        assert_eq!(stage.call(Type::Kill).await.kill.unwrap().task_id.value, launch);
        stage.update(&launch, TaskState::Killed);
        stage.hear(1, "killed").await;
        let Some(LoggedEvent::Run(ended)) = stage.entries.next().await else { panic!("the run's end") };
        assert_eq!(ended.state, RunState::Killed);
        assert!(stage.lines().contains(&"told 2 killed".to_owned()));
    });
}

/// A second engine on the disk of the first: what ran is asked about, what was meant is asked about, and what
/// ended is not run again.
#[test]
fn a_second_life_goes_on_where_the_first_ended() {
    on_stage(|| async {
        let disk = Arc::<Mutex<MemoryStore>>::default();
        let mut first = TestEnv::with_disk(disk.clone(), false).await;
        let document = "#+name: a\n#+begin_src sh\n#+end_src\n#+name: b\n#+begin_src sh\n#+end_src\n\
                        #+name: c\n#+begin_src sh :mem 9999\n#+end_src\n\
                        #+name: d\n#+begin_src sh :requires a b\n#+end_src\n";
        first.submit(document).await;
        first.offer();
        let accepted = launches(&first.call(Type::Accept).await);
        assert_eq!(short(&accepted.join(" ")), "1.1 2.1");
        first.update(&accepted[0], TaskState::Running);
        first.update(&accepted[0], TaskState::Finished);
        first.update(&accepted[1], TaskState::Running);
        first.hear_all(&[(1, "finished"), (2, "running")]).await;

        let mut second = TestEnv::with_disk(disk, false).await;
        let asked = second.call(Type::Reconcile).await.reconcile.unwrap();
        let asked: Vec<_> = asked.tasks.into_iter().map(|task| task.task_id.value).collect();
        assert_eq!(asked, [accepted[1].clone()]);
        assert_eq!(second.place("call SUBSCRIBE again"), 0);
        second.update(&accepted[1], TaskState::Finished);
        second.hear(4, "queued").await;
        second.offer();
        let accepted = launches(&second.call(Type::Accept).await);
        assert_eq!(short(&accepted.join(" ")), "4.1");
    });
}

/// Of a launch that was meant, and perhaps accepted, nothing more was saved: only the cluster can tell.
#[test]
fn a_launch_that_was_only_meant_is_asked_about_before_it_is_made_again() {
    on_stage(|| async {
        let disk = Arc::<Mutex<MemoryStore>>::default();
        let mut first = TestEnv::with_disk(disk.clone(), false).await;
        first.submit(TWO).await;
        first.offer();
        let launch = launches(&first.call(Type::Accept).await).remove(0);

        let mut second = TestEnv::with_disk(disk, false).await;
        second.offer();
        let asked = second.call(Type::Reconcile).await.reconcile.unwrap();
        assert_eq!(asked.tasks[0].task_id.value, launch);
        assert!(!second.lines().iter().any(|line| line.contains("ACCEPT")), "{:#?}", second.lines());
        second.update(&launch, TaskState::Gone);
        second.hear(1, "queued").await;
        second.offer();
        assert_eq!(short(&launches(&second.call(Type::Accept).await).join(" ")), "1.2");
    });
}

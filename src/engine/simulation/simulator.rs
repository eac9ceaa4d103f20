//! One seed: lives of a server one after another, and what people do meanwhile.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{FutureExt, LocalBoxFuture, ready};
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use super::super::threading::Threading;
use super::super::{Engine, EngineParts, FatalError, Submission, failpoints};
use super::cluster::{Cluster, short_id};
use super::faulty_store::{CrashPoint, Disk, FaultyStore, OpOutcome};
use super::oracle::Oracle;
use borges_clock::Clock;
use borges_config::Retention;
use borges_mesos::messages::FrameworkInfo;
use borges_mesos::messages::scheduler::call::Type;
use borges_mesos::{
    Call, Chunk, Event, Master, MasterError, Sandbox, SandboxError, SandboxFile, SandboxLocation,
    Subscription,
};
use borges_org as org;
use borges_plan::{PlanOptions, plan};
use borges_task::RunId;

/// What came of a seed.
pub(super) struct Ended {
    pub(super) story: Vec<String>,
    pub(super) faults: Vec<String>,
}

/// What a person does at a time.
#[derive(Debug, Clone)]
enum UserAction {
    Submit { run: usize, document: String },
    KillTask { run: usize, number: u32 },
    KillRun { run: usize },
}

/// All that lasts longer than a life.
pub(super) struct Simulation {
    rng: fastrand::Rng,
    disk: Disk,
    cluster: Rc<RefCell<Cluster>>,
    deeds: VecDeque<(Duration, UserAction)>,
    /// The runs that were accepted, by the numbers they have in the deeds.
    runs: Rc<RefCell<BTreeMap<usize, RunId>>>,
    /// When the weather clears up.
    calm: Duration,
    /// Fuses of the lives to come; then there are ordinary ones.
    fuses: VecDeque<Arc<CrashPoint>>,
    /// How many lives may end by chance.
    deaths: u32,
}

/// A life is over: why.
enum ExitCause {
    Died,
    Broke(String),
    AllIsDone,
    TimeIsUp,
}

/// After the storm everything comes to its end within this time.
const PATIENCE: Duration = Duration::from_mins(90);

impl Simulation {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = Disk::default();
        let storm = rng.u32(0..8) != 0;
        let calm = Duration::from_secs(if storm { rng.u64(30..300) } else { 0 });
        let mut deeds = VecDeque::new();
        let mut services = Vec::new();
        for run in 0..rng.usize(1..4) {
            let (document, has_service) = document(&mut rng);
            let at = Duration::from_millis(rng.u64(0..60_000) * run as u64);
            deeds.push_back((at, UserAction::Submit { run, document }));
            if rng.u32(0..3) == 0 {
                let number = rng.u32(1..5);
                deeds.push_back((
                    at + Duration::from_secs(rng.u64(0..90)),
                    UserAction::KillTask { run, number },
                ));
            }
            if rng.u32(0..4) == 0 {
                deeds.push_back((at + Duration::from_secs(rng.u64(0..90)), UserAction::KillRun { run }));
            }
            if has_service {
                services.push((run, at.max(calm)));
            }
        }
        for (run, from) in services {
            deeds.push_back((from + Duration::from_secs(100), UserAction::KillRun { run }));
        }
        deeds.make_contiguous().sort_by_key(|(at, _)| *at);
        let deaths = if storm { rng.u32(0..4) } else { 0 };
        let ledger = Oracle::new(disk.clone(), calm);
        let cluster = Cluster::new(fastrand::Rng::with_seed(seed ^ 0xc1), ledger, storm);
        Self {
            rng,
            disk,
            cluster: Rc::new(RefCell::new(cluster)),
            deeds,
            runs: Rc::default(),
            calm,
            fuses: VecDeque::new(),
            deaths,
        }
    }

    /// This document, on a cluster where nothing goes wrong of itself; each life has its fuse.
    pub(super) fn scripted(seed: u64, document: &str, fuses: Vec<Arc<CrashPoint>>) -> Self {
        let disk = Disk::default();
        let cluster =
            Cluster::new(fastrand::Rng::with_seed(seed), Oracle::new(disk.clone(), Duration::ZERO), false);
        let deed = UserAction::Submit { run: 0, document: document.to_owned() };
        Self {
            rng: fastrand::Rng::with_seed(seed),
            disk,
            cluster: Rc::new(RefCell::new(cluster)),
            deeds: [(Duration::ZERO, deed)].into(),
            runs: Rc::default(),
            calm: Duration::ZERO,
            fuses: fuses.into(),
            deaths: 0,
        }
    }

    /// Everything, to its end.
    pub(super) fn run(mut self) -> Ended {
        let limit = self.calm + PATIENCE;
        for life in 0.. {
            let fuse = self.fuses.pop_front().unwrap_or_default();
            let dies = (self.deaths > life && self.fuses.is_empty())
                .then(|| Duration::from_secs_f64(self.rng.f64() * 60.0));
            // Now and then a supervisor does not bear what it hears.
            let panics = self.calm > Duration::ZERO && self.rng.u32(0..3) == 0;
            failpoints::panic_after(panics.then(|| self.rng.u32(1..60)));
            let over = self.live(&fuse, dies, limit);
            failpoints::panic_after(None);
            fuse.trip();
            let mut cluster = self.cluster.borrow_mut();
            cluster.disconnect();
            cluster.ledger.on_process_exit();
            let now = cluster.now;
            match over {
                ExitCause::AllIsDone => {
                    cluster.ledger.check_final_state();
                    let alive = cluster.alive();
                    if !alive.is_empty() {
                        cluster.ledger.faults.push(format!("still alive: {alive:?}"));
                    }
                    break;
                }
                ExitCause::TimeIsUp => {
                    cluster.ledger.faults.push(format!("not over after {} s", now.as_secs()));
                    cluster.ledger.check_final_state();
                    break;
                }
                ExitCause::Died => cluster.ledger.log(now, || "THE SERVER DIES".to_owned()),
                ExitCause::Broke(reason) => cluster.ledger.log(now, || format!("THE SERVER STOPS: {reason}")),
            }
            let down = Duration::from_secs_f64(self.rng.f64() * 20.0);
            cluster.advance(now + down);
            cluster.ledger.log(now + down, || "THE SERVER STARTS".to_owned());
        }
        let mut cluster = self.cluster.borrow_mut();
        Ended {
            story: std::mem::take(&mut cluster.ledger.story),
            faults: std::mem::take(&mut cluster.ledger.faults),
        }
    }

    /// One life of the server.
    fn live(&mut self, fuse: &Arc<CrashPoint>, dies: Option<Duration>, limit: Duration) -> ExitCause {
        let system = virtual_time_runtime();
        let seed = self.rng.u64(..);
        system.block_on(async {
            let began = self.cluster.borrow().now;
            self.cluster.borrow_mut().ledger.on_process_start(began);
            let time = Time { base: began, start: Instant::now() };
            let wake = Rc::new(Notify::new());
            let wall = SimulatedCluster { cluster: self.cluster.clone(), wake: wake.clone(), fuse: fuse.clone() };
            let started = Timestamp::UNIX_EPOCH.saturating_add(began).expect("early");
            let (engine, mut breaks) = Engine::start_on(
                EngineParts {
                    store: Box::new(FaultyStore { disk: self.disk.clone(), fuse: fuse.clone() }),
                    master: Box::new(wall.clone()),
                    sandbox: Rc::new(wall),
                    framework: FrameworkInfo::default(),
                    retention: Retention::default(),
                    index_results: true,
                    cache: None,
                    clock: Clock::tokio(started, seed),
                },
                Threading::Single,
            )
            .expect("the disk can be read");
            let heard = self.cluster.borrow().ledger.heard;
            let follow = hear(engine.subscribe(Some(heard)).events(), self.cluster.clone());
            let drive = drive(self.cluster.clone(), wake, time, self.calm);
            let people = people(&mut self.deeds, &self.runs, &self.cluster, &engine, time);
            let death = async {
                match dies {
                    Some(after) => tokio::time::sleep(after).await,
                    None => std::future::pending().await,
                }
            };
            let done = async {
                people.await;
                loop {
                    if self.cluster.borrow().ledger.all_ended() && self.cluster.borrow().alive().is_empty() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            tokio::select! {
                biased;
                () = fuse.over.notified() => ExitCause::Died,
                broken = breaks.recv() => ExitCause::Broke(broken.map_or_else(String::new, |FatalError { reason }| reason)),
                () = death => ExitCause::Died,
                () = drive => unreachable!("the cluster goes on"),
                () = follow => ExitCause::Died,
                () = done => ExitCause::AllIsDone,
                () = sleep_until(time.at(limit)) => ExitCause::TimeIsUp,
            }
        })
    }
}

/// A system in which nobody waits: time jumps to where something happens.
pub(super) fn virtual_time_runtime() -> actix::SystemRunner {
    actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime")
    })
}

/// The time of a life within that of the world.
#[derive(Clone, Copy)]
struct Time {
    base: Duration,
    start: Instant,
}

impl Time {
    fn now(self) -> Duration {
        self.base + self.start.elapsed()
    }

    fn at(self, at: Duration) -> Instant {
        self.start + at.saturating_sub(self.base)
    }
}

async fn drive(cluster: Rc<RefCell<Cluster>>, wake: Rc<Notify>, time: Time, calm: Duration) {
    loop {
        let next = cluster.borrow().next();
        tokio::select! {
            biased;
            () = wake.notified() => {}
            () = sleep_until(time.at(next)) => {}
        }
        let mut cluster = cluster.borrow_mut();
        cluster.storm &= time.now() < calm;
        cluster.advance(time.now());
    }
}

async fn hear(
    mut entries: impl futures_util::Stream<Item = borges_store::LoggedEvent> + Unpin,
    cluster: Rc<RefCell<Cluster>>,
) {
    while let Some(entry) = entries.next().await {
        cluster.borrow_mut().ledger.on_event(&entry);
    }
}

/// Does what is to be done; what was not answered is done again in the next life.
async fn people(
    deeds: &mut VecDeque<(Duration, UserAction)>,
    runs: &RefCell<BTreeMap<usize, RunId>>,
    cluster: &RefCell<Cluster>,
    engine: &Engine,
    time: Time,
) {
    while let Some((at, deed)) = deeds.front().cloned() {
        sleep_until(time.at(at)).await;
        cluster.borrow_mut().ledger.log(time.now(), || format!("{deed:?}"));
        let known = |run: usize| runs.borrow().get(&run).copied();
        let answered = match deed {
            UserAction::Submit { run, document } => {
                let source = Bytes::from(document);
                let plan = plan(&source, &org::parse(&source, &[]), &PlanOptions::default())
                    .expect("a good document");
                let submission = Submission {
                    title: String::new(),
                    document: source,
                    plan,
                    key: Some(format!("k{run}")),
                    caching: borges_plan::CacheMode::OptIn,
                };
                engine.submit(submission).await.map(|accepted| {
                    runs.borrow_mut().insert(run, accepted.run);
                    cluster.borrow_mut().ledger.accepted(accepted.run);
                })
            }
            UserAction::KillTask { run, number } => match known(run) {
                Some(run) => {
                    let task = run.task(number);
                    cluster.borrow_mut().ledger.kill_asked(time.now(), task);
                    engine.kill_task(task).await.map(drop)
                }
                None => Ok(()),
            },
            UserAction::KillRun { run } => match known(run) {
                Some(run) => {
                    cluster.borrow_mut().ledger.run_kill_asked(time.now(), run);
                    engine.kill_run(run).await.map(drop)
                }
                None => Ok(()),
            },
        };
        if let Err(error) = answered {
            cluster.borrow_mut().ledger.log(time.now(), || format!("not answered: {error}"));
            tokio::time::sleep(Duration::from_secs(1)).await;
        } else {
            deeds.pop_front();
        }
    }
}

/// The server's only doors to the world, but for the disk.
#[derive(Clone)]
struct SimulatedCluster {
    cluster: Rc<RefCell<Cluster>>,
    wake: Rc<Notify>,
    fuse: Arc<CrashPoint>,
}

impl Master for SimulatedCluster {
    fn subscribe(&mut self, _: Call) -> LocalBoxFuture<'static, Result<Subscription, MasterError>> {
        let silent = || MasterError::Timeout { master: "m".to_owned() };
        let verdict = self.fuse.hit(|| "subscribe".to_owned());
        if !matches!(verdict, OpOutcome::Done) {
            return ready(Err(silent())).boxed_local();
        }
        let (sender, mut receiver) = mpsc::unbounded_channel::<Event>();
        let mut cluster = self.cluster.borrow_mut();
        let is_open = cluster.subscribe(sender);
        let now = cluster.now;
        cluster.ledger.log(now, || format!("→ subscribe: {is_open}"));
        self.wake.notify_one();
        let events = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
        let events = events.map(Ok).boxed_local();
        ready(if is_open { Ok(Subscription { events }) } else { Err(silent()) }).boxed_local()
    }

    fn call(&mut self, call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>> {
        let words = words(&call);
        let silent = || MasterError::Timeout { master: "m".to_owned() };
        let verdict = self.fuse.hit(|| words.clone());
        if matches!(verdict, OpOutcome::Failed | OpOutcome::Nothing) {
            return ready(Err(silent())).boxed_local();
        }
        let mut cluster = self.cluster.borrow_mut();
        let now = cluster.now;
        if !words.starts_with("decline") {
            cluster.ledger.log(now, || format!("→ {words}"));
        }
        match Type::try_from(call.r#type.unwrap_or_default()) {
            Ok(Type::Accept) => cluster.ledger.accepts(&launches(&call)),
            Ok(Type::Acknowledge) => {
                let acknowledged = call.acknowledge.as_ref().expect("it is one");
                if let Some(update) = cluster.acknowledged(&acknowledged.task_id.value, &acknowledged.uuid) {
                    cluster.ledger.acknowledges(&update);
                }
            }
            _ => {}
        }
        cluster.call(call);
        self.wake.notify_one();
        ready(Ok(())).boxed_local()
    }
}

impl Sandbox for SimulatedCluster {
    fn read(
        &self,
        place: &SandboxLocation,
        path: &str,
        _: u64,
        _: usize,
    ) -> LocalBoxFuture<'static, Result<Chunk, SandboxError>> {
        let launch = &place.executor;
        let verdict = self.fuse.hit(|| format!("read {path} of {}", short_id(launch)));
        let cluster = self.cluster.borrow();
        let is_reached = cluster.is_reached(launch) && verdict == OpOutcome::Done;
        let read = match cluster.ledger.exit_file(launch) {
            _ if !is_reached => {
                Err(SandboxError::Unreachable { agent: place.agent.clone(), message: "not now".to_owned() })
            }
            Some(text) => Ok(Chunk { offset: 0, size: text.len() as u64, bytes: Bytes::from(text) }),
            None => Err(SandboxError::Missing(path.to_owned())),
        };
        ready(read).boxed_local()
    }

    fn list(
        &self,
        _: &SandboxLocation,
        path: &str,
    ) -> LocalBoxFuture<'static, Result<Vec<SandboxFile>, SandboxError>> {
        ready(Err(SandboxError::Missing(path.to_owned()))).boxed_local()
    }
}

/// The launches of an ACCEPT, and their agents.
pub(super) fn launches(call: &Call) -> Vec<(String, String)> {
    let accept = call.accept.as_ref().expect("it is one");
    let tasks = accept.operations.iter().flat_map(|o| o.launch.iter().flat_map(|l| &l.task_infos));
    tasks.map(|task| (task.task_id.value.clone(), task.agent_id.value.clone())).collect()
}

pub(super) fn words(call: &Call) -> String {
    let kind = Type::try_from(call.r#type.unwrap_or_default()).expect("a kind").as_str_name().to_lowercase();
    let about: Vec<String> = match (&call.accept, &call.acknowledge, &call.kill, &call.reconcile) {
        (Some(_), ..) => launches(call).into_iter().map(|(launch, _)| launch).collect(),
        (_, Some(call), ..) => vec![call.task_id.value.clone()],
        (_, _, Some(call), _) => vec![call.task_id.value.clone()],
        (.., Some(call)) => call.tasks.iter().map(|task| task.task_id.value.clone()).collect(),
        _ => Vec::new(),
    };
    let about: Vec<&str> = about.iter().map(|launch| short_id(launch)).collect();
    format!("{kind} {}", about.join(" "))
}

/// A document of some blocks that wait for one another, fail and are tried again; and whether one of them would
/// never end.
fn document(rng: &mut fastrand::Rng) -> (String, bool) {
    let (mut text, mut has_service) = (String::new(), false);
    // All of a document that have constraints have the same: they are compared with one another.
    let constraint = *rng
        .choice(&["hostname:UNIQUE", "rack:CLUSTER", "rack:GROUP_BY", "hostname:MAX_PER:2", "rack:LIKE:r."])
        .expect("some");
    for block in 1..=rng.u32(1..8) {
        let mut arguments = String::new();
        let mut service = false;
        match rng.u32(0..12) {
            0..2 => arguments += &format!(" :retry {}", rng.u32(1..4)),
            3 => arguments += " :retry 2 :retry-on 75 3",
            2 | 4 => {
                arguments += " :ensure it-keeps-running";
                service = true;
            }
            5 => arguments += " :on-partition replace :retry 1",
            6 => arguments += " :on-partition fail",
            _ => {}
        }
        if arguments.contains("retry") && rng.bool() {
            arguments += " :backoff 2s";
        }
        if block > 1 && rng.bool() {
            let other = rng.u32(1..block);
            let kind = *rng.choice(&[":requires", ":after"]).expect("two");
            // What comes after a service's end would wait until that is killed: so it does.
            arguments += &format!(" {kind} b{other}");
        }
        match rng.u32(0..4) {
            0 => arguments += " :cpu 0.5 :mem 64",
            1 => arguments += " :cpu 1 :mem 128",
            _ => {}
        }
        match rng.u32(0..8) {
            0 => arguments += " :expose 8000",
            1 => arguments += " :expose 0",
            2..4 => arguments += &format!(" :constraint {constraint}"),
            _ => {}
        }
        has_service |= service;
        text += &format!("#+name: b{block}\n#+begin_src sh{arguments}\ntrue\n#+end_src\n");
    }
    (text, has_service)
}

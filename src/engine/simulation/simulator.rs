//! The simulation of one seed: server processes one after another, and the actions of users.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::super::threading::Threading;
use super::super::{Engine, EngineParts, FatalError, Submission, failpoints};
use super::adapter::SimulatedCluster;
use super::cluster::Cluster;
use super::faulty_store::{CrashPoint, Disk, FaultyStore};
use super::invariants::{Invariant, Violation};
use super::oracle::Oracle;
use borges_clock::Clock;
use borges_config::Retention;
use borges_mesos::messages::FrameworkInfo;
use borges_org as org;
use borges_plan::{PlanOptions, plan};
use borges_task::RunId;

/// The outcome of a simulation.
pub(super) struct Outcome {
    pub(super) trace: Vec<String>,
    pub(super) violations: Vec<Violation>,
}

/// An action of a user.
#[derive(Debug, Clone)]
enum UserAction {
    Submit { run: usize, document: String },
    KillTask { run: usize, number: u32 },
    KillRun { run: usize },
}

/// The state that outlives a server process.
pub(super) struct Simulation {
    rng: fastrand::Rng,
    disk: Disk,
    cluster: Rc<RefCell<Cluster>>,
    user_actions: VecDeque<(Duration, UserAction)>,
    /// The runs that were accepted, by their numbers in the user actions.
    runs: Rc<RefCell<BTreeMap<usize, RunId>>>,
    /// The time after which no faults are injected.
    faults_end: Duration,
    /// The crash points of the next processes. Later processes have none.
    crash_points: VecDeque<Arc<CrashPoint>>,
    /// The number of processes that crash at a random time.
    crashes: u32,
}

/// Why a server process has ended.
enum ExitCause {
    Crashed,
    Fatal(String),
    Finished,
    TimedOut,
}

/// Without faults, all runs end within this time.
const TIME_LIMIT: Duration = Duration::from_mins(90);

impl Simulation {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = Disk::default();
        let faults_enabled = rng.u32(0..8) != 0;
        let faults_end = Duration::from_secs(if faults_enabled { rng.u64(30..300) } else { 0 });
        let mut user_actions = VecDeque::new();
        let mut services = Vec::new();
        for run in 0..rng.usize(1..4) {
            let (document, has_service) = document(&mut rng);
            let at = Duration::from_millis(rng.u64(0..60_000) * run as u64);
            user_actions.push_back((at, UserAction::Submit { run, document }));
            if rng.u32(0..3) == 0 {
                let number = rng.u32(1..5);
                user_actions.push_back((
                    at + Duration::from_secs(rng.u64(0..90)),
                    UserAction::KillTask { run, number },
                ));
            }
            if rng.u32(0..4) == 0 {
                user_actions
                    .push_back((at + Duration::from_secs(rng.u64(0..90)), UserAction::KillRun { run }));
            }
            if has_service {
                services.push((run, at.max(faults_end)));
            }
        }
        for (run, from) in services {
            user_actions.push_back((from + Duration::from_secs(100), UserAction::KillRun { run }));
        }
        user_actions.make_contiguous().sort_by_key(|(at, _)| *at);
        let crashes = if faults_enabled { rng.u32(0..4) } else { 0 };
        let oracle = Oracle::new(disk.clone(), faults_end);
        let cluster = Cluster::new(fastrand::Rng::with_seed(seed ^ 0xc1), oracle, faults_enabled);
        Self {
            rng,
            disk,
            cluster: Rc::new(RefCell::new(cluster)),
            user_actions,
            runs: Rc::default(),
            faults_end,
            crash_points: VecDeque::new(),
            crashes,
        }
    }

    /// Runs one document on a cluster without faults. Each process has its crash point.
    pub(super) fn scripted(seed: u64, document: &str, crash_points: Vec<Arc<CrashPoint>>) -> Self {
        let disk = Disk::default();
        let cluster =
            Cluster::new(fastrand::Rng::with_seed(seed), Oracle::new(disk.clone(), Duration::ZERO), false);
        let action = UserAction::Submit { run: 0, document: document.to_owned() };
        Self {
            rng: fastrand::Rng::with_seed(seed),
            disk,
            cluster: Rc::new(RefCell::new(cluster)),
            user_actions: [(Duration::ZERO, action)].into(),
            runs: Rc::default(),
            faults_end: Duration::ZERO,
            crash_points: crash_points.into(),
            crashes: 0,
        }
    }

    /// Runs the simulation to its end.
    pub(super) fn run(mut self) -> Outcome {
        let limit = self.faults_end + TIME_LIMIT;
        for process in 0.. {
            let crash_point = self.crash_points.pop_front().unwrap_or_default();
            let crash_after = (self.crashes > process && self.crash_points.is_empty())
                .then(|| Duration::from_secs_f64(self.rng.f64() * 60.0));
            // In some processes a supervisor panics.
            let panics = self.faults_end > Duration::ZERO && self.rng.u32(0..3) == 0;
            failpoints::panic_after(panics.then(|| self.rng.u32(1..60)));
            let exit_cause = self.run_process(&crash_point, crash_after, limit);
            failpoints::panic_after(None);
            crash_point.trip();
            let mut cluster = self.cluster.borrow_mut();
            cluster.disconnect();
            cluster.oracle.on_process_exit();
            let now = cluster.now;
            match exit_cause {
                ExitCause::Finished => {
                    cluster.oracle.check_final_state();
                    let active = cluster.active();
                    if !active.is_empty() {
                        let message = format!("still active: {active:?}");
                        cluster.oracle.violation(Invariant::NoOrphanedLaunch, message);
                    }
                    break;
                }
                ExitCause::TimedOut => {
                    let message = format!("not finished after {} s", now.as_secs());
                    cluster.oracle.violation(Invariant::Termination, message);
                    cluster.oracle.check_final_state();
                    break;
                }
                ExitCause::Crashed => cluster.oracle.log(now, || "THE SERVER CRASHES".to_owned()),
                ExitCause::Fatal(reason) => cluster.oracle.log(now, || format!("THE SERVER STOPS: {reason}")),
            }
            let downtime = Duration::from_secs_f64(self.rng.f64() * 20.0);
            cluster.advance(now + downtime);
            cluster.oracle.log(now + downtime, || "THE SERVER STARTS".to_owned());
        }
        let mut cluster = self.cluster.borrow_mut();
        Outcome {
            trace: std::mem::take(&mut cluster.oracle.trace),
            violations: std::mem::take(&mut cluster.oracle.violations),
        }
    }

    /// Runs one server process.
    fn run_process(
        &mut self,
        crash_point: &Arc<CrashPoint>,
        crash_after: Option<Duration>,
        limit: Duration,
    ) -> ExitCause {
        let system = virtual_time_runtime();
        let seed = self.rng.u64(..);
        system.block_on(async {
            let start = self.cluster.borrow().now;
            self.cluster.borrow_mut().oracle.on_process_start(start);
            let time = Time { base: start, start: Instant::now() };
            let wake = Rc::new(Notify::new());
            let master = SimulatedCluster { cluster: self.cluster.clone(), wake: wake.clone(), crash_point: crash_point.clone() };
            let started = Timestamp::UNIX_EPOCH.saturating_add(start).expect("early");
            let (engine, mut fatal_errors) = Engine::start_on(
                EngineParts {
                    store: Box::new(FaultyStore { disk: self.disk.clone(), crash_point: crash_point.clone() }),
                    master: Box::new(master.clone()),
                    sandbox: Rc::new(master),
                    framework: FrameworkInfo::default(),
                    retention: Retention::default(),
                    index_results: true,
                    cache: None,
                    clock: Clock::tokio(started, seed),
                },
                Threading::Single,
            )
            .expect("the disk can be read");
            let last_seq = self.cluster.borrow().oracle.last_seq;
            let check_events = check_events(engine.subscribe(Some(last_seq)).events(), self.cluster.clone());
            let drive_cluster = drive_cluster(self.cluster.clone(), wake, time, self.faults_end);
            let act_as_users = act_as_users(&mut self.user_actions, &self.runs, &self.cluster, &engine, time);
            let crash = async {
                match crash_after {
                    Some(after) => tokio::time::sleep(after).await,
                    None => std::future::pending().await,
                }
            };
            let completion = async {
                act_as_users.await;
                loop {
                    if self.cluster.borrow().oracle.all_ended() && self.cluster.borrow().active().is_empty() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            tokio::select! {
                biased;
                () = crash_point.crashed.notified() => ExitCause::Crashed,
                fatal_error = fatal_errors.recv() => ExitCause::Fatal(fatal_error.map_or_else(String::new, |FatalError { reason }| reason)),
                () = crash => ExitCause::Crashed,
                () = drive_cluster => unreachable!("the cluster goes on"),
                () = check_events => ExitCause::Crashed,
                () = completion => ExitCause::Finished,
                () = sleep_until(time.at(limit)) => ExitCause::TimedOut,
            }
        })
    }
}

/// A system with a virtual clock, which jumps to the next timer when all tasks wait.
pub(super) fn virtual_time_runtime() -> actix::SystemRunner {
    actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime")
    })
}

/// The time of the simulation during one server process.
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

async fn drive_cluster(cluster: Rc<RefCell<Cluster>>, wake: Rc<Notify>, time: Time, faults_end: Duration) {
    loop {
        let next = cluster.borrow().next();
        tokio::select! {
            biased;
            () = wake.notified() => {}
            () = sleep_until(time.at(next)) => {}
        }
        let mut cluster = cluster.borrow_mut();
        cluster.faults_enabled &= time.now() < faults_end;
        cluster.advance(time.now());
    }
}

async fn check_events(
    mut events: impl futures_util::Stream<Item = borges_store::LoggedEvent> + Unpin,
    cluster: Rc<RefCell<Cluster>>,
) {
    while let Some(event) = events.next().await {
        cluster.borrow_mut().oracle.on_event(&event);
    }
}

/// Performs the user actions. An action without an answer is repeated in the next process.
async fn act_as_users(
    user_actions: &mut VecDeque<(Duration, UserAction)>,
    runs: &RefCell<BTreeMap<usize, RunId>>,
    cluster: &RefCell<Cluster>,
    engine: &Engine,
    time: Time,
) {
    while let Some((at, action)) = user_actions.front().cloned() {
        sleep_until(time.at(at)).await;
        cluster.borrow_mut().oracle.log(time.now(), || format!("{action:?}"));
        let run_id = |run: usize| runs.borrow().get(&run).copied();
        let result = match action {
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
                    cluster.borrow_mut().oracle.on_run_accepted(accepted.run);
                })
            }
            UserAction::KillTask { run, number } => match run_id(run) {
                Some(run) => {
                    let task = run.task(number);
                    cluster.borrow_mut().oracle.on_kill_task(time.now(), task);
                    engine.kill_task(task).await.map(drop)
                }
                None => Ok(()),
            },
            UserAction::KillRun { run } => match run_id(run) {
                Some(run) => {
                    cluster.borrow_mut().oracle.on_kill_run(time.now(), run);
                    engine.kill_run(run).await.map(drop)
                }
                None => Ok(()),
            },
        };
        if let Err(error) = result {
            cluster.borrow_mut().oracle.log(time.now(), || format!("not answered: {error}"));
            tokio::time::sleep(Duration::from_secs(1)).await;
        } else {
            user_actions.pop_front();
        }
    }
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

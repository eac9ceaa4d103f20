//! A scripted run on the embedded cluster: the real scheduler and the real agent on a simulated machine.
//!
//! The agent crashes before each of its operations and in the middle of each write, and each operation fails once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{FutureExt, LocalBoxFuture, ready};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::super::threading::Threading;
use super::super::{Engine, EngineParts, Submission};
use super::adapter::{describe_call, launches};
use super::crash_points::{count_by_kind, document};
use super::env_number;
use super::faulty_store::{CrashPoint, Disk, FaultyStore};
use super::invariants::{Invariant, Violation};
use super::oracle::{End, Oracle};
use super::simulator::virtual_time_runtime;
use borges_clock::Clock;
use borges_config::Retention;
use borges_embedded::LocalSandbox;
use borges_embedded::simulated_machine::{FaultMode, LaunchEvent, Machine, forget_unstarted};
use borges_mesos::messages::FrameworkInfo;
use borges_mesos::messages::framework_info::{Capability, capability};
use borges_mesos::messages::scheduler::call::Type;
use borges_mesos::{Call, Master, MasterError, Subscription};
use borges_org as org;
use borges_plan::{PlanOptions, plan};
use borges_task::LaunchId;

/// A run ends within this time.
const TIME_LIMIT: Duration = Duration::from_mins(30);

/// By default every seventh operation is tested. `integration/check` tests all.
const OPERATION_STEP: usize = 7;

/// The run time and exit code of a launch. Some blocks fail once or twice, some always.
fn scripted_exit(launch: &str) -> (Duration, i32) {
    let launch: LaunchId = launch.parse().unwrap();
    let (number, attempt) = (launch.task.number, launch.attempt);
    let code = match number % 6 {
        1 if attempt < 1 + number % 4 => 1,
        3 if attempt == 1 => 75,
        5 if number % 4 == 1 => 4,
        _ => 0,
    };
    (Duration::from_millis(u64::from(number * 37 % 11) * 120), code)
}

/// The outcome of a run.
struct Outcome {
    operations: Vec<String>,
    violations: Vec<Violation>,
    /// Whether the agent has crashed.
    agent_crashed: bool,
    trace: Vec<String>,
}

/// The simulated machine and the oracle.
struct EmbeddedCluster {
    machine: Machine,
    oracle: Oracle,
    agent_crashed: bool,
}

impl EmbeddedCluster {
    /// Advances the time.
    fn advance(&mut self, now: Duration) {
        self.machine.advance(now);
        self.record_events();
    }

    /// Passes the events of the machine to the oracle.
    fn record_events(&mut self) {
        for (at, event) in self.machine.take_launch_events() {
            match event {
                LaunchEvent::Started(launch) => self.oracle.on_launch_started(at, &launch),
                LaunchEvent::Ended(launch, code) => self.oracle.on_launch_ended(at, &launch, End::Exit(code)),
                LaunchEvent::NotStarted(launch) => {
                    self.oracle.on_launch_ended(at, &launch, End::NotStarted);
                }
                LaunchEvent::AgentDied(operation) => {
                    self.agent_crashed = true;
                    self.oracle.log(at, || format!("THE AGENT DIES at {operation}"));
                }
            }
        }
    }
}

/// The embedded cluster behind the interface of the scheduler.
#[derive(Clone)]
struct EmbeddedAdapter {
    embedded: Rc<RefCell<EmbeddedCluster>>,
    wake: Rc<Notify>,
}

impl Master for EmbeddedAdapter {
    fn subscribe(&mut self, call: Call) -> LocalBoxFuture<'static, Result<Subscription, MasterError>> {
        let mut embedded = self.embedded.borrow_mut();
        let receiver = embedded.machine.subscribe(call);
        embedded.record_events();
        let is_open = receiver.is_some();
        let now = embedded.machine.now();
        embedded.oracle.log(now, || format!("→ subscribe: {is_open}"));
        self.wake.notify_one();
        let timeout_error = || MasterError::Timeout { master: "local".to_owned() };
        let subscription = receiver.map(|mut receiver| {
            let events = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
            Subscription { events: events.map(Ok).boxed_local() }
        });
        ready(subscription.ok_or_else(timeout_error)).boxed_local()
    }

    fn call(&mut self, call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>> {
        let mut embedded = self.embedded.borrow_mut();
        match Type::try_from(call.r#type.unwrap_or_default()) {
            Ok(Type::Accept) => {
                let launches = launches(&call);
                embedded.oracle.on_accept(&launches);
                for (launch, _) in launches {
                    embedded.oracle.script_end(&launch, End::Exit(scripted_exit(&launch).1));
                }
            }
            Ok(Type::Acknowledge) => {
                let uuid = &call.acknowledge.as_ref().expect("invariant: the call matches its type").uuid;
                if let Some(update) = embedded.machine.sent_update(uuid) {
                    embedded.oracle.on_acknowledge(&update);
                }
            }
            _ => {}
        }
        let description = describe_call(&call);
        let now = embedded.machine.now();
        embedded.oracle.log(now, || format!("→ {description}"));
        let is_delivered = embedded.machine.call(call);
        embedded.record_events();
        self.wake.notify_one();
        let timeout_error = || MasterError::Timeout { master: "local".to_owned() };
        ready(if is_delivered { Ok(()) } else { Err(timeout_error()) }).boxed_local()
    }
}

/// Runs the script. The operation `target` of the agent fails.
fn run_scripted(target: Option<(usize, FaultMode)>) -> Outcome {
    let disk = Disk::default();
    let machine = Machine::new(target, scripted_exit);
    let sandbox = LocalSandbox::new(machine.directory());
    let oracle = Oracle::new(disk.clone(), Duration::ZERO);
    let embedded = Rc::new(RefCell::new(EmbeddedCluster { machine, oracle, agent_crashed: false }));
    let wake = Rc::new(Notify::new());
    let master = EmbeddedAdapter { embedded: embedded.clone(), wake: wake.clone() };
    let capabilities = [capability::Type::PartitionAware, capability::Type::TaskKillingState];
    let capabilities = capabilities.map(|kind| Capability { r#type: Some(kind as i32) }).into();
    virtual_time_runtime().block_on(async {
        let start = Instant::now();
        let (engine, mut fatal_errors) = Engine::start_on(
            EngineParts {
                store: Box::new(FaultyStore { disk, crash_point: CrashPoint::default().into() }),
                master: Box::new(master),
                sandbox: Rc::new(sandbox),
                framework: FrameworkInfo { capabilities, ..FrameworkInfo::default() },
                retention: Retention::default(),
                index_results: true,
                cache: None,
                clock: Clock::tokio(Timestamp::UNIX_EPOCH, 1),
            },
            Threading::Single,
        )
        .expect("the disk can be read");
        let source = Bytes::from(document());
        let plan =
            plan(&source, &org::parse(&source, &[]), &PlanOptions::default()).expect("a good document");
        let submission = Submission {
            title: String::new(),
            document: source,
            plan,
            key: None,
            caching: borges_plan::CacheMode::OptIn,
        };
        let accepted = engine.submit(submission).await.expect("nothing is wrong with the disk");
        embedded.borrow_mut().oracle.on_run_accepted(accepted.run);
        let drive_cluster = async {
            loop {
                let next = embedded.borrow_mut().machine.next_change();
                let next = next.unwrap_or_else(|| Duration::from_hours(1));
                tokio::select! {
                    biased;
                    () = wake.notified() => {}
                    () = sleep_until(start + next) => {}
                }
                embedded.borrow_mut().advance(start.elapsed());
            }
        };
        let mut events = engine.subscribe(Some(0)).events();
        let check_events = async {
            while let Some(event) = events.next().await {
                embedded.borrow_mut().oracle.on_event(&event);
            }
        };
        let completion = async {
            loop {
                let has_ended = embedded.borrow().oracle.all_ended() && !embedded.borrow().machine.is_busy();
                if has_ended {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let violation = tokio::select! {
            biased;
            fatal_error = fatal_errors.recv() => fatal_error.map(|error| format!("the server ended: {}", error.reason)),
            () = completion => None,
            () = drive_cluster => None,
            () = check_events => Some("the event log ended".to_owned()),
            () = sleep_until(start + TIME_LIMIT) => Some("the run does not end".to_owned()),
        };
        if let Some(message) = violation {
            embedded.borrow_mut().oracle.violation(Invariant::Termination, message);
        }
    });
    let mut embedded = embedded.borrow_mut();
    embedded.oracle.check_final_state();
    Outcome {
        operations: embedded.machine.operations(),
        agent_crashed: embedded.agent_crashed,
        violations: std::mem::take(&mut embedded.oracle.violations),
        trace: std::mem::take(&mut embedded.oracle.trace),
    }
}

#[test]
fn agent_crash_at_any_operation_violates_no_invariant() {
    let complete = run_scripted(None);
    assert!(complete.violations.is_empty(), "{:#?}\n{}", complete.violations, complete.trace.join("\n"));
    let operation_names = &complete.operations;
    assert!(operation_names.len() > 400, "{operation_names:#?}");
    let step = env_number("BORGES_EACH").map_or(OPERATION_STEP, |step| usize::try_from(step).unwrap().max(1));
    let points: Vec<(usize, FaultMode)> = (1..)
        .zip(operation_names)
        .filter(|(at, _)| at % step == 0)
        .flat_map(|(at, name)| {
            // A row of a table lies within a page, and a kill does not tear a page.
            let is_tearable = name.starts_with("write") && !name.contains("tables/");
            let torn_write = is_tearable.then_some((at, FaultMode::TornWrite));
            [(at, FaultMode::CrashBefore), (at, FaultMode::Fails)].into_iter().chain(torn_write)
        })
        .collect();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let failures = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|thread| {
                let points = points.iter().skip(thread).step_by(threads);
                scope.spawn(move || {
                    let violations = points.filter_map(|&(at, mode)| {
                        let outcome = run_scripted(Some((at, mode)));
                        let not_crashed = (mode != FaultMode::Fails && !outcome.agent_crashed)
                            .then(|| "the agent did not crash".to_owned());
                        let violation =
                            outcome.violations.first().map(Violation::to_string).or(not_crashed)?;
                        Some((at, mode, violation))
                    });
                    violations.collect::<Vec<_>>()
                })
            })
            .collect();
        let mut failures: Vec<_> = parts.into_iter().flat_map(|part| part.join().unwrap()).collect();
        failures.sort_by_key(|(at, ..)| *at);
        failures
    });
    let mut modes = BTreeMap::<String, u32>::new();
    for (_, mode) in &points {
        *modes.entry(format!("{mode:?}")).or_default() += 1;
    }
    for (at, mode, violation) in &failures {
        println!(
            "{mode:?} operation {at}, between `{}` and `{}`: {violation}",
            operation_names[at.saturating_sub(2)],
            operation_names[at - 1]
        );
    }
    println!(
        "{} operations of the agent, from `{}` to `{}`: {}",
        operation_names.len(),
        operation_names[0],
        operation_names[operation_names.len() - 1],
        count_by_kind(operation_names)
    );
    println!("{} points: {modes:?}", points.len());
    println!("violations: {}", failures.len());
    assert!(failures.is_empty(), "see above");
}

/// Control: an agent that forgets the launches which were starting when it crashed is found.
#[test]
fn agent_that_forgets_starting_launches_is_found() {
    let operation_names = run_scripted(None).operations;
    let spawn = 1 + operation_names.iter().position(|name| name.starts_with("spawn")).expect("a launch");
    assert_eq!(run_scripted(Some((spawn, FaultMode::CrashBefore))).violations, []);
    let _scenario = forget_unstarted();
    let outcome = run_scripted(Some((spawn, FaultMode::CrashBefore)));
    let violation = outcome.violations.first().expect("a violation");
    assert_eq!(violation.invariant, Invariant::FailureCount, "{violation}");
    println!("crash before operation {spawn}, `{}`: {violation}", operation_names[spawn - 1]);
}

/// Prints the trace of one failure: `BORGES_POINT='883 CrashBefore'`.
#[test]
fn replay_crash_point() {
    let Ok(point) = std::env::var("BORGES_POINT") else { return };
    let (at, mode) = point.split_once(' ').unwrap();
    let mode = [FaultMode::CrashBefore, FaultMode::TornWrite, FaultMode::Fails]
        .into_iter()
        .find(|candidate| format!("{candidate:?}") == mode)
        .unwrap();
    let outcome = run_scripted(Some((at.parse().unwrap(), mode)));
    println!("{}\n{:#?}", outcome.trace.join("\n"), outcome.violations);
}

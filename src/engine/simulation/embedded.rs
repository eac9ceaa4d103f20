//! The scripted run on the embedded cluster: the real scheduler and the real agent, on a machine that is made up. The
//! agent is killed before each of its operations, and in the midst of each of its writes; each of them fails once.

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

use super::super::engine::Threading;
use super::super::{Engine, EngineParts, Submission};
use super::crash_points::{document, kinds};
use super::faulty_store::{CrashPoint, Disk, FaultyStore};
use super::number;
use super::oracle::{End, Oracle};
use super::simulator::{launches, virtual_time_runtime, words};
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

/// All comes to its end within this time.
const PATIENCE: Duration = Duration::from_mins(30);

/// An ordinary test run tries one operation of so many, always the same ones; `integration/check` tries all.
const EACH: usize = 7;

/// How long a launch runs, and its exit code: some fail once or twice, some always.
fn fate(launch: &str) -> (Duration, i32) {
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

/// What came of a run.
struct Ended {
    operations: Vec<String>,
    faults: Vec<String>,
    /// The agent was killed.
    died: bool,
    story: Vec<String>,
}

/// The machine, and what is known of it.
struct World {
    machine: Machine,
    ledger: Oracle,
    died: bool,
}

impl World {
    /// Time goes on.
    fn advance(&mut self, now: Duration) {
        self.machine.advance(now);
        self.note();
    }

    /// Takes note of what has happened.
    fn note(&mut self) {
        for (at, happened) in self.machine.take_launch_events() {
            match happened {
                LaunchEvent::Started(launch) => self.ledger.started(at, &launch),
                LaunchEvent::Ended(launch, code) => self.ledger.ended(at, &launch, End::Exit(code)),
                LaunchEvent::NotStarted(launch) => {
                    self.ledger.ended(at, &launch, End::NotStarted);
                }
                LaunchEvent::AgentDied(operation) => {
                    self.died = true;
                    self.ledger.log(at, || format!("THE AGENT DIES at {operation}"));
                }
            }
        }
    }
}

/// The embedded cluster, as the scheduler sees it.
#[derive(Clone)]
struct EmbeddedAdapter {
    world: Rc<RefCell<World>>,
    wake: Rc<Notify>,
}

impl Master for EmbeddedAdapter {
    fn subscribe(&mut self, call: Call) -> LocalBoxFuture<'static, Result<Subscription, MasterError>> {
        let mut world = self.world.borrow_mut();
        let receiver = world.machine.subscribe(call);
        world.note();
        let is_open = receiver.is_some();
        let now = world.machine.now();
        world.ledger.log(now, || format!("→ subscribe: {is_open}"));
        self.wake.notify_one();
        let silent = || MasterError::Timeout { master: "local".to_owned() };
        let subscription = receiver.map(|mut receiver| {
            let events = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
            Subscription { events: events.map(Ok).boxed_local() }
        });
        ready(subscription.ok_or_else(silent)).boxed_local()
    }

    fn call(&mut self, call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>> {
        let mut world = self.world.borrow_mut();
        match Type::try_from(call.r#type.unwrap_or_default()) {
            Ok(Type::Accept) => {
                let launches = launches(&call);
                world.ledger.accepts(&launches);
                for (launch, _) in launches {
                    world.ledger.script_end(&launch, End::Exit(fate(&launch).1));
                }
            }
            Ok(Type::Acknowledge) => {
                let uuid = &call.acknowledge.as_ref().expect("it is one").uuid;
                if let Some(update) = world.machine.sent_update(uuid) {
                    world.ledger.acknowledges(&update);
                }
            }
            _ => {}
        }
        let said = words(&call);
        let now = world.machine.now();
        world.ledger.log(now, || format!("→ {said}"));
        let heard = world.machine.call(call);
        world.note();
        self.wake.notify_one();
        let silent = || MasterError::Timeout { master: "local".to_owned() };
        ready(if heard { Ok(()) } else { Err(silent()) }).boxed_local()
    }
}

/// The scripted run, in which this operation of the agent goes wrong.
fn play(chosen: Option<(usize, FaultMode)>) -> Ended {
    let disk = Disk::default();
    let machine = Machine::new(chosen, fate);
    let sandbox = LocalSandbox::new(machine.directory());
    let ledger = Oracle::new(disk.clone(), Duration::ZERO);
    let world = Rc::new(RefCell::new(World { machine, ledger, died: false }));
    let wake = Rc::new(Notify::new());
    let wall = EmbeddedAdapter { world: world.clone(), wake: wake.clone() };
    let able = [capability::Type::PartitionAware, capability::Type::TaskKillingState];
    let capabilities = able.map(|kind| Capability { r#type: Some(kind as i32) }).into();
    virtual_time_runtime().block_on(async {
        let start = Instant::now();
        let (engine, mut breaks) = Engine::start_on(
            EngineParts {
                store: Box::new(FaultyStore { disk, fuse: CrashPoint::default().into() }),
                master: Box::new(wall),
                sandbox: Rc::new(sandbox),
                framework: FrameworkInfo { capabilities, ..FrameworkInfo::default() },
                keep: Retention::default(),
                keeps_results: true,
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
        world.borrow_mut().ledger.accepted(accepted.run);
        let drive = async {
            loop {
                let next = world.borrow_mut().machine.next_change();
                let next = next.unwrap_or_else(|| Duration::from_hours(1));
                tokio::select! {
                    biased;
                    () = wake.notified() => {}
                    () = sleep_until(start + next) => {}
                }
                world.borrow_mut().advance(start.elapsed());
            }
        };
        let mut entries = engine.follow(Some(0)).entries();
        let hear = async {
            while let Some(entry) = entries.next().await {
                world.borrow_mut().ledger.on_event(&entry);
            }
        };
        let done = async {
            loop {
                let over = world.borrow().ledger.all_ended() && !world.borrow().machine.is_busy();
                if over {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let fault = tokio::select! {
            biased;
            broken = breaks.recv() => broken.map(|broken| format!("the server ended: {}", broken.reason)),
            () = done => None,
            () = drive => None,
            () = hear => Some("the feed ended".to_owned()),
            () = sleep_until(start + PATIENCE) => Some("it does not end".to_owned()),
        };
        world.borrow_mut().ledger.faults.extend(fault);
    });
    let mut world = world.borrow_mut();
    world.ledger.check_final_state();
    Ended {
        operations: world.machine.operations(),
        died: world.died,
        faults: std::mem::take(&mut world.ledger.faults),
        story: std::mem::take(&mut world.ledger.story),
    }
}

#[test]
fn at_every_operation_the_agent_may_die() {
    let whole = play(None);
    assert!(whole.faults.is_empty(), "{:#?}\n{}", whole.faults, whole.story.join("\n"));
    let names = &whole.operations;
    assert!(names.len() > 400, "{names:#?}");
    let each = number("BORGES_EACH").map_or(EACH, |each| usize::try_from(each).unwrap().max(1));
    let points: Vec<(usize, FaultMode)> = (1..)
        .zip(names)
        .filter(|(at, _)| at % each == 0)
        .flat_map(|(at, name)| {
            // A row of a table lies within a page, which no kill tears.
            let is_torn = name.starts_with("write") && !name.contains("tables/");
            let tears = is_torn.then_some((at, FaultMode::TornWrite));
            [(at, FaultMode::CrashBefore), (at, FaultMode::Fails)].into_iter().chain(tears)
        })
        .collect();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let wrong = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|thread| {
                let points = points.iter().skip(thread).step_by(threads);
                scope.spawn(move || {
                    let faults = points.filter_map(|&(at, wrong)| {
                        let ended = play(Some((at, wrong)));
                        let unhurt =
                            (wrong != FaultMode::Fails && !ended.died).then(|| "it did not die".to_owned());
                        let fault = ended.faults.into_iter().next().or(unhurt)?;
                        Some((at, wrong, fault))
                    });
                    faults.collect::<Vec<_>>()
                })
            })
            .collect();
        let mut wrong: Vec<_> = parts.into_iter().flat_map(|part| part.join().unwrap()).collect();
        wrong.sort_by_key(|(at, ..)| *at);
        wrong
    });
    let mut ways = BTreeMap::<String, u32>::new();
    for (_, way) in &points {
        *ways.entry(format!("{way:?}")).or_default() += 1;
    }
    for (at, way, fault) in &wrong {
        println!(
            "{way:?} operation {at}, between `{}` and `{}`: {fault}",
            names[at.saturating_sub(2)],
            names[at - 1]
        );
    }
    println!(
        "{} operations of the agent, from `{}` to `{}`: {}",
        names.len(),
        names[0],
        names[names.len() - 1],
        kinds(names)
    );
    println!("{} points: {ways:?}", points.len());
    println!("violations: {}", wrong.len());
    assert!(wrong.is_empty(), "see above");
}

/// The control: an agent that takes what was only about to start for lost is caught.
#[test]
fn who_does_not_know_what_started_is_caught() {
    let names = play(None).operations;
    let spawn = 1 + names.iter().position(|name| name.starts_with("spawn")).expect("something is started");
    assert_eq!(play(Some((spawn, FaultMode::CrashBefore))).faults, [""; 0]);
    let _planted = forget_unstarted();
    let ended = play(Some((spawn, FaultMode::CrashBefore)));
    let fault = ended.faults.first().expect("it is caught");
    println!("dying before operation {spawn}, `{}`: {fault}", names[spawn - 1]);
}

/// One point, with all that happens: `BORGES_POINT='883 Dies'`.
#[test]
fn replay_a_point() {
    let Ok(point) = std::env::var("BORGES_POINT") else { return };
    let (at, way) = point.split_once(' ').unwrap();
    let way = [FaultMode::CrashBefore, FaultMode::TornWrite, FaultMode::Fails]
        .into_iter()
        .find(|it| format!("{it:?}") == way)
        .unwrap();
    let ended = play(Some((at.parse().unwrap(), way)));
    println!("{}\n{:#?}", ended.story.join("\n"), ended.faults);
}

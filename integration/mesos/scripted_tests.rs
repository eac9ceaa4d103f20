//! Borges on a scripted master: its HTTP client, its actors and its tables.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use borges_clock::Clock;
use borges_config::Retention;
use borges_engine::{Engine, EngineParts, Submission, TaskProgress};
use borges_mesos::address::Address;
use borges_mesos::events::{StatusUpdate, TaskState};
use borges_mesos::http::HttpMaster;
use borges_mesos::messages::scheduler::{Event, call, event};
use borges_mesos::messages::{FrameworkInfo, OfferId, TaskId, TaskStatus, task_status};
use borges_mesos::status::condition;
use borges_mesos::wrapper::FetchUrls;
use borges_mesos::{Call, Chunk, Sandbox, SandboxError, SandboxFile, SandboxLocation};
use borges_org as org;
use borges_plan::{PlanOptions, plan};
use borges_store::MemoryStore;
use borges_task::{Condition, RunId, State, UrlSigner};
use bytes::Bytes;
use futures_util::future::{FutureExt, LocalBoxFuture, ready};

use support::poll::{DEADLINE, poll_until_async};

use super::scripted_master::{ScriptedMaster, bare, record};

/// A sandbox without files.
pub(crate) struct EmptySandbox;

impl Sandbox for EmptySandbox {
    fn read(
        &self,
        _: &SandboxLocation,
        path: &str,
        _: u64,
        _: usize,
    ) -> LocalBoxFuture<'static, Result<Chunk, SandboxError>> {
        ready(Err(SandboxError::Missing(path.to_owned()))).boxed_local()
    }

    fn list(
        &self,
        _: &SandboxLocation,
        path: &str,
    ) -> LocalBoxFuture<'static, Result<Vec<SandboxFile>, SandboxError>> {
        ready(Err(SandboxError::Missing(path.to_owned()))).boxed_local()
    }
}

/// Runs a script with a scripted master and an engine that is subscribed to it.
fn run_script(
    before: impl FnOnce(&mut ScriptedMaster),
    script: impl AsyncFnOnce(&mut ScriptedMaster, Engine),
) {
    let mut master = ScriptedMaster::start();
    before(&mut master);
    actix::System::new().block_on(async {
        let address = Address::read(&master.address).unwrap();
        let (engine, _breaks) = Engine::start(EngineParts {
            store: Box::new(MemoryStore::default()),
            master: Box::new(HttpMaster::new(address, None, FetchUrls::new("", UrlSigner::new(b"")))),
            sandbox: Rc::new(EmptySandbox),
            framework: FrameworkInfo { name: "master".to_owned(), ..FrameworkInfo::default() },
            retention: Retention::default(),
            index_results: false,
            cache: None,
            clock: Clock::system(),
        })
        .unwrap();
        script(&mut master, engine.clone()).await;
        engine.disconnect().await.unwrap();
    });
    assert_eq!(master.violations(), [""; 0]);
}

pub(crate) async fn submit(engine: &Engine, document: String) -> RunId {
    let source = Bytes::from(document);
    let plan = plan(&source, &org::parse(&source, &[]), &PlanOptions::default()).unwrap();
    let submission = Submission {
        title: String::new(),
        document: source,
        plan,
        key: None,
        caching: borges_plan::CacheMode::OptIn,
    };
    engine.submit(submission).await.unwrap().run
}

pub(crate) fn blocks(count: usize) -> String {
    "#+begin_src sh\ntrue\n#+end_src\n".repeat(count)
}

/// The launches of an ACCEPT.
fn launches(call: &Call) -> Vec<String> {
    let operations = &call.accept.as_ref().unwrap().operations;
    let tasks = operations.iter().filter_map(|operation| operation.launch.as_ref());
    tasks.flat_map(|launch| &launch.task_infos).map(|task| task.task_id.value.clone()).collect()
}

/// Waits until the tasks of a run satisfy a condition.
async fn wait_until(engine: &Engine, run: RunId, what: &str, holds: impl Fn(&[TaskProgress]) -> bool) {
    poll_until_async(DEADLINE, what, async || {
        let tasks = engine.tasks(Some(run), None, 20_000).await.unwrap();
        if holds(&tasks) { Ok(()) } else { Err(tasks) }
    })
    .await;
}

/// Offers enough for all blocks; their launches, in the order of the blocks.
async fn launched(master: &mut ScriptedMaster, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    master.call(call::Type::Subscribe).await;
    master.offer(u32::try_from(count.div_ceil(4)).unwrap());
    while all.len() < count {
        all.extend(launches(&master.call(call::Type::Accept).await));
    }
    all.sort_by_key(|launch| launch.split('.').nth(1).unwrap().parse::<usize>().unwrap());
    all
}

#[test]
fn every_state_and_reason_is_acknowledged_and_mapped() {
    let states: Vec<i32> = (0..=15).chain([99]).collect();
    let reasons: Vec<Option<i32>> = std::iter::once(None)
        .chain((0..=40).filter(|number| task_status::Reason::try_from(*number).is_ok()).map(Some))
        .chain([Some(999)])
        .collect();
    let pairs: Vec<(i32, Option<i32>)> =
        states.iter().flat_map(|&state| reasons.iter().map(move |&reason| (state, reason))).collect();
    run_script(
        |_| {},
        async |master, engine| {
            let run = submit(&engine, blocks(pairs.len())).await;
            let launched = launched(master, pairs.len()).await;
            let mut wanted = BTreeSet::new();
            let mut expected = BTreeMap::new();
            for (number, (launch, (state, reason))) in (0..).zip(launched.iter().zip(&pairs)) {
                master.update(launch, *state, *reason, Some(number));
                wanted.insert(number.to_be_bytes().to_vec());
                let update = StatusUpdate::try_from(TaskStatus {
                    task_id: TaskId { value: launch.clone() },
                    state: *state,
                    reason: *reason,
                    ..TaskStatus::default()
                })
                .unwrap();
                expected.insert(launch.rsplit_once('.').unwrap().0.to_owned(), condition(&update));
            }
            while !wanted.is_empty() {
                let call = master.call(call::Type::Acknowledge).await.acknowledge.unwrap();
                assert!(wanted.remove(&call.uuid.to_vec()), "acknowledged once: {call:?}");
            }
            // What each came to, as the tables have it. What is to be launched again waits for an offer.
            wait_until(&engine, run, "all updates have been applied", |tasks| {
                tasks.iter().all(|task| match expected[&task.task] {
                    Condition::Starting | Condition::Killing => task.state == State::Launching,
                    Condition::Running => task.state == State::Running,
                    Condition::Finished => task.state == State::Finished,
                    Condition::Failed | Condition::Rejected => task.state == State::Failed,
                    Condition::Killed | Condition::Gone => {
                        matches!(task.state, State::Queued | State::Delayed | State::Launching)
                    }
                    Condition::Lost => task.state == State::Unreachable,
                })
            })
            .await;
        },
    );
}

#[test]
fn split_frames_and_unknown_events_are_read() {
    run_script(
        |_| {},
        async |master, engine| {
            let run = submit(&engine, blocks(1)).await;
            let launch = launched(master, 1).await.remove(0);
            let status = TaskStatus {
                task_id: TaskId { value: launch.clone() },
                state: TaskState::Running.to_wire(),
                ..TaskStatus::default()
            };
            let update = Event {
                r#type: Some(event::Type::Update as i32),
                update: Some(event::Update { status }),
                ..Event::default()
            };
            // Byte by byte, after events of unknown types.
            let stream = [record(&bare(77)), record(&bare(0)), record(&update), record(&bare(8))].concat();
            for byte in stream.chunks(1) {
                master.send_bytes(Bytes::copy_from_slice(byte));
            }
            wait_until(&engine, run, "the block runs", |tasks| tasks[0].state == State::Running).await;
            // Said again, too late, and in the wrong order; and, as agents do, until it is acknowledged.
            let mut wanted: BTreeMap<u32, TaskState> = (1..)
                .zip([
                    TaskState::Running,
                    TaskState::Finished,
                    TaskState::Running,
                    TaskState::Finished,
                    TaskState::Starting,
                ])
                .collect();
            let clock = Clock::system();
            while !wanted.is_empty() {
                assert!(clock.elapsed() < DEADLINE, "not acknowledged: {wanted:?}");
                for (number, state) in &wanted {
                    master.status(&launch, *state, *number);
                }
                while let Some(call) = master.call_within_1s(call::Type::Acknowledge).await {
                    let uuid = call.acknowledge.unwrap().uuid;
                    wanted.remove(&u32::from_be_bytes(uuid.as_ref().try_into().unwrap()));
                }
            }
            wait_until(&engine, run, "the task has finished", |tasks| tasks[0].state == State::Finished)
                .await;
        },
    );
}

#[test]
fn master_responses_are_handled() {
    let refuse = |master: &mut ScriptedMaster| {
        master.respond_next(503, "Master has not finished recovery", None);
        let here = format!("//{}/master/api/v1/scheduler", master.address);
        master.respond_next(307, "", Some(&here));
    };
    run_script(refuse, async |master, engine| {
        // 503, later 307, at once the same again; then it is subscribed.
        let first = master.next_call().await;
        assert_eq!((first.r#type(), &first.framework_id), (call::Type::Subscribe, &None));
        for _ in 0..2 {
            assert_eq!(master.next_call().await.r#type(), call::Type::Subscribe);
        }
        let run = submit(&engine, blocks(1)).await;
        master.offer(1);
        let launch = launches(&master.call(call::Type::Accept).await).remove(0);
        // The connection is cut within a record: subscribed again, with the id, and asked about.
        master.send_bytes(Bytes::from_static(b"100\nabc"));
        master.disconnect();
        let again = master.call(call::Type::Subscribe).await;
        let id = again.framework_id.clone().map(|id| id.value);
        assert_eq!(id.as_deref(), Some(super::scripted_master::FRAMEWORK));
        assert_eq!(again.subscribe.unwrap().framework_info.id.map(|id| id.value), id);
        let asked = master.call(call::Type::Reconcile).await.reconcile.unwrap();
        assert_eq!(asked.tasks[0].task_id.value, launch);
        // The master holds us for disconnected: subscribed once more.
        master.respond_next(403, "Framework is not subscribed", None);
        master.status(&launch, TaskState::Running, 1);
        master.call(call::Type::Subscribe).await;
        // A reconciliation's word is bare, and not acknowledged.
        master.update(&launch, TaskState::Finished.to_wire(), Some(9), None);
        wait_until(&engine, run, "the task has finished", |tasks| tasks[0].state == State::Finished).await;
    });
}

#[test]
fn launch_dropped_by_a_rescind_costs_no_attempt() {
    run_script(
        |_| {},
        async |master, engine| {
            master.call(call::Type::Subscribe).await;
            let run = submit(&engine, blocks(1)).await;
            for attempt in 1..=5_u32 {
                let offer = master.offer(1).remove(0);
                master.send(&Event {
                    r#type: Some(event::Type::Rescind as i32),
                    rescind: Some(event::Rescind { offer_id: OfferId { value: offer } }),
                    ..Event::default()
                });
                // Either it had been accepted already, and is dropped; or it is offered again.
                let raced =
                    tokio::time::timeout(Duration::from_millis(500), master.call(call::Type::Accept)).await;
                if let Ok(accept) = raced {
                    let launch = launches(&accept).remove(0);
                    master.update(&launch, TaskState::Dropped.to_wire(), Some(6), Some(attempt));
                    master.call(call::Type::Acknowledge).await;
                }
            }
            wait_until(&engine, run, "the task waits", |tasks| {
                matches!(tasks[0].state, State::Queued | State::Delayed)
            })
            .await;
            wait_until(&engine, run, "the task is queued", |tasks| tasks[0].state == State::Queued).await;
            master.offer(1);
            let launch = launches(&master.call(call::Type::Accept).await).remove(0);
            master.status(&launch, TaskState::Finished, 100);
            wait_until(&engine, run, "the task has finished", |tasks| tasks[0].state == State::Finished)
                .await;
        },
    );
}

#[test]
fn ten_thousand_offers_are_answered_once() {
    const AGENTS: u32 = 10_000;
    run_script(
        |_| {},
        async |master, engine| {
            master.call(call::Type::Subscribe).await;
            let run = submit(&engine, blocks(2000)).await;
            #[expect(clippy::disallowed_methods, reason = "a test measures")]
            let began = std::time::Instant::now();
            let mut open: BTreeSet<String> = master.offer(AGENTS).into_iter().collect();
            let (mut placed, mut news) = (0, 0);
            while !open.is_empty() {
                let call = master.next_call().await;
                let (offers, tasks) = match call.r#type() {
                    call::Type::Accept => (call.accept.as_ref().unwrap().offer_ids.clone(), launches(&call)),
                    call::Type::Decline => (call.decline.unwrap().offer_ids, Vec::new()),
                    _ => continue,
                };
                for offer in offers {
                    assert!(open.remove(&offer.value), "{} is answered once", offer.value);
                }
                placed += tasks.len();
                for launch in tasks {
                    news += 1;
                    master.status(&launch, TaskState::Finished, news);
                }
            }
            println!(
                "{AGENTS} offers answered, {placed} tasks placed in {:.2} s",
                began.elapsed().as_secs_f64()
            );
            assert_eq!(placed, 2000);
            wait_until(&engine, run, "all have ended", |tasks| {
                tasks.len() == 2000 && tasks.iter().all(|task| task.state == State::Finished)
            })
            .await;
        },
    );
}

//! Mutation testing of the protocol checker: between Borges and the scripted master one duty of a scheduler is broken, and
//! the checker must name the violation.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use borges_clock::Clock;
use borges_config::Retention;
use borges_engine::{Engine, EngineParts};
use borges_mesos::address::Address;
use borges_mesos::events::TaskState;
use borges_mesos::http::HttpMaster;
use borges_mesos::messages::scheduler::call::Type;
use borges_mesos::messages::{AgentId, FrameworkInfo, OfferId};
use borges_mesos::wrapper::FetchUrls;
use borges_mesos::{Call, Master, MasterError, Subscription, calls};
use borges_store::MemoryStore;
use borges_task::UrlSigner;
use bytes::Bytes;
use futures_util::future::{FutureExt, LocalBoxFuture, join_all, ready};
use rstest::rstest;
use support::poll::{DEADLINE, poll_until_async};

use super::scripted_master::{FRAMEWORK, ScriptedMaster};
use super::scripted_tests::{EmptySandbox, blocks, submit};

/// The duty that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    NeverAcknowledges,
    AcknowledgesWithoutUuid,
    AcknowledgesTwice,
    AcknowledgesAtAnotherAgent,
    ReusesOffers,
    AnswersOffersTwice,
    NeverDeclines,
    ForgetsItsIdWhenItSubscribes,
    ForgetsItsIdInCalls,
    ForgetsWhoItIsInTheFramework,
    ReusesTaskIds,
    LaunchesOnAnotherAgent,
    ChangesResources,
    KillsAtAnotherAgent,
    NeverReconciles,
    TearsDown,
}

impl Mutant {
    /// A part of the checker's message: of a violation, or of an outstanding answer that never comes.
    fn violation(self) -> &'static str {
        match self {
            Self::NeverAcknowledges => "is not acknowledged",
            Self::AcknowledgesWithoutUuid | Self::AcknowledgesTwice | Self::AcknowledgesAtAnotherAgent => {
                "an unexpected ACKNOWLEDGE"
            }
            Self::ReusesOffers => "ACCEPT of an unknown offer",
            Self::AnswersOffersTwice => "DECLINE of an unknown offer",
            Self::NeverDeclines => "is not answered",
            Self::ForgetsItsIdWhenItSubscribes | Self::ForgetsWhoItIsInTheFramework => {
                "SUBSCRIBE without the framework id it was given"
            }
            Self::ForgetsItsIdInCalls => "DECLINE without the framework id",
            Self::ReusesTaskIds => "a task id is reused",
            Self::LaunchesOnAnotherAgent => "a launch on another agent",
            Self::ChangesResources => "resources that are not those offered",
            Self::KillsAtAnotherAgent => "KILL at another agent",
            Self::NeverReconciles => "is not reconciled",
            Self::TearsDown => "TEARDOWN without an operator",
        }
    }
}

/// The offers of an ACCEPT, and the first task it launches.
type Accepted = (Vec<OfferId>, String);

/// A connection to the master that breaks one duty, or none if `mutant` is `None`.
struct Mutated {
    master: HttpMaster,
    mutant: Option<Mutant>,
    /// The number of calls that were changed, withheld or added so far.
    mutations: Rc<Cell<u32>>,
    /// The last ACCEPT.
    last: RefCell<Option<Accepted>>,
}

impl Master for Mutated {
    fn subscribe(&mut self, mut call: Call) -> LocalBoxFuture<'static, Result<Subscription, MasterError>> {
        let subscribe = call.subscribe.as_mut().unwrap();
        let had_id = subscribe.framework_info.id.is_some();
        match self.mutant {
            Some(Mutant::ForgetsItsIdWhenItSubscribes) => {
                call.framework_id = None;
                subscribe.framework_info.id = None;
            }
            Some(Mutant::ForgetsWhoItIsInTheFramework) => subscribe.framework_info.id = None,
            _ => {}
        }
        self.count(had_id && call.subscribe.as_ref().unwrap().framework_info.id.is_none());
        self.master.subscribe(call)
    }

    fn call(&mut self, mut call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>> {
        let other = || AgentId { value: "elsewhere".to_owned() };
        let before = call.clone();
        let mut and_then = None;
        match (self.mutant, call.r#type()) {
            (Some(Mutant::NeverAcknowledges), Type::Acknowledge)
            | (Some(Mutant::NeverDeclines), Type::Decline)
            | (Some(Mutant::NeverReconciles), Type::Reconcile) => {
                self.count(true);
                return ready(Ok(())).boxed_local();
            }
            (Some(Mutant::AcknowledgesWithoutUuid), Type::Acknowledge) => {
                call.acknowledge.as_mut().unwrap().uuid = Bytes::new();
            }
            (Some(Mutant::AcknowledgesTwice), Type::Acknowledge)
            | (Some(Mutant::AnswersOffersTwice), Type::Decline) => and_then = Some(call.clone()),
            (Some(Mutant::AcknowledgesAtAnotherAgent), Type::Acknowledge) => {
                call.acknowledge.as_mut().unwrap().agent_id = other();
            }
            (Some(Mutant::ForgetsItsIdInCalls), Type::Decline) => call.framework_id = None,
            (Some(Mutant::KillsAtAnotherAgent), Type::Kill) => {
                call.kill.as_mut().unwrap().agent_id = Some(other());
            }
            (Some(Mutant::TearsDown), Type::Kill) => and_then = Some(calls::teardown(FRAMEWORK)),
            (Some(mutant), Type::Accept) => self.accept(mutant, &mut call),
            _ => {}
        }
        self.count(call != before || and_then.is_some());
        let sent = self.master.call(call);
        let more = and_then.map(|call| self.master.call(call));
        async move {
            join_all(more).await;
            sent.await
        }
        .boxed_local()
    }
}

impl Mutated {
    fn count(&self, mutated: bool) {
        self.mutations.set(self.mutations.get() + u32::from(mutated));
    }

    fn accept(&self, mutant: Mutant, call: &mut Call) {
        let accept = call.accept.as_mut().unwrap();
        let offers = accept.offer_ids.clone();
        let tasks = accept.operations.iter_mut().filter_map(|operation| operation.launch.as_mut());
        let mut tasks: Vec<_> = tasks.flat_map(|launch| &mut launch.task_infos).collect();
        let Some(task) = tasks.first_mut() else { return };
        let last = self.last.borrow_mut().replace((offers, task.task_id.value.clone()));
        match (mutant, last) {
            (Mutant::ReusesOffers, Some((offers, _))) => accept.offer_ids = offers,
            (Mutant::ReusesTaskIds, Some((_, id))) => task.task_id.value = id,
            (Mutant::LaunchesOnAnotherAgent, _) => task.agent_id = AgentId { value: "elsewhere".to_owned() },
            (Mutant::ChangesResources, _) => task.resources[0].allocation_info = None,
            _ => {}
        }
    }
}

/// Waits until no answer is outstanding.
async fn wait_until_nothing_is_outstanding(master: &ScriptedMaster) {
    poll_until_async(DEADLINE, "nothing is outstanding", async || match master.outstanding() {
        outstanding if outstanding.is_empty() => Ok(()),
        outstanding => Err(outstanding),
    })
    .await;
}

/// Offers, launches, updates, a lost connection, and a kill. A scheduler without a mutation gets to the end.
async fn life(master: &mut ScriptedMaster, engine: &Engine) {
    poll_until_async(DEADLINE, "the scheduler is subscribed", async || master.is_subscribed()).await;
    let run = submit(engine, blocks(2)).await;
    master.offer(1);
    let mut launches = master.launches(2).await;
    launches.sort();
    for (number, launch) in (1..).zip(&launches) {
        master.status(launch, TaskState::Running, number);
    }
    // No task waits, so this offer must be declined.
    master.offer(1);
    wait_until_nothing_is_outstanding(master).await;
    master.disconnect();
    poll_until_async(DEADLINE, "the scheduler is subscribed again", async || master.is_subscribed()).await;
    wait_until_nothing_is_outstanding(master).await;
    // One launch is lost before it starts, and is repeated; then the task is killed.
    master.status(&launches[0], TaskState::Dropped, 10);
    master.status(&launches[1], TaskState::Finished, 11);
    wait_until_nothing_is_outstanding(master).await;
    master.offer(1);
    let again = master.launches(1).await.remove(0);
    master.status(&again, TaskState::Running, 12);
    wait_until_nothing_is_outstanding(master).await;
    engine.kill_task(run.task(1)).await.unwrap();
    master.call(Type::Kill).await;
    master.status(&again, TaskState::Killed, 13);
    wait_until_nothing_is_outstanding(master).await;
}

/// Runs a script with an engine whose connection to the master is mutated. The script gets the engine and the count of
/// mutations.
fn run_script(master: &str, mutant: Option<Mutant>, script: impl AsyncFnOnce(Engine, Rc<Cell<u32>>)) {
    actix::System::new().block_on(async {
        let address = Address::read(master).unwrap();
        let master = HttpMaster::new(address, None, FetchUrls::new("", UrlSigner::new(b"")));
        let mutations = Rc::default();
        let (engine, _breaks) = Engine::start(EngineParts {
            store: Box::new(MemoryStore::default()),
            master: Box::new(Mutated {
                master,
                mutant,
                mutations: Rc::clone(&mutations),
                last: RefCell::default(),
            }),
            sandbox: Rc::new(EmptySandbox),
            framework: FrameworkInfo { name: "mutant".to_owned(), ..FrameworkInfo::default() },
            retention: Retention::default(),
            index_results: false,
            cache: None,
            clock: Clock::system(),
        })
        .unwrap();
        script(engine.clone(), mutations).await;
        engine.disconnect().await.unwrap();
    });
}

/// Without a mutation the checker finds neither a violation nor an outstanding answer.
#[test]
fn unmodified_scheduler_has_no_violation() {
    let mut master = ScriptedMaster::start();
    let checker = master.checker();
    let address = master.address.clone();
    run_script(&address, None, async |engine, mutations| {
        life(&mut master, &engine).await;
        assert_eq!(mutations.get(), 0);
    });
    assert_eq!((checker.violations(), checker.outstanding()), (Vec::new(), Vec::new()));
}

#[rstest]
#[case::never_acknowledges(Mutant::NeverAcknowledges)]
#[case::acknowledges_without_uuid(Mutant::AcknowledgesWithoutUuid)]
#[case::acknowledges_twice(Mutant::AcknowledgesTwice)]
#[case::acknowledges_at_another_agent(Mutant::AcknowledgesAtAnotherAgent)]
#[case::reuses_offers(Mutant::ReusesOffers)]
#[case::answers_offers_twice(Mutant::AnswersOffersTwice)]
#[case::never_declines(Mutant::NeverDeclines)]
#[case::forgets_its_id_when_it_subscribes(Mutant::ForgetsItsIdWhenItSubscribes)]
#[case::forgets_its_id_in_calls(Mutant::ForgetsItsIdInCalls)]
#[case::forgets_who_it_is_in_the_framework(Mutant::ForgetsWhoItIsInTheFramework)]
#[case::reuses_task_ids(Mutant::ReusesTaskIds)]
#[case::launches_on_another_agent(Mutant::LaunchesOnAnotherAgent)]
#[case::changes_resources(Mutant::ChangesResources)]
#[case::kills_at_another_agent(Mutant::KillsAtAnotherAgent)]
#[case::never_reconciles(Mutant::NeverReconciles)]
#[case::tears_down(Mutant::TearsDown)]
fn mutant_is_found_by_its_violation(#[case] mutant: Mutant) {
    let mut master = ScriptedMaster::start();
    let checker = master.checker();
    let address = master.address.clone();
    run_script(&address, Some(mutant), async |engine, mutations| {
        let what = format!("{mutant:?} is found: `{}`", mutant.violation());
        let found = poll_until_async(DEADLINE, &what, async || {
            let seen = [checker.violations(), checker.outstanding()].concat();
            let named = seen.iter().any(|seen| seen.contains(mutant.violation()));
            // An outstanding answer counts only after a mutation: before, it may merely be late.
            if named && mutations.get() > 0 { Ok(seen) } else { Err(seen) }
        });
        let found = tokio::select! {
            biased;
            found = found => found,
            () = async {
                life(&mut master, &engine).await;
                // The last calls may still be on their way.
                std::future::pending::<()>().await;
            } => Vec::new(),
        };
        println!("{mutant:?}: {found:?}");
    });
}

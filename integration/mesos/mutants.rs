//! Duties switched off, one at a time, between Borges and a master that judges: each is found out.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use borges::actors::{Engine, Parts};
use borges::clock::Clock;
use borges::config::Keep;
use borges::mesos::address::Address;
use borges::mesos::events::TaskState;
use borges::mesos::http::HttpMaster;
use borges::mesos::messages::scheduler::call::Type;
use borges::mesos::messages::{AgentId, FrameworkInfo, OfferId};
use borges::mesos::wrapper::Shelf;
use borges::mesos::{Call, Master, MasterError, Subscription, calls};
use borges::store::MemoryStore;
use borges::task::Seal;
use bytes::Bytes;
use futures_util::future::{FutureExt, LocalBoxFuture, join_all, ready};
use rstest::rstest;

use super::scripted_master::{FRAMEWORK, Fake};
use super::scripted_tests::{Nowhere, blocks, submit};

/// What is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    /// Nothing.
    Faithful,
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

/// The offers of an ACCEPT, and the first task it launches.
type Accepted = (Vec<OfferId>, String);

struct Mutated {
    master: HttpMaster,
    mutant: Mutant,
    /// The last ACCEPT.
    last: Rc<RefCell<Option<Accepted>>>,
}

impl Master for Mutated {
    fn subscribe(&mut self, mut call: Call) -> LocalBoxFuture<'static, Result<Subscription, MasterError>> {
        match self.mutant {
            Mutant::ForgetsItsIdWhenItSubscribes => {
                call.framework_id = None;
                call.subscribe.as_mut().unwrap().framework_info.id = None;
            }
            Mutant::ForgetsWhoItIsInTheFramework => call.subscribe.as_mut().unwrap().framework_info.id = None,
            _ => {}
        }
        self.master.subscribe(call)
    }

    fn call(&mut self, mut call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>> {
        let other = || AgentId { value: "elsewhere".to_owned() };
        let mut and_then = None;
        match (self.mutant, call.r#type()) {
            (Mutant::NeverAcknowledges, Type::Acknowledge)
            | (Mutant::NeverDeclines, Type::Decline)
            | (Mutant::NeverReconciles, Type::Reconcile) => return ready(Ok(())).boxed_local(),
            (Mutant::AcknowledgesWithoutUuid, Type::Acknowledge) => {
                call.acknowledge.as_mut().unwrap().uuid = Bytes::new();
            }
            (Mutant::AcknowledgesTwice, Type::Acknowledge) | (Mutant::AnswersOffersTwice, Type::Decline) => {
                and_then = Some(call.clone());
            }
            (Mutant::AcknowledgesAtAnotherAgent, Type::Acknowledge) => {
                call.acknowledge.as_mut().unwrap().agent_id = other();
            }
            (Mutant::ForgetsItsIdInCalls, Type::Decline) => call.framework_id = None,
            (Mutant::KillsAtAnotherAgent, Type::Kill) => call.kill.as_mut().unwrap().agent_id = Some(other()),
            (Mutant::TearsDown, Type::Kill) => and_then = Some(calls::teardown(FRAMEWORK)),
            (mutant, Type::Accept) => self.accept(mutant, &mut call),
            _ => {}
        }
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

/// Waits for something that a mutant may never do.
async fn patiently(mut holds: impl FnMut() -> bool) {
    for _ in 0..80 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Offers, launches, news, a cut connection, a kill: what was wrong, and what was left undone.
async fn life(fake: &mut Fake, engine: &Engine) -> Vec<String> {
    patiently(|| fake.is_subscribed()).await;
    let run = submit(engine, blocks(2)).await;
    fake.offer(1);
    let mut launches = fake.launches(2).await;
    launches.sort();
    for (number, launch) in (1..).zip(&launches) {
        fake.news(launch, TaskState::Running, number);
    }
    // Nothing waits: this one is to be declined.
    fake.offer(1);
    patiently(|| fake.debts().is_empty()).await;
    let mut wrong = fake.debts();
    fake.hang_up();
    patiently(|| fake.is_subscribed()).await;
    patiently(|| fake.debts().is_empty()).await;
    wrong.extend(fake.debts());
    // One is lost before it started, and launched again; then it is killed.
    fake.news(&launches[0], TaskState::Dropped, 10);
    fake.news(&launches[1], TaskState::Finished, 11);
    patiently(|| fake.debts().is_empty()).await;
    fake.offer(1);
    let again = fake.launches(1).await;
    if let Some(again) = again.first() {
        fake.news(again, TaskState::Running, 12);
        patiently(|| fake.debts().is_empty()).await;
        engine.kill_task(run.task(1)).await.unwrap();
        fake.any(Type::Kill).await;
        fake.news(again, TaskState::Killed, 13);
        patiently(|| fake.debts().is_empty()).await;
    }
    wrong.extend(fake.debts());
    wrong.extend(fake.faults());
    wrong
}

#[rstest]
#[case::faithful(Mutant::Faithful)]
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
fn each_duty_is_watched(#[case] mutant: Mutant) {
    let mut fake = Fake::start();
    let wrong = actix::System::new().block_on(async {
        let address = Address::read(&fake.address).unwrap();
        let master = HttpMaster::new(address, None, Shelf::new("", Seal::of(b"")));
        let (engine, _breaks) = Engine::start(Parts {
            store: Box::new(MemoryStore::default()),
            master: Box::new(Mutated { master, mutant, last: Rc::default() }),
            sandbox: Rc::new(Nowhere),
            framework: FrameworkInfo { name: "mutant".to_owned(), ..FrameworkInfo::default() },
            keep: Keep::default(),
            keeps_results: false,
            cache: None,
            clock: Clock::system(),
        })
        .unwrap();
        let wrong = life(&mut fake, &engine).await;
        engine.leave().await.unwrap();
        wrong
    });
    println!("{mutant:?}: {wrong:?}");
    assert_eq!(wrong.is_empty(), mutant == Mutant::Faithful, "{mutant:?}: {wrong:?}");
}

//! Tests of the order of effects, which a scripted cluster, a recording store and a subscriber write into one log.

use std::sync::{Arc, Mutex};

use futures_util::StreamExt;

use super::test_env::{TestEnv, launches, run_test, short_ids};
use borges_mesos::Event;
use borges_mesos::events::TaskState;
use borges_mesos::messages::scheduler::call::Type;
use borges_store::{LoggedEvent, MemoryStore};
use borges_task::RunState;

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

//! The calls and events between scheduler and cluster in a run with success, failure, kill and retry.
//!
//! A recorder, which is a [`Master`] in front of the real one, notes every call and event. The trace is a snapshot, with
//! which any other cluster can be compared. Calls about different launches may overtake each other, so the trace is
//! grouped by launch; what concerns no launch is a group of its own.

pub(crate) mod record;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use self::record::{Record, Recorder, run};
use borges_clock::Clock;
use borges_config::Retention;
use borges_embedded::{AgentOptions, Client, LocalSandbox};
use borges_engine::EngineParts;
use borges_mesos::messages::FrameworkInfo;
use borges_mesos::messages::framework_info::{Capability, capability};
use borges_store::RedbStore;

#[test]
fn trace_of_success_failure_kill_and_retry() {
    let directory = tempfile::tempdir().unwrap();
    let options = AgentOptions {
        milli_cpus: 4000,
        mem_mib: 2048,
        disk_mib: 1000,
        end_with_client: true,
        ..AgentOptions::new(directory.path().to_owned())
    };
    let record = Rc::new(RefCell::new(Record::default()));
    let capability = |kind: capability::Type| Capability { r#type: Some(kind as i32) };
    let system = actix::System::new();
    let ends = system.block_on(async {
        let client = Client::new(options, support::program::path().to_owned());
        let agent_end = client.agent_exit();
        let parts = EngineParts {
            store: Box::new(RedbStore::open(&directory.path().join("store.redb")).unwrap()),
            master: Box::new(Recorder { master: client, record: record.clone() }),
            sandbox: Rc::new(LocalSandbox::new(directory.path())),
            framework: FrameworkInfo {
                user: "borges".to_owned(),
                name: "recorded".to_owned(),
                capabilities: vec![
                    capability(capability::Type::PartitionAware),
                    capability(capability::Type::TaskKillingState),
                ],
                ..FrameworkInfo::default()
            },
            retention: Retention::default(),
            index_results: false,
            cache: None,
            clock: Clock::system(),
        };
        let hangs = Duration::from_secs(60);
        let ends = tokio::time::timeout(hangs, run(parts)).await.expect("the run ends");
        tokio::time::timeout(hangs, agent_end.wait()).await.expect("the agent ends");
        ends
    });

    let record = record.borrow();
    for (offer, answers) in &record.offers {
        assert!(answers.len() <= 1, "the offer {offer} was answered {answers:?}");
    }
    let mut text = format!("{}\n\n{}\n", ends.join("\n"), record.general.join("\n"));
    for (launch, lines) in &record.launches {
        let launch = launch.split_once('.').unwrap().1;
        text.extend(["\nlaunch ", launch, "\n", &lines.join("\n"), "\n"]);
    }
    insta::assert_snapshot!(text);
}

//! The calls and events of one run are the same on the embedded cluster and on a real one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use borges_clock::Clock;
use borges_config::Retention;
use borges_embedded::{AgentOptions, Client, LocalSandbox};
use borges_engine::EngineParts;
use borges_mesos::address::Address;
use borges_mesos::agent_sandbox::AgentSandbox;
use borges_mesos::http::HttpMaster;
use borges_mesos::messages::FrameworkInfo;
use borges_mesos::messages::framework_info::{Capability, capability};
use borges_mesos::wrapper::FetchUrls;
use borges_mesos::{Master, Sandbox};
use borges_store::MemoryStore;
use borges_task::UrlSigner;

use crate::protocol_trace::record::{Record, Recorder, run};
use support::mesos::Mesos;

/// The end of each block, and the trace of each launch.
type Heard = (Vec<String>, BTreeMap<String, Vec<String>>);

fn recorded<M: Master + 'static>(cluster: impl FnOnce() -> (M, Rc<dyn Sandbox>)) -> (Heard, Vec<String>) {
    let system = actix::System::new();
    let (master, sandbox) = system.block_on(async { cluster() });
    let record = Rc::new(RefCell::new(Record::default()));
    let capability = |kind: capability::Type| Capability { r#type: Some(kind as i32) };
    let parts = EngineParts {
        store: Box::new(MemoryStore::default()),
        master: Box::new(Recorder { master, record: record.clone() }),
        sandbox,
        framework: FrameworkInfo {
            user: "root".to_owned(),
            name: "recorded".to_owned(),
            roles: vec!["*".to_owned()],
            capabilities: vec![
                capability(capability::Type::MultiRole),
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
    let ends =
        system.block_on(async { tokio::time::timeout(hangs, run(parts)).await.expect("the run ends") });
    let record = record.borrow();
    for (offer, answers) in &record.offers {
        assert!(answers.len() <= 1, "the offer {offer} was answered {answers:?}");
    }
    let launches = record
        .launches
        .iter()
        .map(|(launch, lines)| (launch.split_once('.').unwrap().1.to_owned(), plain(lines)));
    ((ends, launches.collect()), record.general.clone())
}

/// The lines without reasons and words, which are each cluster's own, and without the news that a launch is being
/// started and its acknowledgement, which the embedded cluster has no time for.
fn plain(lines: &[String]) -> Vec<String> {
    let mut plain: Vec<String> = Vec::new();
    let mut unheard = 0;
    for line in lines {
        let words: Vec<&str> = line.split(' ').take(3).collect();
        match words.as_slice() {
            ["←", "UPDATE", "TASK_STARTING"] => unheard += 1,
            ["→", "ACKNOWLEDGE", ..] if unheard > 0 => unheard -= 1,
            ["←", "UPDATE", state] => plain.push(format!("← UPDATE {state}")),
            _ => plain.push(line.clone()),
        }
    }
    plain
}

#[test]
#[ignore = "needs Mesos"]
fn traces_agree_on_both_clusters() {
    let directory = tempfile::tempdir().unwrap();
    let options = AgentOptions {
        milli_cpus: 4000,
        mem_mib: 2048,
        disk_mib: 1000,
        end_with_client: true,
        ..AgentOptions::new(directory.path().to_owned())
    };
    let (here, general) = recorded(|| {
        let client = Client::new(options, support::program::path().to_owned());
        (client, Rc::new(LocalSandbox::new(directory.path())))
    });

    let mesos = Mesos::start();
    let (mut there, said) = recorded(|| {
        let shelf = FetchUrls::new("http://127.0.0.1:1", UrlSigner::new(b""));
        let master = HttpMaster::new(Address::read(&mesos.master.address).unwrap(), None, shelf);
        let sandbox = AgentSandbox::new(master.leader(), None, directory.path().join("outputs"));
        (master, Rc::new(sandbox))
    });
    // That its interpreter is missing is found out here before it runs, and there by what runs it.
    let unknown = there.1.get_mut("5.1").unwrap();
    assert_eq!(unknown.drain(1..3).collect::<Vec<_>>(), ["← UPDATE TASK_RUNNING", "→ ACKNOWLEDGE"]);
    assert_eq!(there, here);
    assert_eq!(said, general);
}

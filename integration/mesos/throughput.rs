//! 200 × `true`, by Borges and by a client that does nothing else, in turn: what Borges costs.
//!
//! Run by hand: `cargo test --release --test mesos -- --ignored --nocapture throughput`.

use std::collections::HashSet;
use std::time::Instant;

use borges::mesos::address::Address;
use borges::mesos::events::TaskState;
use borges::mesos::http::HttpMaster;
use borges::mesos::messages::framework_info::{Capability, capability};
use borges::mesos::messages::{AgentId, CommandInfo, FrameworkInfo, TaskId, TaskInfo};
use borges::mesos::resources::{Offered, Quantities};
use borges::mesos::wrapper::Shelf;
use borges::mesos::{Event, Master, calls};
use borges::task::Seal;
use futures_util::StreamExt;

use super::cluster::{Mesos, wait_for};
use super::on;

const TASKS: usize = 200;
const PAIRS: usize = 5;

/// Seconds until all have finished, with nothing kept and nothing told.
fn bare(mesos: &Mesos) -> f64 {
    actix::System::new().block_on(async {
        let address = Address::read(&mesos.master.address).unwrap();
        let mut master = HttpMaster::new(address, None, Shelf::new("", Seal::of(b"")));
        let framework = FrameworkInfo {
            user: "root".to_owned(),
            name: "bare".to_owned(),
            roles: vec!["*".to_owned()],
            checkpoint: Some(true),
            capabilities: vec![Capability { r#type: Some(capability::Type::MultiRole as i32) }],
            ..FrameworkInfo::default()
        };
        let mut events = master.subscribe(calls::subscribe(framework, Vec::new())).await.unwrap().events;
        let (mut id, mut launched, mut finished) = (String::new(), 0, HashSet::new());
        #[expect(clippy::disallowed_methods, reason = "it measures")]
        let began = Instant::now();
        while finished.len() < TASKS {
            match events.next().await.unwrap().unwrap() {
                Event::Subscribed { framework, .. } => id = framework,
                Event::Offers(offers) => {
                    for offer in offers {
                        let mut free = Offered::new(offer.resources.clone());
                        let want = Quantities { milli_cpus: 200, mem_mib: 56, ..Quantities::default() };
                        let mut tasks = Vec::new();
                        while launched < TASKS
                            && let Some(resources) = free.take(&want)
                        {
                            launched += 1;
                            tasks.push(TaskInfo {
                                name: "true".to_owned(),
                                task_id: TaskId { value: format!("true-{launched}") },
                                agent_id: AgentId { value: offer.agent_id.value.clone() },
                                resources,
                                command: Some(CommandInfo {
                                    value: Some("true".to_owned()),
                                    ..CommandInfo::default()
                                }),
                                ..TaskInfo::default()
                            });
                        }
                        let refuse = Some(std::time::Duration::from_millis(100));
                        master.call(calls::accept(&id, [offer.id.value], tasks, refuse)).await.unwrap();
                    }
                }
                Event::Update(update) => {
                    assert!(matches!(
                        update.state,
                        TaskState::Starting | TaskState::Running | TaskState::Finished
                    ));
                    if update.state == TaskState::Finished {
                        finished.insert(update.launch.clone());
                    }
                    if let Some(acknowledge) = calls::acknowledge(&id, &update) {
                        master.call(acknowledge).await.unwrap();
                    }
                }
                _ => {}
            }
        }
        let took = began.elapsed().as_secs_f64();
        master.call(calls::teardown(&id)).await.unwrap();
        took
    })
}

/// Seconds from the document to the run's end.
fn borges(mesos: &Mesos) -> f64 {
    let served = on(&mesos.master.address);
    wait_for("it is subscribed", || served.curl(&[], "/varz").1.contains("\"connected\":true"));
    let document = "#+begin_src sh :cpu 0.2\ntrue\n#+end_src\n".repeat(TASKS);
    #[expect(clippy::disallowed_methods, reason = "it measures")]
    let began = Instant::now();
    let run = served.submit(&document);
    wait_for("the run has ended", || served.curl(&[], &format!("/org/{run}")).1.contains("finished"));
    began.elapsed().as_secs_f64()
}

#[test]
#[ignore = "it measures: some minutes on an idle machine"]
fn what_borges_costs() {
    let mesos = Mesos::start();
    let mut ratios = Vec::new();
    for _ in 0..PAIRS {
        let (alone, ours) = (bare(&mesos), borges(&mesos));
        println!("bare {alone:.2} s, Borges {ours:.2} s: {:.3}", alone / ours);
        ratios.push(alone / ours);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median of {PAIRS} pairs: {:.3} (aim: at least 0.95)", ratios[PAIRS / 2]);
}

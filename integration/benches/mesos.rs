//! Benchmark 13: 200 × `true` on a real Mesos with two agents, beside a client that launches them and does nothing
//! else: it keeps nothing, tells nothing, and reads no output.

use std::collections::HashSet;

use borges_clock::Clock;
use borges_mesos::address::Address;
use borges_mesos::events::TaskState;
use borges_mesos::http::HttpMaster;
use borges_mesos::messages::framework_info::{Capability, capability};
use borges_mesos::messages::{AgentId, CommandInfo, FrameworkInfo, TaskId, TaskInfo};
use borges_mesos::resources::{OfferedResources, Quantities};
use borges_mesos::wrapper::FetchUrls;
use borges_mesos::{Event, Master, calls};
use borges_task::UrlSigner;
use futures_util::StreamExt;

use crate::client::Client;
use crate::measure::Spread;
use crate::{Row, message};
use support::mesos::Mesos;
use support::poll::{DEADLINE, poll_until};
use support::server::TestServer;

const TASKS: usize = 200;

pub(crate) fn measured(rounds: usize) -> Result<Vec<Row>, String> {
    let mesos = Mesos::start();
    let (mut alone, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=rounds.max(1) {
        eprintln!("benchmark 13, round {number} of {}", rounds.max(1));
        let (bare, borges) = (bare(&mesos)?, borges(&mesos)?);
        alone.push(bare);
        ours.push(borges);
        ratios.push(bare / borges);
    }
    let row = |contender: &str, walls: &[f64], more: Option<String>| Row {
        benchmark: 13,
        work: format!("{TASKS} × `true` on Mesos, two agents, {} rounds", ratios.len()),
        contender: contender.to_owned(),
        figures: [Spread::of(walls.iter().copied()).text(2, "s")].into_iter().chain(more).collect(),
    };
    let ratio = Spread::of(ratios.iter().copied()).text(3, "of the bare client's rate, round by round");
    Ok(vec![row("POST to a server", &ours, Some(ratio)), row("a bare client", &alone, None)])
}

/// Seconds until all have finished, with nothing kept and nothing told.
fn bare(mesos: &Mesos) -> Result<f64, String> {
    actix::System::new().block_on(async {
        let address = Address::read(&mesos.master.address).map_err(message)?;
        let mut master = HttpMaster::new(address, None, FetchUrls::new("", UrlSigner::new(b"")));
        let framework = FrameworkInfo {
            user: "root".to_owned(),
            name: "bare".to_owned(),
            roles: vec!["*".to_owned()],
            checkpoint: Some(true),
            capabilities: vec![Capability { r#type: Some(capability::Type::MultiRole as i32) }],
            ..FrameworkInfo::default()
        };
        let mut events =
            master.subscribe(calls::subscribe(framework, Vec::new())).await.map_err(message)?.events;
        let (mut id, mut launched, mut finished) = (String::new(), 0, HashSet::new());
        let clock = Clock::system();
        while finished.len() < TASKS {
            let event = tokio::time::timeout(DEADLINE, events.next()).await.map_err(message)?;
            let event = event.ok_or("the master has hung up")?;
            match event.map_err(message)? {
                Event::Subscribed { framework, .. } => id = framework,
                Event::Offers(offers) => {
                    for offer in offers {
                        let mut free = OfferedResources::new(offer.resources.clone());
                        let want = Quantities { milli_cpus: 200, mem_mib: 56, ..Quantities::default() };
                        let mut tasks = Vec::new();
                        while launched < TASKS
                            && let Some(resources) = free.allocate(&want)
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
                        master
                            .call(calls::accept(&id, [offer.id.value], tasks, refuse))
                            .await
                            .map_err(message)?;
                    }
                }
                Event::Update(update) => {
                    match update.state {
                        TaskState::Starting | TaskState::Running => {}
                        TaskState::Finished => drop(finished.insert(update.launch.clone())),
                        other => return Err(format!("`true` is {other:?}")),
                    }
                    if let Some(acknowledge) = calls::acknowledge(&id, &update) {
                        master.call(acknowledge).await.map_err(message)?;
                    }
                }
                _ => {}
            }
        }
        let took = clock.elapsed().as_secs_f64();
        master.call(calls::teardown(&id)).await.map_err(message)?;
        Ok(took)
    })
}

/// Seconds from the POST to the run's end.
fn borges(mesos: &Mesos) -> Result<f64, String> {
    let server = TestServer::with_setupfile(&format!("#+mesos_master: {}\n", mesos.master.address));
    let mut client = Client::connect(&server.address)?;
    poll_until(DEADLINE, "the server is connected", || match client.send("GET", "/varz", "") {
        Ok(text) if text.contains("\"connected\":true") => Ok(()),
        other => Err(other),
    });
    let mut feed = Client::listen(&server.address, "")?;
    let document = "#+begin_src sh :cpu 0.2\ntrue\n#+end_src\n".repeat(TASKS);
    let clock = Clock::system();
    let run = client.submit(&document)?;
    feed.wait_for_run_end(&run)?;
    Ok(clock.elapsed().as_secs_f64())
}

//! The embedded cluster's own cost: blocks of `true` on two slots, beside a bare spawn loop with two threads.
//!
//! `cargo bench --bench agent -- [BLOCKS [DIRECTORY]]`; sandboxes go to DIRECTORY (the file system is a large
//! part of a start), else to the temporary directory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_precision_loss, reason = "a benchmark")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use borges_clock::Clock;
use borges_embedded::{AGENT_ID, AgentOptions, Client};
use borges_mesos::messages::{AgentId, CommandInfo, FrameworkInfo, TaskId, TaskInfo};
use borges_mesos::payload::TaskPayload;
use borges_mesos::resources::Quantities;
use borges_mesos::{Event, Master, calls};
use futures_util::StreamExt;
use support::poll::{DEADLINE, poll_until};

const ROUNDS: usize = 5;
const SLOTS: u64 = 2;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let blocks: usize = arguments.next().map_or(2_000, |blocks| blocks.parse().expect("a number of blocks"));
    let place = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("{blocks} blocks of `true`, {SLOTS} slots, sandboxes in {}", place.display());
    println!("round  agent wall  agent CPU  client CPU  loop wall  loop CPU  wall ratio   (µs a block)");
    // Removed only at the end: ext4 is slow to make files where many were removed within minutes.
    let mut directories = Vec::new();
    for round in 1..=ROUNDS {
        let directory = tempfile::tempdir_in(&place).unwrap();
        let agent = runtime.block_on(on_the_agent(directory.path(), blocks));
        directories.push(directory);
        let bare = spawn_loop(blocks);
        let ratio = agent.wall / bare.wall;
        println!(
            "{round:5}  {:10.0}  {:9.1}  {:10.1}  {:9.0}  {:8.1}  {ratio:10.2}",
            agent.wall, agent.agent, agent.own, bare.wall, bare.own
        );
    }
}

/// Microseconds a block.
struct Cost {
    wall: f64,
    agent: f64,
    own: f64,
}

async fn on_the_agent(directory: &Path, blocks: usize) -> Cost {
    let options = AgentOptions {
        milli_cpus: SLOTS * 1000,
        mem_mib: 1024,
        end_with_client: true,
        ..AgentOptions::new(directory.to_owned())
    };
    let mut client = Client::new(options, support::program::path().to_owned());
    let info = FrameworkInfo { user: "u".into(), name: "bench".into(), ..FrameworkInfo::default() };
    let mut events = client.subscribe(calls::subscribe(info, vec![])).await.unwrap().events;
    let Some(Ok(Event::Subscribed { framework, .. })) = events.next().await else { panic!("not subscribed") };
    let agent = agent_of(directory);
    let clock = Clock::system();
    let (cpu, own) = (cpu(&agent), cpu("self"));
    let (mut launched, mut done) = (0, 0);
    while done < blocks {
        match events.next().await.unwrap().unwrap() {
            Event::Offers(offers) => {
                for offer in offers {
                    let room = Quantities::of(&offer.resources).milli_cpus / 1000;
                    let tasks: Vec<_> =
                        (launched..blocks).take(usize::try_from(room).unwrap()).map(task).collect();
                    launched += tasks.len();
                    let call =
                        calls::accept(&framework, [offer.id.value], tasks, Some(Duration::from_hours(1)));
                    client.call(call).await.unwrap();
                }
            }
            Event::Update(update) => {
                done += usize::from(update.state.is_terminal());
                client.call(calls::acknowledge(&framework, &update).unwrap()).await.unwrap();
            }
            _ => {}
        }
    }
    let each = |nanoseconds: u64| nanoseconds as f64 / 1000.0 / blocks as f64;
    Cost {
        wall: clock.elapsed().as_secs_f64() * 1e6 / blocks as f64,
        agent: each(self::cpu(&agent) - cpu),
        own: each(self::cpu("self") - own),
    }
}

fn task(number: usize) -> TaskInfo {
    TaskInfo {
        name: format!("true/r.{number}.1"),
        task_id: TaskId { value: format!("01a20050-d400-7759-b9d1-ddf9e7e84fa0.{number}.1") },
        agent_id: AgentId { value: AGENT_ID.into() },
        resources: Quantities { milli_cpus: 1000, mem_mib: 56, ..Quantities::default() }
            .to_resources(Some("*")),
        command: Some(CommandInfo {
            shell: Some(false),
            value: Some("true".into()),
            arguments: vec!["true".into(), "block/body".into()],
            ..CommandInfo::default()
        }),
        data: Some(TaskPayload::body("true\n").to_bytes()),
        ..TaskInfo::default()
    }
}

fn spawn_loop(blocks: usize) -> Cost {
    let clock = Clock::system();
    let spawned: f64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..SLOTS)
            .map(|_| {
                scope.spawn(|| {
                    let own = cpu("thread-self");
                    for _ in 0..blocks / usize::try_from(SLOTS).unwrap() {
                        let mut command = Command::new("/bin/true");
                        command.stdin(Stdio::null()).stdout(Stdio::null()).env_clear();
                        assert!(command.status().unwrap().success());
                    }
                    (cpu("thread-self") - own) as f64
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    Cost {
        wall: clock.elapsed().as_secs_f64() * 1e6 / blocks as f64,
        agent: 0.0,
        own: spawned / 1000.0 / blocks as f64,
    }
}

/// The agent's process: of the two, the one with the role.
fn agent_of(directory: &Path) -> String {
    let wanted = directory.canonicalize().unwrap();
    let wanted = wanted.to_str().unwrap();
    poll_until(DEADLINE, "the agent runs", || {
        let mut processes = fs::read_dir("/proc").unwrap().flatten();
        let agent = processes.find(|process| {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains(wanted) && line.ends_with("--role\0agent\0")
        });
        agent.map(|process| process.file_name().into_string().unwrap())
    })
}

/// What a process, or thread, has had of the processors, in nanoseconds.
fn cpu(of: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{of}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

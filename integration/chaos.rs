//! `kill -9` of the server, of the agent, or of both, at moments drawn from a seed, while blocks run that end with codes
//! drawn beforehand.
//!
//! A moment is a count of started blocks, not a time, so that a seed means the same on a slow machine.
//!
//! ```text
//! BORGES_ROUNDS=100   number of rounds, 30 by default          BORGES_SEED=N   the seed, 1 by default
//! ```
#![allow(clippy::disallowed_methods, reason = "what a block says of the time is compared with it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::poll::{DEADLINE, poll, poll_until};
use support::server::TestServer;

/// The number of blocks in a document.
const BLOCKS: usize = 200;

/// The processes that are killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Server,
    Agent,
    Both,
}

/// The outcome of a round.
struct Round {
    victim: Victim,
    /// The number of blocks that ran at that moment.
    live: usize,
    faults: Vec<String>,
}

#[test]
fn blocks_run_exactly_once_across_kills_of_server_and_agent() {
    let number = |variable| std::env::var(variable).ok().and_then(|text: String| text.parse::<u64>().ok());
    let rounds = number("BORGES_ROUNDS").unwrap_or(30);
    let seed = number("BORGES_SEED").unwrap_or(1);
    println!("BORGES_SEED={seed} BORGES_ROUNDS={rounds}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut server = TestServer::with_setupfile("#+borges_cpus: 16\n#+borges_mem: 65536\n");
    let mut done: Vec<Round> = Vec::new();
    for _ in 0..rounds {
        let round = play_round(&mut server, &mut rng);
        let Round { victim, live, faults } = &round;
        println!(
            "round {:3}: {:6} killed, {live:2} blocks ran: {faults:?}",
            done.len() + 1,
            format!("{victim:?}")
        );
        done.push(round);
    }
    let mut table: BTreeMap<Victim, (usize, usize, usize)> = BTreeMap::new();
    for Round { victim, live, faults } in &done {
        let (rounds, hit, wrong) = table.entry(*victim).or_default();
        *rounds += 1;
        *hit += usize::from(*live > 0);
        *wrong += faults.len();
    }
    for (victim, (rounds, hit, wrong)) in &table {
        println!("{victim:?}: {rounds} rounds, {hit} hit a live block, {wrong} faults");
    }
    let hit = done.iter().filter(|round| round.live > 0).count();
    assert!(done.iter().all(|round| round.faults.is_empty()), "see above; BORGES_SEED={seed}");
    assert!(hit * 3 >= done.len(), "only {hit} of {} kills hit a live block", done.len());
}

/// The server is killed while a block waits for its second launch. The restarted server neither launches the block at
/// once nor begins the pause anew.
#[test]
fn retry_pause_continues_across_a_server_kill() {
    let mut server = TestServer::start();
    let tries = server.path("tries");
    let run = server.submit(&format!(
        "#+begin_src sh :retry 1 :backoff 12s\ndate +%s%N >> {}\nexit 1\n#+end_src\n",
        tries.display()
    ));
    let task = format!("/tasks/{run}.1");
    // When each launch began, by the clock of the machine, as this test reads it too.
    let launches = || -> Vec<Duration> {
        let text = fs::read_to_string(&tries).unwrap_or_default();
        text.lines().map(|line| Duration::from_nanos(line.parse().unwrap())).collect()
    };
    // What is left of the pause, in whole seconds, rounded up.
    let left = |server: &TestServer| -> Result<u64, String> {
        let (_, text) = server.curl(&["-H", "Accept: application/json"], &task);
        let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
        let reason = shown["reason"].as_str().unwrap_or_default();
        let seconds =
            reason.strip_prefix("backs off for ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        seconds.ok_or(text)
    };
    let (asked, before) = poll_until(DEADLINE, "the pause begins", || {
        let asked = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        left(&server).map(|left| (asked, left))
    });
    let killed_at = poll_until(DEADLINE, "half of the pause is over", || {
        left(&server).and_then(|left| if left <= before / 2 { Ok(left) } else { Err(left.to_string()) })
    });
    assert_eq!(launches().len(), 1);
    server.stop(Signal::SIGKILL);
    server.restart();
    // On a slow machine the pause may be over by now.
    if let Ok(after) = left(&server) {
        println!("{before} s were left, {killed_at} s before the kill, and {after} s after it");
        assert!(after <= killed_at, "the pause began anew");
    }
    let second = poll_until(DEADLINE, "the second launch", || launches().get(1).copied());
    // Rounded up, a second less was left at least.
    let earliest = asked + Duration::from_secs(before - 1);
    assert!(second >= earliest, "the pause was cut short: launched at {second:?}, not from {earliest:?} on");
}

/// Submits a document, kills processes while it runs, and checks its blocks.
fn play_round(server: &mut TestServer, rng: &mut fastrand::Rng) -> Round {
    let effects = server.path("effects");
    fs::write(&effects, "").unwrap();
    let codes: Vec<i32> = (0..BLOCKS).map(|_| if rng.bool() { 0 } else { rng.i32(1..126) }).collect();
    let mut document = String::new();
    for (number, code) in (1..).zip(&codes) {
        // A line of that length is written as a whole.
        let pause = f64::from(rng.u32(0..300)) / 1000.0;
        let after = if number > 10 && rng.u32(0..4) == 0 {
            format!(" :after b{}", rng.i32(1..number))
        } else {
            String::new()
        };
        writeln!(
            document,
            "#+name: b{number}\n#+begin_src sh :cpu 1 :mem 16{after}\necho {number} >> {}\nsleep {pause}\nexit {code}\n#+end_src",
            effects.display()
        )
        .unwrap();
    }
    let run = server.submit(&document);
    let victim = *rng.choice(&[Victim::Server, Victim::Agent, Victim::Both]).unwrap();
    let state = server.path("state").canonicalize().unwrap();
    let started = || fs::read_to_string(&effects).unwrap().lines().count();
    let moment = rng.usize(..BLOCKS);
    poll_until(DEADLINE, &format!("{moment} blocks have started"), || match started() {
        started if started >= moment => Ok(()),
        started => Err(started),
    });
    let live = blocks_of(&state);
    if victim != Victim::Server
        && let Some(agent) = agent_of(&state)
    {
        let _gone = kill(agent, Signal::SIGKILL);
    }
    if victim != Victim::Agent {
        server.stop(Signal::SIGKILL);
        // Some blocks end while no server lives; which part of them is drawn.
        let still = live * rng.usize(..=4) / 4;
        poll_until(DEADLINE, &format!("at most {still} blocks run"), || match blocks_of(&state) {
            left if left <= still => Ok(()),
            left => Err(left),
        });
        server.restart();
    }
    let mut faults = Vec::new();
    if let Err(last) = wait_for_end(server, &run) {
        faults.push(format!("it does not end: {last}"));
    }
    check_tasks(server, &run, &codes, &fs::read_to_string(&effects).unwrap(), &mut faults);
    Round { victim, live, faults }
}

/// Waits until the run has ended; the error is the last line that the server shows of it.
fn wait_for_end(server: &TestServer, run: &str) -> Result<(), String> {
    poll(DEADLINE, || match server.curl(&[], &format!("/org/{run}")).1 {
        line if line.contains(&format!("{BLOCKS} of {BLOCKS} ended")) => Ok(()),
        line => Err(line),
    })
}

/// Checks that each block ran exactly once and ended with its exit code.
fn check_tasks(server: &TestServer, run: &str, codes: &[i32], effects: &str, faults: &mut Vec<String>) {
    let (_, text) = server.curl(&["-H", "Accept: application/json"], &format!("/tasks?run={run}"));
    let page: serde_json::Value = serde_json::from_str(&text).unwrap();
    let tasks = page["tasks"].as_array().unwrap();
    if tasks.len() != codes.len() {
        faults.push(format!("{} tasks of {}", tasks.len(), codes.len()));
    }
    for ((number, code), task) in (1..).zip(codes).zip(tasks) {
        let state = if *code == 0 { "finished" } else { "failed" };
        if task["state"] != state || task["exit_code"] != *code {
            faults.push(format!("b{number} was to end with {code}: {task}"));
        }
        let times = effects.lines().filter(|line| *line == number.to_string()).count();
        if times != 1 {
            faults.push(format!("b{number} ran {times} times: {task}"));
        }
    }
}

/// The number of blocks that run now, counted by their sandboxes.
fn blocks_of(state: &Path) -> usize {
    let sandbox = format!("MESOS_SANDBOX={}/", state.display());
    let mut sandboxes = BTreeSet::new();
    processes("environ", |environment| {
        sandboxes.extend(environment.iter().find(|variable| variable.starts_with(&sandbox)).cloned());
        false
    });
    sandboxes.len()
}

/// The process of the agent, and not that of its reaper.
fn agent_of(state: &Path) -> Option<Pid> {
    let state = state.display().to_string();
    let found = processes("cmdline", |words| {
        let follows =
            |word: &str, next: &str| words.windows(2).any(|pair| pair[0] == word && pair[1] == next);
        follows("--directory", &state) && follows("--role", "agent")
    });
    // A block looks like its parent until it has become what it is to be.
    found.iter().copied().find(|&pid| parent(pid).is_none_or(|parent| !found.contains(&parent)))
}

fn parent(process: Pid) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok().map(Pid::from_raw)
}

/// The processes for which the words of `/proc/PID/FILE` satisfy a condition.
fn processes(file: &str, mut such: impl FnMut(&[String]) -> bool) -> Vec<Pid> {
    let found = fs::read_dir("/proc").unwrap().flatten().filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let text = fs::read(process.path().join(file)).ok()?;
        let words: Vec<String> =
            text.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        such(&words).then(|| Pid::from_raw(pid))
    });
    found.collect()
}

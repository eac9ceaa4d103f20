//! `kill -9` at random moments: of the server, of the agent, of both, while blocks run that end with codes drawn
//! beforehand.
//!
//! ```text
//! BORGES_ROUNDS=100   so many rounds          BORGES_SEED=N   the rounds of that seed again
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::server::Served;

/// Blocks of a document.
const BLOCKS: usize = 200;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Server,
    Agent,
    Both,
}

/// What came of a round.
struct Round {
    victim: Victim,
    /// Blocks that ran at that moment.
    live: usize,
    faults: Vec<String>,
}

#[test]
fn whatever_is_killed_every_block_runs_to_its_end() {
    let number = |variable| std::env::var(variable).ok().and_then(|text: String| text.parse::<u64>().ok());
    let rounds = number("BORGES_ROUNDS").unwrap_or(30);
    let seed = number("BORGES_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("BORGES_SEED={seed} BORGES_ROUNDS={rounds}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut served = Served::with("#+borges_cpus: 16\n#+borges_mem: 65536\n");
    let mut done: Vec<Round> = Vec::new();
    for _ in 0..rounds {
        let round = play(&mut served, &mut rng);
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

/// A block that is between two tries when the server is killed: the next server neither launches it at once, nor lets
/// it wait for the whole of its pause again.
#[test]
fn what_is_delayed_waits_for_the_rest_of_its_pause() {
    let mut served = Served::start();
    let tries = served.path("tries");
    let run = served.submit(&format!(
        "#+begin_src sh :retry 1 :backoff 12s\necho again >> {}\nexit 1\n#+end_src\n",
        tries.display()
    ));
    let task = format!("/tasks/{run}.1");
    let launches = || fs::read_to_string(&tries).unwrap_or_default().lines().count();
    // What is left of the pause, in seconds, begun ones counted; and when that was true at the latest.
    let left = |served: &Served| {
        let (_, text) = served.curl(&["-H", "Accept: application/json"], &task);
        let task: serde_json::Value = serde_json::from_str(&text).unwrap();
        let reason = task["reason"].as_str().unwrap_or_default();
        let seconds = reason.strip_prefix("backs off for ")?.split(' ').next()?.parse::<u64>().ok()?;
        Some((Duration::from_secs(seconds), Instant::now()))
    };
    let (before, seen) = wait_for(|| left(&served));
    // A good part of the pause goes by.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(launches(), 1);
    served.signal(Signal::SIGKILL);
    served.run();
    let began = Instant::now();
    match left(&served) {
        Some((after, _)) => {
            println!("{before:?} were left; {:?} later, in the next life, {after:?}", seen.elapsed());
            assert!(after + (began - seen) <= before + Duration::from_secs(1), "the pause began anew");
        }
        // It is over: the machine was slow.
        None => assert!(seen.elapsed() + Duration::from_secs(1) >= before, "it was forgotten"),
    }
    wait_for(|| (launches() == 2).then_some(()));
    println!("launched again {:?} after {before:?} were left", seen.elapsed());
    assert!(seen.elapsed() + Duration::from_secs(2) >= before, "the pause was cut short");
}

fn wait_for<T>(look: impl Fn() -> Option<T>) -> T {
    for _ in 0..1200 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("it does not come to pass");
}

/// A document, a kill while it runs, and what became of its blocks.
fn play(served: &mut Served, rng: &mut fastrand::Rng) -> Round {
    let effects = served.path("effects");
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
    let run = served.submit(&document);
    let victim = *rng.choice(&[Victim::Server, Victim::Agent, Victim::Both]).unwrap();
    std::thread::sleep(Duration::from_millis(rng.u64(0..2500)));
    let state = served.path("state").canonicalize().unwrap();
    let live = blocks_of(&state);
    if victim != Victim::Server
        && let Some(agent) = agent_of(&state)
    {
        let _gone = kill(agent, Signal::SIGKILL);
    }
    if victim != Victim::Agent {
        served.signal(Signal::SIGKILL);
        std::thread::sleep(Duration::from_millis(rng.u64(0..300)));
        served.run();
    }
    let mut faults = Vec::new();
    if !ended(served, &run) {
        faults.push("it does not end".to_owned());
    }
    judge(served, &run, &codes, &fs::read_to_string(&effects).unwrap(), &mut faults);
    Round { victim, live, faults }
}

/// Waits until the run has ended; `false` when it does not.
fn ended(served: &Served, run: &str) -> bool {
    (0..1200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        served.curl(&[], &format!("/org/{run}")).1.contains(&format!("{BLOCKS} of {BLOCKS} ended"))
    })
}

/// Whether each block ran exactly once, and ended with its code.
fn judge(served: &Served, run: &str, codes: &[i32], effects: &str, faults: &mut Vec<String>) {
    let (_, text) = served.curl(&["-H", "Accept: application/json"], &format!("/tasks?run={run}"));
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

/// How many blocks run now: each has a sandbox of its own.
fn blocks_of(state: &Path) -> usize {
    let sandbox = format!("MESOS_SANDBOX={}/", state.display());
    let mut sandboxes = BTreeSet::new();
    processes("environ", |environment| {
        sandboxes.extend(environment.iter().find(|variable| variable.starts_with(&sandbox)).cloned());
        false
    });
    sandboxes.len()
}

/// The agent, which is not the reaper.
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

/// The processes of which the words of a file in `/proc` are such.
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

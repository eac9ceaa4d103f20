//! Benchmark 3: from a POST to the block's first instruction, and to its end as a websocket tells it; beside
//! the same shell, spawned bare.
//!
//! The block's first instruction is bash's telling the time, so that of the shell's own start is in both.

use std::fs;
use std::process::{Command, Stdio};

use borges_clock::Clock;
use jiff::Timestamp;

use crate::client::Client;
use crate::measure::{Spread, quantile};
use crate::{Row, message};
use support::server::TestServer;

const TIMES: usize = 200;
const SCRIPT: &str = "echo $EPOCHREALTIME\n";

/// Milliseconds of one contender's turn, each sorted.
#[derive(Default)]
struct Turn {
    accepted: Vec<f64>,
    started: Vec<f64>,
    seen: Vec<f64>,
}

pub(crate) fn measured(rounds: usize) -> Result<Vec<Row>, String> {
    let rounds = rounds.max(1);
    let times = TIMES.div_ceil(rounds);
    let server = TestServer::with_setupfile("");
    let script = server.path("script");
    fs::write(&script, SCRIPT).map_err(message)?;
    let (mut borges, mut bare) = (Vec::new(), Vec::new());
    for number in 1..=rounds {
        eprintln!("benchmark 3, round {number} of {rounds}");
        borges.push(posted(&server, times)?);
        let mut turn = Turn::default();
        for _ in 0..times {
            let mut command = Command::new("/bin/bash");
            let begun = Clock::system().now();
            let output = command.arg(&script).stdin(Stdio::null()).output().map_err(message)?;
            turn.seen.push(since(begun, Clock::system().now()));
            turn.started.push(since(begun, told(&String::from_utf8_lossy(&output.stdout))?));
        }
        bare.push(turn.sorted());
    }
    let row = |contender: &str, turns: &[Turn]| {
        let of = |of: fn(&Turn) -> &Vec<f64>, share| {
            Spread::of(turns.iter().map(|turn| quantile(of(turn), share)))
        };
        let differs = |of_turn: fn(&Turn) -> &Vec<f64>| {
            let middle =
                |turns: &[Turn]| Spread::of(turns.iter().map(|turn| quantile(of_turn(turn), 0.5))).median;
            format!("bare {:+.2} ms", middle(turns) - middle(&bare))
        };
        let mut figures = vec![
            of(|turn| &turn.started, 0.5).text(2, "ms to the first instruction"),
            differs(|turn| &turn.started),
            of(|turn| &turn.seen, 0.5).text(2, "ms to its end, seen"),
            of(|turn| &turn.seen, 0.99).text(2, "ms p99"),
        ];
        if turns.iter().any(|turn| !turn.accepted.is_empty()) {
            figures.push(of(|turn| &turn.accepted, 0.5).text(2, "ms to the answer"));
        }
        let work = format!("one block, {} times, {rounds} rounds", times * rounds);
        Row { benchmark: 3, work, contender: contender.to_owned(), figures }
    };
    Ok(vec![row("POST to a server", &borges), row("posix_spawn", &bare)])
}

fn posted(server: &TestServer, times: usize) -> Result<Turn, String> {
    let document = format!("#+begin_src bash\n{SCRIPT}#+end_src\n");
    let mut client = Client::connect(&server.address)?;
    let mut feed = Client::listen(&server.address, "")?;
    let clock = Clock::system();
    let mut turn = Turn::default();
    for _ in 0..times {
        let begun = clock.now();
        let run = client.submit(&document)?;
        turn.accepted.push(since(begun, clock.now()));
        while !feed.next_frame()?.contains("\"finished\"") {}
        turn.seen.push(since(begun, clock.now()));
        feed.wait_for_run_end(&run)?;
        let output = client.send("GET", &format!("/tasks/{run}.1/stdout"), "")?;
        turn.started.push(since(begun, told(&output)?));
    }
    Ok(turn.sorted())
}

impl Turn {
    fn sorted(mut self) -> Self {
        for times in [&mut self.accepted, &mut self.started, &mut self.seen] {
            times.sort_by(f64::total_cmp);
        }
        self
    }
}

/// The time as bash writes it, in seconds with six decimals.
fn told(output: &str) -> Result<Timestamp, String> {
    let digits: String = output.trim().chars().filter(char::is_ascii_digit).collect();
    let micros = digits.parse().map_err(|_| format!("the block wrote `{output}`, no time"))?;
    Timestamp::from_microsecond(micros).map_err(message)
}

fn since(begun: Timestamp, then: Timestamp) -> f64 {
    then.duration_since(begun).as_secs_f64() * 1e3
}

//! Benchmark 2: a thousand blocks `echo hi` through a server, the output stored and read over HTTP, beside
//! task-spooler with as many slots.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use borges_clock::Clock;

use crate::client::Client;
use crate::measure::Spread;
use crate::{Row, documents, message};
use support::server::TestServer;

const SLOTS: usize = 2;
const BLOCKS: usize = 1_000;

/// Seconds of one round.
struct Round {
    borges: f64,
    /// All output read, when all had ended.
    read: f64,
    spooler: f64,
}

pub(crate) fn measured(rounds: usize) -> Result<Vec<Row>, String> {
    let mut done = Vec::new();
    for number in 1..=rounds.max(1) {
        eprintln!("benchmark 2, round {number} of {}", rounds.max(1));
        let (borges, read) = borges()?;
        done.push(Round { borges, read, spooler: spooler()? });
    }
    let spread = |of: fn(&Round) -> f64| Spread::of(done.iter().map(of));
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = |wall: &Spread| BLOCKS as f64 / wall.median;
    let (borges, spooler) = (spread(|round| round.borges), spread(|round| round.spooler));
    let row = |contender: &str, wall: &Spread, more: Option<String>| {
        let ratio = format!("{:.2} × task-spooler's rate", spooler.median / wall.median);
        Row {
            benchmark: 2,
            work: format!("{BLOCKS} blocks `echo hi`, {SLOTS} slots, {} rounds", done.len()),
            contender: contender.to_owned(),
            figures: [wall.text(2, "s"), format!("{:.0} a second", rate(wall)), ratio]
                .into_iter()
                .chain(more)
                .collect(),
        }
    };
    let read = spread(|round| round.read).text(2, "s to read all output over HTTP");
    Ok(vec![row("POST to a server", &borges, Some(read)), row("task-spooler", &spooler, None)])
}

/// From the POST to the run's end, and then all that was written.
fn borges() -> Result<(f64, f64), String> {
    let server = TestServer::with_setupfile(&format!("#+borges_cpus: {SLOTS}\n"));
    let mut feed = Client::listen(&server.address, "")?;
    let clock = Clock::system();
    let run = Client::connect(&server.address)?.submit(&documents::echoes(BLOCKS))?;
    feed.wait_for_run_end(&run)?;
    let ended = clock.elapsed();
    // The first connection may have been idle for too long.
    let mut client = Client::connect(&server.address)?;
    for number in 1..=BLOCKS {
        let output = client.send("GET", &format!("/tasks/{run}.{number}/stdout"), "")?;
        if output != "hi\n" {
            return Err(format!("block {number} wrote `{output}`, not `hi`"));
        }
    }
    Ok((ended.as_secs_f64(), clock.elapsed().saturating_sub(ended).as_secs_f64()))
}

/// From the first submission until the last output lies in its file.
fn spooler() -> Result<f64, String> {
    let dir = tempfile::tempdir().map_err(message)?;
    let call = |arguments: &[&str]| {
        let mut command = Command::new("tsp");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        command.env("TS_SOCKET", dir.path().join("socket")).env("TMPDIR", dir.path());
        let status = command.env("TS_SLOTS", SLOTS.to_string()).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("`tsp` ended with {status}")),
            Err(error) => Err(format!("`tsp` does not start (Debian's package is task-spooler): {error}")),
        }
    };
    let clock = Clock::system();
    for _ in 0..BLOCKS {
        call(&["sh", "-c", "echo hi"])?;
    }
    call(&["-w"])?;
    // The other slot may be a moment later.
    while written(dir.path())? < BLOCKS {
        if clock.elapsed().as_secs() > 300 {
            return Err("task-spooler does not come to an end".to_owned());
        }
        sleep(Duration::from_millis(1));
    }
    let wall = clock.elapsed().as_secs_f64();
    call(&["-K"])?;
    Ok(wall)
}

/// How many jobs have written.
fn written(dir: &Path) -> Result<usize, String> {
    let files = fs::read_dir(dir).map_err(message)?.flatten();
    Ok(files.filter(|file| file.metadata().is_ok_and(|about| about.is_file() && about.len() == 3)).count())
}

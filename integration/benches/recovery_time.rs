//! Benchmark 12: a server is killed with a hundred thousand tasks in its store: the time from its next start to the
//! first launch, beside a scan of the same rows; and what a task takes on the disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use borges_clock::Clock;
use borges_store::{RedbStore, Store};
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::measure::Spread;
use crate::{Row, message};
use support::poll::{DEADLINE, poll_until};
use support::server::{TestServer, wait_for_line};

const TASKS: usize = 100_000;

/// Seconds, and bytes.
struct Turn {
    first_launch: f64,
    scan: f64,
    bytes: f64,
}

pub(crate) fn measured(rounds: usize) -> Result<Vec<Row>, String> {
    let mut turns = Vec::new();
    for number in 1..=rounds.max(1) {
        eprintln!("benchmark 12, round {number} of {}", rounds.max(1));
        turns.push(turn()?);
    }
    let spread = |of: fn(&Turn) -> f64| Spread::of(turns.iter().map(of));
    let (launch, scan) = (spread(|turn| turn.first_launch), spread(|turn| turn.scan));
    let row = |contender: &str, figures| Row {
        benchmark: 12,
        work: format!("kill -9 with {TASKS} tasks in the store, {} rounds", turns.len()),
        contender: contender.to_owned(),
        figures,
    };
    Ok(vec![
        row(
            "start to the first launch",
            vec![
                launch.text(2, "s"),
                format!("{:.1} × the scan", launch.median / scan.median),
                spread(|turn| turn.bytes).text(0, "B a task on disk, its text included"),
            ],
        ),
        row("a scan of the rows", vec![scan.text(2, "s")]),
    ])
}

fn turn() -> Result<Turn, String> {
    let mut server = TestServer::with_setupfile("#+borges_cpus: 1\n");
    let gate = server.path("gate");
    let first = format!(
        "#+begin_src sh\necho $$ >{0}.pid; while [ ! -e {0} ]; do sleep 0.01; done\n#+end_src\n",
        gate.display()
    );
    let rest = "#+begin_src sh\nsleep 1000\n#+end_src\n".repeat(TASKS - 1);
    let run = Client::connect(&server.address)?.submit(&format!("{first}{rest}"))?;
    server.wait_for_state(&format!("{run}.1"), "running");
    server.stop(Signal::SIGKILL);
    // The block ends meanwhile: there is room for the next at once.
    fs::write(&gate, "").map_err(message)?;
    let pid = poll_until(DEADLINE, "the block has written its process id", || {
        fs::read_to_string(gate.with_extension("pid")).ok().filter(|pid| pid.ends_with('\n'))
    });
    poll_until(DEADLINE, "the block has ended", || !Path::new("/proc").join(pid.trim()).exists());

    let store = server.path("state/store.redb");
    let copy = server.path("copy.redb");
    fs::copy(&store, &copy).map_err(message)?;
    let clock = Clock::system();
    let rows = RedbStore::open(&copy).and_then(|store| store.load()).map_err(message)?;
    let scan = clock.elapsed().as_secs_f64();
    if rows.runs.iter().map(|run| run.tasks.len()).sum::<usize>() != TASKS {
        return Err("the store does not hold what was accepted".to_owned());
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = (fs::metadata(&store).map_err(message)?.blocks() * 512) as f64 / TASKS as f64;

    let begun = clock.elapsed();
    let mut program = server.command().stderr(Stdio::piped()).spawn().map_err(message)?;
    let log = program.stderr.take().ok_or("the log is there")?;
    let found = wait_for_line(log, "] Launching ");
    let first_launch = clock.elapsed().saturating_sub(begun).as_secs_f64();
    program.kill().and_then(|()| program.wait()).map_err(message)?;
    if !found {
        return Err("nothing was launched after the start".to_owned());
    }
    Ok(Turn { first_launch, scan, bytes })
}

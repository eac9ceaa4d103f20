//! Benchmark 1: a document of blocks `true` on an embedded cluster with two slots, beside what any program
//! pays that starts as many shells: a loop of `posix_spawn` in two threads, and `xargs -P2`.
//!
//! Borges' own CPU is that of all its processes, agent and reaper included, less what the bare loop's
//! children cost in the same round.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::measure::{Cost, Spread, cpu_of_this, tree};
use crate::{Row, documents};

const SLOTS: usize = 2;

/// One round: each contender once.
struct Round {
    borges: Cost,
    /// With the loop's own CPU, its children's left out.
    bare: (Cost, Duration),
    xargs: Cost,
    /// The loop with `/bin/true`, a program without a shell's start.
    bare_true: (Cost, Duration),
}

pub(crate) fn measured(blocks: usize, rounds: usize) -> Result<Vec<Row>, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::write(&path, text).map(|()| path).map_err(|error| error.to_string())
    };
    let document = write("true.org", documents::blocks(blocks))?;
    let setup = write("setup.org", format!("#+borges_cpus: {SLOTS}\n"))?;
    let lines = write("lines", "x\n".repeat(blocks))?;

    let mut done = Vec::new();
    for number in 1..=rounds.max(1) {
        eprintln!("benchmark 1, round {number} of {}", rounds.max(1));
        done.push(Round {
            borges: ran(dir.path(), &document, Some(&setup), blocks)?,
            bare: spawned(blocks, &["/bin/sh", "-c", "true"])?,
            xargs: xargs(&lines)?,
            bare_true: spawned(blocks, &["/bin/true"])?,
        });
    }
    Ok(rows(blocks, &done))
}

#[expect(clippy::cast_precision_loss, reason = "counts of blocks are far below 2^52")]
fn rows(blocks: usize, rounds: &[Round]) -> Vec<Row> {
    let count = blocks as f64;
    let bare_wall = Spread::of(rounds.iter().map(|round| round.bare.0.wall.as_secs_f64())).median;
    let row = |contender: &str, wall: &dyn Fn(&Round) -> Duration, own: &dyn Fn(&Round) -> f64| {
        let wall = Spread::of(rounds.iter().map(|round| wall(round).as_secs_f64()));
        let own = Spread::of(rounds.iter().map(|round| own(round) * 1e6 / count));
        Row {
            benchmark: 1,
            work: format!("{blocks} blocks `true`, {SLOTS} slots, {} rounds", rounds.len()),
            contender: contender.to_owned(),
            figures: vec![
                wall.text(2, "s"),
                format!("{:.2} × the loop", wall.median / bare_wall),
                format!("{:.0} a second", count / wall.median),
                own.text(0, "µs own CPU a block"),
            ],
        }
    };
    // What the children of the bare loop cost: the rest of its tree.
    let children = |round: &Round| round.bare.0.cpu.saturating_sub(round.bare.1).as_secs_f64();
    vec![
        row("borges run", &|round| round.borges.wall, &|round| {
            round.borges.cpu.as_secs_f64() - children(round)
        }),
        row("posix_spawn loop, sh -c true", &|round| round.bare.0.wall, &|round| round.bare.1.as_secs_f64()),
        row("xargs -P2, sh -c true", &|round| round.xargs.wall, &|round| {
            round.xargs.cpu.as_secs_f64() - children(round)
        }),
        row("posix_spawn loop, /bin/true", &|round| round.bare_true.0.wall, &|round| {
            round.bare_true.1.as_secs_f64()
        }),
    ]
}

/// The real thing, as a person calls it; its own state is thrown away with the folder.
pub(crate) fn ran(dir: &Path, document: &Path, setup: Option<&Path>, blocks: usize) -> Result<Cost, String> {
    let path = dir.join("stderr");
    let file = fs::File::create(&path).map_err(|error| error.to_string())?;
    let mut command = Command::new(support::program::path());
    command.arg("run").arg(document);
    if let Some(setup) = setup {
        command.arg("-f").arg(setup);
    }
    command.env("XDG_STATE_HOME", dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    let cost = tree(&mut command)?;
    let stderr = fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let summary = stderr.lines().last().unwrap_or_default();
    if cost.status.success() && summary == format!("{blocks} finished") {
        Ok(cost)
    } else {
        Err(format!("`borges run` ended with {} and its last line is: {summary}", cost.status))
    }
}

fn xargs(lines: &Path) -> Result<Cost, String> {
    let lines = fs::File::open(lines).map_err(|error| error.to_string())?;
    let mut command = Command::new("xargs");
    command.args([&format!("-P{SLOTS}"), "-n1", "/bin/sh", "-c", "true"]);
    tree(command.stdin(lines).stdout(Stdio::null())).and_then(well)
}

/// This program again, as the bare loop; the second value is its own CPU.
fn spawned(count: usize, program: &[&str]) -> Result<(Cost, Duration), String> {
    let own = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(this);
    command.arg("spawn-loop").arg(own.path()).arg(count.to_string()).args(program);
    let cost = tree(&mut command).and_then(well)?;
    let micros = fs::read_to_string(own.path()).map_err(|error| error.to_string())?;
    let micros = micros.parse().map_err(|_| format!("the loop wrote `{micros}`, not its CPU"))?;
    Ok((cost, Duration::from_micros(micros)))
}

fn well(cost: Cost) -> Result<Cost, String> {
    if cost.status.success() { Ok(cost) } else { Err(format!("a peer ended with {}", cost.status)) }
}

/// The bare loop: `spawn-loop FILE COUNT PROGRAM ARGUMENT…`. Its own CPU goes to the file.
///
/// `Command` comes down to `posix_spawn` here: an absolute path, nothing to do between fork and exec.
pub(crate) fn spawn_loop(arguments: &[String]) -> ExitCode {
    let [own, count, program, rest @ ..] = arguments else { return ExitCode::from(2) };
    let Ok(count) = count.parse::<usize>() else { return ExitCode::from(2) };
    let next = AtomicUsize::new(0);
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..SLOTS {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let ended = Command::new(program).args(rest).stdin(Stdio::null()).status();
                    if !ended.is_ok_and(|status| status.success()) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let written = cpu_of_this()
        .and_then(|cpu| fs::write(own, cpu.as_micros().to_string()).map_err(|error| error.to_string()));
    if written.is_ok() && failed.load(Ordering::Relaxed) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

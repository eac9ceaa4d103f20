//! Benchmark 7: documents of three blocks, answered when they are on the disk, beside a loop of writes of which
//! each waits for it. On a real disk: below `target`, wherever that is.

use std::fs::{File, create_dir_all};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use borges_clock::Clock;

use crate::client::request;
use crate::measure::{Spread, quantile};
use crate::submit_throughput::turn;
use crate::{Row, documents, message};
use support::server::TestServer;

const CONNECTIONS: [usize; 2] = [1, 64];
/// How long each turn lasts.
const LENGTH: Duration = Duration::from_secs(3);
/// Writes of a turn of the loop.
const WRITES: usize = 1_000;

pub(crate) fn measured(rounds: usize) -> Result<Vec<Row>, String> {
    let disk = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    create_dir_all(&disk).map_err(message)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(message)?;
    let request = request("POST", "/org", &documents::waiting(3));
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        let server = TestServer::start_below(&disk, "#+borges_port: 0\n");
        let (mut middle, mut rate, mut synced) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=rounds.max(1) {
            eprintln!("benchmark 7, {connections} connections, round {number} of {}", rounds.max(1));
            let turn =
                runtime.block_on(turn(&server.address, server.pid(), &request, connections, LENGTH))?;
            let mut times = turn.times;
            times.sort_by(f64::total_cmp);
            middle.push(quantile(&times, 0.5));
            rate.push(turn.rate * 3.0);
            synced.push(sync_loop(&disk)?);
        }
        let (middle, synced) = (Spread::of(middle), Spread::of(synced));
        let work =
            format!("POST of three blocks, saved, {connections} connections, {} rounds", rounds.max(1));
        let row = |contender: &str, figures| Row {
            benchmark: 7,
            work: work.clone(),
            contender: contender.to_owned(),
            figures,
        };
        rows.push(row(
            "Borges",
            vec![
                middle.text(2, "ms p50"),
                format!("{:.1} × an fdatasync", middle.median / synced.median),
                Spread::of(rate).text(0, "blocks a second"),
            ],
        ));
        rows.push(row("append, fdatasync", vec![synced.text(2, "ms p50")]));
    }
    Ok(rows)
}

/// Milliseconds of the middle one of many writes of a page, each of which waits for the disk.
fn sync_loop(disk: &std::path::Path) -> Result<f64, String> {
    let path = disk.join("sync-loop");
    let mut file = File::create(&path).map_err(message)?;
    let clock = Clock::system();
    let mut times = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let begun = clock.elapsed();
        file.write_all(&[7; 4096]).and_then(|()| file.sync_data()).map_err(message)?;
        times.push(clock.elapsed().saturating_sub(begun).as_secs_f64() * 1e3);
    }
    std::fs::remove_file(path).map_err(message)?;
    times.sort_by(f64::total_cmp);
    Ok(quantile(&times, 0.5))
}

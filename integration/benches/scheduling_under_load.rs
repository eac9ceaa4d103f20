//! Benchmark 5: what a start and an end cost the server while others wait, by how many do.

use crate::client::Client;
use crate::measure::{Spread, cpu_of};
use crate::waiting_task_cost::settle;
use crate::{Row, documents};
use support::server::TestServer;

const COUNTS: [usize; 2] = [1_000, 100_000];
/// Blocks that are started, and end.
const STARTED: usize = 500;

pub(crate) fn measured(rounds: usize) -> Result<Vec<Row>, String> {
    let mut done: [Vec<f64>; 2] = Default::default();
    for number in 1..=rounds.max(1) {
        eprintln!("benchmark 5, round {number} of {}", rounds.max(1));
        for (costs, count) in done.iter_mut().zip(COUNTS) {
            costs.push(started(count)?);
        }
    }
    let least = Spread::of(done[0].iter().copied()).median;
    let row = |(costs, count): (&Vec<f64>, usize)| {
        let cpu = Spread::of(costs.iter().copied());
        Row {
            benchmark: 5,
            work: format!("{STARTED} blocks `true` while others wait, {} rounds", costs.len()),
            contender: format!("{count} wait"),
            figures: vec![
                cpu.text(0, "µs of the server's CPU a block"),
                format!("{:.2} × that with {}", cpu.median / least, COUNTS[0]),
            ],
        }
    };
    Ok(done.iter().zip(COUNTS).map(row).collect())
}

/// Microseconds of a start and an end, their document's reading included.
fn started(waiting: usize) -> Result<f64, String> {
    let server = TestServer::with_setupfile("");
    let mut client = Client::connect(&server.address)?;
    client.submit(&documents::waiting(waiting))?;
    settle(server.pid())?;
    let mut feed = Client::listen(&server.address, "")?;
    let before = cpu_of(server.pid())?;
    let run = client.submit(&"#+begin_src sh\ntrue\n#+end_src\n".repeat(STARTED))?;
    feed.wait_for_run_end(&run)?;
    settle(server.pid())?;
    let cpu = cpu_of(server.pid())?.saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = cpu.as_secs_f64() * 1e6 / STARTED as f64;
    Ok(each)
}

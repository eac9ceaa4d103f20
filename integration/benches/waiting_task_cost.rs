//! Benchmark 4: blocks that are accepted and find no room: what each costs, by how many they are.
//!
//! As many wait already, so that what is counted is held for the blocks, not for the reading of their document.

use borges_clock::Clock;

use crate::client::Client;
use crate::measure::{Spread, cpu_of, cpu_of_threads, memory_of};
use crate::{Row, documents};
use support::server::TestServer;

const COUNTS: [usize; 3] = [1_000, 10_000, 100_000];

/// What a block cost: microseconds and bytes.
struct Cost {
    cpu: f64,
    /// Of that, the store's.
    store: f64,
    memory: f64,
}

pub(crate) fn measured(rounds: usize) -> Result<Vec<Row>, String> {
    let mut done: [Vec<Cost>; 3] = Default::default();
    for number in 1..=rounds.max(1) {
        eprintln!("benchmark 4, round {number} of {}", rounds.max(1));
        for (costs, count) in done.iter_mut().zip(COUNTS) {
            costs.push(accepted(count)?);
        }
    }
    let spread = |costs: &[Cost], of: fn(&Cost) -> f64| Spread::of(costs.iter().map(of));
    let least = spread(&done[0], |cost| cost.cpu).median;
    let row = |(costs, count): (&Vec<Cost>, usize)| {
        let cpu = spread(costs, |cost| cost.cpu);
        Row {
            benchmark: 4,
            work: format!("blocks accepted without room for them, {} rounds", costs.len()),
            contender: format!("{count} blocks"),
            figures: vec![
                cpu.text(1, "µs CPU a block"),
                format!("{:.2} × that of {}", cpu.median / least, COUNTS[0]),
                spread(costs, |cost| cost.store).text(1, "µs of it the store's"),
                spread(costs, |cost| cost.memory).text(0, "B a block beside the text"),
            ],
        }
    };
    Ok(done.iter().zip(COUNTS).map(row).collect())
}

fn accepted(count: usize) -> Result<Cost, String> {
    let server = TestServer::with_setupfile("");
    let document = documents::waiting(count);
    let submit = || Client::connect(&server.address)?.submit(&document);
    submit()?;
    settle(server.pid())?;
    let now = || -> Result<_, String> {
        let process = server.pid();
        Ok((cpu_of(process)?, cpu_of_threads(process, "store")?, memory_of(process)?))
    };
    let before = now()?;
    submit()?;
    settle(server.pid())?;
    let after = now()?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = |sum: u64| sum as f64 / count as f64;
    let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Ok(Cost {
        cpu: each(nanoseconds(after.0.saturating_sub(before.0))) / 1e3,
        store: each(nanoseconds(after.1.saturating_sub(before.1))) / 1e3,
        memory: each(after.2.saturating_sub(before.2 + document.len() as u64)),
    })
}

/// Waits until a process has next to nothing to do.
pub(crate) fn settle(process: u32) -> Result<(), String> {
    let clock = Clock::system();
    loop {
        let before = (clock.elapsed(), cpu_of(process)?);
        std::thread::sleep(std::time::Duration::from_millis(200));
        let after = (clock.elapsed(), cpu_of(process)?);
        if (after.1.saturating_sub(before.1)) * 100 < after.0.saturating_sub(before.0) {
            return Ok(());
        }
        if after.0.as_secs() > 60 {
            return Err("the server does not come to rest".to_owned());
        }
    }
}

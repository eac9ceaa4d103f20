//! The benchmarks: Borges and a peer, or a limit of the machine, in turns, printed as one table.
//!
//! The command is `integration/bench`. Nothing is asserted, because machines are shared and noisy: read the ratios of
//! medians, with the smallest and the largest value.
//!
//! | file | |
//! |---|---|
//! | `main` | arguments, the peers, the table |
//! | `measure` | wall, CPU and memory of processes; median, smallest, largest |
//! | `block_overhead` | 1: ten thousand blocks beside a bare loop and xargs |
//! | `output_throughput` | 2: a thousand blocks through a server beside task-spooler |
//! | `latency` | 3: from a POST to the first instruction, and to the end, beside a bare spawn |
//! | `waiting_task_cost` | 4: the cost of a waiting block, by the number of them |
//! | `scheduling_under_load` | 5: the cost of a start and an end while others wait |
//! | `submit_throughput` | 6: POSTs beside an echo |
//! | `submit_durable` | 7: POSTs that are answered after they are on disk, beside fdatasync |
//! | `parse` | 8: reading Org beside orgize and a scan of lines |
//! | `websocket_fanout` | 9: a thousand websockets beside raw sockets |
//! | `matching` | 10: a round of matching beside naive first fit |
//! | `event_stream_cpu` | 11: events of a master, read and answered, beside prost and pymesos |
//! | `recovery_time` | 12: from a kill with a hundred thousand tasks to the next launch, beside a scan |
//! | `mesos` | 13: two hundred blocks on a real Mesos beside a client that does nothing else |
//! | `value_passing` | 14: values passed in a chain and in a fan, beside blocks without dependencies |
//! | `documents` | the documents |
//! | `client` | a minimal client for HTTP and websockets; the peers |
//! | `fake_master` | a master that only sends events and counts calls |

mod block_overhead;
mod client;
mod documents;
mod event_stream_cpu;
mod fake_master;
mod latency;
mod matching;
mod measure;
mod mesos;
mod output_throughput;
mod parse;
mod recovery_time;
mod scheduling_under_load;
mod submit_durable;
mod submit_throughput;
mod value_passing;
mod waiting_task_cost;
mod websocket_fanout;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Measures Borges beside a peer or a limit of the machine.
#[derive(Parser)]
#[command(name = "integration/bench")]
struct Arguments {
    /// Numbers of the benchmarks to run: 1 to 14; without any, all.
    benchmarks: Vec<u8>,
    /// How often each contender has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Blocks in the document of benchmark 1.
    #[arg(long, default_value_t = 10_000)]
    blocks: usize,
    /// How long benchmark 6 posts on each number of connections, in seconds, in as many pieces as rounds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// A folder of Org documents, all of which benchmark 8 reads too; relative to the root of the repository.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// The argument that Cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The numbers of all benchmarks.
const BENCHMARKS: [u8; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];

/// A row of the table.
struct Row {
    benchmark: u8,
    work: String,
    contender: String,
    /// The measurements with their units.
    figures: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The program starts itself again for what must be measured as a process of its own.
    match arguments.first().map(String::as_str) {
        Some("spawn-loop") => return block_overhead::spawn_loop(&arguments[1..]),
        Some("parse-once") => return parse::parse_once(&arguments[1..]),
        Some("echo") => return submit_throughput::echo(),
        Some("raw-feed") => return websocket_fanout::raw_feed(&arguments[1..]),
        _ => {}
    }
    // Optimised for nothing, the figures would be worth nothing.
    if cfg!(debug_assertions) {
        eprintln!("not measured: this is a debug build; the command is `integration/bench`");
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::parse();
    let wanted = |number| arguments.benchmarks.is_empty() || arguments.benchmarks.contains(&number);
    if let Some(number) = arguments.benchmarks.iter().find(|number| !BENCHMARKS.contains(number)) {
        eprintln!("there is no benchmark {number}: there are {BENCHMARKS:?}");
        return ExitCode::from(2);
    }
    let mut rows = Vec::new();
    let mut failed = false;
    let mut run = |number, measured: &dyn Fn() -> Result<Vec<Row>, String>| {
        if wanted(number) {
            match measured() {
                Ok(measured) => rows.extend(measured),
                Err(error) => {
                    eprintln!("benchmark {number}: {error}");
                    failed = true;
                }
            }
        }
    };
    run(1, &|| block_overhead::measured(arguments.blocks, arguments.rounds));
    run(2, &|| output_throughput::measured(arguments.rounds));
    run(3, &|| latency::measured(arguments.rounds));
    run(4, &|| waiting_task_cost::measured(arguments.rounds));
    run(5, &|| scheduling_under_load::measured(arguments.rounds));
    run(6, &|| submit_throughput::measured(arguments.rounds, arguments.seconds));
    run(7, &|| submit_durable::measured(arguments.rounds));
    // Cargo runs benchmarks in the folder of their package.
    let folder = arguments.folder.as_ref().map(|folder| support::repository("").join(folder));
    run(8, &|| parse::measured(folder.as_deref(), arguments.rounds));
    run(9, &|| websocket_fanout::measured(arguments.rounds));
    run(10, &|| matching::measured(arguments.rounds));
    run(11, &|| event_stream_cpu::measured(arguments.rounds));
    run(12, &|| recovery_time::measured(arguments.rounds));
    run(13, &|| mesos::measured(arguments.rounds));
    run(14, &|| value_passing::measured(arguments.rounds));
    print(&rows);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The text of an error.
fn message(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn print(rows: &[Row]) {
    println!("\nmedian (smallest–largest); ratios are of medians; CPU is user and system time");
    for group in rows.chunk_by(|a, b| (a.benchmark, &a.work) == (b.benchmark, &b.work)) {
        let Some(first) = group.first() else { continue };
        println!("\n{}  {}", first.benchmark, first.work);
        let cells: Vec<Vec<&str>> = group
            .iter()
            .map(|row| [&row.contender].into_iter().chain(&row.figures).map(String::as_str).collect())
            .collect();
        let width = |column: usize| {
            cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        for row in &cells {
            let padded: Vec<String> =
                row.iter().enumerate().map(|(at, cell)| format!("{cell:0$}", width(at))).collect();
            println!("   {}", padded.join("  ").trim_end());
        }
    }
}

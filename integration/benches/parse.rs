//! Benchmark 8: reading Org, all fields of all blocks, beside orgize and a bare scan of lines.
//!
//! Each measurement is a process of its own that reads its document and parses it once, so that memory is
//! fresh and its peak is that of one parse. The figures are CPU time, on one thread.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use orgize::ast::SourceBlock;
use orgize::rowan::ast::AstNode;

use crate::measure::{Spread, cpu_of_this, peak_memory};
use crate::{Row, documents};

const CONTENDERS: [&str; 3] = ["borges", "orgize", "lines"];
const MEGA: usize = 1_000_000;

/// One parse, as its process reports it.
#[derive(Clone, Copy)]
struct Once {
    cpu_seconds: f64,
    /// The most held above what the process held before it read the document, in inputs; the text itself
    /// is one of them.
    memory: f64,
    blocks: usize,
}

pub(crate) fn measured(folder: Option<&Path>, rounds: usize) -> Result<Vec<Row>, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = dir.path().join("input.org");
    let mut inputs = vec![
        ("3 MB, generated".to_owned(), documents::prose(3 * MEGA).into_bytes()),
        ("30 MB, generated".to_owned(), documents::prose(30 * MEGA).into_bytes()),
    ];
    if let Some(folder) = folder {
        let all = gathered(folder)?;
        inputs.push((format!("{} MB, all of {}", all.len() / MEGA, folder.display()), all));
    }
    let mut rows = Vec::new();
    // Medians of the inputs before, by contender.
    let mut before: Vec<[f64; 3]> = Vec::new();
    for (name, bytes) in inputs {
        fs::write(&path, &bytes).map_err(|error| error.to_string())?;
        let mut taken: [Vec<Once>; 3] = Default::default();
        for round in 1..=rounds.max(1) {
            eprintln!("benchmark 8, {name}, round {round} of {}", rounds.max(1));
            for (contender, taken) in CONTENDERS.iter().zip(&mut taken) {
                taken.push(once(contender, &path)?);
            }
        }
        let spread = |taken: &[Once], of: fn(&Once) -> f64| Spread::of(taken.iter().map(of));
        let medians = taken.each_ref().map(|taken| spread(taken, |once| once.cpu_seconds).median);
        for (at, taken) in taken.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "documents are far below 2^52 bytes")]
            let speed = Spread::of(taken.iter().map(|once| bytes.len() as f64 / 1e6 / once.cpu_seconds));
            let memory = spread(taken, |once| once.memory);
            let mut figures = vec![
                speed.text(0, "MB/s"),
                format!("{:.2} × borges' time", medians[at] / medians[0]),
                memory.text(2, "× the input in memory"),
                format!("{} blocks", taken[0].blocks),
            ];
            if before.len() == 1 {
                figures.push(format!("time(30)/time(3) = {:.1}", medians[at] / before[0][at]));
            }
            rows.push(Row {
                benchmark: 8,
                work: format!("parse Org: {name}, {} rounds", taken.len()),
                contender: ["borges", "orgize 0.10.0-alpha.10", "memchr over lines"][at].to_owned(),
                figures,
            });
        }
        before.push(medians);
    }
    Ok(rows)
}

/// Every `*.org` under the folder, one after another.
fn gathered(folder: &Path) -> Result<Vec<u8>, String> {
    let in_folder = |error: std::io::Error| format!("`{}`: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(in_folder)? {
        paths.push(entry.map_err(in_folder)?.path());
    }
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            all.extend(gathered(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "org") {
            all.extend(fs::read(&path).map_err(in_folder)?);
            // What one document leaves open must not swallow the next.
            all.extend(b"\n* Next\n");
        }
    }
    Ok(all)
}

fn once(contender: &str, path: &Path) -> Result<Once, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(this)
        .args(["parse-once", contender])
        .arg(path)
        .output()
        .map_err(|error| format!("`parse-once {contender}` does not start: {error}"))?;
    let message = String::from_utf8_lossy(&output.stdout);
    let words: Vec<&str> = message.split_whitespace().collect();
    let once = match words[..] {
        [cpu, memory, blocks] if output.status.success() => cpu
            .parse()
            .ok()
            .zip(memory.parse().ok())
            .zip(blocks.parse().ok())
            .map(|((cpu_seconds, memory), blocks)| Once { cpu_seconds, memory, blocks }),
        _ => None,
    };
    once.ok_or_else(|| {
        format!("`{contender}` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr))
    })
}

/// `parse-once CONTENDER FILE`: writes its CPU seconds, its memory in inputs, and the blocks it saw.
pub(crate) fn parse_once(arguments: &[String]) -> ExitCode {
    let [contender, path] = arguments else { return ExitCode::from(2) };
    match parsed(contender, Path::new(path)) {
        Ok(Once { cpu_seconds, memory, blocks }) => {
            println!("{cpu_seconds} {memory} {blocks}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parsed(contender: &str, path: &Path) -> Result<Once, String> {
    let base = peak_memory()?;
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let before = cpu_of_this()?;
    let blocks = match contender {
        "borges" => borges_org::parse(&bytes, &[]).blocks.len(),
        "orgize" => by_orgize(std::str::from_utf8(&bytes).map_err(|error| error.to_string())?),
        "lines" => by_lines(&bytes),
        _ => return Err(format!("unknown contender `{contender}`")),
    };
    let cpu_seconds = cpu_of_this()?.saturating_sub(before).as_secs_f64();
    let held = peak_memory()?.saturating_sub(base);
    #[expect(clippy::cast_precision_loss, reason = "documents are far below 2^52 bytes")]
    let memory = held as f64 / bytes.len() as f64;
    Ok(Once { cpu_seconds, memory, blocks })
}

/// The tree, and of each block the fields orgize knows: Borges' further ones it does not merge.
fn by_orgize(text: &str) -> usize {
    let org = orgize::Org::parse(text);
    let blocks: Vec<_> = org
        .document()
        .syntax()
        .descendants()
        .filter_map(SourceBlock::cast)
        .map(|block| {
            let name = block.name().and_then(|keyword| keyword.value());
            let header = block.header().and_then(|keyword| keyword.value());
            (block.language(), block.switches(), block.parameters(), name, header, block.value())
        })
        .collect();
    std::hint::black_box(&blocks).len()
}

/// What any reader must do at least: find each line, look at its first character.
fn by_lines(bytes: &[u8]) -> usize {
    let mut begin = 0;
    let mut blocks = 0;
    for end in memchr::memchr_iter(b'\n', bytes) {
        let line = &bytes[begin..end];
        begin = end + 1;
        blocks += usize::from(
            line.first() == Some(&b'#')
                && line.get(..11).is_some_and(|head| head.eq_ignore_ascii_case(b"#+begin_src")),
        );
    }
    blocks
}

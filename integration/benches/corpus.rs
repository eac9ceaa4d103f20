//! Agreement with Emacs on a folder of documents, as a table: Borges, and orgize and organic as far as they go; and
//! how fast each of them, and Emacs, reads them.
//!
//! The command is `integration/org/corpus`.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use orgize::ast::SourceBlock;
use orgize::rowan::ast::AstNode;
use serde_json::{Value, json};
use support::agreement::{BLOCK, Difference, differences};

/// The program's own; orgize is measured with it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Agreement with Emacs on a folder of Org documents.
#[derive(Parser)]
#[command(name = "integration/org/corpus")]
struct Arguments {
    /// Every *.org under it is read.
    folder: PathBuf,
    /// What Emacs said of them, rather than asking it.
    #[arg(long)]
    answers: Option<PathBuf>,
    /// The program `by-organic`, which `integration/org/corpus` builds.
    #[arg(long)]
    organic: Option<PathBuf>,
    /// How many differences to show.
    #[arg(long, default_value_t = 5)]
    show: usize,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How many documents one Emacs is asked about.
const BATCH: usize = 50;

/// What orgize tells of a block, and organic.
const ORGIZE: [&str; 5] = ["blocks", "language", "name", "switches", "parameters"];
const ORGANIC: [&str; 4] = ["blocks", "language", "switches", "parameters"];
/// Seconds that organic gets for a document: of some it never comes back.
const PATIENCE: &str = "20";

#[derive(Default)]
struct Tally {
    files: usize,
    same_list: usize,
    same: usize,
    by_field: BTreeMap<&'static str, usize>,
    seconds: f64,
    /// Bytes of the documents that were read.
    bytes: usize,
}

impl Tally {
    fn count(&mut self, found: &[Difference]) {
        self.files += 1;
        self.same_list += usize::from(found.iter().all(|difference| difference.field != "blocks"));
        self.same += usize::from(found.is_empty());
        for difference in found {
            *self.by_field.entry(difference.field).or_default() += 1;
        }
    }

    fn print(&self, name: &str) {
        let speed = megabytes(self.bytes) / self.seconds;
        println!(
            "{name:24} {:>5} of {} files with the same blocks, {} the same in all fields; {speed:.1} MB/s",
            self.same_list, self.files, self.same
        );
        for (field, count) in &self.by_field {
            println!("    {count:>6} differ in {field}");
        }
    }
}

fn main() -> ExitCode {
    match measured(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corpus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measured(arguments: &Arguments) -> Result<(), String> {
    let answers = match &arguments.answers {
        Some(path) => stored(path)?,
        None => {
            let mut paths = Vec::new();
            gather(&arguments.folder, Path::new(""), &mut paths)?;
            paths.sort();
            asked(&arguments.folder, &paths)?
        }
    };
    let (mut borges, mut orgize, mut organic) = (Tally::default(), Tally::default(), Tally::default());
    let (mut blocks, mut shown, mut read) = (0, 0, Vec::new());
    for emacs in &answers {
        let name = emacs["file"].as_str().unwrap_or_default();
        if let Some(error) = emacs["error"].as_str() {
            println!("{name}: Emacs cannot read it: {error}");
            continue;
        }
        let source = fs::read(arguments.folder.join(name)).map_err(|error| format!("{name}: {error}"))?;
        borges.bytes += source.len();
        orgize.bytes += source.len();
        read.push(PathBuf::from(name));
        blocks += emacs["blocks"].as_array().map_or(0, Vec::len);
        let document = borges_org::parse(&source, &[]);
        let found = differences(emacs, &borges_org::report(name, &source, &document));
        for difference in found.iter().take(arguments.show.saturating_sub(shown)) {
            let Difference { line, field, emacs, borges } = difference;
            println!("{name}:{line}: {field}\n    Emacs   {emacs}\n    Borges  {borges}");
        }
        shown += found.len();
        borges.count(&found);

        let text = String::from_utf8_lossy(&source);
        let report = by_orgize(&text);
        let mut found = differences(emacs, &report);
        found.retain(|difference| ORGIZE.contains(&difference.field));
        orgize.count(&found);

        if let Some(program) = &arguments.organic {
            match by_organic(program, &arguments.folder.join(name)) {
                Ok((report, seconds)) => {
                    organic.bytes += source.len();
                    organic.seconds += seconds;
                    let mut found = differences(emacs, &report);
                    found.retain(|difference| ORGANIC.contains(&difference.field));
                    organic.count(&found);
                }
                Err(why) => {
                    organic.files += 1;
                    println!("{name}: organic cannot read it: {why}");
                }
            }
        }
    }
    (borges.seconds, orgize.seconds) = timed(&arguments.folder, &read)?;
    println!(
        "{} documents, {blocks} blocks, {:.1} MB; {} fields a block",
        answers.len(),
        megabytes(borges.bytes),
        BLOCK.len()
    );
    borges.print("borges");
    orgize.print("orgize 0.10.0-alpha.10");
    println!("    (of orgize {} are compared)", ORGIZE.join(", "));
    if arguments.organic.is_some() {
        organic.print("organic 0.1.16");
        println!("    (of organic {} are compared)", ORGANIC.join(", "));
    }
    let seconds = by_emacs(&arguments.folder, &read)?;
    println!(
        "{:24} {:.2} MB/s, down to elements, nothing told of them",
        "emacs",
        megabytes(borges.bytes) / seconds
    );
    Ok(())
}

/// How often each reads all documents.
const ROUNDS: usize = 5;

/// Seconds of CPU that Borges and orgize take to read all documents, one after another; in turns, the median of each.
fn timed(folder: &Path, read: &[PathBuf]) -> Result<(f64, f64), String> {
    let sources: Result<Vec<Vec<u8>>, String> = read
        .iter()
        .map(|name| fs::read(folder.join(name)).map_err(|error| format!("{}: {error}", name.display())))
        .collect();
    let sources = sources?;
    let (mut borges, mut orgize) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = cpu(UsageWho::RUSAGE_SELF)?;
        for source in &sources {
            drop(black_box(borges_org::parse(source, &[])));
        }
        let between = cpu(UsageWho::RUSAGE_SELF)?;
        for source in &sources {
            drop(black_box(by_orgize(&String::from_utf8_lossy(source))));
        }
        borges.push(between - before);
        orgize.push(cpu(UsageWho::RUSAGE_SELF)? - between);
    }
    Ok((median(borges), median(orgize)))
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

/// What organic says of a document, and the seconds of CPU it took.
fn by_organic(program: &Path, path: &Path) -> Result<(Value, f64), String> {
    // It may stop at a document, or go on for ever: each has a process of its own.
    let output = Command::new("timeout")
        .arg(PATIENCE)
        .arg(program)
        .arg(path)
        .output()
        .map_err(|error| format!("`timeout`: {error}"))?;
    let report = reports(&output.stdout)?.pop();
    let report = report.ok_or_else(|| format!("it ended with {}", output.status))?;
    match (report["error"].as_str(), report["seconds"].as_f64()) {
        (None, Some(seconds)) => Ok((report, seconds)),
        (error, _) => Err(error.unwrap_or_default().lines().next().unwrap_or_default().to_owned()),
    }
}

/// The seconds of CPU that Emacs takes to read the documents, down to elements.
fn by_emacs(folder: &Path, paths: &[PathBuf]) -> Result<f64, String> {
    let mut seconds = 0.0;
    for batch in paths.chunks(BATCH) {
        let told = emacs(folder, "report-seconds", batch)?;
        let told = String::from_utf8_lossy(&told);
        seconds += told.trim().parse::<f64>().map_err(|error| format!("`emacs`: {error}: {told}"))?;
    }
    Ok(seconds)
}

fn gather(folder: &Path, below: &Path, paths: &mut Vec<PathBuf>) -> Result<(), String> {
    let here = folder.join(below);
    let wrong = |error: std::io::Error| format!("`{}`: {error}", here.display());
    for entry in fs::read_dir(&here).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let path = below.join(entry.file_name());
        if entry.path().is_dir() {
            gather(folder, &path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "org") {
            paths.push(path);
        }
    }
    Ok(())
}

fn stored(path: &Path) -> Result<Vec<Value>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("`{}`: {error}", path.display());
    let text = if path.extension().is_some_and(|extension| extension == "gz") {
        Command::new("gzip").arg("-dc").arg(path).output().map_err(|error| wrong(&error))?.stdout
    } else {
        fs::read(path).map_err(|error| wrong(&error))?
    };
    reports(&text).map_err(|error| wrong(&error))
}

fn asked(folder: &Path, paths: &[PathBuf]) -> Result<Vec<Value>, String> {
    let mut answers = Vec::new();
    for batch in paths.chunks(BATCH) {
        answers.extend(reports(&emacs(folder, "report-files", batch)?)?);
    }
    Ok(answers)
}

/// What a function of `emacs.el` prints of some documents.
fn emacs(folder: &Path, function: &str, batch: &[PathBuf]) -> Result<Vec<u8>, String> {
    let output = Command::new("emacs")
        .args(["-Q", "--batch"])
        .args(support::org_lisp().iter().flat_map(|lisp| ["-L".as_ref(), lisp.as_os_str()]))
        .arg("-l")
        .arg(support::repository("integration/org/emacs.el"))
        .args(["-f", function])
        .args(batch)
        .current_dir(folder)
        .output()
        .map_err(|error| format!("`emacs`: {error}"))?;
    if !output.status.success() {
        return Err(format!("`emacs`: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(output.stdout)
}

fn reports(text: &[u8]) -> Result<Vec<Value>, String> {
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|error| error.to_string())).collect()
}

/// Seconds of CPU.
fn cpu(who: UsageWho) -> Result<f64, String> {
    let usage = getrusage(who).map_err(|error| error.to_string())?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 microseconds")]
    Ok(micros as f64 / 1e6)
}

fn by_orgize(text: &str) -> Value {
    let org = orgize::Org::parse(text);
    let trimmed =
        |token: Option<String>| token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
    let mut counted = (0, 1);
    let blocks: Vec<Value> = org
        .document()
        .syntax()
        .descendants()
        .filter_map(SourceBlock::cast)
        .map(|block| {
            let start = usize::from(block.syntax().text_range().start());
            // Affiliated keywords and blank lines stand before the line that counts.
            let within = block.syntax().text().to_string().to_ascii_lowercase();
            let begin = start + within.find("#+begin_src").unwrap_or_default();
            counted = (begin, counted.1 + memchr::memchr_iter(b'\n', &text.as_bytes()[counted.0..begin]).count());
            json!({
                "begin_line": counted.1,
                "language": trimmed(block.language().map(|token| token.to_string())),
                "switches": trimmed(block.switches().map(|token| token.to_string())),
                "parameters": trimmed(block.parameters().map(|token| token.to_string())),
                "name": trimmed(block.name().and_then(|keyword| keyword.value()).map(|token| token.to_string())),
            })
        })
        .collect();
    json!({ "blocks": blocks })
}

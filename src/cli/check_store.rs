//! `borges check-store`: verifies the store of a stopped server.

use super::args::CheckStoreArgs;
use super::exit::Exit;
use super::input;
use super::serve::state_directory;
use borges_store::{CheckReport, check};

/// Checks the whole store, and prints a summary and the faults.
pub(super) fn check_store(arguments: &CheckStoreArgs) -> Exit {
    let config = match arguments.setupfile.as_deref().map_or_else(input::default_config, input::config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let Some(data) = state_directory(&config) else {
        eprintln!("borges: there is no home for the state directory: set `borges_data`");
        return Exit::InvalidInput;
    };
    let path = data.join("store.redb");
    match check(&path) {
        Ok(report) => {
            println!("{}: {}", path.display(), summary(&report));
            for fault in &report.faults {
                eprintln!("borges: {fault}");
            }
            if report.faults.is_empty() { Exit::Success } else { Exit::InvalidInput }
        }
        Err(error) => {
            eprintln!("borges: {error}");
            Exit::InvalidInput
        }
    }
}

fn summary(report: &CheckReport) -> String {
    let CheckReport { runs, tasks, launches, results, events, bytes, free, repaired, .. } = report;
    let count = |count: &usize, word: &str| format!("{count} {word}{}", if *count == 1 { "" } else { "s" });
    let repaired = if *repaired { "; it was not closed, and what was half written is undone" } else { "" };
    format!(
        "{}, {}, {}, {}, {} of state, {} KiB, of which {} are free{repaired}",
        count(runs, "run"),
        count(tasks, "task"),
        count(launches, "launch").replace("launchs", "launches"),
        count(results, "result"),
        count(events, "change"),
        bytes >> 10,
        free >> 10,
    )
}

//! The same documents on the embedded cluster and on a real one have the same states, exit codes and output.

use std::collections::BTreeSet;

use support::cli::{CliOutput, CliSandbox};
use support::mesos::Mesos;

/// Documents whose output does not depend on time or cluster.
const DOCUMENTS: [&str; 22] = [
    "examples/hello.org",
    "examples/capitals.org",
    "examples/diamond.org",
    "examples/environment.org",
    "examples/escapes.org",
    "examples/failure.org",
    "examples/inheritance.org",
    "examples/languages.org",
    "examples/literate.org",
    "examples/order.org",
    "examples/own-language.org",
    "examples/requires.org",
    "examples/resources.org",
    "examples/retry.org",
    "examples/sequential.org",
    "examples/skipped.org",
    "examples/streams.org",
    "examples/sweep.org",
    "examples/timeout.org",
    "examples/wells.org",
    "integration/fixtures/exit-codes.org",
    "integration/fixtures/leftovers.org",
];

/// The exit code of a run, and the last state and the output of each block.
fn outcome(run: &CliOutput) -> String {
    let said = run.block_output();
    let mut names: BTreeSet<String> = said.keys().cloned().collect();
    let told = run.stderr.lines().filter_map(|line| line.split_once(": "));
    names.extend(told.map(|(name, _)| name.to_owned()).filter(|name| !run.states(name).is_empty()));
    let blocks = names.iter().map(|name| {
        let last = run.states(name).last().copied().unwrap_or("nowhere");
        // Durations differ, and messages are the cluster's own.
        let last = last.split(" (").next().unwrap_or_default();
        let text = said.get(name).map(|said| String::from_utf8_lossy(said)).unwrap_or_default();
        format!("{name}: {last}\n{text}")
    });
    format!("exit code {:?}\n{}", run.code, blocks.collect::<Vec<_>>().join("\n"))
}

#[test]
#[ignore = "needs Mesos"]
fn documents_end_alike_on_both_clusters() {
    let mesos = Mesos::start();
    let setup = format!("#+mesos_master: {}\n", mesos.master.address);
    for document in DOCUMENTS {
        let sandbox = CliSandbox::new();
        let name = sandbox.copy(document);
        sandbox.write("setup.org", &setup);
        let here = outcome(&sandbox.run(&["run", &name]));
        let sandbox = CliSandbox::new();
        sandbox.copy(document);
        sandbox.write("setup.org", &setup);
        let there = sandbox.run(&["run", &name, "-f", "setup.org"]);
        assert_eq!(outcome(&there), here, "{document}: {there:#?}");
    }
}

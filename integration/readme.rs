//! README.org speaks of this program, not of one that was or will be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use support::cli::CliSandbox;

fn root() -> PathBuf {
    support::repository("")
}

fn readme() -> String {
    fs::read_to_string(root().join("README.org")).unwrap()
}

/// What stands under a heading, up to the next.
fn section(title: &str) -> String {
    let text = readme();
    let (_, after) = text.split_once(&format!("\n* {title}\n")).unwrap_or_else(|| panic!("no `* {title}`"));
    after.split("\n* ").next().unwrap().to_owned()
}

/// What stands between `=` and `=` in the first cell of each row of a section's tables.
fn first_cells(section: &str) -> Vec<String> {
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split('|').next())
        .flat_map(|cell| cell.split('=').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

#[test]
fn its_links_lead_somewhere() {
    let text = readme();
    let links: Vec<&str> =
        text.split("[[file:").skip(1).map(|rest| rest.split("][").next().unwrap()).collect();
    assert!(links.len() > 3);
    for link in links {
        assert!(root().join(link).exists(), "{link} is not there");
    }
}

#[test]
fn its_example_is_a_document() {
    let text = readme();
    let (_, after) = text.split_once("#+begin_src org\n").unwrap();
    let (example, _) = after.split_once("\n#+end_src").unwrap();
    let document: String =
        example.lines().flat_map(|line| [line.strip_prefix(',').unwrap_or(line), "\n"]).collect();
    let sandbox = CliSandbox::new();
    sandbox.write("example.org", &document);
    let run = sandbox.run(&["plan", "example.org"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(!run.stderr.contains("warning"), "{run:#?}");
    let plan = String::from_utf8_lossy(&run.stdout);
    assert!(plan.contains("fetch") && plan.contains("count") && plan.contains("1024"), "{plan}");
}

#[test]
fn it_runs_nothing_itself() {
    let sandbox = CliSandbox::new();
    sandbox.copy("README.org");
    let run = sandbox.run(&["plan", "README.org"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(run.stdout.starts_with(b"0 blocks run\n"), "{run:#?}");
}

#[test]
fn its_header_arguments_are_known() {
    let cells = first_cells(&section("Header arguments"));
    let keys: BTreeSet<&str> =
        cells.iter().filter_map(|cell| cell.split(' ').next()).filter(|key| key.starts_with(':')).collect();
    assert!(keys.len() > 10, "{keys:?}");
    for key in keys {
        let sandbox = CliSandbox::new();
        // A value that no key takes: one that is known says so, or takes it.
        sandbox.write("key.org", format!("#+begin_src sh {key} ((\ntrue\n#+end_src\n"));
        let run = sandbox.run(&["plan", "key.org"]);
        assert!(!run.stderr.contains("not known"), "{key}: {run:#?}");
        assert!(!run.stderr.contains("not built"), "{key}: {run:#?}");
    }
}

#[test]
fn its_command_line_is_the_programs() {
    let section = section("The command line");
    let sandbox = CliSandbox::new();
    let help = |arguments: &[&str]| String::from_utf8(sandbox.run(arguments).stdout).unwrap();
    let run = help(&["run", "--help"]);
    let told: BTreeSet<String> = first_cells(&section)
        .iter()
        .filter_map(|cell| cell.split(' ').next())
        .filter(|option| option.starts_with('-'))
        .map(str::to_owned)
        .collect();
    for option in &told {
        assert!(run.contains(option.as_str()), "`borges run` has no {option}: {run}");
    }
    for line in run.lines().map(str::trim_start).filter(|line| line.starts_with('-')) {
        let names: Vec<&str> =
            line.split([' ', ',', '=']).filter(|word| word.starts_with('-') && word.len() > 1).collect();
        let known = names.iter().any(|name| told.contains(*name) || ["-h", "--help"].contains(name));
        assert!(known, "README.org does not tell of {line}");
    }
    let all = help(&["--help"]);
    for command in ["run", "plan", "blocks", "serve", "submit", "tasks", "logs", "kill"] {
        assert!(all.contains(command), "`borges --help` does not tell of {command}: {all}");
    }
}

#[test]
fn what_it_calls_a_suite_is_one() {
    let suites = fs::read_to_string(root().join("integration/main.rs")).unwrap();
    let promises = fs::read_to_string(Path::new(&root()).join("integration/GUARANTEES.org")).unwrap();
    for suite in promises.split("(=").skip(1).map(|rest| rest.split('=').next().unwrap()) {
        assert!(suites.contains(&format!("\nmod {suite};")), "there is no suite `{suite}`");
    }
}

//! README.org and the manual describe this program: their links, examples, options, keys and header arguments
//! are compared with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use support::cli::CliSandbox;

const COMMAND_LINE: &str = "examples/manual/command-line.org";
const HEADER_ARGUMENTS: &str = "examples/manual/header-arguments.org";
const SETUPFILE: &str = "examples/manual/setupfile.org";
/// Names metrics, which are spelt like keys of the setupfile.
const MONITORING: &str = "examples/manual/monitoring.org";

fn root() -> PathBuf {
    support::repository("")
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The pages of the manual, by their paths from the root of the repository.
fn manual() -> Vec<String> {
    let mut pages: Vec<String> = fs::read_dir(root().join("examples/manual"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| support::cli::is_document(name))
        .map(|name| format!("examples/manual/{name}"))
        .collect();
    pages.sort();
    assert!(pages.len() > 10, "{pages:?}");
    pages
}

/// README.org, the pages of the manual, and the page for developers.
fn pages() -> Vec<String> {
    ["README.org", "src/README.org"].map(str::to_owned).into_iter().chain(manual()).collect()
}

/// The text under a heading such as `* Options`, up to the next heading of any level.
fn section(page: &str, heading: &str) -> String {
    let text = read(page);
    let (_, after) =
        text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{page}: {heading}"));
    let is_heading = |line: &&str| line.trim_start_matches('*').starts_with(' ') && line.starts_with('*');
    after.lines().take_while(|line| !is_heading(line)).flat_map(|line| [line, "\n"]).collect()
}

/// The words between `=` and `=` in the first cell of each table row, each up to its first blank.
fn first_cells(section: &str) -> Vec<String> {
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split('|').next())
        .flat_map(|cell| cell.split('=').skip(1).step_by(2).collect::<Vec<_>>())
        .filter_map(|word| word.split(' ').next().map(str::to_owned))
        .collect()
}

/// The contents of the example or source blocks of README.org that stand before its first heading.
fn first_blocks() -> Vec<String> {
    let text = read("README.org");
    let (before, _) = text.split_once("\n* ").unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in before.lines() {
        if line.starts_with("#+begin_") {
            open = Some(String::new());
        } else if line.starts_with("#+end_") {
            blocks.extend(open.take());
        } else if let Some(block) = &mut open {
            *block += line.strip_prefix(',').unwrap_or(line);
            block.push('\n');
        }
    }
    blocks
}

/// A line of terminal output without the times in it, which differ from run to run.
fn without_times(line: &str) -> String {
    let is_time = |words: &str| words.chars().all(|c| c.is_ascii_digit() || c == '.');
    line.split('(')
        .map(|part| part.split_once(" s)").filter(|(time, _)| is_time(time)).map_or(part, |(_, rest)| rest))
        .collect()
}

#[test]
fn links_resolve() {
    for page in pages().into_iter().chain(["CHANGELOG.org", "integration/GUARANTEES.org"].map(str::to_owned))
    {
        let file = root().join(&page);
        for link in read(&page).split("[[file:").skip(1) {
            let target = link.split(']').next().unwrap().split("::").next().unwrap();
            assert!(file.parent().unwrap().join(target).exists(), "{page} links to {target}");
        }
    }
}

#[test]
fn index_lists_every_page() {
    let index = read("examples/manual/README.org");
    for page in manual() {
        let name = page.rsplit('/').next().unwrap();
        assert!(name == "README.org" || index.contains(&format!("[[file:{name}][")), "no link to {name}");
    }
}

#[test]
fn example_plans_without_warnings() {
    let place = CliSandbox::new();
    place.write("rain.org", &first_blocks()[0]);
    let run = place.run(&["plan", "rain.org"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(!run.stderr.contains("warning"), "{run:#?}");
    let plan = String::from_utf8_lossy(&run.stdout);
    assert!(plan.starts_with("2 blocks run\n") && plan.contains("requires readings"), "{plan}");
}

#[test]
fn example_output_is_real() {
    let blocks = first_blocks();
    let [document, terminal, results] = blocks.as_slice() else { panic!("{blocks:#?}") };
    let place = CliSandbox::new();
    place.write("rain.org", document);
    let run = place.run(&["run", "--write", "rain.org"]);
    assert_eq!(run.code, Some(0), "{run:#?}");

    // The two streams are one on a terminal: each line shown must come from one of them, in order, and none be left.
    let (_, shown) = terminal.split_once('\n').unwrap();
    let stdout = String::from_utf8(run.stdout.clone()).unwrap();
    let [mut out, mut err] = [stdout.as_str(), run.stderr.as_str()].map(|text| text.lines().peekable());
    for line in shown.lines() {
        let is_it = |found: &&str| without_times(found) == without_times(line);
        assert!(out.next_if(is_it).or_else(|| err.next_if(is_it)).is_some(), "`{line}` is not in {run:#?}");
    }
    assert_eq!((out.next(), err.next()), (None, None), "not shown");

    let written = fs::read_to_string(place.path("rain.org")).unwrap();
    for result in results.split("\n\n") {
        assert!(written.contains(result.trim_end()), "`{result}` is not in {written}");
    }
}

#[test]
fn pages_run_nothing() {
    for page in pages() {
        let place = CliSandbox::new();
        let name = place.copy(&page);
        let run = place.run(&["plan", &name]);
        assert_eq!(run.code, Some(0), "{page}: {run:#?}");
        assert!(run.stdout.starts_with(b"0 blocks run\n"), "{page}: {run:#?}");
    }
}

/// Plans a block with this header argument; the value is Lisp, which no argument that matters to a run takes.
fn plan_with(key: &str) -> support::cli::CliOutput {
    let place = CliSandbox::new();
    place.write("key.org", format!("#+begin_src sh {key} (f)\ntrue\n#+end_src\n"));
    place.run(&["plan", "key.org"])
}

fn header_arguments(heading: &str) -> BTreeSet<String> {
    let keys = first_cells(&section(HEADER_ARGUMENTS, heading));
    keys.into_iter().filter(|key| key.starts_with(':')).collect()
}

#[test]
fn header_arguments_are_known() {
    let ours = header_arguments("* Arguments of Borges");
    assert!(ours.len() > 20, "{ours:?}");
    for key in ours {
        let run = plan_with(&key);
        assert_eq!(run.code, Some(2), "{key}: {run:#?}");
        assert!(run.stderr.contains(&format!("error: `{key} (f)`")), "{key}: {run:#?}");
        assert!(!run.stderr.contains("not built"), "{key}: {run:#?}");
    }
    let babel = header_arguments("* Arguments of Babel");
    assert!(babel.len() > 50, "{babel:?}");
    for key in babel {
        let run = plan_with(&key);
        assert!(!run.stderr.contains("not known"), "{key}: {run:#?}");
        assert!(!run.stderr.contains("not built"), "{key}: {run:#?}");
    }
    // An unknown one would be noticed.
    assert!(plan_with(":colour").stderr.contains("`:colour` is not known"));
}

#[test]
fn refused_header_arguments_are_refused() {
    let refused = header_arguments("* Refused arguments");
    assert!(refused.contains(":session"), "{refused:?}");
    for key in refused {
        let place = CliSandbox::new();
        place.write("key.org", format!("#+begin_src sh {key} x\ntrue\n#+end_src\n"));
        let run = place.run(&["plan", "key.org"]);
        assert_eq!(run.code, Some(2), "{key}: {run:#?}");
        assert!(run.stderr.contains(&format!("error: `{key} x`")), "{key}: {run:#?}");
    }
}

/// The options in a text of `--help`, in all their spellings.
fn options(help: &str) -> BTreeSet<String> {
    let is_option = |word: &&str| word.starts_with('-') && word.len() > 1;
    help.lines()
        .flat_map(|line| line.split([' ', ',']).filter(|word| !word.is_empty()).take_while(is_option))
        .filter(|word| !["-h", "--help"].contains(word))
        .map(str::to_owned)
        .collect()
}

#[test]
fn command_line_is_that_of_help() {
    let place = CliSandbox::new();
    let help = |arguments: &[&str]| String::from_utf8(place.run(arguments).stdout).unwrap();
    let all = help(&["--help"]);
    let (_, commands) = all.split_once("\nCommands:\n").unwrap();
    let commands: BTreeSet<&str> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|word| !word.is_empty() && *word != "help")
        .collect();
    let table = section(COMMAND_LINE, "* Commands");
    let listed: BTreeSet<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| =borges ")?.split('=').next()).collect();
    assert_eq!(listed, commands);

    let listed = |heading: &str| -> BTreeSet<String> {
        let cells = first_cells(&section(COMMAND_LINE, heading));
        cells.into_iter().filter(|cell| cell.starts_with('-')).collect()
    };
    assert_eq!(listed("** borges"), options(&all));
    for command in commands {
        assert_eq!(
            listed(&format!("** borges {command}")),
            options(&help(&[command, "--help"])),
            "{command}"
        );
    }
}

/// The keys of a setupfile that a page names.
fn keys(page: &str) -> BTreeSet<String> {
    let text = read(page);
    let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    let is_key = |word: &&str| {
        ["borges_", "mesos_"].iter().any(|prefix| word.starts_with(prefix) && word.len() > prefix.len())
    };
    words.filter(is_key).map(str::to_owned).collect()
}

/// Plans a document under a setupfile in which this key has no value.
fn plan_under(key: &str) -> support::cli::CliOutput {
    let place = CliSandbox::new();
    place.write("set.org", format!("#+{key}:\n"));
    place.write("empty.org", "");
    place.run(&["plan", "-f", "set.org", "empty.org"])
}

#[test]
fn setupfile_keys_are_known() {
    let table = first_cells(&section(SETUPFILE, "* Keys"));
    assert!(table.len() > 15, "{table:?}");
    let elsewhere = pages().into_iter().filter(|page| page != MONITORING).flat_map(|page| keys(&page));
    let named: BTreeSet<String> = elsewhere.collect();
    for key in &named {
        let run = plan_under(key);
        assert!(!run.stderr.contains("there is no key"), "{key}: {run:#?}");
        let is_named = run.code == Some(2) && run.stderr.contains(key.as_str());
        assert!(run.code == Some(0) || is_named, "{key}: {run:#?}");
        assert!(table.contains(key), "{SETUPFILE} does not list {key}");
    }
    // An unknown one would be noticed.
    let run = plan_under("borges_colour");
    assert!(run.code == Some(2) && run.stderr.contains("there is no key `borges_colour`"), "{run:#?}");
}

#[test]
fn suites_exist() {
    let promises = read("integration/GUARANTEES.org");
    let named: BTreeSet<&str> = promises
        .split("(=")
        .skip(1)
        .flat_map(|rest| rest.split(')').next().unwrap().split('='))
        .filter(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect();
    assert!(named.len() > 10, "{named:?}");
    for suite in named {
        let directory = root().join("integration").join(suite);
        assert!(
            directory.is_dir() || directory.with_extension("rs").is_file(),
            "there is no suite `{suite}`"
        );
    }
}

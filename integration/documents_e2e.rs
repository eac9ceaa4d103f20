//! `borges run` on every document of `examples/` and `integration/fixtures/`: the output and the last state of each block,
//! and the exit code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rstest::rstest;
use support::cli::{CliOutput, CliSandbox, is_document, pieces};

/// A block, the beginning of its last state, and its standard output.
type Block = (&'static str, &'static str, &'static str);

fn run_document(document: &str, arguments: &[&str]) -> (CliSandbox, CliOutput) {
    let sandbox = CliSandbox::new();
    let name = sandbox.copy(document);
    let all: Vec<&str> = ["run", &name].into_iter().chain(arguments.iter().copied()).collect();
    let run = sandbox.run(&all);
    (sandbox, run)
}

/// Checks the exit code of a run, and the last state and the output of every block.
///
/// A block that is not scheduled has the state `not run: REASON`, with the reason from the list of skipped blocks.
fn check(run: &CliOutput, code: i32, blocks: &[Block]) {
    assert_eq!(run.code, Some(code), "{run:#?}");
    let said = run.block_output();
    for (block, state, stdout) in blocks {
        if let Some(reason) = state.strip_prefix("not run: ") {
            assert_eq!(run.skip_reason(block), Some(reason), "{block}: {run:#?}");
            assert_eq!(run.states(block), [""; 0], "{block}: {run:#?}");
        } else {
            let states = run.states(block);
            let last = states.last().copied().unwrap_or("nowhere");
            assert!(last.starts_with(state), "{block} is {last}, not {state}: {run:#?}");
            // A block that has ended was running before; a skipped one was not.
            assert_eq!(states.contains(&"running"), *state != "skipped", "{block}: {run:#?}");
        }
        let text = said.get(*block).map(|said| String::from_utf8_lossy(said)).unwrap_or_default();
        assert_eq!(text, *stdout, "{block}: {run:#?}");
    }
    let known: BTreeSet<&str> = blocks.iter().map(|(block, ..)| *block).collect();
    let strangers: Vec<_> = said.keys().filter(|name| !known.contains(name.as_str())).collect();
    assert!(strangers.is_empty(), "unexpected speakers {strangers:?}: {run:#?}");
    check_counts(run, blocks);
}

/// Checks that the first and the last line of standard error agree with the blocks.
fn check_counts(run: &CliOutput, blocks: &[Block]) {
    let skipped_at_once = blocks.iter().filter(|(_, state, _)| state.starts_with("not run")).count();
    let scheduled = blocks.len() - skipped_at_once;
    let head = format!("Scheduled {scheduled} code blocks for execution");
    assert!(run.stderr.lines().any(|line| line == head), "no `{head}`: {run:#?}");
    for state in ["finished", "failed"] {
        let count = blocks.iter().filter(|(_, end, _)| end.starts_with(state)).count();
        let part = format!("{count} {state}");
        let told = run.summary().split(", ").any(|told| told == part);
        assert!(told || count == 0 && !run.summary().contains(state), "no `{part}` at the end: {run:#?}");
    }
}

const DONE: &str = "finished";

#[rstest]
#[case::hello("examples/hello.org", 0, &[
    ("line-9", DONE, "Hello from a block without a name\n"),
    ("hello", DONE, "Hello, hello\n"),
])]
#[case::parallel("examples/parallel.org", 0, &[
    ("pipes", DONE, "laid two pipes\n"),
    ("asks", DONE, "got: There is no such place.\n"),
    ("answers", DONE, "was asked: What is the capital of Uqbar?\n"),
    ("sweep", DONE, "swept\n"),
])]
#[case::sequential("examples/sequential.org", 0, &[
    ("first", DONE, "one\n"),
    ("second", DONE, "one\ntwo\n"),
    ("third", DONE, "one\ntwo\n"),
])]
#[case::stops("examples/stops.org", 1, &[
    ("build", DONE, "built\n"),
    ("test", "failed, exit code 1", "1 of 3 tests failed\n"),
    ("deploy", "skipped", ""),
])]
#[case::order("examples/order.org", 0, &[
    ("first", DONE, ""),
    ("middle", DONE, ""),
    ("last", DONE, "first\nmiddle\nlast\n"),
])]
#[case::requires("examples/requires.org", 1, &[
    ("download", "failed, exit code 6", ""),
    ("unpack", "skipped", ""),
    ("install", "skipped", ""),
    ("report", DONE, "the download has ended\n"),
])]
#[case::diamond("examples/diamond.org", 0, &[
    ("split", DONE, ""),
    ("left", DONE, ""),
    ("right", DONE, ""),
    ("join", DONE, "14 and 25\n"),
])]
#[case::retry("examples/retry.org", 1, &[
    ("third-time-lucky", DONE, "try 1\ntry 2\ntry 3\n"),
    ("never-lucky", "failed, exit code 4", "try 1\ntry 2\n"),
])]
#[case::retry_on("examples/retry-on.org", 1, &[
    ("busy", DONE, "try 1\ntry 2\n"),
    ("broken", "failed, exit code 2", "try 1\n"),
])]
#[case::timeout("examples/timeout.org", 1, &[
    ("patient", "failed, exit code 137", "I could wait for ever\n"),
    ("quick", DONE, "done\n"),
])]
#[ignore = "needs Node.js and Ruby"]
#[case::languages("examples/languages.org", 0, &[
    ("shell", DONE, "sh: 42\n"),
    ("bash", DONE, "bash: 42\n"),
    ("python", DONE, "python: 42\n"),
    ("perl", DONE, "perl: 42\n"),
    ("awk", DONE, "awk: 42\n"),
    ("ruby", DONE, "ruby: 42\n"),
    ("js", DONE, "js: 42\n"),
])]
#[case::own_language("examples/own-language.org", 1, &[
    ("strict", "failed, exit code 1", "before\n"),
    ("optimised", DONE, "py 1\n"),
    ("stream", DONE, "\n"),
])]
#[case::skipped("examples/skipped.org", 0, &[
    ("runs", DONE, "I am the only one\n"),
    ("forbidden", "not run: `:eval no`", ""),
    ("also-forbidden", "not run: `:eval never`", ""),
    ("settings", "not run: nothing is known to run `conf` (`#+borges_lang:` adds a language)", ""),
    ("manifest", "not run: nothing is known to run `yaml` (`#+borges_lang:` adds a language)", ""),
    ("dot-emacs", "not run: emacs-lisp runs only with `:eval yes`", ""),
    ("to-a-file", "not run: it is tangled to `script.sh` (`:eval yes` runs it)", ""),
    ("wordless", "not run: it names no language", ""),
    ("commented", "not run: it stands under a COMMENT heading", ""),
    ("archived", "not run: it stands under an archived heading", ""),
])]
#[case::tangle("integration/fixtures/tangle.org", 0, &[
    ("line-5", "not run: it is tangled to `etc/colours.conf` (`:eval yes` runs it)", ""),
    ("line-9", "not run: it is tangled to `count.awk` (`:eval yes` runs it)", ""),
    ("asked", DONE, "a file, and run as well\n"),
])]
#[case::eval("examples/eval.org", 0, &[
    ("yes", DONE, "yes\n"),
    ("not-on-export", DONE, "no-export\n"),
    ("never-on-export", DONE, "never-export\n"),
    ("asks-on-export", DONE, "query-export\n"),
    ("asks", "not run: it needs approval: `:eval query`", ""),
])]
#[case::failure("examples/failure.org", 1, &[
    ("fails", "failed, exit code 3", "this is kept\n"),
    ("killed", "failed, exit code 137", ""),
    ("raises", "failed, exit code 1", "before\n"),
    ("succeeds", DONE, "all is well here\n"),
])]
#[case::resources("examples/resources.org", 0, &[
    ("small", DONE, "a tenth of a cpu\n"),
    ("large", DONE, "two cpus\n"),
    ("with-disk", DONE, "ten megabytes of disk\n"),
])]
#[case::ports("examples/ports.org", 0, &[
    ("any", DONE, "two ports of its own\n"),
    ("one", DONE, "18080 is mine\n"),
    ("another", DONE, "18080 is mine\n"),
])]
#[case::constraints("examples/constraints.org", 0, &[
    ("on-this-machine", DONE, "any host, but not in rack r1 or r2\n"),
    ("alone", DONE, "nobody else here\n"),
    ("alone-too", DONE, "nobody else here\n"),
])]
#[case::environment("examples/environment.org", 0, &[
    ("own", DONE, "good morning, Jorge\n"),
    ("of-borges", DONE, "block of-borges, try 1, instance 1\nknown by name\nat home\n"),
    ("input", DONE, "0\n"),
    ("directory", DONE, "beside the document\n"),
])]
#[case::inheritance("examples/inheritance.org", 0, &[
    ("of-the-document", DONE, "everybody\n"),
    ("of-the-heading", DONE, "heading\n"),
    ("of-the-block", DONE, "block\n"),
    ("from-further-up", DONE, "heading\n"),
])]
#[case::escapes("examples/escapes.org", 0, &[
    ("commas", DONE, "* not a heading\n#+begin_src is not a block\n,* one comma stays\n"),
    ("indented", DONE, "42\n"),
    ("quotes", DONE, "it's \"quoted\" $HOME `date` \\n\na\ttab, and ¡ünïcødé! 語\n"),
])]
#[case::streams("examples/streams.org", 0, &[
    ("numbers", DONE, "1\n2\n3\n4\n5\n"),
    ("complains", DONE, ""),
    ("no-newline", DONE, "the last line has no end\n"),
    ("silent", DONE, ""),
])]
#[case::pipeline("examples/pipeline.org", 0, &[
    ("fetch", DONE, "57 words\n"),
    ("cut", DONE, ""),
    ("count-0", DONE, ""),
    ("count-1", DONE, ""),
    ("count-2", DONE, ""),
    ("total", DONE, "36 different words\n"),
    ("check", DONE, "nothing was lost\n"),
    ("report", DONE, "the most frequent words:\n6 the\n5 is\n4 and\n"),
])]
#[case::fan_out("examples/fan-out.org", 0, &[
    ("line-6", DONE, ""),
    ("two", DONE, ""),
    ("three", DONE, ""),
    ("four", DONE, ""),
    ("five", DONE, ""),
    ("sum", DONE, "15\n"),
])]
#[case::literate("examples/literate.org", 0, &[
    ("shown", DONE, "output\n"),
    ("decorated", DONE, "decorated\n"),
    ("quoted", DONE, "quoted\n"),
    ("line-40", DONE, "in a line\n"),
])]
#[case::capitals("examples/capitals.org", 0, &[
    ("upper", DONE, "upper\n"),
    ("lower", DONE, "lower\n"),
    ("mixed", DONE, "mixed\n"),
])]
#[case::lists("integration/fixtures/lists.org", 0, &[
    ("in-a-list", DONE, "in a list\n"),
    ("deep", DONE, "deep\n  kept\n"),
    ("tabs", DONE, "tabs\n"),
    ("in-a-drawer", DONE, "in a drawer\n"),
    ("in-the-centre", DONE, "in the centre\n"),
])]
#[case::headers("integration/fixtures/headers.org", 0, &[
    ("name-first", DONE, "A=1\n"),
    ("name-last", DONE, "A=2\n"),
    ("name-between", DONE, "A=3\n"),
    ("among-others", DONE, "A=4\n"),
    ("on-the-line", DONE, "A=5 B=b c\n"),
    ("header-wins", DONE, "A=header\n"),
    ("colons", DONE, "a colon in a value\n"),
    ("line-49", DONE, "not named line-49\n"),
])]
#[case::no_newline("integration/fixtures/no-newline.org", 0, &[("first-line", DONE, "first-line\n")])]
#[case::crlf("integration/fixtures/crlf.org", 0, &[
    ("crlf", DONE, "one\ntwo\n"),
    ("line-12", DONE, "three\n"),
])]
#[case::latin_1("integration/fixtures/latin-1.org", 0, &[
    ("line-7", "not run: nothing is known to run `conf` (`#+borges_lang:` adds a language)", ""),
    ("fine", DONE, "fine\n"),
])]
#[case::exit_codes("integration/fixtures/exit-codes.org", 1, &[
    ("zero", DONE, ""),
    ("two", "failed, exit code 2", ""),
    ("most", "failed, exit code 255", ""),
    ("not-found", "failed, exit code 127", ""),
    ("terminated", "failed, exit code 143", ""),
    ("killed", "failed, exit code 137", ""),
    ("broken-pipe", "failed, exit code 141", ""),
    ("interrupted", "failed, exit code 130", ""),
    ("in-the-middle", DONE, "a failing command in the middle is not the block's end\n"),
    ("wrong-syntax", "failed, exit code 1", ""),
])]
#[case::nothing("integration/fixtures/nothing.org", 0, &[
    ("line-13", "not run: nothing is known to run `conf` (`#+borges_lang:` adds a language)", ""),
])]
#[case::empty_bodies("integration/fixtures/empty-bodies.org", 0, &[
    ("empty", DONE, ""),
    ("blank", DONE, ""),
    ("only-a-comment", DONE, ""),
])]
fn document_has_expected_states_output_and_exit_code(
    #[case] document: &str,
    #[case] code: i32,
    #[case] blocks: &[Block],
) {
    let (sandbox, run) = run_document(document, &[]);
    check(&run, code, blocks);
    assert_eq!(sandbox.created_files(), [""; 0], "files that `{document}` leaves behind");
}

/// The begin and the end of a block as the block wrote them, in nanoseconds.
fn span(sandbox: &CliSandbox, block: &str) -> (u128, u128) {
    let read = |what: &str| fs::read_to_string(sandbox.path(&format!("{block}.{what}"))).unwrap();
    (read("began").trim().parse().unwrap(), read("ended").trim().parse().unwrap())
}

#[test]
fn independent_blocks_overlap() {
    let (sandbox, run) = run_document("integration/fixtures/overlap.org", &[]);
    check(&run, 0, &[("left", DONE, ""), ("right", DONE, "")]);
    let (left, right) = (span(&sandbox, "left"), span(&sandbox, "right"));
    assert!(left.0 < right.1 && right.0 < left.1, "{left:?} and {right:?} do not overlap");
}

#[rstest]
#[case::by_after("integration/fixtures/after.org")]
#[case::by_runmode("integration/fixtures/sequence.org")]
fn ordered_blocks_do_not_overlap(#[case] document: &str) {
    let (sandbox, run) = run_document(document, &[]);
    check(&run, 0, &[("left", DONE, ""), ("right", DONE, "")]);
    let (left, right) = (span(&sandbox, "left"), span(&sandbox, "right"));
    assert!(left.1 <= right.0, "right began at {right:?}, before left ended: {left:?}");
}

#[test]
fn blocks_do_not_overlap_on_one_cpu() {
    let sandbox = CliSandbox::new();
    let document = sandbox.copy("integration/fixtures/crowded.org");
    sandbox.write("setup.org", "#+borges_cpus: 1\n");
    let run = sandbox.run(&["run", &document, "-f", "setup.org"]);
    check(&run, 0, &[("left", DONE, ""), ("right", DONE, "")]);
    let (left, right) = (span(&sandbox, "left"), span(&sandbox, "right"));
    assert!(left.1 <= right.0 || right.1 <= left.0, "{left:?} and {right:?} overlap");
}

#[test]
fn unusual_block_names_are_kept() {
    let (_sandbox, run) = run_document("integration/fixtures/names.org", &[]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let said = run.block_output();
    let text = |name: &str| String::from_utf8_lossy(&said[name]).into_owned();
    for name in ["two words", "ünïcødé", "line-14", "-n $(id) ; 'quote\""] {
        assert_eq!(text(name), format!("{name}\n"), "{run:#?}");
    }
    assert_eq!(text("line-34"), "an empty name: line-34\n");
    // A name that two blocks bear is odd, and an error only where it is referred to.
    assert!(text("twice").contains("the first of two\n") && text("twice").contains("the second of two\n"));
    assert!(run.stderr.contains("names.org:23:1: warning: "), "{run:#?}");
}

#[test]
fn leftover_processes_end_with_their_block() {
    let (sandbox, run) = run_document("integration/fixtures/leftovers.org", &[]);
    check(&run, 1, &[("leaves", DONE, "gone\n"), ("ignores", "failed", "")]);
    for file in ["left.pid", "ignoring.pid"] {
        let pid = fs::read_to_string(sandbox.path(file)).unwrap();
        let process = Path::new("/proc").join(pid.trim());
        assert!(!process.exists(), "{file}: process {pid} still lives");
    }
}

#[test]
fn output_is_passed_through_unchanged() {
    let (_sandbox, run) = run_document("integration/fixtures/bytes.org", &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let said = run.block_output();
    assert_eq!(said["bytes"], b"\xff\x00\x80\n");
    let numbers = pieces(1..200_001, |n| format!("{n}\n"));
    assert!(said["long"] == numbers.as_bytes(), "{} bytes of numbers", said["long"].len());
    assert_eq!(said["one-line"].len(), 3_000_001);
}

#[test]
fn long_body_is_passed_whole() {
    let sandbox = CliSandbox::new();
    let filler = "# a line of sixty-four characters, which is no more than a comment\n".repeat(32_000);
    let body = format!("{filler}wc -c < \"$MESOS_SANDBOX/block/body\"");
    sandbox.write("long.org", format!("#+name: long\n#+begin_src sh\n{body}\n#+end_src\n"));
    let run = sandbox.run(&["run", "long.org"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let size: usize = String::from_utf8_lossy(&run.block_output()["long"]).trim().parse().unwrap();
    assert!((body.len()..=body.len() + 1).contains(&size), "{size}, not {}", body.len());
}

#[test]
fn three_hundred_blocks_all_finish() {
    let sandbox = CliSandbox::new();
    let blocks = pieces(1..301, |n| format!("#+name: b{n}\n#+begin_src sh :cpu 0.25\necho {n}\n#+end_src\n"));
    sandbox.write("many.org", blocks);
    let run = sandbox.run(&["run", "many.org"]);
    assert_eq!((run.code, run.summary()), (Some(0), "300 finished"), "{}", run.stderr);
    let said = run.block_output();
    for n in 1..=300 {
        assert_eq!(said[&format!("b{n}")], format!("{n}\n").as_bytes());
    }
}

#[test]
fn block_stderr_goes_to_stderr() {
    let (_sandbox, run) = run_document("examples/streams.org", &[]);
    assert!(run.stderr.contains("==> complains (stderr) <==\nto standard error\n"), "{run:#?}");
    assert!(!String::from_utf8_lossy(&run.stdout).contains("to standard error"), "{run:#?}");
}

#[test]
fn blocks_of_included_files_run() {
    let sandbox = CliSandbox::new();
    sandbox.write(
        "doc.org",
        "* A heading\n#+include: \"part.org::*Shared\" :only-contents t\n#+name: script\n#+include: x.sh src sh :requires \
         deep\n#+setupfile: set.org\n#+begin_src sh :noweb yes\necho $A <<deep>>\n#+end_src\n",
    );
    sandbox.write("part.org", "#+begin_src sh\nexit 1\n#+end_src\n* Shared\n#+include: deep.org\n");
    sandbox.write("deep.org", "\n#+name: deep\n#+begin_src sh\necho deep\n#+end_src\n");
    sandbox.write("x.sh", "echo script\n#+name: no\n");
    sandbox.write("set.org", "#+property: header-args :env A=set\n#+runmode: sequential\n");
    let run = sandbox.run(&["run", "doc.org"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let said: Vec<_> = run.block_output().into_iter().collect();
    let expected = [("deep", "deep\n"), ("line-6", "set echo deep\n"), ("script", "script\n")];
    let expected = expected.map(|(block, said)| (block.to_owned(), said.as_bytes().to_vec()));
    assert_eq!(said, expected, "{run:#?}");
}

#[test]
fn name_option_selects_blocks() {
    let (_sandbox, run) = run_document("examples/languages.org", &["--name", "perl", "--name", "awk"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let said = run.block_output();
    assert_eq!(said.keys().collect::<Vec<_>>(), ["awk", "perl"]);
    assert_eq!(run.summary(), "2 finished");
}

/// Runs a document that does not end, and interrupts it when a line of its output is `awaited`.
fn run_until(document: &str, awaited: &str) -> (CliSandbox, CliOutput) {
    let sandbox = CliSandbox::new();
    let name = sandbox.copy(document);
    let run = sandbox.run_interrupted(&["run", &name], awaited);
    (sandbox, run)
}

#[test]
fn interrupt_kills_an_endless_block() {
    let (_sandbox, run) = run_until("examples/run-forever.org", "Still running...");
    assert_eq!(run.code, Some(130), "{run:#?}");
    assert!(
        run.block_output()["run-forever"].starts_with(b"Started running\nStill running...\n"),
        "{run:#?}"
    );
    assert!(run.states("run-forever").last().unwrap().starts_with("killed"), "{run:#?}");
}

#[test]
fn service_runs_until_an_interrupt() {
    let (_sandbox, run) = run_until("examples/service.org", "tick");
    assert_eq!(run.code, Some(130), "{run:#?}");
    assert_eq!(run.block_output()["listener"], b"tick\n");
    assert!(run.states("clock").last().unwrap().starts_with("killed"), "{run:#?}");
}

/// Neither a block that ignores SIGTERM nor a child in a session of its own survives an interrupt.
#[test]
fn interrupt_leaves_no_process_running() {
    let sandbox = CliSandbox::new();
    sandbox.write(
        "deaf.org",
        "#+begin_src bash\ntrap '' TERM\nsetsid sleep 1000 &\necho $! > child\necho $$ > block\necho ready\n\
         while :; do sleep 0.1; done\n#+end_src\n",
    );
    let run = sandbox.run_interrupted(&["run", "deaf.org"], "ready");
    assert_eq!(run.code, Some(130), "{run:#?}");
    for pid in ["block", "child"] {
        let pid = fs::read_to_string(sandbox.path(pid)).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "process {pid} is left: {run:#?}");
    }
}

/// The source of the suite that runs documents with containers.
const TRIED_ELSEWHERE: &str = include_str!("compatibility/mod.rs");

/// Each document is named in this file, or in that of the other suite.
#[test]
fn every_example_and_fixture_is_run_by_a_test() {
    for folder in ["examples", "integration/fixtures"] {
        for entry in fs::read_dir(support::repository(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let document = format!("\"{folder}/{name}\"");
            let elsewhere = format!("/{folder}/{name}\"");
            let tried = !is_document(&name)
                || include_str!("documents_e2e.rs").contains(&document)
                || TRIED_ELSEWHERE.contains(&elsewhere);
            assert!(tried, "no test runs {document}");
        }
    }
}

/// A document that is committed with its results passes `--check`, and `--write` leaves it unchanged. A change of its data
/// fails the check.
#[rstest]
#[case::wells("examples/wells.org", &[("| south  |   2 |  3.02 |", "| south  |   2 |  3.12 |", "+| south | 3.11 | 2 |")])]
#[case::sweep("examples/sweep.org", &[("| simpson   |    64 |\n\n", "| simpson   |    65 |\n\n", "+: simpson with 65 steps")])]
#[case::runbook("examples/runbook.org", &[("root 644", "root 600", "-| passwords | ok |")])]
#[ignore = "needs Ruby"]
#[case::handed_on("integration/fixtures/handed-on.org", &[("rows=5", "rows=6", "+| oak 6  |  42 |")])]
#[case::report("examples/report.org", &[("| Jul   | 83 |", "| Jul   | 38 |", "+: Aug"), ("Jul", "July", "+: July")])]
fn committed_results_are_reproduced_and_checked(
    #[case] document: &str,
    #[case] changes: &[(&str, &str, &str)],
) {
    let sandbox = CliSandbox::new();
    let name = sandbox.copy(document);
    let kept = fs::read_to_string(sandbox.path(&name)).unwrap();
    let checked = sandbox.run(&["run", "--check", &name]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    let run = sandbox.run(&["run", "--write", &name]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(fs::read_to_string(sandbox.path(&name)).unwrap(), kept);
    for (from, to, seen) in changes {
        assert!(kept.contains(from), "{from}");
        sandbox.write(&name, kept.replacen(from, to, 1));
        let checked = sandbox.run(&["run", "--check", &name]);
        assert_eq!(checked.code, Some(1), "{from} → {to}: {checked:#?}");
        let shown = String::from_utf8_lossy(&checked.stdout);
        assert!(shown.lines().any(|line| line.starts_with(seen)), "no `{seen}` in {shown}");
    }
}

#[test]
fn service_runs_while_its_clients_do() {
    let sandbox = CliSandbox::new();
    let name = sandbox.copy("examples/clients.org");
    let kept = fs::read_to_string(sandbox.path(&name)).unwrap();
    let run = sandbox.run_interrupted(&["run", "--write", &name], "orbis is longer");
    assert_eq!(run.code, Some(130), "{run:#?}");
    assert!(
        run.states("lengths").last().is_some_and(|last| last.starts_with("killed, exit code 143")),
        "{run:#?}"
    );
    assert_eq!(fs::read_to_string(sandbox.path(&name)).unwrap(), kept);
}

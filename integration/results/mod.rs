//! Values between blocks, and results in documents, by `borges run` and by a server.

mod caching;
mod instances;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use nix::sys::signal::Signal;
use support::cli::{CliOutput, CliSandbox};
use support::server::TestServer;

/// Runs `borges run --write` on a document; the document then, and the output.
fn run_write(document: &str) -> (String, CliOutput) {
    let sandbox = CliSandbox::new();
    sandbox.write("d.org", document);
    let run = sandbox.run(&["run", "--write", "d.org"]);
    (fs::read_to_string(sandbox.path("d.org")).unwrap(), run)
}

fn block(name: &str, language: &str, body: &str) -> String {
    format!("#+name: {name}\n#+begin_src {language}\n{body}\n#+end_src\n\n")
}

/// The result of a block: the lines below its `#+RESULTS:`.
fn result_of(document: &str, name: &str) -> String {
    let (_, after) = document
        .split_once(&format!("#+RESULTS: {name}\n"))
        .unwrap_or_else(|| panic!("{name} has no result:\n{document}"));
    after.lines().take_while(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

/// Blocks in four languages, each of which changes the table of the one before.
fn language_chain() -> String {
    block("grown", "sh", "printf 'oak\\t1\\nash\\t2\\n'")
        + &block("aged", "python :var t=grown", "return [[name, years + 10] for name, years in t]")
        + &block("sorted", "ruby :var t=aged", "t.sort")
        + &block(
            "summed",
            "C :includes <stdio.h> :var t=sorted[,1]",
            "int sum = 0;\nfor (int i = 0; i < t_rows; i++) sum += t[i][0];\nprintf(\"%d\\n\", sum);",
        )
}

#[test]
#[ignore = "needs Ruby"]
fn table_is_passed_between_languages() {
    let (document, run) = run_write(&language_chain().replace("t=sorted[,1]", "t=column").replace(
        "#+name: summed",
        "#+name: column\n#+begin_src python :var t=sorted\nreturn [[row[1]] for row in t]\n#+end_src\n\n#+name: summed",
    ));
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(result_of(&document, "grown"), "| oak | 1 |\n| ash | 2 |\n");
    assert_eq!(result_of(&document, "aged"), "| oak | 11 |\n| ash | 12 |\n");
    assert_eq!(result_of(&document, "sorted"), "| ash | 12 |\n| oak | 11 |\n");
    assert_eq!(result_of(&document, "summed"), ": 23\n");
}

#[test]
fn referenced_block_runs_once_per_set_of_arguments() {
    let counted = "echo $n >> count; echo value $n";
    let document = block("c", "sh :var n=1 :mem 60 :env A=1", counted)
        + &block("one", "sh :var x=c y=c() z=c(n=1)", "echo $x, $y, $z")
        + &block("two", "sh :var x=c :noweb yes", "echo $x, <<c()>>")
        + &block("three", "sh :var x=c(n=2) y=c(n=2)", "echo $x, $y")
        + "#+call: c()\n\n#+name: again\n#+call: c(n=3)\n\nIt is call_c(n=3).\n";
    let sandbox = CliSandbox::new();
    sandbox.write("d.org", &document);
    let run = sandbox.run(&["run", "--write", "d.org"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let mut counts: Vec<String> =
        fs::read_to_string(sandbox.path("count")).unwrap().lines().map(str::to_owned).collect();
    counts.sort();
    assert_eq!(counts, ["1", "2", "3"]);
    let document = fs::read_to_string(sandbox.path("d.org")).unwrap();
    assert_eq!(result_of(&document, "one"), "| value 1 | value 1 | value 1 |\n");
    assert_eq!(result_of(&document, "two"), "| value 1 | value 1 |\n");
    assert_eq!(result_of(&document, "three"), "| value 2 | value 2 |\n");
    assert_eq!(result_of(&document, "again"), ": value 3\n");
    assert!(document.contains("#+call: c()\n\n#+RESULTS:\n: value 1\n"), "{document}");
    assert!(document.contains("call_c(n=3) {{{results(=value 3=)}}}."), "{document}");
}

/// The values for a block are read before it waits for an offer. Meanwhile an offer is kept, instead of declined and
/// revived.
#[test]
fn chain_does_not_revive_offers_at_each_link() {
    let server = TestServer::start();
    let links = 40;
    let link = |n: usize| block(&format!("b{n}"), &format!("sh :var x=b{}", n - 1), "echo $((x + 1))");
    let chain: String = (1..=links).map(link).collect();
    let run = server.submit(&(block("b0", "sh", "echo 0") + &chain));
    server.wait_for_state(&format!("{run}.{}", links + 1), "finished");
    let (_, document) = server.curl(&[], &format!("/org/{run}.org"));
    assert_eq!(result_of(&document, &format!("b{links}")), format!(": {links}\n"));
    let (_, numbers) = server.curl(&[], "/metrics");
    let revived = numbers.lines().find_map(|line| line.strip_prefix("borges_calls_total{call=\"revive\"} "));
    assert!(revived.unwrap_or("0").parse::<usize>().unwrap() < links, "{numbers}");
}

/// The examples are committed with their results; a server returns the same bytes.
#[test]
fn committed_results_are_reproduced_by_a_server() {
    let server = TestServer::start();
    // With as many tasks; one of `clients` is a service, which runs on.
    for (name, tasks) in [("wells", 5), ("sweep", 12), ("runbook", 6), ("report", 4), ("clients", 4)] {
        let path = support::repository(&format!("examples/{name}.org"));
        let kept = fs::read_to_string(path).unwrap();
        let run = server.submit(&kept);
        for number in 1..=tasks {
            if (name, number) != ("clients", 1) {
                server.wait_for_state(&format!("{run}.{number}"), "finished");
            }
        }
        assert_eq!(server.curl(&[], &format!("/org/{run}.org")), (200, kept), "{name}");
    }
}

/// Two blocks that a third refers to run concurrently: each waits for a file of the other.
#[test]
fn independent_blocks_run_concurrently() {
    let meet = |own: &str, other: &str| {
        format!(
            "touch {own}; n=0; until [ -e {other} ]; do n=$((n + 1)); [ $n -lt 600 ] || exit 1; sleep 0.05; done; echo met"
        )
    };
    let document = block("a", "sh", &meet("a", "b"))
        + &block("b", "sh", &meet("b", "a"))
        + &block("c", "sh :var a=a b=b", "echo $a $b");
    let (document, run) = run_write(&document);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(result_of(&document, "c"), ": met met\n");
}

#[test]
fn block_without_its_input_is_skipped_with_a_reason() {
    let (document, run) = run_write(
        &(block("bad", "sh", "echo half; exit 3")
            + &block("next", "sh :var x=bad", "echo $x")
            + &block("last", "sh :var x=next", "echo $x")
            + &block("other", "sh", "echo fine")),
    );
    assert_eq!(run.code, Some(1), "{run:#?}");
    assert_eq!(run.states("next"), ["skipped: it requires `bad` (line 2), which failed"], "{run:#?}");
    assert_eq!(run.states("last"), ["skipped: it requires `next` (line 7), which was skipped"], "{run:#?}");
    assert_eq!(result_of(&document, "bad"), ": half\n");
    assert_eq!(result_of(&document, "other"), ": fine\n");
    let note =
        ":results:\n#+attr_borges: :state skipped :message it requires `bad` (line 2), which failed\n:end:\n";
    assert_eq!(result_of(&document, "next"), note);
}

/// The note of a failure holds the output and the exit code. Emacs finds it as the result, and the next success replaces
/// it.
#[test]
fn failure_note_is_replaced_by_the_next_success() {
    let (sandbox, server) = (CliSandbox::new(), TestServer::start());
    let url = format!("http://{}", server.address);
    let submit = || {
        let run = sandbox.run(&["submit", "d.org", "--write", "--server", &url]);
        (fs::read_to_string(sandbox.path("d.org")).unwrap(), run.code)
    };
    let good = sandbox.path("good");
    let wait = format!("[ -e {} ] || sleep 60; echo in time", good.display());
    let fail = format!("echo half; [ -e {} ] || exit 3", good.display());
    let document = block("exit", "sh :cache yes", &fail)
        + &block("late", "sh :timeout 1s", &wait)
        + &block("next", "sh :var x=exit", "echo $x")
        + "Text\n";
    sandbox.write("d.org", document.replace("Text", "#+RESULTS: next\n| old |\n\nText"));
    let (failed, code) = submit();
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(failed.replace(&good.display().to_string(), "GOOD"));
    let (again, _) = submit();
    assert_eq!(again, failed);
    fs::write(&good, "").unwrap();
    let (well, code) = submit();
    assert_eq!(code, Some(0), "{well}");
    sandbox.write("d.org", &document);
    assert_eq!(submit().0, well);

    // Emacs writes no note for a block that fails by itself, so neither does `borges run`.
    sandbox.write("d.org", block("a", "sh", "echo half; exit 3"));
    sandbox.run(&["run", "--write", "d.org"]);
    let document = fs::read_to_string(sandbox.path("d.org")).unwrap();
    assert_eq!(result_of(&document, "a"), ": half\n");
    assert_eq!(sandbox.run(&["run", "--check", "d.org"]).code, Some(1));
    sandbox.write("d.org", block("a", "sh :timeout 1s", "echo half; sleep 60"));
    sandbox.run(&["run", "--write", "d.org"]);
    let document = fs::read_to_string(sandbox.path("d.org")).unwrap();
    let note = ":results:\n#+attr_borges: :state failed :exit 137 :message it ran for longer than its `:timeout`\n: half\n:end:\n";
    assert_eq!(result_of(&document, "a"), note);
    let run = sandbox.run(&["run", "--check", "d.org"]);
    assert!(!String::from_utf8_lossy(&run.stdout).contains("@@"), "{run:#?}");
}

#[test]
fn unavailable_values_are_reported_with_a_line() {
    let nobody = run_write(&block("a", "sh :var x=nobdy", "echo $x"));
    assert_eq!(nobody.1.code, Some(2), "{:#?}", nobody.1);
    assert!(nobody.1.stderr.starts_with("d.org:2:16: error: no block, table"), "{:#?}", nobody.1);

    let circle = block("a", "sh :var x=b", "echo $x") + &block("b", "sh :var x=a", "echo $x");
    let circle = run_write(&circle).1;
    assert!(circle.stderr.contains("d.org:2:16: error: these blocks wait for each other"), "{circle:#?}");

    let large = block("big", "sh", "head -c 100000000 /dev/zero | tr '\\0' x")
        + &block("a", "sh :var x=big", "echo ${#x}")
        + &block("b", "sh", "echo fine");
    let sandbox = CliSandbox::new();
    sandbox.write("d.org", &large);
    let (large, memory) = sandbox.run_measured(&["run", "--write", "d.org"]);
    let document = fs::read_to_string(sandbox.path("d.org")).unwrap();
    assert!(memory < 300 << 20, "{memory} bytes were held, a value of 100 MB was not to be");
    assert_eq!(large.code, Some(1), "{}", large.stderr);
    let told = large.states("a").join("\n");
    assert!(told.contains("`big` (line 2), which cannot be had: it is 100000000 bytes"), "{told}");
    assert_eq!(result_of(&document, "b"), ": fine\n");

    let (document, lacking) = run_write(&block("a", "sh :results file link :file none.png", "true"));
    assert!(
        lacking.stderr.contains("a: line 2: ")
            && lacking.stderr.contains("none.png`, its `:file`, is not there"),
        "{lacking:#?}"
    );
    assert_eq!(result_of(&document, "a"), "[[file:none.png]]\n");
}

#[test]
fn unusual_values_are_kept() {
    let sandbox = CliSandbox::new();
    let document = block("binary", "sh :results output", "printf 'a\\377\\001b\\n'")
        + &block("ragged", "sh", "printf 'a\\nb c\\nd e f\\n'")
        + &block("nothing", "sh", "true")
        + &block("of", "python :var r=ragged n=nothing", "return [str(r), str(n)]");
    sandbox.write("d.org", document);
    let run = sandbox.run(&["run", "--write", "d.org"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let bytes = fs::read(sandbox.path("d.org")).unwrap();
    let binary = b"#+RESULTS: binary\n: a\xff\x01b\n";
    assert!(bytes.windows(binary.len()).any(|part| part == binary), "{}", String::from_utf8_lossy(&bytes));
    let document = String::from_utf8_lossy(&bytes);
    assert_eq!(result_of(&document, "ragged"), "| a |   |   |\n| b | c |   |\n| d | e | f |\n");
    assert_eq!(result_of(&document, "nothing"), "");
    assert_eq!(result_of(&document, "of"), "| [['a', '', ''], ['b', 'c', ''], ['d', 'e', 'f']] | [] |\n");
}

/// A result goes to its block wherever that has moved; the file keeps its mode, and a symbolic link stays one.
#[test]
fn document_edited_during_a_run_gets_its_results() {
    let sandbox = CliSandbox::new();
    let slow = block("slow", "sh", "sed -i '1i A new first line.\\n' d.org; echo done")
        + &block("changed", "sh :after slow", "sed -i 's/echo old/echo new/' d.org; echo old");
    sandbox.write("real.org", &slow);
    fs::set_permissions(sandbox.path("real.org"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real.org", sandbox.path("d.org")).unwrap();
    let edit = slow.replace("sed -i", "sed -i --follow-symlinks");
    sandbox.write("real.org", &edit);
    let run = sandbox.run(&["run", "--write", "d.org"]);
    let document = fs::read_to_string(sandbox.path("real.org")).unwrap();
    assert!(document.starts_with("A new first line.\n\n#+name: slow\n"), "{document}");
    assert_eq!(result_of(&document, "slow"), ": done\n");
    assert!(!document.contains("#+RESULTS: changed"), "{document}");
    assert!(run.stderr.contains("changed: line 7: it has changed since"), "{run:#?}");
    assert!(fs::symlink_metadata(sandbox.path("d.org")).unwrap().is_symlink());
    assert_eq!(fs::metadata(sandbox.path("real.org")).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn result_files_and_tangled_files_are_placed() {
    let sandbox = CliSandbox::new();
    let document = block("made", "sh :results output file :file out/made.txt", "echo content")
        + &block("read", "sh", "cat out/made.txt")
        + &block("tool", "sh :tangle bin/tool :shebang \"#!/bin/sh\"", "echo tool says $1")
        + &block("uses", "sh", "\"$MESOS_SANDBOX/bin/tool\" hello")
        + &block("deep", "sh :dir a/b :mkdirp yes", "pwd | sed 's,.*/\\(a/b\\)$,\\1,'");
    sandbox.write("d.org", &document);
    let run = sandbox.run(&["run", "--write", "d.org"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let document = fs::read_to_string(sandbox.path("d.org")).unwrap();
    assert_eq!(fs::read_to_string(sandbox.path("out/made.txt")).unwrap(), "content\n");
    assert_eq!(result_of(&document, "made"), "[[file:out/made.txt]]\n");
    assert_eq!(result_of(&document, "read"), ": content\n");
    assert_eq!(result_of(&document, "uses"), ": tool says hello\n");
    assert_eq!(result_of(&document, "deep"), ": a/b\n");
}

/// The server is killed while a block waits for the value of another; after the restart the value arrives.
#[test]
fn value_survives_a_server_kill() {
    let mut server = TestServer::start();
    let gate = server.path("gate");
    let document = block(
        "first",
        "sh",
        &format!(
            "n=0; until [ -e {} ]; do n=$((n + 1)); [ $n -lt 600 ] || exit 1; sleep 0.05; done; echo 42",
            gate.display()
        ),
    ) + &block("second", "python :var x=first", "return x + 1")
        + &block("third", "sh :var x=second", "echo \"got $x\"");
    let run = server.submit(&document);
    server.wait_for_state(&format!("{run}.1"), "running");
    server.stop(Signal::SIGKILL);
    fs::write(&gate, "").unwrap();
    server.restart();
    server.wait_for_state(&format!("{run}.3"), "finished");
    let (status, document) = server.curl(&[], &format!("/org/{run}.org"));
    assert_eq!(status, 200, "{document}");
    assert_eq!(result_of(&document, "first"), ": 42\n");
    assert_eq!(result_of(&document, "second"), ": 43\n");
    assert_eq!(result_of(&document, "third"), ": got 43\n");
    // Once more, from what is on disk.
    server.stop(Signal::SIGKILL);
    server.restart();
    assert_eq!(server.curl(&[], &format!("/org/{run}.org")), (200, document));
}

#[test]
fn var_option_replaces_a_variable() {
    let (sandbox, server) = (CliSandbox::new(), TestServer::start());
    let document = block("count", "sh :var n=1 who=\"nobody\"", "echo $n $who");
    sandbox.write("d.org", &document);
    let run = sandbox.run(&["run", "d.org", "--var", "count.n=5", "--var", "count.who=an = 'o\" b"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(run.block_output()["count"], b"5 an = 'o\" b\n");
    for (variable, words) in [
        ("other.n=5", "other"),
        ("count.m=5", "the block `count` has no variable `m`"),
        ("count.n", "write a block, a variable and its value: `block.n=5`"),
    ] {
        let run = sandbox.run(&["run", "d.org", "--var", variable]);
        assert_eq!(run.code, Some(2), "{run:#?}");
        assert!(run.stderr.contains(words), "{run:#?}");
    }

    let body = format!("@{}", sandbox.path("d.org").display());
    let post = |query: &str| server.curl(&["--data-binary", &body], &format!("/org?{query}"));
    let (status, text) = post("var.count.n=7");
    assert_eq!(status, 200, "{text}");
    let task = text.lines().find_map(|line| line.strip_prefix("run ")).unwrap().to_owned() + ".1";
    server.wait_for_state(&task, "finished");
    assert_eq!(server.curl(&[], &format!("/tasks/{task}/stdout")), (200, "7 nobody\n".to_owned()));
    assert_eq!(post("var.count.m=7").0, 400);
    assert_eq!(post("var.n=7").0, 400);
}

#[test]
fn check_shows_changed_results() {
    let sandbox = CliSandbox::new();
    sandbox.write("d.org", block("a", "sh", "echo same") + &block("b", "sh", "cat value"));
    sandbox.write("value", "old\n");
    assert_eq!(sandbox.run(&["run", "--write", "d.org"]).code, Some(0));
    let document = fs::read_to_string(sandbox.path("d.org")).unwrap();
    let run = sandbox.run(&["run", "--check", "d.org", "-q"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(!String::from_utf8_lossy(&run.stdout).contains("@@"), "{run:#?}");
    sandbox.write("value", "new\n");
    let run = sandbox.run(&["run", "--check", "d.org", "-q"]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    let shown = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(shown.contains("\n-: old\n+: new\n"), "{shown}");
    assert!(!shown.contains("\n-: same"), "{shown}");
    assert_eq!(fs::read_to_string(sandbox.path("d.org")).unwrap(), document);
}

#[test]
fn submit_write_writes_results() {
    let (sandbox, server) = (CliSandbox::new(), TestServer::start());
    sandbox.write("d.org", block("a", "sh", "echo here") + &block("b", "sh :var x=a", "echo $x; exit 3"));
    let url = format!("http://{}", server.address);
    let run = sandbox.run(&["submit", "d.org", "--write", "--server", &url]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    let document = fs::read_to_string(sandbox.path("d.org")).unwrap();
    assert_eq!(result_of(&document, "a"), ": here\n");
    let note = ":results:\n#+attr_borges: :state failed :exit 3\n: here\n:end:\n";
    assert_eq!(result_of(&document, "b"), note);
}

//! Cached blocks and resumed runs: counter files show which blocks ran.

use std::fs;

use nix::sys::signal::Signal;

use super::{block, result_of};
use support::cli::CliSandbox;
use support::server::TestServer;

/// A block that appends a line to its counter file in each run.
fn counting(sandbox: &CliSandbox, name: &str, line: &str, says: &str) -> String {
    block(name, line, &format!("echo x >> {}; {says}", sandbox.path(&format!("count-{name}")).display()))
}

fn count(sandbox: &CliSandbox, name: &str) -> usize {
    fs::read_to_string(sandbox.path(&format!("count-{name}"))).unwrap_or_default().lines().count()
}

/// A block with `:cache yes` runs once in all documents, until it or its input changes.
#[test]
fn cached_block_runs_again_only_when_it_changes() {
    let sandbox = CliSandbox::new();
    let table = "#+name: t\n| a | 1 |\n\n";
    let cached = counting(&sandbox, "c", "sh :cache yes :var t=t", "echo \"got $t\"");
    let next = counting(&sandbox, "next", "sh :var x=c", "echo \"then $x\"");
    let document = table.to_owned() + &cached + &next;
    sandbox.write("d.org", &document);
    for runs in 1..=3 {
        let run = sandbox.run(&["run", "d.org"]);
        assert_eq!(run.code, Some(0), "{run:#?}");
        assert_eq!((count(&sandbox, "c"), count(&sandbox, "next")), (1, runs), "{run:#?}");
        assert_eq!(run.block_output()["next"], b"then got a\t1\n", "{run:#?}");
    }
    let run = sandbox.run(&["run", "d.org"]);
    assert!(run.states("c")[0].starts_with("finished without being run: cached from run "), "{run:#?}");
    // From another document, with other arguments that change nothing of what is run.
    sandbox.write(
        "other.org",
        format!("* Other\n\n{table}{}", cached.replace(":var", ":mem 64 :wrap quote :var")),
    );
    let run = sandbox.run(&["run", "--write", "other.org"]);
    assert_eq!((run.code, count(&sandbox, "c")), (Some(0), 1), "{run:#?}");
    let other = fs::read_to_string(sandbox.path("other.org")).unwrap();
    assert!(other.contains("#+begin_quote\n| got a | 1 |\n#+end_quote\n"), "{other}");
    let plan = String::from_utf8(sandbox.run(&["plan", "d.org"]).stdout).unwrap();
    assert!(plan.starts_with("1 block run\n1 block cached\n") && plan.contains("cached from run "), "{plan}");

    for (times, changed) in
        [(2, document.replace("| 1 |", "| 2 |")), (3, document.replace("\"got $t\"", "\"got  $t\""))]
    {
        sandbox.write("d.org", changed);
        let run = sandbox.run(&["run", "d.org"]);
        assert_eq!((run.code, count(&sandbox, "c")), (Some(0), times), "{run:#?}");
    }
    // Who checks wants to see what comes out now.
    sandbox.write("d.org", &document);
    sandbox.run(&["run", "--check", "d.org"]);
    assert_eq!(count(&sandbox, "c"), 4);
    // What failed is run again.
    sandbox.write("d.org", counting(&sandbox, "bad", "sh :cache yes", "exit 1"));
    for times in 1..=2 {
        assert_eq!(sandbox.run(&["run", "d.org"]).code, Some(1));
        assert_eq!(count(&sandbox, "bad"), times);
    }
}

/// As in Emacs, a result with the hash of its block is taken from the document, even if it was edited.
#[test]
fn result_with_its_hash_is_taken_from_the_document() {
    let sandbox = CliSandbox::new();
    let document = counting(&sandbox, "c", "sh :cache yes", "echo 1 2")
        + &counting(&sandbox, "next", "sh :var x=c", "echo \"then $x\"");
    sandbox.write("d.org", &document);
    assert_eq!(sandbox.run(&["run", "--write", "d.org"]).code, Some(0));
    let written = fs::read_to_string(sandbox.path("d.org")).unwrap();
    let edited = written.replace("\n: 1 2\n", "\n: 8 9\n");
    assert_ne!(edited, written);
    sandbox.write("d.org", &edited);
    let plan = String::from_utf8(sandbox.run(&["plan", "d.org"]).stdout).unwrap();
    assert!(plan.contains("cached: its result stands in the document"), "{plan}");
    let run = sandbox.run(&["run", "--write", "d.org"]);
    assert_eq!((run.code, count(&sandbox, "c"), count(&sandbox, "next")), (Some(0), 1, 2), "{run:#?}");
    assert_eq!(run.block_output()["next"], b"then 8 9\n", "{run:#?}");
    assert_eq!(run.states("c"), ["finished without being run: cached: its result stands in the document"]);
    let written = fs::read_to_string(sandbox.path("d.org")).unwrap();
    assert!(written.contains("\n: 8 9\n") && written.contains("\n: then 8 9\n"), "{written}");
}

#[test]
fn resume_skips_blocks_that_succeeded() {
    let sandbox = CliSandbox::new();
    let gate = sandbox.path("gate");
    let document = counting(&sandbox, "first", "sh", "echo 1")
        + &counting(
            &sandbox,
            "file",
            "sh :results output file :file out/f.txt :var x=first",
            "echo \"of $x\"",
        )
        + &counting(
            &sandbox,
            "bad",
            "sh :var x=first",
            &format!("cat {} && echo \"got $x\"", gate.display()),
        )
        + &counting(&sandbox, "last", "sh :var x=bad", "echo \"last $x\"");
    let counts = || ["first", "file", "bad", "last"].map(|name| count(&sandbox, name));
    sandbox.write("d.org", &document);
    assert_eq!(sandbox.run(&["run", "d.org"]).code, Some(1));
    assert_eq!(counts(), [1, 1, 1, 0]);
    fs::write(&gate, "").unwrap();
    fs::remove_file(sandbox.path("out/f.txt")).unwrap();
    let plan = String::from_utf8(sandbox.run(&["plan", "--resume", "d.org"]).stdout).unwrap();
    assert!(plan.starts_with("2 blocks run\n2 blocks cached\n"), "{plan}");
    let run = sandbox.run(&["run", "--resume", "--write", "d.org"]);
    assert_eq!((run.code, counts()), (Some(0), [1, 1, 2, 1]), "{run:#?}");
    let document = fs::read_to_string(sandbox.path("d.org")).unwrap();
    assert_eq!(result_of(&document, "first"), ": 1\n");
    assert_eq!(result_of(&document, "last"), ": last got 1\n");
    assert_eq!(fs::read_to_string(sandbox.path("out/f.txt")).unwrap(), "of 1\n");
    // All has ended well: nothing is left to be run. Without `--resume` all is.
    assert_eq!(sandbox.run(&["run", "--resume", "d.org"]).code, Some(0));
    assert_eq!(counts(), [1, 1, 2, 1]);
    assert_eq!(sandbox.run(&["run", "d.org"]).code, Some(0));
    assert_eq!(counts(), [2, 2, 3, 2]);
}

/// A server caches results, and keeps them across a restart.
#[test]
fn cached_results_survive_a_server_restart() {
    let (sandbox, mut server) = (CliSandbox::new(), TestServer::start());
    let document = counting(&sandbox, "c", "sh :cache yes :results output", "echo 42")
        + &counting(&sandbox, "second", "python :var x=c", "return x + 1").replace("echo x >>", "#");
    let of = |server: &TestServer, run: &str| {
        server.wait_for_state(&format!("{run}.2"), "finished");
        let (status, text) = server.curl(&[], &format!("/org/{run}.org"));
        assert_eq!(status, 200, "{text}");
        text
    };
    let first = server.submit(&document);
    let text = of(&server, &first);
    let second = server.submit(&document);
    assert_eq!(of(&server, &second), text);
    assert_eq!(count(&sandbox, "c"), 1);
    let (_, task) = server.curl(&["-H", "Accept: application/json"], &format!("/tasks/{second}.1"));
    assert!(task.contains(&format!("cached from run {first} (`c`, line 2")), "{task}");
    // What would be so is told before.
    sandbox.write("c.org", &document);
    let asked = ["--data-binary", &format!("@{}", sandbox.path("c.org").display())];
    let (_, told) = server.curl(&asked, "/org?dry-run=1");
    assert!(told.contains(&format!("Cached 1:\n  line 2: c: cached from run {first}")), "{told}");
    server.stop(Signal::SIGKILL);
    server.restart();
    assert_eq!(of(&server, &second), text);
    let third = server.submit(&document);
    assert_eq!(of(&server, &third), text);
    assert_eq!(count(&sandbox, "c"), 1);
    // Who asks for it, takes all that was submitted so before.
    sandbox.write("d.org", counting(&sandbox, "plain", "sh", "echo 7"));
    let url = format!("http://{}", server.address);
    for _ in 0..2 {
        let run = sandbox.run(&["submit", "d.org", "--resume", "--follow", "--server", &url]);
        assert_eq!((run.code, count(&sandbox, "plain")), (Some(0), 1), "{run:#?}");
    }
    assert_eq!(sandbox.run(&["submit", "d.org", "--follow", "--server", &url]).code, Some(0));
    assert_eq!(count(&sandbox, "plain"), 2);
}

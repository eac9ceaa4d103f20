//! What is not run again, by counter files.

use std::fs;

use nix::sys::signal::Signal;

use super::{block, result_of};
use support::cli::Place;
use support::server::Served;

/// A block that counts how often it is run, and its counter.
fn counting(place: &Place, name: &str, line: &str, says: &str) -> String {
    block(name, line, &format!("echo x >> {}; {says}", place.path(&format!("count-{name}")).display()))
}

fn count(place: &Place, name: &str) -> usize {
    fs::read_to_string(place.path(&format!("count-{name}"))).unwrap_or_default().lines().count()
}

/// `:cache yes`: not run again as long as nothing of it has changed, whatever document it stands in.
#[test]
fn a_cached_block_is_run_once_until_a_byte_of_it_changes() {
    let place = Place::new();
    let table = "#+name: t\n| a | 1 |\n\n";
    let cached = counting(&place, "c", "sh :cache yes :var t=t", "echo \"got $t\"");
    let next = counting(&place, "next", "sh :var x=c", "echo \"then $x\"");
    let document = table.to_owned() + &cached + &next;
    place.write("d.org", &document);
    for runs in 1..=3 {
        let run = place.borges(&["run", "d.org"]);
        assert_eq!(run.code, Some(0), "{run:#?}");
        assert_eq!((count(&place, "c"), count(&place, "next")), (1, runs), "{run:#?}");
        assert_eq!(run.said()["next"], b"then got a\t1\n", "{run:#?}");
    }
    let run = place.borges(&["run", "d.org"]);
    assert!(run.states("c")[0].starts_with("finished without being run: cached from run "), "{run:#?}");
    // From another document, with other arguments that change nothing of what is run.
    place.write(
        "other.org",
        format!("* Other\n\n{table}{}", cached.replace(":var", ":mem 64 :wrap quote :var")),
    );
    let run = place.borges(&["run", "--write", "other.org"]);
    assert_eq!((run.code, count(&place, "c")), (Some(0), 1), "{run:#?}");
    let other = fs::read_to_string(place.path("other.org")).unwrap();
    assert!(other.contains("#+begin_quote\n| got a | 1 |\n#+end_quote\n"), "{other}");
    let plan = String::from_utf8(place.borges(&["plan", "d.org"]).stdout).unwrap();
    assert!(plan.starts_with("1 block run\n1 block cached\n") && plan.contains("cached from run "), "{plan}");

    for (times, changed) in
        [(2, document.replace("| 1 |", "| 2 |")), (3, document.replace("\"got $t\"", "\"got  $t\""))]
    {
        place.write("d.org", changed);
        let run = place.borges(&["run", "d.org"]);
        assert_eq!((run.code, count(&place, "c")), (Some(0), times), "{run:#?}");
    }
    // Who checks wants to see what comes out now.
    place.write("d.org", &document);
    place.borges(&["run", "--check", "d.org"]);
    assert_eq!(count(&place, "c"), 4);
    // What failed is run again.
    place.write("d.org", counting(&place, "bad", "sh :cache yes", "exit 1"));
    for times in 1..=2 {
        assert_eq!(place.borges(&["run", "d.org"]).code, Some(1));
        assert_eq!(count(&place, "bad"), times);
    }
}

/// As in Emacs: a result that stands in the document with its hash is the block's, whoever has edited it.
#[test]
fn a_result_with_its_hash_in_the_document_is_taken_from_there() {
    let place = Place::new();
    let document = counting(&place, "c", "sh :cache yes", "echo 1 2")
        + &counting(&place, "next", "sh :var x=c", "echo \"then $x\"");
    place.write("d.org", &document);
    assert_eq!(place.borges(&["run", "--write", "d.org"]).code, Some(0));
    let written = fs::read_to_string(place.path("d.org")).unwrap();
    let edited = written.replace("\n: 1 2\n", "\n: 8 9\n");
    assert_ne!(edited, written);
    place.write("d.org", &edited);
    let plan = String::from_utf8(place.borges(&["plan", "d.org"]).stdout).unwrap();
    assert!(plan.contains("cached: its result stands in the document"), "{plan}");
    let run = place.borges(&["run", "--write", "d.org"]);
    assert_eq!((run.code, count(&place, "c"), count(&place, "next")), (Some(0), 1, 2), "{run:#?}");
    assert_eq!(run.said()["next"], b"then 8 9\n", "{run:#?}");
    assert_eq!(run.states("c"), ["finished without being run: cached: its result stands in the document"]);
    let written = fs::read_to_string(place.path("d.org")).unwrap();
    assert!(written.contains("\n: 8 9\n") && written.contains("\n: then 8 9\n"), "{written}");
}

#[test]
fn a_run_is_resumed_where_it_failed() {
    let place = Place::new();
    let gate = place.path("gate");
    let document = counting(&place, "first", "sh", "echo 1")
        + &counting(&place, "file", "sh :results output file :file out/f.txt :var x=first", "echo \"of $x\"")
        + &counting(&place, "bad", "sh :var x=first", &format!("cat {} && echo \"got $x\"", gate.display()))
        + &counting(&place, "last", "sh :var x=bad", "echo \"last $x\"");
    let counts = || ["first", "file", "bad", "last"].map(|name| count(&place, name));
    place.write("d.org", &document);
    assert_eq!(place.borges(&["run", "d.org"]).code, Some(1));
    assert_eq!(counts(), [1, 1, 1, 0]);
    fs::write(&gate, "").unwrap();
    fs::remove_file(place.path("out/f.txt")).unwrap();
    let plan = String::from_utf8(place.borges(&["plan", "--resume", "d.org"]).stdout).unwrap();
    assert!(plan.starts_with("2 blocks run\n2 blocks cached\n"), "{plan}");
    let run = place.borges(&["run", "--resume", "--write", "d.org"]);
    assert_eq!((run.code, counts()), (Some(0), [1, 1, 2, 1]), "{run:#?}");
    let document = fs::read_to_string(place.path("d.org")).unwrap();
    assert_eq!(result_of(&document, "first"), ": 1\n");
    assert_eq!(result_of(&document, "last"), ": last got 1\n");
    assert_eq!(fs::read_to_string(place.path("out/f.txt")).unwrap(), "of 1\n");
    // All has ended well: nothing is left to be run. Without `--resume` all is.
    assert_eq!(place.borges(&["run", "--resume", "d.org"]).code, Some(0));
    assert_eq!(counts(), [1, 1, 2, 1]);
    assert_eq!(place.borges(&["run", "d.org"]).code, Some(0));
    assert_eq!(counts(), [2, 2, 3, 2]);
}

/// The same at a server, over its restart.
#[test]
fn a_server_keeps_results_beyond_its_life() {
    let (place, mut served) = (Place::new(), Served::start());
    let document = counting(&place, "c", "sh :cache yes :results output", "echo 42")
        + &counting(&place, "second", "python :var x=c", "return x + 1").replace("echo x >>", "#");
    let of = |served: &Served, run: &str| {
        served.wait_for(&format!("{run}.2"), "finished");
        let (status, text) = served.curl(&[], &format!("/org/{run}.org"));
        assert_eq!(status, 200, "{text}");
        text
    };
    let first = served.submit(&document);
    let text = of(&served, &first);
    let second = served.submit(&document);
    assert_eq!(of(&served, &second), text);
    assert_eq!(count(&place, "c"), 1);
    let (_, task) = served.curl(&["-H", "Accept: application/json"], &format!("/tasks/{second}.1"));
    assert!(task.contains(&format!("cached from run {first} (`c`, line 2")), "{task}");
    // What would be so is told before.
    place.write("c.org", &document);
    let asked = ["--data-binary", &format!("@{}", place.path("c.org").display())];
    let (_, told) = served.curl(&asked, "/org?dry-run=1");
    assert!(told.contains(&format!("Cached 1:\n  line 2: c: cached from run {first}")), "{told}");
    served.signal(Signal::SIGKILL);
    served.run();
    assert_eq!(of(&served, &second), text);
    let third = served.submit(&document);
    assert_eq!(of(&served, &third), text);
    assert_eq!(count(&place, "c"), 1);
    // Who asks for it, takes all that was submitted so before.
    place.write("d.org", counting(&place, "plain", "sh", "echo 7"));
    let url = format!("http://{}", served.address);
    for _ in 0..2 {
        let run = place.borges(&["submit", "d.org", "--resume", "--follow", "--server", &url]);
        assert_eq!((run.code, count(&place, "plain")), (Some(0), 1), "{run:#?}");
    }
    assert_eq!(place.borges(&["submit", "d.org", "--follow", "--server", &url]).code, Some(0));
    assert_eq!(count(&place, "plain"), 2);
}

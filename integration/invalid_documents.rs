//! Invalid and unusual documents, settings and arguments: each is answered with a located error or a located reason to
//! wait, and with memory bounded by its size.

use std::fs;

use rstest::rstest;
use support::cli::{CliOutput, CliSandbox, pieces};
use support::server::TestServer;

/// Runs a command on a document, and posts the same document; the output and the peak memory in bytes.
fn run_and_post(command: &str, document: impl AsRef<[u8]>) -> (CliOutput, u64) {
    let sandbox = CliSandbox::new();
    sandbox.write("bad.org", &document);
    let (run, memory) = sandbox.run_measured(&[command, "bad.org"]);
    check_post(&run, document.as_ref());
    (run, memory)
}

/// Posts a document: the server must report the errors of the command, in the same words, and stay healthy.
fn check_post(run: &CliOutput, document: &[u8]) {
    let server = TestServer::start();
    fs::write(server.path("bad.org"), document).unwrap();
    let before = server.peak_memory_kib();
    let (status, answer) = server.curl_bytes(&["--data-binary", "@bad.org"], "/org?dry-run=1");
    let answer = String::from_utf8_lossy(&answer);
    assert_eq!(status, if run.code == Some(2) { 400 } else { 200 }, "{answer}");
    let errors = |text: &str, name: &str| -> Vec<String> {
        let errors = text.lines().filter(|line| line.contains(": error: "));
        errors.filter_map(|line| Some(line.strip_prefix(name)?.to_owned())).collect()
    };
    assert_eq!(errors(&answer, "document:"), errors(&run.stderr, "bad.org:"));
    assert_eq!(server.curl(&[], "/healthz"), (200, "OK\n".to_owned()));
    println!("by POST, answered with {status}:");
    // Beside what the program needs, it has the body and its answer.
    check_memory(server.peak_memory_kib().saturating_sub(before) << 10, 2 * document.len());
}

/// Checks that the document is refused with an error at `at` that contains `words`, and that nothing is launched.
fn check_refusal(run: &CliOutput, at: &str, words: &str) {
    assert_eq!(run.code, Some(2), "{run:#?}");
    let first = format!("bad.org:{at}: error: ");
    let told = run.stderr.lines().any(|line| line.starts_with(&first) && line.contains(words));
    assert!(told, "no `{first}… {words} …`: {run:#?}");
    assert!(run.stdout.is_empty(), "{run:#?}");
    assert!(!run.stderr.contains(": running"), "{run:#?}");
}

/// Checks that the errors are few enough for a person: at most twenty, in less than 20,000 bytes.
fn check_error_length(run: &CliOutput) {
    let errors = run.stderr.lines().filter(|line| line.contains(": error: ")).count();
    assert!((1..=20).contains(&errors), "{errors} errors");
    assert!(run.stderr.len() < 20_000, "{} bytes of errors", run.stderr.len());
}

fn block(parameters: &str, body: &str) -> String {
    format!("#+begin_src sh {parameters}\n{body}\n#+end_src\n")
}

#[rstest]
#[case::empty("")]
#[case::a_blank("\n")]
#[case::no_org("garbage ) ( ]] {{{ %% \u{1b}[31m\n")]
#[case::almost("#+begin_sr c\n#+end_sr\n#+\n#\n*\n|\n:\n- \n[[\n")]
fn document_without_blocks_is_valid(#[case] document: &str) {
    let sandbox = CliSandbox::new();
    sandbox.write("bad.org", document);
    let run = sandbox.run(&["run", "bad.org"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(run.stderr.contains("Scheduled 0 code blocks for execution"), "{run:#?}");
    assert!(run.stdout.is_empty(), "{run:#?}");
}

#[test]
fn random_bytes_are_answered() {
    let mut random = fastrand::Rng::with_seed(1);
    for size in [1, 100, 1 << 16] {
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(size).collect();
        let (run, _) = run_and_post("plan", bytes);
        assert!(matches!(run.code, Some(0 | 2)), "{run:#?}");
    }
}

#[rstest]
#[case::a_nul("echo a\0b", "2:7", "NUL")]
#[case::no_utf_8("echo \u{fffd}", "2:6", "UTF-8")]
fn body_that_is_not_text_is_an_error(#[case] body: &str, #[case] at: &str, #[case] words: &str) {
    // U+FFFD stands for a byte that no UTF-8 has, as the table above must be text itself.
    let document = block("", body).into_bytes();
    let document = replace(&document, "\u{fffd}".as_bytes(), b"\xff");
    check_refusal(&run_and_post("run", document).0, at, words);
}

#[test]
fn name_that_is_not_utf_8_is_an_error() {
    let document = [b"#+name: caf\xe9\n".as_slice(), block("", "true").as_bytes()].concat();
    let (run, _) = run_and_post("run", document);
    assert_eq!(run.code, Some(2), "{run:#?}");
    assert!(run.stderr.contains("bad.org:1:") && run.stderr.contains("UTF-8"), "{run:#?}");
}

#[rstest]
#[case::less_than_nothing(":cpu -1", "1:16", ":cpu")]
#[case::a_word(":cpu zero", "1:16", ":cpu")]
#[case::nothing(":cpu 0", "1:16", ":cpu")]
#[case::no_value(":mem", "1:16", ":mem")]
#[case::an_unknown_unit(":mem 5parsecs", "1:16", ":mem")]
#[case::no_duration(":timeout soon", "1:16", ":timeout")]
#[case::no_count(":retry often", "1:16", ":retry")]
#[case::no_code(":retry 1 :retry-on lunch", "1:25", ":retry-on")]
#[case::no_promise(":ensure it-explodes", "1:16", ":ensure")]
#[case::no_variable(":env =", "1:16", ":env")]
#[case::nobody(":requires nobody", "1:16", "nobody")]
#[case::nobody_after(":after nobody", "1:16", "nobody")]
#[case::nobody_before(":before nobody", "1:16", "nobody")]
#[case::a_variable(":var x=nobody", "1:16", "nobody")]
#[case::a_session(":session main", "1:16", ":session")]
#[case::an_image(":dockerize t :image Redis", "1:29", "no value of `:image`")]
#[case::input(":stdin data", "1:16", "data")]
#[case::copies(":instances none", "1:16", ":instances")]
#[case::rows(":each row=nobody", "1:16", "nobody")]
#[case::no_rows(":each row", "1:16", ":each")]
#[case::check_post(":post nobody(x=*this*)", "1:16", "nobody")]
#[case::lisp(":dir (getenv \"HOME\")", "1:16", "Lisp")]
fn bad_value_is_located_with_a_correction(#[case] parameters: &str, #[case] at: &str, #[case] words: &str) {
    let (run, _) = run_and_post("run", block(parameters, "echo <<x>>"));
    // The value or its key: both are where a person looks.
    let line = at.split(':').next().unwrap();
    assert_eq!(run.code, Some(2), "{run:#?}");
    let told = run.stderr.lines().find(|told| told.starts_with(&format!("bad.org:{line}:")));
    let told = told.unwrap_or_else(|| panic!("no error at {at}: {run:#?}"));
    assert!(told.contains(": error: ") && told.contains(words), "{told}");
    assert!(run.stdout.is_empty(), "{run:#?}");
    // The line, a caret below it, and what to write instead.
    assert!(run.stderr.contains(&format!("#+begin_src sh {parameters}")), "{run:#?}");
    assert!(run.stderr.lines().any(|line| line.trim_start_matches([' ', '|']).starts_with('^')), "{run:#?}");
}

#[test]
fn all_errors_are_reported_and_nothing_runs() {
    let document = [block("", "touch ran"), block(":cpu x", "true"), block(":mem y", "true")].concat();
    let sandbox = CliSandbox::new();
    sandbox.write("bad.org", document);
    let run = sandbox.run(&["run", "bad.org"]);
    check_refusal(&run, "4:16", ":cpu");
    check_refusal(&run, "7:16", ":mem");
    assert!(!sandbox.path("ran").exists(), "the good block was run");
}

#[test]
fn at_most_twenty_errors_are_shown() {
    let (run, _) = run_and_post("run", block(":cpu x", "true").repeat(1000));
    assert_eq!(run.code, Some(2));
    check_error_length(&run);
    assert!(run.stderr.contains("980"), "the rest is not counted: {}", run.stderr);
}

#[test]
fn unknown_key_is_a_warning_with_a_suggestion() {
    let (run, _) = run_and_post("run", block(":cpuz 2", "echo hi"));
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(run.stderr.contains("bad.org:1:16: warning: "), "{run:#?}");
    assert!(run.stderr.contains("`:cpuz`") && run.stderr.contains(":cpu`"), "{run:#?}");
}

#[test]
fn oversized_request_waits_with_a_reason() {
    let sandbox = CliSandbox::new();
    sandbox.write("bad.org", format!("#+name: big\n{}", block(":mem 99999G", "true")));
    let run = sandbox.run(&["run", "bad.org", "--max-wait", "1s"]);
    assert_eq!(run.code, Some(3), "{run:#?}");
    let waits = run.states("big").into_iter().find(|said| said.starts_with("waits"));
    assert!(
        waits.is_some_and(|said| said.contains(":mem 102398976: the one offer in the last 60 s had ")),
        "{run:#?}"
    );
}

#[rstest]
#[case::three("b", "c", "a")]
#[case::two("b", "a", "b")]
#[case::itself("a", "a", "b")]
fn dependency_cycle_is_an_error(#[case] a: &str, #[case] b: &str, #[case] c: &str) {
    let of =
        |name: &str, needs: &str| format!("#+name: {name}\n{}", block(&format!(":requires {needs}"), "true"));
    let (run, _) = run_and_post("run", [of("a", a), of("b", b), of("c", c)].concat());
    assert_eq!(run.code, Some(2), "{run:#?}");
    let error = run.stderr.lines().find(|line| line.contains(": error: ")).unwrap();
    assert!(error.starts_with("bad.org:") && error.contains("`a`") && error.contains(" → "), "{run:#?}");
}

/// A cycle is found for every kind of reference.
#[rstest]
#[case::variables(":var x=b", "true", "")]
#[case::input(":stdin b", "true", "")]
#[case::code(":noweb yes", "<<b()>>", "")]
#[case::calls(":var x=c", "true", "#+name: c\n#+call: b()\n")]
fn value_cycle_is_an_error(#[case] parameters: &str, #[case] body: &str, #[case] call: &str) {
    let b = format!("#+name: b\n{}", block(":var x=a", "true"));
    let (run, _) =
        run_and_post("run", [format!("#+name: a\n{}", block(parameters, body)), b, call.to_owned()].concat());
    assert_eq!(run.code, Some(2), "{run:#?}");
    let error = run.stderr.lines().find(|line| line.contains(": error: ")).unwrap();
    assert!(error.starts_with("bad.org:") && error.contains("`a` (line 2)"), "{run:#?}");
    assert!(error.contains("`b` (line 6)") && error.contains(" → "), "{run:#?}");
}

#[test]
fn ambiguous_name_is_an_error_at_its_reference() {
    let named = format!("#+name: a\n{}", block("", "true"));
    let (run, _) = run_and_post("run", [named.clone(), named, block(":requires a", "true")].concat());
    assert_eq!(run.code, Some(2), "{run:#?}");
    let error = run.stderr.lines().find(|line| line.contains(": error: ")).unwrap();
    assert!(error.starts_with("bad.org:9:") && error.contains("`a`"), "{run:#?}");
}

#[test]
fn tangle_target_outside_the_sandbox_is_an_error() {
    for target in ["/etc/passwd", "../escape", "a/../../escape"] {
        let document = [block(&format!(":tangle {target}"), "x"), block("", "true")].concat();
        let (run, _) = run_and_post("run", document);
        assert_eq!(run.code, Some(2), "{target}: {run:#?}");
        assert!(run.stderr.contains("bad.org:1:") && run.stderr.contains(target), "{run:#?}");
    }
}

#[test]
fn unclosed_block_is_an_error() {
    let (run, _) = run_and_post("run", "#+begin_src sh\necho open\n");
    check_refusal(&run, "1:1", "#+end_src");
}

#[test]
fn many_unclosed_blocks_are_reported_briefly() {
    let document = "#+begin_src sh\n".repeat(70_000);
    let (run, memory) = run_and_post("run", &document);
    assert_eq!(run.code, Some(2));
    check_error_length(&run);
    check_memory(memory, document.len());
}

#[rstest]
#[case::stars("*".repeat(1 << 20))]
#[case::headlines("* \n".repeat(350_000))]
#[case::one_line("x".repeat(10_000_000))]
#[case::a_long_name(format!("#+name: {}\n", "n".repeat(10_000_000)))]
#[case::a_long_keyword(format!("#+{}: x\n", "k".repeat(1_000_000)))]
#[case::open_drawers(":a:\n".repeat(100_000))]
#[case::deep_list(pieces(0..2000, |n| format!("{}- x\n", " ".repeat(n))))]
#[case::nuls("\0".repeat(1_000_000))]
fn huge_documents_without_blocks_use_bounded_memory(#[case] document: String) {
    let (run, memory) = run_and_post("plan", &document);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    check_memory(memory, document.len());
}

#[test]
fn hundred_thousand_blocks_are_planned() {
    let document = pieces(0..100_000, |n| {
        format!("#+name: b{n}\n#+begin_src sh :cpu 0.5 :mem 32\necho {n}\n#+end_src\n")
    });
    let (run, memory) = run_and_post("plan", &document);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(String::from_utf8_lossy(&run.stdout).contains("b99999"));
    // A document that is hardly more than its blocks: what counts is what a block costs.
    println!("{memory} bytes at the most for 100,000 blocks in {} bytes", document.len());
    assert!(memory <= (64 << 20) + 100_000 * 2048, "{memory} bytes for 100,000 blocks");
}

#[test]
fn long_dependency_chain_is_planned() {
    let document = pieces(1..20_000, |n| {
        format!("#+name: b{n}\n#+begin_src sh :requires b{}\ntrue\n#+end_src\n", n - 1)
    });
    let (run, memory) =
        run_and_post("plan", format!("#+name: b0\n#+begin_src sh\ntrue\n#+end_src\n{document}"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    check_memory(memory, document.len());
}

#[rstest]
#[case::missing("nowhere.org", "nowhere.org")]
#[case::a_folder(".", ".")]
#[case::a_device("/dev/full/x", "/dev/full/x")]
fn missing_document_is_an_error(#[case] path: &str, #[case] words: &str) {
    for command in ["run", "plan", "blocks"] {
        let run = CliSandbox::new().run(&[command, path]);
        assert_eq!(run.code, Some(2), "{run:#?}");
        assert!(run.stderr.contains(words), "{run:#?}");
    }
}

#[test]
fn unreadable_document_is_an_error() {
    let sandbox = CliSandbox::new();
    sandbox.write("bad.org", block("", "true"));
    let run = sandbox.run_as_unprivileged("bad.org", &["run", "bad.org"]);
    assert_eq!(run.code, Some(2), "{run:#?}");
    assert!(run.stderr.contains("bad.org: error: it may not be read"), "{run:#?}");
}

#[rstest]
#[case::no_command(&[])]
#[case::an_unknown_command(&["dance"])]
#[case::no_document(&["run"])]
#[case::an_unknown_option(&["run", "bad.org", "--fast"])]
#[case::no_such_block(&["run", "bad.org", "--name", "nobody"])]
#[case::no_duration(&["run", "bad.org", "--max-wait", "soon"])]
#[case::no_setupfile(&["run", "bad.org", "-f", "nowhere.org"])]
#[case::a_bad_setupfile(&["run", "bad.org", "-f", "setup.org"])]
fn wrong_arguments_are_an_error(#[case] arguments: &[&str]) {
    let sandbox = CliSandbox::new();
    sandbox.write("bad.org", block("", "touch ran"));
    sandbox.write("setup.org", "#+borges_cpuz: 2\n");
    let run = sandbox.run(arguments);
    assert_eq!(run.code, Some(2), "{run:#?}");
    assert!(!run.stderr.is_empty());
    assert!(!sandbox.path("ran").exists(), "it ran: {run:#?}");
}

#[test]
fn misspelt_setupfile_key_is_an_error_with_a_suggestion() {
    let sandbox = CliSandbox::new();
    sandbox.write("bad.org", block("", "true"));
    sandbox.write("setup.org", "#+TITLE: x\n#+borges_cpuz: 2\n");
    let run = sandbox.run(&["run", "bad.org", "-f", "setup.org"]);
    assert_eq!(run.code, Some(2), "{run:#?}");
    assert!(run.stderr.contains("setup.org:2:") && run.stderr.contains("borges_cpus"), "{run:#?}");
}

/// `bad.org`, the file that it includes, and the beginning of the error.
#[rstest]
#[case::not_there(
    "#+include: part.org\n",
    "x\n#+include: none.org\n",
    "part.org:2:12: error: `none.org` cannot be read"
)]
#[case::itself(
    "#+include: part.org\n",
    "#+include: bad.org\n",
    "part.org:1:12: error: `bad.org` names itself"
)]
#[case::a_url(
    "#+include: https://example.org/a.org\n",
    "",
    "bad.org:1:12: error: `https://example.org/a.org` is a URL"
)]
#[case::a_block_of_it(
    "a\n#+include: part.org\n",
    "* b\n#+begin_src sh :cpu x\n#+end_src\n",
    "part.org:2:16: error: `x` is no value"
)]
#[case::its_settings(
    "#+setupfile: part.org\n#+begin_src sh\n#+end_src\n",
    "#+runmode: x\n",
    "part.org:1:12: error: `x` is no value"
)]
fn errors_in_included_files_are_located(#[case] document: &str, #[case] part: &str, #[case] told: &str) {
    let sandbox = CliSandbox::new();
    sandbox.write("bad.org", document);
    sandbox.write("part.org", part);
    for command in ["run", "plan"] {
        let run = sandbox.run(&[command, "bad.org"]);
        assert_eq!(run.code, Some(2), "{run:#?}");
        assert!(run.stderr.starts_with(told), "no `{told}`: {run:#?}");
    }
    assert_eq!(sandbox.run(&["blocks", "bad.org"]).code, Some(0));
}

#[test]
fn unreachable_cluster_is_a_reason_to_wait() {
    let sandbox = CliSandbox::new();
    sandbox.write("bad.org", format!("#+name: b\n{}", block("", "touch ran")));
    // A port that was free a moment ago, so nothing listens on it.
    let master = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    sandbox.write("setup.org", format!("#+mesos_master: {master}\n"));
    let run = sandbox.run(&["run", "bad.org", "-f", "setup.org", "--max-wait", "1s"]);
    assert_eq!(run.code, Some(3), "{run:#?}");
    let waits = run.states("b").into_iter().find(|said| said.starts_with("waits"));
    let told = |said: &str| {
        said.contains("the cluster is out of reach")
            && said.contains(&format!("`{master}` cannot be reached"))
    };
    assert!(waits.is_some_and(told), "{run:#?}");
    assert!(!sandbox.path("ran").exists(), "it ran: {run:#?}");
}

/// Checks that the memory is at most 64 MiB and 12 times the size of the input; prints both.
fn check_memory(memory: u64, input: usize) {
    let input = u64::try_from(input).unwrap();
    println!("{memory} bytes at the most for {input} bytes of input");
    assert!(memory <= (64 << 20) + 12 * input, "{memory} bytes for {input} bytes of input");
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match bytes.windows(from.len()).position(|window| window == from) {
        Some(at) => [&bytes[..at], to, &bytes[at + from.len()..]].concat(),
        None => bytes.to_vec(),
    }
}

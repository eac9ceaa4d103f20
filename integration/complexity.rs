//! Reading a document takes time linear in its size, whatever it contains.
//!
//! valgrind counts the instructions for n, 2n and 4n bytes. The instructions of a start with an empty document are
//! subtracted; each doubling may then cost at most 2.2 times as much.
//!
//! Documents with blocks are read by `borges plan`, which also expands references and runs the lints; the others are read
//! by `borges blocks --format json`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

/// The size of the smallest document, in bytes.
const LEAST: usize = 24_000;
/// The largest permitted ratio of costs when the text is doubled.
const MOST: f64 = 2.2;

/// Writes a document of about so many bytes.
type Writer = Box<dyn Fn(usize) -> String + Sync>;

/// Repeated text: its name, what comes before it, what is repeated, and what comes after it.
const REPEATED: &[(&str, &str, &str, &str)] = &[
    ("stars, one line", "", "*", ""),
    ("stars, a line each", "", "*\n", ""),
    ("headlines", "", "* a\n", ""),
    ("commented headlines", "", "* COMMENT a :ARCHIVE:\n#+begin_src sh\n#+end_src\n", ""),
    ("begin_src, never an end", "", "#+begin_src sh\n", ""),
    ("begin_src and blank lines, never an end", "", "#+begin_src sh\n\n", ""),
    ("one begin_src, no end", "#+begin_src sh\n", "a\n", ""),
    ("begin_quote, never an end", "", "#+begin_quote\n", ""),
    ("ends without a beginning", "", "#+end_src\n", ""),
    ("list items", "", "- a\n", ""),
    ("items and blank lines", "", "- a\n\n\n", ""),
    ("letters, one line", "", "a", ""),
    ("words, one line", "", "a ", ""),
    ("open brackets, one line", "", "[[", ""),
    ("open inline blocks, one line", "", "src_a{", ""),
    ("inline blocks without an end", "", "src_", ""),
    ("open inline calls", "", "call_b(", ""),
    ("asterisks and slashes, one line", "", "*/", ""),
    ("verbatim, never closed", "src_a{b} ", "=a ", ""),
    ("macros, never closed", "src_a{b} ", "{{{a", ""),
    ("paragraph lines", "", "some text\n", ""),
    ("orphan names", "", "#+name: a\n", ""),
    ("header lines of one block", "", "#+header: :a 1\n", "#+begin_src sh\n#+end_src\n"),
    ("drawers never closed", "", ":a:\n", ""),
    ("footnotes", "", "[fn:1] a\n", ""),
    ("environments never closed", "", "\\begin{a}\n", ""),
    ("header arguments, one line", "#+begin_src sh ", ":a 1 ", "\n#+end_src\n"),
    ("variables, one line", "#+begin_src sh :var ", "a=1 ", "\n#+end_src\n"),
    ("results, one line", "#+begin_src sh ", ":results a b ", "\n#+end_src\n"),
    ("quotes in a header argument", "#+begin_src sh :a ", "\"", "\n#+end_src\n"),
    ("brackets in a header argument", "#+begin_src sh :a ", "(", "\n#+end_src\n"),
    ("properties that add up", "", "#+property: header-args+ :a 1\n", "#+begin_src sh\n#+end_src\n"),
    ("commas, one line of body", "#+begin_src sh\n", ",", "\n#+end_src\n"),
    ("tabs before a body", "#+begin_src sh\n", "\t", "a\n#+end_src\n"),
    ("small blocks", "", "#+begin_src sh\na\n#+end_src\n", ""),
    ("names over a block", "", "#+name: a\n", "#+begin_src sh\n#+end_src\n"),
    ("keywords over blocks", "", "#+a: b\n#+begin_src sh\n#+end_src\n", ""),
    ("named blocks", "", "#+name: a\n#+begin_src sh\na\n#+end_src\n", ""),
    ("grid tables", "", "+-+\n| a\n", ""),
    ("table rows", "", "| a | b |\n", ""),
    ("keywords", "", "#+a: b\n", ""),
    ("calls", "", "#+call: a(\n", ""),
    ("references that are open", "#+begin_src sh :noweb yes\n", "<<a", "\n#+end_src\n"),
    ("references that are code", "#+begin_src sh :noweb yes\n", "<< >> ", "\n#+end_src\n"),
    (
        "references to a block",
        "#+name: a\n#+begin_src sh\nb\n#+end_src\n#+begin_src sh :noweb yes\n",
        "<<a>>",
        "\n#+end_src\n",
    ),
    (
        "references to many",
        "",
        "#+begin_src sh :noweb-ref a\nb\n#+end_src\n",
        "#+begin_src sh :noweb yes\n<<a>>\n#+end_src\n",
    ),
    ("references to nothing", "", "#+begin_src sh :noweb yes\n<<b>>\n#+end_src\n", ""),
    ("results in code", "", "#+begin_src sh :noweb yes\n<<b()>> <<c(1)>>\n#+end_src\n", ""),
    ("blocks that wait for nothing", "", "#+begin_src sh :requires b\n#+end_src\n", ""),
    ("labels", "#+begin_src sh\n", "a (ref:x)\n", "#+end_src\n"),
    ("labels, one line", "#+begin_src sh\n", "(ref:x) ", "\n#+end_src\n"),
    ("carriage returns", "", "\r", ""),
    ("bytes that are no UTF-8", "#+begin_src sh\n", "\u{fffd}", "\n#+end_src\n"),
];

fn repeated((_, before, piece, after): (&str, &str, &str, &str), size: usize) -> String {
    let times = size.saturating_sub(before.len() + after.len()) / piece.len();
    format!("{before}{}{after}", piece.repeat(times))
}

/// Documents that grow in another way than by repetition, by name.
type Growing = (&'static str, fn(usize) -> String);

const GROWING: &[Growing] = &[
    ("lists in each other", |size| deep(size, |depth| format!("{}- a\n", " ".repeat(depth)))),
    ("headlines, ever deeper", |size| deep(size, |depth| format!("{} a\n", "*".repeat(depth + 1)))),
    ("special blocks in each other", |size| {
        let mut text = String::new();
        let depth = size / 26;
        for n in 0..depth {
            let _ = writeln!(text, "#+begin_b{n}");
        }
        for n in (0..depth).rev() {
            let _ = writeln!(text, "#+end_b{n}");
        }
        text
    }),
    ("different languages", |size| {
        let mut text = String::from("#+property: header-args :a 1\n");
        let mut n = 0;
        while text.len() < size {
            let _ = writeln!(text, "#+begin_src l{n}\n#+end_src");
            n += 1;
        }
        text
    }),
    ("blocks that wait for the one before", |size| chain(size, ":requires ")),
    ("blocks that are given what the one before comes to", |size| chain(size, ":var x=")),
    ("blocks that are given what the first comes to", |size| {
        let blocks = "#+begin_src sh :var x=b\n#+end_src\n".repeat(size / 35);
        format!("#+name: b\n#+begin_src sh\n#+end_src\n{blocks}")
    }),
    ("rows that are tasks", |size| {
        let rows: String = (0..size / 10).map(|n| format!("| a | {n:>3} |\n")).collect();
        format!(
            "#+name: t\n{rows}\n#+name: b\n#+begin_src sh :each row=t\n#+end_src\n#+begin_src sh :var x=b\n#+end_src\n"
        )
    }),
];

/// Blocks, each of which refers by `argument` to the block before it.
fn chain(size: usize, argument: &str) -> String {
    let mut text = String::from("#+name: b0\n#+begin_src sh\n#+end_src\n");
    let mut n = 1;
    while text.len() < size {
        let _ = writeln!(text, "#+name: b{n}\n#+begin_src sh {argument}b{}\n#+end_src", n - 1);
        n += 1;
    }
    text
}

fn deep(size: usize, line: fn(usize) -> String) -> String {
    let mut text = String::new();
    let mut depth = 0;
    while text.len() < size {
        text.push_str(&line(depth));
        depth += 1;
    }
    text
}

/// The number of instructions that `borges` executes for a document.
fn instructions(command: &[&str], path: &Path) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(support::program::path())
        .args(command)
        .arg(path)
        .env("XDG_STATE_HOME", path.with_extension("state"))
        .output()
        .expect("`valgrind` is missing: apt-get install valgrind");
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().filter_map(|line| line.split_once("Collected : ")).next_back();
    let (_, count) = collected.unwrap_or_else(|| panic!("{said}"));
    count.trim().parse().unwrap()
}

/// A description of the cost, if it is not linear in the size of the text.
fn judged(
    folder: &Path,
    name: &str,
    write: &dyn Fn(usize) -> String,
    command: &[&str],
    start: f64,
) -> Option<String> {
    let path = folder.join(format!("{}-{}.org", name.replace(' ', "-"), command[0]));
    let counts: Vec<f64> = [1, 2, 4]
        .into_iter()
        .map(|times| {
            fs::write(&path, write(LEAST * times)).unwrap();
            instructions(command, &path) - start
        })
        .collect();
    let worst = (counts[1] / counts[0]).max(counts[2] / counts[1]);
    (worst > MOST)
        .then(|| format!("{name}, {command:?}: {worst:.2} times for twice the text: {counts:.0?}\n"))
}

#[test]
#[ignore = "needs valgrind"]
fn instruction_count_is_linear_in_document_size() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.org");
    fs::write(&empty, "").unwrap();
    let commands: [&[&str]; 2] = [&["blocks", "--format", "json"], &["plan"]];
    let starts = commands.map(|command| instructions(command, &empty));
    let mut work: Vec<(&str, Writer, usize)> = Vec::new();
    for &input in REPEATED {
        let has_blocks = repeated(input, LEAST).contains("#+begin_src");
        work.push((input.0, Box::new(move |size| repeated(input, size)), usize::from(has_blocks)));
    }
    for &(name, write) in GROWING {
        work.push((name, Box::new(write), usize::from(write(LEAST).contains("#+begin_src"))));
    }
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let wrong: String = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|first| {
                let (work, folder) = (&work, folder.path());
                scope.spawn(move || -> String {
                    let own = work.iter().skip(first).step_by(threads);
                    own.filter_map(|(name, write, command)| {
                        judged(folder, name, write, commands[*command], starts[*command])
                    })
                    .collect()
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{wrong}");
}

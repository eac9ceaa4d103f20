//! Whole documents generated from a seed, run by `borges run --write` and by Emacs: both must give the same document and
//! the same files.
//!
//! Blocks refer to each other, call each other, and include each other's code. `BABEL_SEED` and `BABEL_DOCUMENTS` select
//! the generated documents, and `ORG_LISP` the Org, as in `emacs_oracle`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use fastrand::Rng;

use super::emacs_oracle::{self, bare, beside, emacs, shown};

/// The kind of value that a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
    List,
    Table,
}

use Kind::{List, Number, Table, Text};

/// The beginning of each document.
const NAMED: &str = "\
#+name: numbers
| 1 | 2.5 |
| 3 |  40 |
| 7 |  -1 |

#+name: headed
| name | count |
|------+-------|
| ant  |     3 |
| bee  |    12 |

#+name: said
#+begin_example
one line
another
#+end_example

#+name: double
#+begin_src python :var n=4
return n * 2
#+end_src

#+name: joined
#+begin_src sh :var a=\"p\" b=\"q\"
echo \"$a-$b\"
#+end_src

#+name: shouted
#+begin_src emacs-lisp :var data=\"nothing\"
(if (stringp data) (upcase data) data)
#+end_src

#+name: helper
#+begin_src python :results silent
def grown(x):
    return x + 1
#+end_src

";

/// A language, and the code that returns the variable `x`.
struct Language {
    name: &'static str,
    /// For a number or a text.
    scalar: &'static str,
    /// For a list or a table; `None` if the language has none.
    list: Option<&'static str>,
}

const LANGUAGES: &[Language] = &[
    Language { name: "python", scalar: "return x", list: Some("return x") },
    Language { name: "ruby", scalar: "x", list: Some("x") },
    Language { name: "js", scalar: "return x;", list: Some("return x;") },
    Language { name: "emacs-lisp", scalar: "x", list: Some("x") },
    Language { name: "perl", scalar: "$x", list: Some("$x") },
    Language { name: "R", scalar: "x", list: Some("x") },
    Language { name: "lua", scalar: "return x", list: None },
    Language { name: "sh", scalar: "echo \"$x\"", list: Some("echo \"$x\"") },
    Language { name: "bash", scalar: "echo \"$x\"", list: Some("echo \"${#x[@]}\"") },
    Language { name: "zsh", scalar: "echo \"$x\"", list: Some("echo \"$x\"") },
    Language { name: "dash", scalar: "echo \"$x\"", list: Some("echo \"$x\"") },
    Language { name: "ksh", scalar: "echo \"$x\"", list: Some("echo \"$x\"") },
    Language { name: "awk", scalar: "BEGIN { print x }", list: None },
    Language { name: "C", scalar: "printf(\"%d\\n\", (int) x);", list: None },
    Language { name: "C++", scalar: "std::cout << x << std::endl;", list: None },
];

/// Header arguments that change the form of a result.
const LOOKS: &[&str] = &[
    "",
    "",
    "",
    "",
    " :results raw",
    " :results drawer",
    " :results list",
    " :results verbatim",
    " :results code",
    " :wrap quote",
    " :colnames yes",
    " :hlines yes",
    " :results append",
];

struct Writer {
    chance: Rng,
    text: String,
    /// The blocks so far whose result can be referred to, and its kind.
    blocks: Vec<(String, Kind)>,
}

impl Writer {
    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        self.chance.choice(from).copied().unwrap_or_default()
    }

    /// A reference to an earlier element, and its kind.
    fn reference(&mut self) -> (String, Kind) {
        let known = self.blocks.len();
        match self.chance.usize(..16) {
            0 => ("numbers".to_owned(), Table),
            1 => ("headed".to_owned(), Table),
            2 => ("numbers[0]".to_owned(), List),
            3 => ("said".to_owned(), Text),
            4 => ("numbers[1,0]".to_owned(), Number),
            5 => ("numbers[0:1]".to_owned(), Table),
            6 => ("numbers[,1]".to_owned(), List),
            7 => ("headed[-1,-1]".to_owned(), Number),
            8 => (format!("double(n={})", self.chance.u8(..9)), Number),
            9 => ("double(n=numbers[2,0])".to_owned(), Number),
            10 => ("joined(a=\"red\", b=\"x_1\")".to_owned(), Text),
            11 => ("double(n=double(n=3))".to_owned(), Number),
            _ if known > 0 => {
                let (name, kind) = self.blocks[self.chance.usize(..known)].clone();
                match (kind, self.chance.u8(..3)) {
                    (Table, 0) => (format!("{name}[0:1]"), Table),
                    _ => (name, kind),
                }
            }
            _ => (self.chance.u8(..).to_string(), Number),
        }
    }

    fn unit(&mut self, n: usize) {
        match self.chance.u8(..16) {
            0..=6 => self.passed_on(n),
            7 => self.by_shell(n),
            8 => self.filter(n),
            9 => self.call(n),
            10 => self.inline(),
            11 | 12 => self.noweb(n),
            13 => self.file(n),
            14 => self.posted(n),
            _ => self.around(n),
        }
    }

    /// A block that returns its variable.
    fn passed_on(&mut self, n: usize) {
        let (reference, kind) = self.reference();
        let may = |language: &&Language| match kind {
            Number => true,
            Text => !matches!(language.name, "C" | "C++" | "awk"),
            // A list of R is a row to Org 9.5.
            List => language.list.is_some() && language.name != "R",
            Table => language.list.is_some(),
        };
        let all: Vec<&Language> = LANGUAGES.iter().filter(may).collect();
        let language = all[self.chance.usize(..all.len())];
        let body = if matches!(kind, List | Table) { language.list.unwrap() } else { language.scalar };
        let includes = match language.name {
            "C" => " :includes <stdio.h>",
            "C++" => " :includes <iostream>",
            _ => "",
        };
        let look = match (self.pick(LOOKS), kind) {
            // Emacs stops where there is no row.
            (" :colnames yes" | " :hlines yes", Number | Text | List) => "",
            // Org 9.5 writes other ones.
            (" :results list", Text)
            | (" :results list" | " :results drawer" | " :results code", List | Table) => "",
            (look, _) => look,
        };
        let _ = writeln!(
            self.text,
            "#+name: b{n}\n#+begin_src {} :var x={reference}{includes}{look}\n{body}\n#+end_src\n",
            language.name
        );
        // Other forms of a result, and other languages, change the kind of value.
        if look.is_empty() && matches!(language.name, "python" | "ruby" | "emacs-lisp") {
            self.blocks.push((format!("b{n}"), kind));
        }
    }

    /// A block of a shell, with features of shells only.
    fn by_shell(&mut self, n: usize) {
        let shell = self.pick(&["sh", "bash", "zsh", "dash", "ksh"]);
        let (header, body) = *self
            .chance
            .choice(&[
                (":stdin numbers", "cat"),
                (":stdin said :results output", "tr a-z A-Z"),
                (":cmdline a \"b c\" :results output", "echo \"$#: $1\""),
                (":results value", "true"),
                (":var t=headed :colnames yes", "echo \"$t\""),
                (":results output table", "printf '1\\t2\\n3\\t4\\n'"),
                (":results output list", "printf 'a\\nb\\n'"),
                (":results output raw", "echo '- item'"),
                (":results output org", "echo '* head'"),
                (":prologue \"echo before\" :epilogue \"echo after\" :results output", "echo within"),
            ])
            .unwrap();
        let _ = writeln!(self.text, "#+name: b{n}\n#+begin_src {shell} {header}\n{body}\n#+end_src\n");
    }

    fn filter(&mut self, n: usize) {
        let block = self.pick(&[
            "sed :stdin said\ns/one/1/",
            "sed :stdin said :results output\n$d",
            "awk :stdin numbers\n{ print $2 }",
            "awk :var k=double(n=2)\nBEGIN { print k + 1 }",
            "awk :cmd-line -F, :stdin said\n{ print NR, $0 }",
            "sqlite :db made.db\nselect 1, 'a' union select 2, 'b';",
            "sqlite :db made.db :header :colnames yes\nselect 1 as n, 'a' as t;",
            "sqlite :db made.db :var k=numbers[1,0]\nselect $k + 1;",
        ]);
        let _ = writeln!(self.text, "#+name: b{n}\n#+begin_src {block}\n#+end_src\n");
    }

    fn call(&mut self, n: usize) {
        let number = self.chance.u8(..9);
        let call = match self.chance.u8(..6) {
            0 => format!("double(n={number})"),
            1 => "double(n=numbers[0,0]) :wrap quote".to_owned(),
            2 => "joined[:results output](a=\"r\")".to_owned(),
            3 => "joined(b=\"s\") :results raw".to_owned(),
            4 => "shouted(data=joined(b=\"t\"))".to_owned(),
            _ => "double()".to_owned(),
        };
        let name = if self.chance.bool() { format!("#+name: c{n}\n") } else { String::new() };
        let _ = writeln!(self.text, "{name}#+call: {call}\n");
    }

    fn inline(&mut self) {
        let code = self.pick(&[
            "call_double(n=6)",
            "call_joined[:results raw](a=\"u\")",
            "call_double(n=3)[:results raw]",
            "src_python{return 3 * 4}",
            "src_sh[:results raw]{echo five}",
            "src_python[:var x=numbers[1,0]]{return x}",
            "src_emacs-lisp{(+ 1 2)}",
            "src_sh[:exports code]{echo six}",
        ]);
        let _ = writeln!(self.text, "In text, {code} stands here.\n");
    }

    fn noweb(&mut self, n: usize) {
        let block = self.pick(&[
            "python :noweb yes\n<<helper>>\nreturn grown(4)",
            "python :noweb yes\nreturn <<double(n=5)>> + 1",
            "python :noweb yes\ndef outer():\n    <<helper>>\n    return grown(1)\nreturn outer()",
            "sh :noweb yes :results output\ncat <<'END'\n<<joined(a=\"v\")>>\nEND",
            "sh :noweb yes :results output\necho \"<<double>>\"",
            "sh :noweb no :results output\necho '<<double>>'",
            "sh :noweb strip-export :results output\necho <<double()>>",
        ]);
        let _ = writeln!(self.text, "#+name: b{n}\n#+begin_src {block}\n#+end_src\n");
    }

    fn file(&mut self, n: usize) {
        let header = self.pick(&[
            "sh :results output file :file F.txt\necho in a file",
            "sh :results output file :file F.txt :file-desc \"a file\"\necho described",
            "python :results output file :file F.txt\nprint(1, 2)",
            "python :results value file :file F.txt\nreturn [[1, \"a\"], [2, \"b\"]]",
            "sh :results file\nprintf F.txt",
            "sh :results output file :file-ext txt\necho by extension",
            "python :results output file link :file F.txt\nopen(\"F.txt\", \"w\").write(\"by itself\")",
        ]);
        let header = header.replace('F', &format!("f{n}"));
        let _ = writeln!(self.text, "#+name: b{n}\n#+begin_src {header}\n#+end_src\n");
    }

    fn posted(&mut self, n: usize) {
        let block = self.pick(&[
            "sh :post shouted(data=*this*)\necho loud",
            "python :post double(n=*this*)\nreturn 21",
            "sh :post shouted(*this*) :results drawer\necho quiet",
            "emacs-lisp :post joined(a=*this*) :results raw\n\"w\"",
        ]);
        let _ = writeln!(self.text, "#+name: b{n}\n#+begin_src {block}\n#+end_src\n");
    }

    /// A block with its input by other means than variables.
    fn around(&mut self, n: usize) {
        let block = self.pick(&[
            "python :prologue \"k = 2\" :epilogue \"print(k)\" :results output\nk += 1",
            "ruby :results output\nputs [1, 2].sum",
            "R :colnames yes\ndata.frame(a = 1:2, b = c(\"x\", \"y\"))",
            "R :rownames yes :var t=numbers\nt",
            "perl :results output\nprint \"a\\tb\\n\";",
            "js :results output\nconsole.log([1, 2].length)",
            "lua\nreturn 6 * 7",
            "fish :results output\necho swims",
            "C :includes <stdio.h> :var t=numbers[,0]\nprintf(\"%d\\n\", (int) t[1]);",
            "C++ :includes <iostream>\nfor (int i = 0; i < 3; i++) std::cout << i << \" \" << i * i << \"\\n\";",
        ]);
        let _ = writeln!(self.text, "#+name: b{n}\n#+begin_src {block}\n#+end_src\n");
    }
}

/// The document of a seed.
fn document(seed: u64) -> String {
    let mut writer = Writer { chance: Rng::with_seed(seed), text: NAMED.to_owned(), blocks: Vec::new() };
    for n in 0..10 {
        writer.unit(n);
    }
    writer.text.push_str("The end.\n");
    writer.text
}

/// Runs `borges run --write`: the document, the files beside it, and standard error if the run failed.
fn borges(source: &str) -> (Vec<u8>, BTreeMap<String, Vec<u8>>, String) {
    let directory = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    let path = directory.path().join("made.org");
    fs::write(&path, source).unwrap();
    let output = bare(&mut Command::new(support::program::path()), state.path())
        .args(["run", "--write", "made.org"])
        .current_dir(directory.path())
        .env("XDG_STATE_HOME", state.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let told = if output.status.success() { String::new() } else { told };
    (fs::read(&path).unwrap(), beside(directory.path()), told)
}

#[test]
#[ignore = "needs Emacs"]
fn generated_documents_give_the_results_of_emacs() {
    let (first, count) = emacs_oracle::seeds(8);
    println!("documents of the seeds {first} to {}", first + count - 1);
    let sources: Vec<String> = (first..first + count).map(document).collect();
    let answers = emacs(&sources, "run-buffers");
    let mut wrong = String::new();
    for (seed, (source, answer)) in (first..).zip(sources.iter().zip(&answers.documents)) {
        if !answer.stopped.is_empty() {
            let _ = writeln!(wrong, "seed {seed}: Emacs stops\n{}", answers.said);
            continue;
        }
        let (got, files, told) = borges(source);
        if !told.is_empty() {
            let _ = writeln!(wrong, "seed {seed}: {told}");
        }
        if got != answer.document {
            wrong += &format!("seed {seed}\n{}", shown(&answer.document, &got));
        }
        if files != answer.files {
            let _ =
                writeln!(wrong, "seed {seed}: other files\n  Emacs {:?}\n  Borges {files:?}", answer.files);
        }
    }
    assert!(wrong.is_empty(), "Org {}: documents differ\n{wrong}", answers.org);
}

//! Documents generated from a seed: blocks of every language, with values of every kind, and all forms of results.
//!
//! Features that differ between Org 9.5 and 9.8 are left out; `emacs_oracle.rs` lists them.

use std::fmt::Write as _;

use fastrand::Rng;

/// The document of a seed.
pub(crate) fn document(seed: u64) -> String {
    let mut writer = Writer { chance: Rng::with_seed(seed), text: String::new() };
    writer.text.push_str(NAMED);
    for _ in 0..8 {
        writer.block();
    }
    writer.text.push_str("The end.\n");
    writer.text
}

/// The elements to which variables refer.
const NAMED: &str = "\
#+name: numbers
| 1 | 2.5 |
| 3 |  40 |

#+name: headed
| name | count |
|------+-------|
| ant  |     3 |
| bee  |    12 |

";

/// A value as a literal of a language.
#[derive(Clone)]
enum Literal {
    Number(&'static str),
    Text(&'static str),
    List(Vec<Literal>),
}

use Literal::{List, Number, Text};

const NUMBERS: &[&str] = &["0", "7", "-3", "42", "2.5", "-0.25", "1000000"];
/// Texts without quotes and brackets, which Org 9.5 removes.
const TEXTS: &[&str] =
    &["red", "two words", "x_1", "größe", "a-b", "1st", "a:b", "*bold*", "under_score", "50%", "+"];

/// How a language writes literals and prints: a list's brackets, and what is put round an expression to make it the
/// value of a block.
struct Language {
    name: &'static str,
    brackets: (&'static str, &'static str, &'static str),
    value: (&'static str, &'static str),
    /// Prints two texts on lines of their own; `{}` are the texts.
    prints: &'static str,
}

const LANGUAGES: &[Language] = &[
    Language {
        name: "python",
        brackets: ("[", ", ", "]"),
        value: ("return ", ""),
        prints: "print(\"{}\")\nprint(\"{}\")",
    },
    Language {
        name: "ruby",
        brackets: ("[", ", ", "]"),
        value: ("", ""),
        prints: "puts \"{}\"\nputs \"{}\"",
    },
    Language {
        name: "js",
        brackets: ("[", ", ", "]"),
        value: ("return ", ";"),
        prints: "console.log(\"{}\");\nconsole.log(\"{}\");",
    },
    Language {
        name: "emacs-lisp",
        brackets: ("(list ", " ", ")"),
        value: ("", ""),
        prints: "(princ \"{}\\n\")\n(princ \"{}\\n\")",
    },
    Language {
        name: "perl",
        brackets: ("[", ", ", "]"),
        value: ("", ";"),
        prints: "print \"{}\\n\";\nprint \"{}\\n\";",
    },
    Language {
        name: "R",
        brackets: ("c(", ", ", ")"),
        value: ("", ""),
        prints: "cat(\"{}\\n\")\ncat(\"{}\\n\")",
    },
    Language {
        name: "lua",
        brackets: ("{", ", ", "}"),
        value: ("return ", ""),
        prints: "print(\"{}\")\nprint(\"{}\")",
    },
    Language { name: "sh", brackets: ("", "", ""), value: ("", ""), prints: "echo \"{}\"\necho \"{}\"" },
    Language { name: "bash", brackets: ("", "", ""), value: ("", ""), prints: "echo \"{}\"\necho \"{}\"" },
    Language {
        name: "awk",
        brackets: ("", "", ""),
        value: ("", ""),
        prints: "BEGIN { print \"{}\"; print \"{}\" }",
    },
    Language { name: "C", brackets: ("", "", ""), value: ("", ""), prints: "puts(\"{}\");\nputs(\"{}\");" },
];

/// What `:results` may say beside `output` and `value`.
const TYPES: &[&str] = &["", "", "", "table", "list", "scalar", "verbatim", "vector"];
const FORMATS: &[&str] = &["", "", "", "raw", "drawer", "html", "latex", "org", "code", "pp"];
const HANDLED: &[&str] = &["", "", "", "replace", "silent", "append", "prepend"];
const COMPANIONS: &[&str] = &[
    "",
    "",
    "",
    "",
    "",
    ":wrap quote",
    ":wrap EXAMPLE",
    ":colnames yes",
    ":colnames no",
    ":rownames yes",
    ":hlines yes",
];
/// What stands under a block that ran before.
const OLD: &[&str] = &[
    "",
    "",
    "",
    "#+RESULTS:\n: old\n",
    "#+RESULTS:\n| a | b |\n",
    "#+RESULTS:\n#+begin_example\nold\n#+end_example\n",
    "#+RESULTS:\n- a\n- b\n",
];

struct Writer {
    chance: Rng,
    text: String,
}

impl Writer {
    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        self.chance.choice(from).copied().unwrap_or_default()
    }

    fn atom(&mut self) -> Literal {
        if self.chance.bool() { Number(self.pick(NUMBERS)) } else { Text(self.pick(TEXTS)) }
    }

    fn literal(&mut self) -> Literal {
        match self.chance.u8(..4) {
            0 | 1 => self.atom(),
            2 => List((0..self.chance.usize(1..5)).map(|_| self.atom()).collect()),
            _ => {
                let columns = self.chance.usize(1..4);
                let row = |writer: &mut Self| List((0..columns).map(|_| writer.atom()).collect());
                List((0..self.chance.usize(1..4)).map(|_| row(self)).collect())
            }
        }
    }

    fn block(&mut self) {
        let n = self.chance.usize(..LANGUAGES.len());
        let language = &LANGUAGES[n];
        let asks_value =
            !language.value.0.is_empty() || ["ruby", "emacs-lisp", "perl", "R"].contains(&language.name);
        let mut words = Vec::new();
        let value = asks_value && self.chance.u8(..) < 180;
        words.push(match (asks_value, value) {
            (true, true) => self.pick(&["", "value"]),
            (true, false) => "output",
            (false, _) => self.pick(&["", "output"]),
        });
        words.extend([self.pick(TYPES), self.pick(FORMATS), self.pick(HANDLED)]);
        // What is printed is no vector; Org 9.8 stops at some of them, 9.5 makes something of all.
        if !value {
            words.retain(|word| *word != "vector");
        }
        // What a list of rows looks like changed between the versions, and so did what Perl does with a drawer.
        if value || ["awk", "C"].contains(&language.name) {
            words.retain(|word| *word != "list");
        }
        if language.name == "perl" {
            words.retain(|word| *word != "drawer");
        }
        words.retain(|word| !word.is_empty());
        let mut line = String::new();
        if !words.is_empty() {
            let _ = write!(line, " :results {}", words.join(" "));
        }
        let companion = self.pick(COMPANIONS);
        if !companion.is_empty() {
            let _ = write!(line, " {companion}");
        }
        let body = match (value, self.chance.u8(..3)) {
            (true, 0) => self.variable(language, &mut line),
            (true, _) => self.expression(language),
            (false, _) => {
                language.prints.replacen("{}", self.pick(TEXTS), 1).replacen("{}", self.pick(TEXTS), 1)
            }
        };
        let _ = writeln!(self.text, "#+begin_src {}{line}\n{body}\n#+end_src\n", language.name);
        let old = self.pick(OLD);
        if !old.is_empty() {
            let _ = writeln!(self.text, "{old}");
        }
    }

    /// A block that yields its variable.
    fn variable(&mut self, language: &Language, line: &mut String) -> String {
        // Lua shows where a table lies in memory.
        let all: &[&str] = if language.name == "lua" {
            &["7", "\"two words\"", "headed[1,0]"]
        } else {
            &["numbers", "headed", "7", "\"two words\"", "headed[1,0]", "numbers[0,-1]"]
        };
        let reference = self.pick(all);
        let _ = write!(line, " :var x={reference}");
        let name = if language.name == "perl" { "$x" } else { "x" };
        format!("{}{name}{}", language.value.0, language.value.1)
    }

    fn expression(&mut self, language: &Language) -> String {
        let literal = match self.literal() {
            // R knows no lists in lists so, and Lua prints none.
            List(items) if ["R", "lua"].contains(&language.name) => match items.into_iter().next() {
                Some(List(row)) if language.name == "R" => List(row),
                Some(List(row)) => row.into_iter().next().unwrap_or(Number("1")),
                Some(first) => first,
                None => Number("1"),
            },
            literal => literal,
        };
        format!("{}{}{}", language.value.0, written(&literal, language), language.value.1)
    }
}

fn written(literal: &Literal, language: &Language) -> String {
    match literal {
        Number(number) => (*number).to_owned(),
        Text(text) => format!("\"{text}\""),
        List(items) => {
            let (open, comma, close) = language.brackets;
            let items: Vec<String> = items.iter().map(|item| written(item, language)).collect();
            format!("{open}{}{close}", items.join(comma))
        }
    }
}

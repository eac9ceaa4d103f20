//! Documents generated from a seed: all elements that Org allows around blocks, nested, in any case and indentation.
//!
//! What Org 9.5 reads otherwise than 9.8 is left out: tabs and blanks alone on a line of a body, open quotes, `nil`,
//! the same argument on two header lines, a property twice in a drawer, blank lines before the first drawer, a first
//! headline that is not of level 1, names over comments.

use std::fmt::Write as _;

use fastrand::Rng;

/// The document of a seed.
pub(crate) fn document(seed: u64) -> String {
    let mut writer = Writer { chance: Rng::with_seed(seed), lines: Vec::new(), depth: 0 };
    writer.document();
    let Writer { mut chance, mut lines, .. } = writer;
    if chance.u8(..) < 60 {
        disturb(&mut lines, &mut chance);
    }
    let end = if chance.u8(..) < 40 { "\r\n" } else { "\n" };
    let mut text: String = lines.iter().flat_map(|line| [line.as_str(), end]).collect();
    if chance.u8(..) < 20 {
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
    }
    text
}

/// Edits like those of a slip: lines that are missing, doubled, moved or indented.
fn disturb(lines: &mut Vec<String>, chance: &mut Rng) {
    for _ in 0..chance.usize(1..4) {
        if lines.len() < 2 {
            return;
        }
        let (at, other) = (chance.usize(..lines.len()), chance.usize(..lines.len()));
        match chance.u8(..5) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 => lines.swap(at, other),
            3 => lines.insert(at, String::new()),
            // A headline further in would be no headline, but a line of a body may be of any depth.
            _ => lines[at].insert_str(0, "  "),
        }
    }
}

struct Writer {
    chance: Rng,
    lines: Vec<String>,
    depth: usize,
}

const LANGUAGES: &[&str] = &["sh", "python", "C++", "emacs-lisp", "conf-unix", "R", "Sh"];
const NAMES: &[&str] = &["one", "two", "Three", "a b", "x_1", "é"];
const PARAMS: &[&str] = &[
    ":results output",
    ":results value replace",
    ":results silent raw",
    ":exports both",
    ":exports code",
    ":var a=1",
    ":var b=\"x y\" c=3",
    ":var a=2",
    ":var d=one(x=2)",
    ":dir /tmp",
    ":dir \"a b\"",
    ":tangle no",
    ":tangle x/y.sh",
    ":eval no-export",
    ":eval never",
    ":noweb yes",
    ":noweb no-export",
    ":noweb tangle",
    ":noweb-ref part",
    ":noweb-sep \"; \"",
    ":noweb-prefix no",
    ":session s",
    ":cache yes",
    ":image registry:5000/x:1",
    ":expose 6379:6379 0:80",
    ":cpu 0.5",
    ":mem 512",
    ":n -3",
    ":x 1e3",
    ":alone",
    ":list (1 2)",
    ":quote '(a)",
    ":url https://a.b/c?d=e",
    ":file-ext png",
    ":output-dir out",
    ":colnames yes",
    ":shebang #!/bin/sh",
    ":header \"a:b :c\"",
    ":wrap src",
];
const SWITCHES: &[&str] = &["-n", "-n 10", "+n", "+n 5", "-r", "-i", "-k", "-l \"(ref:%s)\"", "-l \"[%s]\""];
const INLINE: &[&str] = &[
    "plain words",
    "src_sh{echo}",
    "src_python[:results output]{print({1: {2}})}",
    "call_one(1)",
    "call_two[:dir /](x=1, y=(2))[:results raw]",
    "=src_sh{verbatim}=",
    "~call_x()~",
    "{{{macro(src_sh{a})}}}",
    "[[https://a.b][src_sh{link}]]",
    "*src_sh{bold}*",
    "$x$ [fn:1] <<target>>",
    "src_sh{open",
    "xsrc_sh{glued}",
    "(src_sh{round})",
    "#+begin_src sh",
    "@@html:src_sh{x}@@",
    "\\alpha src_sh[]{}",
];
const CODE: &[&str] = &[
    "echo hi",
    "  deeper",
    "<<one>>",
    "# <<two>> and <<part>>",
    "  <<Three>>",
    "x = 1 # (ref:here)",
    "a <<b",
    "",
    ",* star",
    ",,#+name",
    ",#+begin_src sh",
    "* not with a blank",
];

impl Writer {
    fn odds(&mut self, of_256: u8) -> bool {
        self.chance.u8(..) < of_256
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        self.chance.choice(from).copied().unwrap_or_default()
    }

    /// In small letters, in capitals, or in any.
    fn cased(&mut self, word: &str) -> String {
        match self.chance.u8(..8) {
            0 | 1 => word.to_uppercase(),
            2 => word.chars().map(|c| if self.chance.bool() { c.to_ascii_uppercase() } else { c }).collect(),
            _ => word.to_owned(),
        }
    }

    fn line(&mut self, indent: usize, text: &str) {
        self.lines.push(if text.is_empty() { String::new() } else { format!("{:indent$}{text}", "") });
    }

    fn blank(&mut self) {
        for _ in 0..[0, 0, 1, 1, 1, 2][self.chance.usize(..6)] {
            self.lines.push(String::new());
        }
    }

    fn params(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..[0, 1, 1, 2, 3][self.chance.usize(..5)] {
            let gap = if self.odds(20) { "  " } else { " " };
            let _ = write!(text, "{gap}{}", self.pick(PARAMS));
        }
        text
    }

    fn document(&mut self) {
        if self.odds(60) {
            if self.odds(128) {
                self.line(0, "# -*- comment -*-");
            }
            self.properties(0);
        }
        for _ in 0..self.chance.usize(..4) {
            self.setting();
        }
        self.elements(0);
        for n in 0..self.chance.usize(..5) {
            self.headline(n == 0);
            self.elements(0);
        }
    }

    fn setting(&mut self) {
        let key = match self.chance.u8(..6) {
            0 => "title: x",
            1 => "todo: TODO WAIT(w@/!) | DONE",
            2 => "options: toc:nil",
            _ => {
                let name = self.pick(&[
                    "header-args",
                    "header-args+",
                    "header-args:sh",
                    "header-args:python+",
                    "HEADER-ARGS:R",
                ]);
                let params = self.params();
                let keyword = self.cased("#+property:");
                return self.line(0, &format!("{keyword} {name}{params}"));
            }
        };
        let line = self.cased("#+") + key;
        self.line(0, &line);
    }

    fn headline(&mut self, first: bool) {
        let stars = if self.odds(8) { 16 } else { self.chance.usize(1..5) };
        let stars = if first { 1 } else { stars };
        let mut line = "*".repeat(stars) + " ";
        for (of_256, part) in [(60, "TODO "), (40, "[#B] "), (30, "COMMENT ")] {
            if self.odds(of_256) {
                line += part;
            }
        }
        if line.ends_with("* ") && self.odds(40) {
            line += self.pick(&["WAIT ", "WAIT COMMENT "]);
        }
        line += self.pick(&["Title", "A longer title", "src_sh{echo}", "COMMENT", "[1/2] x"]);
        if self.odds(60) {
            line += self.pick(&[" :tag:", " :ARCHIVE:", " :a:ARCHIVE:b:", " :archive:"]);
        }
        self.line(0, &line);
        if self.odds(40) {
            let planning = self.pick(&[
                "SCHEDULED: <2024-01-01 Mon>",
                "CLOSED: [2024-01-01 Mon] DEADLINE: <2024-01-02 Tue>",
            ]);
            self.line(0, planning);
        }
        if self.odds(110) {
            let indent = self.chance.usize(..3);
            self.properties(indent);
        }
    }

    fn properties(&mut self, indent: usize) {
        let (begin, end) = (self.cased(":properties:"), self.cased(":end:"));
        self.line(indent, &begin);
        for name in ["header-args", "header-args+", "header-args:sh", "HEADER-ARGS:python+", "ID"] {
            if self.odds(80) {
                let value = if name == "ID" { " some-id".to_owned() } else { self.params() };
                self.line(indent, &format!(":{name}:{value}"));
            }
        }
        if self.odds(10) {
            self.line(indent, "no property");
        }
        self.line(indent, &end);
    }

    fn elements(&mut self, indent: usize) {
        for _ in 0..self.chance.usize(1..5) {
            self.element(indent);
            self.blank();
        }
    }

    fn element(&mut self, indent: usize) {
        if self.depth > 4 {
            return self.source(indent);
        }
        self.depth += 1;
        match self.chance.u8(..26) {
            0..=7 => self.source(indent),
            8 | 9 => self.paragraph(indent),
            10 | 11 => self.list(indent),
            12 => self.container(indent, "#+begin_quote", "#+end_quote"),
            13 => self.container(indent, "#+begin_center", "#+end_center"),
            14 => self.container(indent, "#+begin_aside some words", "#+end_aside"),
            15 => self.container(indent, "#+begin: clocktable :x y", "#+end:"),
            16 => self.container(indent, ":logbook:", ":end:"),
            17 | 18 => self.verbatim(indent),
            19 => {
                self.line(0, "[fn:1] a note");
                self.elements(indent);
            }
            20 => self.table(indent),
            21 => {
                let call = self.pick(&[
                    "#+call: one()",
                    "#+call: two[:dir /](a=1, b=f(2)) :results raw",
                    "#+call: x",
                    "#+call:",
                ]);
                let call = self.cased(call);
                self.affiliated(indent);
                self.line(indent, &call);
            }
            22 => {
                let line = self.pick(&[
                    ": fixed",
                    "-----",
                    "%%(diary)",
                    "CLOCK: [2024-01-01 Mon 10:00]",
                    "# comment",
                    "#+results:",
                    "#+results[0a]: one",
                ]);
                self.line(indent, line);
            }
            23 => {
                let keyword = self.pick(&[
                    "#+title: x",
                    "#+key:",
                    "#+a:b: c",
                    "#+foo[x]: y",
                    "#+name:",
                    "#+begin:",
                    "#+end_src",
                    "#+attr_html: :x y",
                ]);
                self.line(indent, keyword);
                if keyword.starts_with("#+attr") || keyword.starts_with("#+name") {
                    self.paragraph(indent);
                }
            }
            24 => self.container(indent, "\\begin{align*}", "\\end{align*}"),
            _ => {
                // Never closed, or closed by what was not meant for it.
                let begin = self.pick(&[
                    "#+begin_src sh",
                    "#+begin_quote",
                    ":drawer:",
                    "#+begin_example",
                    "\\begin{x}",
                    "#+begin: y",
                ]);
                self.line(indent, begin);
                self.line(indent, "open");
            }
        }
        self.depth -= 1;
    }

    fn paragraph(&mut self, indent: usize) {
        for _ in 0..self.chance.usize(1..4) {
            let text: Vec<&str> = (0..self.chance.usize(1..4)).map(|_| self.pick(INLINE)).collect();
            // On a line of its own it would be a block.
            let text = text.join(" ");
            let text = if text.starts_with("#+") { format!("see {text}") } else { text };
            self.line(indent, &text);
        }
    }

    fn list(&mut self, indent: usize) {
        let ordered = self.odds(80);
        for n in 1..self.chance.usize(2..5) {
            let bullet = if ordered { format!("{n}. ") } else { "- ".to_owned() };
            let head = self.pick(&["item", "", "[ ] box", "tag :: text", "src_sh{x} y", "[@3] start"]);
            self.line(indent, &format!("{bullet}{head}"));
            let inside = indent + bullet.len();
            match self.chance.u8(..6) {
                0 | 1 => self.element(inside),
                2 => {
                    self.blank();
                    self.element(inside);
                }
                // Less far in than the text, yet further than the bullet.
                3 => self.element(indent + 1),
                _ => {}
            }
            if self.odds(60) {
                self.lines.push(String::new());
            }
        }
    }

    fn container(&mut self, indent: usize, begin: &str, end: &str) {
        if self.odds(40) && !begin.starts_with(':') {
            self.affiliated(indent);
        }
        let (begin, end) = (self.cased(begin), self.cased(end));
        self.line(indent, &begin);
        let inside = if self.odds(40) { indent + 2 } else { indent };
        self.elements(inside);
        self.line(indent, &end);
    }

    fn verbatim(&mut self, indent: usize) {
        let name = self.pick(&["example", "export html", "comment", "verse", "src org"]);
        let begin = self.cased("#+begin_") + name;
        self.line(indent, &begin);
        self.line(indent, "#+begin_src sh");
        self.paragraph(indent);
        if self.odds(128) {
            self.line(indent, ",#+end_src");
        }
        let end = format!("#+end_{}", name.split(' ').next().unwrap_or_default());
        self.line(indent, &end);
    }

    fn table(&mut self, indent: usize) {
        if self.odds(100) {
            self.affiliated(indent);
        }
        if self.odds(60) {
            for line in ["+---+---+", "| a | b |", "+---+---+"] {
                self.line(indent, line);
            }
            return;
        }
        for _ in 0..self.chance.usize(1..4) {
            let cell =
                self.pick(&["| a | b |", "|---+---|", "| src_sh{x} | call_y() |", "| #+begin_src sh |"]);
            self.line(indent, cell);
        }
        if self.odds(60) {
            self.line(indent, "#+TBLFM: $1=1");
        }
    }

    fn affiliated(&mut self, indent: usize) {
        for key in ["#+name: ", "#+caption: text", "#+attr_html: :width 1", "#+header: ", "#+results: "] {
            if self.odds(50) {
                let value = match key {
                    "#+name: " => self.pick(NAMES).to_owned(),
                    "#+header: " => self.params(),
                    _ => String::new(),
                };
                let key = self.cased(key);
                self.line(indent, &format!("{key}{value}"));
            }
        }
    }

    fn source(&mut self, indent: usize) {
        self.affiliated(indent);
        let mut begin = self.cased("#+begin_src");
        if !self.odds(10) {
            let _ = write!(begin, " {}", self.pick(LANGUAGES));
            for _ in 0..[0, 0, 0, 1, 2][self.chance.usize(..5)] {
                let _ = write!(begin, " {}", self.pick(SWITCHES));
            }
            begin += &self.params();
        }
        self.line(indent, &begin);
        let inside = indent + [0, 0, 2, 4][self.chance.usize(..4)];
        for _ in 0..self.chance.usize(..5) {
            let code = self.pick(CODE);
            // A star at the margin would end the section.
            let code = if code.starts_with('*') && inside == 0 { "star" } else { code };
            self.line(inside, code);
        }
        let end = self.cased("#+end_src");
        self.line(indent, &end);
    }
}

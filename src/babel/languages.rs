//! The table of languages: the program that runs a block, and its default resources.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How blocks of a language are run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Language {
    /// As it is written after `#+begin_src`.
    pub name: String,
    /// The program, looked up on the `PATH` of the machine the block runs on.
    pub program: String,
    /// Its arguments; the body's file comes after them.
    pub arguments: Vec<String>,
    /// Memory a block gets that does not say `:mem`, MiB.
    pub mem: u64,
    /// The image a block gets that says `:dockerize` without `:image`.
    pub image: Option<String>,
    dialect: Dialect,
}

impl Language {
    /// How its code is put together, and its value read.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }
}

/// What is common to languages of one make: how variables are set, values written and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Dialect {
    /// The body is run as a file, what it prints is its result; it takes no variables.
    Plain,
    Shell(Shell),
    Python,
    Ruby,
    Perl,
    Js,
    Lua,
    R,
    Awk,
    Sed,
    Sqlite,
    Lisp,
    C,
    Cpp,
    Go,
    Rust,
    Java,
    Make,
}

/// How a shell sets a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Shell {
    /// `x='text'`
    Plain,
    /// The same, and arrays for lists and tables.
    Arrays,
    /// `set x 'text'`
    Fish,
}

/// The languages of one document: the built-in ones, and those that `#+borges_lang:` adds or replaces.
#[derive(Debug, Clone, Default)]
pub struct Languages {
    added: Vec<(String, Arc<Language>)>,
}

/// A `#+borges_lang:` line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseLanguageError {
    /// Fewer than two words.
    #[error("`#+borges_lang:` wants a language and a command, as in `#+borges_lang: py python3`")]
    MissingFields,
    /// More than three words.
    #[error("`{0}` is one word too many; put a command with arguments into quotes: `\"python3 -u\"`")]
    ExtraFields(String),
    /// A quote that does not end.
    #[error("the quote in `{0}` does not end")]
    UnterminatedQuote(String),
}

/// A row of the table.
struct Row {
    /// Names, compared as Emacs compares them: exactly. A program of `""` is called as the language is.
    names: &'static [&'static str],
    program: &'static str,
    /// What comes before the body's file.
    arguments: &'static [&'static str],
    dialect: Dialect,
    /// MiB
    mem: u64,
    image: &'static str,
}

const fn row(
    names: &'static [&'static str],
    program: &'static str,
    arguments: &'static [&'static str],
    dialect: Dialect,
    mem: u64,
    image: &'static str,
) -> Row {
    Row { names, program, arguments, dialect, mem, image }
}

/// The built-in languages: names, program, its arguments, dialect, memory in MiB, image.
///
/// How a dialect takes its code, its variables, and gives its value stands at its own file: `shells`, `scripts`,
/// `filters`, `emacs_lisp`, `compiled`, `compiled_other`.
const BUILT_IN: &[Row] = &[
    row(
        &["sh", "dash", "ash", "ksh", "mksh", "posh"],
        "",
        &[],
        Dialect::Shell(Shell::Plain),
        56,
        "debian:12-slim",
    ),
    row(&["bash", "shell"], "bash", &[], Dialect::Shell(Shell::Arrays), 56, "debian:12-slim"),
    row(&["zsh", "csh"], "", &[], Dialect::Shell(Shell::Plain), 56, "zshusers/zsh:5.9"),
    row(&["fish"], "fish", &[], Dialect::Shell(Shell::Fish), 56, "purefish/docker-fish:3.6.0"),
    row(&["python"], "python3", &[], Dialect::Python, 128, "python:3"),
    row(&["ruby"], "ruby", &[], Dialect::Ruby, 128, "ruby:3"),
    row(&["perl"], "perl", &[], Dialect::Perl, 64, "perl:5"),
    row(&["js"], "node", &[], Dialect::Js, 256, "node:20"),
    row(&["lua"], "lua", &[], Dialect::Lua, 56, "nickblah/lua:5.4"),
    row(&["R"], "R", &["--slave", "--no-save"], Dialect::R, 256, "r-base:4"),
    row(&["awk"], "awk", &["-f"], Dialect::Awk, 56, "debian:12-slim"),
    row(&["sed"], "sed", &["-f"], Dialect::Sed, 56, "debian:12-slim"),
    row(&["sqlite"], "sqlite3", &[], Dialect::Sqlite, 64, "keinos/sqlite3:3"),
    row(&["emacs-lisp", "elisp"], "emacs", &["-Q", "--batch", "-l"], Dialect::Lisp, 256, "silex/emacs:29"),
    row(&["C"], "gcc", &[], Dialect::C, 256, "gcc:12"),
    row(&["C++", "cpp"], "g++", &[], Dialect::Cpp, 512, "gcc:12"),
    row(&["go"], "go", &["run"], Dialect::Go, 512, "golang:1"),
    row(&["rust"], "rustc", &[], Dialect::Rust, 512, "rust:1"),
    row(&["java"], "java", &[], Dialect::Java, 512, "eclipse-temurin:17"),
    row(&["make"], "make", &["-f"], Dialect::Make, 128, "gcc:12"),
];

/// The table, a language for each name: the blocks of a document share them.
static LANGUAGES: LazyLock<Vec<Arc<Language>>> = LazyLock::new(|| {
    let language = |row: &Row, name: &str| Language {
        name: name.to_owned(),
        program: if row.program.is_empty() { name } else { row.program }.to_owned(),
        arguments: row.arguments.iter().map(|&argument| argument.to_owned()).collect(),
        mem: row.mem,
        image: Some(row.image.to_owned()),
        dialect: row.dialect,
    };
    let of_row = |row: &'static Row| row.names.iter().map(move |name| Arc::new(language(row, name)));
    BUILT_IN.iter().flat_map(of_row).collect()
});

/// Memory for a language that a document brings along, MiB.
const DEFAULT_MEM: u64 = 128;

impl Languages {
    /// The row of a language; `None` for one that cannot be run.
    pub fn get(&self, name: &str) -> Option<Arc<Language>> {
        let added = self.added.iter().rev().find(|(added, _)| added == name).map(|(_, language)| language);
        let built_in = || LANGUAGES.iter().find(|language| language.name == name);
        added.or_else(built_in).cloned()
    }

    /// Takes up the value of a `#+borges_lang:` line: `NAME COMMAND [IMAGE]`.
    pub fn add(&mut self, line: &str) -> Result<(), ParseLanguageError> {
        let mut words = words(line)?.into_iter();
        let (Some(name), Some(command)) = (words.next(), words.next()) else {
            return Err(ParseLanguageError::MissingFields);
        };
        let image = words.next();
        if let Some(word) = words.next() {
            return Err(ParseLanguageError::ExtraFields(word));
        }
        let mut command = command.split_whitespace().map(str::to_owned);
        let program = command.next().ok_or(ParseLanguageError::MissingFields)?;
        // Another program for a language that is known runs the same language.
        let built_in = BUILT_IN.iter().find(|row| row.names.contains(&name.as_str()));
        let dialect = built_in.map_or(Dialect::Plain, |row| row.dialect);
        let language = Language {
            name: name.clone(),
            program,
            arguments: command.collect(),
            mem: DEFAULT_MEM,
            image,
            dialect,
        };
        self.added.push((name, Arc::new(language)));
        Ok(())
    }

    /// The names one may write, the document's own first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let built_in = BUILT_IN.iter().flat_map(|row| row.names.iter().copied());
        self.added.iter().map(|(name, _)| name.as_str()).chain(built_in)
    }
}

/// Words parted by blanks; double quotes hold one together.
fn words(line: &str) -> Result<Vec<String>, ParseLanguageError> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted
                .split_once('"')
                .ok_or_else(|| ParseLanguageError::UnterminatedQuote(rest.to_owned()))?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_have_a_default_interpreter() {
        let languages = Languages::default();
        let command = |name| languages.get(name).map(|l| (l.program.clone(), l.arguments.join(" "), l.mem));
        assert_eq!(command("sh"), Some(("sh".into(), String::new(), 56)));
        assert_eq!(command("awk"), Some(("awk".into(), "-f".into(), 56)));
        assert_eq!(command("python"), Some(("python3".into(), String::new(), 128)));
        assert_eq!(command("yaml"), None);
        assert_eq!(command("SH"), None);
    }

    #[test]
    fn documents_add_and_replace_languages() {
        let mut languages = Languages::default();
        languages.add("py \"python3 -u\" python:3").unwrap();
        languages.add("sh dash").unwrap();
        let py = languages.get("py").unwrap();
        assert_eq!((py.program.as_str(), py.arguments.join(" ").as_str()), ("python3", "-u"));
        assert_eq!(py.image.as_deref(), Some("python:3"));
        assert_eq!(languages.get("sh").unwrap().program, "dash");
    }

    #[test]
    fn invalid_language_lines_are_rejected() {
        let bad = |line: &str| Languages::default().add(line).unwrap_err();
        assert_eq!(bad("py"), ParseLanguageError::MissingFields);
        assert_eq!(bad("py \"\""), ParseLanguageError::MissingFields);
        assert_eq!(bad("py python3 image -u"), ParseLanguageError::ExtraFields("-u".into()));
        assert_eq!(bad("py \"python3 -u"), ParseLanguageError::UnterminatedQuote("\"python3 -u".into()));
    }
}

//! The table of languages: which program runs a block, and what it needs by default.

use thiserror::Error;

/// How blocks of a language are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Language {
    /// The program, looked up on the `PATH` of the machine the block runs on.
    pub program: String,
    /// Its arguments; the body's file comes after them.
    pub arguments: Vec<String>,
    /// Memory a block gets that does not say `:mem`, MiB.
    pub mem: u64,
    /// The image a block gets that says `:dockerize` without `:image`.
    pub image: Option<String>,
}

/// The languages of one document: the built-in ones, and those that `#+borges_lang:` adds or replaces.
#[derive(Debug, Clone, Default)]
pub struct Languages {
    added: Vec<(String, Language)>,
}

/// A `#+borges_lang:` line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadLanguage {
    /// Fewer than two words.
    #[error("`#+borges_lang:` wants a language and a command, as in `#+borges_lang: py python3`")]
    TooFew,
    /// More than three words.
    #[error("`{0}` is one word too many; put a command with arguments into quotes: `\"python3 -u\"`")]
    TooMany(String),
    /// A quote that does not end.
    #[error("the quote in `{0}` does not end")]
    OpenQuote(String),
}

/// Names, program, arguments before the body, memory in MiB. Names are compared as Emacs compares them:
/// exactly.
const BUILT_IN: [(&[&str], &str, &[&str], u64); 7] = [
    (&["sh"], "sh", &[], 56),
    (&["bash"], "bash", &[], 56),
    (&["python"], "python3", &[], 128),
    (&["perl"], "perl", &[], 64),
    (&["awk"], "awk", &["-f"], 56),
    (&["ruby"], "ruby", &[], 128),
    (&["js"], "node", &[], 256),
];

/// Memory for a language that a document brings along, MiB.
const ADDED_MEM: u64 = 128;

impl Languages {
    /// The row of a language; `None` for one that cannot be run.
    pub fn get(&self, name: &str) -> Option<Language> {
        if let Some((_, language)) = self.added.iter().rev().find(|(added, _)| added == name) {
            return Some(language.clone());
        }
        let (_, program, arguments, mem) = BUILT_IN.iter().find(|(names, ..)| names.contains(&name))?;
        Some(Language {
            program: (*program).to_owned(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            mem: *mem,
            image: None,
        })
    }

    /// Takes up the value of a `#+borges_lang:` line: `NAME COMMAND [IMAGE]`.
    pub fn add(&mut self, line: &str) -> Result<(), BadLanguage> {
        let mut words = words(line)?.into_iter();
        let (Some(name), Some(command)) = (words.next(), words.next()) else {
            return Err(BadLanguage::TooFew);
        };
        let image = words.next();
        if let Some(word) = words.next() {
            return Err(BadLanguage::TooMany(word));
        }
        let mut command = command.split_whitespace().map(str::to_owned);
        let program = command.next().ok_or(BadLanguage::TooFew)?;
        let language = Language { program, arguments: command.collect(), mem: ADDED_MEM, image };
        self.added.push((name, language));
        Ok(())
    }

    /// The names one may write, the document's own first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let built_in = BUILT_IN.iter().flat_map(|(names, ..)| names.iter().copied());
        self.added.iter().map(|(name, _)| name.as_str()).chain(built_in)
    }
}

/// Words parted by blanks; double quotes hold one together.
fn words(line: &str) -> Result<Vec<String>, BadLanguage> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(|| BadLanguage::OpenQuote(rest.to_owned()))?,
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
    fn a_language_goes_to_its_own_interpreter() {
        let languages = Languages::default();
        let command = |name| languages.get(name).map(|l| (l.program, l.arguments.join(" "), l.mem));
        assert_eq!(command("sh"), Some(("sh".into(), String::new(), 56)));
        assert_eq!(command("awk"), Some(("awk".into(), "-f".into(), 56)));
        assert_eq!(command("python"), Some(("python3".into(), String::new(), 128)));
        assert_eq!(command("yaml"), None);
        assert_eq!(command("SH"), None);
    }

    #[test]
    fn a_document_adds_and_replaces_rows() {
        let mut languages = Languages::default();
        languages.add("py \"python3 -u\" python:3").unwrap();
        languages.add("sh dash").unwrap();
        let py = languages.get("py").unwrap();
        assert_eq!((py.program.as_str(), py.arguments.join(" ").as_str()), ("python3", "-u"));
        assert_eq!(py.image.as_deref(), Some("python:3"));
        assert_eq!(languages.get("sh").unwrap().program, "dash");
    }

    #[test]
    fn bad_rows_say_what_to_write() {
        let bad = |line: &str| Languages::default().add(line).unwrap_err();
        assert_eq!(bad("py"), BadLanguage::TooFew);
        assert_eq!(bad("py \"\""), BadLanguage::TooFew);
        assert_eq!(bad("py python3 image -u"), BadLanguage::TooMany("-u".into()));
        assert_eq!(bad("py \"python3 -u"), BadLanguage::OpenQuote("\"python3 -u".into()));
    }
}

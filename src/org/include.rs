//! The value of an `#+INCLUDE:` line, read as Org's exporter reads it.

/// `"FILE::SEARCH" KIND ARGUMENTS :lines "5-10" :minlevel N :only-contents t`
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Include<'v> {
    /// The file, as written.
    pub(super) path: &'v str,
    /// What to look for in it.
    pub(super) search: Option<&'v str>,
    /// Only what the element found holds.
    pub(super) only_contents: bool,
    /// First line, and the first that is no longer meant; 0 is no limit.
    pub(super) lines: Option<(usize, usize)>,
    /// Level of its highest headlines.
    pub(super) level: Option<usize>,
    pub(super) kind: Kind<'v>,
}

/// What the file becomes.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) enum Kind<'v> {
    /// A part of the document.
    #[default]
    Org,
    /// An example, or an export block: nothing in it means anything here.
    Text,
    /// A source block with these arguments; the byte of the value where they begin.
    Source(String, usize),
    /// A block of this name, with what the file holds in it.
    Block(&'v str),
}

/// Whether the value of an `#+INCLUDE:` line makes an example, or an export block, of a file: nothing of it means
/// anything to a run.
pub fn includes_text(value: &str) -> bool {
    Include::read(value).is_ok_and(|include| include.kind == Kind::Text)
}

/// What is wrong with the value at a byte of it, and what to write.
pub(super) type IncludeError = (usize, String, &'static str);

impl<'v> Include<'v> {
    pub(super) fn read(value: &'v str) -> Result<Self, IncludeError> {
        let quoted = value.strip_prefix('"').and_then(|rest| rest.find('"')).filter(|&length| length > 0);
        let (target, after) = match quoted {
            Some(length) => (&value[1..=length], length + 2),
            None => {
                let end = value.find([' ', '\t']).unwrap_or(value.len());
                (value[..end].trim_matches('"'), end)
            }
        };
        let (path, search) = match target.split_once("::") {
            Some((path, search)) => (path, Some(search).filter(|search| !search.is_empty())),
            None => (target, None),
        };
        if path.is_empty() {
            return Err((0, "`#+INCLUDE:` names no file".to_owned(), "Write its path in double quotes."));
        }
        let mut include = Self { path, search, ..Self::default() };
        include.options(value, after)?;
        Ok(include)
    }

    fn options(&mut self, value: &'v str, after: usize) -> Result<(), IncludeError> {
        let mut words = words(value, after).peekable();
        while let Some((at, word)) = words.next() {
            let lower = word.to_ascii_lowercase();
            match (lower.as_str(), &mut self.kind) {
                (":only-contents", _) => {
                    let only_contents = words.next_if(|(_, next)| !next.starts_with(':'));
                    self.only_contents = only_contents.is_some_and(|(_, value)| value != "nil");
                }
                (":lines", _) => {
                    let range = words.next().and_then(|(_, range)| lines(range));
                    let help = "Write it like this: `:lines \"5-10\"`; the last is the first line left out.";
                    self.lines = Some(range.ok_or_else(|| (at, "`:lines` has no range".to_owned(), help))?);
                }
                (_, Kind::Source(arguments, begin)) => {
                    if arguments.is_empty() {
                        *begin = at;
                    } else {
                        arguments.push(' ');
                    }
                    arguments.push_str(word);
                }
                // What else is said of an example is for the exporter.
                (_, Kind::Text) => {}
                (":minlevel", _) => {
                    let level = words.next().and_then(|(_, level)| level.parse().ok());
                    let help = "Write it like this: `:minlevel 2`.";
                    self.level =
                        Some(level.ok_or_else(|| (at, "`:minlevel` has no number".to_owned(), help))?);
                }
                (":coding", _) => drop(words.next()),
                ("src", kind @ Kind::Org) => *kind = Kind::Source(String::new(), at + word.len()),
                ("example" | "export", kind @ Kind::Org) => *kind = Kind::Text,
                (_, kind @ Kind::Org) if !word.starts_with(':') => *kind = Kind::Block(word),
                _ => {
                    let help =
                        "There are `src LANGUAGE`, `example`, `:lines`, `:minlevel` and `:only-contents`.";
                    return Err((at, format!("`{word}` means nothing to `#+INCLUDE:`"), help));
                }
            }
        }
        Ok(())
    }
}

/// The words of `value` from byte `from` on, each with the byte it begins at.
fn words(value: &str, from: usize) -> impl Iterator<Item = (usize, &str)> {
    let mut at = from;
    std::iter::from_fn(move || {
        let rest = value.get(at..)?;
        at += rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let rest = value.get(at..).filter(|rest| !rest.is_empty())?;
        let length = rest.find([' ', '\t']).unwrap_or(rest.len());
        at += length;
        Some((at - length, &rest[..length]))
    })
}

/// `"5-10"`, `"-10"`, `"5-"`.
fn lines(range: &str) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix('"')?.strip_suffix('"')?.split_once('-')?;
    let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse().ok() };
    Some((number(from)?, number(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::plain("a.org", Include { path: "a.org", ..Include::default() })]
    #[case::quoted("\"my notes.org\"", Include { path: "my notes.org", ..Include::default() })]
    #[case::search("\"a.org::*My heading\"", Include { path: "a.org", search: Some("*My heading"), ..Include::default() })]
    #[case::lines("\"a.org\" :lines \"5-\"", Include { path: "a.org", lines: Some((5, 0)), ..Include::default() })]
    #[case::contents("a.org::#b :only-contents t :minlevel 2", Include { path: "a.org", search: Some("#b"), only_contents: true, level: Some(2), ..Include::default() })]
    #[case::contents_nil("a.org :only-contents nil", Include { path: "a.org", ..Include::default() })]
    #[case::source("a.sh src sh :lines \"-3\" :cpu 2", Include { path: "a.sh", lines: Some((0, 3)), kind: Kind::Source("sh :cpu 2".into(), 9), ..Include::default() })]
    #[case::bare_source("a.sh SRC", Include { path: "a.sh", kind: Kind::Source(String::new(), 8), ..Include::default() })]
    #[case::example("a.txt example -n 5", Include { path: "a.txt", kind: Kind::Text, ..Include::default() })]
    #[case::block("a.org quote", Include { path: "a.org", kind: Kind::Block("quote"), ..Include::default() })]
    fn include_values_are_read(#[case] value: &str, #[case] expected: Include<'_>) {
        assert_eq!(Include::read(value), Ok(expected));
    }

    #[rstest::rstest]
    #[case::nothing("", "0 `#+INCLUDE:` names no file")]
    #[case::range("a :lines 5", "2 `:lines` has no range")]
    #[case::level("a :minlevel", "2 `:minlevel` has no number")]
    #[case::unknown("a :line \"5-6\"", "2 `:line` means nothing to `#+INCLUDE:`")]
    fn invalid_include_values_are_rejected(#[case] value: &str, #[case] expected: &str) {
        let (at, text, help) = Include::read(value).unwrap_err();
        assert_eq!(format!("{at} {text}"), expected);
        assert!(help.ends_with('.'));
    }
}

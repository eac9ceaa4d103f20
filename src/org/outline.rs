//! The headlines of a document as far as blocks depend on them: which are commented or archived, and their property
//! drawers.

use super::document::Position;
use super::grammar::{self, Rule};
use super::lines::indentation;
use super::text::{Text, decode, is_blank, trim_end};

/// What a headline says of the blocks below it. Headlines that say nothing have no scope of their own.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// The scope around; the document's own, number 0, has none.
    pub(super) parent: Option<usize>,
    pub(super) archived: bool,
    /// The scope whose properties hold: this one if it has any, otherwise the nearest around that has.
    pub(super) properties_from: usize,
    /// Its `header-args` properties.
    pub(super) properties: Vec<Property>,
    /// Title of a headline that may be commented: which it is depends on the TODO keywords of the document.
    title: Option<String>,
    pub(super) commented: bool,
}

/// A `header-args` property as it is set in a drawer.
#[derive(Debug)]
pub(super) struct Property {
    /// In capitals, with the `+` of one that appends.
    pub(super) name: String,
    pub(super) value: String,
    pub(super) at: Position,
}

/// The headlines open at a point of the document, and all scopes met.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) scopes: Vec<Scope>,
    /// Levels of the open headlines that have a scope, each with it.
    open: Vec<(usize, usize)>,
}

impl Outline {
    /// The outline at the beginning of `text`.
    pub(super) fn new(text: Text<'_>) -> Self {
        let properties = drawer_of_document(text);
        Self { scopes: vec![Scope { properties, ..Scope::default() }], open: Vec::new() }
    }

    /// The scope at this point.
    pub(super) fn scope(&self) -> usize {
        self.open.last().map_or(0, |&(_, scope)| scope)
    }

    /// Enters the headline at byte `at`, which is line `number`; returns its level.
    pub(super) fn enter(&mut self, text: Text<'_>, at: usize, number: u32) -> usize {
        let (line, next) = text.line(at);
        let level = line.iter().take_while(|&&b| b == b'*').count();
        while self.open.last().is_some_and(|&(other, _)| level <= other) {
            self.open.pop();
        }
        let title = &line[level..];
        let archived = is_archived(title);
        let may_be_commented = memchr::memmem::find(title, b"COMMENT").is_some();
        let properties = drawer_of_headline(text, next, number.saturating_add(1));
        if !archived && !may_be_commented && properties.is_empty() {
            return level;
        }
        // Looking upward from a headline without a parent, Emacs comes to the beginning of the document, and takes
        // what is set there for the document's, be it a headline's.
        let properties = if at == 0 && level > 1 && !properties.is_empty() {
            self.open.push((1, self.scopes.len()));
            self.scopes.push(Scope {
                parent: Some(0),
                properties_from: self.scopes.len(),
                properties,
                ..Scope::default()
            });
            Vec::new()
        } else {
            properties
        };
        let title = may_be_commented.then(|| decode(title).into_owned());
        let (parent, own) = (self.scope(), self.scopes.len());
        let properties_from = if properties.is_empty() { self.scopes[parent].properties_from } else { own };
        self.open.push((level, own));
        self.scopes.push(Scope {
            parent: Some(parent),
            archived,
            properties_from,
            properties,
            title,
            commented: false,
        });
        level
    }

    /// Settles which scopes are commented and archived, given the document's TODO keywords.
    pub(super) fn resolve_scopes(&mut self, todo: &[String]) {
        for n in 0..self.scopes.len() {
            let parent = self.scopes[n].parent.map(|parent| &self.scopes[parent]);
            let (commented, archived) = parent.map_or((false, false), |s| (s.commented, s.archived));
            let scope = &mut self.scopes[n];
            scope.archived |= archived;
            scope.commented = commented || scope.title.take().is_some_and(|title| is_commented(&title, todo));
        }
    }
}

/// Whether `COMMENT` stands after TODO keyword and priority.
fn is_commented(title: &str, todo: &[String]) -> bool {
    let blanks = [' ', '\t'];
    let mut title = title.trim_start_matches(blanks);
    let word = title.split(' ').next().unwrap_or_default();
    if todo.iter().any(|keyword| keyword == word) {
        title = title[word.len()..].trim_start_matches(blanks);
    }
    if let Some(priority) = grammar::read(Rule::priority, title) {
        title = grammar::after(title, &priority);
    }
    grammar::matches(Rule::comment_headline, title)
}

/// Whether `ARCHIVE` is among the tags at the end of a headline.
fn is_archived(title: &[u8]) -> bool {
    let title = trim_end(title);
    if title.last() != Some(&b':') || memchr::memmem::rfind(title, b":ARCHIVE:").is_none() {
        return false;
    }
    let Some(blank) = title.iter().rposition(|&b| is_blank(b)) else { return false };
    let tags = decode(&title[blank + 1..]);
    let is_tag_character = |c: char| c.is_alphanumeric() || "_@#%:".contains(c);
    tags.starts_with(':') && tags.chars().all(is_tag_character) && tags.split(':').any(|tag| tag == "ARCHIVE")
}

/// The drawer at the top of the document: after blank lines, then comment lines.
fn drawer_of_document(text: Text<'_>) -> Vec<Property> {
    let (mut at, mut number) = (0, 1);
    let mut comments = false;
    while at < text.bytes.len() {
        let (line, next) = text.line(at);
        let (blanks, _) = indentation(line);
        match &line[blanks..] {
            [] | [b'\r'] if !comments => {}
            [b'#'] | [b'#', b' ', ..] => comments = true,
            _ => return drawer(text, at, number).unwrap_or_default(),
        }
        (at, number) = (next, number + 1);
    }
    Vec::new()
}

/// The drawer of a headline: on the line after it (byte `at`, line `number`), or after the planning line there.
fn drawer_of_headline(text: Text<'_>, at: usize, number: u32) -> Vec<Property> {
    let (line, next) = text.line(at);
    let rest = &line[indentation(line).0..];
    let planned = matches!(rest.first(), Some(b'C' | b'c' | b'D' | b'd' | b'S' | b's'))
        && grammar::matches(Rule::planning, &decode(rest));
    let (at, number) = if planned { (next, number.saturating_add(1)) } else { (at, number) };
    drawer(text, at, number).unwrap_or_default()
}

/// The `header-args` properties of the drawer that begins at byte `at`, if it is a well-formed property drawer.
fn drawer(text: Text<'_>, at: usize, number: u32) -> Option<Vec<Property>> {
    let (line, mut at) = text.line(at);
    if !is_marker(line, b":PROPERTIES:") {
        return None;
    }
    let mut properties: Vec<Property> = Vec::new();
    let mut number = number;
    while at < text.bytes.len() {
        let (line, next) = text.line(at);
        (at, number) = (next, number.saturating_add(1));
        if is_marker(line, b":END:") {
            return Some(properties);
        }
        let blanks = indentation(line).0;
        let rest = decode(trim_end(&line[blanks..]));
        let pair = grammar::read(Rule::property, &rest)?;
        let name = grammar::part(&pair, Rule::property_key)?.as_str().to_uppercase();
        if !name.starts_with("HEADER-ARGS") {
            continue;
        }
        let value = grammar::after(&rest, &pair).to_owned();
        let from = line.len().min(blanks + pair.as_span().end());
        let property = Property { at: Position::in_line(line, number, from), name, value };
        // One that appends may be set again and again; otherwise the last one holds.
        match properties
            .iter_mut()
            .find(|s| s.name == property.name)
            .filter(|_| !property.name.ends_with('+'))
        {
            Some(existing) => *existing = property,
            None => properties.push(property),
        }
    }
    None
}

fn is_marker(line: &[u8], marker: &[u8]) -> bool {
    trim_end(&line[indentation(line).0..]).eq_ignore_ascii_case(marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::plain(" COMMENT a", true)]
    #[case::alone(" COMMENT", true)]
    #[case::longer_word(" COMMENTED a", false)]
    #[case::lower_case(" comment a", false)]
    #[case::after_keyword(" TODO COMMENT a", true)]
    #[case::after_priority(" DONE [#A] COMMENT a", true)]
    #[case::unknown_keyword(" WAIT COMMENT a", false)]
    #[case::priority_further_on(" COMMENT a [#A] b", false)]
    fn comment_headlines_are_found(#[case] title: &str, #[case] expected: bool) {
        assert_eq!(is_commented(title, &["TODO".into(), "DONE".into()]), expected);
    }

    #[rstest::rstest]
    #[case::alone(" a :ARCHIVE:", true)]
    #[case::among_others(" a :x:ARCHIVE:@y:  ", true)]
    #[case::no_title(" :ARCHIVE:", true)]
    #[case::lower_case(" a :archive:", false)]
    #[case::not_at_the_end(" a :ARCHIVE: b", false)]
    #[case::glued(" a:ARCHIVE:", false)]
    #[case::no_tag(" a :ARCHIVE:b-c:", false)]
    fn archive_tags_are_found(#[case] title: &str, #[case] expected: bool) {
        assert_eq!(is_archived(title.as_bytes()), expected);
    }
}

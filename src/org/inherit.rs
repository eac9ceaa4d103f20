//! Header arguments a block inherits: setupfile, `#+PROPERTY:` lines, property drawers.

use std::collections::HashMap;
use std::rc::Rc;

use super::document::{Keyword, Origin, Param, Position, Property};
use super::header_args::{self, Written};
use super::outline::Scope;
use super::text::narrow;

/// What a block inherits, or why it cannot be read.
pub(super) type Inherited = Rc<Result<Vec<Param>, (Position, String)>>;

/// All a document says of header arguments outside its blocks.
pub(super) struct Inheritance<'d> {
    scopes: &'d [Scope],
    setup: &'d [Property],
    /// `#+PROPERTY:` lines, by name in capitals.
    lines: HashMap<String, Written>,
    /// By scope and language.
    known: HashMap<(usize, Option<String>), Inherited>,
}

impl<'d> Inheritance<'d> {
    pub(super) fn new(scopes: &'d [Scope], keywords: &[Keyword], setup: &'d [Property]) -> Self {
        let mut lines: HashMap<String, Written> = HashMap::new();
        for keyword in keywords.iter().filter(|keyword| keyword.key == "PROPERTY") {
            let Some((name, value, at)) = property(keyword) else { continue };
            match name.strip_suffix('+') {
                None => {
                    lines.insert(name, Written::new(value, at));
                }
                Some(name) => lines.entry(name.to_owned()).or_default().append(value, at),
            }
        }
        Self { scopes, setup, lines, known: HashMap::new() }
    }

    /// What blocks of `language` inherit in `scope`: the general arguments, then those of the language.
    pub(super) fn of(&mut self, scope: usize, language: Option<&str>) -> Inherited {
        let key = (scope, language.map(str::to_owned));
        if let Some(known) = self.known.get(&key) {
            return Rc::clone(known);
        }
        let read = Rc::new(self.read(scope, language));
        self.known.insert(key, Rc::clone(&read));
        read
    }

    fn read(&self, scope: usize, language: Option<&str>) -> Result<Vec<Param>, (Position, String)> {
        let mut params = Vec::new();
        for language in [None, language].into_iter().take(if language.is_some() { 2 } else { 1 }) {
            let lower = language.map(str::to_lowercase);
            for property in self.setup.iter().filter(|property| property.language == lower) {
                let written = Written::new(&property.value, property.at);
                let read = header_args::parse(&written, Origin::Setup)
                    .map_err(|(at, why)| (at, format!("in the setupfile: {why}")))?;
                params.extend(read);
            }
        }
        params.extend(self.read_named(scope, "HEADER-ARGS")?);
        if let Some(language) = language {
            params.extend(self.read_named(scope, &format!("HEADER-ARGS:{}", language.to_uppercase()))?);
        }
        Ok(params)
    }

    fn read_named(&self, scope: usize, name: &str) -> Result<Vec<Param>, (Position, String)> {
        match self.written(scope, name) {
            Some(written) => header_args::parse(&written, Origin::Document),
            None => Ok(Vec::new()),
        }
    }

    /// The nearest drawer that sets the property replaces what is further out; those that append on the way
    /// to it follow it, outermost first.
    fn written(&self, scope: usize, name: &str) -> Option<Written> {
        let appending = format!("{name}+");
        let mut appended = Vec::new();
        let mut base = None;
        let mut at = Some(scope);
        while let Some(scope) = at.and_then(|n| self.scopes.get(n)) {
            let local = scope.properties.iter().rev().filter(|setting| setting.name == appending);
            appended.extend(local);
            base = scope.properties.iter().find(|setting| setting.name == name);
            if base.is_some() {
                break;
            }
            at = scope.parent;
        }
        let mut written = match base {
            Some(setting) => Some(Written::new(&setting.value, setting.at)),
            None => self.lines.get(name).cloned(),
        };
        for setting in appended.into_iter().rev() {
            written.get_or_insert_default().append(&setting.value, setting.at);
        }
        written.filter(|written| written.text != "nil")
    }
}

/// Name in capitals, value and its place, of a `#+PROPERTY:` line.
fn property(keyword: &Keyword) -> Option<(String, &str, Position)> {
    let end = keyword.value.find([' ', '\t'])?;
    let value = keyword.value[end..].trim_start_matches([' ', '\t']);
    let before = keyword.value.len() - value.len();
    let column = keyword.at.column.saturating_add(narrow(keyword.value[..before].chars().count()));
    Some((keyword.value[..end].to_uppercase(), value, Position { column, ..keyword.at }))
}

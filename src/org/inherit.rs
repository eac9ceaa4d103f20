//! Header arguments a block inherits: setupfile, `#+PROPERTY:` lines, property drawers.

use std::collections::HashMap;
use std::rc::Rc;

use super::document::{Document, Keyword, Origin, Param, Position, Property};
use super::header_args::{self, Written};
use super::outline::Scope;
use super::text::narrow;

/// Arguments read, or why and where they cannot be.
type Read = Result<Vec<Param>, (Position, String)>;

/// All a document says of header arguments outside its blocks.
pub(super) struct Inheritance<'d> {
    scopes: &'d [Scope],
    setup: &'d [Property],
    /// `#+PROPERTY:` lines, by name in capitals.
    lines: HashMap<String, Written>,
    /// What has been read, by origin, scope and language.
    known: HashMap<(bool, usize, Option<String>), Rc<Read>>,
    budget: usize,
}

/// Bytes of inherited arguments that any document may have read and copied to its blocks, and how many more
/// for each byte of it: a long line of them times many blocks would be more than a machine holds.
const BUDGET: (usize, usize) = (64 << 20, 64);

impl<'d> Inheritance<'d> {
    /// For a document of `length` bytes.
    pub(super) fn new(
        scopes: &'d [Scope],
        document: &Document,
        setup: &'d [Property],
        length: usize,
    ) -> Self {
        let mut lines: HashMap<String, Written> = HashMap::new();
        let mut set = |name: &str, appends: bool, value: &str, at: Position, origin: Origin| {
            if appends {
                lines.entry(name.to_owned()).or_default().append(value, at, origin);
            } else {
                lines.insert(name.to_owned(), Written::new(value, at, origin));
            }
        };
        let mut named =
            setup.iter().filter_map(|property| Some((property.named.as_ref()?, property))).peekable();
        for keyword in &document.keywords {
            // What a file says holds from where it is named, as if it stood there.
            while let Some((from, property)) = named.next_if(|(from, _)| from.line <= keyword.at.line) {
                let file = document.files.iter().position(|file| *file == from.file).unwrap_or_default();
                let name = property.language.as_ref().map_or("HEADER-ARGS".to_owned(), |language| {
                    format!("HEADER-ARGS:{}", language.to_uppercase())
                });
                set(&name, from.appends, &property.value, property.at, Origin::File(narrow(file)));
            }
            if keyword.key == "PROPERTY"
                && let Some((name, value, at)) = property(keyword)
            {
                let base = name.strip_suffix('+');
                set(base.unwrap_or(&name), base.is_some(), value, at, Origin::Document);
            }
        }
        let budget = length.saturating_mul(BUDGET.1).saturating_add(BUDGET.0);
        Self { scopes, setup, lines, known: HashMap::new(), budget }
    }

    /// What a block of `language` inherits in `scope`: the setupfile's arguments, then the document's; of
    /// each the general ones, then those of the language. `at` is where the block stands.
    pub(super) fn of(&mut self, scope: usize, language: Option<&str>, at: Position) -> Read {
        let scope = self.scopes.get(scope).map_or(0, |scope| scope.settings);
        let mut params = Vec::new();
        for from_setup in [true, false] {
            for language in std::iter::once(None).chain(language.map(Some)) {
                let part = self.part(from_setup, scope, language);
                let part = part.as_ref().as_ref().map_err(Clone::clone)?;
                self.spend(part.iter().map(|param| 256 + 4 * param.text.len()).sum());
                if self.budget == 0 {
                    let why = "the blocks of this document inherit more header arguments than can be held";
                    return Err((at, why.into()));
                }
                params.extend_from_slice(part);
            }
        }
        Ok(params)
    }

    fn spend(&mut self, cost: usize) {
        self.budget = self.budget.saturating_sub(cost);
    }

    fn part(&mut self, from_setup: bool, scope: usize, language: Option<&str>) -> Rc<Read> {
        let key = (from_setup, if from_setup { 0 } else { scope }, language.map(str::to_uppercase));
        if let Some(known) = self.known.get(&key) {
            return Rc::clone(known);
        }
        let read = Rc::new(match (self.budget, from_setup) {
            (0, _) => Ok(Vec::new()),
            (_, true) => self.read_setup(language),
            (_, false) => self.read_document(scope, key.2.as_deref()),
        });
        self.known.insert(key, Rc::clone(&read));
        read
    }

    fn read_setup(&self, language: Option<&str>) -> Read {
        let lower = language.map(str::to_lowercase);
        let mut params = Vec::new();
        for property in
            self.setup.iter().filter(|property| property.named.is_none() && property.language == lower)
        {
            let written = Written::new(&property.value, property.at, Origin::Setup);
            let read = header_args::parse(&written);
            params.extend(read.map_err(|(at, why)| (at, format!("in the setupfile: {why}")))?);
        }
        Ok(params)
    }

    /// `language` is in capitals.
    fn read_document(&mut self, scope: usize, language: Option<&str>) -> Read {
        let name = language.map_or("HEADER-ARGS".into(), |language| format!("HEADER-ARGS:{language}"));
        let Some(written) = self.written(scope, &name) else { return Ok(Vec::new()) };
        self.spend(written.text.len());
        header_args::parse(&written)
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
            Some(setting) => Some(Written::new(&setting.value, setting.at, Origin::Document)),
            None => self.lines.get(name).cloned(),
        };
        for setting in appended.into_iter().rev() {
            written.get_or_insert_default().append(&setting.value, setting.at, Origin::Document);
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

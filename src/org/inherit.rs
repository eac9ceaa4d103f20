//! The header arguments that a block inherits from the setupfile, `#+PROPERTY:` lines and property drawers.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::document::{Document, HeaderArgsProperty, Keyword, Origin, Param, Position};
use super::header_args::{self, HeaderText};
use super::merge::merge;
use super::outline::Scope;
use super::text::to_u32;

/// Arguments read, or why and where they cannot be.
type ParsedParams = Result<Vec<Param>, (Position, String)>;
type MergedParams = Result<Arc<[Param]>, (Position, String)>;

/// A block's header arguments.
pub(super) struct Arguments {
    /// Those in force.
    pub(super) params: Arc<[Param]>,
    /// Those that come from outside the block, unmerged.
    pub(super) inherited: Arc<[Param]>,
}

/// All a document says of header arguments outside its blocks.
pub(super) struct Inheritance<'d> {
    scopes: &'d [Scope],
    setup: &'d [HeaderArgsProperty],
    /// `#+PROPERTY:` lines, by name in capitals.
    property_lines: HashMap<String, HeaderText>,
    /// What has been read, by origin, scope and language.
    parsed: HashMap<(bool, usize, Option<String>), Rc<ParsedParams>>,
    /// What is inherited, by scope and language: the place among `inherited`.
    indices: HashMap<(usize, Option<String>), usize>,
    inherited: Vec<Inherited>,
    budget: usize,
}

/// What the blocks of one language inherit in a scope.
struct Inherited {
    params: Arc<[Param]>,
    /// What they come down to for a block that says nothing of its own.
    merged: Option<MergedParams>,
    /// The block's name is part of what they say.
    names_a_file: bool,
    /// Of a copy, in bytes.
    cost: usize,
}

impl Inherited {
    fn new(params: Vec<Param>) -> Self {
        let names_a_file = params.iter().any(|param| param.key == ":file-ext");
        let cost = cost(&params);
        Self { params: params.into(), merged: None, names_a_file, cost }
    }
}

fn cost(params: &[Param]) -> usize {
    params.iter().map(|param| 256 + 4 * param.text.len()).sum()
}

/// Bytes of inherited arguments that any document may have read and merged with those of its blocks, and how many
/// more for each byte of it. Blocks without arguments of their own share what they inherit; those with some have
/// a list each, merged in an order that depends on both, and a long line of the ones times many of the others would
/// be more than a machine holds.
const BUDGET: (usize, usize) = (64 << 20, 64);

impl<'d> Inheritance<'d> {
    /// For a document of `length` bytes.
    pub(super) fn new(
        scopes: &'d [Scope],
        document: &Document,
        setup: &'d [HeaderArgsProperty],
        length: usize,
    ) -> Self {
        let mut property_lines: HashMap<String, HeaderText> = HashMap::new();
        for keyword in &document.keywords {
            if keyword.key == "PROPERTY"
                && let Some((name, value, at)) = property(keyword)
            {
                match name.strip_suffix('+') {
                    Some(base) => {
                        property_lines.entry(base.to_owned()).or_default().append(
                            value,
                            at,
                            Origin::Document,
                        );
                    }
                    None => drop(property_lines.insert(name, HeaderText::new(value, at, Origin::Document))),
                }
            }
        }
        let budget = length.saturating_mul(BUDGET.1).saturating_add(BUDGET.0);
        Self {
            scopes,
            setup,
            property_lines,
            parsed: HashMap::new(),
            indices: HashMap::new(),
            inherited: Vec::new(),
            budget,
        }
    }

    /// The arguments of a block of `language` in `scope`. It inherits the setupfile's
    /// arguments, then the document's; of each the general ones, then those of the language.
    ///
    /// `parse_own` reads those written on the block itself; `name` is its name, `at` where it stands.
    pub(super) fn arguments(
        &mut self,
        scope: usize,
        language: Option<&str>,
        at: Position,
        parse_own: impl FnOnce() -> ParsedParams,
        name: Option<&str>,
    ) -> Result<Arguments, (Position, String)> {
        let scope = self.scopes.get(scope).map_or(0, |scope| scope.properties_from);
        let key = (scope, language.map(str::to_uppercase));
        let index = match self.indices.get(&key) {
            Some(&index) => index,
            None => {
                let params = self.inherited_params(scope, language, at)?;
                self.inherited.push(Inherited::new(params));
                self.indices.insert(key, self.inherited.len() - 1);
                self.inherited.len() - 1
            }
        };
        let own = parse_own()?;
        let inherited = &mut self.inherited[index];
        let params = Arc::clone(&inherited.params);
        if own.is_empty() && (name.is_none() || !inherited.names_a_file) {
            let merge = || merge(params.iter().cloned(), None).map(Into::into);
            let merged = inherited.merged.get_or_insert_with(merge).clone()?;
            return Ok(Arguments { params: merged, inherited: params });
        }
        let cost = inherited.cost;
        self.spend(cost, at)?;
        let merged = merge(params.iter().cloned().chain(own), name)?.into();
        Ok(Arguments { params: merged, inherited: params })
    }

    fn inherited_params(&mut self, scope: usize, language: Option<&str>, at: Position) -> ParsedParams {
        let mut params = Vec::new();
        for from_setup in [true, false] {
            for language in std::iter::once(None).chain(language.map(Some)) {
                let part = self.params_from(from_setup, scope, language);
                let part = part.as_ref().as_ref().map_err(Clone::clone)?;
                self.spend(cost(part), at)?;
                params.extend_from_slice(part);
            }
        }
        Ok(params)
    }

    fn spend(&mut self, cost: usize, at: Position) -> Result<(), (Position, String)> {
        self.budget = self.budget.saturating_sub(cost);
        if self.budget > 0 {
            return Ok(());
        }
        Err((at, "the blocks of this document inherit more header arguments than can be held".into()))
    }

    fn params_from(&mut self, from_setup: bool, scope: usize, language: Option<&str>) -> Rc<ParsedParams> {
        let key = (from_setup, if from_setup { 0 } else { scope }, language.map(str::to_uppercase));
        if let Some(params) = self.parsed.get(&key) {
            return Rc::clone(params);
        }
        let read = Rc::new(match (self.budget, from_setup) {
            (0, _) => Ok(Vec::new()),
            (_, true) => self.read_setup(language),
            (_, false) => self.read_document(scope, key.2.as_deref()),
        });
        self.parsed.insert(key, Rc::clone(&read));
        read
    }

    fn read_setup(&self, language: Option<&str>) -> ParsedParams {
        let lower = language.map(str::to_lowercase);
        let mut params = Vec::new();
        for property in self.setup.iter().filter(|property| property.language == lower) {
            let property_text = HeaderText::new(&property.value, property.at, Origin::Setup);
            let read = header_args::parse(&property_text);
            params.extend(read.map_err(|(at, why)| (at, format!("in the setupfile: {why}")))?);
        }
        Ok(params)
    }

    /// `language` is in capitals.
    fn read_document(&mut self, scope: usize, language: Option<&str>) -> ParsedParams {
        let name = language.map_or("HEADER-ARGS".into(), |language| format!("HEADER-ARGS:{language}"));
        let Some(property_text) = self.property_text(scope, &name) else { return Ok(Vec::new()) };
        self.budget = self.budget.saturating_sub(property_text.text.len());
        header_args::parse(&property_text)
    }

    /// The nearest drawer that sets the property replaces what is further out; those that append on the way
    /// to it follow it, outermost first.
    fn property_text(&self, scope: usize, name: &str) -> Option<HeaderText> {
        let append_name = format!("{name}+");
        let mut appended = Vec::new();
        let mut base = None;
        let mut at = Some(scope);
        while let Some(scope) = at.and_then(|n| self.scopes.get(n)) {
            let local = scope.properties.iter().rev().filter(|property| property.name == append_name);
            appended.extend(local);
            base = scope.properties.iter().find(|property| property.name == name);
            if base.is_some() {
                break;
            }
            at = scope.parent;
        }
        let mut property_text = match base {
            Some(property) => Some(HeaderText::new(&property.value, property.at, Origin::Document)),
            None => self.property_lines.get(name).cloned(),
        };
        for property in appended.into_iter().rev() {
            property_text.get_or_insert_default().append(&property.value, property.at, Origin::Document);
        }
        property_text.filter(|property_text| property_text.text != "nil")
    }
}

/// Name in capitals, value and its place, of a `#+PROPERTY:` line.
fn property(keyword: &Keyword) -> Option<(String, &str, Position)> {
    let end = keyword.value.find([' ', '\t'])?;
    let value = keyword.value[end..].trim_start_matches([' ', '\t']);
    let before = keyword.value.len() - value.len();
    let column = keyword.at.column.saturating_add(to_u32(keyword.value[..before].chars().count()));
    Some((keyword.value[..end].to_uppercase(), value, Position { column, ..keyword.at }))
}

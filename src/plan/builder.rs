//! What runs besides the blocks themselves: calls, code within text, blocks that others call with arguments.
//!
//! Each is a candidate like a block. What is called twice in the same way is one candidate: it runs once a run.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use borges_babel::{self as babel, Languages, Reference};
use borges_org::{self as org, Block, BodyExpander, Call, Context, Document, Param, Position, Target};

use super::arguments::ReportedArgs;
use super::code;
use super::diagnostic::Diagnostic;
use super::fingerprint::fingerprint;
use super::instances::{self, EachRows};
use super::named_elements::{NamedElement, NamedElements};
use super::plan::{PlanOptions, Variable};
use super::symbols::SymbolTable;
use super::unit::{BlockSource, Code, Disposition, InputSource, Inputs, Unit, disposition, tangled};

/// Everything of a document that may run.
pub(super) struct PlanBuilder<'d> {
    document: &'d Document,
    languages: &'d Languages,
    request: &'d PlanOptions,
    /// Looked for when something is first referred to.
    named: Option<NamedElements>,
    /// The document's blocks, in its order, then the others as they are found.
    pub(super) candidates: Vec<Unit<'d>>,
    /// Blocks as they are called: by their place, what matters of their arguments, and whose value they are given.
    called: HashMap<(usize, String, Option<usize>), usize>,
    /// The candidates of the document's calls.
    calls: HashMap<usize, usize>,
    /// Where results are written.
    pub(super) returns: Vec<ResultSlot>,
    /// What is odd about arguments that several of them have.
    told: ReportedArgs,
    /// Bytes of header arguments that may still be merged.
    budget: usize,
}

/// The result of a candidate, where it is written, and with which arguments.
pub(super) struct ResultSlot {
    pub(super) target: Target,
    pub(super) candidate: usize,
    pub(super) params: Arc<[Param]>,
    /// Of a call: the block that is called.
    pub(super) called: Option<usize>,
}

/// Bytes of header arguments that the calls of any document may merge, and how many more for each byte of it.
const BUDGET: (usize, usize) = (64 << 20, 64);

impl<'d> PlanBuilder<'d> {
    /// The blocks of a document of `length` bytes.
    pub(super) fn new(
        document: &'d Document,
        length: usize,
        languages: &'d Languages,
        request: &'d PlanOptions,
        problems: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut told = ReportedArgs::new();
        let candidate = |(place, block): (usize, &'d Block)| Unit {
            block: BlockSource::Document(block),
            code: Code::Block(place),
            tangled: tangled(block, languages, problems),
            this: None,
            disposition: disposition(block, languages, request, &mut told, problems),
        };
        let candidates: Vec<Unit> = document.blocks.iter().enumerate().map(candidate).collect();
        let returns = candidates.iter().enumerate().map(|(place, candidate)| ResultSlot {
            target: Target::Block(place),
            candidate: place,
            params: Arc::clone(&candidate.block.params),
            called: None,
        });
        Self {
            document,
            languages,
            request,
            named: None,
            called: HashMap::new(),
            calls: HashMap::new(),
            returns: returns.collect(),
            candidates,
            told,
            budget: length.saturating_mul(BUDGET.1).saturating_add(BUDGET.0),
        }
    }

    /// Gives blocks the values of variables that the request has for them.
    pub(super) fn set_variables(&mut self, names: &SymbolTable<'_>, problems: &mut Vec<Diagnostic>) {
        for Variable { block, name, value } in &self.request.variables {
            // No place of the document is wrong, so errors have none.
            let mut wrong = |text: String, help: String| {
                problems.push(Diagnostic::error(Position::default(), text, help));
            };
            let place = match names.find(block) {
                Ok(place) => place,
                Err((text, help)) => {
                    wrong(text, help);
                    continue;
                }
            };
            let old = &*self.candidates[place].block;
            let is_there = old.params.iter().any(|param| {
                param.key == ":var" && param.text.split('=').next().is_some_and(|other| other.trim() == name)
            });
            if !is_there {
                wrong(format!("the block `{block}` has no variable `{name}`"), String::new());
                continue;
            }
            let text = format!("{name}={value}");
            let at = Position { line: old.begin_line, column: 0 };
            match org::merge_call_args(old, &[], None, &[&text], None, at) {
                Ok(params) => {
                    let params = Arc::from(params);
                    self.returns[place].params = Arc::clone(&params);
                    let block = Block { params, ..old.clone() };
                    self.candidates[place].block = BlockSource::Derived(Box::new(block));
                }
                Err((_, why)) => wrong(why, String::new()),
            }
        }
    }

    /// Takes up the calls and the code within text.
    pub(super) fn add_calls(&mut self, names: &mut SymbolTable<'_>, problems: &mut Vec<Diagnostic>) {
        let document = self.document;
        for (number, call) in document.calls.iter().enumerate() {
            self.call(Target::Call(number), call, names, problems);
        }
        for (number, call) in document.inline_calls.iter().enumerate() {
            self.call(Target::InlineCall(number), call, names, problems);
        }
        for (number, inline) in document.inline_blocks.iter().enumerate() {
            if is_off(&inline.context) {
                continue;
            }
            let read = org::inline_params(inline);
            let (params, error) = match read {
                Ok(params) => (Arc::from(params), None),
                Err(error) => (Arc::default(), Some(error)),
            };
            let block = Block {
                language: Some(inline.language.clone()),
                first_line: inline.at.line,
                begin_line: inline.at.line,
                end_line: inline.at.line,
                body: Bytes::from(babel::byte_text::encode(&inline.body)),
                params: Arc::clone(&params),
                error,
                ..Block::default()
            };
            let body = block.body.clone();
            // Text is full of what looks like code: only that of a language that is known is meant.
            if self.languages.get(&inline.language).is_none() {
                continue;
            }
            let title = names.line_title(inline.at.line);
            let candidate = self.add(block, (Code::Text(body), None), title, names, problems);
            let target = Target::InlineBlock(number);
            self.returns.push(ResultSlot { target, candidate, params, called: None });
        }
    }

    /// A call on a line of its own, or within text.
    fn call(
        &mut self,
        target: Target,
        call: &Call,
        names: &mut SymbolTable<'_>,
        problems: &mut Vec<Diagnostic>,
    ) {
        if is_off(&call.context) {
            return;
        }
        let name = call.name.as_deref().unwrap_or_default().trim();
        let reference = Reference::read(name);
        let found = match names.find(reference.name) {
            Ok(found) => found,
            Err(_) if matches!(target, Target::InlineCall(_)) && !names.is_block(reference.name) => {
                // `call_name(` may be anything in a text.
                let text = format!("no block is called `{}`", reference.name);
                problems.push(Diagnostic::warning(call.at, text, "This is left as it is."));
                return;
            }
            Err((text, help)) => {
                problems.push(Diagnostic::error(call.at, text, help));
                return;
            }
        };
        let arguments = org::split_arguments(call.arguments.as_deref().unwrap_or_default());
        let block = &self.document.blocks[found];
        let params = org::merge_call_args(
            block,
            &call.context.inherited,
            call.inside_header.as_deref(),
            &arguments,
            call.end_header.as_deref(),
            call.at,
        );
        let params: Arc<[Param]> = match params {
            Ok(params) => params.into(),
            Err((at, why)) => return problems.push(Diagnostic::error(at, why, "")),
        };
        let title = match target {
            Target::Call(number) => self.named().name_of_call(number).map(str::to_owned),
            _ => None,
        };
        let title = title.unwrap_or_else(|| names.line_title(call.at.line));
        let candidate = self.called(found, &params, None, (title, call.at), names, problems);
        if let Target::Call(number) = target {
            self.calls.insert(number, candidate);
        }
        self.returns.push(ResultSlot { target, candidate, params, called: Some(found) });
    }

    /// The candidate of the block at `place` with these arguments, given the value of `this`.
    fn called(
        &mut self,
        place: usize,
        params: &Arc<[Param]>,
        this: Option<usize>,
        (title, at): (String, Position),
        names: &mut SymbolTable<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> usize {
        let block = &self.document.blocks[place];
        let cost: usize = params.iter().map(|param| 256 + 4 * param.text.len()).sum();
        self.budget = self.budget.saturating_sub(cost);
        if self.budget == 0 {
            let text = "the calls of this document have more header arguments than can be held";
            problems.push(Diagnostic::error(at, text, ""));
            return place;
        }
        let own = fingerprint(&block.params);
        let key = fingerprint(params);
        if this.is_none() && own == key {
            return place;
        }
        if let Some(&known) = self.called.get(&(place, key.clone(), this)) {
            return known;
        }
        let block = Block {
            name: None,
            first_line: at.line,
            begin_line: at.line,
            params: Arc::clone(params),
            ..block.clone()
        };
        let candidate = self.add(block, (Code::Block(place), this), title, names, problems);
        self.called.insert((place, key, this), candidate);
        candidate
    }

    fn add(
        &mut self,
        block: Block,
        (code, this): (Code, Option<usize>),
        title: String,
        names: &mut SymbolTable<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> usize {
        names.add(title, block.begin_line);
        let disposition = disposition(&block, self.languages, self.request, &mut self.told, problems);
        self.candidates.push(Unit {
            block: BlockSource::Derived(Box::new(block)),
            code,
            tangled: None,
            this,
            disposition,
        });
        self.candidates.len() - 1
    }

    fn named(&mut self) -> &NamedElements {
        let document = self.document;
        self.named.get_or_insert_with(|| NamedElements::of(document))
    }

    /// Reads the code of the candidate at `place`, and what goes into it; more candidates may come of that.
    pub(super) fn resolve_inputs(
        &mut self,
        place: usize,
        bodies: &mut BodyExpander<'_>,
        names: &mut SymbolTable<'_>,
        problems: &mut Vec<Diagnostic>,
    ) {
        let Unit { block, code, disposition, this, .. } = &self.candidates[place];
        if !matches!(disposition, Disposition::Runs { .. }) {
            return;
        }
        let (code, calls) = match code {
            Code::Block(place) => code::code(bodies, *place, names, problems),
            Code::Text(text) => (text.to_vec(), Vec::new()),
        };
        let (params, this) = (Arc::clone(&block.params), *this);
        let mut read = Inputs::default();
        for param in params.iter() {
            match param.key.as_str() {
                ":var" => {
                    let Some((name, reference)) = param.text.split_once('=') else { continue };
                    let given = this.filter(|_| reference.trim() == "*this*").map(InputSource::BeforePost);
                    if let Some(given) = given {
                        read.variables.push((name.trim().to_owned(), given));
                    } else if let Some(given) = self.refer(reference, param, None, names, problems) {
                        read.variables.push((name.trim().to_owned(), given));
                    }
                }
                ":stdin" if !param.text.is_empty() => {
                    read.stdin = self.refer(&param.text, param, None, names, problems);
                }
                ":post" if !param.text.is_empty() => {
                    let given = self.refer(&param.text, param, Some(place), names, problems);
                    read.post = match given {
                        Some(InputSource::Candidate { place, .. }) => Some(place),
                        _ => None,
                    };
                }
                ":each" => read.each = self.each(param, &params, names, problems),
                _ => {}
            }
        }
        for call in calls {
            let reference = Reference {
                name: call.name.as_str(),
                inside_header: None,
                arguments: org::split_arguments(&call.arguments),
                index: None,
            };
            read.gaps.extend(self.resolve(&reference, call.at, None, names, problems));
            read.places.push(call.at);
        }
        let Some(candidate) = self.candidates.get_mut(place) else { return };
        if let Disposition::Runs { body, inputs, .. } = &mut candidate.disposition {
            (*body, *inputs) = (code, read.non_empty());
        }
        instances::check(candidate, problems);
        instances::skip_empty(candidate);
    }

    /// The rows that make several tasks of a block, where `param` is its `:each`.
    fn each(
        &mut self,
        param: &Param,
        params: &[Param],
        names: &mut SymbolTable<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<EachRows> {
        const TABLE: &str = "Name a table or a list of the document.";
        let shown = format!(":each {}", param.text);
        let wrong = |text: String, help: &str| Diagnostic::error(param.at, text, help).of(param);
        let each = match EachRows::split(&param.text) {
            Err(help) => Err(wrong(format!("`{shown}` does not say of which table"), &help)),
            Ok((_, table)) if names.is_block(Reference::read(table.trim()).name) => Err(wrong(
                format!("`{shown}` is of a block, whose rows nobody knows before it has run"),
                TABLE,
            )),
            Ok((variables, table)) => match self.refer(table, param, None, names, problems)? {
                InputSource::Value(value) => {
                    let colnames = params.iter().rfind(|param| param.key == ":colnames");
                    let has_header = colnames.is_none_or(|param| param.text != "no");
                    EachRows::of(variables, &value, has_header).map_err(|why| {
                        let help = "Name a table or a list of the document, such as one below `#+name:`.";
                        wrong(format!("`{shown}`: {why}"), help)
                    })
                }
                InputSource::Candidate { .. } | InputSource::BeforePost(_) | InputSource::File { .. } => {
                    Err(wrong(format!("the rows of `{shown}` are not known before the document runs"), TABLE))
                }
            },
        };
        each.map_err(|problem| problems.push(problem)).ok()
    }

    /// What the text of a header argument stands for: itself, or what it refers to.
    fn refer(
        &mut self,
        text: &str,
        param: &Param,
        this: Option<usize>,
        names: &mut SymbolTable<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<InputSource> {
        let text = text.trim();
        if text.starts_with(['\'', '[']) {
            // Data, quoted: nothing has to be evaluated.
            return Some(InputSource::Value(babel::evaluated(text)));
        }
        if param.lisp {
            let shown = format!("`{} {}` is Lisp, which is not evaluated here", param.key, param.text);
            let help = "Write the value itself, in double quotes, or the name of a table or a list.";
            problems.push(Diagnostic::error(param.at, shown, help).of(param));
            return None;
        }
        let literal = babel::read(text);
        if literal != babel::Value::text(text) || text.starts_with('"') {
            return Some(InputSource::Value(literal));
        }
        self.resolve(&Reference::read(text), param.at, this, names, problems)
    }

    /// What a reference at `at` stands for; `this` is the candidate whose value `*this*` is.
    fn resolve(
        &mut self,
        reference: &Reference<'_>,
        at: Position,
        this: Option<usize>,
        names: &mut SymbolTable<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<InputSource> {
        let index = reference.index.map(str::to_owned);
        if names.is_block(reference.name) {
            let found = match names.find(reference.name) {
                Ok(found) => found,
                Err((text, help)) => {
                    problems.push(Diagnostic::error(at, text, help));
                    return None;
                }
            };
            let place = self.with_arguments(found, reference, at, this, names, problems)?;
            return Some(InputSource::Candidate { place, index });
        }
        let document = self.document;
        match self.named().find(document, reference.name) {
            Some(NamedElement::Value(value)) => {
                return Some(InputSource::Value(match &index {
                    Some(index) => babel::index(&value, index),
                    None => value,
                }));
            }
            Some(NamedElement::Call(number)) => {
                if let Some(&place) = self.calls.get(&number) {
                    return Some(InputSource::Candidate { place, index });
                }
            }
            None => {}
        }
        if let Some((path, name)) = reference.of_file() {
            if let Some(directory) = &self.request.directory {
                let path =
                    if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
                return Some(InputSource::File { path, name: name.to_owned(), index });
            }
            let text = format!("`{path}` lies where this document came from, and cannot be read here");
            let help = "Put what it holds into the document, or run the document by `borges run`.";
            problems.push(Diagnostic::error(at, text, help));
            return None;
        }
        let (_, help) = names.find(reference.name).err()?;
        let near = org::suggest(reference.name, self.named().names());
        let help = match near {
            Some(near) if !help.starts_with("Did") => format!("Did you mean `{near}`?"),
            _ if help.starts_with("Did") => help,
            _ => "Write a text in double quotes, or name what is meant with a line `#+name:`.".to_owned(),
        };
        let text = format!("no block, table, list or text is called `{}`", reference.name);
        problems.push(Diagnostic::error(at, text, help));
        None
    }

    /// The candidate of the block at `found` as `reference` calls it.
    fn with_arguments(
        &mut self,
        found: usize,
        reference: &Reference<'_>,
        at: Position,
        this: Option<usize>,
        names: &mut SymbolTable<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<usize> {
        if reference.arguments.is_empty() && reference.inside_header.is_none() && this.is_none() {
            return Some(found);
        }
        let block = &self.document.blocks[found];
        let params =
            org::merge_call_args(block, &[], reference.inside_header, &reference.arguments, None, at);
        let params: Arc<[Param]> = match params {
            Ok(params) => params.into(),
            Err((at, why)) => {
                problems.push(Diagnostic::error(at, why, ""));
                return None;
            }
        };
        let inside = reference.inside_header.map(|inside| format!("[{inside}]")).unwrap_or_default();
        let title = format!("{}{inside}({})", reference.name, reference.arguments.join(", "));
        let at = Position { line: block.begin_line, column: 0 };
        Some(self.called(found, &params, this, (title, at), names, problems))
    }

    /// The candidates in the order of the document.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.candidates.len()).collect();
        order.sort_by_key(|&place| self.candidates[place].block.begin_line);
        order
    }
}

/// Switched off, with all that is under its heading.
fn is_off(around: &Context) -> bool {
    around.commented || around.archived
}

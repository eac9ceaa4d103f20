//! What runs besides the blocks themselves: calls, code within text, blocks that others call with arguments.
//!
//! Each is a candidate like a block. What is called twice in the same way is one candidate: it runs once a run.

mod inputs;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use borges_babel::{self as babel, Languages, Reference};
use borges_org::{self as org, Block, Call, Context, Document, Param, Position, Target};

use super::arguments::ReportedArgs;
use super::diagnostic::Diagnostic;
use super::fingerprint::fingerprint;
use super::named_elements::NamedElements;
use super::options::{PlanOptions, Variable};
use super::symbols::SymbolTable;
use super::unit::{BlockSource, Code, Unit, disposition, tangled};

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
            if is_off(&inline.around) {
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
        if is_off(&call.around) {
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
            &call.around.inherited,
            call.inside.as_deref(),
            &arguments,
            call.end.as_deref(),
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

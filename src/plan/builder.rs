//! Collects the units of a document: blocks, calls, inline code, and blocks called with arguments.
//!
//! Each unit is planned like a block. Two identical calls share one unit, which runs once per run.

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
    options: &'d PlanOptions,
    /// Looked for when something is first referred to.
    named_elements: Option<NamedElements>,
    /// The document's blocks, in its order, then the others as they are found.
    pub(super) units: Vec<Unit<'d>>,
    /// Blocks as they are called: by their place, what matters of their arguments, and whose value they are given.
    called: HashMap<(usize, String, Option<usize>), usize>,
    /// The units of the document's calls.
    calls: HashMap<usize, usize>,
    /// Where results are written.
    pub(super) result_slots: Vec<ResultSlot>,
    /// What is odd about arguments that several of them have.
    reported: ReportedArgs,
    /// Bytes of header arguments that may still be merged.
    budget: usize,
}

/// The result of a unit, where it is written, and with which arguments.
pub(super) struct ResultSlot {
    pub(super) target: Target,
    pub(super) unit: usize,
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
        options: &'d PlanOptions,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut reported = ReportedArgs::new();
        let unit = |(index, block): (usize, &'d Block)| Unit {
            block: BlockSource::Document(block),
            code: Code::Block(index),
            tangled: tangled(block, languages, diagnostics),
            this: None,
            disposition: disposition(block, languages, options, &mut reported, diagnostics),
        };
        let units: Vec<Unit> = document.blocks.iter().enumerate().map(unit).collect();
        let result_slots = units.iter().enumerate().map(|(index, unit)| ResultSlot {
            target: Target::Block(index),
            unit: index,
            params: Arc::clone(&unit.block.params),
            called: None,
        });
        Self {
            document,
            languages,
            options,
            named_elements: None,
            called: HashMap::new(),
            calls: HashMap::new(),
            result_slots: result_slots.collect(),
            units,
            reported,
            budget: length.saturating_mul(BUDGET.1).saturating_add(BUDGET.0),
        }
    }

    /// Gives blocks the values of variables that the request has for them.
    pub(super) fn set_variables(&mut self, symbols: &SymbolTable<'_>, diagnostics: &mut Vec<Diagnostic>) {
        for Variable { block, name, value } in &self.options.variables {
            // No place of the document is wrong, so errors have none.
            let mut error = |text: String, help: String| {
                diagnostics.push(Diagnostic::error(Position::default(), text, help));
            };
            let index = match symbols.find(block) {
                Ok(index) => index,
                Err((text, help)) => {
                    error(text, help);
                    continue;
                }
            };
            let original = &*self.units[index].block;
            let has_variable = original.params.iter().any(|param| {
                param.key == ":var" && param.text.split('=').next().is_some_and(|other| other.trim() == name)
            });
            if !has_variable {
                error(format!("the block `{block}` has no variable `{name}`"), String::new());
                continue;
            }
            let text = format!("{name}={value}");
            let at = Position { line: original.begin_line, column: 0 };
            match org::merge_call_args(original, &[], None, &[&text], None, at) {
                Ok(params) => {
                    let params = Arc::from(params);
                    self.result_slots[index].params = Arc::clone(&params);
                    let block = Block { params, ..original.clone() };
                    self.units[index].block = BlockSource::Derived(Box::new(block));
                }
                Err((_, why)) => error(why, String::new()),
            }
        }
    }

    /// Takes up the calls and the code within text.
    pub(super) fn add_calls(&mut self, symbols: &mut SymbolTable<'_>, diagnostics: &mut Vec<Diagnostic>) {
        let document = self.document;
        for (number, call) in document.calls.iter().enumerate() {
            self.call(Target::Call(number), call, symbols, diagnostics);
        }
        for (number, call) in document.inline_calls.iter().enumerate() {
            self.call(Target::InlineCall(number), call, symbols, diagnostics);
        }
        for (number, inline) in document.inline_blocks.iter().enumerate() {
            if is_off(&inline.context) {
                continue;
            }
            let params = org::inline_params(inline);
            let (params, error) = match params {
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
            let title = symbols.line_title(inline.at.line);
            let unit = self.add(block, (Code::Text(body), None), title, symbols, diagnostics);
            let target = Target::InlineBlock(number);
            self.result_slots.push(ResultSlot { target, unit, params, called: None });
        }
    }

    /// A call on a line of its own, or within text.
    fn call(
        &mut self,
        target: Target,
        call: &Call,
        symbols: &mut SymbolTable<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        if is_off(&call.context) {
            return;
        }
        let name = call.name.as_deref().unwrap_or_default().trim();
        let reference = Reference::read(name);
        let found = match symbols.find(reference.name) {
            Ok(found) => found,
            Err(_) if matches!(target, Target::InlineCall(_)) && !symbols.is_block(reference.name) => {
                // `call_name(` may be anything in a text.
                let text = format!("no block is called `{}`", reference.name);
                diagnostics.push(Diagnostic::warning(call.at, text, "This is left as it is."));
                return;
            }
            Err((text, help)) => {
                diagnostics.push(Diagnostic::error(call.at, text, help));
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
            Err((at, why)) => return diagnostics.push(Diagnostic::error(at, why, "")),
        };
        let title = match target {
            Target::Call(number) => self.named_elements().name_of_call(number).map(str::to_owned),
            _ => None,
        };
        let title = title.unwrap_or_else(|| symbols.line_title(call.at.line));
        let unit = self.called(found, &params, None, (title, call.at), symbols, diagnostics);
        if let Target::Call(number) = target {
            self.calls.insert(number, unit);
        }
        self.result_slots.push(ResultSlot { target, unit, params, called: Some(found) });
    }

    /// The unit of the block at `block_index` with these arguments, given the value of `this`.
    fn called(
        &mut self,
        block_index: usize,
        params: &Arc<[Param]>,
        this: Option<usize>,
        (title, at): (String, Position),
        symbols: &mut SymbolTable<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> usize {
        let block = &self.document.blocks[block_index];
        let cost: usize = params.iter().map(|param| 256 + 4 * param.text.len()).sum();
        self.budget = self.budget.saturating_sub(cost);
        if self.budget == 0 {
            let text = "the calls of this document have more header arguments than can be held";
            diagnostics.push(Diagnostic::error(at, text, ""));
            return block_index;
        }
        let block_fingerprint = fingerprint(&block.params);
        let key = fingerprint(params);
        if this.is_none() && block_fingerprint == key {
            return block_index;
        }
        if let Some(&unit) = self.called.get(&(block_index, key.clone(), this)) {
            return unit;
        }
        let block = Block {
            name: None,
            first_line: at.line,
            begin_line: at.line,
            params: Arc::clone(params),
            ..block.clone()
        };
        let unit = self.add(block, (Code::Block(block_index), this), title, symbols, diagnostics);
        self.called.insert((block_index, key, this), unit);
        unit
    }

    fn add(
        &mut self,
        block: Block,
        (code, this): (Code, Option<usize>),
        title: String,
        symbols: &mut SymbolTable<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> usize {
        symbols.add(title, block.begin_line);
        let disposition = disposition(&block, self.languages, self.options, &mut self.reported, diagnostics);
        self.units.push(Unit {
            block: BlockSource::Derived(Box::new(block)),
            code,
            tangled: None,
            this,
            disposition,
        });
        self.units.len() - 1
    }

    fn named_elements(&mut self) -> &NamedElements {
        let document = self.document;
        self.named_elements.get_or_insert_with(|| NamedElements::of(document))
    }

    /// The units in the order of the document.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.units.len()).collect();
        order.sort_by_key(|&index| self.units[index].block.begin_line);
        order
    }
}

/// Switched off, with all that is under its heading.
fn is_off(context: &Context) -> bool {
    context.commented || context.archived
}

//! Resolves the inputs of units: references in `:var`, `:stdin`, `:post`, `:each` and in code.

use std::sync::Arc;

use borges_babel::{self as babel, Reference};
use borges_org::{self as org, BodyExpander, Param, Position};

use super::super::code;
use super::super::diagnostic::Diagnostic;
use super::super::each_rows::EachRows;
use super::super::instances;
use super::super::named_elements::NamedElement;
use super::super::symbols::SymbolTable;
use super::super::unit::{Code, Disposition, InputSource, Inputs, Unit};
use super::PlanBuilder;

impl PlanBuilder<'_> {
    /// Resolves the code and the inputs of a unit. References with arguments add new units.
    pub(crate) fn resolve_inputs(
        &mut self,
        unit: usize,
        bodies: &mut BodyExpander<'_>,
        symbols: &mut SymbolTable<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let Unit { block, code, disposition, this, .. } = &self.units[unit];
        if !matches!(disposition, Disposition::Runs { .. }) {
            return;
        }
        let (code, calls) = match code {
            Code::Block(unit) => code::expand_code(bodies, *unit, symbols, diagnostics),
            Code::Text(text) => (text.to_vec(), Vec::new()),
        };
        let (params, this) = (Arc::clone(&block.params), *this);
        let mut inputs = Inputs::default();
        for param in params.iter() {
            match param.key.as_str() {
                ":var" => {
                    let Some((name, reference)) = param.text.split_once('=') else { continue };
                    let input = this.filter(|_| reference.trim() == "*this*").map(InputSource::BeforePost);
                    if let Some(input) = input {
                        inputs.variables.push((name.trim().to_owned(), input));
                    } else if let Some(input) = self.refer(reference, param, None, symbols, diagnostics) {
                        inputs.variables.push((name.trim().to_owned(), input));
                    }
                }
                ":stdin" if !param.text.is_empty() => {
                    inputs.stdin = self.refer(&param.text, param, None, symbols, diagnostics);
                }
                ":post" if !param.text.is_empty() => {
                    let input = self.refer(&param.text, param, Some(unit), symbols, diagnostics);
                    inputs.post = match input {
                        Some(InputSource::Unit { unit, .. }) => Some(unit),
                        _ => None,
                    };
                }
                ":each" => inputs.each = self.each(param, &params, symbols, diagnostics),
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
            inputs.gaps.extend(self.resolve(&reference, call.at, None, symbols, diagnostics));
            inputs.gap_positions.push(call.at);
        }
        let Some(unit) = self.units.get_mut(unit) else { return };
        if let Disposition::Runs { body, inputs: unit_inputs, .. } = &mut unit.disposition {
            (*body, *unit_inputs) = (code, inputs.non_empty());
        }
        instances::check(unit, diagnostics);
        instances::skip_empty(unit);
    }

    /// The rows that make several tasks of a block, where `param` is its `:each`.
    fn each(
        &mut self,
        param: &Param,
        params: &[Param],
        symbols: &mut SymbolTable<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<EachRows> {
        const TABLE: &str = "Name a table or a list of the document.";
        let shown = format!(":each {}", param.text);
        let error = |text: String, help: &str| Diagnostic::error(param.at, text, help).of(param);
        let each = match EachRows::split(&param.text) {
            Err(help) => Err(error(format!("`{shown}` does not say of which table"), &help)),
            Ok((_, table)) if symbols.is_block(Reference::read(table.trim()).name) => Err(error(
                format!("`{shown}` is of a block, whose rows nobody knows before it has run"),
                TABLE,
            )),
            Ok((variables, table)) => match self.refer(table, param, None, symbols, diagnostics)? {
                InputSource::Value(value) => {
                    let colnames = params.iter().rfind(|param| param.key == ":colnames");
                    let has_header = colnames.is_none_or(|param| param.text != "no");
                    EachRows::of(variables, &value, has_header).map_err(|why| {
                        let help = "Name a table or a list of the document, such as one below `#+name:`.";
                        error(format!("`{shown}`: {why}"), help)
                    })
                }
                InputSource::Unit { .. } | InputSource::BeforePost(_) | InputSource::File { .. } => {
                    Err(error(format!("the rows of `{shown}` are not known before the document runs"), TABLE))
                }
            },
        };
        each.map_err(|diagnostic| diagnostics.push(diagnostic)).ok()
    }

    /// What the text of a header argument stands for: itself, or what it refers to.
    fn refer(
        &mut self,
        text: &str,
        param: &Param,
        this: Option<usize>,
        symbols: &mut SymbolTable<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<InputSource> {
        let text = text.trim();
        if text.starts_with(['\'', '[']) {
            // Data, quoted: nothing has to be evaluated.
            return Some(InputSource::Value(babel::evaluated(text)));
        }
        if param.lisp {
            let shown = format!("`{} {}` is Lisp, which is not evaluated here", param.key, param.text);
            let help = "Write the value itself, in double quotes, or the name of a table or a list.";
            diagnostics.push(Diagnostic::error(param.at, shown, help).of(param));
            return None;
        }
        let literal = babel::read(text);
        if literal != babel::Value::text(text) || text.starts_with('"') {
            return Some(InputSource::Value(literal));
        }
        self.resolve(&Reference::read(text), param.at, this, symbols, diagnostics)
    }

    /// What a reference at `at` stands for; `this` is the unit whose value `*this*` is.
    fn resolve(
        &mut self,
        reference: &Reference<'_>,
        at: Position,
        this: Option<usize>,
        symbols: &mut SymbolTable<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<InputSource> {
        let index = reference.index.map(str::to_owned);
        if symbols.is_block(reference.name) {
            let found = match symbols.find(reference.name) {
                Ok(found) => found,
                Err((text, help)) => {
                    diagnostics.push(Diagnostic::error(at, text, help));
                    return None;
                }
            };
            let unit = self.with_arguments(found, reference, at, this, symbols, diagnostics)?;
            return Some(InputSource::Unit { unit, index });
        }
        let document = self.document;
        match self.named_elements().find(document, reference.name) {
            Some(NamedElement::Value(value)) => {
                return Some(InputSource::Value(match &index {
                    Some(index) => babel::index(&value, index),
                    None => value,
                }));
            }
            Some(NamedElement::Call(number)) => {
                if let Some(&unit) = self.calls.get(&number) {
                    return Some(InputSource::Unit { unit, index });
                }
            }
            None => {}
        }
        if let Some((path, name)) = reference.of_file() {
            if let Some(directory) = &self.options.directory {
                let path =
                    if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
                return Some(InputSource::File { path, name: name.to_owned(), index });
            }
            let text = format!("`{path}` lies where this document came from, and cannot be read here");
            let help = "Put what it holds into the document, or run the document by `borges run`.";
            diagnostics.push(Diagnostic::error(at, text, help));
            return None;
        }
        let (_, help) = symbols.find(reference.name).err()?;
        let near = org::suggest(reference.name, self.named_elements().names());
        let help = match near {
            Some(near) if !help.starts_with("Did") => format!("Did you mean `{near}`?"),
            _ if help.starts_with("Did") => help,
            _ => "Write a text in double quotes, or name what is meant with a line `#+name:`.".to_owned(),
        };
        let text = format!("no block, table, list or text is called `{}`", reference.name);
        diagnostics.push(Diagnostic::error(at, text, help));
        None
    }

    /// The unit of the block at `found` as `reference` calls it.
    fn with_arguments(
        &mut self,
        found: usize,
        reference: &Reference<'_>,
        at: Position,
        this: Option<usize>,
        symbols: &mut SymbolTable<'_>,
        diagnostics: &mut Vec<Diagnostic>,
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
                diagnostics.push(Diagnostic::error(at, why, ""));
                return None;
            }
        };
        let inside = reference.inside_header.map(|inside| format!("[{inside}]")).unwrap_or_default();
        let title = format!("{}{inside}({})", reference.name, reference.arguments.join(", "));
        let at = Position { line: block.begin_line, column: 0 };
        Some(self.called(found, &params, this, (title, at), symbols, diagnostics))
    }
}

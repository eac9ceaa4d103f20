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
    /// Reads the code of the candidate at `place`, and what goes into it; more candidates may come of that.
    pub(crate) fn resolve_inputs(
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
                inside: None,
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
        if reference.arguments.is_empty() && reference.inside.is_none() && this.is_none() {
            return Some(found);
        }
        let block = &self.document.blocks[found];
        let params = org::merge_call_args(block, &[], reference.inside, &reference.arguments, None, at);
        let params: Arc<[Param]> = match params {
            Ok(params) => params.into(),
            Err((at, why)) => {
                problems.push(Diagnostic::error(at, why, ""));
                return None;
            }
        };
        let inside = reference.inside.map(|inside| format!("[{inside}]")).unwrap_or_default();
        let title = format!("{}{inside}({})", reference.name, reference.arguments.join(", "));
        let at = Position { line: block.begin_line, column: 0 };
        Some(self.called(found, &params, this, (title, at), names, problems))
    }
}

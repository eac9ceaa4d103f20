//! Recipes: how the tasks of a run are composed from their code and the values of other tasks.
//!
//! A task is composed when it is launched, because its inputs may be values of tasks that run before. All other inputs are
//! stored with the run.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use borges_babel::{self as babel, Arguments, BlockResult, Execution, Invocation, Language, Source, Value};
use borges_org as org;
use borges_task::{Command, InputFile, TaskSpec, index_of};

use super::instance_results::{InstanceGroup, InstanceResult, combine};

/// How the tasks of one run are put together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Recipes {
    /// Where the document lies: there files of `:file` are written, and files that it names are read. `None` where it
    /// came from another machine.
    pub(super) directory: Option<String>,
    /// What the recipes share.
    pub(super) languages: Vec<Language>,
    pub(super) arguments: Vec<Arguments>,
    pub(super) values: Vec<Value>,
    /// Files that lie in every sandbox.
    pub(super) files: Vec<SandboxFile>,
    /// The task with number `n` is at `n - 1`.
    pub(super) tasks: Vec<Recipe>,
    /// Where results are written.
    pub(super) result_targets: Vec<ResultTarget>,
    /// The blocks that are several tasks, by the first of these.
    pub(super) instances: Vec<InstanceGroup>,
}

/// How one task is put together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Recipe {
    pub(super) language: u32,
    pub(super) arguments: u32,
    pub(super) variables: Vec<(String, InputRef)>,
    /// Few have one, and an input is large.
    pub(super) stdin: Option<Box<InputRef>>,
    /// What goes into the gaps of its code.
    pub(super) gaps: Vec<InputRef>,
    /// The task that makes its value what others see of it, `:post`.
    pub(super) post: Option<u32>,
}

/// What goes into a block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum InputRef {
    /// A value by its place among those of the run.
    Value(u32),
    /// The value of a task, or of the several tasks that begin with it; or a part of it.
    Task { number: u32, index: Option<String> },
    /// What a task has yielded before its `:post`, which this is an input of.
    This(u32),
    /// Something of another Org file, which is read when the block is launched.
    File { path: String, name: String, index: Option<String> },
}

/// A file that lies in every sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SandboxFile {
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) bytes: Bytes,
}

/// A result that is written into the document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ResultTarget {
    /// Whose it is, in the document as it was accepted.
    pub(super) target: org::Target,
    pub(super) task: u32,
    pub(super) arguments: u32,
    pub(super) language: u32,
}

/// What tasks of a run have yielded, by number.
pub type Values = BTreeMap<u32, Arc<BlockResult>>;

impl Recipes {
    /// The tasks whose values have to be known before this one is composed, or its own value read.
    pub fn dependencies(&self, number: u32) -> BTreeSet<u32> {
        let Some(recipe) = self.recipe(number) else { return BTreeSet::new() };
        let of = |input: &InputRef| match input {
            InputRef::Task { number, .. } | InputRef::This(number) => Some(*number),
            InputRef::Value(_) | InputRef::File { .. } => None,
        };
        recipe.inputs().filter_map(of).flat_map(|number| self.numbers(number)).collect()
    }

    /// The several tasks of which this is the first.
    pub(super) fn instances(&self, number: u32) -> Option<&InstanceGroup> {
        let at = self.instances.binary_search_by_key(&number, |group| group.first).ok()?;
        self.instances.get(at)
    }

    /// This task and those that are of the same block, if it is the first of them.
    pub fn numbers(&self, number: u32) -> std::ops::Range<u32> {
        self.instances(number).map_or(number..number.saturating_add(1), InstanceGroup::numbers)
    }

    /// What the tasks have yielded that begin with this one, as far as they have; `of` tells of which value of each.
    /// `None` as long as none has.
    pub(super) fn combined_value<'a>(
        &'a self,
        number: u32,
        of: impl Fn(u32) -> Option<&'a Value>,
    ) -> Option<Cow<'a, Value>> {
        let Some(group) = self.instances(number) else { return of(number).map(Cow::Borrowed) };
        let arguments = self.arguments(self.recipe(number)?.arguments)?;
        let part = |(at, number): (usize, u32)| InstanceResult {
            row: group.rows.get(at).and_then(|&row| self.values.get(row as usize)),
            value: of(number),
        };
        let parts: Vec<InstanceResult> = group.numbers().enumerate().map(part).collect();
        combine(group, &parts, arguments).map(Cow::Owned)
    }

    /// The files outside the document that this task reads from.
    pub fn external_files(&self, number: u32) -> BTreeSet<String> {
        let of = |input: &InputRef| match input {
            InputRef::File { path, .. } => Some(path.clone()),
            InputRef::Task { .. } | InputRef::This(_) | InputRef::Value(_) => None,
        };
        self.recipe(number).into_iter().flat_map(Recipe::inputs).filter_map(of).collect()
    }

    /// What is run for a task, once all it [depends on](Self::dependencies) is among `values`.
    ///
    /// # Errors
    /// What is missing.
    pub fn command(&self, spec: &TaskSpec, values: &Values, files: &Files) -> Result<Command, String> {
        let Some(recipe) = self.recipe(spec.number) else { return Ok(spec.command.clone()) };
        let inputs = self.inputs(recipe, values, files)?;
        let (language, arguments) = (self.language(recipe), self.arguments(recipe.arguments));
        let (Some(language), Some(arguments)) = (language, arguments) else {
            return Err("its recipe is not whole".to_owned());
        };
        let body = inputs.body(&spec.command.body);
        let Invocation { program, arguments: words, body, files, stdin } =
            babel::compose(&inputs.source(language, &body, arguments));
        let mut command = Command {
            program: program.into(),
            arguments: words.into(),
            body: body.into(),
            stdin,
            ..spec.command.clone()
        };
        command.files = self.files.iter().map(SandboxFile::file).collect();
        command.files.extend(files.into_iter().map(|file| InputFile {
            path: file.path,
            mode: file.mode,
            bytes: file.bytes.into(),
        }));
        if makes_directory(arguments) {
            make_directory(&mut command, self.directory.as_deref());
        }
        Ok(command)
    }

    /// What a task that has ended yields; all it [depends on](Self::dependencies) has to be among `values`.
    ///
    /// # Errors
    /// What is missing.
    pub fn result(
        &self,
        spec: &TaskSpec,
        values: &Values,
        files: &Files,
        execution: &Execution,
    ) -> Result<BlockResult, String> {
        let recipe = self.recipe(spec.number).ok_or("it has no recipe")?;
        let inputs = self.inputs(recipe, values, files)?;
        let language = self.language(recipe).ok_or("its recipe is not whole")?;
        let arguments = self.arguments(recipe.arguments).ok_or("its recipe is not whole")?;
        let body = inputs.body(&spec.command.body);
        let value = babel::collect(&inputs.source(language, &body, arguments), execution);
        Ok(babel::apply_file_arg(value, arguments))
    }

    /// Emacs' hash of a result, where `:cache yes` asks for one.
    pub(super) fn hash(
        &self,
        spec: &TaskSpec,
        values: &Values,
        files: &Files,
        arguments: &Arguments,
    ) -> Option<String> {
        if arguments.text(":cache").as_deref() != Some("yes") {
            return None;
        }
        let recipe = self.recipe(spec.number)?;
        let inputs = self.inputs(recipe, values, files).ok()?;
        let body = inputs.body(&spec.command.body);
        Some(babel::hash(&inputs.source(self.language(recipe)?, &body, arguments)))
    }

    /// The path of the file that a task's value is written to on this machine, if it is one: of a document that lies
    /// here.
    pub fn result_path(&self, number: u32, name: &str) -> Option<String> {
        let base = self.directory.as_deref()?;
        if name.starts_with('/') {
            return Some(name.to_owned());
        }
        let arguments = self.arguments(self.recipe(number)?.arguments)?;
        match arguments.text(":dir") {
            Some(dir) if dir.starts_with('/') => Some(format!("{dir}/{name}")),
            Some(dir) => Some(format!("{base}/{dir}/{name}")),
            None => Some(format!("{base}/{name}")),
        }
    }

    /// Whether what a task yields is to be a file on this machine.
    pub fn has_result_file(&self, number: u32) -> bool {
        let arguments = || self.arguments(self.recipe(number)?.arguments);
        self.directory.is_some() && arguments().is_some_and(|arguments| arguments.file().is_some())
    }

    /// The task that the value of this one goes through before anybody else sees it.
    pub(super) fn post(&self, number: u32) -> Option<u32> {
        self.recipe(number)?.post
    }

    pub(super) fn recipe(&self, number: u32) -> Option<&Recipe> {
        self.tasks.get(index_of(number)?)
    }

    fn language(&self, recipe: &Recipe) -> Option<&Language> {
        self.languages.get(recipe.language as usize)
    }

    pub(super) fn arguments(&self, at: u32) -> Option<&Arguments> {
        self.arguments.get(at as usize)
    }

    fn inputs(&self, recipe: &Recipe, values: &Values, files: &Files) -> Result<Inputs, String> {
        let value = |input: &InputRef| self.value(input, values, files);
        let variables: Result<Vec<_>, String> =
            recipe.variables.iter().map(|(name, input)| Ok((name.clone(), value(input)?))).collect();
        let gaps: Result<Vec<Value>, String> = recipe.gaps.iter().map(value).collect();
        Ok(Inputs {
            variables: variables?,
            stdin: recipe.stdin.as_deref().map(value).transpose()?,
            gaps: gaps?,
        })
    }

    fn value(&self, input: &InputRef, values: &Values, files: &Files) -> Result<Value, String> {
        let part = |value: &Value, index: &Option<String>| match index {
            Some(index) => babel::index(value, index),
            None => value.clone(),
        };
        let of = |number: u32, this: bool| {
            if let Some(missing) = self.numbers(number).find(|number| !values.contains_key(number)) {
                return Err(format!("the value of task {missing} is not there"));
            }
            let value = |number: u32| {
                values.get(&number).map(|result| if this { &result.this } else { &result.value })
            };
            self.combined_value(number, value).ok_or(format!("the value of task {number} is not there"))
        };
        match input {
            InputRef::Value(at) => {
                self.values.get(*at as usize).cloned().ok_or("its recipe is not whole".to_owned())
            }
            InputRef::Task { number, index } => Ok(part(&*of(*number, false)?, index)),
            InputRef::This(number) => Ok(of(*number, true)?.into_owned()),
            InputRef::File { path, name, index } => {
                let bytes = files.get(path).ok_or(format!("`{path}` was not read"))?;
                let bytes = bytes.as_ref().map_err(Clone::clone)?;
                let document = org::parse(bytes.clone(), &[]);
                let value = super::named_elements::value(&document, name)
                    .ok_or_else(|| format!("nothing in `{path}` that holds a value is called `{name}`"))?;
                Ok(part(&value, index))
            }
        }
    }
}

/// Files outside the document that were read, by the path a recipe names them by; or why they could not be.
pub type Files = BTreeMap<String, Result<Bytes, String>>;

/// What goes into a block, values in hand.
struct Inputs {
    variables: Vec<(String, Value)>,
    stdin: Option<Value>,
    gaps: Vec<Value>,
}

impl Inputs {
    /// The code with its gaps filled.
    fn body(&self, code: &[u8]) -> String {
        if self.gaps.is_empty() {
            return babel::byte_text::decode(code);
        }
        let shown = |value: &Value| match value {
            Value::Text(text) => babel::byte_text::encode(text),
            other => babel::byte_text::encode(&other.prin1()),
        };
        let fillings: Vec<Vec<u8>> = self.gaps.iter().map(shown).collect();
        babel::byte_text::decode(&org::fill_placeholders(code, &fillings))
    }

    fn source<'a>(&'a self, language: &'a Language, body: &'a str, arguments: &'a Arguments) -> Source<'a> {
        Source { language, body, arguments, variables: &self.variables, stdin: self.stdin.as_ref() }
    }
}

impl Recipe {
    fn inputs(&self) -> impl Iterator<Item = &InputRef> {
        self.variables.iter().map(|(_, input)| input).chain(self.stdin.as_deref()).chain(&self.gaps)
    }
}

impl SandboxFile {
    fn file(&self) -> InputFile {
        InputFile { path: self.path.clone(), mode: self.mode, bytes: self.bytes.clone() }
    }
}

/// `:mkdirp yes`.
fn makes_directory(arguments: &Arguments) -> bool {
    arguments.text(":mkdirp").is_some_and(|word| !matches!(word.as_str(), "no" | "nil"))
        && arguments.has(":dir")
}

/// Where the script lies that makes a block's directory.
const MAKE_DIRECTORY: &str = "block/mkdirp";

/// Has a directory made by the block itself, wherever it runs, before it goes there.
fn make_directory(command: &mut Command, base: Option<&str>) {
    let Some(directory) = std::mem::replace(&mut command.directory, base.map(Into::into)) else { return };
    let words: Vec<String> = [MAKE_DIRECTORY.to_owned(), directory.to_string(), command.program.to_string()]
        .into_iter()
        .chain(command.arguments.iter().cloned())
        .collect();
    command.program = "sh".into();
    command.arguments = words.into();
    let script = "mkdir -p \"$1\" && cd \"$1\" && shift && exec \"$@\"\n";
    let path = MAKE_DIRECTORY.to_owned();
    command.files.push(InputFile { path, mode: 0o755, bytes: Bytes::from_static(script.as_bytes()) });
}

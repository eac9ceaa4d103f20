//! Assembles the plan: units that run become tasks, edges and recipes; skipped units are listed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use borges_babel::{Arguments, Language, Value};
use borges_org::{Document, Param, Target};
use borges_task::{Command, Edge, TaskSpec};

use super::builder::{PlanBuilder, ResultSlot};
use super::dependency::Dependency;
use super::diagnostic::Diagnostic;
use super::each_rows::EachRows;
use super::instance_results::InstanceGroup;
use super::instances;
use super::interner::{Bodies, Interner};
use super::keys;
use super::options::PlanOptions;
use super::plan::{Plan, SkippedBlock};
use super::recipe::{InputRef, Recipe, Recipes, ResultTarget, SandboxFile};
use super::symbols::SymbolTable;
use super::unit::{Disposition, InputSource, Inputs, Unit};

/// What a plan is made of.
pub(super) struct PlanParts<'a, 'd> {
    pub(super) builder: PlanBuilder<'d>,
    pub(super) order: &'a [usize],
    pub(super) symbols: &'a SymbolTable<'d>,
    pub(super) dependencies: &'a [Dependency],
    pub(super) files: Vec<SandboxFile>,
    pub(super) warnings: Vec<Diagnostic>,
    pub(super) options: &'a PlanOptions,
    pub(super) document: &'d Document,
}

/// The plan of what may run, and that waits for each other so.
pub(super) fn assemble(parts: PlanParts) -> Plan {
    let PlanParts { builder, order, symbols, dependencies, files, warnings, options, document } = parts;
    let PlanBuilder { units, result_slots, .. } = builder;
    let mut plan = Plan { warnings, ..Plan::default() };
    let mut numbers = vec![0; units.len()];
    let counts: Vec<u32> = units.iter().map(instances::count).collect();
    let mut running = 0;
    for &index in order.iter().filter(|&&index| super::unit::runs(&units[index])) {
        numbers[index] = running + 1;
        running += counts[index];
    }
    let post_units: Vec<Option<usize>> = units.iter().map(post).collect();
    let mut shared = Shared::default();
    let running = running as usize;
    plan.tasks.reserve_exact(running);
    shared.recipes.tasks.reserve_exact(running);
    // A hundred thousand blocks are run by a handful of programs, and ask for much the same.
    let mut commands = BTreeMap::new();
    let mut interner = Interner::default();
    let mut bodies = Bodies::of(order.iter().map(|&index| &units[index].disposition));
    let mut units: Vec<Option<Unit>> = units.into_iter().map(Some).collect();
    for &index in order {
        let Some(Unit { block, disposition, .. }) = units[index].take() else { continue };
        let (name, (file, line)) = (symbols.title(index), symbols.location(index));
        match disposition {
            Disposition::Excluded => {}
            Disposition::Skipped(reason) => {
                plan.skipped.push(SkippedBlock { block: name, file, line, reason });
            }
            Disposition::Runs { language, block_options, requires_approval, body, mut inputs } => {
                let first = numbers[index];
                plan.included.extend((first..first + counts[index]).filter_map(|n| Some((n, file.clone()?))));
                let each = inputs.as_mut().and_then(|inputs| inputs.each.take());
                let instances = block_options.instances;
                let recipe = Recipe {
                    language: shared.language(&language),
                    arguments: shared.arguments(&block.params, || arguments(&block.params)),
                    ..inputs
                        .map(|inputs| recipe(*inputs, &numbers, &post_units, &mut shared))
                        .unwrap_or_default()
                };
                let (program, arguments): &(Arc<str>, Arc<[String]>) =
                    commands.entry(language.name.clone()).or_insert_with(|| {
                        let body = Command::BODY.to_owned();
                        let arguments = language.arguments.iter().cloned().chain([body]);
                        (language.program.as_str().into(), arguments.collect())
                    });
                let spec = TaskSpec {
                    number: first,
                    block: name.into(),
                    line,
                    index: 1,
                    command: Command {
                        program: program.clone(),
                        arguments: arguments.clone(),
                        environment: interner.environment(block_options.environment),
                        directory: interner.text(match &block_options.image {
                            // The document's directory is none of a container's.
                            Some(_) => block_options.directory,
                            None => directory(block_options.directory, options),
                        }),
                        image: interner.text(block_options.image),
                        body: bodies.next(body),
                        files: Vec::new(),
                        stdin: None,
                    },
                    resources: block_options.resources,
                    policy: interner.policy(block_options.policy),
                    requires_approval,
                    enforce_memory: block_options.enforce_memory,
                    requirements: interner.requirements(block_options.requirements),
                };
                if each.is_none() && instances == 1 {
                    shared.recipes.tasks.push(recipe);
                    plan.tasks.push(Arc::new(spec));
                } else {
                    shared.add_instances(each, counts[index], &recipe, &spec, &mut plan.tasks);
                }
            }
        }
    }
    let tasks = |index: usize| numbers[index]..numbers[index] + counts[index];
    for &Dependency { from, to, requirement, .. } in dependencies {
        plan.edges
            .extend(tasks(from).flat_map(|from| tasks(to).map(move |to| Edge { from, to, requirement })));
    }
    // Of two edges between the same tasks the stronger, which sorts last, says it all.
    plan.edges.sort_unstable_by_key(|edge| (edge.from, edge.to, std::cmp::Reverse(edge.requirement)));
    plan.edges.dedup_by_key(|edge| (edge.from, edge.to));
    let own_numbers = OwnNumbers::of(document, symbols);
    shared.recipes.result_targets.reserve_exact(running);
    for slot in result_slots.iter().filter(|slot| numbers[slot.unit] > 0) {
        shared.add_result_target(slot, numbers[slot.unit], document, &own_numbers);
    }
    let Shared { mut recipes, .. } = shared;
    (recipes.directory, recipes.files) = (options.directory.clone(), files);
    plan.recipes = recipes;
    plan
}

fn post(unit: &Unit) -> Option<usize> {
    match &unit.disposition {
        Disposition::Runs { inputs, .. } => inputs.as_ref()?.post,
        Disposition::Skipped(_) | Disposition::Excluded => None,
    }
}

/// What goes into a task, by the numbers of tasks.
fn recipe(inputs: Inputs, numbers: &[u32], post_units: &[Option<usize>], shared: &mut Shared) -> Recipe {
    let mut input = |source: InputSource| match source {
        InputSource::Value(value) => InputRef::Value(shared.value(value)),
        // What a block's `:post` makes of its value is what others see of it.
        InputSource::Unit { unit, index } => {
            let visible = post_units[unit].filter(|&post| numbers[post] > 0).unwrap_or(unit);
            InputRef::Task { number: numbers[visible], index }
        }
        InputSource::BeforePost(unit) => InputRef::This(numbers[unit]),
        InputSource::File { path, name, index } => InputRef::File { path, name, index },
    };
    Recipe {
        variables: inputs.variables.into_iter().map(|(name, source)| (name, input(source))).collect(),
        stdin: inputs.stdin.map(&mut input).map(Box::new),
        gaps: inputs.gaps.into_iter().map(&mut input).collect(),
        post: inputs.post.map(|unit| numbers[unit]).filter(|&number| number > 0),
        ..Recipe::default()
    }
}

/// The header arguments of a block for Babel. Those that only a cluster knows are none of its business; but Emacs
/// takes all into account where it writes a hash.
fn arguments(params: &[Param]) -> Arguments {
    if params.iter().any(|param| param.key == ":cache") {
        return Arguments::from_params(params);
    }
    let theirs = params.iter().filter(|param| !keys::is_borges_key(&param.key));
    Arguments::from_params(&theirs.cloned().collect::<Vec<_>>())
}

/// What the recipes of a run have in interner, each kept once.
#[derive(Default)]
struct Shared {
    recipes: Recipes,
    languages: HashMap<String, u32>,
    /// By where the parameters are kept: blocks that say nothing of their own share them. They are held on to, so that
    /// nothing else can come to stand there.
    arguments: HashMap<*const Param, (u32, Arc<[Param]>)>,
    /// Of blocks that have none.
    empty_arguments: Option<u32>,
}

impl Shared {
    fn language(&mut self, language: &Language) -> u32 {
        if let Some(&at) = self.languages.get(&language.name) {
            return at;
        }
        let at = to_u32(self.recipes.languages.len());
        self.recipes.languages.push(language.clone());
        self.languages.insert(language.name.clone(), at);
        at
    }

    fn arguments(&mut self, params: &Arc<[Param]>, of: impl FnOnce() -> Arguments) -> u32 {
        if let Some(&(at, _)) = self.arguments.get(&params.as_ptr()) {
            return at;
        }
        let at = self.push(of());
        self.arguments.insert(params.as_ptr(), (at, Arc::clone(params)));
        at
    }

    /// The tasks of a block that is several: all as `recipe` and `spec` have it, but for its row of what `each` has.
    fn add_instances(
        &mut self,
        each: Option<EachRows>,
        count: u32,
        recipe: &Recipe,
        spec: &TaskSpec,
        tasks: &mut Vec<Arc<TaskSpec>>,
    ) {
        let EachRows { names, header, rows } = each.unwrap_or_default();
        let mut group = InstanceGroup {
            first: spec.number,
            count,
            header,
            rows: Vec::with_capacity(rows.len()),
            title: spec.block.to_string(),
        };
        let mut rows = rows.into_iter();
        for index in 1..=count {
            let mut recipe = recipe.clone();
            if let Some(row) = rows.next() {
                let at = self.value(row.clone());
                group.rows.push(at);
                match names.as_slice() {
                    [name] => recipe.variables.push((name.clone(), InputRef::Value(at))),
                    names => {
                        let cells = row.items().unwrap_or_default().iter().cloned();
                        let cells =
                            names.iter().cloned().zip(cells.map(|cell| InputRef::Value(self.value(cell))));
                        recipe.variables.extend(cells);
                    }
                }
            }
            self.recipes.tasks.push(recipe);
            // Its index is part of what is run, so it stands where that is told from what was run before.
            let instance_variables = [("BORGES_INDEX", index), ("BORGES_INSTANCES", count)];
            let instance_variables =
                instance_variables.map(|(name, number)| (name.to_owned(), number.to_string()));
            let command = Command {
                environment: instance_variables
                    .into_iter()
                    .chain(spec.command.environment.iter().cloned())
                    .collect(),
                ..spec.command.clone()
            };
            tasks.push(Arc::new(TaskSpec {
                number: spec.number + index - 1,
                block: format!("{}:{index}", spec.block).into(),
                index,
                command,
                ..spec.clone()
            }));
        }
        self.recipes.instances.push(group);
    }

    fn value(&mut self, value: Value) -> u32 {
        self.recipes.values.push(value);
        to_u32(self.recipes.values.len() - 1)
    }

    fn push(&mut self, arguments: Arguments) -> u32 {
        // Most say nothing of what Babel knows.
        if arguments == Arguments::default() {
            return *self.empty_arguments.get_or_insert_with(|| {
                self.recipes.arguments.push(arguments);
                to_u32(self.recipes.arguments.len() - 1)
            });
        }
        self.recipes.arguments.push(arguments);
        to_u32(self.recipes.arguments.len() - 1)
    }

    fn add_result_target(
        &mut self,
        slot: &ResultSlot,
        task: u32,
        document: &Document,
        own_numbers: &OwnNumbers,
    ) {
        let Some(target) = own_numbers.target(slot) else { return };
        let Some(recipe) = self.recipes.recipe(task) else { return };
        let language = recipe.language;
        let inline = matches!(target, Target::InlineBlock(_) | Target::InlineCall(_));
        let called = slot.called.and_then(|index| document.blocks.get(index));
        let arguments = match (called, inline) {
            (None, false) => self.arguments(&slot.params, || arguments(&slot.params)),
            (called, inline) => {
                let mut arguments = Arguments::from_params(&slot.params);
                if let Some(block) = called {
                    arguments = arguments.for_call(&Arguments::from_params(&block.params));
                }
                self.push(if inline { arguments.inline() } else { arguments })
            }
        };
        self.recipes.result_targets.push(ResultTarget { target, task, arguments, language });
    }
}

/// Which of the document's blocks and calls are its own, where files have been put into it.
struct OwnNumbers {
    blocks: Vec<Option<usize>>,
    calls: Vec<Option<usize>>,
    inline_blocks: Vec<Option<usize>>,
    inline_calls: Vec<Option<usize>>,
}

impl OwnNumbers {
    fn of(document: &Document, symbols: &SymbolTable) -> Self {
        let number_own = |lines: &mut dyn Iterator<Item = u32>| {
            let mut count = 0;
            lines
                .map(|line| {
                    symbols.is_own(line).then(|| {
                        count += 1;
                        count - 1
                    })
                })
                .collect()
        };
        Self {
            blocks: number_own(&mut document.blocks.iter().map(|block| block.begin_line)),
            calls: number_own(&mut document.calls.iter().map(|call| call.at.line)),
            inline_blocks: number_own(&mut document.inline_blocks.iter().map(|block| block.at.line)),
            inline_calls: number_own(&mut document.inline_calls.iter().map(|call| call.at.line)),
        }
    }

    /// The target by its number in the document as it was written.
    fn target(&self, slot: &ResultSlot) -> Option<Target> {
        let own_number = |list: &[Option<usize>], number: usize| list.get(number).copied().flatten();
        match slot.target {
            Target::Block(number) => own_number(&self.blocks, number).map(Target::Block),
            Target::Call(number) => own_number(&self.calls, number).map(Target::Call),
            Target::InlineBlock(number) => own_number(&self.inline_blocks, number).map(Target::InlineBlock),
            Target::InlineCall(number) => own_number(&self.inline_calls, number).map(Target::InlineCall),
        }
    }
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The files that lie in every sandbox: what is tangled, in document order; blocks of one file one after another.
pub(super) fn tangled_files(units: &[Unit], mut code: impl FnMut(usize) -> Vec<u8>) -> Vec<SandboxFile> {
    let mut files: Vec<(SandboxFile, Vec<u8>)> = Vec::new();
    let mut file_indices: HashMap<&str, usize> = HashMap::new();
    for (index, unit) in units.iter().enumerate() {
        let Some(path) = unit.tangled.as_deref() else { continue };
        let text = |key: &str| {
            let param = unit.block.params.iter().rfind(|param| param.key == key)?;
            Some(param.text.as_str()).filter(|text| !text.is_empty())
        };
        let at = *file_indices.entry(path).or_insert_with(|| {
            let file = SandboxFile { path: path.to_owned(), mode: 0o644, bytes: Bytes::new() };
            files.push((file, Vec::new()));
            files.len() - 1
        });
        let (file, bytes) = &mut files[at];
        if let Some(shebang) = text(":shebang") {
            file.mode = 0o755;
            if bytes.is_empty() {
                bytes.extend_from_slice(shebang.as_bytes());
                bytes.push(b'\n');
            }
        }
        if let Some(mode) = text(":tangle-mode").and_then(mode) {
            file.mode = mode;
        }
        if !bytes.is_empty() && text(":padline") != Some("no") {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(&code(index));
        bytes.push(b'\n');
    }
    files.into_iter().map(|(file, bytes)| SandboxFile { bytes: bytes.into(), ..file }).collect()
}

/// `o755`, `755`, `(identity #o755)`.
fn mode(text: &str) -> Option<u32> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    u32::from_str_radix(&digits, 8).ok().filter(|mode| *mode <= 0o777)
}

/// `:dir`, seen from where the request says blocks start.
fn directory(dir: Option<String>, options: &PlanOptions) -> Option<String> {
    let Some(dir) = dir else { return options.directory.clone() };
    if let Some(home) = &options.home
        && let Some(rest) = dir.strip_prefix('~')
        && (rest.is_empty() || rest.starts_with('/'))
    {
        return Some(format!("{home}{rest}"));
    }
    match &options.directory {
        Some(directory) if !dir.starts_with('/') => Some(format!("{directory}/{dir}")),
        _ => Some(dir),
    }
}

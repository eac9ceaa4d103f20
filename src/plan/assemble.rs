//! What runs → tasks, edges, and what is skipped.

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
pub(super) struct Parts<'a, 'd> {
    pub(super) units: PlanBuilder<'d>,
    pub(super) order: &'a [usize],
    pub(super) names: &'a SymbolTable<'d>,
    pub(super) waits: &'a [Dependency],
    pub(super) files: Vec<SandboxFile>,
    pub(super) warnings: Vec<Diagnostic>,
    pub(super) request: &'a PlanOptions,
    pub(super) document: &'d Document,
}

/// The plan of what may run, and that waits for each other so.
pub(super) fn assemble(parts: Parts) -> Plan {
    let Parts { units, order, names, waits, files, warnings, request, document } = parts;
    let PlanBuilder { candidates, returns, .. } = units;
    let mut plan = Plan { warnings, ..Plan::default() };
    let mut numbers = vec![0; candidates.len()];
    let counts: Vec<u32> = candidates.iter().map(instances::count).collect();
    let mut running = 0;
    for &place in order.iter().filter(|&&place| super::unit::runs(&candidates[place])) {
        numbers[place] = running + 1;
        running += counts[place];
    }
    let posts: Vec<Option<usize>> = candidates.iter().map(post).collect();
    let mut shared = Shared::default();
    let running = running as usize;
    plan.tasks.reserve_exact(running);
    shared.recipes.tasks.reserve_exact(running);
    // A hundred thousand blocks are run by a handful of programs, and ask for much the same.
    let mut commands = BTreeMap::new();
    let mut common = Interner::default();
    let mut bodies = Bodies::of(order.iter().map(|&place| &candidates[place].disposition));
    let mut candidates: Vec<Option<Unit>> = candidates.into_iter().map(Some).collect();
    for &place in order {
        let Some(Unit { block, disposition, .. }) = candidates[place].take() else { continue };
        let (name, (file, line)) = (names.title(place), names.location(place));
        match disposition {
            Disposition::Excluded => {}
            Disposition::Skipped(reason) => {
                plan.skipped.push(SkippedBlock { block: name, file, line, reason });
            }
            Disposition::Runs { language, asked, held: requires_approval, body, mut inputs } => {
                let first = numbers[place];
                plan.included.extend((first..first + counts[place]).filter_map(|n| Some((n, file.clone()?))));
                let each = inputs.as_mut().and_then(|inputs| inputs.each.take());
                let instances = asked.instances;
                let recipe = Recipe {
                    language: shared.language(&language),
                    arguments: shared.arguments(&block.params, || arguments(&block.params)),
                    ..inputs.map(|inputs| recipe(*inputs, &numbers, &posts, &mut shared)).unwrap_or_default()
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
                        environment: common.environment(asked.environment),
                        directory: common.text(match &asked.image {
                            // The document's directory is none of a container's.
                            Some(_) => asked.directory,
                            None => directory(asked.directory, request),
                        }),
                        image: common.text(asked.image),
                        body: bodies.next(body),
                        files: Vec::new(),
                        stdin: None,
                    },
                    resources: asked.resources,
                    policy: common.policy(asked.policy),
                    requires_approval,
                    enforce_memory: asked.mem_is_limit,
                    requirements: common.requirements(asked.wishes),
                };
                if each.is_none() && instances == 1 {
                    shared.recipes.tasks.push(recipe);
                    plan.tasks.push(Arc::new(spec));
                } else {
                    shared.spread(each, counts[place], &recipe, &spec, &mut plan.tasks);
                }
            }
        }
    }
    let tasks = |place: usize| numbers[place]..numbers[place] + counts[place];
    for &Dependency { from, to, requirement, .. } in waits {
        plan.edges
            .extend(tasks(from).flat_map(|from| tasks(to).map(move |to| Edge { from, to, requirement })));
    }
    // Of two edges between the same tasks the stronger, which sorts last, says it all.
    plan.edges.sort_unstable_by_key(|edge| (edge.from, edge.to, std::cmp::Reverse(edge.requirement)));
    plan.edges.dedup_by_key(|edge| (edge.from, edge.to));
    let written = Written::of(document, names);
    shared.recipes.returns.reserve_exact(running);
    for returns in returns.iter().filter(|returns| numbers[returns.candidate] > 0) {
        shared.returns(returns, numbers[returns.candidate], document, &written);
    }
    let Shared { mut recipes, .. } = shared;
    (recipes.directory, recipes.files) = (request.directory.clone(), files);
    plan.recipes = recipes;
    plan
}

fn post(candidate: &Unit) -> Option<usize> {
    match &candidate.disposition {
        Disposition::Runs { inputs, .. } => inputs.as_ref()?.post,
        Disposition::Skipped(_) | Disposition::Excluded => None,
    }
}

/// What goes into a task, by the numbers of tasks.
fn recipe(inputs: Inputs, numbers: &[u32], posts: &[Option<usize>], shared: &mut Shared) -> Recipe {
    let mut input = |given: InputSource| match given {
        InputSource::Value(value) => InputRef::Value(shared.value(value)),
        // What a block's `:post` makes of its value is what others see of it.
        InputSource::Candidate { place, index } => {
            let seen = posts[place].filter(|&post| numbers[post] > 0).unwrap_or(place);
            InputRef::Task { number: numbers[seen], index }
        }
        InputSource::BeforePost(place) => InputRef::This(numbers[place]),
        InputSource::File { path, name, index } => InputRef::File { path, name, index },
    };
    Recipe {
        variables: inputs.variables.into_iter().map(|(name, given)| (name, input(given))).collect(),
        stdin: inputs.stdin.map(&mut input).map(Box::new),
        gaps: inputs.gaps.into_iter().map(&mut input).collect(),
        post: inputs.post.map(|place| numbers[place]).filter(|&number| number > 0),
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

/// What the recipes of a run have in common, each kept once.
#[derive(Default)]
struct Shared {
    recipes: Recipes,
    languages: HashMap<String, u32>,
    /// By where the parameters are kept: blocks that say nothing of their own share them. They are held on to, so that
    /// nothing else can come to stand there.
    arguments: HashMap<*const Param, (u32, Arc<[Param]>)>,
    /// Of blocks that have none.
    nothing: Option<u32>,
}

impl Shared {
    fn language(&mut self, language: &Language) -> u32 {
        if let Some(&at) = self.languages.get(&language.name) {
            return at;
        }
        let at = small(self.recipes.languages.len());
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
    fn spread(
        &mut self,
        each: Option<EachRows>,
        count: u32,
        recipe: &Recipe,
        spec: &TaskSpec,
        tasks: &mut Vec<Arc<TaskSpec>>,
    ) {
        let EachRows { names, header, rows } = each.unwrap_or_default();
        let mut several = InstanceGroup {
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
                several.rows.push(at);
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
            let own = [("BORGES_INDEX", index), ("BORGES_INSTANCES", count)];
            let own = own.map(|(name, number)| (name.to_owned(), number.to_string()));
            let command = Command {
                environment: own.into_iter().chain(spec.command.environment.iter().cloned()).collect(),
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
        self.recipes.instances.push(several);
    }

    fn value(&mut self, value: Value) -> u32 {
        self.recipes.values.push(value);
        small(self.recipes.values.len() - 1)
    }

    fn push(&mut self, arguments: Arguments) -> u32 {
        // Most say nothing of what Babel knows.
        if arguments == Arguments::default() {
            return *self.nothing.get_or_insert_with(|| {
                self.recipes.arguments.push(arguments);
                small(self.recipes.arguments.len() - 1)
            });
        }
        self.recipes.arguments.push(arguments);
        small(self.recipes.arguments.len() - 1)
    }

    fn returns(&mut self, returns: &ResultSlot, task: u32, document: &Document, written: &Written) {
        let Some(target) = written.target(returns) else { return };
        let Some(recipe) = self.recipes.recipe(task) else { return };
        let language = recipe.language;
        let inline = matches!(target, Target::InlineBlock(_) | Target::InlineCall(_));
        let called = returns.called.and_then(|place| document.blocks.get(place));
        let arguments = match (called, inline) {
            (None, false) => self.arguments(&returns.params, || arguments(&returns.params)),
            (called, inline) => {
                let mut arguments = Arguments::from_params(&returns.params);
                if let Some(block) = called {
                    arguments = arguments.for_call(&Arguments::from_params(&block.params));
                }
                self.push(if inline { arguments.inline() } else { arguments })
            }
        };
        self.recipes.returns.push(ResultTarget { target, task, arguments, language });
    }
}

/// Which of the document's blocks and calls are its own, where files have been put into it.
struct Written {
    blocks: Vec<Option<usize>>,
    calls: Vec<Option<usize>>,
    inline_blocks: Vec<Option<usize>>,
    inline_calls: Vec<Option<usize>>,
}

impl Written {
    fn of(document: &Document, names: &SymbolTable) -> Self {
        let own = |lines: &mut dyn Iterator<Item = u32>| {
            let mut count = 0;
            lines
                .map(|line| {
                    names.is_own(line).then(|| {
                        count += 1;
                        count - 1
                    })
                })
                .collect()
        };
        Self {
            blocks: own(&mut document.blocks.iter().map(|block| block.begin_line)),
            calls: own(&mut document.calls.iter().map(|call| call.at.line)),
            inline_blocks: own(&mut document.inline_blocks.iter().map(|block| block.at.line)),
            inline_calls: own(&mut document.inline_calls.iter().map(|call| call.at.line)),
        }
    }

    /// The target by its number in the document as it was written.
    fn target(&self, returns: &ResultSlot) -> Option<Target> {
        let own = |list: &[Option<usize>], number: usize| list.get(number).copied().flatten();
        match returns.target {
            Target::Block(number) => own(&self.blocks, number).map(Target::Block),
            Target::Call(number) => own(&self.calls, number).map(Target::Call),
            Target::InlineBlock(number) => own(&self.inline_blocks, number).map(Target::InlineBlock),
            Target::InlineCall(number) => own(&self.inline_calls, number).map(Target::InlineCall),
        }
    }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The files that lie in every sandbox: what is tangled, in document order; blocks of one file one after another.
pub(super) fn placed(candidates: &[Unit], mut code: impl FnMut(usize) -> Vec<u8>) -> Vec<SandboxFile> {
    let mut files: Vec<(SandboxFile, Vec<u8>)> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for (place, candidate) in candidates.iter().enumerate() {
        let Some(path) = candidate.tangled.as_deref() else { continue };
        let text = |key: &str| {
            let param = candidate.block.params.iter().rfind(|param| param.key == key)?;
            Some(param.text.as_str()).filter(|text| !text.is_empty())
        };
        let at = *known.entry(path).or_insert_with(|| {
            let placed = SandboxFile { path: path.to_owned(), mode: 0o644, bytes: Bytes::new() };
            files.push((placed, Vec::new()));
            files.len() - 1
        });
        let (placed, bytes) = &mut files[at];
        if let Some(shebang) = text(":shebang") {
            placed.mode = 0o755;
            if bytes.is_empty() {
                bytes.extend_from_slice(shebang.as_bytes());
                bytes.push(b'\n');
            }
        }
        if let Some(mode) = text(":tangle-mode").and_then(mode) {
            placed.mode = mode;
        }
        if !bytes.is_empty() && text(":padline") != Some("no") {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(&code(place));
        bytes.push(b'\n');
    }
    files.into_iter().map(|(placed, bytes)| SandboxFile { bytes: bytes.into(), ..placed }).collect()
}

/// `o755`, `755`, `(identity #o755)`.
fn mode(text: &str) -> Option<u32> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    u32::from_str_radix(&digits, 8).ok().filter(|mode| *mode <= 0o777)
}

/// `:dir`, seen from where the request says blocks start.
fn directory(asked: Option<String>, request: &PlanOptions) -> Option<String> {
    let Some(asked) = asked else { return request.directory.clone() };
    if let Some(home) = &request.home
        && let Some(rest) = asked.strip_prefix('~')
        && (rest.is_empty() || rest.starts_with('/'))
    {
        return Some(format!("{home}{rest}"));
    }
    match &request.directory {
        Some(directory) if !asked.starts_with('/') => Some(format!("{directory}/{asked}")),
        _ => Some(asked),
    }
}

//! The way through: a document in, a plan or problems out.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::babel::{Language, Languages};
use crate::org::{Block, Bodies, Document, Keyword, Origin, Position, nearest};
use crate::task::{Command, Edge, Requirement, TaskSpec};

use super::arguments::{self, Asked};
use super::code;
use super::graph::{self, Names, Wait, title};
use super::problem::{Problem, Severity};
use super::slips;
use super::verdict::{Verdict, Why, verdict};

/// What is asked of a document, beside what it says itself.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Only these blocks, and those they require; empty means all.
    pub names: Vec<String>,
    /// The setupfile's languages.
    pub languages: Languages,
    /// Somebody can approve a block with `:eval query`; otherwise it is skipped.
    pub can_approve: bool,
    /// Blocks start here, and `:dir` is relative to it; `None` is each block's sandbox.
    pub directory: Option<String>,
    /// What `~` in `:dir` stands for.
    pub home: Option<String>,
    /// Files that the document names by `#+SETUPFILE:` have been read; otherwise naming one is an error.
    pub setupfiles_read: bool,
}

/// What a document comes down to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// What runs, in document order, numbered from 1.
    pub tasks: Vec<Arc<TaskSpec>>,
    /// Who waits for whom; no circles; at most one edge between two tasks; sorted.
    pub edges: Vec<Edge>,
    /// What does not run, in document order.
    pub skipped: Vec<Skip>,
    /// What is odd, in document order.
    pub warnings: Vec<Problem>,
}

/// A block that does not run, though the document is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// Its name, or `line-14`.
    pub block: String,
    /// Line of its `#+begin_src`.
    pub line: u32,
    /// Why.
    pub reason: String,
}

/// `#+runmode:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunMode {
    Parallel,
    /// Document order; stops at the first failure.
    Sequential(Position),
}

/// A block and what is to be done with it.
struct Candidate<'a> {
    block: &'a Block,
    fate: Fate,
}

enum Fate {
    Runs {
        language: Language,
        asked: Box<Asked>,
        held: bool,
        body: Vec<u8>,
    },
    Skipped(String),
    /// `Request::names` leaves it out.
    NotAsked,
}

/// Makes the plan of a document that was read from `source`.
///
/// # Errors
/// Everything that is wrong with it, in document order; then nothing of it may be launched.
pub fn plan(source: &[u8], document: &Document, request: &Request) -> Result<Plan, Vec<Problem>> {
    let mut problems = Vec::new();
    let languages = languages(document, request, &mut problems);
    let run_mode = run_mode(document, &mut problems);
    slips::unclosed(source, document, &mut problems);
    files(document, request, &mut problems);
    slips::slips(source, document, &mut problems);

    let names = Names::of(&document.blocks, &mut problems);
    let mut bodies = Bodies::new(source, document);
    let mut candidates: Vec<Candidate> = document
        .blocks
        .iter()
        .map(|block| Candidate { block, fate: fate(block, &languages, document, request, &mut problems) })
        .collect();
    for (place, candidate) in candidates.iter_mut().enumerate() {
        if let Fate::Runs { body, .. } = &mut candidate.fate {
            *body = code::code(&mut bodies, place, &names, &mut problems);
        }
    }
    garbled(source, &candidates, &mut problems);

    let mut waits: Vec<Wait> = Vec::new();
    for (place, candidate) in candidates.iter().enumerate() {
        if let Fate::Runs { asked, .. } = &candidate.fate {
            waits.extend(names.waits(place, &asked.references, &mut problems));
        }
    }
    choose(&mut candidates, &names, &waits, request, &mut problems);
    skip_the_deprived(&mut candidates, &waits);
    waits.retain(|wait| runs(&candidates[wait.from]) && runs(&candidates[wait.to]));
    if let RunMode::Sequential(at) = run_mode {
        let running: Vec<usize> = (0..candidates.len()).filter(|&place| runs(&candidates[place])).collect();
        let in_order = running.windows(2).map(|pair| Wait {
            from: pair[0],
            to: pair[1],
            requirement: Requirement::Success,
            at,
        });
        waits.extend(in_order);
    }
    if let Some(circle) = graph::cycle(&waits) {
        problems.extend(graph::circle_problem(&circle, &document.blocks));
    }

    // Within a line, the setupfile's own problems come last.
    problems.sort_by_key(|problem| (problem.severity, problem.in_setupfile, problem.at));
    problems.dedup();
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(problems);
    }
    Ok(assemble(candidates, &waits, problems, request))
}

/// The table of languages for this document: the setupfile's, then its own.
fn languages(document: &Document, request: &Request, problems: &mut Vec<Problem>) -> Languages {
    let mut languages = request.languages.clone();
    for Keyword { value, at, .. } in keywords(document, "BORGES_LANG") {
        if let Err(bad) = languages.add(value) {
            problems.push(Problem::error(*at, bad.to_string(), ""));
        }
    }
    languages
}

fn run_mode(document: &Document, problems: &mut Vec<Problem>) -> RunMode {
    let mut mode = RunMode::Parallel;
    for Keyword { value, at, .. } in keywords(document, "RUNMODE") {
        match value.as_str() {
            "parallel" => mode = RunMode::Parallel,
            "sequential" => mode = RunMode::Sequential(*at),
            _ => problems.push(Problem::error(
                *at,
                format!("`{value}` is no value of `#+runmode:`"),
                "Write `parallel` or `sequential`.",
            )),
        }
    }
    mode
}

/// Other files that the document names.
fn files(document: &Document, request: &Request, problems: &mut Vec<Problem>) {
    for Keyword { value, at, .. } in keywords(document, "SETUPFILE").filter(|_| !request.setupfiles_read) {
        problems.push(Problem::error(
            *at,
            format!("`{value}` lies where this document came from, and cannot be read here"),
            "Send a document that holds the `#+PROPERTY:` lines of that file itself.",
        ));
    }
    // As in Emacs, where including is a matter of export: a run is of this document's own blocks.
    for Keyword { value, at, .. } in keywords(document, "INCLUDE") {
        let path = value.trim_start_matches('"').split(['"', ' ']).next().unwrap_or_default();
        let path = path.split("::").next().unwrap_or_default();
        if path.to_lowercase().ends_with(".org") && !value.contains(" src ") && !value.contains(" example") {
            problems.push(Problem::warning(
                *at,
                format!("the blocks of `{path}` do not run: `#+INCLUDE:` is for export, as in Emacs"),
                "Run that document itself, or put the blocks it should lend into this one.",
            ));
        }
    }
}

fn keywords<'a>(document: &'a Document, key: &'a str) -> impl Iterator<Item = &'a Keyword> {
    document.keywords.iter().filter(move |keyword| keyword.key == key)
}

fn fate(
    block: &Block,
    languages: &Languages,
    document: &Document,
    request: &Request,
    problems: &mut Vec<Problem>,
) -> Fate {
    let held = match verdict(block, languages) {
        Verdict::Skipped(why) => {
            hint(block, &why, languages, problems);
            escape(block, &why, problems);
            return Fate::Skipped(why.to_string());
        }
        Verdict::Held if !request.can_approve => {
            return Fate::Skipped("it needs approval: `:eval query`".to_owned());
        }
        Verdict::Held => true,
        Verdict::Runs => false,
    };
    let Some(language) = block.language.as_deref().and_then(|name| languages.get(name)) else {
        return Fate::Skipped(Why::NoLanguage.to_string());
    };
    let asked = Box::new(arguments::read(block, &language, &document.files, problems));
    Fate::Runs { language, asked, held, body: Vec::new() }
}

/// A language that is nearly one that runs is more likely a slip than a choice.
fn hint(block: &Block, why: &Why, languages: &Languages, problems: &mut Vec<Problem>) {
    if *why == Why::NoLanguage {
        problems.push(slips::no_language(block));
    }
    let Why::NoRow(name) = why else { return };
    if let Some(near) = nearest(name, languages.names()) {
        let at = Position { line: block.begin_line, column: 1 };
        let text = format!("nothing is known to run `{name}`");
        problems.push(Problem::warning(at, text, format!("Did you mean `{near}`?")));
    }
}

/// A tangled file is for the sandboxes of the other blocks, and nowhere else.
fn escape(block: &Block, why: &Why, problems: &mut Vec<Problem>) {
    let Why::Tangled(file) = why else { return };
    let Some(param) = block.params.iter().rfind(|param| param.key == ":tangle") else { return };
    if file.starts_with(['/', '~']) || file.split('/').any(|part| part == "..") {
        let mut problem = Problem::error(
            param.at,
            format!("`:tangle {file}` leads out of the sandbox"),
            "Write a path without `..` and a leading `/` or `~`: each block finds the file in its sandbox.",
        );
        problem.in_setupfile = param.origin == Origin::Setup;
        problems.push(problem);
    }
}

/// What is no text may stand anywhere but in a block that runs, or its header.
fn garbled(source: &[u8], candidates: &[Candidate], problems: &mut Vec<Problem>) {
    if std::str::from_utf8(source).is_ok() && memchr::memchr(0, source).is_none() {
        return;
    }
    let mut lines = (1..).zip(source.split(|&byte| byte == b'\n')).peekable();
    for block in candidates.iter().filter(|candidate| runs(candidate)).map(|candidate| candidate.block) {
        while lines.next_if(|&(line, _)| line < block.first_line).is_some() {}
        let mut found = false;
        while let Some((line, text)) = lines.next_if(|&(line, _)| line <= block.end_line) {
            if found {
                continue;
            }
            if let Some((column, what)) = garbage(text) {
                found = true;
                problems.push(Problem::error(
                    Position { line, column },
                    format!("{what} in a block that would run"),
                    "Take it out, or keep the block from running with `:eval no`.",
                ));
            }
        }
    }
}

/// The first thing in a line that is no text, and its column.
fn garbage(line: &[u8]) -> Option<(u32, &'static str)> {
    let nul = memchr::memchr(0, line);
    let invalid = std::str::from_utf8(line).err().map(|error| error.valid_up_to());
    let (at, what) = match (nul, invalid) {
        (Some(nul), Some(invalid)) if invalid < nul => (invalid, "a byte that is no UTF-8"),
        (Some(nul), _) => (nul, "a NUL byte"),
        (None, Some(invalid)) => (invalid, "a byte that is no UTF-8"),
        (None, None) => return None,
    };
    let column = String::from_utf8_lossy(&line[..at]).chars().count() + 1;
    Some((u32::try_from(column).unwrap_or(u32::MAX), what))
}

/// Leaves out the blocks that were not asked for.
fn choose(
    candidates: &mut [Candidate],
    names: &Names,
    waits: &[Wait],
    request: &Request,
    problems: &mut Vec<Problem>,
) {
    if request.names.is_empty() {
        return;
    }
    let mut chosen = vec![false; candidates.len()];
    let mut open = Vec::new();
    for name in &request.names {
        match names.find(name) {
            Ok(place) => open.push(place),
            // No place of the document is wrong, so the error has none.
            Err((text, help)) => problems.push(Problem::error(Position::default(), text, help)),
        }
    }
    while let Some(place) = open.pop() {
        if !std::mem::replace(&mut chosen[place], true) {
            let needed =
                waits.iter().filter(|wait| wait.to == place && wait.requirement == Requirement::Success);
            open.extend(needed.map(|wait| wait.from));
        }
    }
    for (candidate, chosen) in candidates.iter_mut().zip(chosen) {
        if !chosen {
            candidate.fate = Fate::NotAsked;
        }
    }
}

/// A block that requires one that does not run cannot run either.
fn skip_the_deprived(candidates: &mut [Candidate], waits: &[Wait]) {
    let mut needed_by = vec![Vec::new(); candidates.len()];
    for wait in waits.iter().filter(|wait| wait.requirement == Requirement::Success) {
        needed_by[wait.from].push(wait.to);
    }
    let mut open: Vec<usize> =
        (0..candidates.len()).filter(|&place| matches!(candidates[place].fate, Fate::Skipped(_))).collect();
    while let Some(place) = open.pop() {
        let missing = candidates[place].block;
        let reason =
            format!("it requires `{}` (line {}), which does not run", title(missing), missing.begin_line);
        for &dependent in &needed_by[place] {
            if runs(&candidates[dependent]) {
                candidates[dependent].fate = Fate::Skipped(reason.clone());
                open.push(dependent);
            }
        }
    }
}

fn runs(candidate: &Candidate) -> bool {
    matches!(candidate.fate, Fate::Runs { .. })
}

fn assemble(candidates: Vec<Candidate>, waits: &[Wait], warnings: Vec<Problem>, request: &Request) -> Plan {
    let mut plan = Plan { warnings, ..Plan::default() };
    let mut numbers = vec![0; candidates.len()];
    // A hundred thousand blocks are run by a handful of programs.
    let mut commands = BTreeMap::new();
    for (place, Candidate { block, fate }) in candidates.into_iter().enumerate() {
        let (name, line) = (title(block), block.begin_line);
        match fate {
            Fate::NotAsked => {}
            Fate::Skipped(reason) => plan.skipped.push(Skip { block: name, line, reason }),
            Fate::Runs { language, asked, held, body } => {
                let (program, arguments): &(Arc<str>, Arc<[String]>) = commands
                    .entry((language.program, language.arguments))
                    .or_insert_with_key(|(program, arguments)| {
                        let body = Command::BODY.to_owned();
                        (program.as_str().into(), arguments.iter().cloned().chain([body]).collect())
                    });
                numbers[place] = u32::try_from(plan.tasks.len() + 1).unwrap_or(u32::MAX);
                plan.tasks.push(Arc::new(TaskSpec {
                    number: numbers[place],
                    block: name.into(),
                    line,
                    index: 1,
                    command: Command {
                        program: program.clone(),
                        arguments: arguments.clone(),
                        environment: asked.environment,
                        directory: directory(asked.directory, request),
                        body: body.into(),
                    },
                    resources: asked.resources,
                    policy: asked.policy,
                    held,
                }));
            }
        }
    }
    plan.edges = waits
        .iter()
        .map(|wait| Edge { from: numbers[wait.from], to: numbers[wait.to], requirement: wait.requirement })
        .collect();
    // Of two edges between the same tasks the stronger, which sorts last, says it all.
    plan.edges.sort_unstable_by_key(|edge| (edge.from, edge.to, std::cmp::Reverse(edge.requirement)));
    plan.edges.dedup_by_key(|edge| (edge.from, edge.to));
    plan
}

/// `:dir`, seen from where the request says blocks start.
fn directory(asked: Option<String>, request: &Request) -> Option<String> {
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

#[cfg(test)]
mod tests;

//! Blocks, and what is to be done with each: run it, skip it, or leave it out.

use crate::babel::{Language, Languages};
use crate::org::{Block, NowebCall, Origin, Position, nearest};
use crate::task::Requirement;

use super::arguments::{self, Asked};
use super::graph::Wait;
use super::names::Names;
use super::plan::Request;
use super::problem::Problem;
use super::slips;
use super::verdict::{Verdict, Why, verdict};

/// A block and what is to be done with it.
pub(super) struct Candidate<'a> {
    pub(super) block: &'a Block,
    pub(super) fate: Fate,
}

pub(super) enum Fate {
    Runs {
        language: Language,
        asked: Box<Asked>,
        held: bool,
        body: Vec<u8>,
        /// The results its code is put together from.
        calls: Vec<NowebCall>,
    },
    Skipped(String),
    /// `Request::names` leaves it out.
    NotAsked,
}

/// What is to be done with a block; what is wrong with it goes to `problems`.
pub(super) fn fate(
    block: &Block,
    languages: &Languages,
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
    let asked = Box::new(arguments::read(block, &language, problems));
    Fate::Runs { language, asked, held, body: Vec::new(), calls: Vec::new() }
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

/// Leaves out the blocks that were not asked for.
pub(super) fn choose(
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
pub(super) fn skip_the_deprived(candidates: &mut [Candidate], names: &Names, waits: &[Wait]) {
    let mut needed_by = vec![Vec::new(); candidates.len()];
    for wait in waits.iter().filter(|wait| wait.requirement == Requirement::Success) {
        needed_by[wait.from].push(wait.to);
    }
    let mut open: Vec<usize> =
        (0..candidates.len()).filter(|&place| matches!(candidates[place].fate, Fate::Skipped(_))).collect();
    while let Some(place) = open.pop() {
        let (missing, line) = (names.title(place), names.line(place));
        let reason = format!("it requires `{missing}` (line {line}), which does not run");
        for &dependent in &needed_by[place] {
            if runs(&candidates[dependent]) {
                candidates[dependent].fate = Fate::Skipped(reason.clone());
                open.push(dependent);
            }
        }
    }
}

/// Whether the block runs.
pub(super) fn runs(candidate: &Candidate) -> bool {
    matches!(candidate.fate, Fate::Runs { .. })
}

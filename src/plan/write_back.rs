//! Writes the results of a run into its document. Blocks are matched by identity, not by position.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use borges_babel::{self as babel, Arguments, Insertion, ResultUpdate, Value};
use borges_org::{self as org, Document, Hash, Target};
use borges_task::{TaskSpec, index_of};

use super::recipe::{Files, Recipes, ResultTarget, Values};
use super::status_note::StatusNote;

/// What a run has come to, for its document.
#[derive(Debug, Clone, Copy)]
pub struct RunResults<'a> {
    /// How its tasks were put together.
    pub recipes: &'a Recipes,
    /// Its tasks, in the order of their numbers.
    pub tasks: &'a [std::sync::Arc<TaskSpec>],
    /// What those that ended have yielded.
    pub values: &'a Values,
    /// The files that were read for it.
    pub files: &'a Files,
    /// What the document notes of tasks that did not end well.
    pub notes: &'a BTreeMap<u32, StatusNote>,
    /// Tasks that were not run because the document carries their results: these stay as they are.
    pub untouched: &'a BTreeSet<u32>,
    /// Only what Emacs would write: nothing of those that failed of themselves.
    pub emacs_compatible: bool,
}

/// A document with results.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdatedDocument {
    /// The document.
    pub text: Vec<u8>,
    /// Results that are not in it, though they are there: which, and why, for a person.
    pub missing: Vec<String>,
}

/// The document `current` with the results of a run whose document was `original`.
///
/// A block that stands in `current` elsewhere gets its result there; one whose code is another one gets none.
pub fn write_back(original: &[u8], current: &[u8], results: &RunResults) -> UpdatedDocument {
    let document = org::parse(original, &[]);
    let edited = (original != current).then(|| {
        let current_document = org::parse(current, &[]);
        let match_targets = match_targets(&document, &current_document);
        (current_document, match_targets)
    });
    let (current_document, match_targets) = match &edited {
        None => (&document, None),
        Some((current_document, match_targets)) => (current_document, Some(match_targets)),
    };
    let mut missing = Vec::new();
    let mut ready = Vec::new();
    for result_target in &results.recipes.result_targets {
        let Some(result) = prepared_result(result_target, results) else { continue };
        let target = match match_targets {
            None => Some(result_target.target),
            Some(match_targets) => match_targets.get(&result_target.target).copied(),
        };
        match target {
            Some(target) => ready.push((target, result_target, result)),
            None => missing.push(format!(
                "{}: it has changed since, so its result is not written",
                describe(result_target, results)
            )),
        }
    }
    let updates: Vec<ResultUpdate> = ready
        .iter()
        .map(|(target, result_target, result)| ResultUpdate {
            target: *target,
            insertion: result.insertion(result_target, results),
            hash: match (&result.hash, &result.note) {
                // What failed is to be run again.
                (_, Some(_)) => Hash::Remove,
                (Some(hash), None) => Hash::Set(hash),
                (None, None) => Hash::Keep,
            },
            note: result
                .note
                .as_ref()
                .filter(|note| !results.emacs_compatible || !note.exited_on_its_own)
                .map(|note| note.text.as_str()),
            keeps_result: result.stays,
        })
        .collect();
    let written_back = babel::insert_results(current, current_document, &updates);
    for (target, why) in written_back.refused {
        if let Some((_, result_target, _)) = ready.iter().find(|(other, ..)| *other == target) {
            missing.push(format!("{}: {why}", describe(result_target, results)));
        }
    }
    UpdatedDocument { text: written_back.text, missing }
}

/// A result, ready to be written.
struct Result<'a> {
    value: Cow<'a, Value>,
    arguments: &'a Arguments,
    posted: bool,
    hash: Option<String>,
    note: Option<StatusNote>,
    /// The task was not run: what an earlier run has left stays.
    stays: bool,
}

impl Result<'_> {
    fn insertion<'a>(&'a self, result_target: &ResultTarget, results: &RunResults<'a>) -> Insertion<'a> {
        let language = results.recipes.languages.get(result_target.language as usize);
        Insertion {
            value: &self.value,
            arguments: self.arguments,
            language: language.map_or("", |language| language.name.as_str()),
            posted: self.posted,
        }
    }
}

/// What is to be written for one of the returns; `None` where there is nothing yet, or nothing is to be written.
fn prepared_result<'a>(result_target: &ResultTarget, results: &RunResults<'a>) -> Option<Result<'a>> {
    let RunResults { recipes, tasks, values, files, .. } = *results;
    let arguments = recipes.arguments(result_target.arguments)?;
    if results.untouched.contains(&result_target.task) && matches!(result_target.target, Target::Block(_)) {
        return None;
    }
    let note = note(result_target, results);
    let value_of =
        |number: u32| recipes.combined_value(number, |number| values.get(&number).map(|value| &value.value));
    let value = value_of(result_target.task);
    let post = recipes.post(result_target.task);
    let posted = post.and_then(value_of);
    let is_posted = posted.is_some();
    let stays = value.is_none() && note.as_ref().is_some_and(|note| !note.was_launched);
    let value = match (value, post, &note) {
        (Some(value), None, _) => value,
        (Some(_), Some(_), None) => posted?,
        // What `:post` would have made of it, nobody knows.
        (Some(value), Some(_), Some(_)) => posted.unwrap_or(value),
        (None, _, Some(_)) => Cow::Owned(Value::Nil),
        (None, _, None) => return None,
    };
    let spec = tasks.get(index_of(result_target.task)?)?;
    // Emacs has no hash for what several tasks have yielded.
    let hash = recipes
        .instances(result_target.task)
        .is_none()
        .then(|| recipes.hash(spec, values, files, arguments))
        .flatten();
    Some(Result { value, arguments, posted: is_posted, hash, note, stays })
}

/// What is noted of a task, and of the one that its value goes through; of several tasks, of the first that did not end
/// well.
fn note(result_target: &ResultTarget, results: &RunResults) -> Option<StatusNote> {
    let recipes = results.recipes;
    let of = |number: u32| {
        let mut noted = recipes.numbers(number).filter_map(|n| Some((n, results.notes.get(&n)?)));
        let (failed, note) = noted.next()?;
        let mut note = note.clone();
        if recipes.instances(number).is_some() {
            note.text += &format!(" :index {}", failed - number + 1);
            // Those that have run have left something else than an earlier run.
            note.was_launched |= noted.any(|(_, other)| other.was_launched);
        }
        Some(note)
    };
    of(result_target.task).or_else(|| of(recipes.post(result_target.task)?))
}

/// Whose result it is, for a person.
fn describe(result_target: &ResultTarget, results: &RunResults) -> String {
    match index_of(result_target.task).and_then(|index| results.tasks.get(index)) {
        Some(spec) => format!("{}: line {}", spec.block, spec.line),
        None => "a block".to_owned(),
    }
}

/// What the blocks and calls of `document` are in `current`.
///
/// What is the same in both, name and code and arguments, is the same; of several that are, the first is the first.
fn match_targets(document: &Document, current: &Document) -> HashMap<Target, Target> {
    let mut current_document: HashMap<Identity, Vec<Target>> = HashMap::new();
    for (identity, target) in identities(current) {
        current_document.entry(identity).or_default().push(target);
    }
    let mut counts: HashMap<Identity, usize> = HashMap::new();
    let mut match_targets = HashMap::new();
    for (identity, target) in identities(document) {
        let count = counts.entry(identity.clone()).or_default();
        if let Some(&to) = current_document.get(&identity).and_then(|targets| targets.get(*count)) {
            match_targets.insert(target, to);
        }
        *count += 1;
    }
    match_targets
}

/// What makes a block or a call the same as another: its kind, and everything it says of itself.
type Identity = (u8, Vec<Option<String>>, Vec<u8>);

fn identities(document: &Document) -> Vec<(Identity, Target)> {
    let mut all = Vec::new();
    for (n, block) in document.blocks.iter().enumerate() {
        let mut attributes = vec![block.name.clone(), block.language.clone(), block.parameters.clone()];
        attributes.extend(block.headers.iter().cloned().map(Some));
        all.push(((0, attributes, block.body.to_vec()), Target::Block(n)));
    }
    let calls = document.calls.iter().enumerate().map(|(n, call)| (1, call, Target::Call(n)));
    let inline = document.inline_calls.iter().enumerate().map(|(n, call)| (2, call, Target::InlineCall(n)));
    for (kind, call, target) in calls.chain(inline) {
        let attributes = vec![
            call.name.clone(),
            call.inside_header.clone(),
            call.arguments.clone(),
            call.end_header.clone(),
        ];
        all.push(((kind, attributes, Vec::new()), target));
    }
    for (n, block) in document.inline_blocks.iter().enumerate() {
        let attributes = vec![Some(block.language.clone()), block.parameters.clone()];
        all.push(((3, attributes, block.body.clone().into_bytes()), Target::InlineBlock(n)));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Plan, PlanOptions, plan};
    use borges_babel::Execution;

    /// The document `current` once all tasks of `original` have printed their block's name.
    fn written_back(original: &str, current: &str) -> (String, Vec<String>) {
        let document = org::parse(original.as_bytes(), &[]);
        let Plan { tasks, recipes, .. } =
            plan(original.as_bytes(), &document, &PlanOptions::default()).unwrap();
        let (mut values, files) = (Values::new(), Files::new());
        for spec in &tasks {
            let stdout = format!("of {}\n", spec.block);
            let execution = Execution { exit_code: 0, stdout: stdout.as_bytes(), value: None };
            let result = recipes.result(spec, &values, &files, &execution).unwrap();
            values.insert(spec.number, Arc::new(result));
        }
        let (notes, untouched) = (BTreeMap::new(), BTreeSet::new());
        let results = RunResults {
            recipes: &recipes,
            tasks: &tasks,
            values: &values,
            files: &files,
            notes: &notes,
            untouched: &untouched,
            emacs_compatible: true,
        };
        let UpdatedDocument { text, missing } = write_back(original.as_bytes(), current.as_bytes(), &results);
        (String::from_utf8(text).unwrap(), missing)
    }

    const DOCUMENT: &str = "#+name: a\n#+begin_src sh\n1\n#+end_src\n\n#+begin_src sh\n2\n#+end_src\n\n\
                            #+begin_src sh\n2\n#+end_src\n\nText src_sh{3} and call_a(x=1).\n\n#+call: a(x=2)\n";

    #[test]
    fn results_are_inserted_below_their_blocks() {
        let (text, missing) = written_back(DOCUMENT, DOCUMENT);
        insta::assert_snapshot!(text);
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn results_follow_moved_blocks() {
        let (block, rest) = DOCUMENT.split_at(DOCUMENT.find("#+begin_src sh\n2").unwrap());
        let edited = format!("* New\n{}\n* Old\n{block}", rest.replacen("2\n#+end", "two\n#+end", 1));
        let (text, missing) = written_back(DOCUMENT, &edited);
        insta::assert_snapshot!(text);
        assert_eq!(missing, ["line-10: line 10: it has changed since, so its result is not written"]);
    }
}

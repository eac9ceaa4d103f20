//! Results into a document, by the block they belong to and not by where it stood.

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
    pub as_emacs: bool,
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
pub fn write_back(original: &[u8], current: &[u8], yielded: &RunResults) -> UpdatedDocument {
    let document = org::parse(original, &[]);
    let edited = (original != current).then(|| {
        let there = org::parse(current, &[]);
        let moved = moved(&document, &there);
        (there, moved)
    });
    let (there, moved) = match &edited {
        None => (&document, None),
        Some((there, moved)) => (there, Some(moved)),
    };
    let mut missing = Vec::new();
    let mut ready = Vec::new();
    for returns in &yielded.recipes.returns {
        let Some(result) = result(returns, yielded) else { continue };
        let target = match moved {
            None => Some(returns.target),
            Some(moved) => moved.get(&returns.target).copied(),
        };
        match target {
            Some(target) => ready.push((target, returns, result)),
            None => missing.push(format!(
                "{}: it has changed since, so its result is not written",
                told(returns, yielded)
            )),
        }
    }
    let outcomes: Vec<ResultUpdate> = ready
        .iter()
        .map(|(target, returns, result)| ResultUpdate {
            target: *target,
            insertion: result.insertion(returns, yielded),
            hash: match (&result.hash, &result.note) {
                // What failed is to be run again.
                (_, Some(_)) => Hash::Remove,
                (Some(hash), None) => Hash::Set(hash),
                (None, None) => Hash::Keep,
            },
            note: result
                .note
                .as_ref()
                .filter(|note| !yielded.as_emacs || !note.of_itself)
                .map(|note| note.text.as_str()),
            keeps_result: result.stays,
        })
        .collect();
    let written = babel::insert_results(current, there, &outcomes);
    for (target, why) in written.refused {
        if let Some((_, returns, _)) = ready.iter().find(|(other, ..)| *other == target) {
            missing.push(format!("{}: {why}", told(returns, yielded)));
        }
    }
    UpdatedDocument { text: written.text, missing }
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
    fn insertion<'a>(&'a self, returns: &ResultTarget, yielded: &RunResults<'a>) -> Insertion<'a> {
        let language = yielded.recipes.languages.get(returns.language as usize);
        Insertion {
            value: &self.value,
            arguments: self.arguments,
            language: language.map_or("", |language| language.name.as_str()),
            posted: self.posted,
        }
    }
}

/// What is to be written for one of the returns; `None` where there is nothing yet, or nothing is to be written.
fn result<'a>(returns: &ResultTarget, yielded: &RunResults<'a>) -> Option<Result<'a>> {
    let RunResults { recipes, tasks, values, files, .. } = *yielded;
    let arguments = recipes.arguments(returns.arguments)?;
    if yielded.untouched.contains(&returns.task) && matches!(returns.target, Target::Block(_)) {
        return None;
    }
    let note = note(returns, yielded);
    let value_of =
        |number: u32| recipes.combined_value(number, |number| values.get(&number).map(|own| &own.value));
    let own = value_of(returns.task);
    let post = recipes.post(returns.task);
    let posted = post.and_then(value_of);
    let is_posted = posted.is_some();
    let stays = own.is_none() && note.as_ref().is_some_and(|note| !note.ran);
    let value = match (own, post, &note) {
        (Some(own), None, _) => own,
        (Some(_), Some(_), None) => posted?,
        // What `:post` would have made of it, nobody knows.
        (Some(own), Some(_), Some(_)) => posted.unwrap_or(own),
        (None, _, Some(_)) => Cow::Owned(Value::Nil),
        (None, _, None) => return None,
    };
    let spec = tasks.get(index_of(returns.task)?)?;
    // Emacs has no hash for what several tasks have yielded.
    let hash = recipes
        .instances(returns.task)
        .is_none()
        .then(|| recipes.hash(spec, values, files, arguments))
        .flatten();
    Some(Result { value, arguments, posted: is_posted, hash, note, stays })
}

/// What is noted of a task, and of the one that its value goes through; of several tasks, of the first that did not end
/// well.
fn note(returns: &ResultTarget, yielded: &RunResults) -> Option<StatusNote> {
    let recipes = yielded.recipes;
    let of = |number: u32| {
        let mut noted = recipes.numbers(number).filter_map(|n| Some((n, yielded.notes.get(&n)?)));
        let (failed, note) = noted.next()?;
        let mut note = note.clone();
        if recipes.instances(number).is_some() {
            note.text += &format!(" :index {}", failed - number + 1);
            // Those that have run have left something else than an earlier run.
            note.ran |= noted.any(|(_, other)| other.ran);
        }
        Some(note)
    };
    of(returns.task).or_else(|| of(recipes.post(returns.task)?))
}

/// Whose result it is, for a person.
fn told(returns: &ResultTarget, yielded: &RunResults) -> String {
    match index_of(returns.task).and_then(|place| yielded.tasks.get(place)) {
        Some(spec) => format!("{}: line {}", spec.block, spec.line),
        None => "a block".to_owned(),
    }
}

/// What the blocks and calls of `document` are in `current`.
///
/// What is the same in both, name and code and arguments, is the same; of several that are, the first is the first.
fn moved(document: &Document, current: &Document) -> HashMap<Target, Target> {
    let mut there: HashMap<Identity, Vec<Target>> = HashMap::new();
    for (identity, target) in identities(current) {
        there.entry(identity).or_default().push(target);
    }
    let mut seen: HashMap<Identity, usize> = HashMap::new();
    let mut moved = HashMap::new();
    for (identity, target) in identities(document) {
        let count = seen.entry(identity.clone()).or_default();
        if let Some(&to) = there.get(&identity).and_then(|targets| targets.get(*count)) {
            moved.insert(target, to);
        }
        *count += 1;
    }
    moved
}

/// What makes a block or a call the same as another: its kind, and everything it says of itself.
type Identity = (u8, Vec<Option<String>>, Vec<u8>);

fn identities(document: &Document) -> Vec<(Identity, Target)> {
    let mut all = Vec::new();
    for (n, block) in document.blocks.iter().enumerate() {
        let mut said = vec![block.name.clone(), block.language.clone(), block.parameters.clone()];
        said.extend(block.headers.iter().cloned().map(Some));
        all.push(((0, said, block.body.to_vec()), Target::Block(n)));
    }
    let calls = document.calls.iter().enumerate().map(|(n, call)| (1, call, Target::Call(n)));
    let inline = document.inline_calls.iter().enumerate().map(|(n, call)| (2, call, Target::InlineCall(n)));
    for (kind, call, target) in calls.chain(inline) {
        let said = vec![
            call.name.clone(),
            call.inside_header.clone(),
            call.arguments.clone(),
            call.end_header.clone(),
        ];
        all.push(((kind, said, Vec::new()), target));
    }
    for (n, block) in document.inline_blocks.iter().enumerate() {
        let said = vec![Some(block.language.clone()), block.parameters.clone()];
        all.push(((3, said, block.body.clone().into_bytes()), Target::InlineBlock(n)));
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
    fn written(original: &str, current: &str) -> (String, Vec<String>) {
        let document = org::parse(original.as_bytes(), &[]);
        let Plan { tasks, recipes, .. } =
            plan(original.as_bytes(), &document, &PlanOptions::default()).unwrap();
        let (mut values, files) = (Values::new(), Files::new());
        for spec in &tasks {
            let stdout = format!("of {}\n", spec.block);
            let ended = Execution { exit_code: 0, stdout: stdout.as_bytes(), value: None };
            let finished = recipes.result(spec, &values, &files, &ended).unwrap();
            values.insert(spec.number, Arc::new(finished));
        }
        let (notes, untouched) = (BTreeMap::new(), BTreeSet::new());
        let yielded = RunResults {
            recipes: &recipes,
            tasks: &tasks,
            values: &values,
            files: &files,
            notes: &notes,
            untouched: &untouched,
            as_emacs: true,
        };
        let UpdatedDocument { text, missing } = write_back(original.as_bytes(), current.as_bytes(), &yielded);
        (String::from_utf8(text).unwrap(), missing)
    }

    const DOCUMENT: &str = "#+name: a\n#+begin_src sh\n1\n#+end_src\n\n#+begin_src sh\n2\n#+end_src\n\n\
                            #+begin_src sh\n2\n#+end_src\n\nText src_sh{3} and call_a(x=1).\n\n#+call: a(x=2)\n";

    #[test]
    fn results_go_to_their_blocks() {
        let (text, missing) = written(DOCUMENT, DOCUMENT);
        insta::assert_snapshot!(text);
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn an_edited_document_gets_them_where_its_blocks_are_now() {
        let (block, rest) = DOCUMENT.split_at(DOCUMENT.find("#+begin_src sh\n2").unwrap());
        let edited = format!("* New\n{}\n* Old\n{block}", rest.replacen("2\n#+end", "two\n#+end", 1));
        let (text, missing) = written(DOCUMENT, &edited);
        insta::assert_snapshot!(text);
        assert_eq!(missing, ["line-10: line 10: it has changed since, so its result is not written"]);
    }
}

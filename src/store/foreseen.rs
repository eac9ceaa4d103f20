//! Which tasks of a document would not be run, before anything runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::{Cache, CachedResult};
use borges_plan::{CacheKey, CacheMode, EMBEDDED_ORIGIN, Files, Plan, Recipes, Values};
use borges_task::TaskSpec;

/// The tasks of `plan` that would not be run, by number, each with where its result is: in `document`, as it was written, or
/// in the cache. As far as it can be told: what refers to a block that would run is not among them. `read` reads files
/// that the document names.
pub fn predict_cache_hits(
    plan: &Plan,
    document: &[u8],
    caching: CacheMode,
    cache: Option<&Cache>,
    read: impl Fn(&str) -> Result<Bytes, String>,
) -> BTreeMap<u32, String> {
    let Plan { tasks, recipes, .. } = plan;
    let carried = recipes.embedded_results(document);
    let mut known = BTreeMap::new();
    let (mut values, mut files) = (Values::new(), Files::new());
    // Each is looked for once: when all that goes into it is known.
    let mut ready: Vec<&Arc<TaskSpec>> = Vec::new();
    let mut waiting: HashMap<u32, Vec<&Arc<TaskSpec>>> = HashMap::new();
    let mut missing: HashMap<u32, usize> = HashMap::new();
    for spec in tasks.iter().filter(|spec| recipes.is_cacheable(spec, caching)) {
        let needs = recipes.dependencies(spec.number);
        if needs.is_empty() {
            ready.push(spec);
        }
        missing.insert(spec.number, needs.len());
        for needed in needs {
            waiting.entry(needed).or_default().push(spec);
        }
    }
    while let Some(spec) = ready.pop() {
        for path in recipes.external_files(spec.number) {
            let content = read(&path);
            files.insert(path, content);
        }
        let of_document = carried.get(&spec.number);
        let found = match of_document.filter(|carried| recipes.is_valid(carried, spec, &values, &files)) {
            Some(carried) => Some((carried.block_result(), EMBEDDED_ORIGIN.to_owned())),
            None => kept(spec, recipes, (&values, &files), cache).and_then(|kept| {
                let left = (&*kept.stdout, kept.value.as_deref());
                Some((recipes.result_of(spec, &values, &files, left).ok()?, kept.origin()))
            }),
        };
        let Some((finished, origin)) = found else { continue };
        values.insert(spec.number, Arc::new(finished));
        known.insert(spec.number, origin);
        for waits in waiting.remove(&spec.number).unwrap_or_default() {
            if let Some(missing) = missing.get_mut(&waits.number) {
                *missing -= 1;
                if *missing == 0 {
                    ready.push(waits);
                }
            }
        }
    }
    known
}

/// What is kept of a task.
fn kept(
    spec: &TaskSpec,
    recipes: &Recipes,
    (values, files): (&Values, &Files),
    cache: Option<&Cache>,
) -> Option<CachedResult> {
    cache?.get(&CacheKey::of(&recipes.command(spec, values, files).ok()?), None)
}

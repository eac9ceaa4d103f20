//! Predicts the cache hits of a document before it runs, for a dry run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use borges_task::TaskSpec;
use bytes::Bytes;

use super::cache_key::{CacheKey, CacheMode, EMBEDDED_ORIGIN};
use super::plan::Plan;
use super::recipe::{Files, Recipes, Values};

/// The output of an earlier success, from the result cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedOutput {
    /// The standard output.
    pub stdout: Bytes,
    /// The value; `None` if the block left none.
    pub value: Option<Bytes>,
    /// The text that tells a person where the result comes from.
    pub origin: String,
}

/// The tasks of `plan` whose result is in `document` or in the cache, by number, with the origin of the result.
///
/// A task that depends on a task without a hit is never a hit, because its inputs are unknown. `cached` looks a key up in
/// the cache, and `read_file` reads files that the document names.
pub fn predict_cache_hits(
    plan: &Plan,
    document: &[u8],
    caching: CacheMode,
    cached: impl Fn(&CacheKey) -> Option<CachedOutput>,
    read_file: impl Fn(&str) -> Result<Bytes, String>,
) -> BTreeMap<u32, String> {
    let Plan { tasks, recipes, .. } = plan;
    let embedded_results = recipes.embedded_results(document);
    let mut hits = BTreeMap::new();
    let (mut values, mut files) = (Values::new(), Files::new());
    // Each task is looked up once, after all its dependencies.
    let mut ready: Vec<&Arc<TaskSpec>> = Vec::new();
    let mut dependents: HashMap<u32, Vec<&Arc<TaskSpec>>> = HashMap::new();
    let mut unresolved: HashMap<u32, usize> = HashMap::new();
    for spec in tasks.iter().filter(|spec| recipes.is_cacheable(spec, caching)) {
        let dependencies = recipes.dependencies(spec.number);
        if dependencies.is_empty() {
            ready.push(spec);
        }
        unresolved.insert(spec.number, dependencies.len());
        for dependency in dependencies {
            dependents.entry(dependency).or_default().push(spec);
        }
    }
    while let Some(spec) = ready.pop() {
        for path in recipes.external_files(spec.number) {
            let content = read_file(&path);
            files.insert(path, content);
        }
        let embedded = embedded_results.get(&spec.number);
        let hit = match embedded.filter(|result| recipes.is_valid(result, spec, &values, &files)) {
            Some(result) => Some((result.block_result(), EMBEDDED_ORIGIN.to_owned())),
            None => key(spec, recipes, (&values, &files)).and_then(|key| {
                let CachedOutput { stdout, value, origin } = cached(&key)?;
                let outputs = (&*stdout, value.as_deref());
                Some((recipes.result_of(spec, &values, &files, outputs).ok()?, origin))
            }),
        };
        let Some((finished, origin)) = hit else { continue };
        values.insert(spec.number, Arc::new(finished));
        hits.insert(spec.number, origin);
        for dependent in dependents.remove(&spec.number).unwrap_or_default() {
            if let Some(unresolved) = unresolved.get_mut(&dependent.number) {
                *unresolved -= 1;
                if *unresolved == 0 {
                    ready.push(dependent);
                }
            }
        }
    }
    hits
}

/// The cache key of a task; `None` if the task cannot be composed.
fn key(spec: &TaskSpec, recipes: &Recipes, (values, files): (&Values, &Files)) -> Option<CacheKey> {
    Some(CacheKey::of(&recipes.command(spec, values, files).ok()?))
}

//! Predicts the cache hits of a document before it runs, for a dry run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::{Cache, CachedResult};
use borges_plan::{CacheKey, CacheMode, EMBEDDED_ORIGIN, Files, Plan, Recipes, Values};
use borges_task::TaskSpec;

/// The tasks of `plan` whose result is in `document` or in the cache, by number, with the origin of the result.
///
/// A task that depends on a task without a hit is never a hit, because its inputs are unknown. `read_file` reads files
/// that the document names.
pub fn predict_cache_hits(
    plan: &Plan,
    document: &[u8],
    caching: CacheMode,
    cache: Option<&Cache>,
    read_file: impl Fn(&str) -> Result<Bytes, String>,
) -> BTreeMap<u32, String> {
    let Plan { tasks, recipes, .. } = plan;
    let embedded_results = recipes.carried(document);
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
            Some(result) => Some((result.finished(), EMBEDDED_ORIGIN.to_owned())),
            None => cached_result(spec, recipes, (&values, &files), cache).and_then(|cached| {
                let outputs = (&*cached.stdout, cached.value.as_deref());
                Some((recipes.result_of(spec, &values, &files, outputs).ok()?, cached.origin()))
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

/// The cached result of a task.
fn cached_result(
    spec: &TaskSpec,
    recipes: &Recipes,
    (values, files): (&Values, &Files),
    cache: Option<&Cache>,
) -> Option<CachedResult> {
    cache?.get(&CacheKey::of(&recipes.command(spec, values, files).ok()?), None)
}

//! The result cache of a run: which tasks use it, the key of a task, and results embedded in the document.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use borges_babel::{self as babel, BlockResult, Execution, Value};
use borges_org::{self as org, Document, Element, ResultLocator, Target};
use borges_task::{Command, Ensure, InputFile, TaskSpec};

use super::recipe::{Files, Recipes, Values};

/// Which tasks of a run are not run again where a result is kept, and of which one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CacheMode {
    /// Those whose block says `:cache yes`.
    #[default]
    OptIn,
    /// The same; the results of all are kept.
    StoreAll,
    /// All.
    Resume,
    /// None: the run is to show what comes out now.
    Disabled,
}

/// By what a task is known: what is run, and nothing else.
///
/// A hash over the program and its arguments, the code as it is run with the values of its variables, its other files,
/// the tangled ones among them, what it reads as its input, what `:env` says, its directory, and its image by the name
/// it has in the document. Header arguments count as far as they change any of these: not those that say how a result
/// is shown, how much memory there is, or what is done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(pub [u8; 32]);

/// Goes up when what is hashed becomes something else.
const KEY_VERSION: u8 = 1;

impl CacheKey {
    /// That of a task as it would be launched.
    pub fn of(command: &Command) -> Self {
        let Command { program, arguments, environment, directory, image, body, files, stdin } = command;
        let mut hash = Hasher(Sha256::new_with_prefix([KEY_VERSION]));
        hash.text(Some(program));
        hash.list(arguments.iter(), |hash, argument| hash.text(Some(argument)));
        hash.list(environment.iter(), |hash, (name, value)| {
            hash.text(Some(name));
            hash.text(Some(value));
        });
        hash.text(directory.as_deref());
        hash.text(image.as_deref());
        hash.bytes(body);
        hash.list(files.iter(), |hash, InputFile { path, mode, bytes }| {
            hash.text(Some(path));
            hash.bytes(&mode.to_le_bytes());
            hash.bytes(bytes);
        });
        hash.text(stdin.as_deref());
        Self(hash.0.finalize().into())
    }
}

/// As 64 hexadecimal digits.
impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Tells where one thing ends and the next begins.
struct Hasher(Sha256);

impl Hasher {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, text: Option<&str>) {
        self.0.update([u8::from(text.is_some())]);
        self.bytes(text.unwrap_or_default().as_bytes());
    }

    fn list<T>(&mut self, items: impl ExactSizeIterator<Item = T>, mut each: impl FnMut(&mut Self, T)) {
        self.0.update((items.len() as u64).to_le_bytes());
        for item in items {
            each(self, item);
        }
    }
}

/// A result that the document carries, with its hash.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddedResult {
    hash: String,
    value: Value,
}

/// What is told of a task whose result the document carries.
pub const EMBEDDED_ORIGIN: &str = "cached: its result stands in the document";

impl EmbeddedResult {
    /// What it comes to for who refers to the block.
    pub fn block_result(&self) -> BlockResult {
        BlockResult { value: self.value.clone(), this: self.value.clone(), file: None }
    }
}

impl Recipes {
    /// Whether a task is not run again where a result is kept.
    pub fn is_cacheable(&self, spec: &TaskSpec, mode: CacheMode) -> bool {
        let asks = || self.asks_for_cache(spec.number);
        is_storable(spec)
            && match mode {
                CacheMode::OptIn | CacheMode::StoreAll => asks(),
                CacheMode::Resume => self.recipe(spec.number).is_some(),
                CacheMode::Disabled => false,
            }
    }

    /// Whether what a task has left is kept when it has ended well.
    pub fn should_store(&self, spec: &TaskSpec, mode: CacheMode) -> bool {
        is_storable(spec)
            && match mode {
                CacheMode::OptIn => self.asks_for_cache(spec.number),
                CacheMode::StoreAll | CacheMode::Resume => self.recipe(spec.number).is_some(),
                CacheMode::Disabled => false,
            }
    }

    fn asks_for_cache(&self, number: u32) -> bool {
        let arguments = || self.arguments(self.recipe(number)?.arguments);
        arguments().is_some_and(|arguments| arguments.text(":cache").as_deref() == Some("yes"))
    }

    /// The results with a hash that the document carries, of blocks that say `:cache yes`, by the numbers of their
    /// tasks.
    pub fn embedded_results(&self, document: &[u8]) -> BTreeMap<u32, EmbeddedResult> {
        if !(1..=self.tasks.len()).any(|number| u32::try_from(number).is_ok_and(|n| self.asks_for_cache(n))) {
            return BTreeMap::new();
        }
        let parsed = org::parse(document, &[]);
        let slots = ResultLocator::new(&parsed, document);
        let mut embedded = BTreeMap::new();
        for result_target in &self.result_targets {
            let is_own = matches!(result_target.target, Target::Block(_))
                && self.post(result_target.task).is_none()
                && self.instances(result_target.task).is_none();
            if !is_own || !self.asks_for_cache(result_target.task) {
                continue;
            }
            let Some((hash, node)) = slots.existing_result(result_target.target) else { continue };
            let value = match node {
                None => Some(Value::Nil),
                Some(node) => value(&parsed, node),
            };
            if let Some(value) = value {
                embedded.insert(result_target.task, EmbeddedResult { hash: hash.to_owned(), value });
            }
        }
        embedded
    }

    /// What a task that ended well yields, by what it left: what it printed, and its value.
    ///
    /// # Errors
    /// What is missing.
    pub fn result_of(
        &self,
        spec: &TaskSpec,
        values: &Values,
        files: &Files,
        (stdout, value): (&[u8], Option<&[u8]>),
    ) -> Result<BlockResult, String> {
        self.result(spec, values, files, &Execution { exit_code: 0, stdout, value })
    }

    /// Whether a carried result is still that of the task, whose inputs have to be among `values`.
    pub fn is_valid(
        &self,
        embedded: &EmbeddedResult,
        spec: &TaskSpec,
        values: &Values,
        files: &Files,
    ) -> bool {
        let arguments = self.recipe(spec.number).and_then(|recipe| self.arguments(recipe.arguments));
        let hash = arguments.and_then(|arguments| self.hash(spec, values, files, arguments));
        hash.as_ref() == Some(&embedded.hash)
    }
}

/// A service yields nothing; what waits for approval is meant to be seen by a person each time.
fn is_storable(spec: &TaskSpec) -> bool {
    spec.policy.ensure == Ensure::Finishes && !spec.requires_approval
}

/// What an element below `#+RESULTS:` comes to.
fn value(document: &Document, node: usize) -> Option<Value> {
    let tree = &document.tree;
    match tree.nodes().get(node)?.element {
        Element::Drawer => tree.children(Some(node)).find_map(|inner| value(document, inner)),
        Element::Keyword => None,
        Element::Paragraph => {
            let text = babel::element(document, node)?;
            let link_target = match &text {
                Value::Text(text) => {
                    let link = text.trim().strip_prefix("[[file:");
                    link.and_then(|rest| rest.split(']').next()).map(Value::text)
                }
                _ => None,
            };
            Some(link_target.unwrap_or(text))
        }
        _ => babel::element(document, node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Plan, PlanOptions, plan};

    fn plan_of(source: &str) -> Plan {
        plan(source.as_bytes(), &org::parse(source.as_bytes(), &[]), &PlanOptions::default()).unwrap()
    }

    fn key(source: &str) -> CacheKey {
        let Plan { tasks, recipes, .. } = plan_of(source);
        CacheKey::of(&recipes.command(&tasks[0], &Values::new(), &Files::new()).unwrap())
    }

    #[test]
    fn key_depends_only_on_what_runs() {
        let block = |line: &str, body: &str| key(&format!("#+begin_src {line}\n{body}\n#+end_src\n"));
        let first = block("sh :var x=1", "echo $x");
        for same in [
            "sh :var x=1 :mem 64",
            "sh :var x=1 :wrap quote :exports both :cache yes",
            "sh :retry 3 :var x=1",
        ] {
            assert_eq!(block(same, "echo $x"), first, "{same}");
        }
        assert_eq!(key("Text\n\n#+name: other\n#+begin_src sh :var x=1\necho $x\n#+end_src\n"), first);
        let variants = [
            block("sh :var x=2", "echo $x"),
            block("sh :var x=1", "echo  $x"),
            block("sh :var y=1", "echo $x"),
            block("bash :var x=1", "echo $x"),
            block("sh :var x=1 :env A=1", "echo $x"),
            block("sh :var x=1 :dir /tmp", "echo $x"),
            block("sh :var x=1 :dockerize t :image debian", "echo $x"),
            block("sh :var x=1 :dockerize t :image debian:12", "echo $x"),
            block(
                "sh :var x=1 :stdin x",
                "echo $x\n#+end_src\n\n#+name: x\n#+begin_example\na\n#+end_example\n#+begin_src sh :eval no",
            ),
            key("#+begin_src sh :var x=1\necho $x\n#+end_src\n#+begin_src conf :tangle a\nb\n#+end_src\n"),
        ];
        let all: Vec<CacheKey> = variants.into_iter().chain([first]).collect();
        for (n, key) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == key), Some(n), "case {n}");
        }
    }

    #[test]
    fn embedded_results_are_read_from_the_document() {
        let embedded = |block: &str, results: &str| {
            let source = format!("#+begin_src sh {block}\necho x\n#+end_src\n\n{results}\nText\n");
            plan_of(&source)
                .recipes
                .embedded_results(source.as_bytes())
                .remove(&1)
                .map(|embedded| embedded.value.prin1())
        };
        assert_eq!(embedded("", "#+RESULTS[a]:\n: x\n"), None);
        assert_eq!(embedded(":cache yes", "#+RESULTS:\n: x\n"), None);
        let values = [": x y\n", "| 1 | b |\n", "[[file:a.png]]\n", ":results:\n- a\n:end:\n", ""];
        let values = values.map(|lines| embedded(":cache yes", &format!("#+RESULTS[a]:\n{lines}")).unwrap());
        insta::assert_snapshot!(values.join("\n"), @r#"
        "x y"
        ((1 "b"))
        "a.png"
        ("a")
        nil
        "#);
    }

    #[test]
    fn cache_modes_decide_lookup_and_storage() {
        let source = "#+begin_src sh\n1\n#+end_src\n#+begin_src sh :cache yes\n2\n#+end_src\n\
                      #+begin_src sh :cache yes :ensure it-keeps-running\n3\n#+end_src\n";
        let Plan { tasks, recipes, .. } = plan_of(source);
        let table =
            [CacheMode::OptIn, CacheMode::StoreAll, CacheMode::Resume, CacheMode::Disabled].map(|mode| {
                let cacheable = tasks.iter().map(|spec| recipes.is_cacheable(spec, mode)).collect::<Vec<_>>();
                let storable = tasks.iter().map(|spec| recipes.should_store(spec, mode)).collect::<Vec<_>>();
                (cacheable, storable)
            });
        let (none, second, both) = (vec![false; 3], vec![false, true, false], vec![true, true, false]);
        assert_eq!(table[0], (second.clone(), second.clone()));
        assert_eq!(table[1], (second, both.clone()));
        assert_eq!(table[2], (both.clone(), both));
        assert_eq!(table[3], (none.clone(), none));
    }
}

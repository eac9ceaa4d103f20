//! The results of blocks of every language, compared with those that Emacs writes.
//!
//! NAME.out.org is what Org makes of NAME.org, in the version in `ORG-VERSION`; `regenerate` makes these files again.
//! `native.out.org` was written by hand, because Emacs does not run its languages in this way. Blocks are composed, run
//! in a sandbox, and their results are written without a scheduler; the document must be the same byte for byte.
//!
//! `emacs_oracle` runs Emacs and Borges on documents generated from a seed, and `whole_documents` does so by
//! `borges run --write`. `DIFFERENCES.org` lists where Borges differs on purpose.

mod emacs_oracle;
mod generate;
mod whole_documents;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use borges_babel::{
    self, Arguments, BODY, BlockResult, Execution, Insertion, Invocation, Languages, ResultUpdate, Source,
    VALUE, Value,
};
use borges_org::{self as org, Block, Document, Hash, Target};

/// The value that `reference`, a literal or the name of an element, stands for.
fn value(document: &Document, reference: &str) -> Value {
    match borges_babel::read(reference) {
        Value::Text(name) if !reference.starts_with('"') => {
            let (name, index) = match name.split_once('[') {
                Some((name, index)) => (name.to_owned(), Some(index.trim_end_matches(']').to_owned())),
                None => (name, None),
            };
            let tree = &document.tree;
            let named = |&node: &usize| {
                let keywords = String::from_utf8_lossy(tree.affiliated(node));
                keywords.lines().any(|line| line.strip_prefix("#+name: ") == Some(name.as_str()))
            };
            let node =
                (0..tree.nodes().len()).find(named).unwrap_or_else(|| panic!("nothing is called {name}"));
            let value = borges_babel::element(document, node).unwrap();
            index.map_or(value.clone(), |index| borges_babel::index(&value, &index))
        }
        value => value,
    }
}

/// Runs a composed block; its exit code and standard output.
fn run(composed: &Invocation, sandbox: &Path, directory: &Path) -> (i32, Vec<u8>) {
    let place = |path: &str, mode: u32, bytes: &[u8]| {
        let path = sandbox.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    place(BODY, 0o755, &composed.body);
    for file in &composed.files {
        place(&file.path, file.mode, &file.bytes);
    }
    let own = |word: &str| word == BODY || composed.files.iter().any(|file| file.path == word);
    let placed =
        |word: &str| if own(word) { sandbox.join(word).display().to_string() } else { word.to_owned() };
    let stdin = match &composed.stdin {
        None => Stdio::null(),
        Some(path) => fs::File::open(sandbox.join(path)).unwrap().into(),
    };
    let output = Command::new(placed(&composed.program))
        .args(composed.arguments.iter().map(|word| placed(word)))
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| matches!(name.as_str(), "PATH" | "HOME" | "RUSTUP_HOME")))
        .env("LANG", "C.UTF-8")
        .env("MESOS_SANDBOX", sandbox)
        .current_dir(directory)
        .stdin(stdin)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", composed.program));
    if !output.status.success() {
        eprintln!("{}: {}", composed.program, String::from_utf8_lossy(&output.stderr));
    }
    (output.status.code().unwrap(), output.stdout)
}

/// Runs a block: its result, its header arguments and its hash.
fn yielded(document: &Document, block: &Block, directory: &Path) -> (BlockResult, Arguments, Option<String>) {
    let name = block.language.as_deref().unwrap();
    let language = Languages::default().get(name).unwrap_or_else(|| panic!("nothing runs {name}"));
    let arguments = Arguments::from_params(&block.params);
    let variables: Vec<(String, Value)> = (block.params.iter())
        .filter(|param| param.key == ":var")
        .map(|param| {
            let (name, reference) = param.text.split_once('=').unwrap();
            (name.to_owned(), value(document, reference))
        })
        .collect();
    let stdin = arguments.text(":stdin").map(|reference| value(document, &reference));
    let body = borges_babel::byte_text::decode(&block.body);
    let source = Source {
        language: &language,
        body: &body,
        arguments: &arguments,
        variables: &variables,
        stdin: stdin.as_ref(),
    };
    let sandbox = tempfile::tempdir().unwrap();
    let (exit_code, stdout) = run(&borges_babel::compose(&source), sandbox.path(), directory);
    let written = fs::read(sandbox.path().join(VALUE)).ok();
    let ended = Execution { exit_code, stdout: &stdout, value: written.as_deref() };
    let finished = borges_babel::apply_file_arg(borges_babel::collect(&source, &ended), &arguments);
    if let Some((name, bytes)) =
        finished.file.as_ref().and_then(|file| Some((&file.name, file.bytes.as_ref()?)))
    {
        fs::write(directory.join(name), bytes).unwrap();
    }
    let cached = arguments.text(":cache").as_deref() == Some("yes");
    // What failed is run again.
    let hash = (cached && ended.exit_code == 0).then(|| borges_babel::hash(&source));
    (finished, arguments, hash)
}

/// The document after all of its blocks have run, first to last.
fn made(source: &[u8], directory: &Path) -> Vec<u8> {
    let document = org::parse(source, &[]);
    let yielded: Vec<(BlockResult, Arguments, Option<String>)> =
        document.blocks.iter().map(|block| yielded(&document, block, directory)).collect();
    let outcomes: Vec<ResultUpdate> = (document.blocks.iter().zip(&yielded).enumerate())
        .map(|(n, (block, (finished, arguments, hash)))| ResultUpdate {
            target: Target::Block(n),
            insertion: Insertion {
                value: &finished.value,
                arguments,
                language: block.language.as_deref().unwrap(),
                posted: false,
            },
            hash: hash.as_deref().map_or(Hash::Keep, Hash::Set),
            note: None,
            keeps_result: false,
        })
        .collect();
    borges_babel::insert_results(source, &document, &outcomes).text
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}

/// The version of Org that the expected documents are of; `regenerate` writes it.
const ORG_VERSION: &str = include_str!("ORG-VERSION");

/// Runs all blocks of a document and compares it with the expected document.
fn check_expected_document(name: &str) {
    let read = |name: &str| fs::read(support::repository("integration/babel").join(name)).unwrap();
    let (source, expected) = (read(&format!("{name}.org")), read(&format!("{name}.out.org")));
    assert!(org::parse(&source[..], &[]).blocks.len() > 5, "{name} holds too little to show anything");
    let directory = tempfile::tempdir().unwrap();
    let got = made(&source, directory.path());
    for (n, (expected, got)) in lines(&expected).iter().zip(&lines(&got)).enumerate() {
        assert_eq!(got, expected, "{name}.out.org:{}, of Org {}", n + 1, ORG_VERSION.trim_end());
    }
    assert_eq!(got, expected, "{name}, of Org {}", ORG_VERSION.trim_end());
}

// An attribute before a case is that of the case, except for the first, where it is that of all.
#[rstest::rstest]
#[case::formats("formats")]
#[ignore = "needs fish, ksh and zsh"]
#[case::shells("shells")]
#[ignore = "needs Emacs, Lua, Node.js, R and Ruby"]
#[case::scripts("scripts")]
#[ignore = "needs Emacs, Node.js, R and Ruby"]
#[case::tables("tables")]
#[ignore = "needs SQLite"]
#[case::filters("filters")]
#[ignore = "needs g++"]
#[case::compiled("compiled")]
#[ignore = "needs Emacs, Lua, Node.js, R, Ruby and SQLite"]
#[case::hashes("hashes")]
#[ignore = "needs Go, Java and make"]
#[case::native("native")]
fn results_match_the_expected_documents(#[case] name: &str) {
    check_expected_document(name);
}

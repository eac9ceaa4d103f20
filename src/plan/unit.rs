//! The units of a document: blocks, calls and inline code, each with its disposition (runs, skipped, excluded).

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use borges_babel::{Language, Languages, Value};
use borges_org::{Block, Position, suggest};

use super::arguments::{self, BlockOptions, ReportedArgs};
use super::diagnostic::Diagnostic;
use super::each_rows::EachRows;
use super::eligibility::{Eligibility, SkipReason, eligibility};
use super::lints;
use super::options::PlanOptions;

/// A block, or a call of one, or code within text, and what is to be done with it.
pub(super) struct Unit<'a> {
    /// What is run, with the header arguments that hold for it, where it stands.
    pub(super) block: BlockSource<'a>,
    pub(super) code: Code,
    /// The file of the sandboxes that the block is.
    pub(super) tangled: Option<String>,
    /// The unit whose value `*this*` is.
    pub(super) this: Option<usize>,
    pub(super) disposition: Disposition,
}

/// A block of the document, or one that was made of it.
pub(super) enum BlockSource<'a> {
    Document(&'a Block),
    Derived(Box<Block>),
}

impl Deref for BlockSource<'_> {
    type Target = Block;

    fn deref(&self) -> &Block {
        match self {
            Self::Document(block) => block,
            Self::Derived(block) => block,
        }
    }
}

/// Where the code of a unit is.
pub(super) enum Code {
    /// That of a block, by its place in the document.
    Block(usize),
    /// This.
    Text(Bytes),
}

pub(super) enum Disposition {
    Runs {
        language: Arc<Language>,
        block_options: Box<BlockOptions>,
        requires_approval: bool,
        /// Its code, with gaps.
        body: Vec<u8>,
        /// What goes into it.
        inputs: Option<Box<Inputs>>,
    },
    Skipped(String),
    /// Not selected by [`PlanOptions::names`].
    Excluded,
}

/// What goes into a unit.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub(super) variables: Vec<(String, InputSource)>,
    pub(super) stdin: Option<InputSource>,
    /// What the gaps of its code are filled with, and where the document says so.
    pub(super) gaps: Vec<InputSource>,
    pub(super) gap_positions: Vec<Position>,
    /// The unit that its value goes through.
    pub(super) post: Option<usize>,
    /// What makes several tasks of it.
    pub(super) each: Option<EachRows>,
}

/// One thing that goes into a unit.
#[derive(Debug)]
pub(super) enum InputSource {
    /// A value that stands in the document.
    Value(Value),
    /// What another unit yields, or a part of it.
    Unit { unit: usize, index: Option<String> },
    /// What another unit yields before its `:post`.
    BeforePost(usize),
    /// Something of another file.
    File { path: String, name: String, index: Option<String> },
}

impl Inputs {
    fn is_empty(&self) -> bool {
        self.all().next().is_none() && self.post.is_none() && self.each.is_none()
    }

    /// Nothing takes no room.
    pub(super) fn non_empty(self) -> Option<Box<Self>> {
        (!self.is_empty()).then(|| Box::new(self))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &InputSource> {
        self.variables.iter().map(|(_, input)| input).chain(&self.stdin).chain(&self.gaps)
    }
}

/// What is to be done with a block; what is wrong with it goes to `diagnostics`.
pub(super) fn disposition(
    block: &Block,
    languages: &Languages,
    options: &PlanOptions,
    reported: &mut ReportedArgs,
    diagnostics: &mut Vec<Diagnostic>,
) -> Disposition {
    let requires_approval = match eligibility(block, languages, options.emacs_compatible) {
        Eligibility::Skipped(why) => {
            hint(block, &why, languages, diagnostics);
            return Disposition::Skipped(why.to_string());
        }
        Eligibility::Held if !options.approval_available => {
            return Disposition::Skipped("it needs approval: `:eval query`".to_owned());
        }
        Eligibility::Held => true,
        Eligibility::Runs => false,
    };
    let Some(language) = block.language.as_deref().and_then(|name| languages.get(name)) else {
        return Disposition::Skipped(SkipReason::NoLanguage.to_string());
    };
    let block_options = Box::new(arguments::read(block, &language, reported, diagnostics));
    Disposition::Runs { language, block_options, requires_approval, body: Vec::new(), inputs: None }
}

/// A language that is nearly one that runs is more likely a slip than a choice.
fn hint(block: &Block, why: &SkipReason, languages: &Languages, diagnostics: &mut Vec<Diagnostic>) {
    if *why == SkipReason::NoLanguage {
        diagnostics.push(lints::no_language(block));
    }
    let SkipReason::UnknownLanguage(name) = why else { return };
    if let Some(near) = suggest(name, languages.names()) {
        let at = Position { line: block.begin_line, column: 1 };
        let text = format!("nothing is known to run `{name}`");
        diagnostics.push(Diagnostic::warning(at, text, format!("Did you mean `{near}`?")));
    }
}

/// The file of the sandboxes that a block is, if it is one and its path there is valid.
///
/// That it has none is wrong only for a block that is nothing else.
pub(super) fn tangled(
    block: &Block,
    languages: &Languages,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<String> {
    let param = block.params.iter().rfind(|param| param.key == ":tangle")?;
    let file = param.text.as_str();
    if block.commented || block.archived || matches!(file, "" | "no" | "yes") {
        return None;
    }
    let parts = || file.split('/');
    let text = if file.starts_with(['/', '~']) || parts().any(|part| part == "..") {
        format!("`:tangle {file}` leads out of the sandbox")
    } else if matches!(parts().next(), Some("block" | "stdout" | "stderr")) || file.ends_with('/') {
        format!("`:tangle {file}` is no file that a block may have in its sandbox")
    } else {
        return Some(parts().filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/"));
    };
    if !matches!(eligibility(block, languages, false), Eligibility::Skipped(SkipReason::Tangled(_))) {
        return None;
    }
    let help =
        "Write a path without `..` and a leading `/` or `~`: each block finds the file in its sandbox.";
    diagnostics.push(Diagnostic::error(param.at, text, help).of(param));
    None
}

/// Whether the block runs.
pub(super) fn runs(unit: &Unit) -> bool {
    matches!(unit.disposition, Disposition::Runs { .. })
}

//! Reads the header arguments of a block into the options of its tasks.

use std::collections::HashSet;

use borges_babel::Language;
use borges_org::{Block, Origin, Param, Position, suggest};
use borges_task::{Ensure, Policy, Requirements, Resources, RetryLimit};

use super::diagnostic::Diagnostic;
use super::image;
use super::keys::{self, BorgesKey, KeyKind};
use super::placement_args;
use super::value_parsers::{self, Help};

/// What a block asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BlockOptions {
    pub(super) resources: Resources,
    /// `:mem` was written.
    pub(super) enforce_memory: bool,
    pub(super) requirements: Requirements,
    /// How many tasks the block is to be, from 1.
    pub(super) instances: u32,
    pub(super) policy: Policy,
    pub(super) environment: Vec<(String, String)>,
    pub(super) directory: Option<String>,
    pub(super) image: Option<String>,
    pub(super) references: Vec<Reference>,
}

/// A block names another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) kind: DependencyArg,
    pub(super) at: Position,
}

/// How the naming block stands to the named one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DependencyArg {
    /// Waits for its success.
    Requires,
    /// Waits for its end.
    After,
    /// Is waited for by it.
    Before,
}

/// The places of odd arguments that several blocks may have in force: what is odd about them is found out, and
/// told, once. Those of a setupfile apart.
pub(super) type ReportedArgs = HashSet<(bool, Position)>;

/// Reads the header arguments in force for `block`; what is wrong or odd with them goes to `diagnostics`.
pub(super) fn read(
    block: &Block,
    language: &Language,
    reported: &mut ReportedArgs,
    diagnostics: &mut Vec<Diagnostic>,
) -> BlockOptions {
    let mut reader =
        ArgumentReader { reported, diagnostics, retry_limit: None, dockerize: None, image: None };
    let mut options = BlockOptions {
        resources: Resources { milli_cpus: 1000, mem: language.mem, ..Resources::default() },
        enforce_memory: false,
        requirements: Requirements::default(),
        instances: 1,
        policy: Policy::default(),
        environment: Vec::new(),
        directory: None,
        image: None,
        references: Vec::new(),
    };
    if let Some((at, text)) = &block.error {
        reader.diagnostics.push(Diagnostic::error(*at, text, ""));
    }
    for param in block.params.iter() {
        match keys::classify(&param.key) {
            KeyKind::Borges(_) | KeyKind::Eligibility | KeyKind::Unsupported { .. } if param.lisp => {
                reader.report_lisp(param);
            }
            // Quoted data is what it is.
            KeyKind::Babel if param.lisp && !param.text.starts_with(['\'', '[']) => reader.report_lisp(param),
            KeyKind::Borges(_) if param.text.matches('"').count() % 2 == 1 => {
                reader.report_unclosed_quote(param);
            }
            KeyKind::Borges(key) => reader.apply(&mut options, key, param),
            KeyKind::Eligibility => {}
            KeyKind::ResultFormat if param.key == ":results" => reader.check_results_words(param),
            KeyKind::ResultFormat | KeyKind::Babel => {}
            KeyKind::Unsupported { harmless } => {
                if !harmless.contains(&param.text.as_str()) {
                    reader.report_unsupported(param);
                }
            }
            KeyKind::Unknown => reader.report_unknown(param),
        }
    }
    options.policy.retry = reader.retry_limit.unwrap_or(match options.policy.ensure {
        Ensure::Finishes => RetryLimit::default(),
        // A service is launched again however often it ends.
        Ensure::KeepsRunning => RetryLimit::Unlimited,
    });
    let (dockerize, image) = (reader.dockerize, reader.image.take());
    options.image = image::select(block, dockerize, image, language.image.as_deref(), |param, diagnostic| {
        reader.report(param, diagnostic);
    });
    if options.image.is_some() {
        reader.check_home_directory(block, options.directory.as_deref());
    } else {
        reader.check_port_mapping(block, &options.requirements);
    }
    options
}

struct ArgumentReader<'a> {
    reported: &'a mut ReportedArgs,
    diagnostics: &'a mut Vec<Diagnostic>,
    retry_limit: Option<RetryLimit>,
    dockerize: Option<bool>,
    image: Option<String>,
}

impl ArgumentReader<'_> {
    fn apply(&mut self, options: &mut BlockOptions, key: BorgesKey, param: &Param) {
        match key {
            BorgesKey::Cpus => self.set(&mut options.resources.milli_cpus, param, value_parsers::milli_cpus),
            BorgesKey::Mem => {
                self.set(&mut options.resources.mem, param, value_parsers::mebibytes);
                options.enforce_memory = true;
            }
            BorgesKey::Disk => self.set(&mut options.resources.disk, param, value_parsers::mebibytes),
            BorgesKey::Gpus => self.set(&mut options.resources.gpus, param, value_parsers::integer),
            BorgesKey::Ensure => self.set(&mut options.policy.ensure, param, value_parsers::ensure),
            BorgesKey::Retry => self.retry_limit = self.value(param, value_parsers::retry_limit),
            BorgesKey::RetryOn => self.set(&mut options.policy.retry_on, param, value_parsers::exit_codes),
            BorgesKey::Backoff => self.set(&mut options.policy.backoff, param, value_parsers::backoff),
            BorgesKey::Timeout => options.policy.timeout = self.value(param, value_parsers::duration),
            BorgesKey::OnPartition => {
                self.set(&mut options.policy.on_partition, param, value_parsers::on_partition);
            }
            BorgesKey::Priority => self.set(&mut options.policy.priority, param, value_parsers::priority),
            BorgesKey::Requires => self.add_references(options, DependencyArg::Requires, param),
            BorgesKey::After => self.add_references(options, DependencyArg::After, param),
            BorgesKey::Before => self.add_references(options, DependencyArg::Before, param),
            BorgesKey::Env => self.set(&mut options.environment, param, value_parsers::environment),
            BorgesKey::Expose => self.set(&mut options.requirements.ports, param, placement_args::ports),
            BorgesKey::Constraint => {
                self.set(&mut options.requirements.constraints, param, placement_args::constraints);
            }
            BorgesKey::Instances => self.set(&mut options.instances, param, value_parsers::instances),
            BorgesKey::Each => {}
            BorgesKey::Dockerize => self.dockerize = self.value(param, image::dockerize),
            BorgesKey::Image => self.image = self.value(param, image::reference),
            BorgesKey::Dir => options.directory = self.value(param, directory),
        }
    }

    fn set<T>(&mut self, to: &mut T, param: &Param, read: impl FnOnce(&str) -> Result<T, Help>) {
        if let Some(value) = self.value(param, read) {
            *to = value;
        }
    }

    fn value<T>(&mut self, param: &Param, read: impl FnOnce(&str) -> Result<T, Help>) -> Option<T> {
        read(param.text.trim())
            .map_err(|help| {
                let text = if param.text.is_empty() {
                    format!("`{}` has no value", param.key)
                } else {
                    format!("`{}` is no value of `{}`", param.text, param.key)
                };
                self.report(param, Diagnostic::error(param.at, text, help));
            })
            .ok()
    }

    fn add_references(&mut self, options: &mut BlockOptions, kind: DependencyArg, param: &Param) {
        let names = |text: &str| {
            value_parsers::words(text)
                .filter(|names| !names.is_empty())
                .ok_or_else(|| "Write names of blocks, with double quotes round blanks.".to_owned())
        };
        for name in self.value(param, names).unwrap_or_default() {
            options.references.push(Reference { name, kind, at: param.at });
        }
    }

    /// In a container nobody's home is known before it runs.
    fn check_home_directory(&mut self, block: &Block, directory: Option<&str>) {
        let param = block.params.iter().rfind(|param| param.key == ":dir");
        if let (Some(directory), Some(param)) = (directory.filter(|text| text.starts_with('~')), param) {
            let text = format!(
                "`:dir {directory}` is a directory of this machine, and the block runs in a container"
            );
            let help = "Write a path of the image, or one relative to the sandbox.";
            self.report(param, Diagnostic::error(param.at, text, help));
        }
    }

    /// Only a container's ports can be others than the machine's.
    fn check_port_mapping(&mut self, block: &Block, requirements: &Requirements) {
        let param = block.params.iter().rfind(|param| param.key == ":expose");
        if let (Some(port), Some(param)) = (placement_args::has_port_mapping(&requirements.ports), param) {
            let text = format!("`:expose {port}` maps a port of a container, and the block runs in none");
            let help = format!(
                "Write `:expose {}`, and let the block listen on `$PORT`; or give it a container: `:dockerize t`.",
                port.host
            );
            self.report(param, Diagnostic::error(param.at, text, help));
        }
    }

    fn report_unsupported(&mut self, param: &Param) {
        let text = format!("`{}` is not built yet", format!("{} {}", param.key, param.text).trim_end());
        let help = "Leave it out, or keep the block from running with `:eval no`.";
        self.report(param, Diagnostic::error(param.at, text, help));
    }

    /// Nothing of a document is evaluated to find out what it asks for.
    fn report_lisp(&mut self, param: &Param) {
        let text = format!("`{} {}` is Lisp, which is not evaluated here", param.key, param.text);
        let help =
            "Write the value itself, in double quotes if it begins with a bracket, `'` or a backquote.";
        self.report(param, Diagnostic::error(param.at, text, help));
    }

    fn report_unclosed_quote(&mut self, param: &Param) {
        let text = format!("in `{} {}` a double quote is not closed", param.key, param.text);
        self.report(param, Diagnostic::error(param.at, text, "Close it, or take it out."));
    }

    /// Whether what is odd about an argument has not been told yet.
    fn is_first_report(&mut self, param: &Param) -> bool {
        param.origin == Origin::Block || self.reported.insert((param.origin == Origin::Setup, param.at))
    }

    fn check_results_words(&mut self, param: &Param) {
        if !self.is_first_report(param) {
            return;
        }
        for word in param.text.split_whitespace().filter(|word| !keys::RESULTS_WORDS.contains(word)) {
            if let Some(suggestion) = suggest(word, keys::RESULTS_WORDS) {
                let text = format!("`{word}` is no word of `:results`");
                self.report(
                    param,
                    Diagnostic::warning(param.at, text, format!("Did you mean `{suggestion}`?")),
                );
            }
        }
    }

    fn report_unknown(&mut self, param: &Param) {
        if !self.is_first_report(param) {
            return;
        }
        let word = param.key.split_whitespace().next().unwrap_or_default();
        let with_colon = format!(":{}", param.key);
        let is_known = |key: &str| !matches!(keys::classify(key), KeyKind::Unknown);
        let after = param.text.split_whitespace().next().unwrap_or_default();
        let help = if !word.starts_with(':') && is_known(&format!(":{word}")) {
            format!("Write `{with_colon}`, with a colon before the key.")
        } else if word == ":" && is_known(&format!(":{after}")) {
            format!("Write `:{}`, without a blank after the colon.", param.text)
        } else if param.origin == Origin::Document && !word.starts_with(':') {
            format!("If `{word}` is a language, write `header-args:{word}`.")
        } else {
            keys::suggest_key(&param.key).map(|key| format!("Did you mean `{key}`?")).unwrap_or_default()
        };
        let text = if param.key.starts_with(':') {
            format!("the header argument `{}` is not known, and has no effect", param.key)
        } else {
            format!("`{}` stands where a header argument should, and has no effect", param.key)
        };
        self.report(param, Diagnostic::warning(param.at, text, help));
    }

    fn report(&mut self, param: &Param, mut diagnostic: Diagnostic) {
        match param.origin {
            Origin::Block | Origin::Document => {}
            Origin::Setup => diagnostic.in_setupfile = true,
        }
        self.diagnostics.push(diagnostic);
    }
}

/// `:dir`, but for a leading `~`, which only the machine that runs the block can read.
fn directory(text: &str) -> Result<String, Help> {
    if text.is_empty() {
        return Err("Write a directory.".to_owned());
    }
    // TRAMP: `/method:host:path`.
    let method = text.strip_prefix('/').and_then(|rest| rest.split_once(':')).map(|(method, _)| method);
    if method.is_some_and(|method| !method.is_empty() && !method.contains('/')) {
        return Err("The cluster chooses the machine. Write a path without a host.".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use borges_babel::Languages;
    use borges_org as org;

    #[test]
    fn inherited_typos_are_reported_once() {
        let text = "#+property: header-args :retyr 3 :results tabel\n".to_owned()
            + &"#+begin_src sh :cpuu 1\ntrue\n#+end_src\n".repeat(3);
        let document = org::parse(text.as_bytes(), &[]);
        let languages = Languages::default();
        let (mut reported, mut diagnostics) = (ReportedArgs::new(), Vec::new());
        for block in &document.blocks {
            let language = languages.get("sh").unwrap();
            let _options = read(block, &language, &mut reported, &mut diagnostics);
        }
        let helps: Vec<(u32, &str)> = diagnostics.iter().map(|p| (p.at.line, p.help.as_str())).collect();
        let own = "Did you mean `:cpu`?";
        let (retry, table) = ((1, "Did you mean `:retry`?"), (1, "Did you mean `table`?"));
        assert_eq!(helps.len(), 5, "{helps:?}");
        assert!(helps.contains(&retry) && helps.contains(&table));
        assert_eq!(helps.iter().filter(|(_, help)| *help == own).count(), 3);
    }

    #[test]
    fn directories_are_validated() {
        for text in ["/tmp", "data", "../x", "a:b", "/a/b:c", "~/x"] {
            assert_eq!(directory(text).as_deref(), Ok(text));
        }
        for text in ["", "/ssh:host:/tmp", "/sudo::/"] {
            assert!(directory(text).is_err(), "{text}");
        }
    }
}

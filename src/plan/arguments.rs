//! A block's header arguments → what its task asks for.

use std::collections::HashSet;

use borges_babel::Language;
use borges_org::{Block, Origin, Param, Position, suggest};
use borges_task::{Ensure, Policy, Requirements, Resources, RetryLimit};

use super::diagnostic::Diagnostic;
use super::image;
use super::keys::{self, Borges, Key};
use super::placement_args;
use super::value_parsers::{self, Help};

/// What a block asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BlockOptions {
    pub(super) resources: Resources,
    /// `:mem` was written.
    pub(super) mem_is_limit: bool,
    pub(super) wishes: Requirements,
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
    pub(super) order: DependencyArg,
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

/// Reads the header arguments in force for `block`; what is wrong or odd with them goes to `problems`.
pub(super) fn read(
    block: &Block,
    language: &Language,
    told: &mut ReportedArgs,
    problems: &mut Vec<Diagnostic>,
) -> BlockOptions {
    let mut reader = Reader { told, problems, tries: None, dockerize: None, image: None };
    let mut asked = BlockOptions {
        resources: Resources { milli_cpus: 1000, mem: language.mem, ..Resources::default() },
        mem_is_limit: false,
        wishes: Requirements::default(),
        instances: 1,
        policy: Policy::default(),
        environment: Vec::new(),
        directory: None,
        image: None,
        references: Vec::new(),
    };
    if let Some((at, text)) = &block.error {
        reader.problems.push(Diagnostic::error(*at, text, ""));
    }
    for param in block.params.iter() {
        match keys::key(&param.key) {
            Key::Borges(_) | Key::Eligibility | Key::Unsupported { .. } if param.lisp => reader.lisp(param),
            // Quoted data is what it is.
            Key::Babel if param.lisp && !param.text.starts_with(['\'', '[']) => reader.lisp(param),
            Key::Borges(_) if param.text.matches('"').count() % 2 == 1 => reader.unclosed_quote(param),
            Key::Borges(key) => reader.take(&mut asked, key, param),
            Key::Eligibility => {}
            Key::ResultFormat if param.key == ":results" => reader.results(param),
            Key::ResultFormat | Key::Babel => {}
            Key::Unsupported { harmless } => {
                if !harmless.contains(&param.text.as_str()) {
                    reader.unbuilt(param);
                }
            }
            Key::Unknown => reader.unknown(param),
        }
    }
    asked.policy.retry = reader.tries.unwrap_or(match asked.policy.ensure {
        Ensure::Finishes => RetryLimit::default(),
        // A service is launched again however often it ends.
        Ensure::KeepsRunning => RetryLimit::Unlimited,
    });
    let (dockerize, named) = (reader.dockerize, reader.image.take());
    asked.image = image::choose(block, dockerize, named, language.image.as_deref(), |param, problem| {
        reader.report(param, problem);
    });
    if asked.image.is_some() {
        reader.home(block, asked.directory.as_deref());
    } else {
        reader.unmapped(block, &asked.wishes);
    }
    asked
}

struct Reader<'a> {
    told: &'a mut ReportedArgs,
    problems: &'a mut Vec<Diagnostic>,
    tries: Option<RetryLimit>,
    dockerize: Option<bool>,
    image: Option<String>,
}

impl Reader<'_> {
    fn take(&mut self, asked: &mut BlockOptions, key: Borges, param: &Param) {
        match key {
            Borges::Cpus => self.set(&mut asked.resources.milli_cpus, param, value_parsers::milli_cpus),
            Borges::Mem => {
                self.set(&mut asked.resources.mem, param, value_parsers::mebibytes);
                asked.mem_is_limit = true;
            }
            Borges::Disk => self.set(&mut asked.resources.disk, param, value_parsers::mebibytes),
            Borges::Gpus => self.set(&mut asked.resources.gpus, param, value_parsers::integer),
            Borges::Ensure => self.set(&mut asked.policy.ensure, param, value_parsers::ensure),
            Borges::Retry => self.tries = self.value(param, value_parsers::retry_limit),
            Borges::RetryOn => self.set(&mut asked.policy.retry_on, param, value_parsers::exit_codes),
            Borges::Backoff => self.set(&mut asked.policy.backoff, param, value_parsers::backoff),
            Borges::Timeout => asked.policy.timeout = self.value(param, value_parsers::duration),
            Borges::OnPartition => {
                self.set(&mut asked.policy.on_partition, param, value_parsers::on_partition);
            }
            Borges::Priority => self.set(&mut asked.policy.priority, param, value_parsers::priority),
            Borges::Requires => self.refer(asked, DependencyArg::Requires, param),
            Borges::After => self.refer(asked, DependencyArg::After, param),
            Borges::Before => self.refer(asked, DependencyArg::Before, param),
            Borges::Env => self.set(&mut asked.environment, param, value_parsers::environment),
            Borges::Expose => self.set(&mut asked.wishes.ports, param, placement_args::ports),
            Borges::Constraint => self.set(&mut asked.wishes.constraints, param, placement_args::constraints),
            Borges::Instances => self.set(&mut asked.instances, param, value_parsers::instances),
            Borges::Each => {}
            Borges::Dockerize => self.dockerize = self.value(param, image::dockerize),
            Borges::Image => self.image = self.value(param, image::reference),
            Borges::Dir => asked.directory = self.value(param, directory),
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

    fn refer(&mut self, asked: &mut BlockOptions, order: DependencyArg, param: &Param) {
        let names = |text: &str| {
            value_parsers::words(text)
                .filter(|names| !names.is_empty())
                .ok_or_else(|| "Write names of blocks, with double quotes round blanks.".to_owned())
        };
        for name in self.value(param, names).unwrap_or_default() {
            asked.references.push(Reference { name, order, at: param.at });
        }
    }

    /// In a container nobody's home is known before it runs.
    fn home(&mut self, block: &Block, directory: Option<&str>) {
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
    fn unmapped(&mut self, block: &Block, wishes: &Requirements) {
        let param = block.params.iter().rfind(|param| param.key == ":expose");
        if let (Some(port), Some(param)) = (placement_args::has_port_mapping(&wishes.ports), param) {
            let text = format!("`:expose {port}` maps a port of a container, and the block runs in none");
            let help = format!(
                "Write `:expose {}`, and let the block listen on `$PORT`; or give it a container: `:dockerize t`.",
                port.host
            );
            self.report(param, Diagnostic::error(param.at, text, help));
        }
    }

    fn unbuilt(&mut self, param: &Param) {
        let text = format!("`{}` is not built yet", format!("{} {}", param.key, param.text).trim_end());
        let help = "Leave it out, or keep the block from running with `:eval no`.";
        self.report(param, Diagnostic::error(param.at, text, help));
    }

    /// Nothing of a document is evaluated to find out what it asks for.
    fn lisp(&mut self, param: &Param) {
        let text = format!("`{} {}` is Lisp, which is not evaluated here", param.key, param.text);
        let help =
            "Write the value itself, in double quotes if it begins with a bracket, `'` or a backquote.";
        self.report(param, Diagnostic::error(param.at, text, help));
    }

    fn unclosed_quote(&mut self, param: &Param) {
        let text = format!("in `{} {}` a double quote is not closed", param.key, param.text);
        self.report(param, Diagnostic::error(param.at, text, "Close it, or take it out."));
    }

    /// Whether what is odd about an argument has not been told yet.
    fn is_news(&mut self, param: &Param) -> bool {
        param.origin == Origin::Block || self.told.insert((param.origin == Origin::Setup, param.at))
    }

    fn results(&mut self, param: &Param) {
        if !self.is_news(param) {
            return;
        }
        for word in param.text.split_whitespace().filter(|word| !keys::RESULTS.contains(word)) {
            if let Some(near) = suggest(word, keys::RESULTS) {
                let text = format!("`{word}` is no word of `:results`");
                self.report(param, Diagnostic::warning(param.at, text, format!("Did you mean `{near}`?")));
            }
        }
    }

    fn unknown(&mut self, param: &Param) {
        if !self.is_news(param) {
            return;
        }
        let word = param.key.split_whitespace().next().unwrap_or_default();
        let colon = format!(":{}", param.key);
        let known = |key: &str| !matches!(keys::key(key), Key::Unknown);
        let after = param.text.split_whitespace().next().unwrap_or_default();
        let help = if !word.starts_with(':') && known(&format!(":{word}")) {
            format!("Write `{colon}`, with a colon before the key.")
        } else if word == ":" && known(&format!(":{after}")) {
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

    fn report(&mut self, param: &Param, mut problem: Diagnostic) {
        match param.origin {
            Origin::Block | Origin::Document => {}
            Origin::Setup => problem.in_setupfile = true,
        }
        self.problems.push(problem);
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
    fn what_blocks_inherit_is_looked_up_and_told_once() {
        let text = "#+property: header-args :retyr 3 :results tabel\n".to_owned()
            + &"#+begin_src sh :cpuu 1\ntrue\n#+end_src\n".repeat(3);
        let document = org::parse(text.as_bytes(), &[]);
        let languages = Languages::default();
        let (mut told, mut problems) = (ReportedArgs::new(), Vec::new());
        for block in &document.blocks {
            let language = languages.get("sh").unwrap();
            let _asked = read(block, &language, &mut told, &mut problems);
        }
        let helps: Vec<(u32, &str)> = problems.iter().map(|p| (p.at.line, p.help.as_str())).collect();
        let own = "Did you mean `:cpu`?";
        let (retry, table) = ((1, "Did you mean `:retry`?"), (1, "Did you mean `table`?"));
        assert_eq!(helps.len(), 5, "{helps:?}");
        assert!(helps.contains(&retry) && helps.contains(&table));
        assert_eq!(helps.iter().filter(|(_, help)| *help == own).count(), 3);
    }

    #[test]
    fn directories() {
        for text in ["/tmp", "data", "../x", "a:b", "/a/b:c", "~/x"] {
            assert_eq!(directory(text).as_deref(), Ok(text));
        }
        for text in ["", "/ssh:host:/tmp", "/sudo::/"] {
            assert!(directory(text).is_err(), "{text}");
        }
    }
}

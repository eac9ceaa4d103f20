//! The command line: commands, options, and the help text of each.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

use borges_plan::Variable;
use borges_task::{RunId, TaskId};

/// Runs the source blocks of Org documents on a cluster
///
/// Each `#+begin_src` block becomes a task, with the resources, the relaunch
/// policy and the dependencies that its header arguments ask for. Without a
/// cluster the blocks run on this machine, on an embedded one.
///
///   borges run hello.org      runs a document here and now
///   borges -f setup.org       serves: POST documents to /org
///   borges plan hello.org     shows what would run, and what not
///
/// With a server that runs already:
///
///   borges submit hello.org --follow
///   borges tasks, logs TASK, kill RUN
///
/// Exit codes: 0 all well, 1 some block failed, 2 the document or the call is
/// wrong, 3 the cluster is out of reach or something waited too long,
/// 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "borges", version, verbatim_doc_comment, args_conflicts_with_subcommands = true)]
#[command(arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) serve: ServeArgs,
}

/// Runs the server: POST an Org document to /org, and its blocks run
///
/// `borges -f SETUPFILE` says the same. The server ends with a signal; its blocks run on, and are found again
/// at the next start.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// A setupfile: an Org file with `#+borges_…:` keys and header arguments for all documents
    #[arg(short = 'f', long = "setupfile", value_name = "SETUPFILE")]
    pub(super) setupfile: Option<PathBuf>,
    /// Take a new framework id: the cluster has removed the last one, and ended all it ran. What had not ended is
    /// launched again
    #[arg(long)]
    pub(super) new_framework: bool,
}

/// Looks at all of a server's store, and says what it holds and whether it is whole
///
/// The server must not run. Ends with exit code 2 when the store cannot be read or is not whole; it is left as it is.
#[derive(Debug, Args)]
pub(super) struct CheckStoreArgs {
    /// The server's setupfile, whose `borges_data` says where the store is
    #[arg(short = 'f', long = "setupfile", value_name = "SETUPFILE")]
    pub(super) setupfile: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Run(RunArgs),
    Serve(ServeArgs),
    Plan(PlanArgs),
    Submit(SubmitArgs),
    Tasks(TasksArgs),
    Logs(LogsArgs),
    Kill(KillArgs),
    Blocks(BlocksArgs),
    CheckStore(CheckStoreArgs),
    /// The embedded cluster itself; started by the other commands
    #[command(hide = true, disable_help_flag = true)]
    Agent {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// Runs a document here and now, without a server
///
/// What the blocks say goes to stdout and stderr, each block's under a line `==> NAME <==`; what becomes of
/// them goes to stderr. Blocks start in the document's directory, as in Emacs. Ctrl-C ends them all.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) document: DocumentArgs,
    /// Write the results into the document, as Emacs would
    #[arg(long)]
    pub(super) write: bool,
    /// Compare the results with those the document carries: a diff, and exit code 1, where they differ
    #[arg(long, conflicts_with = "write")]
    pub(super) check: bool,
    /// Run only what has not ended well before, in whatever document: what is unchanged, itself and in what goes into it,
    /// is taken from where it was run
    #[arg(long, conflicts_with = "check")]
    pub(super) resume: bool,
    /// A variable's value, for this run: BLOCK.NAME=VALUE; may be repeated
    #[arg(long = "var", value_name = "BLOCK.NAME=VALUE", value_parser = variable)]
    pub(super) variables: Vec<Variable>,
    /// End with exit code 3 when a block has waited this long for an offer (10m, 90s; seconds without unit)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) max_wait: Option<Duration>,
    /// Say nothing but what the blocks say, and errors
    #[arg(short, long)]
    pub(super) quiet: bool,
}

/// Shows what would run, in which order, with which resources, and what would not and why; runs nothing
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub(super) document: DocumentArgs,
    /// Show what `borges run --resume` would not run again
    #[arg(long)]
    pub(super) resume: bool,
}

/// A document, and how to read it
#[derive(Debug, Args)]
pub(super) struct DocumentArgs {
    /// The Org document; `-` is stdin
    #[arg(value_name = "DOC.org")]
    pub(super) path: PathBuf,
    /// Only this block, and those it requires; may be repeated
    #[arg(long = "name", value_name = "BLOCK")]
    pub(super) names: Vec<String>,
    /// A setupfile: an Org file with `#+borges_…:` keys and header arguments for all documents
    #[arg(short = 'f', long = "setupfile", value_name = "SETUPFILE")]
    pub(super) setupfile: Option<PathBuf>,
}

/// Sends a document to a server, which runs it
///
/// Prints the run's id. With --follow, what the blocks say and what becomes of them, as `borges run` shows it;
/// Ctrl-C then leaves the run to the server. Blocks start in sandboxes of their own, not in the document's
/// directory.
///
///   borges submit hello.org --follow
///   borges submit hello.org --server node7:8888
///
/// The server is `--server`, or `BORGES_SERVER`, or `#+borgesaddress:` of the document, or 127.0.0.1:8888.
/// `BORGES_TOKEN` is shown only to one that the first two name.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct SubmitArgs {
    /// The Org document; `-` is stdin
    #[arg(value_name = "DOC.org")]
    pub(super) path: PathBuf,
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// Show the run until it ends: exit code 1 when a block failed
    #[arg(long)]
    pub(super) follow: bool,
    /// The same, and write the results into the document, as Emacs would
    #[arg(long, conflicts_with = "format")]
    pub(super) write: bool,
    /// Run only what has not ended well in a run that was submitted so
    #[arg(long)]
    pub(super) resume: bool,
    /// Only this block, and those it requires; may be repeated
    #[arg(long = "name", value_name = "BLOCK")]
    pub(super) names: Vec<String>,
    /// How to show what was scheduled
    #[arg(long, value_enum, default_value_t = Format::Text, conflicts_with = "follow")]
    pub(super) format: Format,
}

/// Which server
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// The server, as http://HOST:PORT; without it `BORGES_SERVER`, or 127.0.0.1:8888
    #[arg(long = "server", value_name = "URL")]
    pub(super) url: Option<String>,
}

/// Shows how tasks stand at a server, a table a run
///
/// A task's id is its run's with the number of the first column: RUN.1
///
///   borges tasks
///   borges tasks --run RUN --format json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct TasksArgs {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// Only the tasks of this run
    #[arg(long, value_name = "RUN", value_parser = run_id)]
    pub(super) run: Option<RunId>,
    /// Only what does not run yet, each with its reason in full
    #[arg(long, conflicts_with = "format")]
    pub(super) why: bool,
    /// How to show them
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}

/// Shows what the last launch of a task has written
///
///   borges logs RUN.1
///   borges logs RUN.1 --follow --stderr
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct LogsArgs {
    /// The task's id, as `borges tasks` shows it: RUN.N
    #[arg(value_name = "TASK", value_parser = task_id)]
    pub(super) task: TaskId,
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// Go on until the task ends: exit code 1 when it failed
    #[arg(long)]
    pub(super) follow: bool,
    /// What it has written to its standard error instead
    #[arg(long)]
    pub(super) stderr: bool,
}

/// Ends a task, or all tasks of a run, at a server
///
///   borges kill RUN.1
///   borges kill RUN
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct KillArgs {
    /// A task's id (RUN.N), or a run's
    #[arg(value_name = "TASK|RUN", value_parser = kill_target)]
    pub(super) target: KillTarget,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// The target of `borges kill`.
#[derive(Debug, Clone, Copy)]
pub(super) enum KillTarget {
    Run(RunId),
    Task(TaskId),
}

/// Shows the source blocks of documents, as the grammar sees them
#[derive(Debug, Args)]
pub(super) struct BlocksArgs {
    /// How to show them
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Org documents
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

fn run_id(text: &str) -> Result<RunId, String> {
    text.parse().map_err(|_| "write a run's id, as `borges submit` prints it".to_owned())
}

fn task_id(text: &str) -> Result<TaskId, String> {
    text.parse().map_err(|_| "write a task's id: its run's, a dot, and its number (RUN.1)".to_owned())
}

fn kill_target(text: &str) -> Result<KillTarget, String> {
    let task = || text.parse().map(KillTarget::Task).ok();
    let run = || text.parse().map(KillTarget::Run).ok();
    task().or_else(run).ok_or_else(|| "write a task's id (RUN.1), or a run's".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<u64>().ok().map(Duration::from_secs);
    let with_unit = || text.parse::<SignedDuration>().ok().and_then(|duration| duration.try_into().ok());
    seconds.or_else(with_unit).ok_or_else(|| "write a duration such as `90s` or `10m`".to_owned())
}

fn variable(text: &str) -> Result<Variable, String> {
    Variable::read(text).ok_or_else(|| "write a block, a variable and its value: `block.n=5`".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn argument_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}

//! What one can type.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

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
/// Exit codes: 0 all well, 1 some block failed, 2 the document or the call is
/// wrong, 3 the cluster is out of reach or something waited too long,
/// 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "borges", version, verbatim_doc_comment, args_conflicts_with_subcommands = true)]
#[command(arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) serve: ServeArguments,
}

/// Runs the server: POST an Org document to /org, and its blocks run
///
/// `borges -f SETUPFILE` says the same. The server ends with a signal; its blocks run on, and are found again
/// at the next start.
#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// A setupfile: an Org file with `#+borges_…:` keys and header arguments for all documents
    #[arg(short = 'f', long = "setupfile", value_name = "SETUPFILE")]
    pub(super) setupfile: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Run(RunArguments),
    Serve(ServeArguments),
    Plan(PlanArguments),
    Blocks(BlocksArguments),
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
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) document: DocumentArguments,
    /// End with exit code 3 when a block has waited this long for an offer (10m, 90s; seconds without unit)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) max_wait: Option<Duration>,
    /// Say nothing but what the blocks say, and errors
    #[arg(short, long)]
    pub(super) quiet: bool,
}

/// Shows what would run, in which order, with which resources, and what would not and why; runs nothing
#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    #[command(flatten)]
    pub(super) document: DocumentArguments,
}

/// A document, and how to read it
#[derive(Debug, Args)]
pub(super) struct DocumentArguments {
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

/// Shows the source blocks of documents, as the grammar sees them
#[derive(Debug, Args)]
pub(super) struct BlocksArguments {
    /// How to show them
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Org documents
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Format {
    /// A line a block
    Text,
    /// An object a file, a line each
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    let bare = text.parse::<u64>().ok().map(Duration::from_secs);
    let spelled = || text.parse::<SignedDuration>().ok().and_then(|spelled| spelled.try_into().ok());
    bare.or_else(spelled).ok_or_else(|| "write a duration such as `90s` or `10m`".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Arguments::command().debug_assert();
    }
}

//! Arguments in, exit codes out. The only reader of the environment, and the only one to end the process.
//!
//! | file | |
//! |---|---|
//! | `args` | what one can type |
//! | `exit` | what the process ends with |
//! | `input` | documents and setupfiles, from disk |
//! | `includes` | the files that a document names |
//! | `diagnostics` | what is wrong, shown to a person |
//! | `plan` | `borges plan` |
//! | `blocks` | `borges blocks` |
//! | `run` | `borges run` |
//! | `rewrite` | a document with its results, in place of the document |
//! | `submit` | `borges submit` |
//! | `tasks` | `borges tasks` |
//! | `logs` | `borges logs` |
//! | `kill` | `borges kill` |
//! | `serve` | the server |
//! | `check_store` | `borges check-store` |
//! | `watch` | watches a run to its end, wherever it is |
//! | `backend` | who runs the blocks that are watched |
//! | `api_client` | a server, as commands see it |
//! | `address` | which server (pure) |
//! | `event_source` | hears of a run at a server |
//! | `signals` | Ctrl-C and its like |
//! | `progress` | the lines of a run |
//! | `output` | what blocks say, under their names |
//! | `cluster` | the cluster a run goes to |

mod address;
mod api_client;
mod args;
mod backend;
mod blocks;
mod check_store;
mod cluster;
mod diagnostics;
mod event_source;
mod exit;
mod includes;
mod input;
mod kill;
mod logs;
mod output;
mod plan;
mod progress;
mod rewrite;
mod run;
mod serve;
mod signals;
mod submit;
mod tasks;
mod watch;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

/// Does what the command line says.
pub fn main() -> ExitCode {
    // What glog had, spelt as glog spelt it; our log goes to stderr in any case.
    let glog =
        |argument: &OsString| argument.to_string_lossy().trim_start_matches('-').starts_with("logtostderr");
    let arguments = Cli::parse_from(env::args_os().filter(|argument| !glog(argument)));
    let command = arguments.command.unwrap_or(Command::Serve(arguments.serve));
    let level = if matches!(command, Command::Serve(_)) { "info,actix_server=warn" } else { "warn" };
    let log = env_logger::Env::new().filter_or("BORGES_LOG", level);
    env_logger::Builder::from_env(log).format_timestamp_millis().init();
    match command {
        Command::Run(arguments) => run::run(&arguments).into(),
        Command::Serve(arguments) => serve::serve(&arguments).into(),
        Command::Plan(arguments) => plan::plan(&arguments).into(),
        Command::Submit(arguments) => submit::submit(&arguments).into(),
        Command::Tasks(arguments) => tasks::tasks(&arguments).into(),
        Command::Logs(arguments) => logs::logs(&arguments).into(),
        Command::Kill(arguments) => kill::kill(&arguments).into(),
        Command::CheckStore(arguments) => check_store::check_store(&arguments).into(),
        Command::Blocks(arguments) => blocks::blocks(&arguments).into(),
        Command::Agent { arguments } => cluster::agent(arguments),
    }
}

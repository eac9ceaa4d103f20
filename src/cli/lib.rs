//! The command line of Borges: parses the arguments, runs one command, and returns its exit code.
//!
//! This crate alone reads the environment, prints to the terminal, and ends the process.
//!
//! | file | contents |
//! |---|---|
//! | `args` | commands, options and help texts |
//! | `exit` | exit codes |
//! | `input` | documents, setupfiles and the environment |
//! | `includes` | the files of `#+INCLUDE:` and `#+SETUPFILE:` |
//! | `diagnostics` | prints errors and warnings |
//! | `plan` | `borges plan` |
//! | `blocks` | `borges blocks` |
//! | `run` | `borges run` |
//! | `rewrite` | replaces a document by its text with results |
//! | `submit` | `borges submit` |
//! | `tasks` | `borges tasks` |
//! | `logs` | `borges logs` |
//! | `kill` | `borges kill` |
//! | `serve` | `borges serve` |
//! | `check_store` | `borges check-store` |
//! | `watch` | watches a run to its end |
//! | `backend` | the engine or server that runs the watched blocks |
//! | `api_client` | HTTP requests to a server |
//! | `api_response` | reads and classifies the responses of a server |
//! | `address` | the address of the server (pure) |
//! | `event_source` | the events of a run at a server |
//! | `signals` | SIGINT, SIGTERM, SIGHUP |
//! | `progress` | the status lines of a run |
//! | `output` | the output of blocks, under their names |
//! | `cluster` | connects to the cluster of the setupfile |

mod address;
mod api_client;
mod api_response;
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

/// Runs the command of the command line.
pub fn main() -> ExitCode {
    // `--logtostderr` of glog, in all its spellings, is ignored: the log always goes to stderr.
    let is_glog_option =
        |argument: &OsString| argument.to_string_lossy().trim_start_matches('-').starts_with("logtostderr");
    let arguments = Cli::parse_from(env::args_os().filter(|argument| !is_glog_option(argument)));
    let command = arguments.command.unwrap_or(Command::Serve(arguments.serve));
    let level = if matches!(command, Command::Serve(_)) { "info,actix_server=warn" } else { "warn" };
    let log_filter = env_logger::Env::new().filter_or("BORGES_LOG", level);
    env_logger::Builder::from_env(log_filter).format_timestamp_millis().init();
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

//! Arguments in, exit codes out. The only reader of the environment, and the only one to end the process.
//!
//! | file | |
//! |---|---|
//! | `arguments` | what one can type |
//! | `exit` | what the process ends with |
//! | `input` | documents and setupfiles, from disk |
//! | `files` | the files that a document names |
//! | `problems` | what is wrong, shown to a person |
//! | `plan` | `borges plan` |
//! | `blocks` | `borges blocks` |
//! | `run` | `borges run` |
//! | `serve` | the server |
//! | `progress` | the lines of a run |
//! | `output` | what blocks say, under their names |
//! | `cluster` | the cluster a run goes to |

mod arguments;
mod blocks;
mod cluster;
mod exit;
mod files;
mod input;
mod output;
mod plan;
mod problems;
mod progress;
mod run;
mod serve;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// Does what the command line says.
pub fn main() -> ExitCode {
    // What glog had, spelt as glog spelt it; our log goes to stderr in any case.
    let glog =
        |argument: &OsString| argument.to_string_lossy().trim_start_matches('-').starts_with("logtostderr");
    let arguments = Arguments::parse_from(env::args_os().filter(|argument| !glog(argument)));
    let command = arguments.command.unwrap_or(Command::Serve(arguments.serve));
    let level = if matches!(command, Command::Serve(_)) { "info" } else { "warn" };
    let log = env_logger::Env::new().filter_or("BORGES_LOG", level);
    env_logger::Builder::from_env(log).format_timestamp_millis().init();
    match command {
        Command::Run(arguments) => run::run(&arguments).into(),
        Command::Serve(arguments) => serve::serve(&arguments).into(),
        Command::Plan(arguments) => plan::plan(&arguments).into(),
        Command::Blocks(arguments) => blocks::blocks(&arguments).into(),
        Command::Agent { arguments } => cluster::agent(arguments),
    }
}

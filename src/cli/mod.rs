//! Arguments in, exit codes out. The only reader of the environment, and the only one to end the process.
//!
//! | file | |
//! |---|---|
//! | `arguments` | what one can type |
//! | `exit` | what the process ends with |
//! | `input` | documents and setupfiles, from disk |
//! | `setupfiles` | files of settings that a document names |
//! | `problems` | what is wrong, shown to a person |
//! | `plan` | `borges plan` |
//! | `blocks` | `borges blocks` |
//! | `run` | `borges run` |
//! | `progress` | the lines of a run |
//! | `output` | what blocks say, under their names |
//! | `cluster` | the cluster a run goes to |

mod arguments;
mod blocks;
mod cluster;
mod exit;
mod input;
mod output;
mod plan;
mod problems;
mod progress;
mod run;
mod setupfiles;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// Does what the command line says.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let log = env_logger::Env::new().filter_or("BORGES_LOG", "warn");
    env_logger::Builder::from_env(log).format_timestamp_millis().init();
    match arguments.command {
        Command::Run(arguments) => run::run(&arguments).into(),
        Command::Plan(arguments) => plan::plan(&arguments).into(),
        Command::Blocks(arguments) => blocks::blocks(&arguments).into(),
        Command::Agent { arguments } => cluster::agent(arguments),
    }
}

//! The embedded cluster: one machine, one agent, the same calls and events as a Mesos master.
//!
//! `borges agent` is the parent of all blocks and listens on a unix socket. It consists of two processes in a session
//! of their own: the *reaper*, which waits, and its child, the *agent*. Both are child subreapers, so that the blocks
//! of a killed agent become children of the reaper, which records their exits. Blocks outlive the server.
//!
//! This crate knows launches and processes. It must not know documents or the policies of tasks.
//!
//! | file | |
//! |---|---|
//! | `model` | the data types that the state machine shares with the other files (pure) |
//! | `launch_spec` | what the agent starts for a task (pure) |
//! | `image` | the Docker image and the network of a block (pure) |
//! | `state` | the cluster as a state machine: calls, exits and time in, actions out (pure) |
//! | `options` | the options of `borges agent` |
//! | `paths` | the files in an agent's directory |
//! | `limits` | enforces memory and output limits |
//! | `stop_note` | the file that says why a block was stopped |
//! | `agent` | the agent process: its event loop and its socket |
//! | `driver` | executes the actions of the state machine |
//! | `connection` | one client, on the agent's side |
//! | `os` | all operations that change files and processes |
//! | `processes` | blocks: started, signalled, adopted, reaped |
//! | `container` | blocks in containers, through Docker |
//! | `path_lookup` | finds programs on a PATH |
//! | `reap` | waits for child processes and records their exits |
//! | `process_table` | the file that maps process ids to launches |
//! | `reaper` | the parent of the agent |
//! | `protocol` | the version of the protocol between agent and client |
//! | `spawn_agent` | connects to the agent of a directory, and starts it if necessary |
//! | `client` | the embedded cluster as a [`Master`](borges_mesos::Master) |
//! | `sandbox` | its sandboxes as a [`Sandbox`](borges_mesos::Sandbox) |
//! | `simulated_machine`, `simulated_os` | a simulated machine for tests |

mod agent;
mod client;
mod connection;
mod container;
mod driver;
mod image;
mod launch_spec;
mod limits;
mod model;
mod options;
mod os;
mod path_lookup;
mod paths;
mod process_table;
mod processes;
mod protocol;
mod reap;
mod reaper;
mod sandbox;
#[cfg(feature = "failpoints")]
pub mod simulated_machine;
#[cfg(feature = "failpoints")]
mod simulated_os;
mod spawn_agent;
mod state;
mod stop_note;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use agent::AGENT_ID;
pub use client::{AgentExit, Client};
pub use launch_spec::BODY_ARG;
pub use options::{AgentOptions, OptionsError, Role};
pub use sandbox::LocalSandbox;
pub use spawn_agent::{StartError, Started, connect_or_spawn};

/// Resets the limit of open files, which a server raises for itself, so that blocks start with the user's limit.
/// `false` if that fails.
fn limit_open_files(files: Option<u64>) -> bool {
    let Some(files) = files else { return true };
    let limit = Rlimit { current: Some(files), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit)
        .inspect_err(|error| log::error!("open files cannot be limited: {error}"))
        .is_ok()
}

/// Whether an agent that is started by this process can enforce memory limits. `Err` says why not.
pub fn enforces_memory() -> Result<(), String> {
    limits::CgroupRoot::find().map(drop)
}

/// Runs `borges agent`. `args` are the arguments after these two words: those of [`AgentOptions::to_args`], or
/// `--container` and an executor's directory for the shim of a container, or `--enter`, a control group and a command
/// for a block that is started in the group.
///
/// With `AgentOptions` stdin is the socket to listen on.
pub fn agent_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter().peekable();
    if args.next_if(|first| first == limits::ENTER).is_some() {
        return limits::exec_in_cgroup(args);
    }
    if args.next_if(|first| first == container::SHIM_ARG).is_some() {
        return match args.next() {
            Some(executor) => container::run(Path::new(&executor)),
            None => ExitCode::from(2),
        };
    }
    match AgentOptions::from_args(args) {
        Ok(options) => match options.role {
            Role::Reaper if !limit_open_files(options.open_files) => ExitCode::FAILURE,
            Role::Reaper => reaper::run(&options),
            Role::Agent => agent::run(&options),
        },
        Err(error) => {
            log::error!("{error}");
            ExitCode::from(2)
        }
    }
}

//! The embedded cluster: one machine, one agent, the same calls and events as a Mesos master.
//!
//! `borges agent` is the parent of all blocks and answers on a unix socket. It is two processes, in a session
//! of their own: a *reaper*, which does nothing, and its child, the *agent*, which does everything. Both are
//! child subreapers: when the agent is killed its blocks pass to the reaper, which still notes their ends.
//! When the server is killed, the blocks do not even notice.
//!
//! This room knows launches and processes; it must not know documents, tasks' policies, or who calls.
//!
//! | file | |
//! |---|---|
//! | `state` | the cluster as a state machine: calls, ends and time in, actions out (pure) |
//! | `launch_spec` | a task's description → what is to be done for it (pure) |
//! | `exit` | how a process ended, in words (pure) |
//! | `options` | what an agent is told when it starts |
//! | `paths` | where things lie |
//! | `limits` | memory that is enforced, output that is bounded |
//! | `stop_note` | the note why a block was told to end |
//! | `agent` | the shell around the state machine: its sockets |
//! | `driver` | all of the agent but those |
//! | `os` | the one door to files that are written, and to processes |
//! | `connection` | one client, seen from the agent |
//! | `processes` | blocks: started, signalled, ended |
//! | `container` | blocks in containers, through Docker |
//! | `path_lookup` | which file a program's name means |
//! | `reap` | an ended process: seen, noted, reaped |
//! | `process_table` | which process is which launch, for those who come after |
//! | `reaper` | the agent's parent |
//! | `connect_or_spawn` | finding the agent of a directory, or starting it |
//! | `client` | the embedded cluster as a [`Master`](borges_mesos::Master) |
//! | `sandbox` | its sandboxes as a [`Sandbox`](borges_mesos::Sandbox) |

mod agent;
mod client;
mod connection;
mod container;
mod driver;
mod exit;
mod launch_spec;
mod limits;
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

/// Takes back what a server has taken for its clients: blocks start with what a person's programs start with.
fn limit_open_files(files: Option<u64>) -> bool {
    let Some(files) = files else { return true };
    let limit = Rlimit { current: Some(files), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit)
        .inspect_err(|error| log::error!("open files cannot be limited: {error}"))
        .is_ok()
}

/// Whether memory that blocks ask for can be enforced by an agent that is started here. An error says why not.
pub fn enforces_memory() -> Result<(), String> {
    limits::CgroupRoot::find().map(drop)
}

/// The whole life of `borges agent`: `args` are those after these two words, as [`AgentOptions::to_args`]
/// writes them; or `--container` and an executor's directory, for the stand-in of its container; or `--enter` and
/// a control group, for a block that becomes its program there.
///
/// stdin is the socket to listen on, for all but a stand-in. What is logged goes to the logger the caller has set up.
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

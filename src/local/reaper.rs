//! The agent's parent: does nothing, until the agent is dead.
//!
//! Then the blocks become its children, since it is the next subreaper above them. It sees each end, writes
//! `block/exit` for it from the table the agent left, and ends when nothing is left.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::process::{Pid, getpid, getsid, set_child_subreaper, setsid};

use super::container;
use super::container::notes::{self, Order};
use super::end::{self, Waited};
use super::layout::{Layout, sandbox_in};
use super::limits::{self, Groups};
use super::options::{AgentOptions, Role};
use super::processes::is_block;
use super::state::Stop;
use super::stopped;
use super::table::{self, Row, STARTING};

/// Starts the agent and outlives it.
pub(crate) fn run(options: &AgentOptions) -> ExitCode {
    let agent = match start(options) {
        Ok(agent) => agent,
        Err(error) => {
            log::error!("the agent cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let layout = Layout::new(&options.directory);
    let path = layout.tables().join(getpid().as_raw_nonzero().to_string());
    let mut rows: Option<HashMap<i32, Row>> = None;
    let mut groups = None;
    loop {
        match end::wait(true) {
            Ok(Waited::Ended(pid, exit)) if pid == agent => {
                log::info!("the agent {exit}");
                groups = Groups::find().ok();
                end::reap(pid);
                if options.end_with_client {
                    end::sweep();
                    let rows = read(&path);
                    container::remove(&open(&layout, rows.values()));
                    for row in rows.values() {
                        settle(row, groups.as_ref(), &layout.executor(&row.framework, &row.launch));
                    }
                }
            }
            Ok(Waited::Ended(pid, exit)) => {
                // Ours only since the agent is dead: the table is its last word.
                let rows = rows.get_or_insert_with(|| read(&path));
                // One that the agent did not live to note is the one it had announced.
                let announced =
                    || rows.get(&STARTING).filter(|_| getsid(None).is_ok_and(|own| is_block(pid, own)));
                if let Some(row) = rows.get(&pid.as_raw_nonzero().get()).or_else(announced) {
                    end::kill_rest(pid);
                    let executor = layout.executor(&row.framework, &row.launch);
                    settle(row, groups.as_ref(), &executor);
                    // Who stands in for a container notes its end itself.
                    if !notes::is_container(&executor)
                        && let Err(error) = end::write_exit(&sandbox_in(executor), exit)
                    {
                        log::error!("the exit code of `{}` is not kept: {error}", row.launch);
                    }
                }
                end::reap(pid);
            }
            Ok(Waited::Alive) => {}
            Ok(Waited::Childless) => break,
            Err(error) => {
                log::error!("children cannot be waited for: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    // A container without its stand-in is for the next agent to take up, which knows it from the table.
    if options.end_with_client || open(&layout, rows.unwrap_or_default().values()).is_empty() {
        let _ = std::fs::remove_file(path);
    }
    ExitCode::SUCCESS
}

/// The agent's table, by process.
fn read(path: &Path) -> HashMap<i32, Row> {
    match table::read(path) {
        Ok(found) => found.map(|(_, rows)| rows).unwrap_or_default(),
        Err(error) => {
            log::error!("`{}` cannot be read: {error}", path.display());
            HashMap::new()
        }
    }
}

/// The names of the containers of these launches that are not over.
fn open<'a>(layout: &Layout, rows: impl Iterator<Item = &'a Row>) -> Vec<String> {
    let executors = rows.map(|row| layout.executor(&row.framework, &row.launch));
    let open = executors.filter(|executor| notes::is_open(executor));
    open.filter_map(|executor| Some(Order::read(&executor)?.name)).collect()
}

/// Sees to what an ended block has used, as the agent would.
fn settle(row: &Row, groups: Option<&Groups>, executor: &Path) {
    let group = groups.filter(|_| row.limits.memory.is_some()).map(|groups| groups.of(&row.launch));
    let (excess, _left) = limits::settle(row.limits, group, &sandbox_in(executor.to_owned()));
    if let Some(excess) = excess
        && let Err(error) = stopped::write(executor, Stop::Exceeded(excess))
    {
        log::error!("it is not kept why `{}` has ended: {error}", row.launch);
    }
}

fn start(options: &AgentOptions) -> io::Result<Pid> {
    // Fails for the leader of a group only, which has what it needs already.
    let _ = setsid();
    set_child_subreaper(Some(getpid()))?;
    let options = AgentOptions { role: Role::Agent, ..options.clone() };
    let program = std::env::current_exe().ok().filter(|program| program.exists());
    // Even when the file has been replaced or removed since.
    let child = Command::new(program.unwrap_or_else(|| "/proc/self/exe".into()))
        .arg0("borges")
        .arg("agent")
        .args(options.to_args())
        .stdin(Stdio::inherit())
        .spawn()?;
    // As long as anyone has the socket open, connecting to a dead agent would seem to work.
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

//! The agent's parent: does nothing, until the agent is dead.
//!
//! Then the blocks become its children, since it is the next subreaper above them. It sees each end, writes
//! `block/exit` for it from the table the agent left, and ends when nothing is left.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::process::{Pid, getpid, set_child_subreaper, setsid};

use super::container;
use super::container::shim_state::{self, ContainerSpec};
use super::exit::Exit;
use super::limits::{self, CgroupRoot};
use super::options::{AgentOptions, Role};
use super::os;
use super::paths::{Paths, sandbox_in};
use super::process_table::{self, Row, STARTING};
use super::processes::{is_block, never_started};
use super::reap::{self, WaitResult};
use super::state::StopReason;
use super::stop_note;

/// Starts the agent and outlives it.
pub(crate) fn run(options: &AgentOptions) -> ExitCode {
    let agent = match start(options) {
        Ok(agent) => agent,
        Err(error) => {
            log::error!("the agent cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let session = os::session().unwrap_or_else(|_| getpid());
    let mut heir = OrphanReaper::new(Paths::new(&options.directory), session, None);
    loop {
        match reap::wait_any_child(true) {
            Ok(WaitResult::Exited(pid, exit)) if pid == agent => {
                log::info!("the agent {exit}");
                heir.groups = CgroupRoot::find().ok();
                reap::reap(pid);
                if options.end_with_client {
                    reap::kill_descendants();
                    heir.end_all();
                }
            }
            // Ours only since the agent is dead.
            Ok(WaitResult::Exited(pid, exit)) => heir.ended(pid, exit),
            Ok(WaitResult::StillRunning) => {}
            Ok(WaitResult::NoChildren) => break,
            Err(error) => {
                log::error!("children cannot be waited for: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    heir.leave(options.end_with_client);
    ExitCode::SUCCESS
}

/// Who has a dead agent's blocks.
pub(super) struct OrphanReaper {
    layout: Paths,
    /// Its own session, which is the blocks'.
    session: Pid,
    /// The dead agent's table: its last word. Read when the first block ends.
    rows: Option<HashMap<i32, Row>>,
    groups: Option<CgroupRoot>,
}

impl OrphanReaper {
    pub(super) fn new(layout: Paths, session: Pid, groups: Option<CgroupRoot>) -> Self {
        Self { layout, session, rows: None, groups }
    }

    fn path(&self) -> PathBuf {
        self.layout.tables().join(self.session.as_raw_nonzero().to_string())
    }

    fn rows(&mut self) -> &HashMap<i32, Row> {
        let path = self.path();
        self.rows.get_or_insert_with(|| read(&path))
    }

    /// A block, or what it has left, has ended: noted, then reaped.
    pub(super) fn ended(&mut self, pid: Pid, exit: Exit) {
        let session = self.session;
        let rows = self.rows();
        // One that the agent did not live to note is the one it had announced.
        let announced = || rows.get(&STARTING).filter(|_| is_block(pid, session));
        if let Some(row) = rows.get(&pid.as_raw_nonzero().get()).or_else(announced).cloned() {
            reap::kill_process_group(pid);
            let executor = self.layout.executor(&row.framework, &row.launch);
            self.settle(&row, &executor);
            // Who stands in for a container notes its end itself.
            if !shim_state::is_container(&executor)
                && let Err(error) = reap::write_exit(&sandbox_in(executor), exit)
            {
                log::error!("the exit code of `{}` is not kept: {error}", row.launch);
            }
        }
        reap::reap(pid);
    }

    /// Everything was killed: what is left of it goes, too.
    fn end_all(&mut self) {
        let rows: Vec<Row> = self.rows().values().cloned().collect();
        container::remove(&open(&self.layout, rows.iter()));
        for row in rows {
            self.settle(&row, &self.layout.executor(&row.framework, &row.launch));
        }
    }

    /// Nothing is left to be seen to: the table goes.
    pub(super) fn leave(mut self, all: bool) {
        // Whatever ended was seen to.
        if let Some(row) = self.rows().get(&STARTING).cloned() {
            never_started(&self.layout.executor(&row.framework, &row.launch));
        }
        // A container without its stand-in is for the next agent to take up, which knows it from the table.
        if all || self.rows.take().is_none_or(|rows| open(&self.layout, rows.values()).is_empty()) {
            let _ = os::remove(&self.path());
        }
    }

    /// Sees to what an ended block has used, as the agent would.
    fn settle(&self, row: &Row, executor: &Path) {
        let groups = self.groups.as_ref().filter(|_| row.limits.memory.is_some());
        let group = groups.map(|groups| groups.for_launch(&row.launch));
        let (excess, _left) = limits::check_at_exit(row.limits, group, &sandbox_in(executor.to_owned()));
        if let Some(excess) = excess
            && let Err(error) = stop_note::write(executor, StopReason::LimitExceeded(excess))
        {
            log::error!("it is not kept why `{}` has ended: {error}", row.launch);
        }
    }
}

/// The agent's table, by process.
fn read(path: &Path) -> HashMap<i32, Row> {
    match process_table::read(path) {
        Ok(found) => found.map(|(_, rows)| rows).unwrap_or_default(),
        Err(error) => {
            log::error!("`{}` cannot be read: {error}", path.display());
            HashMap::new()
        }
    }
}

/// The names of the containers of these launches that are not over.
fn open<'a>(layout: &Paths, rows: impl Iterator<Item = &'a Row>) -> Vec<String> {
    let executors = rows.map(|row| layout.executor(&row.framework, &row.launch));
    let open = executors.filter(|executor| shim_state::is_open(executor));
    open.filter_map(|executor| Some(ContainerSpec::read(&executor)?.name)).collect()
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

//! The reaper, the parent of the agent: it waits until the agent has exited.
//!
//! Then the blocks become its children, because it is the next subreaper above them. It records each exit in
//! `block/exit`, with the process table that the agent left, and exits after the last one.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::process::{Pid, getpid, set_child_subreaper, setsid};

use super::container;
use super::container::shim_state::{self, ContainerSpec};
use super::limits::{self, CgroupRoot};
use super::model::{Exit, StopReason, WaitResult};
use super::options::{AgentOptions, Role};
use super::os;
use super::paths::{Paths, sandbox_in};
use super::process_table::{self, Row, STARTING};
use super::processes::record_never_started;
use super::reap;
use super::stop_note;

/// Starts the agent, and reaps the blocks that the agent leaves behind.
pub(crate) fn run(options: &AgentOptions) -> ExitCode {
    let agent = match start_agent(options) {
        Ok(agent) => agent,
        Err(error) => {
            log::error!("the agent cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let session = os::session().unwrap_or_else(|_| getpid());
    let mut orphan_reaper = OrphanReaper::new(Paths::new(&options.directory), session, None);
    loop {
        match reap::wait_any_child(true) {
            Ok(WaitResult::Exited(pid, exit)) if pid == agent => {
                log::info!("the agent {exit}");
                orphan_reaper.groups = CgroupRoot::find().ok();
                reap::reap(pid);
                if options.end_with_client {
                    reap::kill_descendants();
                    orphan_reaper.clean_up_all();
                }
            }
            // A block: this process is its parent since the agent has exited.
            Ok(WaitResult::Exited(pid, exit)) => orphan_reaper.exited(pid, exit),
            Ok(WaitResult::StillRunning) => {}
            Ok(WaitResult::NoChildren) => break,
            Err(error) => {
                log::error!("children cannot be waited for: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    orphan_reaper.finish(options.end_with_client);
    ExitCode::SUCCESS
}

/// Reaps the blocks of a dead agent.
pub(super) struct OrphanReaper {
    paths: Paths,
    /// The session of the reaper and of the blocks.
    session: Pid,
    /// The process table of the dead agent, by process id. Read when the first block exits.
    rows: Option<HashMap<i32, Row>>,
    groups: Option<CgroupRoot>,
}

impl OrphanReaper {
    pub(super) fn new(paths: Paths, session: Pid, groups: Option<CgroupRoot>) -> Self {
        Self { paths, session, rows: None, groups }
    }

    fn table_path(&self) -> PathBuf {
        self.paths.tables().join(self.session.as_raw_nonzero().to_string())
    }

    fn rows(&mut self) -> &HashMap<i32, Row> {
        let path = self.table_path();
        self.rows.get_or_insert_with(|| read_table(&path))
    }

    /// Records the exit of a block's process, and reaps it. Other processes are only reaped.
    pub(super) fn exited(&mut self, pid: Pid, exit: Exit) {
        let session = self.session;
        let rows = self.rows();
        // A block without a row is the launch that the agent was starting when it was killed.
        let starting = || rows.get(&STARTING).filter(|_| os::leads_group_in_session(pid, session));
        if let Some(row) = rows.get(&pid.as_raw_nonzero().get()).or_else(starting).cloned() {
            reap::kill_process_group(pid);
            let executor = self.paths.executor(&row.framework, &row.launch);
            self.check_limits_at_exit(&row, &executor);
            // The shim of a container records the exit itself.
            if !shim_state::is_container(&executor)
                && let Err(error) = reap::write_exit(&sandbox_in(executor), exit)
            {
                log::error!("the exit code of `{}` is not kept: {error}", row.launch);
            }
        }
        reap::reap(pid);
    }

    /// Removes the containers, and checks the limits, after all processes were killed.
    fn clean_up_all(&mut self) {
        let rows: Vec<Row> = self.rows().values().cloned().collect();
        container::remove(&open_containers(&self.paths, rows.iter()));
        for row in rows {
            self.check_limits_at_exit(&row, &self.paths.executor(&row.framework, &row.launch));
        }
    }

    /// Removes the process table, unless a container without a shim is left. `killed_all`: no container is left either.
    pub(super) fn finish(mut self, killed_all: bool) {
        // All processes have exited, so a launch that is still starting never ran.
        if let Some(row) = self.rows().get(&STARTING).cloned() {
            record_never_started(&self.paths.executor(&row.framework, &row.launch));
        }
        // The next agent finds a container without a shim in the table, and starts a new shim.
        if killed_all
            || self.rows.take().is_none_or(|rows| open_containers(&self.paths, rows.values()).is_empty())
        {
            let _ = os::remove(&self.table_path());
        }
    }

    /// Checks the limits of an ended block, and records an exceeded one.
    fn check_limits_at_exit(&self, row: &Row, executor: &Path) {
        let groups = self.groups.as_ref().filter(|_| row.limits.memory.is_some());
        let group = groups.map(|groups| groups.for_launch(&row.launch));
        let (exceeded, _busy_group) =
            limits::check_at_exit(row.limits, group, &sandbox_in(executor.to_owned()));
        if let Some(exceeded) = exceeded
            && let Err(error) = stop_note::write(executor, StopReason::LimitExceeded(exceeded))
        {
            log::error!("it is not kept why `{}` has ended: {error}", row.launch);
        }
    }
}

/// Reads a process table, by process id. Empty if it cannot be read.
fn read_table(path: &Path) -> HashMap<i32, Row> {
    match process_table::read(path) {
        Ok(found) => found.map(|(_, rows)| rows).unwrap_or_default(),
        Err(error) => {
            log::error!("`{}` cannot be read: {error}", path.display());
            HashMap::new()
        }
    }
}

/// The names of the containers of these launches that have not ended.
fn open_containers<'a>(paths: &Paths, rows: impl Iterator<Item = &'a Row>) -> Vec<String> {
    let executors = rows.map(|row| paths.executor(&row.framework, &row.launch));
    let open = executors.filter(|executor| shim_state::needs_shim(executor));
    open.filter_map(|executor| Some(ContainerSpec::read(&executor)?.name)).collect()
}

/// Starts the agent in a session of this process's own.
fn start_agent(options: &AgentOptions) -> io::Result<Pid> {
    // Fails only for the leader of a group, which needs no session of its own.
    let _ = setsid();
    set_child_subreaper(Some(getpid()))?;
    let options = AgentOptions { role: Role::Agent, ..options.clone() };
    let program = std::env::current_exe().ok().filter(|program| program.exists());
    // The same version of the program, even if its file has been removed.
    let child = Command::new(program.unwrap_or_else(|| "/proc/self/exe".into()))
        .arg0("borges")
        .arg("agent")
        .args(options.to_args())
        .stdin(Stdio::inherit())
        .spawn()?;
    // While any process has the socket open, a client could connect to a dead agent.
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

//! The start of a launch: its directory is claimed, its row written, its process spawned.
//!
//! A start takes few system calls: four directories, three files, a row of the process table, and one spawn. The
//! standard library uses `posix_spawn` for it, as long as the program is absolute and there is neither a `pre_exec`
//! hook nor a change of user.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::registry::{Block, Origin, Processes, ok_or_log};
use super::start_error::{StartError, describe, failed};
use crate::launch_spec::Launch;
use crate::limits::{Cgroup, OutputWatcher};
use crate::model::{Exit, StartReport, Stream};
use crate::os;
use crate::paths::sandbox_in;
use crate::process_table::{Row, STARTING};
use crate::reap;

impl Processes {
    /// Starts a launch, unless there is one of its name already.
    pub(crate) fn start(&mut self, launch: &Launch) -> StartReport {
        let executor = self.paths.executor(&launch.framework, &launch.id);
        match self.claim(launch, &executor) {
            Ok(true) => {}
            Ok(false) => {
                return StartReport::AlreadyLaunched(self.launch_history(&launch.framework, &launch.id));
            }
            Err(error) => return failed(format!("the sandbox cannot be made: {}", describe(&error))),
        }
        // Written before the spawn, so that the next agent can find the process if this one is killed in between.
        let row = Row {
            pid: STARTING,
            framework: launch.framework.to_string(),
            launch: launch.id.to_string(),
            resources: launch.spec.resources.clone(),
            limits: launch.spec.limits,
        };
        let slot = ok_or_log(self.table.put(&row));
        let group = self.make_group(launch);
        match self.spawn(launch, &executor, group.as_ref()) {
            Ok(pid) => {
                let row = Row { pid: pid.as_raw_nonzero().get(), ..row };
                if let Some(slot) = slot {
                    ok_or_log(self.table.write(slot, &row));
                }
                let is_container = launch.spec.image.is_some();
                let container = is_container.then(|| Box::new(row));
                self.keys.insert(pid, launch.key);
                let block = Block {
                    pid,
                    executor,
                    origin: Origin::Child(slot),
                    container,
                    limits: launch.spec.limits,
                    group,
                    output: OutputWatcher::default(),
                };
                self.blocks.insert(launch.key, block);
                if is_container {
                    self.starting.insert(launch.key);
                    return StartReport::Starting;
                }
                StartReport::Running
            }
            Err(StartError { exit, reason, message }) => {
                self.busy_groups.extend(group.filter(|group| group.remove().is_err()));
                if let Some(slot) = slot {
                    ok_or_log(self.table.clear(slot));
                }
                let sandbox = sandbox_in(executor);
                // The message is where users look for the block's output, too.
                let stderr = sandbox.join(Stream::Stderr.file());
                let file = File::options().append(true).open(&stderr);
                let line = format!("borges: {message}\n");
                let _ = file.and_then(|mut file| os::write(&mut file, &stderr, line.as_bytes()));
                if let Some(code) = exit
                    && let Err(error) = reap::write_exit(&sandbox, Exit::Code(code))
                {
                    log::warn!("the exit code of `{}` cannot be written: {error}", launch.id);
                }
                StartReport::Failed(reason, message)
            }
        }
    }

    /// Makes the control group of a launch whose memory is limited; `None` for containers, whose groups Docker makes.
    fn make_group(&self, launch: &Launch) -> Option<Cgroup> {
        let mib = launch.spec.limits.memory.filter(|_| launch.spec.image.is_none())?;
        self.groups
            .as_ref()?
            .create(&launch.id, mib)
            .inspect_err(|error| log::error!("the memory of `{}` is not limited: {error}", launch.id))
            .ok()
    }

    /// Claims a launch by making its directories. `false` if they exist already.
    fn claim(&mut self, launch: &Launch, executor: &Path) -> io::Result<bool> {
        if self.last_framework.as_ref() != Some(&launch.framework) {
            os::create_dir_all(&self.paths.executors(&launch.framework), 0o777)?;
            self.last_framework = Some(launch.framework.clone());
        }
        let claimed = os::create_dir(executor).or_else(|error| match error.kind() {
            // The framework's directory has been removed.
            ErrorKind::NotFound => {
                os::create_dir_all(&self.paths.executors(&launch.framework), 0o777)?;
                os::create_dir(executor)
            }
            _ => Err(error),
        });
        match claimed {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            claimed => claimed?,
        }
        let mut path = executor.to_owned();
        for name in ["runs", "latest", "block"] {
            path.push(name);
            os::create_dir(&path)?;
        }
        Ok(true)
    }
}

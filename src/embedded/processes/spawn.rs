//! A block's process: its sandbox filled, its command put together, started.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, getegid, geteuid};

use super::start_error::{StartError, create_file, open, place, spawned};
use super::{NOTE, Processes, STDERR, STDOUT};
use crate::container::shim_state::ContainerSpec;
use crate::container::{self, Image};
use crate::launch_spec::LaunchSpec;
use crate::limits::Cgroup;
use crate::paths::sandbox_in;
use crate::state::Launch;
use borges_mesos::messages::task_status::Reason;

/// This program, of this version, even when its file has been replaced or removed since.
const OWN_PROGRAM: &str = "/proc/self/exe";

impl Processes {
    /// Fills the sandbox and starts what runs the block: its process, or its container's stand-in.
    pub(super) fn spawn(
        &mut self,
        launch: &Launch,
        executor: &Path,
        group: Option<&Cgroup>,
    ) -> Result<Pid, StartError> {
        let sandbox = sandbox_in(executor.to_owned());
        let Some(image) = &launch.work.image else {
            return self.spawn_process(&launch.work, &sandbox, group);
        };
        fill(&launch.work, &sandbox)?;
        let user = (geteuid().as_raw(), getegid().as_raw());
        let Launch { work, id, .. } = launch;
        let create = container::create::arguments(work, image, id, executor, &sandbox, user);
        let Image { reference, .. } = image;
        let order = ContainerSpec::new(id, reference, &work.program, create);
        order.write(executor).map_err(|error| StartError::of("the container cannot be noted", &error))?;
        create_file(&sandbox, STDOUT, 0o644, b"")?;
        create_file(&sandbox, STDERR, 0o644, b"")?;
        Self::spawn_shim(executor)
    }

    /// Starts a stand-in for the container of a launch; it finds out itself what there is to do.
    pub(super) fn spawn_shim(executor: &Path) -> Result<Pid, StartError> {
        let mut command = Command::new(OWN_PROGRAM);
        command.arg0("borges").arg("agent").arg(container::SHIM_ARG).arg(executor);
        command.stdin(Stdio::inherit()).process_group(0);
        spawned(&mut command, Path::new(OWN_PROGRAM), Path::new("/"))
    }

    fn spawn_process(
        &mut self,
        work: &LaunchSpec,
        sandbox: &Path,
        group: Option<&Cgroup>,
    ) -> Result<Pid, StartError> {
        fill(work, sandbox)?;
        let stdout = create_file(sandbox, STDOUT, 0o644, b"")?;
        let stderr = create_file(sandbox, STDERR, 0o644, b"")?;

        let elsewhere = work.directory.as_ref().map(|directory| sandbox.join(directory));
        let directory = elsewhere.as_deref().unwrap_or(sandbox);
        if work.program.contains('/') {
            let program = sandbox.join(&work.program);
            let mut command = self.command(work, &program, sandbox, elsewhere.as_deref(), group)?;
            return spawned(command.stdout(stdout).stderr(stderr), &program, directory);
        }
        let given = work.environment.iter().rev().find(|(name, _)| name == "PATH");
        let path = given.map(|(_, value)| OsString::from(value));
        let path = path.unwrap_or_else(|| self.path.clone());
        let missing = || StartError {
            exit: Some(127),
            reason: Reason::CommandExecutorFailed,
            message: format!(
                "`{}` is not installed on this machine: not found on PATH {}",
                work.program,
                path.to_string_lossy()
            ),
        };
        let program = self.programs.resolve(&work.program, &path, directory).ok_or_else(missing)?;
        let mut command = self.command(work, &program, sandbox, elsewhere.as_deref(), group)?;
        let result = spawned(command.stdout(stdout).stderr(stderr), &program, directory);
        if result.is_ok() || program.exists() || !self.programs.invalidate(&work.program, &path) {
            return result;
        }
        // It was found once, and is gone since.
        let program = self.programs.resolve(&work.program, &path, directory).ok_or_else(missing)?;
        let (stdout, stderr) = (open(sandbox, STDOUT)?, open(sandbox, STDERR)?);
        let mut command = self.command(work, &program, sandbox, elsewhere.as_deref(), group)?;
        spawned(command.stdout(stdout).stderr(stderr), &program, directory)
    }

    /// The command of a block; stdin is the agent's own, which is `/dev/null`, where it has none.
    fn command(
        &self,
        work: &LaunchSpec,
        program: &Path,
        sandbox: &Path,
        elsewhere: Option<&Path>,
        group: Option<&Cgroup>,
    ) -> Result<Command, StartError> {
        let mut command =
            group.map_or_else(|| Command::new(program), |group| group.command(OWN_PROGRAM, program));
        let stdin = match &work.parcel.stdin {
            None => Stdio::inherit(),
            Some(path) => {
                let file = File::open(sandbox.join(path));
                file.map_err(|error| StartError::of(&format!("`{path}` cannot be opened"), &error))?.into()
            }
        };
        command.stdin(stdin).process_group(0).current_dir(elsewhere.unwrap_or(sandbox));
        command.env_clear().envs(self.own.iter().map(|(name, value)| (name, value)));
        command.envs(work.environment.iter().map(|(name, value)| (name, value)));
        command.env("MESOS_SANDBOX", sandbox);
        let mut arguments = work.arguments.iter();
        let name = arguments.next().map_or(work.program.as_str(), String::as_str);
        if group.is_some() {
            command.arg(name)
        } else {
            command.arg0(name)
        };
        for argument in arguments {
            if elsewhere.is_some() && work.is_own_file(argument) {
                command.arg(sandbox.join(argument));
            } else {
                command.arg(argument);
            }
        }
        Ok(command)
    }
}

/// What lies in every sandbox before its block starts.
fn fill(work: &LaunchSpec, sandbox: &Path) -> Result<(), StartError> {
    for file in &work.parcel.files {
        place(sandbox, &file.path, file.mode, &file.content)?;
    }
    create_file(sandbox, "stdout", 0o644, NOTE)?;
    Ok(())
}

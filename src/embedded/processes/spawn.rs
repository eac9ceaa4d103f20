//! The process of a block, or the shim of its container: fills the sandbox, builds the command, and spawns it.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, getegid, geteuid};

use super::registry::Processes;
use super::start_error::{StartError, create_file, open, spawn, write_payload_file};
use crate::container;
use crate::container::shim_state::ContainerSpec;
use crate::image::Image;
use crate::launch_spec::{Launch, LaunchSpec};
use crate::limits::Cgroup;
use crate::model::Stream;
use crate::paths::sandbox_in;
use borges_mesos::messages::task_status::Reason;

/// The content of the sandbox's `stdout`, where Mesos' executor would write.
const STDOUT_NOTE: &[u8] = b"The block's output is in block/stdout and block/stderr.\n";

const STDOUT: &str = Stream::Stdout.file();
const STDERR: &str = Stream::Stderr.file();

/// This program, in this version even if its file has been replaced or removed.
const OWN_PROGRAM: &str = "/proc/self/exe";

impl Processes {
    /// Fills the sandbox, and spawns the block's process or its container's shim.
    pub(super) fn spawn(
        &mut self,
        launch: &Launch,
        executor: &Path,
        group: Option<&Cgroup>,
    ) -> Result<Pid, StartError> {
        let sandbox = sandbox_in(executor.to_owned());
        let Some(image) = &launch.spec.image else {
            return self.spawn_process(&launch.spec, &sandbox, group);
        };
        fill_sandbox(&launch.spec, &sandbox)?;
        let user = (geteuid().as_raw(), getegid().as_raw());
        let Launch { spec, id, .. } = launch;
        let create = container::create::arguments(spec, image, id, executor, &sandbox, user);
        let Image { reference, .. } = image;
        let container = ContainerSpec::new(id, reference, &spec.program, create);
        container.write(executor).map_err(|error| StartError::of("the container cannot be noted", &error))?;
        create_file(&sandbox, STDOUT, 0o644, b"")?;
        create_file(&sandbox, STDERR, 0o644, b"")?;
        Self::spawn_shim(executor)
    }

    /// Spawns a shim for the container of a launch. The shim itself finds out how far an earlier one came.
    pub(super) fn spawn_shim(executor: &Path) -> Result<Pid, StartError> {
        let mut command = Command::new(OWN_PROGRAM);
        command.arg0("borges").arg("agent").arg(container::SHIM_ARG).arg(executor);
        command.stdin(Stdio::inherit()).process_group(0);
        spawn(&mut command, Path::new(OWN_PROGRAM), Path::new("/"))
    }

    fn spawn_process(
        &mut self,
        spec: &LaunchSpec,
        sandbox: &Path,
        group: Option<&Cgroup>,
    ) -> Result<Pid, StartError> {
        fill_sandbox(spec, sandbox)?;
        let stdout = create_file(sandbox, STDOUT, 0o644, b"")?;
        let stderr = create_file(sandbox, STDERR, 0o644, b"")?;

        let custom_directory = spec.directory.as_ref().map(|directory| sandbox.join(directory));
        let directory = custom_directory.as_deref().unwrap_or(sandbox);
        if spec.program.contains('/') {
            let program = sandbox.join(&spec.program);
            let mut command = self.command(spec, &program, sandbox, custom_directory.as_deref(), group)?;
            return spawn(command.stdout(stdout).stderr(stderr), &program, directory);
        }
        let path_variable = spec.environment.iter().rev().find(|(name, _)| name == "PATH");
        let path = path_variable.map(|(_, value)| OsString::from(value));
        let path = path.unwrap_or_else(|| self.path.clone());
        let missing = || StartError {
            exit: Some(127),
            reason: Reason::CommandExecutorFailed,
            message: format!(
                "`{}` is not installed on this machine: not found on PATH {}",
                spec.program,
                path.to_string_lossy()
            ),
        };
        let program = self.programs.resolve(&spec.program, &path, directory).ok_or_else(missing)?;
        let mut command = self.command(spec, &program, sandbox, custom_directory.as_deref(), group)?;
        let result = spawn(command.stdout(stdout).stderr(stderr), &program, directory);
        if result.is_ok() || program.exists() || !self.programs.invalidate(&spec.program, &path) {
            return result;
        }
        // The remembered file has been removed.
        let program = self.programs.resolve(&spec.program, &path, directory).ok_or_else(missing)?;
        let (stdout, stderr) = (open(sandbox, STDOUT)?, open(sandbox, STDERR)?);
        let mut command = self.command(spec, &program, sandbox, custom_directory.as_deref(), group)?;
        spawn(command.stdout(stdout).stderr(stderr), &program, directory)
    }

    /// The command of a block. Without a stdin file it inherits the agent's stdin, which is `/dev/null`.
    fn command(
        &self,
        spec: &LaunchSpec,
        program: &Path,
        sandbox: &Path,
        custom_directory: Option<&Path>,
        group: Option<&Cgroup>,
    ) -> Result<Command, StartError> {
        let mut command =
            group.map_or_else(|| Command::new(program), |group| group.command(OWN_PROGRAM, program));
        let stdin = match &spec.payload.stdin {
            None => Stdio::inherit(),
            Some(path) => {
                let file = File::open(sandbox.join(path));
                file.map_err(|error| StartError::of(&format!("`{path}` cannot be opened"), &error))?.into()
            }
        };
        command.stdin(stdin).process_group(0).current_dir(custom_directory.unwrap_or(sandbox));
        command.env_clear().envs(self.inherited.iter().map(|(name, value)| (name, value)));
        command.envs(spec.environment.iter().map(|(name, value)| (name, value)));
        command.env("MESOS_SANDBOX", sandbox);
        let mut arguments = spec.arguments.iter();
        let name = arguments.next().map_or(spec.program.as_str(), String::as_str);
        if group.is_some() {
            command.arg(name)
        } else {
            command.arg0(name)
        };
        for argument in arguments {
            if custom_directory.is_some() && spec.is_payload_file(argument) {
                command.arg(sandbox.join(argument));
            } else {
                command.arg(argument);
            }
        }
        Ok(command)
    }
}

/// Writes the payload's files, and Mesos' own `stdout`, into a sandbox.
fn fill_sandbox(spec: &LaunchSpec, sandbox: &Path) -> Result<(), StartError> {
    for file in &spec.payload.files {
        write_payload_file(sandbox, &file.path, file.mode, &file.content)?;
    }
    create_file(sandbox, "stdout", 0o644, STDOUT_NOTE)?;
    Ok(())
}

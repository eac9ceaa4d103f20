//! Runs the `docker` command.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::process::Stdio;
use std::time::Duration;

use tokio::time::timeout;

use super::docker_error::{self, DockerErrorKind};

/// The time limit of commands that normally take no time.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of a `docker` command.
#[derive(Debug)]
pub(super) enum CommandResult {
    /// The command succeeded; its standard output.
    Done(String),
    /// The command failed; its standard error, or why it could not be started.
    Failed(String),
}

impl CommandResult {
    /// The kind of error; `None` if the command succeeded.
    pub(super) fn error_kind(&self) -> Option<DockerErrorKind> {
        match self {
            Self::Done(_) => None,
            Self::Failed(stderr) => Some(docker_error::kind(stderr)),
        }
    }
}

/// Runs `docker` without a time limit; kills it when the future is dropped.
///
/// It has a process group of its own, because signals to the shim's group are for the shim.
pub(super) async fn run_command<A: AsRef<OsStr>>(arguments: &[A]) -> CommandResult {
    let output = tokio::process::Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .output()
        .await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output {
        Ok(output) if output.status.success() => CommandResult::Done(text(&output.stdout)),
        Ok(output) => CommandResult::Failed(text(&output.stderr)),
        Err(error) => CommandResult::Failed(start_error(&error)),
    }
}

/// Runs `docker` with a time limit.
pub(super) async fn run_with_timeout<A: AsRef<OsStr>>(arguments: &[A]) -> CommandResult {
    timeout(COMMAND_TIMEOUT, run_command(arguments)).await.unwrap_or_else(|_| {
        CommandResult::Failed(format!("error: `docker` takes longer than {COMMAND_TIMEOUT:?}"))
    })
}

/// Removes containers, running or not, and waits until that is done.
pub(crate) fn remove(names: &[String]) {
    if names.is_empty() {
        return;
    }
    let status = std::process::Command::new("docker")
        .args(["rm", "--force", "--volumes"])
        .args(names)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => log::warn!("`docker rm` of {names:?}: {status}"),
        Err(error) => log::warn!("{}", start_error(&error)),
    }
}

/// The message if `docker` cannot be started.
fn start_error(error: &io::Error) -> String {
    if error.kind() == ErrorKind::NotFound {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = path.to_string_lossy();
        format!("error: `docker` is not installed on this machine: not found on PATH {path}")
    } else {
        format!("error: `docker` cannot be started: {error}")
    }
}

//! The `docker` command, run.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::process::Stdio;
use std::time::Duration;

use tokio::time::timeout;

use super::docker_error::{self, DockerErrorKind};

/// How long `docker` may take for what it does at once when all is well.
const PROMPT: Duration = Duration::from_secs(10);

/// What `docker` said.
#[derive(Debug)]
pub(super) enum CommandResult {
    /// It did what it was asked; its standard output.
    Done(String),
    /// It did not; its standard error, or why it could not be asked.
    Refused(String),
}

impl CommandResult {
    /// What went wrong; `None` when nothing did.
    pub(super) fn trouble(&self) -> Option<DockerErrorKind> {
        match self {
            Self::Done(_) => None,
            Self::Refused(said) => Some(docker_error::kind(said)),
        }
    }
}

/// Asks `docker`, however long it takes; asks no more when the future is dropped.
///
/// In a group of its own: what signals a stand-in's group is for the stand-in.
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
        Ok(output) => CommandResult::Refused(text(&output.stderr)),
        Err(error) => CommandResult::Refused(absent(&error)),
    }
}

/// Asks `docker` for what does not take long.
pub(super) async fn run_with_timeout<A: AsRef<OsStr>>(arguments: &[A]) -> CommandResult {
    timeout(PROMPT, run_command(arguments))
        .await
        .unwrap_or_else(|_| CommandResult::Refused(format!("error: `docker` takes longer than {PROMPT:?}")))
}

/// Removes containers, running or not; waits until it is done.
pub(crate) fn remove(names: &[String]) {
    if names.is_empty() {
        return;
    }
    let done = std::process::Command::new("docker")
        .args(["rm", "--force", "--volumes"])
        .args(names)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    match done {
        Ok(status) if status.success() => {}
        Ok(status) => log::warn!("`docker rm` of {names:?}: {status}"),
        Err(error) => log::warn!("{}", absent(&error)),
    }
}

fn absent(error: &io::Error) -> String {
    if error.kind() == ErrorKind::NotFound {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = path.to_string_lossy();
        format!("error: `docker` is not installed on this machine: not found on PATH {path}")
    } else {
        format!("error: `docker` cannot be started: {error}")
    }
}

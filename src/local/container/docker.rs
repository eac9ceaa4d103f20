//! The `docker` command, run.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::process::Stdio;
use std::time::Duration;

use tokio::time::timeout;

use super::trouble::{self, Kind};

/// How long `docker` may take for what it does at once when all is well.
const PROMPT: Duration = Duration::from_secs(10);

/// What `docker` said.
#[derive(Debug)]
pub(super) enum Said {
    /// It did what it was asked; its standard output.
    Done(String),
    /// It did not; its standard error, or why it could not be asked.
    Refused(String),
}

impl Said {
    /// What went wrong; `None` when nothing did.
    pub(super) fn trouble(&self) -> Option<Kind> {
        match self {
            Self::Done(_) => None,
            Self::Refused(said) => Some(trouble::kind(said)),
        }
    }
}

/// Asks `docker`, however long it takes; asks no more when the future is dropped.
///
/// In a group of its own: what signals a stand-in's group is for the stand-in.
pub(super) async fn ask<A: AsRef<OsStr>>(arguments: &[A]) -> Said {
    let output = tokio::process::Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .output()
        .await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output {
        Ok(output) if output.status.success() => Said::Done(text(&output.stdout)),
        Ok(output) => Said::Refused(text(&output.stderr)),
        Err(error) => Said::Refused(absent(&error)),
    }
}

/// Asks `docker` for what does not take long.
pub(super) async fn ask_promptly<A: AsRef<OsStr>>(arguments: &[A]) -> Said {
    timeout(PROMPT, ask(arguments))
        .await
        .unwrap_or_else(|_| Said::Refused(format!("error: `docker` takes longer than {PROMPT:?}")))
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

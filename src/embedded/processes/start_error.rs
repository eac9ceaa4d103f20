//! [`StartError`], why a block could not be started, and the file operations of a start that return it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::Command;

use rustix::process::Pid;

use crate::model::StartReport;
use crate::os;
use borges_mesos::messages::task_status::Reason;

/// Why a block did not start.
pub(super) struct StartError {
    /// The content of `block/exit` if the block itself is at fault.
    pub(super) exit: Option<i32>,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl StartError {
    /// An error of the machine.
    pub(super) fn of(what: &str, error: &io::Error) -> Self {
        let message = format!("{what}: {}", describe(error));
        Self { exit: None, reason: Reason::ContainerLaunchFailed, message }
    }

    /// An error of the block.
    pub(super) fn block_fault(exit: i32, message: String) -> Self {
        Self { exit: Some(exit), reason: Reason::CommandExecutorFailed, message }
    }
}

/// Spawns a command.
pub(super) fn spawn(command: &mut Command, program: &Path, directory: &Path) -> Result<Pid, StartError> {
    let error = match os::spawn(command) {
        Ok(pid) => return Ok(pid),
        Err(error) => error,
    };
    let (program, directory_name) = (program.display(), directory.display());
    Err(match error.kind() {
        _ if !directory.is_dir() => {
            StartError::block_fault(126, format!("the working directory `{directory_name}` does not exist"))
        }
        ErrorKind::NotFound => StartError::block_fault(
            127,
            format!("`{program}` cannot be started: it, or what its `#!` line names, does not exist"),
        ),
        ErrorKind::PermissionDenied => StartError::block_fault(
            126,
            format!("`{program}` cannot be started in `{directory_name}`: permission denied"),
        ),
        ErrorKind::ArgumentListTooLong => {
            StartError::block_fault(126, format!("`{program}` cannot be started: its arguments are too long"))
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            StartError::block_fault(
                126,
                format!("`{program}` cannot be started: it is no program, and has no `#!` line"),
            )
        }
        _ => StartError::of(&format!("`{program}` cannot be started"), &error),
    })
}

/// Creates a file of the sandbox with this content.
pub(super) fn create_file(sandbox: &Path, name: &str, mode: u32, bytes: &[u8]) -> Result<File, StartError> {
    let path = sandbox.join(name);
    let file = os::open_file(File::options().append(true).create_new(true), mode, &path);
    let mut file = file.map_err(|error| StartError::of(&format!("`{name}` cannot be made"), &error))?;
    if !bytes.is_empty() {
        os::write(&mut file, &path, bytes)
            .map_err(|error| StartError::of(&format!("`{name}` cannot be written"), &error))?;
    }
    Ok(file)
}

/// Creates a file of the payload, and its directories.
pub(super) fn write_payload_file(
    sandbox: &Path,
    path: &str,
    mode: u32,
    bytes: &[u8],
) -> Result<(), StartError> {
    // `block` exists, and contains most files.
    if let Some((directory, _)) = path.rsplit_once('/')
        && directory != "block"
    {
        os::create_dir_all(&sandbox.join(directory), 0o777).map_err(|error| {
            StartError::of(&format!("the directory `{directory}` cannot be made"), &error)
        })?;
    }
    create_file(sandbox, path, mode, bytes)?;
    Ok(())
}

/// Opens a file of the sandbox for appending.
pub(super) fn open(sandbox: &Path, name: &str) -> Result<File, StartError> {
    let file = File::options().append(true).open(sandbox.join(name));
    file.map_err(|error| StartError::of(&format!("`{name}` cannot be opened"), &error))
}

/// The report on a launch that the machine could not start.
pub(super) fn failed(message: String) -> StartReport {
    StartReport::Failed(Reason::ContainerLaunchFailed, message)
}

/// The message of an operating system error, with a remedy if there is one.
pub(super) fn describe(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull => "the disk is full".to_owned(),
        ErrorKind::QuotaExceeded => "the user's share of the disk is full".to_owned(),
        ErrorKind::WouldBlock => "the machine has no process left for this user (see `ulimit -u`)".to_owned(),
        ErrorKind::OutOfMemory => "the machine has no memory left".to_owned(),
        _ => error.to_string(),
    }
}

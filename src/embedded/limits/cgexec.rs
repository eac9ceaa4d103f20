//! `borges agent --enter`: enters a control group and becomes a block's program by `execv`.
//!
//! The agent cannot move a running block into its group, because processes that the block has started by then would
//! stay outside.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{fs, io};

use nix::unistd::execv;

use super::cgroup::Cgroup;

/// The argument of `borges agent` that makes it a block; the group's `cgroup.procs`, the program and its argv follow.
pub(crate) const ENTER: &str = "--enter";

impl Cgroup {
    /// A command that runs `program` in this group; the caller appends argv.
    pub(crate) fn command(&self, own_program: &str, program: &Path) -> Command {
        let mut command = Command::new(own_program);
        command.arg0("borges").arg("agent").arg(ENTER).arg(self.procs_file()).arg(program);
        command
    }
}

/// Enters the group and becomes the program. Returns only if that fails, after a message on stderr.
pub(crate) fn exec_in_cgroup(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let (Some(procs_file), Some(program), Some(name)) = (args.next(), args.next(), args.next()) else {
        eprintln!("borges: `borges agent {ENTER}` needs a group, a program and its arguments");
        return ExitCode::from(2);
    };
    let procs_file = PathBuf::from(procs_file);
    if let Err(error) = fs::write(&procs_file, "0") {
        eprintln!("borges: the block cannot enter its control group `{}`: {error}", procs_file.display());
        return ExitCode::from(126);
    }
    let error = exec(&program, std::iter::once(name).chain(args));
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    eprintln!("borges: `{}` cannot be started: {error}", PathBuf::from(program).display());
    ExitCode::from(code)
}

/// Returns only the error. The standard library's `exec` would run a file that is not a program as a shell script.
fn exec(program: &OsStr, argv: impl Iterator<Item = OsString>) -> io::Error {
    let c_string = |arg: &OsStr| CString::new(arg.as_bytes());
    let argv: Result<Vec<CString>, _> = argv.map(|arg| c_string(&arg)).collect();
    match (c_string(program), argv) {
        (Ok(program), Ok(argv)) => match execv(&program, &argv) {
            Ok(never) => match never {},
            Err(errno) => errno.into(),
        },
        _ => io::ErrorKind::InvalidInput.into(),
    }
}

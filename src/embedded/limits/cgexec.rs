//! The way of a block into its group: this program goes in, and becomes the block.
//!
//! Putting the block there once it runs would be too late: what it has started by then stays outside.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{fs, io};

use nix::unistd::execv;

use crate::limits::cgroup::Cgroup;

/// The argument of `borges agent` that makes it a block; the group's door, the program and its argv follow.
pub(crate) const ENTER: &str = "--enter";

impl Cgroup {
    /// A command that runs `program` in this group: its argv is to follow.
    pub(crate) fn command(&self, own_program: &str, program: &Path) -> Command {
        let mut command = Command::new(own_program);
        command.arg0("borges").arg("agent").arg(ENTER).arg(self.procs_file()).arg(program);
        command
    }
}

/// Goes in, and becomes the program. Comes back when that cannot be done, having said why where a block would.
pub(crate) fn exec_in_cgroup(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let (Some(door), Some(program), Some(name)) = (args.next(), args.next(), args.next()) else {
        eprintln!("borges: `borges agent {ENTER}` needs a group, a program and its arguments");
        return ExitCode::from(2);
    };
    let door = PathBuf::from(door);
    if let Err(error) = fs::write(&door, "0") {
        eprintln!("borges: the block cannot enter its control group `{}`: {error}", door.display());
        return ExitCode::from(126);
    }
    let error = become_program(&program, std::iter::once(name).chain(args));
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    eprintln!("borges: `{}` cannot be started: {error}", PathBuf::from(program).display());
    ExitCode::from(code)
}

/// Comes back with an error only. Not by the standard library's `exec`, which takes what is no program for a script.
fn become_program(program: &OsStr, argv: impl Iterator<Item = OsString>) -> io::Error {
    let text = |word: &OsStr| CString::new(word.as_bytes());
    let argv: Result<Vec<CString>, _> = argv.map(|word| text(&word)).collect();
    match (text(program), argv) {
        (Ok(program), Ok(argv)) => match execv(&program, &argv) {
            Ok(never) => match never {},
            Err(errno) => errno.into(),
        },
        _ => io::ErrorKind::InvalidInput.into(),
    }
}

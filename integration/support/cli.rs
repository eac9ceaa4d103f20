//! The real program on documents in a folder of its own, and the parts of its output.
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use crate::{program, repository};

/// The time after which a program is killed, in seconds. No document of the tests needs as long.
const PATIENCE: &str = "120";

/// A Python program that runs a command, and writes the peak memory of its processes to a file, in KiB. It is a process of
/// its own, because the kernel keeps one maximum for all children of a process.
const MEASURE: &str = "
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], 'w') as usage:
    usage.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
";

/// A folder in which documents run. It is the home directory too, and holds the state directory.
pub struct CliSandbox {
    dir: TempDir,
}

/// The output of the program.
#[derive(Debug)]
pub struct CliOutput {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error; bytes that are not UTF-8 are replaced.
    pub stderr: String,
}

impl Default for CliSandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl CliSandbox {
    /// An empty folder.
    pub fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the folder.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Copies a document of the repository into the folder; its name there.
    pub fn copy(&self, document: &str) -> String {
        let from = repository(document);
        let name = from.file_name().unwrap().to_str().unwrap().to_owned();
        fs::copy(&from, self.path(&name)).unwrap();
        name
    }

    /// Runs the program with these arguments.
    pub fn run(&self, arguments: &[&str]) -> CliOutput {
        self.run_to_end(timeout().arg(program::path()).args(arguments))
    }

    /// [`CliSandbox::run`], with the peak memory of the program in bytes.
    pub fn run_measured(&self, arguments: &[&str]) -> (CliOutput, u64) {
        let usage = self.path("usage");
        let mut command = timeout();
        let run = self.run_to_end(
            command.args(["python3", "-c", MEASURE]).arg(&usage).arg(program::path()).args(arguments),
        );
        let kib: u64 = fs::read_to_string(&usage).unwrap().parse().unwrap();
        (run, kib * 1024)
    }

    /// [`CliSandbox::run`] by a user who may not read the file `hidden`.
    pub fn run_as_unprivileged(&self, hidden: &str, arguments: &[&str]) -> CliOutput {
        fs::set_permissions(self.path(hidden), Permissions::from_mode(0o000)).unwrap();
        let mut command = timeout();
        if geteuid().is_root() {
            // Root may read every file, and the folder of the build may be readable by root only.
            let program = self.path("borges");
            // Another process copies it: a child that another test starts meanwhile would inherit a file that this process
            // has open for writing, and a file that is open for writing cannot be executed.
            assert!(Command::new("cp").arg(program::path()).arg(&program).status().unwrap().success());
            fs::set_permissions(self.dir.path(), Permissions::from_mode(0o755)).unwrap();
            command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
        } else {
            command.arg(program::path());
        }
        self.run_to_end(command.args(arguments))
    }

    /// [`CliSandbox::run`], interrupted as by Ctrl-C once a line of standard output is `awaited`.
    pub fn run_interrupted(&self, arguments: &[&str], awaited: &str) -> CliOutput {
        let mut command = timeout();
        self.isolate(command.arg(program::path()).args(arguments));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).map(|_| String::from_utf8_lossy(&text).into_owned()).unwrap()
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut stdout = Vec::new();
        let came = loop {
            let begin = stdout.len();
            match lines.read_until(b'\n', &mut stdout).unwrap() {
                0 => break false,
                _ if stdout[begin..].trim_ascii_end() == awaited.as_bytes() => break true,
                _ => {}
            }
        };
        if came {
            // `timeout` passes the signal on.
            kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        }
        lines.read_to_end(&mut stdout).unwrap();
        let code = child.wait().unwrap().code();
        let run = CliOutput { code, stdout, stderr: errors.join().unwrap() };
        assert!(came, "`{awaited}` never came: {run:#?}");
        run
    }

    /// The names of the files that blocks created, sorted: all but documents and the state directory.
    pub fn created_files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "state" && !is_document(name))
            .collect();
        names.sort();
        names
    }

    fn isolate(&self, command: &mut Command) {
        command
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .stdin(Stdio::null());
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"BORGES_"))
        {
            command.env_remove(name);
        }
    }

    fn run_to_end(&self, command: &mut Command) -> CliOutput {
        self.isolate(command);
        let output = command.output().unwrap();
        let run = CliOutput {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        assert!(!matches!(run.code, Some(124 | 137)), "{command:?} does not end: {run:#?}");
        run
    }
}

/// Whether a name ends in `.org`.
pub fn is_document(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "org")
}

/// The concatenation of one text for each number.
pub fn pieces(numbers: std::ops::Range<usize>, piece: impl Fn(usize) -> String) -> String {
    numbers.map(piece).collect::<Vec<_>>().concat()
}

/// The command below `timeout`, which kills it after two minutes with exit code 124 or 137.
pub fn with_timeout(command: &Command) -> Command {
    let mut timed = timeout();
    timed.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => timed.env(name, value),
            None => timed.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        timed.current_dir(directory);
    }
    timed.stdin(Stdio::null());
    timed
}

fn timeout() -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", PATIENCE]);
    command
}

impl CliOutput {
    /// The standard output of each block.
    ///
    /// It follows a line `==> NAME <==`. An empty line before such a line is a part of that heading.
    pub fn block_output(&self) -> BTreeMap<String, Vec<u8>> {
        let mut output: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut current: Option<String> = None;
        for line in self.stdout.split_inclusive(|&byte| byte == b'\n') {
            let header = line
                .strip_prefix(b"==> ")
                .and_then(|rest| rest.strip_suffix(b" <==\n"))
                .and_then(|name| std::str::from_utf8(name).ok());
            if let Some(name) = header {
                if let Some(before) = current.replace(name.to_owned()) {
                    let empty = output.get_mut(&before).unwrap().pop();
                    assert_eq!(empty, Some(b'\n'), "no empty line before `{name}`: {self:#?}");
                }
                output.entry(name.to_owned()).or_default();
            } else {
                let current =
                    current.as_ref().unwrap_or_else(|| panic!("{line:?} belongs to no block: {self:#?}"));
                output.get_mut(current).unwrap().extend_from_slice(line);
            }
        }
        output
    }

    /// The states of a block as shown, in order: `running`, `finished (0.03 s)`.
    pub fn states(&self, block: &str) -> Vec<&str> {
        let all = ["running", "finished", "failed", "killed", "skipped", "delayed", "waits", "held"];
        self.stderr
            .lines()
            .filter_map(|line| line.strip_prefix(block)?.strip_prefix(": "))
            .filter(|said| all.iter().any(|state| said.starts_with(state)))
            .collect()
    }

    /// The reason why a block is not scheduled, from the list below `Skipped N:`.
    pub fn skip_reason(&self, block: &str) -> Option<&str> {
        let after = format!(": {block}: ");
        self.stderr
            .lines()
            .filter(|line| line.starts_with("  line "))
            .find_map(|line| line.split_once(&after))
            .map(|(_, reason)| reason)
    }

    /// The last line of standard error.
    pub fn summary(&self) -> &str {
        self.stderr.lines().last().unwrap_or_default()
    }
}

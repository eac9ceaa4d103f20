//! Runs the real program on documents, in a folder of its own, and takes apart what it says.
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

/// Seconds. No document of the tests needs as long; a program that hangs is ended and shown.
const PATIENCE: &str = "120";

/// Runs a command and writes the most memory that any of its processes held, in KiB. A process of its own,
/// because the kernel keeps one maximum for all children of a process.
const MEASURE: &str = "
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], 'w') as usage:
    usage.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
";

/// A folder in which documents run, with a home and a state directory of its own.
pub struct Place {
    dir: TempDir,
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Run {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    pub fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Puts a document of the project here, under its own name.
    pub fn copy(&self, document: &str) -> String {
        let from = repository(document);
        let name = from.file_name().unwrap().to_str().unwrap().to_owned();
        fs::copy(&from, self.path(&name)).unwrap();
        name
    }

    /// The program with these arguments, run to its end.
    pub fn borges(&self, arguments: &[&str]) -> Run {
        self.ended(timeout().arg(program::path()).args(arguments))
    }

    /// The same, with the most memory that a process of it held, in bytes.
    pub fn measured(&self, arguments: &[&str]) -> (Run, u64) {
        let usage = self.path("usage");
        let mut command = timeout();
        let run = self
            .ended(command.args(["python3", "-c", MEASURE]).arg(&usage).arg(program::path()).args(arguments));
        let kib: u64 = fs::read_to_string(&usage).unwrap().parse().unwrap();
        (run, kib * 1024)
    }

    /// The program with these arguments, run by a user who may not read `hidden`.
    pub fn kept_from(&self, hidden: &str, arguments: &[&str]) -> Run {
        fs::set_permissions(self.path(hidden), Permissions::from_mode(0o000)).unwrap();
        let mut command = timeout();
        if geteuid().is_root() {
            // Root may read all, and the build's folder may be root's alone.
            let program = self.path("borges");
            // By another process: a file that this one has open for writing may be handed to a child that another
            // test starts just then, and cannot be executed as long as that child has not begun its own program.
            assert!(Command::new("cp").arg(program::path()).arg(&program).status().unwrap().success());
            fs::set_permissions(self.dir.path(), Permissions::from_mode(0o755)).unwrap();
            command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
        } else {
            command.arg(program::path());
        }
        self.ended(command.args(arguments))
    }

    /// The program with these arguments, interrupted (as by Ctrl-C) when a line of its output is `awaited`.
    pub fn interrupted(&self, arguments: &[&str], awaited: &str) -> Run {
        let mut command = timeout();
        self.settle(command.arg(program::path()).args(arguments));
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
            // `timeout` passes it on.
            kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        }
        lines.read_to_end(&mut stdout).unwrap();
        let code = child.wait().unwrap().code();
        let run = Run { code, stdout, stderr: errors.join().unwrap() };
        assert!(came, "`{awaited}` never came: {run:#?}");
        run
    }

    /// Files in the folder besides documents and state: what blocks left, in the order of their names.
    pub fn left_over(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "state" && !is_document(name))
            .collect();
        names.sort();
        names
    }

    fn settle(&self, command: &mut Command) {
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

    fn ended(&self, command: &mut Command) -> Run {
        self.settle(command);
        let output = command.output().unwrap();
        let run = Run {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        assert!(!matches!(run.code, Some(124 | 137)), "{command:?} does not end: {run:#?}");
        run
    }
}

/// A name that ends in `.org`.
pub fn is_document(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "org")
}

/// A text made of pieces.
pub fn pieces(numbers: std::ops::Range<usize>, piece: impl Fn(usize) -> String) -> String {
    numbers.map(piece).collect::<Vec<_>>().concat()
}

/// The same command below `timeout`, which ends it after two minutes: exit code 124 or 137.
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

impl Run {
    /// What each block said on standard output.
    ///
    /// Blocks stand under lines `==> NAME <==`; the empty line before such a line belongs to it.
    pub fn said(&self) -> BTreeMap<String, Vec<u8>> {
        let mut said: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut speaker: Option<String> = None;
        for line in self.stdout.split_inclusive(|&byte| byte == b'\n') {
            let header = line
                .strip_prefix(b"==> ")
                .and_then(|rest| rest.strip_suffix(b" <==\n"))
                .and_then(|name| std::str::from_utf8(name).ok());
            if let Some(name) = header {
                if let Some(before) = speaker.replace(name.to_owned()) {
                    let empty = said.get_mut(&before).unwrap().pop();
                    assert_eq!(empty, Some(b'\n'), "no empty line before `{name}`: {self:#?}");
                }
                said.entry(name.to_owned()).or_default();
            } else {
                let speaker = speaker.as_ref().unwrap_or_else(|| panic!("nobody says {line:?}: {self:#?}"));
                said.get_mut(speaker).unwrap().extend_from_slice(line);
            }
        }
        said
    }

    /// What was said of a block's state, in order: `running`, `finished (0.03 s)` …
    pub fn states(&self, block: &str) -> Vec<&str> {
        let all = ["running", "finished", "failed", "killed", "skipped", "delayed", "waits", "held"];
        self.stderr
            .lines()
            .filter_map(|line| line.strip_prefix(block)?.strip_prefix(": "))
            .filter(|said| all.iter().any(|state| said.starts_with(state)))
            .collect()
    }

    /// Why a block was never to run, from the list under `Skipped N:`.
    pub fn not_run(&self, block: &str) -> Option<&str> {
        let after = format!(": {block}: ");
        self.stderr
            .lines()
            .filter(|line| line.starts_with("  line "))
            .find_map(|line| line.split_once(&after))
            .map(|(_, reason)| reason)
    }

    /// The last line on standard error.
    pub fn summary(&self) -> &str {
        self.stderr.lines().last().unwrap_or_default()
    }
}

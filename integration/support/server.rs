//! Starts the real server in a folder of its own, talks to it by curl, and ends it and what it has started.
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::cli::with_timeout;
use crate::poll::{DEADLINE, poll_until};
use crate::program;

/// A server with a state directory of its own.
pub struct Served {
    home: TempDir,
    server: Option<Child>,
    /// Words before the commands that start it, and that talk to it.
    within: Vec<String>,
    /// Words behind the command that starts it.
    pub arguments: Vec<String>,
    pub address: String,
    log: Arc<Mutex<String>>,
    /// The length of the log at the last start.
    log_start: usize,
    /// Whether the log of the last start has been read to its end.
    log_ended: Arc<AtomicBool>,
}

impl Served {
    pub fn start() -> Self {
        Self::with("")
    }

    pub fn with(setupfile: &str) -> Self {
        Self::within(&[], &format!("#+borges_port: 0\n{setupfile}"))
    }

    /// Started by a command before its own, with exactly this setupfile.
    pub fn within(command: &[&str], setupfile: &str) -> Self {
        Self::living_in(TempDir::new().unwrap(), command, setupfile)
    }

    /// With exactly this setupfile, its folder below `base`.
    pub fn below(base: &Path, setupfile: &str) -> Self {
        Self::living_in(TempDir::new_in(base).unwrap(), &[], setupfile)
    }

    fn living_in(home: TempDir, command: &[&str], setupfile: &str) -> Self {
        fs::write(home.path().join("setup.org"), setupfile).unwrap();
        let within = command.iter().map(ToString::to_string).collect();
        let mut served = Self {
            home,
            server: None,
            within,
            arguments: Vec::new(),
            address: String::new(),
            log: Arc::default(),
            log_start: 0,
            log_ended: Arc::default(),
        };
        served.run();
        served
    }

    /// Starts the server, and waits until it says where it listens.
    pub fn run(&mut self) {
        self.log_start = self.log.lock().unwrap().len();
        let mut server = self.command().stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(server.stderr.take().unwrap()).lines();
        let kept = self.log.clone();
        let (announce, address) = mpsc::channel();
        self.log_ended = Arc::default();
        let log_ended = self.log_ended.clone();
        // It reads to the end, or the server would wait for space in the pipe.
        std::thread::spawn(move || {
            for line in lines.map(Result::unwrap) {
                if let Some(address) = address_in(&line) {
                    let _nobody_waits = announce.send(address);
                }
                let mut kept = kept.lock().unwrap();
                // A test that reads the log does not write megabytes of it.
                if kept.len() < 1 << 20 {
                    kept.push_str(&line);
                    kept.push('\n');
                }
            }
            log_ended.store(true, Ordering::Release);
        });
        self.server = Some(server);
        match address.recv_timeout(DEADLINE) {
            Ok(address) => self.address = address,
            Err(error) => panic!("the server does not say where it listens: {error}\n{}", self.log()),
        }
    }

    pub fn command(&self) -> Command {
        let within: Vec<&str> = self.within.iter().map(String::as_str).collect();
        let mut command = behind(&within, program::path());
        command.env("BORGES_DATA", self.home.path().join("state"));
        // The original's own way to start it.
        command.arg("-logtostderr=true").arg("-f").arg(self.home.path().join("setup.org"));
        command.args(&self.arguments);
        command.env_remove("BORGES_LOG").stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// What it has said so far, all of its lives together.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// What it has said since it was started last.
    pub fn log_since_start(&self) -> String {
        self.log.lock().unwrap()[self.log_start..].to_owned()
    }

    /// Waits until these words have come in its log since its last start, each in a line after that of the word before.
    pub fn wait_for_log(&self, words: &[&str]) {
        poll_until(DEADLINE, "the words come in the log in this order", || {
            let log = self.log_since_start();
            let mut lines = log.lines();
            match words.iter().find(|words| !lines.any(|line| line.contains(**words))) {
                None => Ok(()),
                Some(missing) => Err(format!("no `{missing}` in its turn in\n{log}")),
            }
        });
    }

    /// Waits until it ends by itself; its exit code. Its log is complete then.
    pub fn ended(&mut self) -> Option<i32> {
        let code = wait_within_deadline(self.server.take().unwrap()).code();
        poll_until(DEADLINE, "the log ends", || self.log_ended.load(Ordering::Acquire));
        code
    }

    /// Starts it, and waits until it ends by itself, as a server does that refuses to start.
    pub fn output(&self) -> Output {
        let mut command = with_timeout(&self.command());
        command.stderr(Stdio::piped()).output().unwrap()
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("it runs").id()
    }

    pub fn signal(&mut self, signal: Signal) {
        let server = self.server.take().unwrap();
        kill(Pid::from_raw(server.id().try_into().unwrap()), signal).unwrap();
        wait_within_deadline(server);
    }

    /// The most memory it has held so far, KiB.
    pub fn memory(&self) -> u64 {
        let pid = self.server.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim_end_matches("kB").trim().parse().unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// curl's answer, typed where the server runs: status and body.
    pub fn curl(&self, arguments: &[&str], route: &str) -> (u16, String) {
        let (status, body) = self.bytes(arguments, route);
        (status, String::from_utf8(body).unwrap())
    }

    /// The same for a body that need not be text.
    pub fn bytes(&self, arguments: &[&str], route: &str) -> (u16, Vec<u8>) {
        let within: Vec<&str> = self.within.iter().map(String::as_str).collect();
        self.bytes_from(&within, arguments, route)
    }

    /// The same, typed elsewhere: behind the words of a command that leads there.
    pub fn bytes_from(&self, there: &[&str], arguments: &[&str], route: &str) -> (u16, Vec<u8>) {
        let Output { mut stdout, stderr, .. } = behind(there, "curl")
            .args(["-sS", "--max-time", "60", "--path-as-is", "-w", "\n%{http_code}"])
            .args(arguments)
            .arg(format!("http://{}{route}", self.address))
            .current_dir(self.home.path())
            .output()
            .unwrap();
        let end = stdout.iter().rposition(|byte| *byte == b'\n').unwrap();
        let status = String::from_utf8(stdout.split_off(end)).unwrap().trim().to_owned();
        assert_ne!(status, "000", "{}", String::from_utf8_lossy(&stderr));
        (status.parse().unwrap(), stdout)
    }

    /// The agent and all blocks end, as with their machine.
    pub fn end_agent(&self) {
        kill_all_of(self.home.path());
    }

    /// Submits a document; its run's id.
    pub fn submit(&self, document: &str) -> String {
        fs::write(self.path("submitted.org"), document).unwrap();
        let (status, text) = self.curl(&["-X", "POST", "--data-binary", "@submitted.org"], "/org");
        assert_eq!(status, 200, "{text}");
        text.lines().find_map(|line| line.strip_prefix("run ")).expect("a run").to_owned()
    }

    /// Waits until the task is in `state`; its line.
    pub fn wait_for(&self, task: &str, state: &str) -> String {
        poll_until(DEADLINE, &format!("{task} is {state}"), || {
            let (status, line) = self.curl(&[], &format!("/tasks/{task}"));
            assert_eq!(status, 200, "{line}");
            if line.contains(&format!("  {state}  ")) { Ok(line) } else { Err(line) }
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        // The agent and its blocks outlive the server, as they should; they do not outlive the test.
        kill_all_of(self.home.path());
    }
}

/// Kills every process whose command line or environment names this folder.
fn kill_all_of(home: &Path) {
    let ours = home.as_os_str().as_encoded_bytes();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let about =
            ["cmdline", "environ"].map(|file| fs::read(process.path().join(file)).unwrap_or_default());
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid
            && about.iter().any(|text| text.windows(ours.len()).any(|part| part == ours))
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Waits until a process ends.
fn wait_within_deadline(mut process: Child) -> ExitStatus {
    poll_until(DEADLINE, "the process ends", || process.try_wait().unwrap())
}

/// Where a server says in its log that it listens.
fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("API server running at ")?;
    Some(rest.split(';').next()?.to_owned())
}

/// Waits until a line of a log has these words; `false` if the log ends before.
///
/// # Panics
///
/// After [`DEADLINE`].
pub fn until(log: impl Read + Send + 'static, words: &'static str) -> bool {
    let (found, answer) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let _nobody_waits = found.send(lines.any(|line| line.contains(words)));
    });
    answer.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no `{words}` in the log"))
}

/// A program behind the words of a command that runs it.
fn behind(words: &[&str], program: impl AsRef<OsStr>) -> Command {
    let mut words = words.iter().map(OsStr::new).chain([program.as_ref()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

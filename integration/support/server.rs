//! Starts the real server in a folder of its own, talks to it by curl, and ends it and what it has started.
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

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
        let (arguments, address, log) = (Vec::new(), String::new(), Arc::default());
        let mut served = Self { home, server: None, within, arguments, address, log };
        served.run();
        served
    }

    /// Starts the server, and waits until it says where it listens.
    pub fn run(&mut self) {
        let mut server = self.command().stderr(Stdio::piped()).spawn().unwrap();
        let kept = self.log.clone();
        let mut log =
            BufReader::new(server.stderr.take().unwrap()).lines().map(Result::unwrap).inspect(move |line| {
                let mut kept = kept.lock().unwrap();
                // A test that reads it does not make megabytes of it.
                if kept.len() < 1 << 20 {
                    kept.push_str(line);
                    kept.push('\n');
                }
            });
        self.address = address(&mut log);
        // Somebody has to read on, or the server would wait for room.
        std::thread::spawn(move || log.for_each(drop));
        self.server = Some(server);
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

    /// Waits until it ends by itself; its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        self.server.take().unwrap().wait().unwrap().code()
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("it runs").id()
    }

    pub fn signal(&mut self, signal: Signal) {
        let mut server = self.server.take().unwrap();
        kill(Pid::from_raw(server.id().try_into().unwrap()), signal).unwrap();
        server.wait().unwrap();
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
        for _ in 0..600 {
            let (status, line) = self.curl(&[], &format!("/tasks/{task}"));
            assert_eq!(status, 200, "{line}");
            if line.contains(&format!("  {state}  ")) {
                return line;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{task} was never {state}");
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

/// Where a server that was just started says it listens.
pub fn address(log: &mut impl Iterator<Item = String>) -> String {
    let said = log.find_map(|line| {
        let (_, rest) = line.split_once("API server running at ")?;
        Some(rest.split(';').next()?.to_owned())
    });
    said.expect("the server says where it listens")
}

/// Whether a line of the log, which is read up to there, has these words.
pub fn until(log: impl std::io::Read, words: &str) -> bool {
    BufReader::new(log).lines().map_while(Result::ok).any(|line| line.contains(words))
}

/// A program behind the words of a command that runs it.
fn behind(words: &[&str], program: impl AsRef<OsStr>) -> Command {
    let mut words = words.iter().map(OsStr::new).chain([program.as_ref()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

//! The real server in a folder of its own, with curl as its client.
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
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

/// A server with a state directory of its own. When this is dropped the server, its agent and all blocks are killed.
pub struct TestServer {
    home: TempDir,
    server: Option<Child>,
    /// The words before the commands that start the server and send requests to it.
    prefix: Vec<String>,
    /// Further arguments of the server, from its next start on.
    pub arguments: Vec<String>,
    /// The address and port on which the server listens.
    pub address: String,
    log: Arc<Mutex<String>>,
    /// The length of the log at the last start.
    log_start: usize,
    /// Whether the log of the last start was read to its end.
    log_ended: Arc<AtomicBool>,
}

impl TestServer {
    /// A server on the embedded cluster, on a free port.
    pub fn start() -> Self {
        Self::with_setupfile("")
    }

    /// A server on a free port, with these lines in its setupfile.
    pub fn with_setupfile(setupfile: &str) -> Self {
        Self::start_in(&[], &format!("#+borges_port: 0\n{setupfile}"))
    }

    /// A server with exactly this setupfile. The words of `command` come before its own command, and before those of curl:
    /// `ip netns exec NAME`.
    pub fn start_in(command: &[&str], setupfile: &str) -> Self {
        Self::start_at(TempDir::new().unwrap(), command, setupfile)
    }

    /// A server with exactly this setupfile, in a new folder below `base`.
    pub fn start_below(base: &Path, setupfile: &str) -> Self {
        Self::start_at(TempDir::new_in(base).unwrap(), &[], setupfile)
    }

    fn start_at(home: TempDir, command: &[&str], setupfile: &str) -> Self {
        fs::write(home.path().join("setup.org"), setupfile).unwrap();
        let prefix = command.iter().map(ToString::to_string).collect();
        let mut server = Self {
            home,
            server: None,
            prefix,
            arguments: Vec::new(),
            address: String::new(),
            log: Arc::default(),
            log_start: 0,
            log_ended: Arc::default(),
        };
        server.restart();
        server
    }

    /// Starts the server again after [`TestServer::stop`] or [`TestServer::wait_for_exit`], and waits until it listens.
    pub fn restart(&mut self) {
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
                // Only tests with a short log read it.
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

    /// The command that starts the server.
    pub fn command(&self) -> Command {
        let prefix: Vec<&str> = self.prefix.iter().map(String::as_str).collect();
        let mut command = prefixed(&prefix, program::path());
        command.env("BORGES_DATA", self.home.path().join("state"));
        // The options of the original Borges.
        command.arg("-logtostderr=true").arg("-f").arg(self.home.path().join("setup.org"));
        command.args(&self.arguments);
        command.env_remove("BORGES_LOG").stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// The log of all starts, up to 1 MiB.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The log since the last start.
    pub fn log_since_start(&self) -> String {
        self.log.lock().unwrap()[self.log_start..].to_owned()
    }

    /// Waits until the log since the last start has lines with these words, in this order.
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

    /// Waits until the server exits by itself, and until its log is complete; its exit code, or `None` after a signal.
    pub fn wait_for_exit(&mut self) -> Option<i32> {
        let code = wait_within_deadline(self.server.take().unwrap()).code();
        poll_until(DEADLINE, "the log ends", || self.log_ended.load(Ordering::Acquire));
        code
    }

    /// Runs a server that refuses to start; its exit code and standard error. It is killed after two minutes.
    pub fn run_to_exit(&self) -> Output {
        let mut command = with_timeout(&self.command());
        command.stderr(Stdio::piped()).output().unwrap()
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("the block runs").id()
    }

    /// Sends a signal to the server, and waits until it ends.
    pub fn stop(&mut self, signal: Signal) {
        let server = self.server.take().unwrap();
        kill(Pid::from_raw(server.id().try_into().unwrap()), signal).unwrap();
        wait_within_deadline(server);
    }

    /// The peak memory of the server, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let pid = self.server.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim_end_matches("kB").trim().parse().unwrap()
    }

    /// A path in the folder of the server. Its state directory is `state`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Requests a route by curl, from the machine of the server; status and body.
    pub fn curl(&self, arguments: &[&str], route: &str) -> (u16, String) {
        let (status, body) = self.curl_bytes(arguments, route);
        (status, String::from_utf8(body).unwrap())
    }

    /// [`TestServer::curl`] for a body that need not be text.
    pub fn curl_bytes(&self, arguments: &[&str], route: &str) -> (u16, Vec<u8>) {
        let prefix: Vec<&str> = self.prefix.iter().map(String::as_str).collect();
        self.curl_from(&prefix, arguments, route)
    }

    /// [`TestServer::curl_bytes`] from another machine or by another user: with these words before curl.
    pub fn curl_from(&self, there: &[&str], arguments: &[&str], route: &str) -> (u16, Vec<u8>) {
        let Output { mut stdout, stderr, .. } = prefixed(there, "curl")
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

    /// Kills the agent and all blocks, as if their machine had crashed.
    pub fn kill_agent(&self) {
        kill_all_of(self.home.path());
    }

    /// Submits a document; the id of its run.
    pub fn submit(&self, document: &str) -> String {
        fs::write(self.path("submitted.org"), document).unwrap();
        let (status, text) = self.curl(&["-X", "POST", "--data-binary", "@submitted.org"], "/org");
        assert_eq!(status, 200, "{text}");
        text.lines().find_map(|line| line.strip_prefix("run ")).expect("a run").to_owned()
    }

    /// Waits until a task is in `state`; the line that the server shows of it.
    pub fn wait_for_state(&self, task: &str, state: &str) -> String {
        poll_until(DEADLINE, &format!("{task} is {state}"), || {
            let (status, line) = self.curl(&[], &format!("/tasks/{task}"));
            assert_eq!(status, 200, "{line}");
            if line.contains(&format!("  {state}  ")) { Ok(line) } else { Err(line) }
        })
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        // The agent and its blocks outlive the server on purpose; they must not outlive the test.
        kill_all_of(self.home.path());
    }
}

/// Kills every process whose command line or environment contains the path of a folder.
pub(crate) fn kill_all_of(home: &Path) {
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

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until a process ends.
fn wait_within_deadline(mut process: Child) -> ExitStatus {
    poll_until(DEADLINE, "the process ends", || process.try_wait().unwrap())
}

/// The address in the line of the log that announces it.
fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("API server running at ")?;
    Some(rest.split(';').next()?.to_owned())
}

/// Reads a log until a line contains the words; `false` if the log ends first.
///
/// # Panics
///
/// After [`DEADLINE`].
pub fn wait_for_line(log: impl Read + Send + 'static, words: &'static str) -> bool {
    let (found, answer) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let _nobody_waits = found.send(lines.any(|line| line.contains(words)));
    });
    answer.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no `{words}` in the log"))
}

/// A program with the words of another command before it.
fn prefixed(words: &[&str], program: impl AsRef<OsStr>) -> Command {
    let mut words = words.iter().map(OsStr::new).chain([program.as_ref()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

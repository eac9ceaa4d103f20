//! A server whose agent talks to a Docker daemon.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::processes;

pub(crate) const BORGES: &str = env!("CARGO_BIN_EXE_borges");

/// A server with a state directory of its own.
pub(crate) struct Served {
    pub(crate) home: TempDir,
    server: Option<Child>,
    address: String,
    host: String,
    /// A process whose network is the server's too.
    network: Option<u32>,
}

impl Served {
    pub(crate) fn start(docker_host: &str) -> Self {
        Self::within(docker_host, None)
    }

    pub(crate) fn within(docker_host: &str, network: Option<u32>) -> Self {
        let home = TempDir::new().unwrap();
        let data = home.path().join("state");
        let setup = format!("#+borges_port: 0\n#+borges_data: {}\n#+borges_cpus: 4\n", data.display());
        fs::write(home.path().join("setup.org"), setup).unwrap();
        let host = docker_host.to_owned();
        let mut served = Self { home, server: None, address: String::new(), host, network };
        served.run();
        served
    }

    /// A command with the server's network.
    fn command(&self, program: &str) -> Command {
        let Some(network) = self.network else { return Command::new(program) };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{network}/ns/net")).arg(program);
        command
    }

    /// Starts the server, and waits until it says where it listens.
    pub(crate) fn run(&mut self) {
        // `nc` of Debian's own kinds waits for the other side to end; the documents want one that does not.
        let bin = self.home.path().join("bin");
        if !bin.exists() {
            fs::create_dir(&bin).unwrap();
            fs::write(bin.join("nc"), "#!/bin/sh\nexec busybox nc \"$@\"\n").unwrap();
            let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(bin.join("nc"), executable).unwrap();
        }
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut server = self
            .command(BORGES)
            .args(["-logtostderr=true", "-f"])
            .arg(self.home.path().join("setup.org"))
            .env("DOCKER_HOST", &self.host)
            .env("PATH", path)
            .env_remove("BORGES_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(server.stderr.take().unwrap()).lines().map(Result::unwrap);
        let said = log.find_map(|line| {
            let (_, rest) = line.split_once("API server running at ")?;
            Some(rest.split(';').next()?.to_owned())
        });
        self.address = said.expect("the server says where it listens");
        // Somebody has to read on, or the server would wait for room.
        std::thread::spawn(move || log.for_each(drop));
        self.server = Some(server);
    }

    pub(crate) fn kill_server(&mut self) {
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// The processes of its agent, by a word of their arguments.
    pub(crate) fn processes(&self, word: &str) -> Vec<i32> {
        let ours = self.home.path().to_str().unwrap().to_owned();
        let said = |line: &str| line.contains("agent\0") && line.contains(word) && line.contains(&ours);
        processes().filter(|(_, line)| said(line)).map(|(pid, _)| pid).collect()
    }

    /// Kills those processes, and waits until they are gone.
    pub(crate) fn kill(&self, word: &str) {
        let found = self.processes(word);
        assert!(!found.is_empty(), "no process of `{word}`");
        for pid in &found {
            kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
        }
        wait_for("the killed are gone", || self.processes(word).iter().all(|pid| !found.contains(pid)));
    }

    pub(crate) fn curl(&self, arguments: &[&str], route: &str) -> (u16, Vec<u8>) {
        let output = self
            .command("curl")
            .args(["-sS", "--max-time", "60", "-w", "\n%{http_code}"])
            .args(arguments)
            .arg(format!("http://{}{route}", self.address))
            .current_dir(self.home.path())
            .output()
            .unwrap();
        let text = output.stdout;
        let end = text.iter().rposition(|byte| *byte == b'\n').unwrap();
        let status = String::from_utf8_lossy(&text[end + 1..]).into_owned();
        assert_ne!(status, "000", "{}", String::from_utf8_lossy(&output.stderr));
        (status.parse().unwrap(), text[..end].to_vec())
    }

    /// Submits a document; its run's id.
    pub(crate) fn submit(&self, document: &str) -> String {
        fs::write(self.home.path().join("submitted.org"), document).unwrap();
        let (status, text) = self.curl(&["-X", "POST", "--data-binary", "@submitted.org"], "/org");
        let text = String::from_utf8(text).unwrap();
        assert_eq!(status, 200, "{text}");
        text.lines().find_map(|line| line.strip_prefix("run ")).expect("a run").to_owned()
    }

    pub(crate) fn task(&self, task: &str) -> Value {
        let (status, text) = self.curl(&["-H", "Accept: application/json"], &format!("/tasks/{task}"));
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&text));
        serde_json::from_slice(&text).unwrap()
    }

    /// Waits until the task is in `state`; all that is known of it.
    pub(crate) fn wait_for(&self, task: &str, state: &str) -> Value {
        for _ in 0..1200 {
            let known = self.task(task);
            if known["state"] == state {
                return known;
            }
            let over = ["finished", "failed", "killed", "skipped"].iter().any(|it| known["state"] == *it);
            assert!(!over, "never {state}: {known}");
            sleep(Duration::from_millis(50));
        }
        panic!("{task} was never {state}: {}", self.task(task));
    }

    pub(crate) fn output(&self, task: &str, stream: &str) -> Vec<u8> {
        self.curl(&[], &format!("/tasks/{task}/{stream}")).1
    }

    /// Waits until the task has written this much to its stdout.
    pub(crate) fn wait_for_output(&self, task: &str, enough: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        wait_for("enough output", || {
            text = String::from_utf8_lossy(&self.output(task, "stdout")).into_owned();
            enough(&text)
        });
        text
    }

    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.home.path().join("state")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        // The agent and its blocks outlive the server, as they should; they do not outlive the test.
        let ours = self.home.path().as_os_str().as_encoded_bytes().to_owned();
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
}

/// Waits until something that no event tells of has come about.
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if done() {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("never: {what}");
}

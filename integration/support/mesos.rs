//! A real Mesos: a master and agents as processes of this test, to be killed and started again.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::poll::{DEADLINE, poll_until};

/// One of Mesos' programs.
pub struct Program {
    command: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    pub address: String,
}

/// A master, and agents.
pub struct Mesos {
    pub directory: TempDir,
    /// The words behind which all of its programs run.
    within: Vec<String>,
    pub master: Program,
    pub agents: Vec<Program>,
    standbys: Vec<Program>,
}

/// Where Mesos lies; assembled at the first use.
pub fn home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let fetch = crate::repository("integration/mesos/fetch-mesos");
        let output = Command::new(fetch).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "Mesos cannot be assembled");
        String::from_utf8(output.stdout).unwrap().trim().into()
    })
}

/// A port that nobody uses now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An answer of Mesos: status and JSON, or text.
pub fn ask(address: &str, route: &str, body: Option<&Value>) -> (u16, Value) {
    ask_within(&[], address, route, body)
}

/// The same, asked behind the words of a command.
fn ask_within(within: &[String], address: &str, route: &str, body: Option<&Value>) -> (u16, Value) {
    let mut words = within.iter().map(String::as_str).chain(["curl"]);
    let mut curl = Command::new(words.next().unwrap());
    curl.args(words);
    curl.args(["-s", "--max-time", "10", "-w", "\n%{http_code}", "-H", "Accept: application/json"]);
    if let Some(body) = body {
        curl.args(["-H", "Content-Type: application/json", "-d", &body.to_string()]);
    }
    let output = curl.arg(format!("http://{address}{route}")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap();
    let value = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
    (status.parse().unwrap(), value)
}

impl Program {
    fn new(name: &str, log: PathBuf, address: String, flags: &[String]) -> Self {
        let (ip, port) = address.split_once(':').unwrap();
        let program = home().join("bin").join(name).into_os_string().into_string().unwrap();
        let mut command = vec![program, format!("--ip={ip}"), format!("--port={port}")];
        command.extend_from_slice(flags);
        Self { command, log, child: None, address }
    }

    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("it runs").id();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }

    /// Ends it by a signal, and waits for that.
    pub fn end(&mut self, signal: Signal) {
        self.signal(signal);
        self.child.take().unwrap().wait().unwrap();
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Mesos {
    /// A master and two agents, as one wants them in most tests.
    pub fn start() -> Self {
        let mut mesos = Self::with(&[]);
        mesos.add_agent(&[]);
        mesos.add_agent(&[]);
        mesos
    }

    /// A master alone, with these flags beside those that make it quick.
    pub fn with(flags: &[&str]) -> Self {
        Self::within(&[], flags)
    }

    /// The same behind the words of a command, as all of its agents will be.
    pub fn within(within: &[&str], flags: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let within: Vec<String> = within.iter().map(ToString::to_string).collect();
        let mut master = Self::program(&directory, "mesos-master", "master", free_port(), &with_quick(flags));
        master.command.splice(0..0, within.clone());
        let mut mesos = Self { directory, within, master, agents: Vec::new(), standbys: Vec::new() };
        mesos.master.start();
        mesos.wait_for_master();
        mesos
    }

    /// A master of this cluster at a port, with the work directory `name`.
    pub fn program(directory: &TempDir, program: &str, name: &str, port: u16, flags: &[String]) -> Program {
        let work = directory.path().join(name);
        let mut all = vec![format!("--work_dir={}", work.display())];
        all.extend_from_slice(flags);
        let log = directory.path().join(format!("{name}-{port}.log"));
        Program::new(program, log, format!("127.0.0.1:{port}"), &all)
    }

    /// Starts the master at another port, with the same work directory; it must have ended.
    pub fn move_master(&mut self) {
        let port = free_port();
        self.master = Self::program(&self.directory, "mesos-master", "master", port, &with_quick(&[]));
        self.master.start();
    }

    pub fn wait_for_master(&self) {
        // `/master/health` is well before recovery has ended.
        poll_until(DEADLINE, "the master leads", || match self.slaves() {
            (200, _) => Ok(()),
            other => Err(other),
        });
    }

    /// Starts a master that does not lead, and knows that ours does; its address.
    pub fn add_standby(&mut self) -> String {
        let mut standby = Self::program(&self.directory, "mesos-standby", "standby", free_port(), &[]);
        let leader = format!("MESOS_LEADER={}", self.master.address);
        standby.command.splice(0..0, ["env".to_owned(), leader]);
        standby.start();
        let address = standby.address.clone();
        poll_until(DEADLINE, "the standby answers", || ask(&address, "/master/health", None).0 == 200);
        self.standbys.push(standby);
        address
    }

    /// Starts one more agent, and waits until the master knows it.
    pub fn add_agent(&mut self, flags: &[&str]) {
        let master = self.master.address.clone();
        self.add_agent_of(&master, flags);
        let agents = self.agents.len();
        self.wait_for_agents(agents);
    }

    /// Starts one more agent of the masters at an address.
    pub fn add_agent_of(&mut self, masters: &str, flags: &[&str]) {
        let name = format!("agent-{}", self.agents.len() + 1);
        let work = self.directory.path().join(&name);
        let given = |flag: &str| flags.iter().any(|given| given.starts_with(flag));
        let mut all = vec![
            format!("--master={masters}"),
            format!("--launcher_dir={}", home().join("libexec/mesos").display()),
            format!("--runtime_dir={}-run", work.display()),
            format!("--fetcher_cache_dir={}-fetch", work.display()),
            "--launcher=posix".to_owned(),
            "--no-systemd_enable_support".to_owned(),
            "--registration_backoff_factor=100ms".to_owned(),
            format!("--attributes=rack:r{}", self.agents.len() + 1),
        ];
        if !given("--resources") {
            all.push("--resources=cpus:4;mem:2048;disk:4000;ports:[31000-31100]".to_owned());
        }
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let mut agent = Self::program(&self.directory, "mesos-agent", &name, free_port(), &all);
        agent.command.splice(0..0, self.within.clone());
        agent.start();
        self.agents.push(agent);
    }

    /// Waits until so many agents are active.
    pub fn wait_for_agents(&self, count: usize) {
        poll_until(DEADLINE, &format!("{count} agents are active"), || match self.active_agents() {
            active if active == count => Ok(()),
            active => Err(active),
        });
    }

    pub fn active_agents(&self) -> usize {
        let slaves = self.slaves().1["slaves"].as_array().cloned().unwrap_or_default();
        slaves.iter().filter(|slave| slave["active"] == true).count()
    }

    /// The id of an agent, by its place among the agents.
    pub fn agent_id(&self, place: usize) -> String {
        let (_, said) = self.slaves();
        let port: u64 = self.agents[place].address.split_once(':').unwrap().1.parse().unwrap();
        let slaves = said["slaves"].as_array().unwrap().clone();
        let slave = slaves.into_iter().find(|slave| slave["port"] == port).expect("it is registered");
        slave["id"].as_str().unwrap().to_owned()
    }

    /// The place of the agent with this id.
    pub fn place_of(&self, id: &str) -> usize {
        (0..self.agents.len()).find(|&place| self.agent_id(place) == id).expect("an agent of this id")
    }

    fn slaves(&self) -> (u16, Value) {
        ask_within(&self.within, &self.master.address, "/master/slaves", None)
    }

    /// An order of the operator.
    pub fn order(&self, body: &Value) {
        let (status, said) = ask(&self.master.address, "/api/v1", Some(body));
        assert!(matches!(status, 200 | 202), "{body}: {status} {said}");
    }
}

impl Drop for Mesos {
    fn drop(&mut self) {
        for program in self.agents.iter_mut().chain(&mut self.standbys).chain([&mut self.master]) {
            if let Some(mut child) = program.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        if std::thread::panicking() {
            for program in self.agents.iter().chain([&self.master]) {
                let log = program.log();
                let from = log.lines().count().saturating_sub(40);
                let mut out = std::io::stdout().lock();
                let _ = writeln!(out, "==> {} <==", program.log.display());
                log.lines().skip(from).for_each(|line| drop(writeln!(out, "{line}")));
            }
        }
        // Agents do not take what they have started along.
        let ours = self.directory.path().as_os_str().as_encoded_bytes().to_owned();
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

fn with_quick(flags: &[&str]) -> Vec<String> {
    let quick = ["--agent_ping_timeout=1secs", "--max_agent_ping_timeouts=3", "--allocation_interval=200ms"];
    quick.iter().chain(flags).map(|flag| (*flag).to_owned()).collect()
}

//! A real Mesos: a master and agents as processes of a test, which can be killed and restarted.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::poll::{DEADLINE, poll_until};
use crate::server::{free_port, kill_all_of};

/// A process of Mesos: a master or an agent.
pub struct Program {
    command: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    /// The address and port on which it listens.
    pub address: String,
}

/// A master and agents. They end with all that they have started when this is dropped.
pub struct Mesos {
    /// Their work directories and logs.
    pub directory: TempDir,
    /// The words before the commands of all programs.
    within: Vec<String>,
    /// The leading master.
    pub master: Program,
    /// The agents in the order of their starts.
    pub agents: Vec<Program>,
    standbys: Vec<Program>,
}

/// The folder of Mesos, which is assembled at the first use.
pub fn home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let fetch = crate::repository("integration/mesos/fetch-mesos");
        let output = Command::new(fetch).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "Mesos cannot be assembled");
        String::from_utf8(output.stdout).unwrap().trim().into()
    })
}

/// Requests a route of Mesos; the status, and JSON or text.
pub fn ask(address: &str, route: &str, body: Option<&Value>) -> (u16, Value) {
    ask_within(&[], address, route, body)
}

/// [`ask`] with the words of a command before curl.
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

    /// Starts the process.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("the block runs").id();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }

    /// Sends a signal, and waits until the process ends.
    pub fn end(&mut self, signal: Signal) {
        self.signal(signal);
        self.child.take().unwrap().wait().unwrap();
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Mesos {
    /// A master and two agents.
    pub fn start() -> Self {
        let mut mesos = Self::with(&[]);
        mesos.add_agent(&[]);
        mesos.add_agent(&[]);
        mesos
    }

    /// A master without agents, with these flags and those for short timeouts.
    pub fn with(flags: &[&str]) -> Self {
        Self::within(&[], flags)
    }

    /// [`Mesos::with`] with the words of a command before the commands of the master and of all agents.
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

    /// A program of this cluster on a port, with the work directory `name`.
    pub fn program(directory: &TempDir, program: &str, name: &str, port: u16, flags: &[String]) -> Program {
        let work = directory.path().join(name);
        let mut all = vec![format!("--work_dir={}", work.display())];
        all.extend_from_slice(flags);
        let log = directory.path().join(format!("{name}-{port}.log"));
        Program::new(program, log, format!("127.0.0.1:{port}"), &all)
    }

    /// Starts the master on another port with the same work directory, after it has ended.
    pub fn move_master(&mut self) {
        let port = free_port();
        self.master = Self::program(&self.directory, "mesos-master", "master", port, &with_quick(&[]));
        self.master.start();
    }

    /// Waits until the master leads.
    pub fn wait_for_master(&self) {
        // `/master/health` answers before the recovery has ended.
        poll_until(DEADLINE, "the master leads", || match self.slaves() {
            (200, _) => Ok(()),
            other => Err(other),
        });
    }

    /// Starts a master that does not lead and knows the leader; its address.
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

    /// Starts another agent, and waits until it is registered.
    pub fn add_agent(&mut self, flags: &[&str]) {
        let master = self.master.address.clone();
        self.add_agent_of(&master, flags);
        let agents = self.agents.len();
        self.wait_for_agents(agents);
    }

    /// Starts another agent of the masters at an address.
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

    /// The number of active agents.
    pub fn active_agents(&self) -> usize {
        let slaves = self.slaves().1["slaves"].as_array().cloned().unwrap_or_default();
        slaves.iter().filter(|slave| slave["active"] == true).count()
    }

    /// The id of an agent, by its index in [`Mesos::agents`].
    pub fn agent_id(&self, place: usize) -> String {
        let (_, said) = self.slaves();
        let port: u64 = self.agents[place].address.split_once(':').unwrap().1.parse().unwrap();
        let slaves = said["slaves"].as_array().unwrap().clone();
        let slave = slaves.into_iter().find(|slave| slave["port"] == port).expect("it is registered");
        slave["id"].as_str().unwrap().to_owned()
    }

    /// The index in [`Mesos::agents`] of the agent with this id.
    pub fn place_of(&self, id: &str) -> usize {
        (0..self.agents.len()).find(|&place| self.agent_id(place) == id).expect("an agent of this id")
    }

    fn slaves(&self) -> (u16, Value) {
        ask_within(&self.within, &self.master.address, "/master/slaves", None)
    }

    /// Sends a call to the operator API.
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
        // What agents have started outlives them.
        kill_all_of(self.directory.path());
    }
}

fn with_quick(flags: &[&str]) -> Vec<String> {
    let quick = ["--agent_ping_timeout=1secs", "--max_agent_ping_timeouts=3", "--allocation_interval=200ms"];
    quick.iter().chain(flags).map(|flag| (*flag).to_owned()).collect()
}

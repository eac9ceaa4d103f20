//! A scheduler for tests, the state directory of its agent, and tasks to launch.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use borges_embedded::{AGENT_ID, AgentOptions, Client, LocalSandbox};
use borges_mesos::events::{Reason, TaskState};
use borges_mesos::messages::framework_info::{Capability, capability};
use borges_mesos::messages::task_status::Reason as R;
use borges_mesos::messages::{AgentId, CommandInfo, FrameworkId, FrameworkInfo, Offer, TaskId, TaskInfo};
use borges_mesos::payload::TaskPayload;
use borges_mesos::resources::Quantities;
use borges_mesos::{
    Call, Event, Master, MasterError, Sandbox, SandboxError, SandboxLocation, StatusUpdate, Subscription,
    calls,
};
use futures_util::StreamExt;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The time after which a wait fails. Nothing takes as long.
pub(crate) const HANGS: Duration = Duration::from_mins(1);

/// A scheduler that is connected to the agent of a directory.
pub(crate) struct Scheduler {
    pub(crate) options: AgentOptions,
    pub(crate) client: Client,
    pub(crate) framework: String,
    /// The subscription; `None` if disconnected.
    pub(crate) events: Option<Subscription>,
    pub(crate) offers: VecDeque<Offer>,
    /// The updates of each launch, in order.
    pub(crate) updates: HashMap<String, Vec<StatusUpdate>>,
}

pub(crate) fn options(directory: &Path) -> AgentOptions {
    AgentOptions {
        milli_cpus: 4000,
        mem_mib: 1024,
        disk_mib: 1024,
        ..AgentOptions::new(directory.to_owned())
    }
}

/// A directory for agents that outlive their client. Agents and blocks are killed when this is dropped.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let agents = agent_processes(self.path());
        // The agent first: a reaper without children ends by itself.
        for process in agents.into_iter().rev() {
            let _gone = signal::kill(pid(process), Signal::SIGKILL);
        }
        for process in processes(|process| {
            let sandbox = format!("MESOS_SANDBOX={}/", self.path().display());
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(sandbox.as_bytes()))
        }) {
            let _gone = signal::kill(pid(process), Signal::SIGKILL);
        }
    }
}

/// A directory, and options for an agent that ends with its client.
pub(crate) fn throw_away() -> (TempDir, AgentOptions) {
    let directory = tempfile::tempdir().unwrap();
    let options = AgentOptions { end_with_client: true, ..options(directory.path()) };
    (directory, options)
}

impl Scheduler {
    pub(crate) async fn open(options: AgentOptions) -> Self {
        let client = Client::new(options.clone(), support::program::path().to_owned());
        let mut scheduler = Self {
            options,
            client,
            framework: String::new(),
            events: None,
            offers: VecDeque::new(),
            updates: HashMap::new(),
        };
        scheduler.subscribe().await;
        scheduler
    }

    pub(crate) async fn subscribe(&mut self) {
        let able = |kind: capability::Type| Capability { r#type: Some(kind as i32) };
        let info = FrameworkInfo {
            user: "u".into(),
            name: "test".into(),
            id: Some(FrameworkId { value: self.framework.clone() }).filter(|id| !id.value.is_empty()),
            capabilities: vec![
                able(capability::Type::TaskKillingState),
                able(capability::Type::PartitionAware),
            ],
            ..FrameworkInfo::default()
        };
        self.offers.clear();
        self.events = Some(self.client.subscribe(calls::subscribe(info, vec![])).await.unwrap());
        match self.event().await {
            Some(Event::Subscribed { framework, .. }) => self.framework = framework,
            other => panic!("{other:?}"),
        }
    }

    /// The next event; `None` at the end of the connection, also if a killed agent has reset it.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        let events = &mut self.events.as_mut().unwrap().events;
        let event = tokio::time::timeout(HANGS, events.next()).await.expect("the agent says nothing");
        match event? {
            Err(MasterError::Unreachable { source, .. }) if source.kind() == ErrorKind::ConnectionReset => {
                None
            }
            event => Some(event.unwrap()),
        }
    }

    /// The next update, without an acknowledgement.
    pub(crate) async fn hear(&mut self) -> StatusUpdate {
        loop {
            match self.event().await.expect("the agent is there") {
                Event::Offers(offers) => self.offers.extend(offers),
                Event::Update(update) => {
                    self.updates.entry(update.launch.clone()).or_default().push((*update).clone());
                    return *update;
                }
                Event::Heartbeat => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn call(&mut self, call: Call) {
        self.client.call(call).await.unwrap();
    }

    /// Acknowledges updates until `launch` is in `state`; that update.
    pub(crate) async fn until(&mut self, launch: &str, state: TaskState) -> StatusUpdate {
        loop {
            let update = self.hear().await;
            if let Some(call) = calls::acknowledge(&self.framework, &update) {
                self.call(call).await;
            }
            if update.launch == launch && update.state == state {
                return update;
            }
            let over = update.launch == launch && update.state.is_terminal();
            assert!(!over, "{} {:?} instead of {}", update.state.name(), update.message, state.name());
        }
    }

    pub(crate) async fn offer(&mut self) -> Offer {
        loop {
            if let Some(offer) = self.offers.pop_front() {
                return offer;
            }
            match self.event().await.expect("the agent is there") {
                Event::Offers(offers) => self.offers.extend(offers),
                Event::Update(update) => {
                    self.updates.entry(update.launch.clone()).or_default().push(*update);
                }
                Event::Heartbeat => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn launch(&mut self, tasks: Vec<TaskInfo>) {
        let offer = self.offer().await;
        let accept = calls::accept(&self.framework, [offer.id.value], tasks, Some(Duration::ZERO));
        self.call(accept).await;
    }

    /// Launches a task, and acknowledges updates until it is in the state `end`.
    pub(crate) async fn run(&mut self, task: TaskInfo, end: TaskState) -> StatusUpdate {
        let id = task.task_id.value.clone();
        self.launch(vec![task]).await;
        self.until(&id, end).await
    }

    pub(crate) fn place(&self, launch: &str) -> SandboxLocation {
        SandboxLocation { agent: AGENT_ID.into(), framework: self.framework.clone(), executor: launch.into() }
    }

    pub(crate) fn sandbox(&self, launch: &str) -> PathBuf {
        LocalSandbox::new(&self.options.directory).path(&self.place(launch)).unwrap()
    }

    pub(crate) async fn read(&self, launch: &str, path: &str) -> Result<String, SandboxError> {
        let sandbox = LocalSandbox::new(&self.options.directory);
        let chunk = sandbox.read(&self.place(launch), path, 0, 1 << 20).await?;
        Ok(String::from_utf8_lossy(&chunk.bytes).into_owned())
    }

    pub(crate) fn states(&self, launch: &str) -> Vec<&'static str> {
        self.updates.get(launch).into_iter().flatten().map(|update| update.state.name()).collect()
    }
}

/// A task that runs `body` with `sh`.
pub(crate) fn sh(id: &str, body: &str) -> TaskInfo {
    let amounts = Quantities { milli_cpus: 100, mem_mib: 32, ..Quantities::default() };
    TaskInfo {
        name: id.into(),
        task_id: TaskId { value: id.into() },
        agent_id: AgentId { value: AGENT_ID.into() },
        resources: amounts.to_resources(Some("*")),
        command: Some(CommandInfo {
            shell: Some(false),
            value: Some("sh".into()),
            arguments: vec!["sh".into(), "block/body".into()],
            ..CommandInfo::default()
        }),
        data: Some(TaskPayload::body(body.to_owned()).to_bytes()),
        ..TaskInfo::default()
    }
}

pub(crate) fn reason(update: &StatusUpdate) -> Option<R> {
    match update.reason {
        Some(Reason::Known(reason)) => Some(reason),
        Some(Reason::Unrecognised(number)) => panic!("reason {number}"),
        None => None,
    }
}

/// Whether a process exists and is no zombie.
pub(crate) fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with(['Z', 'X'])))
}

/// The sorted ids of the processes whose directory in `/proc` satisfies a condition.
pub(crate) fn processes(such: impl Fn(&Path) -> bool) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let numbered =
        entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    let mut found: Vec<u32> = numbered.filter(|(_, path)| such(path)).map(|(pid, _)| pid).collect();
    found.sort_unstable();
    found
}

/// The processes of the agent of a directory, the reaper first.
pub(crate) fn agent_processes(directory: &Path) -> Vec<u32> {
    let directory = directory.canonicalize().unwrap();
    let wanted = directory.as_os_str().as_encoded_bytes();
    processes(|process| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let mut arguments = line.split(|byte| *byte == 0);
        arguments.by_ref().any(|argument| argument == b"--directory") && arguments.next() == Some(wanted)
    })
}

pub(crate) fn kill(process: u32) {
    signal::kill(pid(process), Signal::SIGKILL).unwrap();
}

pub(crate) fn pid(process: u32) -> Pid {
    Pid::from_raw(process.try_into().unwrap())
}

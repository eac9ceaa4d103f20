//! Connects to the agent of a directory, and starts the agent first if none runs.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

use super::options::AgentOptions;
use super::paths::{Paths, SOCKET};
use super::protocol;

/// Why no agent could be connected to.
#[derive(Debug, thiserror::Error)]
#[error("{what} `{}`: {source}", path.display())]
pub struct StartError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl StartError {
    /// Whether an agent runs that speaks another protocol.
    pub(crate) fn is_other_protocol(&self) -> bool {
        self.source.kind() == ErrorKind::Unsupported
    }
}

/// A connection to an agent.
#[derive(Debug)]
pub struct Started {
    /// The connection.
    pub stream: UnixStream,
    /// The thread that waits for the agent to exit; `None` if the agent was running already.
    pub end: Option<JoinHandle<io::Result<ExitStatus>>>,
}

/// Connects to the agent of `options.directory`. Starts it with the program `exe` if none runs.
///
/// This process binds the socket and passes it to the agent as stdin, so that it can connect before the agent is
/// ready. If several processes call this at once, one starts the agent, and the others connect to it. A running agent
/// keeps its own options.
pub fn connect_or_spawn(options: &AgentOptions, exe: &Path) -> Result<Started, StartError> {
    let paths = Paths::new(&options.directory);
    let agent_directory = paths.agent();
    let error_at = |what: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| StartError { what, path, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&agent_directory)
        .map_err(error_at("cannot make the directory", &agent_directory))?;
    // Absolute, because the agent has another working directory.
    let directory = options.directory.canonicalize();
    let directory = directory.map_err(error_at("cannot find the directory", &options.directory))?;
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(paths.log());
    let log = log.map_err(error_at("cannot open", &paths.log()))?;
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(paths.lock());
    let lock = lock.map_err(error_at("cannot open", &paths.lock()))?;
    retry_on_interrupt(|| flock(&lock, FlockOperation::LockExclusive))
        .map_err(error_at("cannot lock", &paths.lock()))?;

    let socket = agent_directory.join(SOCKET);
    let short_path = ShortSocketPath::new(&agent_directory)
        .map_err(error_at("cannot open the directory", &agent_directory))?;
    match UnixStream::connect(short_path.path()) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
        other => {
            let stream = other.map_err(error_at("cannot connect to", &socket))?;
            protocol::check(&agent_directory).map_err(error_at("cannot use", &socket))?;
            return Ok(Started { stream, end: None });
        }
    }
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error_at("cannot remove", &socket)(error));
        }
        _ => {}
    }
    protocol::announce(&agent_directory).map_err(error_at("cannot write into", &agent_directory))?;
    let listener = UnixListener::bind(short_path.path()).map_err(error_at("cannot bind", &socket))?;
    let stream = UnixStream::connect(short_path.path()).map_err(error_at("cannot connect to", &socket))?;
    let options = AgentOptions { directory, ..options.clone() };
    let stderr = log.try_clone().map_err(error_at("cannot open", &paths.log()))?;
    let child = Command::new(exe)
        .arg("agent")
        .args(options.to_args())
        .current_dir(&options.directory)
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(log)
        .stderr(stderr)
        .spawn();
    let mut child = child.map_err(error_at("cannot start", exe))?;
    // The agent is our child and may exit before us: it must be reaped.
    let end = std::thread::spawn(move || child.wait());
    Ok(Started { stream, end: Some(end) })
}

/// A short path to the socket: a socket's path has at most 107 bytes, and the directory's may be longer.
struct ShortSocketPath {
    directory: OwnedFd,
}

impl ShortSocketPath {
    fn new(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { directory: open(directory, flags, Mode::empty())? })
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}/{SOCKET}", self.directory.as_raw_fd()).into()
    }
}

fn retry_on_interrupt(mut call: impl FnMut() -> rustix::io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

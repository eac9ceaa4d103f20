//! Finding the agent of a directory, or starting it.

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

/// Why there is no agent to talk to.
#[derive(Debug, thiserror::Error)]
#[error("{what} `{}`: {source}", path.display())]
pub struct StartError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl StartError {
    /// What the system says.
    pub fn into_source(self) -> io::Error {
        self.source
    }
}

/// A connection to an agent.
#[derive(Debug)]
pub struct Started {
    /// The connection.
    pub stream: UnixStream,
    /// Ends when the agent does; `None` for one that somebody else had started.
    pub end: Option<JoinHandle<io::Result<ExitStatus>>>,
}

/// A connection to the agent of `options.directory`; when there is none, starts one, of the program `exe`.
///
/// The starter binds the socket itself and hands it over as the agent's stdin: connecting needs no wait for
/// the agent to be ready. Of several starters at once one starts, the others connect. Options are those of
/// the agent that runs already, if one does.
pub fn connect_or_spawn(options: &AgentOptions, exe: &Path) -> Result<Started, StartError> {
    let layout = Paths::new(&options.directory);
    let own = layout.agent();
    let failed = |what: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| StartError { what, path, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&own)
        .map_err(failed("cannot make the directory", &own))?;
    // Where the agent works from, it must not be relative.
    let directory = options.directory.canonicalize();
    let directory = directory.map_err(failed("cannot find the directory", &options.directory))?;
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(layout.log());
    let log = log.map_err(failed("cannot open", &layout.log()))?;
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(layout.lock());
    let lock = lock.map_err(failed("cannot open", &layout.lock()))?;
    retry(|| flock(&lock, FlockOperation::LockExclusive)).map_err(failed("cannot lock", &layout.lock()))?;

    let socket = own.join(SOCKET);
    let short = ShortSocketPath::of(&own).map_err(failed("cannot open the directory", &own))?;
    match UnixStream::connect(short.path()) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
        other => {
            let stream = other.map_err(failed("cannot connect to", &socket))?;
            protocol::check(&own).map_err(failed("cannot use", &socket))?;
            return Ok(Started { stream, end: None });
        }
    }
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(failed("cannot remove", &socket)(error));
        }
        _ => {}
    }
    protocol::announce(&own).map_err(failed("cannot write into", &own))?;
    let listener = UnixListener::bind(short.path()).map_err(failed("cannot bind", &socket))?;
    let stream = UnixStream::connect(short.path()).map_err(failed("cannot connect to", &socket))?;
    let options = AgentOptions { directory, ..options.clone() };
    let errors = log.try_clone().map_err(failed("cannot open", &layout.log()))?;
    let child = Command::new(exe)
        .arg("agent")
        .args(options.to_args())
        .current_dir(&options.directory)
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(log)
        .stderr(errors)
        .spawn();
    let mut child = child.map_err(failed("cannot start", exe))?;
    // It is our child and may end before us: somebody has to take note.
    let end = std::thread::spawn(move || child.wait());
    Ok(Started { stream, end: Some(end) })
}

/// A name for a socket in a directory whose own name may be longer than the 107 bytes a socket's may have.
struct ShortSocketPath {
    directory: OwnedFd,
}

impl ShortSocketPath {
    fn of(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { directory: open(directory, flags, Mode::empty())? })
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}/{SOCKET}", self.directory.as_raw_fd()).into()
    }
}

fn retry(mut call: impl FnMut() -> rustix::io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

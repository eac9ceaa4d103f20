//! The shim, a process that creates a container, waits for it, records its exit, and removes it.
//!
//! The shim forwards SIGTERM to the block, and kills the container on SIGINT. An earlier shim of the same launch may have
//! done some of the steps: an existing container is used, and a container that has started is never created again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

use super::create::{CODE_FILE, LABEL, MISSING_FILE, NO_DIRECTORY, NO_PROGRAM};
use super::docker::{CommandResult, run_command, run_with_timeout};
use super::docker_error::{self, DockerErrorKind};
use super::shim_state::{self, ContainerSpec};
use crate::model::{Exit, LimitExceeded, StopReason, Stream};
use crate::paths::{sandbox_in, stop_note_in};
use crate::reap;
use crate::stop_note;

/// The time between two attempts while the Docker daemon does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The most attempts to start a container.
const MAX_STARTS: u32 = 60;

/// The most time that a killed container may take to exit.
const KILL_TIMEOUT: Duration = Duration::from_secs(20);

/// The exit code of a shim whose container could not be run. Source: Docker's exit code for its own failures.
const FAILURE_CODE: u8 = 125;

/// How a launch ended.
enum Outcome {
    /// The block exited with this code.
    Exited(i32),
    /// The container could not be run, or its exit status is lost: the code that this counts as, if any, and a message.
    Failed(Option<i32>, String),
}

/// Runs the shim of the launch in this executor's directory.
pub(crate) fn run(executor: &Path) -> ExitCode {
    let Some(spec) = ContainerSpec::read(executor) else {
        log::error!("`{}` is no container's", executor.display());
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let mut shim = Shim::new(executor, &spec)?;
            let outcome = shim.run().await;
            shim.record(&outcome)?;
            if shim.may_exist {
                let result = run_with_timeout(&["rm", "--force", "--volumes", &spec.name]).await;
                if let CommandResult::Failed(stderr) = result {
                    log::warn!(
                        "the container `{}` is left behind: {}",
                        spec.name,
                        docker_error::relevant_lines(&stderr)
                    );
                }
            }
            Ok(outcome)
        })
    });
    match outcome {
        Ok(Outcome::Exited(code)) => ExitCode::from(u8::try_from(code).unwrap_or(FAILURE_CODE)),
        Ok(Outcome::Failed(..)) => ExitCode::from(FAILURE_CODE),
        Err(error) => {
            log::error!("the container `{}` is left to itself: {error}", spec.name);
            ExitCode::from(FAILURE_CODE)
        }
    }
}

struct Shim<'a> {
    executor: &'a Path,
    spec: &'a ContainerSpec,
    terminate: Signal,
    interrupt: Signal,
    /// Whether the container may exist, and is to be removed.
    may_exist: bool,
    /// How often the Docker daemon did not answer.
    retries: u32,
}

impl<'a> Shim<'a> {
    fn new(executor: &'a Path, spec: &'a ContainerSpec) -> io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { executor, spec, terminate, interrupt, may_exist: false, retries: 0 })
    }

    async fn run(&mut self) -> Outcome {
        if shim_state::has_started(self.executor) {
            // An earlier shim may have died before it killed the container.
            if stop_note_in(self.executor).exists() {
                self.kill("KILL").await;
            }
        } else if let Err(outcome) = self.start().await {
            return outcome;
        }
        self.may_exist = true;
        if let Err(error) = shim_state::write_started(self.executor) {
            return Outcome::Failed(None, format!("it cannot be noted that the container runs: {error}"));
        }
        self.wait().await
    }

    /// Creates and starts the container. The image may have to be fetched, which takes as long as it takes.
    async fn start(&mut self) -> Result<(), Outcome> {
        let created = tokio::select! {
            result = run_command(&self.spec.create) => result,
            () = stop_signal(&mut self.terminate, &mut self.interrupt) => {
                // `docker` is killed, but the daemon may create the container nevertheless.
                self.may_exist = true;
                return Err(killed_before_start());
            }
        };
        match (created.error_kind(), created) {
            (None, _) => {
                self.may_exist = true;
                self.start_created(true).await?;
            }
            (Some(DockerErrorKind::NameConflict), result) => match self.inspect().await {
                Some((state, true)) => {
                    self.may_exist = true;
                    self.start_created(state == CREATED).await?;
                }
                _ => return Err(self.failed(result)),
            },
            (_, result) => return Err(self.failed(result)),
        }
        tokio::select! {
            biased;
            () = stop_signal(&mut self.terminate, &mut self.interrupt) => Err(killed_before_start()),
            () = std::future::ready(()) => Ok(()),
        }
    }

    /// Starts the container if it is in the state `created`; one that has exited would run again.
    async fn start_created(&mut self, is_created: bool) -> Result<(), Outcome> {
        let mut must_start = is_created;
        for _ in 0..MAX_STARTS {
            if !must_start {
                return Ok(());
            }
            let result = run_command(&["start", &self.spec.name]).await;
            match result.error_kind() {
                None => return Ok(()),
                // The daemon may have started it nevertheless.
                Some(DockerErrorKind::NoDaemon) => {}
                Some(_) => return Err(self.failed(result)),
            }
            must_start = loop {
                if self.wrapper_code().is_some() {
                    break false;
                }
                if let Some((state, _)) = self.inspect().await {
                    break state == CREATED;
                }
                self.retries += 1;
                let is_interrupted = tokio::select! {
                    () = sleep(RETRY_INTERVAL) => false,
                    _ = self.interrupt.recv() => true,
                };
                if is_interrupted {
                    return Err(self.lost(NO_ANSWER));
                }
            };
        }
        Err(self.lost(NO_ANSWER))
    }

    /// The state of the container of this name, and whether it is this launch's; `None` if there is none.
    async fn inspect(&self) -> Option<(String, bool)> {
        let format = format!("{{{{.State.Status}}}} {{{{index .Config.Labels \"{LABEL}\"}}}}");
        match run_with_timeout(&["inspect", "--type", "container", "--format", &format, &self.spec.name])
            .await
        {
            CommandResult::Done(stdout) => {
                let (state, label) = stdout.trim_end_matches('\n').split_once(' ')?;
                Some((state.to_owned(), Path::new(label) == self.executor))
            }
            CommandResult::Failed(_) => None,
        }
    }

    /// Waits until the container exits.
    async fn wait(&mut self) -> Outcome {
        let mut daemon_was_away = self.retries > 0;
        let mut deadline = None;
        let wait = ["wait", &self.spec.name];
        loop {
            let result = tokio::select! {
                result = run_command(&wait) => result,
                Some(()) = self.terminate.recv() => {
                    self.kill("TERM").await;
                    continue;
                }
                Some(()) = self.interrupt.recv() => {
                    self.kill("KILL").await;
                    deadline.get_or_insert(Instant::now() + KILL_TIMEOUT);
                    continue;
                }
                () = sleep_until_deadline(deadline) => return self.lost("Docker does not say whether it has ended"),
            };
            let code = match &result {
                CommandResult::Done(code) => code.trim().parse::<i32>().ok(),
                CommandResult::Failed(_) => None,
            };
            if let Some(code) = code {
                return self.exited(code, daemon_was_away).await;
            }
            if result.error_kind() == Some(DockerErrorKind::NoContainer) {
                return self.lost("somebody else has removed its container");
            }
            // The daemon does not answer, but the wrapper may have written the exit code.
            if let Some(code) = self.wrapper_code() {
                return exited_while_daemon_was_away(code);
            }
            daemon_was_away |= result.error_kind() == Some(DockerErrorKind::NoDaemon);
            // Without a time limit: the container may still run, and a launch that may run has not ended.
            self.retries += 1;
            sleep(RETRY_INTERVAL).await;
        }
    }

    async fn kill(&self, signal: &str) {
        if let CommandResult::Failed(stderr) =
            run_with_timeout(&["kill", "--signal", signal, &self.spec.name]).await
        {
            log::warn!(
                "`{}` does not get SIG{signal}: {}",
                self.spec.name,
                docker_error::relevant_lines(&stderr)
            );
        }
    }

    /// The outcome of a container that has exited.
    async fn exited(&self, code: i32, daemon_was_away: bool) -> Outcome {
        let ContainerSpec { image, program, .. } = self.spec;
        self.record_oom_kill().await;
        if daemon_was_away {
            return exited_while_daemon_was_away(self.wrapper_code().unwrap_or(code));
        }
        if let Some(code) = self.wrapper_code() {
            return Outcome::Exited(code);
        }
        match fs::read_to_string(self.sandbox(MISSING_FILE)).as_deref().map(str::trim) {
            Ok(NO_PROGRAM) => {
                return Outcome::Failed(Some(code), format!("`{program}` is not in the image `{image}`"));
            }
            Ok(NO_DIRECTORY) => {
                let message = format!("the working directory does not exist in the image `{image}`");
                return Outcome::Failed(Some(code), message);
            }
            _ => {}
        }
        // The block was killed, or the wrapper failed and has written why to its log.
        match run_with_timeout(&["logs", "--tail", "5", &self.spec.name]).await {
            _ if code == SIGKILL_CODE => Outcome::Exited(code),
            CommandResult::Done(log) if !log.trim().is_empty() => Outcome::Failed(
                Some(code),
                format!("the block could not begin in the image `{image}`: {log}"),
            ),
            _ => Outcome::Exited(code),
        }
    }

    /// Writes the stop note if the kernel's OOM killer has killed a process of the container.
    async fn record_oom_kill(&self) {
        let Some(mib) = self.spec.memory_limit() else { return };
        let inspect = ["inspect", "--type", "container", "--format", "{{.State.OOMKilled}}", &self.spec.name];
        if let CommandResult::Done(stdout) = run_with_timeout(&inspect).await
            && stdout.trim() == "true"
            && let Err(error) =
                stop_note::write(self.executor, StopReason::LimitExceeded(LimitExceeded::Memory(mib)))
        {
            log::warn!("it cannot be noted that `{}` has exceeded its memory: {error}", self.spec.name);
        }
    }

    /// The exit code that the wrapper has written; `None` before the line is complete.
    fn wrapper_code(&self) -> Option<i32> {
        fs::read_to_string(self.sandbox(CODE_FILE)).ok()?.strip_suffix('\n')?.parse().ok()
    }

    fn sandbox(&self, path: &str) -> std::path::PathBuf {
        sandbox_in(self.executor.to_owned()).join(path)
    }

    /// The outcome if Docker does not know the exit status, but the wrapper may have written it.
    fn lost(&self, why: &str) -> Outcome {
        self.wrapper_code()
            .map_or_else(|| Outcome::Failed(None, format!("exit status lost: {why}")), Outcome::Exited)
    }

    /// The outcome if the container could not be created or started.
    fn failed(&self, result: CommandResult) -> Outcome {
        let kind = result.error_kind();
        let (CommandResult::Failed(text) | CommandResult::Done(text)) = result;
        let code = (kind == Some(DockerErrorKind::NoShell)).then_some(127);
        Outcome::Failed(code, docker_error::message(&self.spec.image, &text))
    }

    /// Records the outcome. The message is written first, because the exit code marks the record as complete.
    fn record(&self, outcome: &Outcome) -> io::Result<()> {
        let (code, message) = match outcome {
            Outcome::Exited(code) => (Some(*code), None),
            Outcome::Failed(code, message) => (*code, Some(message)),
        };
        if let Some(message) = message {
            // The message is where users look for the block's output, too.
            let file = File::options().append(true).open(self.sandbox(Stream::Stderr.file()));
            let _ = file.and_then(|mut file| writeln!(file, "borges: {message}"));
            shim_state::write_error(self.executor, code, message)?;
        }
        code.map_or(Ok(()), |code| reap::write_exit(&sandbox_in(self.executor.to_owned()), Exit::Code(code)))
    }
}

/// Docker's state of a container that was never started.
const CREATED: &str = "created";

/// The message if the Docker daemon does not answer.
const NO_ANSWER: &str = "the Docker daemon does not answer any more";

/// 128 + SIGKILL.
const SIGKILL_CODE: i32 = 137;

fn killed_before_start() -> Outcome {
    Outcome::Failed(None, "it was killed before its container ran".to_owned())
}

/// The outcome if the Docker daemon was away: it may have killed the container when it stopped or started.
fn exited_while_daemon_was_away(code: i32) -> Outcome {
    if code <= 128 {
        return Outcome::Exited(code);
    }
    let message = "the Docker daemon was away, and the container ended meanwhile";
    Outcome::Failed(Some(code), format!("{message}, with status {code}"))
}

/// Waits for SIGTERM or SIGINT.
async fn stop_signal(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn sleep_until_deadline(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

//! The life of a stand-in: makes a container, waits for it, notes its end, removes it.
//!
//! SIGTERM is passed on to the block, SIGINT ends it by force. Each step may have been done by an earlier
//! stand-in of the same launch: a container that is there is taken up, one that was seen to run is never made
//! again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

use super::create::{CODE, LABEL, MISSING_NOTE, NO_DIRECTORY, NO_PROGRAM};
use super::docker::{CommandResult, run_command, run_with_timeout};
use super::docker_error::{self, DockerErrorKind};
use super::shim_state::{self, ContainerSpec};
use crate::exit::Exit;
use crate::limits::LimitExceeded;
use crate::paths::{sandbox_in, stopped_in};
use crate::reap;
use crate::state::StopReason;
use crate::stop_note;

/// How long after a daemon did not answer it is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a container is told to start that does not.
const MOST_STARTS: u32 = 60;

/// How long a container may take to end that was killed.
const LAST: Duration = Duration::from_secs(20);

/// How a stand-in ends when its launch did not end as a block does. Source: Docker, of its own failures.
const FAILURE: u8 = 125;

/// How a launch ended.
enum End {
    /// The block ended, with this code.
    Code(i32),
    /// Something else happened; the code that it counts as, if any, and what a person is told.
    Trouble(Option<i32>, String),
}

/// Stands in for the container of the launch in this executor's directory.
pub(crate) fn run(executor: &Path) -> ExitCode {
    let Some(order) = ContainerSpec::read(executor) else {
        log::error!("`{}` is no container's", executor.display());
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let end = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let mut standin = Shim::new(executor, &order)?;
            let end = standin.live().await;
            standin.note(&end)?;
            if standin.made {
                let removed = run_with_timeout(&["rm", "--force", "--volumes", &order.name]).await;
                if let CommandResult::Refused(said) = removed {
                    log::warn!(
                        "the container `{}` is left behind: {}",
                        order.name,
                        docker_error::relevant_lines(&said)
                    );
                }
            }
            Ok(end)
        })
    });
    match end {
        Ok(End::Code(code)) => ExitCode::from(u8::try_from(code).unwrap_or(FAILURE)),
        Ok(End::Trouble(..)) => ExitCode::from(FAILURE),
        Err(error) => {
            log::error!("the container `{}` is left to itself: {error}", order.name);
            ExitCode::from(FAILURE)
        }
    }
}

struct Shim<'a> {
    executor: &'a Path,
    order: &'a ContainerSpec,
    terminate: Signal,
    interrupt: Signal,
    /// There may be a container.
    made: bool,
    /// How often the daemon did not answer.
    pauses: u32,
}

impl<'a> Shim<'a> {
    fn new(executor: &'a Path, order: &'a ContainerSpec) -> io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { executor, order, terminate, interrupt, made: false, pauses: 0 })
    }

    async fn live(&mut self) -> End {
        if shim_state::has_started(self.executor) {
            // Who stood in for it before may have died of telling it to end.
            if stopped_in(self.executor).exists() {
                self.kill("KILL").await;
            }
        } else if let Err(end) = self.start().await {
            return end;
        }
        self.made = true;
        if let Err(error) = shim_state::write_started(self.executor) {
            return End::Trouble(None, format!("it cannot be noted that the container runs: {error}"));
        }
        self.wait().await
    }

    /// Makes the container, which may take as long as fetching its image does, and starts it.
    async fn start(&mut self) -> Result<(), End> {
        let created = tokio::select! {
            said = run_command(&self.order.create) => said,
            () = stopped(&mut self.terminate, &mut self.interrupt) => {
                // `docker` is ended, and the daemon may have made it all the same.
                self.made = true;
                return Err(killed());
            }
        };
        match (created.trouble(), created) {
            (None, _) => {
                self.made = true;
                self.set_going(true).await?;
            }
            (Some(DockerErrorKind::NameConflict), said) => match self.found().await {
                Some((state, true)) => {
                    self.made = true;
                    self.set_going(state == CREATED).await?;
                }
                _ => return Err(self.refused(said)),
            },
            (_, said) => return Err(self.refused(said)),
        }
        tokio::select! {
            biased;
            () = stopped(&mut self.terminate, &mut self.interrupt) => Err(killed()),
            () = std::future::ready(()) => Ok(()),
        }
    }

    /// Starts the container if it never ran: one that has ended would run again.
    async fn set_going(&mut self, never_ran: bool) -> Result<(), End> {
        let mut starts = never_ran;
        for _ in 0..MOST_STARTS {
            if !starts {
                return Ok(());
            }
            let said = run_command(&["start", &self.order.name]).await;
            match said.trouble() {
                None => return Ok(()),
                // It may have been started all the same.
                Some(DockerErrorKind::NoDaemon) => {}
                Some(_) => return Err(self.refused(said)),
            }
            starts = loop {
                if self.own_code().is_some() {
                    break false;
                }
                if let Some((state, _)) = self.found().await {
                    break state == CREATED;
                }
                self.pauses += 1;
                let forced = tokio::select! {
                    () = sleep(PAUSE) => false,
                    _ = self.interrupt.recv() => true,
                };
                if forced {
                    return Err(self.lost(NO_ANSWER));
                }
            };
        }
        Err(self.lost(NO_ANSWER))
    }

    /// The container of this name, where there is one: its state, and whether it is this launch's.
    async fn found(&self) -> Option<(String, bool)> {
        let format = format!("{{{{.State.Status}}}} {{{{index .Config.Labels \"{LABEL}\"}}}}");
        match run_with_timeout(&["inspect", "--type", "container", "--format", &format, &self.order.name])
            .await
        {
            CommandResult::Done(found) => {
                let (state, label) = found.trim_end_matches('\n').split_once(' ')?;
                Some((state.to_owned(), Path::new(label) == self.executor))
            }
            CommandResult::Refused(_) => None,
        }
    }

    /// Waits for the container's end.
    async fn wait(&mut self) -> End {
        let mut was_away = self.pauses > 0;
        let mut deadline = None;
        let wait = ["wait", &self.order.name];
        loop {
            let said = tokio::select! {
                said = run_command(&wait) => said,
                Some(()) = self.terminate.recv() => {
                    self.kill("TERM").await;
                    continue;
                }
                Some(()) = self.interrupt.recv() => {
                    self.kill("KILL").await;
                    deadline.get_or_insert(Instant::now() + LAST);
                    continue;
                }
                () = until(deadline) => return self.lost("Docker does not say whether it has ended"),
            };
            let code = match &said {
                CommandResult::Done(code) => code.trim().parse::<i32>().ok(),
                CommandResult::Refused(_) => None,
            };
            if let Some(code) = code {
                return self.ended(code, was_away).await;
            }
            if said.trouble() == Some(DockerErrorKind::NoContainer) {
                return self.lost("somebody else has removed its container");
            }
            // Nobody answers: the block itself may have said how it ended.
            if let Some(code) = self.own_code() {
                return ended_while_away(code);
            }
            was_away |= said.trouble() == Some(DockerErrorKind::NoDaemon);
            // However long it takes: the container may run on, and a launch that may run is not over.
            self.pauses += 1;
            sleep(PAUSE).await;
        }
    }

    async fn kill(&self, signal: &str) {
        if let CommandResult::Refused(said) =
            run_with_timeout(&["kill", "--signal", signal, &self.order.name]).await
        {
            log::warn!(
                "`{}` does not get SIG{signal}: {}",
                self.order.name,
                docker_error::relevant_lines(&said)
            );
        }
    }

    /// What the end of the container means.
    async fn ended(&self, code: i32, was_away: bool) -> End {
        let ContainerSpec { image, program, .. } = self.order;
        self.look_for_excess().await;
        if was_away {
            return ended_while_away(self.own_code().unwrap_or(code));
        }
        if let Some(code) = self.own_code() {
            return End::Code(code);
        }
        match fs::read_to_string(self.sandbox(MISSING_NOTE)).as_deref().map(str::trim) {
            Ok(NO_PROGRAM) => {
                return End::Trouble(Some(code), format!("`{program}` is not in the image `{image}`"));
            }
            Ok(NO_DIRECTORY) => {
                let message = format!("the working directory does not exist in the image `{image}`");
                return End::Trouble(Some(code), message);
            }
            _ => {}
        }
        // The block is killed, or the wrapper could not do its work and says so.
        match run_with_timeout(&["logs", "--tail", "5", &self.order.name]).await {
            _ if code == KILLED => End::Code(code),
            CommandResult::Done(said) if !said.trim().is_empty() => {
                End::Trouble(Some(code), format!("the block could not begin in the image `{image}`: {said}"))
            }
            _ => End::Code(code),
        }
    }

    /// Notes that the kernel has killed something of the container for want of memory, if it has.
    async fn look_for_excess(&self) {
        let Some(mib) = self.order.memory() else { return };
        let asked = ["inspect", "--type", "container", "--format", "{{.State.OOMKilled}}", &self.order.name];
        if let CommandResult::Done(said) = run_with_timeout(&asked).await
            && said.trim() == "true"
            && let Err(error) =
                stop_note::write(self.executor, StopReason::LimitExceeded(LimitExceeded::Memory(mib)))
        {
            log::warn!("it cannot be noted that `{}` has exceeded its memory: {error}", self.order.name);
        }
    }

    /// What the wrapper noted, once it has written the whole line.
    fn own_code(&self) -> Option<i32> {
        fs::read_to_string(self.sandbox(CODE)).ok()?.strip_suffix('\n')?.parse().ok()
    }

    fn sandbox(&self, path: &str) -> std::path::PathBuf {
        sandbox_in(self.executor.to_owned()).join(path)
    }

    /// Docker cannot tell; the block itself may have.
    fn lost(&self, why: &str) -> End {
        self.own_code().map_or_else(|| End::Trouble(None, format!("exit status lost: {why}")), End::Code)
    }

    /// The container could not be made or started.
    fn refused(&self, said: CommandResult) -> End {
        let kind = said.trouble();
        let (CommandResult::Refused(said) | CommandResult::Done(said)) = said;
        let code = (kind == Some(DockerErrorKind::NoShell)).then_some(127);
        End::Trouble(code, docker_error::message(&self.order.image, &said))
    }

    /// Writes down how the launch ended: why first, as the exit code says that all is told.
    fn note(&self, end: &End) -> io::Result<()> {
        let (code, message) = match end {
            End::Code(code) => (Some(*code), None),
            End::Trouble(code, message) => (*code, Some(message)),
        };
        if let Some(message) = message {
            // Where its output would be, for who looks there first.
            let said = File::options().append(true).open(self.sandbox("block/stderr"));
            let _ = said.and_then(|mut file| writeln!(file, "borges: {message}"));
            shim_state::write_error(self.executor, code, message)?;
        }
        code.map_or(Ok(()), |code| reap::write_exit(&sandbox_in(self.executor.to_owned()), Exit::Code(code)))
    }
}

/// The state of a container that never ran.
const CREATED: &str = "created";

/// Why nothing is known of a container any more.
const NO_ANSWER: &str = "the Docker daemon does not answer any more";

/// 128 + SIGKILL.
const KILLED: i32 = 137;

fn killed() -> End {
    End::Trouble(None, "it was killed before its container ran".to_owned())
}

/// A daemon that ends, or begins, may signal its containers: then the block's end is not all its own.
fn ended_while_away(code: i32) -> End {
    if code <= 128 {
        return End::Code(code);
    }
    let message = "the Docker daemon was away, and the container ended meanwhile";
    End::Trouble(Some(code), format!("{message}, with status {code}"))
}

/// Either of the signals that tell a block to end.
async fn stopped(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

//! Watches one run to its end: prints the output of its blocks, their changes of state, and the reasons of waiting
//! blocks. Works alike for an engine in this process and for a server (`Backend`).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval};

use super::backend::{Backend, BackendError};
use super::exit::Exit;
use super::output::Output;
use super::progress::{self, Progress};
use super::signals::Signals;
use borges_clock::Clock;
use borges_engine::FatalError;
use borges_store::{LoggedEvent, TaskEvent};
use borges_task::{LaunchId, RunId, RunState, State};

/// How often the output of running blocks and the reasons of waiting ones are read.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The poll interval for a server, where each poll costs requests.
const REMOTE_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Signals within this time count as one.
const SIGNAL_DEBOUNCE: Duration = Duration::from_millis(300);
/// Shorter waits are not reported.
const MIN_REPORTED_WAIT: Duration = Duration::from_secs(1);

/// Why the watch ended before the run.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("{0}")]
    Fatal(String),
}

/// Watches one run to its end.
pub(super) struct Watch {
    backend: Backend,
    run: RunId,
    output: Output,
    progress: Progress,
    /// The current launch of each task that may still write output, with the name of its block.
    active: BTreeMap<u32, (LaunchId, Arc<str>)>,
    /// The last attempt of each task whose output is forwarded completely.
    forwarded: BTreeMap<u32, u32>,
    quiet: bool,
    max_wait: Option<Duration>,
    /// The blocks and reasons that were reported already.
    reported: HashSet<(Arc<str>, String)>,
    /// The exit code after this process has killed the run.
    kill_exit: Option<Exit>,
    /// When the first signal arrived.
    interrupted_at: Option<Duration>,
    clock: Clock,
}

impl Watch {
    /// Creates a watch of `run`. `quiet` prints only the output of blocks. After `max_wait` of one task the run is
    /// killed.
    pub(super) fn new(
        backend: Backend,
        run: RunId,
        quiet: bool,
        max_wait: Option<Duration>,
        clock: Clock,
    ) -> Self {
        Self {
            backend,
            run,
            output: Output::default(),
            progress: Progress::default(),
            active: BTreeMap::new(),
            forwarded: BTreeMap::new(),
            quiet,
            max_wait,
            reported: HashSet::new(),
            kill_exit: None,
            interrupted_at: None,
            clock,
        }
    }

    /// Watches until the run has ended. An item of `fatal_errors` means that no more events will follow.
    pub(super) async fn run(
        mut self,
        mut events: impl Stream<Item = LoggedEvent> + Unpin,
        mut fatal_errors: UnboundedReceiver<FatalError>,
        signals: &mut Signals,
    ) -> Result<Exit, WatchError> {
        let mut ticks = interval(match self.backend {
            Backend::Local(_) => POLL_INTERVAL,
            Backend::Remote(_) => REMOTE_POLL_INTERVAL,
        });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let state = loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(LoggedEvent::Task(event)) => self.handle_task_event(&event).await?,
                    Some(LoggedEvent::Run(ended)) => break ended.state,
                    None => return Err(WatchError::Fatal("the scheduler has stopped".to_owned())),
                },
                error = fatal_errors.recv() => {
                    let reason = error.map_or_else(|| "the scheduler has stopped".to_owned(), |error| error.reason);
                    return Err(WatchError::Fatal(reason));
                }
                () = signals.next() => {
                    let Backend::Local(engine) = &self.backend else {
                        let run = self.run;
                        self.output.note(&format!("Interrupted: the run goes on; `borges kill {run}` ends it."));
                        return Ok(Exit::Interrupted);
                    };
                    let now = self.clock.elapsed();
                    match self.interrupted_at {
                        // One interrupt can arrive twice: `timeout` signals the process and then its group.
                        Some(first) if now.saturating_sub(first) < SIGNAL_DEBOUNCE => continue,
                        // The embedded cluster kills the blocks after the disconnect.
                        Some(_) => return Ok(Exit::Interrupted),
                        None => self.interrupted_at = Some(now),
                    }
                    self.kill_exit = Some(Exit::Interrupted);
                    self.output.note("Interrupted: the blocks are being ended.");
                    engine.kill_run(self.run).await.map_err(BackendError::from)?;
                }
                _ = ticks.tick() => self.poll().await?,
            }
        };
        self.output.finish();
        if !self.quiet {
            self.output.note(&self.progress.summary());
        }
        Ok(self.kill_exit.unwrap_or(match state {
            RunState::Finished | RunState::Running => Exit::Success,
            RunState::Failed | RunState::Killed => Exit::BlockFailed,
        }))
    }

    /// Forwards the remaining output of ended launches, then prints the status line of the event.
    async fn handle_task_event(&mut self, event: &TaskEvent) -> Result<(), BackendError> {
        let number = event.task.number;
        let ended = match event.state {
            State::Running | State::Launching | State::Unreachable | State::Killing => false,
            State::Queued
            | State::Delayed
            | State::Finished
            | State::Failed
            | State::Killed
            | State::Skipped
            | State::Held
            | State::Blocked => true,
        };
        // A launch may have started and ended while the server was unreachable.
        let forwarded = self.forwarded.get(&number).copied().unwrap_or_default();
        let last = if ended { event.attempt } else { event.attempt.saturating_sub(1) };
        for attempt in forwarded + 1..=last {
            let launch = event.task.launch(attempt);
            self.output.forward(&self.backend, launch, &event.block).await?;
            self.output.close(launch);
            self.forwarded.insert(number, attempt);
        }
        if ended {
            self.active.remove(&number);
        } else {
            self.active.insert(number, (event.task.launch(event.attempt), event.block.clone()));
        }
        if let Some(line) = self.progress.line(event)
            && !self.quiet
        {
            self.output.note(&line);
        }
        Ok(())
    }

    /// Forwards new output of running blocks, and reports waiting blocks and their reasons.
    async fn poll(&mut self) -> Result<(), BackendError> {
        for (launch, name) in self.active.values() {
            self.output.forward(&self.backend, *launch, name).await?;
        }
        if self.kill_exit.is_some() {
            return Ok(());
        }
        let waiting = self.backend.waiting(self.run).await?;
        for group in waiting.iter().filter(|group| group.waited >= MIN_REPORTED_WAIT && !self.quiet) {
            // The number of waiting tasks changes often, so a block and its reason are reported only once.
            if self.reported.insert((group.block.clone(), group.reason.clone())) {
                self.output.note(&progress::waiting_line(group));
            }
        }
        if let Some(max_wait) = self.max_wait
            && let Some(task) = waiting.iter().find(|task| task.waited >= max_wait)
        {
            let waited = task.waited.as_secs_f64();
            self.output.note(&format!(
                "{}: line {}: has waited for {waited:.0} s: {}",
                task.block, task.line, task.reason
            ));
            self.kill_exit = Some(Exit::Unavailable);
            if let Backend::Local(engine) = &self.backend {
                engine.kill_run(self.run).await?;
            }
        }
        Ok(())
    }
}

//! Watches one run to its end: what its blocks say, what becomes of them, what waits and why. Who runs them is
//! the same to it.

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

/// How often running blocks are listened to, and waiting ones asked why.
const LISTEN: Duration = Duration::from_millis(200);
/// The same where each time costs requests.
const LISTEN_THERE: Duration = Duration::from_millis(500);
/// Signals that come closer together are one wish.
const ONE_WISH: Duration = Duration::from_millis(300);
/// Who waits for less is not worth a line.
const WORTH_A_LINE: Duration = Duration::from_secs(1);

/// What ends the watch before the run has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    #[error(transparent)]
    Unanswered(#[from] BackendError),
    #[error("{0}")]
    Broken(String),
}

/// Watches one run to its end.
pub(super) struct Watch {
    host: Backend,
    run: RunId,
    output: Output,
    progress: Progress,
    /// Launches that may still write.
    live: BTreeMap<u32, (LaunchId, Arc<str>)>,
    /// The last launch of each task of which everything is read.
    read: BTreeMap<u32, u32>,
    quiet: bool,
    max_wait: Option<Duration>,
    /// Waits that were said already.
    said: HashSet<(Arc<str>, String)>,
    /// Why the run was killed, when we did that.
    ending: Option<Exit>,
    /// When a person first asked for the end.
    asked_to_end: Option<Duration>,
    clock: Clock,
}

impl Watch {
    /// Watches `run`. `quiet`: only what blocks say; `max_wait`: the run is ended when something has waited so
    /// long.
    pub(super) fn new(
        host: Backend,
        run: RunId,
        quiet: bool,
        max_wait: Option<Duration>,
        clock: Clock,
    ) -> Self {
        Self {
            host,
            run,
            output: Output::default(),
            progress: Progress::default(),
            live: BTreeMap::new(),
            read: BTreeMap::new(),
            quiet,
            max_wait,
            said: HashSet::new(),
            ending: None,
            asked_to_end: None,
            clock,
        }
    }

    /// Watches until the run has ended; `entries` is what happens to it, `breaks` what ends that for good.
    pub(super) async fn run(
        mut self,
        mut entries: impl Stream<Item = LoggedEvent> + Unpin,
        mut breaks: UnboundedReceiver<FatalError>,
        signals: &mut Signals,
    ) -> Result<Exit, WatchError> {
        let mut ticks = interval(match self.host {
            Backend::Local(_) => LISTEN,
            Backend::Remote(_) => LISTEN_THERE,
        });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let state = loop {
            tokio::select! {
                entry = entries.next() => match entry {
                    Some(LoggedEvent::Task(frame)) => self.changed(&frame).await?,
                    Some(LoggedEvent::Run(ended)) => break ended.state,
                    None => return Err(WatchError::Broken("the scheduler has stopped".to_owned())),
                },
                broken = breaks.recv() => {
                    let reason = broken.map_or_else(|| "the scheduler has stopped".to_owned(), |b| b.reason);
                    return Err(WatchError::Broken(reason));
                }
                () = signals.next() => {
                    let Backend::Local(engine) = &self.host else {
                        let run = self.run;
                        self.output.note(&format!("Interrupted: the run goes on; `borges kill {run}` ends it."));
                        return Ok(Exit::Interrupted);
                    };
                    let now = self.clock.elapsed();
                    match self.asked_to_end {
                        // The same wish, come twice: `timeout` tells the process and then its group.
                        Some(asked) if now.saturating_sub(asked) < ONE_WISH => continue,
                        // The embedded cluster ends the blocks when it no longer hears from us.
                        Some(_) => return Ok(Exit::Interrupted),
                        None => self.asked_to_end = Some(now),
                    }
                    self.ending = Some(Exit::Interrupted);
                    self.output.note("Interrupted: the blocks are being ended.");
                    engine.kill_run(self.run).await.map_err(BackendError::from)?;
                }
                _ = ticks.tick() => self.listen().await?,
            }
        };
        self.output.finish();
        if !self.quiet {
            self.output.note(&self.progress.summary());
        }
        Ok(self.ending.unwrap_or(match state {
            RunState::Finished | RunState::Running => Exit::Success,
            RunState::Failed | RunState::Killed => Exit::BlockFailed,
        }))
    }

    async fn changed(&mut self, frame: &TaskEvent) -> Result<(), BackendError> {
        let number = frame.task.number;
        let over = match frame.state {
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
        // A launch may have come and gone unheard, while a server was away.
        let read = self.read.get(&number).copied().unwrap_or_default();
        let last = if over { frame.attempt } else { frame.attempt.saturating_sub(1) };
        for attempt in read + 1..=last {
            let launch = frame.task.launch(attempt);
            self.output.forward(&self.host, launch, &frame.block).await?;
            self.output.close(launch);
            self.read.insert(number, attempt);
        }
        if over {
            self.live.remove(&number);
        } else {
            self.live.insert(number, (frame.task.launch(frame.attempt), frame.block.clone()));
        }
        if let Some(line) = self.progress.line(frame)
            && !self.quiet
        {
            self.output.note(&line);
        }
        Ok(())
    }

    /// Passes on what running blocks have said, and says what waits, and why.
    async fn listen(&mut self) -> Result<(), BackendError> {
        for (launch, name) in self.live.values() {
            self.output.forward(&self.host, *launch, name).await?;
        }
        if self.ending.is_some() {
            return Ok(());
        }
        let waiting = self.host.waiting(self.run).await?;
        for group in waiting.iter().filter(|group| group.waited >= WORTH_A_LINE && !self.quiet) {
            // The number of those behind it changes all the time; who, and why, is news only once.
            if self.said.insert((group.block.clone(), group.reason.clone())) {
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
            self.ending = Some(Exit::Unavailable);
            if let Backend::Local(engine) = &self.host {
                engine.kill_run(self.run).await?;
            }
        }
        Ok(())
    }
}

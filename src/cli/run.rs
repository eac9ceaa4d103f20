//! `borges run`: a document here and now.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{MissedTickBehavior, interval};

use super::arguments::RunArguments;
use super::cluster::{self, Cluster};
use super::exit::Exit;
use super::input::{self, Input};
use super::output::Output;
use super::problems;
use super::progress::{self, Progress};
use crate::actors::{
    Broken, Engine, EngineError, Entry, Frame, ParseDocument, Parts, Reader, RunState, StartFailure,
    Submission,
};
use crate::clock::Clock;
use crate::spec::{Plan, Severity};
use crate::store::MemoryStore;
use crate::task::{LaunchId, RunId, State};

/// How often running blocks are listened to, and waiting ones asked why.
const LISTEN: Duration = Duration::from_millis(200);
/// Signals that come closer together are one wish.
const ONE_WISH: Duration = Duration::from_millis(300);
/// Who waits for less is not worth a line.
const WORTH_A_LINE: Duration = Duration::from_secs(1);

/// Runs a document.
pub(super) fn run(arguments: &RunArguments) -> Exit {
    let input = match input::read(&arguments.document) {
        Ok(input) => input,
        Err(exit) => return exit,
    };
    actix::System::new().block_on(async {
        match read_and_run(arguments, input).await {
            Ok(exit) => exit,
            Err(error) => {
                eprintln!("borges: {error}");
                Exit::OutOfReach
            }
        }
    })
}

/// What ends a run before its time.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Start(#[from] StartFailure),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Cluster(String),
}

async fn read_and_run(arguments: &RunArguments, input: Input) -> Result<Exit, Failure> {
    let document = ParseDocument {
        source: input.source.clone(),
        defaults: input.config.header_args.clone(),
        request: input.request.clone(),
    };
    let plan = match Reader::start().read(document).await?.plan {
        Ok(plan) => plan,
        Err(found) => {
            problems::show(&input.name, &input.source, &found, Severity::Error);
            eprintln!("Nothing was launched.");
            return Ok(Exit::Wrong);
        }
    };
    problems::show(&input.name, &input.source, &plan.warnings, Severity::Warning);
    if !arguments.quiet {
        announce(&plan);
    }
    if plan.tasks.is_empty() {
        return Ok(Exit::Well);
    }

    if let Some(objection) = cluster::objection(&input.config) {
        eprintln!("borges: {objection}");
        return Ok(Exit::Wrong);
    }
    let clock = Clock::system();
    let (scratch, directory) = cluster::scratch()?;
    let Cluster { master, sandbox, agent_end } =
        cluster::of(&input.config, &directory, true).map_err(Failure::Cluster)?;
    let parts = Parts {
        // Nobody can come back for what this run leaves behind: to save it on disk would be to wait for nothing.
        store: Box::new(MemoryStore::default()),
        master,
        sandbox,
        framework: cluster::framework(0.0),
        clock: clock.clone(),
    };
    let mut signals = Signals::new()?;
    let (engine, breaks) = Engine::start(parts)?;
    let (to, entries) = mpsc::unbounded_channel();
    engine.follow(None, to).await?;
    let title = input.name.clone();
    let run = engine.submit(Submission { title, document: input.written, plan }).await?.run;
    let watch = Watch {
        engine: engine.clone(),
        run,
        output: Output::default(),
        progress: Progress::default(),
        live: BTreeMap::new(),
        quiet: arguments.quiet,
        max_wait: arguments.max_wait,
        said: HashSet::new(),
        ending: None,
        asked_to_end: None,
        clock,
    };
    let exit = watch.until_the_end(entries, breaks, &mut signals).await;
    // The embedded cluster ends what still runs when it no longer hears from us; only then can its directory go.
    engine.leave().await?;
    agent_end.wait().await;
    scratch.close()?;
    exit
}

fn announce(plan: &Plan) {
    eprintln!("Scheduled {} code blocks for execution", plan.tasks.len());
    if !plan.skipped.is_empty() {
        eprintln!("Skipped {}:", plan.skipped.len());
        for skip in &plan.skipped {
            eprintln!("  {}: {}: {}", skip.place(), skip.block, skip.reason);
        }
    }
}

/// What a person, or the system, says to us.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// Watches one run to its end.
struct Watch {
    engine: Engine,
    run: RunId,
    output: Output,
    progress: Progress,
    /// Launches that may still write.
    live: BTreeMap<u32, (LaunchId, Arc<str>)>,
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
    async fn until_the_end(
        mut self,
        mut entries: UnboundedReceiver<Entry>,
        mut breaks: UnboundedReceiver<Broken>,
        signals: &mut Signals,
    ) -> Result<Exit, Failure> {
        let mut ticks = interval(LISTEN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let state = loop {
            tokio::select! {
                entry = entries.recv() => match entry {
                    Some(Entry::Task(frame)) => self.changed(&frame).await?,
                    Some(Entry::Run(ended)) => break ended.state,
                    None => return Err(Failure::Cluster("the scheduler has stopped".to_owned())),
                },
                broken = breaks.recv() => {
                    let reason = broken.map_or_else(|| "the scheduler has stopped".to_owned(), |b| b.reason);
                    return Err(Failure::Cluster(reason));
                }
                () = signals.next() => {
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
                    self.engine.kill_run(self.run).await?;
                }
                _ = ticks.tick() => self.listen().await?,
            }
        };
        self.output.finish();
        if !self.quiet {
            self.output.note(&self.progress.summary());
        }
        Ok(self.ending.unwrap_or(match state {
            RunState::Finished | RunState::Running => Exit::Well,
            RunState::Failed | RunState::Killed => Exit::BlockFailed,
        }))
    }

    async fn changed(&mut self, frame: &Frame) -> Result<(), EngineError> {
        if frame.attempt > 0 {
            let launch = frame.task.launch(frame.attempt);
            match frame.state {
                State::Running | State::Launching | State::Unreachable | State::Killing => {
                    self.live.insert(frame.task.number, (launch, frame.block.clone()));
                }
                State::Queued
                | State::Delayed
                | State::Finished
                | State::Failed
                | State::Killed
                | State::Skipped
                | State::Held
                | State::Blocked => {
                    if self.live.remove(&frame.task.number).is_some() {
                        self.output.pass_on(&self.engine, launch, &frame.block).await?;
                        self.output.close(launch);
                    }
                }
            }
        }
        if let Some(line) = self.progress.line(frame)
            && !self.quiet
        {
            self.output.note(&line);
        }
        Ok(())
    }

    /// Passes on what running blocks have said, and says what waits, and why.
    async fn listen(&mut self) -> Result<(), EngineError> {
        for (launch, name) in self.live.values() {
            self.output.pass_on(&self.engine, *launch, name).await?;
        }
        if self.ending.is_some() {
            return Ok(());
        }
        let waiting = self.engine.waiting(self.run).await?;
        for group in waiting.iter().filter(|group| group.waited >= WORTH_A_LINE && !self.quiet) {
            // The number of those behind it changes all the time; who, and why, is news only once.
            if self.said.insert((group.block.clone(), group.reason.clone())) {
                self.output.note(&progress::waits(group));
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
            self.ending = Some(Exit::OutOfReach);
            self.engine.kill_run(self.run).await?;
        }
        Ok(())
    }
}

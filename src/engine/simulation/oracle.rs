//! What truly happened, and what must be true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::cluster::short_id;
use super::faulty_store::Disk;
use borges_mesos::StatusUpdate;
use borges_mesos::status::condition;
use borges_store::{LoggedEvent, RunMarker, RunRecord, Snapshot, Store, TaskEvent, TaskRecord};
use borges_task::{
    BackoffTimer, Condition, Constraint, DependencyKind, Ensure, LaunchId, OnPartition, RetryLimit, RunId,
    State, TaskId, TaskSpec, index_of,
};

/// How a launch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with this code.
    Exit(i32),
    /// It can never start.
    Refused,
    /// By the cluster's doing.
    InfraFailure,
    /// Because it was told to.
    Killed,
    /// With its machine.
    Vanished,
    /// Before it began: its machine could not start it.
    NotStarted,
}

#[derive(Debug)]
struct ActualLaunch {
    /// How it is meant to end.
    meant: End,
    started: Option<Duration>,
    ended: Option<(Duration, End)>,
}

/// A pause that is over ends within this time.
const PROMPT: Duration = Duration::from_secs(2);

/// In calm weather a kill is carried out within this time.
const SOON: Duration = Duration::from_mins(5);

impl ActualLaunch {
    fn is_alive(&self) -> bool {
        self.started.is_some() && self.ended.is_none()
    }
}

/// All that happened.
pub(super) struct Oracle {
    disk: Disk,
    pub(super) story: Vec<String>,
    pub(super) faults: Vec<String>,
    runs: BTreeMap<RunId, Arc<RunRecord>>,
    launches: BTreeMap<LaunchId, ActualLaunch>,
    /// Runs whose acceptance was answered.
    accepted: BTreeSet<RunId>,
    /// Tasks that somebody wanted dead, and since when.
    killed: BTreeMap<TaskId, Duration>,
    /// When the weather clears up: from then on what is wanted happens soon.
    calm: Duration,
    /// Tasks of which nobody can tell how a launch ended: its machine was gone before it was told.
    uncertain: BTreeSet<TaskId>,
    /// When the server started last.
    began: Duration,
    /// The number of the last entry that was heard.
    pub(super) heard: u64,
    pub(super) ended: BTreeSet<RunId>,
}

impl Oracle {
    pub(super) fn new(disk: Disk, calm: Duration) -> Self {
        Self {
            disk,
            story: Vec::new(),
            faults: Vec::new(),
            runs: BTreeMap::new(),
            launches: BTreeMap::new(),
            accepted: BTreeSet::new(),
            killed: BTreeMap::new(),
            calm,
            uncertain: BTreeSet::new(),
            began: Duration::ZERO,
            heard: 0,
            ended: BTreeSet::new(),
        }
    }

    pub(super) fn log(&mut self, now: Duration, words: impl FnOnce() -> String) {
        self.story.push(format!("{:9.3}  {}", now.as_secs_f64(), words()));
    }

    fn fault(&mut self, words: String) {
        self.story.push(format!("           WRONG: {words}"));
        self.faults.push(words);
    }

    fn contents(&self) -> Snapshot {
        self.disk.store().load().unwrap()
    }

    fn run(&mut self, id: RunId) -> Arc<RunRecord> {
        if let Some(run) = self.runs.get(&id) {
            return run.clone();
        }
        let run = self.contents().runs.into_iter().find(|run| run.id == id).map(Arc::new);
        let run = run.expect("a run that is launched is on disk");
        self.runs.insert(id, run.clone());
        run
    }

    fn spec(&mut self, task: TaskId) -> Arc<TaskSpec> {
        self.run(task.run).tasks[index_of(task.number).unwrap()].clone()
    }

    fn record(&self, task: TaskId) -> Option<TaskRecord> {
        self.disk.store().task(task).unwrap()
    }

    /// How a launch that is accepted now is to end.
    pub(super) fn end_of(&mut self, id: &str, rng: &mut fastrand::Rng) -> End {
        let launch: LaunchId = id.parse().unwrap();
        let meant = match rng.u32(0..100) {
            0..55 => End::Exit(0),
            55..75 => End::Exit(1),
            75..85 => End::Exit(3),
            85..92 => End::Exit(75),
            92..99 => End::InfraFailure,
            _ => End::Refused,
        };
        self.launches.insert(launch, ActualLaunch { meant, started: None, ended: None });
        meant
    }

    /// A launch that is accepted now is to end like this.
    pub(super) fn script_end(&mut self, id: &str, meant: End) {
        self.launches.insert(id.parse().unwrap(), ActualLaunch { meant, started: None, ended: None });
    }

    /// How long it runs.
    pub(super) fn runs_for(&mut self, id: &str, rng: &mut fastrand::Rng) -> Duration {
        let launch: LaunchId = id.parse().unwrap();
        let scale = match self.spec(launch.task).policy.ensure {
            Ensure::Finishes => 3.0,
            Ensure::KeepsRunning => 60.0,
        };
        Duration::from_secs_f64(scale * 10_f64.powf(rng.f64() * 2.0 - 1.0))
    }

    pub(super) fn end(&self, id: &str) -> Option<End> {
        self.launches.get(&id.parse().ok()?).and_then(|truth| truth.ended).map(|(_, end)| end)
    }

    /// What a command executor says of the end of a launch.
    pub(super) fn message(&self, id: &str) -> Option<String> {
        match self.end(id)? {
            End::Exit(code) => Some(format!("Command exited with status {code}")),
            _ => None,
        }
    }

    pub(super) fn started(&mut self, now: Duration, id: &str) {
        self.log(now, || format!("{} runs", short_id(id)));
        let launch: LaunchId = id.parse().unwrap();
        let policy = self.spec(launch.task).policy.clone();
        let tries = self.launches.range(launch.task.launch(0)..=launch.task.launch(u32::MAX));
        let alive: Vec<_> = tries.filter(|(_, truth)| truth.is_alive()).map(|(id, _)| *id).collect();
        if policy.on_partition != OnPartition::Replace
            && let Some(other) = alive.first()
        {
            self.fault(format!("{} starts while {} runs", short_id(id), short_id(&other.to_string())));
        }
        for edge in self.run(launch.task.run).edges.iter().filter(|edge| edge.to == launch.task.number) {
            let from = launch.task.run.task(edge.from);
            let ensure = self.spec(from).policy.ensure;
            let state = self.record(from).map(|task| task.state);
            let met = match (edge.requirement, ensure) {
                (DependencyKind::Completed, _) => state.is_some_and(State::is_terminal),
                (DependencyKind::Succeeded, Ensure::Finishes) => state == Some(State::Finished),
                (DependencyKind::Succeeded, Ensure::KeepsRunning) => state.is_some(),
            };
            if !met {
                self.fault(format!("{} starts while {} is {state:?}", short_id(id), edge.from));
            }
        }
        if let Some(truth) = self.launches.get_mut(&launch) {
            truth.started = Some(now);
        }
    }

    /// A launch has started on an agent where these run: `hostname:UNIQUE` must hold. Who is not waited for in a
    /// partition may be there still.
    pub(super) fn stands_beside(&mut self, id: &str, neighbours: &[String]) {
        let is_waited_for = |spec: &TaskSpec| spec.policy.on_partition == OnPartition::Wait;
        let launch: LaunchId = id.parse().unwrap();
        let mine = self.spec(launch.task);
        let is_alone = |constraint: &Constraint| constraint.to_string() == "hostname:UNIQUE";
        if !mine.requirements.as_ref().is_some_and(|wishes| wishes.constraints.iter().any(is_alone)) {
            return;
        }
        for other in neighbours {
            let peer: LaunchId = other.parse().unwrap();
            let theirs = self.spec(peer.task);
            if peer.task.run == launch.task.run
                && peer.task != launch.task
                && theirs.requirements == mine.requirements
                && is_waited_for(&mine)
                && is_waited_for(&theirs)
            {
                self.fault(format!("{} is to be alone, and {} is there", short_id(id), short_id(other)));
            }
        }
    }

    pub(super) fn ended(&mut self, now: Duration, id: &str, end: End) {
        self.log(now, || format!("{} ends: {end:?}", short_id(id)));
        let launch: LaunchId = id.parse().unwrap();
        let asked = self.killed.get(&launch.task).map(|&asked| asked.max(self.calm));
        if let Some(late) = asked.and_then(|asked| now.checked_sub(asked + SOON)) {
            self.fault(format!("{} was to be killed, and ends {} s late", short_id(id), late.as_secs()));
        }
        if let Some(truth) = self.launches.get_mut(&launch) {
            truth.ended = Some((now, end));
        }
    }

    /// How a launch was meant to end.
    pub(super) fn exit_file(&self, id: &str) -> Option<String> {
        match self.end(id)? {
            End::Exit(code) => Some(format!("{code}\n")),
            End::Killed => Some("143\n".to_owned()),
            End::Refused | End::InfraFailure | End::Vanished | End::NotStarted => None,
        }
    }

    pub(super) fn is_uncertain(&mut self, id: &str) {
        let launch: LaunchId = id.parse().unwrap();
        self.uncertain.insert(launch.task);
    }

    pub(super) fn accepted(&mut self, run: RunId) {
        self.accepted.insert(run);
    }

    pub(super) fn kill_asked(&mut self, now: Duration, task: TaskId) {
        self.killed.entry(task).or_insert(now);
    }

    pub(super) fn run_kill_asked(&mut self, now: Duration, run: RunId) {
        let tasks = u32::try_from(self.run(run).tasks.len()).unwrap();
        (1..=tasks).for_each(|number| self.kill_asked(now, run.task(number)));
    }

    /// The scheduler accepts an offer for these launches.
    pub(super) fn accepts(&mut self, launches: &[(String, String)]) {
        for (launch, agent) in launches {
            let meant = self.disk.store().intent(launch.parse().unwrap()).cloned();
            if meant.as_ref().is_none_or(|meant| meant.agent.as_ref() != Some(agent)) {
                self.fault(format!("{} is accepted on {agent}, and saved is {meant:?}", short_id(launch)));
            }
        }
    }

    /// The scheduler acknowledges this update.
    pub(super) fn acknowledges(&mut self, update: &StatusUpdate) {
        let launch: LaunchId = update.launch.parse().unwrap();
        let record = self.record(launch.task);
        let attempt = record.as_ref().map_or(0, |task| task.history.attempt);
        let state = record.map(|task| task.state);
        let is_known = match condition(update) {
            // Nothing of it is kept.
            Condition::Starting | Condition::Killing | Condition::Lost => true,
            Condition::Running => attempt >= launch.attempt,
            Condition::Finished
            | Condition::Failed
            | Condition::Killed
            | Condition::Rejected
            | Condition::Gone => {
                let is_over = state.is_some_and(|state| {
                    state.is_terminal() || matches!(state, State::Queued | State::Delayed)
                });
                attempt > launch.attempt || attempt == launch.attempt && is_over
            }
        };
        // A launch that was on its way when its task was killed, and is killed as it appears: nothing of it is kept.
        let is_late = state == Some(State::Killed)
            && attempt + 1 == launch.attempt
            && self.disk.store().intent(launch).is_some();
        if !is_known && !is_late {
            let name = update.state.name();
            let saved = format!("launch {attempt}, {state:?}");
            self.fault(format!("{} {name} is acknowledged, and saved is {saved}", short_id(&update.launch)));
        }
    }

    /// A follower hears this.
    pub(super) fn on_event(&mut self, entry: &LoggedEvent) {
        let saved = self.disk.store().events(entry.seq() - 1).unwrap().into_iter().next();
        if saved.as_ref() != Some(entry) {
            self.fault(format!("told is {entry:?}, saved is {saved:?}"));
        }
        if entry.seq() != self.heard + 1 {
            self.fault(format!("after entry {} comes {}", self.heard, entry.seq()));
        }
        self.heard = entry.seq();
        match entry {
            LoggedEvent::Run(ended) => drop(self.ended.insert(ended.run)),
            LoggedEvent::Task(frame) if frame.state == State::Queued => self.resumes(frame),
            LoggedEvent::Task(_) => {}
        }
    }

    /// A server starts.
    pub(super) fn on_process_start(&mut self, now: Duration) {
        self.began = now;
    }

    /// A task waits for an offer: if it was delayed, the pause that was saved is over, and has just been so.
    fn resumes(&mut self, frame: &TaskEvent) {
        let Some(task) = self
            .record(frame.task)
            .filter(|task| task.state == State::Delayed && task.history.attempt == frame.attempt)
        else {
            return;
        };
        let Some(BackoffTimer { deadline, .. }) = task.pause else {
            return self.fault(format!("{} is delayed, and nobody knows for how long", task.id));
        };
        let name = short_id(&task.id.launch(frame.attempt).to_string()).to_owned();
        let began = Timestamp::UNIX_EPOCH.saturating_add(self.began).unwrap();
        if frame.time < deadline {
            self.fault(format!("{name} was to pause until {deadline}, and is queued at {}", frame.time));
        }
        if frame.time > deadline.max(began) + PROMPT {
            self.fault(format!("{name} was to pause until {deadline} only, and is queued at {}", frame.time));
        }
    }

    /// A life is over: what was promised is on disk.
    pub(super) fn on_process_exit(&mut self) {
        let contents = self.contents();
        let lost = self.accepted.iter().find(|id| !contents.runs.iter().any(|run| run.id == **id)).copied();
        if let Some(lost) = lost {
            self.fault(format!("run {lost} was accepted, and is lost"));
        }
        for (run, mark) in contents.run_markers {
            if matches!(mark, RunMarker::Ended { .. }) {
                self.ended.insert(run);
            }
        }
    }

    /// Whether every accepted run has ended.
    pub(super) fn all_ended(&self) -> bool {
        self.accepted.iter().all(|run| self.ended.contains(run))
    }

    /// All is over: every task must have come to what truly became of it.
    pub(super) fn check_final_state(&mut self) {
        for run in self.contents().runs {
            for spec in &run.tasks {
                self.judge_task(run.id.task(spec.number), spec);
            }
        }
    }

    fn judge_task(&mut self, id: TaskId, spec: &TaskSpec) {
        let name = short_id(&id.launch(0).to_string()).trim_end_matches(".0").to_owned();
        let Some(task) = self.record(id) else {
            self.fault(format!("{name} never came to anything"));
            return;
        };
        let tries: Vec<(u32, End)> = self
            .launches
            .range(id.launch(0)..=id.launch(u32::MAX))
            .filter_map(|(launch, truth)| Some((launch.attempt, truth.ended.map(|(_, end)| end)?)))
            .collect();
        let own = |end: &End| match (end, spec.policy.ensure) {
            (End::Exit(0), Ensure::Finishes) => false,
            (End::Exit(_) | End::NotStarted, _) => true,
            _ => false,
        };
        let own_failures = tries.iter().filter(|(_, end)| own(end)).count();
        let refused = self
            .launches
            .get(&id.launch(task.history.attempt))
            .is_some_and(|truth| truth.meant == End::Refused);
        let last = tries.iter().find(|(attempt, _)| *attempt == task.history.attempt).map(|(_, end)| *end);
        let mut wrong = Vec::new();
        match task.state {
            State::Finished => {
                if last != Some(End::Exit(0)) || task.history.exit_code != Some(0) {
                    wrong.push("it did not finish well".to_owned());
                }
            }
            State::Failed => {
                let spent = match spec.policy.retry {
                    RetryLimit::Limited(tries) => own_failures > tries as usize,
                    RetryLimit::Unlimited => false,
                };
                let not_again = match last {
                    Some(End::Exit(code)) => {
                        !spec.policy.retry_on.is_empty() && !spec.policy.retry_on.contains(&code)
                    }
                    // It has no code.
                    Some(End::NotStarted) => !spec.policy.retry_on.is_empty(),
                    _ => false,
                };
                let given_up = spec.policy.on_partition == OnPartition::Fail;
                if !(spent || not_again || refused || given_up) {
                    wrong.push("it had tries left".to_owned());
                }
                if let Some(End::Exit(code)) = last
                    && !given_up
                    && task.history.exit_code != Some(code)
                {
                    wrong.push(format!("its exit code was {code}"));
                }
            }
            State::Killed => {
                if !self.killed.contains_key(&id) {
                    wrong.push("nobody killed it".to_owned());
                }
            }
            State::Skipped => {
                if !tries.is_empty() {
                    wrong.push("it ran".to_owned());
                }
            }
            state => wrong.push(format!("it is {state} still")),
        }
        let counted = task.history.failures as usize;
        let exact = spec.policy.on_partition == OnPartition::Wait
            && !self.killed.contains_key(&id)
            && !self.uncertain.contains(&id);
        // A block whose last failure is not worth another try is not charged for it.
        let off = own_failures.abs_diff(counted);
        if exact && off > usize::from(task.state == State::Failed && !spec.policy.retry_on.is_empty()) {
            wrong.push(format!("it failed {own_failures} times, and {counted} were counted"));
        }
        for words in wrong {
            self.fault(format!("{name}, {}: {words} ({:?}, tries {tries:?})", task.state, task.history));
        }
    }
}

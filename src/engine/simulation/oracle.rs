//! The oracle: records what truly happened in a simulated run and checks the invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::cluster::short_id;
use super::faulty_store::Disk;
use super::invariants::{Invariant, Violation};
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
    /// With this exit code.
    Exit(i32),
    /// The task is invalid and never starts.
    Refused,
    /// By a failure of the cluster.
    InfraFailure,
    /// By a kill.
    Killed,
    /// With its agent.
    Vanished,
    /// Before its start: the agent could not start it.
    NotStarted,
}

/// The history of a launch.
#[derive(Debug)]
struct LaunchHistory {
    /// How the launch ends, unless it is killed or its agent fails.
    planned_end: End,
    started: Option<Duration>,
    ended: Option<(Duration, End)>,
}

/// A task is queued within this time after its backoff.
const BACKOFF_TOLERANCE: Duration = Duration::from_secs(2);

/// Without faults, a killed launch ends within this time.
const KILL_TIME_LIMIT: Duration = Duration::from_mins(5);

impl LaunchHistory {
    fn is_active(&self) -> bool {
        self.started.is_some() && self.ended.is_none()
    }
}

/// The record of a simulated run.
pub(super) struct Oracle {
    disk: Disk,
    pub(super) trace: Vec<String>,
    pub(super) violations: Vec<Violation>,
    runs: BTreeMap<RunId, Arc<RunRecord>>,
    launches: BTreeMap<LaunchId, LaunchHistory>,
    /// Runs whose submission was answered.
    accepted: BTreeSet<RunId>,
    /// Tasks that were killed, and when.
    kill_requests: BTreeMap<TaskId, Duration>,
    /// The time after which no faults are injected.
    faults_end: Duration,
    /// Tasks with a launch whose end is unknown, because its agent was gone before it reported.
    uncertain: BTreeSet<TaskId>,
    /// When the current process started.
    process_start: Duration,
    /// The sequence number of the last published event.
    pub(super) last_seq: u64,
    pub(super) ended: BTreeSet<RunId>,
}

impl Oracle {
    pub(super) fn new(disk: Disk, faults_end: Duration) -> Self {
        Self {
            disk,
            trace: Vec::new(),
            violations: Vec::new(),
            runs: BTreeMap::new(),
            launches: BTreeMap::new(),
            accepted: BTreeSet::new(),
            kill_requests: BTreeMap::new(),
            faults_end,
            uncertain: BTreeSet::new(),
            process_start: Duration::ZERO,
            last_seq: 0,
            ended: BTreeSet::new(),
        }
    }

    pub(super) fn log(&mut self, now: Duration, text: impl FnOnce() -> String) {
        self.trace.push(format!("{:9.3}  {}", now.as_secs_f64(), text()));
    }

    pub(super) fn violation(&mut self, invariant: Invariant, message: impl Into<String>) {
        let violation = Violation::new(invariant, message);
        self.trace.push(format!("           WRONG: {violation}"));
        self.violations.push(violation);
    }

    fn snapshot(&self) -> Snapshot {
        self.disk.store().load().unwrap()
    }

    fn run(&mut self, id: RunId) -> Arc<RunRecord> {
        if let Some(run) = self.runs.get(&id) {
            return run.clone();
        }
        let run = self.snapshot().runs.into_iter().find(|run| run.id == id).map(Arc::new);
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

    /// Draws the end of a launch that is accepted now.
    pub(super) fn plan_end(&mut self, id: &str, rng: &mut fastrand::Rng) -> End {
        let launch: LaunchId = id.parse().unwrap();
        let planned_end = match rng.u32(0..100) {
            0..55 => End::Exit(0),
            55..75 => End::Exit(1),
            75..85 => End::Exit(3),
            85..92 => End::Exit(75),
            92..99 => End::InfraFailure,
            _ => End::Refused,
        };
        self.launches.insert(launch, LaunchHistory { planned_end, started: None, ended: None });
        planned_end
    }

    /// Sets the end of a launch that is accepted now.
    pub(super) fn script_end(&mut self, id: &str, planned_end: End) {
        self.launches.insert(id.parse().unwrap(), LaunchHistory { planned_end, started: None, ended: None });
    }

    /// Draws the run time of a launch.
    pub(super) fn run_time(&mut self, id: &str, rng: &mut fastrand::Rng) -> Duration {
        let launch: LaunchId = id.parse().unwrap();
        let scale = match self.spec(launch.task).policy.ensure {
            Ensure::Finishes => 3.0,
            Ensure::KeepsRunning => 60.0,
        };
        Duration::from_secs_f64(scale * 10_f64.powf(rng.f64() * 2.0 - 1.0))
    }

    pub(super) fn end(&self, id: &str) -> Option<End> {
        self.launches.get(&id.parse().ok()?).and_then(|history| history.ended).map(|(_, end)| end)
    }

    /// The message of the command executor about the end of a launch.
    pub(super) fn executor_message(&self, id: &str) -> Option<String> {
        match self.end(id)? {
            End::Exit(code) => Some(format!("Command exited with status {code}")),
            _ => None,
        }
    }

    pub(super) fn on_launch_started(&mut self, now: Duration, id: &str) {
        self.log(now, || format!("{} runs", short_id(id)));
        let launch: LaunchId = id.parse().unwrap();
        let policy = self.spec(launch.task).policy.clone();
        let attempts = self.launches.range(launch.task.launch(0)..=launch.task.launch(u32::MAX));
        let active: Vec<_> = attempts.filter(|(_, history)| history.is_active()).map(|(id, _)| *id).collect();
        if policy.on_partition != OnPartition::Replace
            && let Some(other) = active.first()
        {
            self.violation(
                Invariant::SingleActiveLaunch,
                format!("{} starts while {} runs", short_id(id), short_id(&other.to_string())),
            );
        }
        for dependency in
            self.run(launch.task.run).edges.iter().filter(|dependency| dependency.to == launch.task.number)
        {
            let from = launch.task.run.task(dependency.from);
            let ensure = self.spec(from).policy.ensure;
            let state = self.record(from).map(|task| task.state);
            let is_met = match (dependency.requirement, ensure) {
                (DependencyKind::Completed, _) => state.is_some_and(State::is_terminal),
                (DependencyKind::Succeeded, Ensure::Finishes) => state == Some(State::Finished),
                (DependencyKind::Succeeded, Ensure::KeepsRunning) => state.is_some(),
            };
            if !is_met {
                self.violation(
                    Invariant::DependencyOrder,
                    format!("{} starts while {} is {state:?}", short_id(id), dependency.from),
                );
            }
        }
        if let Some(history) = self.launches.get_mut(&launch) {
            history.started = Some(now);
        }
    }

    /// Checks `hostname:UNIQUE` for a launch that has started on an agent where these launches are active. Tasks that are
    /// replaced in a partition may still be there.
    pub(super) fn check_peers(&mut self, id: &str, active_on_agent: &[String]) {
        let waits_in_partition = |spec: &TaskSpec| spec.policy.on_partition == OnPartition::Wait;
        let launch: LaunchId = id.parse().unwrap();
        let spec = self.spec(launch.task);
        let is_unique = |constraint: &Constraint| constraint.to_string() == "hostname:UNIQUE";
        if !spec
            .requirements
            .as_ref()
            .is_some_and(|requirements| requirements.constraints.iter().any(is_unique))
        {
            return;
        }
        for other in active_on_agent {
            let peer: LaunchId = other.parse().unwrap();
            let peer_spec = self.spec(peer.task);
            if peer.task.run == launch.task.run
                && peer.task != launch.task
                && peer_spec.requirements == spec.requirements
                && waits_in_partition(&spec)
                && waits_in_partition(&peer_spec)
            {
                self.violation(
                    Invariant::Constraints,
                    format!(
                        "{} requires a host of its own, and {} runs there",
                        short_id(id),
                        short_id(other)
                    ),
                );
            }
        }
    }

    pub(super) fn on_launch_ended(&mut self, now: Duration, id: &str, end: End) {
        self.log(now, || format!("{} ends: {end:?}", short_id(id)));
        let launch: LaunchId = id.parse().unwrap();
        let requested = self.kill_requests.get(&launch.task).map(|&requested| requested.max(self.faults_end));
        if let Some(delay) = requested.and_then(|requested| now.checked_sub(requested + KILL_TIME_LIMIT)) {
            self.violation(
                Invariant::TimelyKill,
                format!("{} was killed and ends {} s late", short_id(id), delay.as_secs()),
            );
        }
        if let Some(history) = self.launches.get_mut(&launch) {
            history.ended = Some((now, end));
        }
    }

    /// The content of the exit file of a launch.
    pub(super) fn exit_file(&self, id: &str) -> Option<String> {
        match self.end(id)? {
            End::Exit(code) => Some(format!("{code}\n")),
            End::Killed => Some("143\n".to_owned()),
            End::Refused | End::InfraFailure | End::Vanished | End::NotStarted => None,
        }
    }

    pub(super) fn mark_uncertain(&mut self, id: &str) {
        let launch: LaunchId = id.parse().unwrap();
        self.uncertain.insert(launch.task);
    }

    pub(super) fn on_run_accepted(&mut self, run: RunId) {
        self.accepted.insert(run);
    }

    pub(super) fn on_kill_task(&mut self, now: Duration, task: TaskId) {
        self.kill_requests.entry(task).or_insert(now);
    }

    pub(super) fn on_kill_run(&mut self, now: Duration, run: RunId) {
        let tasks = u32::try_from(self.run(run).tasks.len()).unwrap();
        (1..=tasks).for_each(|number| self.on_kill_task(now, run.task(number)));
    }

    /// The scheduler accepts offers for these launches.
    pub(super) fn on_accept(&mut self, launches: &[(String, String)]) {
        for (launch, agent) in launches {
            let intent = self.disk.store().intent(launch.parse().unwrap()).cloned();
            if intent.as_ref().is_none_or(|intent| intent.agent.as_ref() != Some(agent)) {
                let message = format!("{} is accepted on {agent}, stored is {intent:?}", short_id(launch));
                self.violation(Invariant::IntentBeforeAccept, message);
            }
        }
    }

    /// The scheduler acknowledges this update.
    pub(super) fn on_acknowledge(&mut self, update: &StatusUpdate) {
        let launch: LaunchId = update.launch.parse().unwrap();
        let record = self.record(launch.task);
        let attempt = record.as_ref().map_or(0, |task| task.history.attempt);
        let state = record.map(|task| task.state);
        let is_stored = match condition(update) {
            // The store does not record it.
            Condition::Starting | Condition::Killing | Condition::Lost => true,
            Condition::Running => attempt >= launch.attempt,
            Condition::Finished
            | Condition::Failed
            | Condition::Killed
            | Condition::Rejected
            | Condition::Gone => {
                let has_ended = state.is_some_and(|state| {
                    state.is_terminal() || matches!(state, State::Queued | State::Delayed)
                });
                attempt > launch.attempt || attempt == launch.attempt && has_ended
            }
        };
        // A launch in flight when its task was killed is killed when it appears. It is not stored.
        let is_late = state == Some(State::Killed)
            && attempt + 1 == launch.attempt
            && self.disk.store().intent(launch).is_some();
        if !is_stored && !is_late {
            let name = update.state.name();
            let launch = short_id(&update.launch);
            let message = format!("{launch} {name} is acknowledged, stored is launch {attempt}, {state:?}");
            self.violation(Invariant::PersistBeforeAcknowledge, message);
        }
    }

    /// A subscriber receives an event.
    pub(super) fn on_event(&mut self, event: &LoggedEvent) {
        let stored = self.disk.store().events(event.seq() - 1).unwrap().into_iter().next();
        if stored.as_ref() != Some(event) {
            let message = format!("published is {event:?}, stored is {stored:?}");
            self.violation(Invariant::PersistBeforePublish, message);
        }
        if event.seq() != self.last_seq + 1 {
            let message = format!("event {} follows event {}", event.seq(), self.last_seq);
            self.violation(Invariant::ConsecutiveEvents, message);
        }
        self.last_seq = event.seq();
        match event {
            LoggedEvent::Run(ended) => drop(self.ended.insert(ended.run)),
            LoggedEvent::Task(event) if event.state == State::Queued => self.check_backoff(event),
            LoggedEvent::Task(_) => {}
        }
    }

    /// A server process starts.
    pub(super) fn on_process_start(&mut self, now: Duration) {
        self.process_start = now;
    }

    /// Checks that a delayed task is queued at the stored end of its backoff.
    fn check_backoff(&mut self, event: &TaskEvent) {
        let Some(task) = self
            .record(event.task)
            .filter(|task| task.state == State::Delayed && task.history.attempt == event.attempt)
        else {
            return;
        };
        let Some(BackoffTimer { deadline, .. }) = task.pause else {
            let message = format!("{} is delayed, and no backoff is stored", task.id);
            return self.violation(Invariant::BackoffNotShortened, message);
        };
        let name = short_id(&task.id.launch(event.attempt).to_string()).to_owned();
        let process_start = Timestamp::UNIX_EPOCH.saturating_add(self.process_start).unwrap();
        if event.time < deadline {
            let message = format!("{name} is delayed until {deadline}, and is queued at {}", event.time);
            self.violation(Invariant::BackoffNotShortened, message);
        }
        if event.time > deadline.max(process_start) + BACKOFF_TOLERANCE {
            let message =
                format!("{name} is delayed until {deadline}, and is queued late, at {}", event.time);
            self.violation(Invariant::BackoffNotExtended, message);
        }
    }

    /// A server process has ended: accepted runs are stored.
    pub(super) fn on_process_exit(&mut self) {
        let snapshot = self.snapshot();
        let lost = self.accepted.iter().find(|id| !snapshot.runs.iter().any(|run| run.id == **id)).copied();
        if let Some(lost) = lost {
            let message = format!("run {lost} was accepted, and is not stored");
            self.violation(Invariant::AcceptedRunIsStored, message);
        }
        for (run, mark) in snapshot.run_markers {
            if matches!(mark, RunMarker::Ended { .. }) {
                self.ended.insert(run);
            }
        }
    }

    /// Whether every accepted run has ended.
    pub(super) fn all_ended(&self) -> bool {
        self.accepted.iter().all(|run| self.ended.contains(run))
    }

    /// The simulation is over: the state of each task agrees with the ends of its launches.
    pub(super) fn check_final_state(&mut self) {
        for run in self.snapshot().runs {
            for spec in &run.tasks {
                self.check_task(run.id.task(spec.number), spec);
            }
        }
    }

    fn check_task(&mut self, id: TaskId, spec: &TaskSpec) {
        let name = short_id(&id.launch(0).to_string()).trim_end_matches(".0").to_owned();
        let Some(task) = self.record(id) else {
            self.violation(Invariant::FinalState, format!("{name} has never changed its state"));
            return;
        };
        let attempts: Vec<(u32, End)> = self
            .launches
            .range(id.launch(0)..=id.launch(u32::MAX))
            .filter_map(|(launch, history)| Some((launch.attempt, history.ended.map(|(_, end)| end)?)))
            .collect();
        let is_own_failure = |end: &End| match (end, spec.policy.ensure) {
            (End::Exit(0), Ensure::Finishes) => false,
            (End::Exit(_) | End::NotStarted, _) => true,
            _ => false,
        };
        let own_failures = attempts.iter().filter(|(_, end)| is_own_failure(end)).count();
        let refused = self
            .launches
            .get(&id.launch(task.history.attempt))
            .is_some_and(|history| history.planned_end == End::Refused);
        let last = attempts.iter().find(|(attempt, _)| *attempt == task.history.attempt).map(|(_, end)| *end);
        let mut problems = Vec::new();
        match task.state {
            State::Finished => {
                if last != Some(End::Exit(0)) || task.history.exit_code != Some(0) {
                    problems.push((Invariant::FinalState, "its last launch did not succeed".to_owned()));
                }
            }
            State::Failed => {
                let is_exhausted = match spec.policy.retry {
                    RetryLimit::Limited(attempts) => own_failures > attempts as usize,
                    RetryLimit::Unlimited => false,
                };
                let is_not_retried = match last {
                    Some(End::Exit(code)) => {
                        !spec.policy.retry_on.is_empty() && !spec.policy.retry_on.contains(&code)
                    }
                    // Such a launch has no exit code.
                    Some(End::NotStarted) => !spec.policy.retry_on.is_empty(),
                    _ => false,
                };
                let is_given_up = spec.policy.on_partition == OnPartition::Fail;
                if !(is_exhausted || is_not_retried || refused || is_given_up) {
                    problems.push((Invariant::FinalState, "it had tries left".to_owned()));
                }
                if let Some(End::Exit(code)) = last
                    && !is_given_up
                    && task.history.exit_code != Some(code)
                {
                    problems.push((Invariant::FinalState, format!("its exit code was {code}")));
                }
            }
            State::Killed => {
                if !self.kill_requests.contains_key(&id) {
                    problems.push((Invariant::FinalState, "it was not killed".to_owned()));
                }
            }
            State::Skipped => {
                if !attempts.is_empty() {
                    problems.push((Invariant::FinalState, "it was launched".to_owned()));
                }
            }
            state => problems.push((Invariant::FinalState, format!("it is still {state}"))),
        }
        let counted = task.history.failures as usize;
        let is_exact = spec.policy.on_partition == OnPartition::Wait
            && !self.kill_requests.contains_key(&id)
            && !self.uncertain.contains(&id);
        // A last failure that is not retried is not counted.
        let difference = own_failures.abs_diff(counted);
        if is_exact
            && difference > usize::from(task.state == State::Failed && !spec.policy.retry_on.is_empty())
        {
            let problem = format!("it failed {own_failures} times, and {counted} were counted");
            problems.push((Invariant::FailureCount, problem));
        }
        for (invariant, problem) in problems {
            let (state, history) = (task.state, task.history);
            self.violation(
                invariant,
                format!("{name}, {state}: {problem} ({history:?}, tries {attempts:?})"),
            );
        }
    }
}

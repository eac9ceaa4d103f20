use std::fmt::Write as _;

use bytes::Bytes;

use super::updates::serial_of;
use super::*;
use crate::limits::{LimitExceeded, Stream};
use borges_mesos::calls;
use borges_mesos::messages::framework_info::{Capability, capability};
use borges_mesos::messages::scheduler::Call;
use borges_mesos::messages::{CommandInfo, DurationInfo, FrameworkInfo, KillPolicy, TaskId, TaskInfo};

/// A state machine of 4 cpus and 1000 MiB, and a log of what was said and done.
struct Play {
    agent: Agent,
    at: Duration,
    log: String,
    /// The last offer of each peer.
    offers: BTreeMap<ClientId, String>,
    /// The uuid of the last update of each launch, and of the one before it.
    uuids: BTreeMap<String, Vec<Bytes>>,
    keys: BTreeMap<String, u64>,
}

impl Play {
    fn new() -> Self {
        Self::with(false)
    }

    fn with(end_with_client: bool) -> Self {
        let incarnation = Uuid::from_u64_pair(1, 2);
        let identity = Identity { agent: "local".into(), hostname: "h".into(), incarnation };
        let all = Quantities { milli_cpus: 4000, mem_mib: 1000, ..Quantities::default() };
        let now = Timestamps { elapsed: Duration::ZERO, wall: 0.0 };
        Self {
            agent: Agent::new(identity, all, end_with_client, now),
            at: Duration::ZERO,
            log: String::new(),
            offers: BTreeMap::new(),
            uuids: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    fn now(&self) -> Timestamps {
        Timestamps { elapsed: self.at, wall: self.at.as_secs_f64() }
    }

    /// Does something, and logs what follows from it.
    fn does(&mut self, what: &str, act: impl FnOnce(&mut Agent, Timestamps, &mut Vec<Action>)) {
        let (now, mut out) = (self.now(), Vec::new());
        writeln!(self.log, "{what}").unwrap();
        act(&mut self.agent, now, &mut out);
        self.agent.send_offers(now, &mut out);
        for action in out {
            let line = self.line(action);
            writeln!(self.log, "    {line}").unwrap();
        }
    }

    fn line(&mut self, action: Action) -> String {
        match action {
            Action::Send(peer, event) => format!("{peer} < {}", self.event(peer, *event)),
            Action::Close(peer) => format!("{peer} closed"),
            Action::Launch(launch) => {
                self.keys.insert(launch.id.to_string(), launch.key);
                format!("start {} {:?}", launch.id, launch.work.arguments)
            }
            Action::Signal(key, force) => format!("signal {} {force:?}", self.name(key)),
            Action::RecordStop(key, stop) => format!("mark {} {stop:?}", self.name(key)),
            Action::LookUpLaunch(_, launch) => format!("recall {launch}"),
            Action::Shutdown => "finish".to_owned(),
        }
    }

    fn name(&self, key: u64) -> &str {
        self.keys.iter().find(|(_, other)| **other == key).map_or("?", |(name, _)| name)
    }

    fn event(&mut self, peer: ClientId, event: Event) -> String {
        let name = event.r#type().as_str_name();
        if let Some(subscribed) = event.subscribed {
            return format!("{name} {}", subscribed.framework_id.value);
        }
        if let Some(error) = event.error {
            return format!("{name} {}", error.message);
        }
        if let Some(offers) = event.offers {
            let offer = &offers.offers[0];
            self.offers.insert(peer, offer.id.value.clone());
            let amounts = Quantities::of(&offer.resources);
            return format!("{name} cpus {} mem {}", amounts.milli_cpus, amounts.mem_mib);
        }
        let Some(update) = event.update else { return name.to_owned() };
        let status = update.status;
        let launch = status.task_id.value.clone();
        let mut line = format!("{name} {launch} {}", status.state().as_str_name());
        if let Some(uuid) = status.uuid.clone() {
            write!(line, " #{}", serial_of(&self.agent.identity, &uuid).unwrap()).unwrap();
            self.uuids.entry(launch).or_default().push(uuid);
        }
        if status.reason.is_some() {
            write!(line, " {}", status.reason().as_str_name()).unwrap();
        }
        if let Some(message) = &status.message {
            write!(line, " \"{message}\"").unwrap();
        }
        for resource in status.limitation.iter().flat_map(|limitation| &limitation.resources) {
            write!(line, ", at {} {}", resource.name, resource.scalar.unwrap().value).unwrap();
        }
        line
    }

    fn subscribe(&mut self, peer: ClientId, info: FrameworkInfo) {
        self.does(&format!("{peer} SUBSCRIBE"), |agent, now, out| {
            agent.connected(peer);
            agent.call(peer, calls::subscribe(info, vec![]), now, out);
        });
    }

    fn call(&mut self, peer: ClientId, call: Call) {
        let what = format!("{peer} {}", call.r#type().as_str_name());
        self.does(&what, |agent, now, out| agent.call(peer, call, now, out));
    }

    fn accept(&mut self, peer: ClientId, tasks: Vec<TaskInfo>, refuse: Option<u64>) {
        let offer = self.offers[&peer].clone();
        self.call(peer, calls::accept("f", [offer], tasks, refuse.map(Duration::from_secs)));
    }

    /// All that was started reports that it runs.
    fn runs(&mut self, launch: &str) {
        let key = self.keys[launch];
        self.does(&format!("{launch} runs"), |agent, now, out| {
            agent.started(key, StartReport::Running, now, out);
        });
    }

    fn ends(&mut self, launch: &str, exit: Exit) {
        let key = self.keys[launch];
        self.does(&format!("{launch} {exit}"), |agent, now, out| agent.ended(key, exit, None, now, out));
    }

    /// Acknowledges the last update of a launch.
    fn acknowledge(&mut self, peer: ClientId, launch: &str) {
        let uuid = self.uuids[launch].last().unwrap().clone();
        let mut call = calls::kill("f", launch, None, None);
        call.r#type = Some(borges_mesos::messages::scheduler::call::Type::Acknowledge as i32);
        call.acknowledge = Some(borges_mesos::messages::scheduler::call::Acknowledge {
            agent_id: AgentId { value: "local".into() },
            task_id: TaskId { value: launch.into() },
            uuid,
        });
        self.call(peer, call);
    }

    /// Lets time pass, as the shell does: from tick to tick.
    fn pass(&mut self, seconds: u64) {
        let end = self.at + Duration::from_secs(seconds);
        while let Some(next) = self.agent.next_tick().filter(|next| *next <= end) {
            self.at = next;
            self.does(&format!("at {}s", next.as_secs_f64()), Agent::tick);
        }
        self.at = end;
    }
}

fn framework(id: &str, capabilities: &[capability::Type]) -> FrameworkInfo {
    let capabilities = capabilities.iter().map(|kind| Capability { r#type: Some(*kind as i32) }).collect();
    let id = Some(FrameworkId { value: id.to_owned() }).filter(|id| !id.value.is_empty());
    FrameworkInfo { id, capabilities, ..FrameworkInfo::default() }
}

/// What Borges is: partition aware, and glad to hear of `TASK_KILLING`.
fn able() -> FrameworkInfo {
    framework("f", &[capability::Type::PartitionAware, capability::Type::TaskKillingState])
}

fn task(id: &str, milli_cpus: u64) -> TaskInfo {
    let amounts = Quantities { milli_cpus, mem_mib: 100, ..Quantities::default() };
    TaskInfo {
        task_id: TaskId { value: id.into() },
        agent_id: AgentId { value: "local".into() },
        resources: amounts.to_resources(None),
        command: Some(CommandInfo { shell: Some(false), value: Some("sh".into()), ..CommandInfo::default() }),
        ..TaskInfo::default()
    }
}

#[test]
fn a_task_from_offer_to_end() {
    let mut play = Play::new();
    play.subscribe(1, able());
    play.accept(1, vec![task("a", 1000), task("b", 1000)], None);
    play.runs("a");
    play.runs("b");
    play.ends("a", Exit::Code(0));
    play.acknowledge(1, "a");
    play.acknowledge(1, "a");
    play.ends("b", Exit::Code(3));
    play.acknowledge(1, "b");
    play.acknowledge(1, "b");
    assert_eq!((play.agent.tasks.len(), play.agent.frameworks["f"].tasks.len()), (0, 0));
    insta::assert_snapshot!(play.log);
}

#[test]
fn updates_are_sent_again_until_they_are_acknowledged() {
    let mut play = Play::new();
    play.subscribe(1, able());
    play.accept(1, vec![task("a", 4000)], Some(1000));
    play.runs("a");
    play.ends("a", Exit::Signal(9));
    play.pass(21);
    play.acknowledge(1, "a");
    play.pass(5);
    play.does("1 closed", |agent, now, out| agent.closed(1, now, out));
    play.pass(20);
    play.subscribe(2, able());
    play.acknowledge(2, "a");
    play.pass(16);
    insta::assert_snapshot!(play.log);
}

#[test]
fn offers_are_kept_from_those_who_declined() {
    let mut play = Play::new();
    play.subscribe(1, able());
    let offer = |play: &Play| [play.offers[&1].clone()];
    // Five seconds where nobody says, then again.
    play.call(1, calls::decline("f", offer(&play), None));
    play.pass(6);
    // REVIVE lifts it; declined for no time, it is back at once.
    play.call(1, calls::decline("f", offer(&play), Some(Duration::from_secs(100))));
    play.call(1, calls::revive("f", vec![]));
    play.call(1, calls::decline("f", offer(&play), Some(Duration::ZERO)));
    // What a launch leaves is declined with it; more than that is not.
    play.accept(1, vec![task("a", 1000)], Some(100));
    play.runs("a");
    play.ends("a", Exit::Code(0));
    // No offers after SUPPRESS.
    play.call(1, calls::suppress("f", vec![]));
    play.call(1, calls::decline("f", offer(&play), Some(Duration::ZERO)));
    play.call(1, calls::revive("f", vec![]));
    insta::assert_snapshot!(play.log);
}

#[test]
fn two_frameworks_take_turns() {
    let mut play = Play::new();
    play.subscribe(1, framework("f", &[]));
    play.subscribe(2, framework("", &[]));
    let other = play.agent.peers[&2].clone().unwrap();
    let offer = play.offers[&1].clone();
    play.call(1, calls::decline("f", [offer], Some(Duration::ZERO)));
    let offer = play.offers[&2].clone();
    // An offer is of use to whom it was made only.
    play.accept(1, vec![], None);
    play.call(1, calls::decline("f", [offer.clone()], None));
    play.call(2, calls::decline(&other, [offer], Some(Duration::ZERO)));
    insta::assert_snapshot!(play.log);
}

#[test]
fn launches_that_cannot_be() {
    for info in [able(), framework("f", &[])] {
        let mut play = Play::new();
        play.subscribe(1, info);
        let used = play.offers[&1].clone();
        play.accept(1, vec![task("big", 5000), task("a", 3000), task("b", 2000), task("c", 1000)], Some(0));
        play.call(1, calls::accept("f", [used], vec![task("d", 1)], None));
        play.call(1, calls::accept("f", [], vec![task("e", 1)], None));
        let elsewhere = TaskInfo { agent_id: AgentId { value: "other".into() }, ..task("g", 1) };
        play.runs("a");
        play.ends("a", Exit::Code(0));
        play.accept(1, vec![elsewhere, task("h/i", 1), TaskInfo { command: None, ..task("j", 1) }], None);
        let name = if play.agent.frameworks["f"].able.partition_aware { "aware" } else { "unaware" };
        insta::assert_snapshot!(format!("launches_that_cannot_be_{name}"), play.log);
    }
}

#[test]
fn starts_that_fail_give_back_what_they_held() {
    let mut play = Play::new();
    play.subscribe(1, able());
    play.accept(1, vec![task("a", 1000), task("b", 1000)], Some(100));
    let (a, b) = (play.keys["a"], play.keys["b"]);
    play.does("a fails", |agent, now, out| {
        agent.started(
            a,
            StartReport::Failed(Reason::ContainerLaunchFailed, "the disk is full".into()),
            now,
            out,
        );
    });
    play.acknowledge(1, "a");
    play.does("b is a repeat", |agent, now, out| {
        agent.started(b, StartReport::AlreadyLaunched(LaunchHistory::Ended(Exit::Code(0), None)), now, out);
    });
    assert_eq!(play.agent.alive, 0);
    assert!(play.agent.tasks.is_empty());
    insta::assert_snapshot!(play.log);
}

#[test]
fn kills_escalate() {
    let mut play = Play::new();
    play.subscribe(1, able());
    let grace = Some(KillPolicy { grace_period: Some(DurationInfo { nanoseconds: 30_000_000_000 }) });
    let patient = TaskInfo { kill_policy: grace, ..task("patient", 1000) };
    play.accept(1, vec![task("a", 1000), patient, task("now", 1000)], Some(1000));
    for launch in ["a", "patient", "now"] {
        play.runs(launch);
        play.acknowledge(1, launch);
    }
    for launch in ["a", "patient"] {
        play.call(1, calls::kill("f", launch, None, None));
        play.acknowledge(1, launch);
    }
    play.call(1, calls::kill("f", "now", Some("local"), Some(Duration::ZERO)));
    play.acknowledge(1, "now");
    play.pass(6);
    // A second, shorter one shortens the first; a longer one does not lengthen it.
    play.call(1, calls::kill("f", "patient", None, Some(Duration::from_secs(2))));
    play.call(1, calls::kill("f", "patient", None, Some(Duration::from_mins(1))));
    play.pass(3);
    play.ends("a", Exit::Code(0));
    play.ends("patient", Exit::Signal(9));
    play.ends("now", Exit::Signal(9));
    play.acknowledge(1, "a");
    // The ended, the unknown, and one elsewhere.
    play.call(1, calls::kill("f", "a", None, None));
    play.call(1, calls::kill("f", "unknown", None, None));
    play.call(1, calls::kill("f", "patient", Some("other"), None));
    insta::assert_snapshot!(play.log);
}

#[test]
fn kills_without_the_capability_are_silent() {
    let mut play = Play::new();
    play.subscribe(1, framework("f", &[]));
    play.accept(1, vec![task("a", 1000)], Some(1000));
    play.runs("a");
    play.acknowledge(1, "a");
    play.call(1, calls::kill("f", "a", None, None));
    play.ends("a", Exit::Signal(15));
    insta::assert_snapshot!(play.log);
}

#[test]
fn a_task_may_run_so_long() {
    let mut play = Play::new();
    play.subscribe(1, able());
    let limit = Some(DurationInfo { nanoseconds: 3_000_000_000 });
    let slow = TaskInfo { max_completion_time: limit, ..task("slow", 1000) };
    let quick = TaskInfo { max_completion_time: limit, ..task("quick", 1000) };
    play.accept(1, vec![slow, quick], Some(1000));
    play.runs("slow");
    play.runs("quick");
    play.ends("quick", Exit::Code(0));
    play.pass(4);
    play.ends("slow", Exit::Signal(9));
    play.acknowledge(1, "slow");
    insta::assert_snapshot!(play.log);
}

#[test]
fn reconciliation_tells_what_is_known() {
    let mut play = Play::new();
    play.subscribe(1, able());
    play.accept(1, vec![task("told", 1000), task("untold", 1000)], Some(1000));
    play.runs("told");
    play.runs("untold");
    play.acknowledge(1, "told");
    play.ends("untold", Exit::Code(1));
    play.call(1, calls::reconcile("f", []));
    play.call(1, calls::reconcile("f", [("told", Some("local")), ("unknown", None), ("a/b", None)]));
    for past in [
        LaunchHistory::Never,
        LaunchHistory::NotStarted,
        LaunchHistory::Ended(Exit::Code(0), None),
        LaunchHistory::Ended(Exit::Code(143), Some(StopReason::Killed)),
        LaunchHistory::Ended(Exit::Code(137), Some(StopReason::TimedOut)),
        LaunchHistory::Ended(Exit::Code(137), Some(StopReason::LimitExceeded(LimitExceeded::Memory(64)))),
        LaunchHistory::Ended(Exit::Unknown, None),
    ] {
        play.does(&format!("{past:?}"), |agent, now, out| {
            agent.launch_looked_up("f", "unknown", past, now, out);
        });
    }
    play.subscribe(2, framework("f", &[]));
    for past in [LaunchHistory::Never, LaunchHistory::NotStarted] {
        play.does(&format!("{past:?}"), |agent, now, out| {
            agent.launch_looked_up("f", "unknown", past, now, out);
        });
    }
    insta::assert_snapshot!(play.log);
}

#[test]
fn subscriptions_follow_one_another() {
    let mut play = Play::new();
    play.subscribe(1, framework("", &[]));
    let name = play.agent.peers[&1].clone().unwrap();
    play.subscribe(2, framework(&name, &[]));
    // The first is gone: what it still says is refused, and its end means nothing.
    play.does("1 closed", |agent, now, out| agent.closed(1, now, out));
    play.call(1, calls::revive(&name, vec![]));
    play.pass(16);
    play.call(2, calls::teardown(&name));
    play.subscribe(3, framework(&name, &[]));
    play.subscribe(4, framework("../f", &[]));
    insta::assert_snapshot!(play.log);
}

#[test]
fn nonsense_ends_the_connection() {
    let mut play = Play::new();
    let nonsense = [
        Call::default(),
        Call { r#type: Some(99), ..Call::default() },
        calls::revive("f", vec![]),
        Call { subscribe: None, ..calls::subscribe(able(), vec![]) },
    ];
    for call in nonsense {
        play.call(1, call);
    }
    let unlike = [
        calls::revive("other", vec![]),
        Call { accept: None, ..calls::accept("f", [], vec![], None) },
        Call { kill: None, ..calls::kill("f", "a", None, None) },
    ];
    for (peer, call) in (2..).zip(unlike) {
        play.subscribe(peer, able());
        play.call(peer, call);
    }
    // What a master may understand and we do not is no nonsense.
    play.subscribe(9, able());
    play.call(9, calls::request("f", vec![]));
    play.call(9, calls::shutdown("f", "e", "local"));
    insta::assert_snapshot!(play.log);
}

#[test]
fn teardown_is_silent() {
    let mut play = Play::new();
    play.subscribe(1, able());
    play.accept(1, vec![task("a", 1000), task("b", 1000)], Some(1000));
    play.runs("a");
    play.runs("b");
    play.ends("b", Exit::Code(0));
    play.call(1, calls::teardown("f"));
    play.pass(6);
    play.ends("a", Exit::Signal(9));
    assert!(play.agent.tasks.is_empty());
    insta::assert_snapshot!(play.log);
}

#[test]
fn an_agent_without_work_ends_after_a_minute() {
    let mut play = Play::new();
    play.pass(59);
    play.subscribe(1, able());
    play.accept(1, vec![task("a", 1000)], Some(1000));
    play.runs("a");
    play.does("1 closed", |agent, now, out| agent.closed(1, now, out));
    play.pass(1000);
    play.ends("a", Exit::Code(0));
    play.pass(100);
    insta::assert_snapshot!(play.log);
}

#[test]
fn an_agent_that_ends_with_its_client_takes_its_blocks_along() {
    let mut play = Play::with(true);
    play.subscribe(1, able());
    play.accept(1, vec![task("a", 1000), task("b", 1000)], Some(1000));
    play.runs("a");
    play.runs("b");
    play.does("1 closed", |agent, now, out| agent.closed(1, now, out));
    play.ends("a", Exit::Signal(15));
    play.pass(3);
    play.ends("b", Exit::Signal(9));
    insta::assert_snapshot!(play.log);

    let mut play = Play::with(true);
    play.subscribe(1, able());
    play.does("1 closed", |agent, now, out| agent.closed(1, now, out));
    assert!(play.log.ends_with("1 closed\n    finish\n"), "{}", play.log);
}

#[test]
fn an_adopted_block_is_told_of_at_its_end() {
    let mut play = Play::new();
    let held = Quantities { milli_cpus: 1500, mem_mib: 100, ..Quantities::default() };
    let key = play.agent.adopt("f", "a", held, None, true);
    play.keys.insert("a".into(), key);
    play.pass(100);
    play.subscribe(1, able());
    play.call(1, calls::reconcile("f", []));
    play.ends("a", Exit::Code(7));
    insta::assert_snapshot!(play.log);
}

#[test]
fn a_container_is_told_of_when_it_runs() {
    let mut play = Play::new();
    play.subscribe(1, able());
    let limit = Some(DurationInfo { nanoseconds: 3_000_000_000 });
    let limited = |id| TaskInfo { max_completion_time: limit, ..task(id, 500) };
    play.accept(1, ["slow", "bad", "killed", "overrun"].map(limited).into(), None);
    let reports = |play: &mut Play, launch: &str, report: StartReport| {
        let key = play.keys[launch];
        let what = format!("{launch} {report:?}");
        play.does(&what, |agent, now, out| agent.started(key, report, now, out));
    };
    let failed = || StartReport::Failed(Reason::ContainerLaunchFailed, "no image".into());
    for launch in ["slow", "bad", "killed", "overrun"] {
        reports(&mut play, launch, StartReport::Starting);
    }
    // What takes long to be made ready has its whole time still.
    play.pass(5);
    play.call(1, calls::reconcile("f", [("slow", None)]));
    for launch in ["slow", "overrun"] {
        reports(&mut play, launch, StartReport::Running);
        play.acknowledge(1, launch);
    }
    reports(&mut play, "bad", failed());
    play.call(1, calls::kill("f", "killed", None, None));
    play.acknowledge(1, "killed");
    // It ran just before it was told to end.
    reports(&mut play, "killed", StartReport::Running);
    reports(&mut play, "killed", failed());
    play.ends("slow", Exit::Code(0));
    play.pass(4);
    reports(&mut play, "overrun", failed());
    for stop in [
        None,
        Some(StopReason::Killed),
        Some(StopReason::TimedOut),
        Some(StopReason::LimitExceeded(LimitExceeded::Memory(64))),
    ] {
        play.does(&format!("recalled {stop:?}"), |agent, now, out| {
            agent.launch_looked_up("f", "old", LaunchHistory::Failed("lost".into(), stop), now, out);
        });
    }
    insta::assert_snapshot!(play.log);
}

/// One is seen to go beyond a limit and ended; of the other it is found out when it has ended by itself.
#[test]
fn who_goes_beyond_a_limit_has_failed() {
    let mut play = Play::new();
    play.subscribe(1, able());
    play.accept(1, vec![task("loud", 1000), task("hungry", 1000), task("killed", 1000)], None);
    for launch in ["loud", "hungry", "killed"] {
        play.runs(launch);
        play.acknowledge(1, launch);
    }
    let exceeds = |play: &mut Play, launch: &str, excess| {
        let key = play.keys[launch];
        play.does(&format!("{launch} {excess:?}"), |agent, now, out| {
            agent.on_limit_exceeded(key, excess, now, out);
        });
    };
    exceeds(&mut play, "loud", LimitExceeded::Output(Stream::Stdout, 5));
    play.ends("loud", Exit::Signal(9));
    play.call(1, calls::kill("f", "killed", None, None));
    exceeds(&mut play, "killed", LimitExceeded::Memory(100));
    play.ends("killed", Exit::Signal(9));
    let key = play.keys["hungry"];
    play.does("hungry is found out", |agent, now, out| {
        agent.ended(key, Exit::Code(0), Some(LimitExceeded::Memory(100)), now, out);
    });
    insta::assert_snapshot!(play.log);
}

#[test]
fn an_adopted_container_may_still_be_made_ready() {
    let mut play = Play::new();
    let held = Quantities { milli_cpus: 1500, mem_mib: 100, ..Quantities::default() };
    let key = play.agent.adopt("f", "a", held, None, false);
    play.keys.insert("a".into(), key);
    play.subscribe(1, able());
    play.call(1, calls::reconcile("f", []));
    play.runs("a");
    play.acknowledge(1, "a");
    play.ends("a", Exit::Code(0));
    insta::assert_snapshot!(play.log);
}

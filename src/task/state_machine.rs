//! The state machine of a task: [`step`] maps a state and an input to the next state and its effects.

use std::fmt;

use super::{Condition, Ensure, History, OnPartition, Policy, RetryLimit, State};

/// What can happen to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A person approved it.
    Approved,
    /// Every block it waits for is where it must be.
    DependenciesMet,
    /// A block it needs did not succeed.
    DependencyFailed,
    /// What goes into it cannot be had, though the blocks it comes from have ended well.
    InputUnavailable,
    /// An offer was accepted for its next launch; that launch was saved before.
    Placed,
    /// The cluster said something of its current launch.
    Update(Condition),
    /// The cluster said something of an earlier launch.
    StaleUpdate(Condition),
    /// The pause before another launch is over.
    BackoffElapsed,
    /// The cluster has said nothing for longer than it should.
    StatusTimeout,
    /// What it comes to is known already: it need not be run.
    CacheHit,
    /// A person wants it gone.
    KillRequested,
}

/// What a shell has to do about it; carried out in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Make the new state durable; what follows waits for it.
    Persist,
    /// Put it into the queue for offers.
    Enqueue,
    /// Wait for `Backoff::delay(early_exits)`, then give [`Input::BackoffElapsed`]. The deadline is stored with the state.
    StartBackoff,
    /// Ask the cluster to kill the launch this is about.
    Kill,
    /// Ask the cluster what it knows of the launch.
    Reconcile,
    /// Tell who follows the run.
    Publish,
}

/// The answer to an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Where the task stands now.
    pub next: State,
    /// What has been of it, the input included.
    pub history: History,
    /// What is to be done, in order.
    pub effects: &'static [Effect],
}

/// What another launch costs the block.
#[derive(Clone, Copy)]
enum RetryCost {
    /// The block failed: one of its tries.
    CountsAttempt,
    /// The cluster failed: nothing.
    Nothing,
}

const PERSIST_AND_PUBLISH: &[Effect] = &[Effect::Persist, Effect::Publish];
const ENQUEUE_AND_PUBLISH: &[Effect] = &[Effect::Enqueue, Effect::Publish];

/// What follows when `input` happens to a task in `state`.
///
/// Total: also what should never happen has an answer, the one that does least harm.
pub fn step(state: State, input: Input, history: &History, policy: &Policy) -> Step {
    use Condition as C;
    use Input::{
        Approved, BackoffElapsed, CacheHit, DependenciesMet, DependencyFailed, InputUnavailable,
        KillRequested, Placed, StaleUpdate, StatusTimeout, Update,
    };
    use State::{
        Blocked, Delayed, Failed, Finished, Held, Killed, Killing, Launching, Queued, Running, Skipped,
        Unreachable,
    };

    let to = |next, effects| Step { next, history: *history, effects };
    let stay = |effects| Step { next: state, history: *history, effects };
    let relaunch = |cost| self::relaunch(history, policy, cost);

    match (state, input) {
        // Before a launch.
        (Held, Approved) => to(Blocked, PERSIST_AND_PUBLISH),
        (Blocked, DependenciesMet) => to(Queued, ENQUEUE_AND_PUBLISH),
        (Held | Blocked, DependencyFailed) => to(Skipped, PERSIST_AND_PUBLISH),
        (Held | Blocked | Queued | Delayed, InputUnavailable) => to(Failed, PERSIST_AND_PUBLISH),
        (Queued, CacheHit) => to(Finished, PERSIST_AND_PUBLISH),
        (Queued, Placed) => Step {
            next: Launching,
            history: History { attempt: history.attempt + 1, runtime: std::time::Duration::ZERO, ..*history },
            effects: &[Effect::Publish],
        },
        (Delayed, BackoffElapsed) => to(Queued, ENQUEUE_AND_PUBLISH),
        (Held | Blocked | Queued | Delayed, KillRequested) => to(Killed, PERSIST_AND_PUBLISH),

        // The current launch lives.
        (Launching, Update(C::Starting))
        | (Running, Update(C::Starting | C::Running))
        | (Launching | Running | Unreachable, Update(C::Killing))
        | (Killing, Update(C::Killing)) => stay(&[]),
        (Launching | Unreachable, Update(C::Running)) => to(Running, PERSIST_AND_PUBLISH),
        (Unreachable, Update(C::Starting)) => to(Launching, PERSIST_AND_PUBLISH),
        (Launching | Running | Unreachable, KillRequested) => {
            to(Killing, &[Effect::Persist, Effect::Kill, Effect::Publish])
        }
        // Kills are lost on the way; they are said again until the launch has ended.
        (Killing, KillRequested | StatusTimeout | Update(C::Starting | C::Running)) => stay(&[Effect::Kill]),

        // The current launch has ended.
        (Launching | Running | Unreachable, Update(C::Finished)) => match policy.ensure {
            Ensure::Finishes => succeeded(history),
            Ensure::KeepsRunning => {
                self::relaunch(&History { exit_code: Some(0), ..*history }, policy, RetryCost::CountsAttempt)
            }
        },
        (Launching | Running | Unreachable, Update(C::Failed)) => {
            if should_retry(history, policy) {
                relaunch(RetryCost::CountsAttempt)
            } else {
                to(Failed, PERSIST_AND_PUBLISH)
            }
        }
        // A kill nobody asked for here: an operator, or a machine that is drained.
        (Launching | Running | Unreachable, Update(C::Killed | C::Gone)) => relaunch(RetryCost::Nothing),
        (Launching | Running | Unreachable, Update(C::Rejected)) => to(Failed, PERSIST_AND_PUBLISH),
        (Killing, Update(C::Finished)) => succeeded(history),
        (Killing, Update(C::Failed | C::Killed | C::Rejected | C::Gone)) => to(Killed, PERSIST_AND_PUBLISH),

        // Nobody can tell whether the current launch lives: lost is not gone.
        (Launching | Running, Update(C::Lost)) => match policy.on_partition {
            OnPartition::Wait => to(Unreachable, &[Effect::Persist, Effect::Reconcile, Effect::Publish]),
            OnPartition::Replace => relaunch(RetryCost::Nothing),
            OnPartition::Fail => to(Failed, PERSIST_AND_PUBLISH),
        },
        // Lost is an answer: to ask again at once would be to ask as fast as it is answered.
        (Unreachable | Killing, Update(C::Lost)) => stay(&[]),
        (Launching | Unreachable, StatusTimeout) => stay(&[Effect::Reconcile]),

        // A copy nobody wants.
        (
            Held | Blocked | Queued | Delayed | Finished | Failed | Killed | Skipped,
            Update(C::Starting | C::Running),
        )
        | (
            Held | Blocked | Queued | Delayed | Launching | Running | Unreachable | Killing | Finished
            | Failed | Killed | Skipped,
            StaleUpdate(C::Starting | C::Running),
        ) => stay(&[Effect::Kill]),

        // Said again, too late, or of no consequence.
        (
            Held | Blocked | Queued | Delayed | Finished | Failed | Killed | Skipped,
            Update(C::Killing | C::Finished | C::Failed | C::Killed | C::Rejected | C::Gone | C::Lost),
        )
        | (
            Held | Blocked | Queued | Delayed | Launching | Running | Unreachable | Killing | Finished
            | Failed | Killed | Skipped,
            StaleUpdate(C::Killing | C::Finished | C::Failed | C::Killed | C::Rejected | C::Gone | C::Lost),
        )
        | (
            Blocked | Queued | Delayed | Launching | Running | Unreachable | Killing | Finished | Failed
            | Killed | Skipped,
            Approved,
        )
        | (
            Held | Queued | Delayed | Launching | Running | Unreachable | Killing | Finished | Failed
            | Killed | Skipped,
            DependenciesMet,
        )
        | (
            Queued | Delayed | Launching | Running | Unreachable | Killing | Finished | Failed | Killed
            | Skipped,
            DependencyFailed,
        )
        | (
            Launching | Running | Unreachable | Killing | Finished | Failed | Killed | Skipped,
            InputUnavailable,
        )
        | (
            Held | Blocked | Delayed | Launching | Running | Unreachable | Killing | Finished | Failed
            | Killed | Skipped,
            Placed | CacheHit,
        )
        | (
            Held | Blocked | Queued | Launching | Running | Unreachable | Killing | Finished | Failed
            | Killed | Skipped,
            BackoffElapsed,
        )
        | (
            Held | Blocked | Queued | Delayed | Running | Finished | Failed | Killed | Skipped,
            StatusTimeout,
        )
        | (Finished | Failed | Killed | Skipped, KillRequested) => stay(&[]),
    }
}

fn succeeded(history: &History) -> Step {
    Step {
        next: State::Finished,
        history: History { exit_code: Some(0), ..*history },
        effects: PERSIST_AND_PUBLISH,
    }
}

fn should_retry(history: &History, policy: &Policy) -> bool {
    policy.retry_on.is_empty() || history.exit_code.is_some_and(|code| policy.retry_on.contains(&code))
}

/// The current launch is over, and the task is not.
fn relaunch(history: &History, policy: &Policy, cost: RetryCost) -> Step {
    let resets_backoff = history.early_exits == 0 || history.runtime >= policy.backoff.reset_after();
    let early_exits = if resets_backoff { 1 } else { history.early_exits.saturating_add(1) };
    let failures = match cost {
        RetryCost::CountsAttempt => history.failures.saturating_add(1),
        RetryCost::Nothing => history.failures,
    };
    let history = History { failures, early_exits, ..*history };
    let retries_exhausted = match policy.retry {
        RetryLimit::Limited(limit) => failures > limit,
        RetryLimit::Unlimited => false,
    };
    let (next, effects): (_, &'static [Effect]) = match cost {
        RetryCost::CountsAttempt if retries_exhausted => (State::Failed, PERSIST_AND_PUBLISH),
        // The cluster's first failure is made good at once; a cluster that fails again and again is given time.
        RetryCost::Nothing if resets_backoff => {
            (State::Queued, &[Effect::Persist, Effect::Enqueue, Effect::Publish])
        }
        RetryCost::CountsAttempt | RetryCost::Nothing => {
            (State::Delayed, &[Effect::Persist, Effect::StartBackoff, Effect::Publish])
        }
    };
    Step { next, history, effects }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Approved => "approved".to_owned(),
            Self::DependenciesMet => "dependencies met".to_owned(),
            Self::DependencyFailed => "dependency failed".to_owned(),
            Self::InputUnavailable => "input unavailable".to_owned(),
            Self::Placed => "placed".to_owned(),
            Self::Update(condition) => format!("update {condition:?}").to_lowercase(),
            Self::StaleUpdate(condition) => format!("stale update {condition:?}").to_lowercase(),
            Self::BackoffElapsed => "backoff elapsed".to_owned(),
            Self::StatusTimeout => "status timeout".to_owned(),
            Self::CacheHit => "cache hit".to_owned(),
            Self::KillRequested => "kill requested".to_owned(),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn inputs() -> Vec<Input> {
        [
            Input::Approved,
            Input::DependenciesMet,
            Input::DependencyFailed,
            Input::InputUnavailable,
            Input::Placed,
        ]
        .into_iter()
        .chain(Condition::ALL.map(Input::Update))
        .chain(Condition::ALL.map(Input::StaleUpdate))
        .chain([Input::BackoffElapsed, Input::StatusTimeout, Input::CacheHit, Input::KillRequested])
        .collect()
    }

    fn step_text(step: &Step) -> String {
        let effects: Vec<_> =
            step.effects.iter().map(|effect| format!("{effect:?}").to_lowercase()).collect();
        format!("{:11} {}", step.next, effects.join(", ")).trim_end().to_owned()
    }

    /// The whole policy of a block that asks for nothing special, to be read as a table.
    #[test]
    fn default_policy_transitions() {
        let mut table = String::new();
        for state in State::ALL {
            writeln!(table, "{state}").unwrap();
            let mut ignored = Vec::new();
            for input in inputs() {
                let step = step(state, input, &History::default(), &Policy::default());
                if step.next == state && step.effects.is_empty() {
                    ignored.push(input.to_string());
                } else {
                    writeln!(table, "  {input:21} → {}", step_text(&step)).unwrap();
                }
            }
            writeln!(table, "  ignored: {}", ignored.join(", ")).unwrap();
        }
        insta::assert_snapshot!(table);
    }

    /// What header arguments change: the ends of a launch, under each policy.
    #[test]
    fn header_arguments_change_transitions() {
        let retry = Policy { retry: RetryLimit::Limited(1), ..Policy::default() };
        let policies = [
            (":retry 1, first failure", retry.clone(), History::default()),
            (
                ":retry 1, second failure",
                retry.clone(),
                History { failures: 1, early_exits: 1, ..History::default() },
            ),
            (
                ":retry 1 :retry-on 75, exit code 1",
                Policy { retry_on: vec![75], ..retry.clone() },
                History { exit_code: Some(1), ..History::default() },
            ),
            (
                ":retry 1 :retry-on 75, exit code 75",
                Policy { retry_on: vec![75], ..retry.clone() },
                History { exit_code: Some(75), ..History::default() },
            ),
            (
                ":ensure it-keeps-running",
                Policy { ensure: Ensure::KeepsRunning, retry: RetryLimit::Unlimited, ..Policy::default() },
                History { failures: 1000, early_exits: 1000, ..History::default() },
            ),
            (
                ":on-partition replace",
                Policy { on_partition: OnPartition::Replace, ..Policy::default() },
                History::default(),
            ),
            (
                ":on-partition fail",
                Policy { on_partition: OnPartition::Fail, ..Policy::default() },
                History::default(),
            ),
            (
                "the cluster fails a second time",
                Policy::default(),
                History { early_exits: 1, ..History::default() },
            ),
        ];
        let mut table = String::new();
        for (name, policy, history) in policies {
            writeln!(table, "{name}").unwrap();
            for condition in [Condition::Finished, Condition::Failed, Condition::Gone, Condition::Lost] {
                let step = step(State::Running, Input::Update(condition), &history, &policy);
                let cost = step.history.failures - history.failures;
                writeln!(
                    table,
                    "  {:9} → {} (tries used: {cost})",
                    format!("{condition:?}"),
                    step_text(&step)
                )
                .unwrap();
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn long_runtime_resets_early_exits() {
        let policy = Policy { retry: RetryLimit::Unlimited, ..Policy::default() };
        let early_exits_after = |seconds| {
            let history =
                History { early_exits: 9, runtime: Duration::from_secs(seconds), ..History::default() };
            step(State::Running, Input::Update(Condition::Failed), &history, &policy).history.early_exits
        };
        assert_eq!((early_exits_after(299), early_exits_after(300)), (10, 1));
    }

    fn any_input() -> impl Strategy<Value = Input> {
        prop::sample::select(inputs())
    }

    fn any_policy() -> impl Strategy<Value = Policy> {
        (
            prop::sample::select(vec![Ensure::Finishes, Ensure::KeepsRunning]),
            prop::sample::select(vec![RetryLimit::Limited(0), RetryLimit::Limited(2), RetryLimit::Unlimited]),
            prop::sample::select(vec![OnPartition::Wait, OnPartition::Replace, OnPartition::Fail]),
        )
            .prop_map(|(ensure, retry, on_partition)| Policy {
                ensure,
                retry,
                on_partition,
                ..Policy::default()
            })
    }

    proptest! {
        /// However inputs come, what is final stays final, tries never exceed what was asked, and whatever
        /// changes after a launch is saved before it is told.
        #[test]
        fn any_input_sequence_keeps_the_invariants(inputs in prop::collection::vec(any_input(), 0..60), policy in any_policy()) {
            let mut state = State::Blocked;
            let mut history = History::default();
            for input in inputs {
                let step = step(state, input, &history, &policy);
                if state.is_terminal() {
                    prop_assert_eq!(step.next, state);
                }
                if let RetryLimit::Limited(limit) = policy.retry {
                    prop_assert!(step.history.failures <= limit + 1);
                }
                prop_assert!(step.history.attempt - history.attempt <= u32::from(input == Input::Placed));
                let persist_at = step.effects.iter().position(|&effect| effect == Effect::Persist);
                if step.next != state && (step.next.is_terminal() || step.next == State::Running) {
                    prop_assert_eq!(persist_at, Some(0));
                }
                if let Some(at) = persist_at {
                    prop_assert_eq!(at, 0);
                }
                (state, history) = (step.next, step.history);
            }
        }
    }
}

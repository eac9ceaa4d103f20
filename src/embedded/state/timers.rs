//! Timers of the state machine: which is due next, and what each does.

use std::cmp::Reverse;
use std::time::Duration;

use super::action::{Action, send};
use super::agent::{Agent, HEARTBEAT_INTERVAL, Timer};
use crate::model::{KillStage, StopReason, Timestamps};
use borges_mesos::messages::scheduler::{Event, event::Type};

/// An agent with neither blocks nor clients shuts down after this time.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

impl Agent {
    /// Restarts the idle timer, because a client is about to connect.
    pub(crate) fn wait_for_clients(&mut self, now: Timestamps) {
        self.idle_since = None;
        self.arm_idle_timer(now);
    }

    /// When [`Self::tick`] is to be called next; drops obsolete timers.
    pub(crate) fn next_tick(&mut self) -> Option<Duration> {
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if self.is_due(at, timer) {
                return Some(at);
            }
            self.timers.pop();
        }
        None
    }

    /// Executes the timers that are due.
    pub(crate) fn tick(&mut self, now: Timestamps, actions: &mut Vec<Action>) {
        while let Some(at) = self.next_tick().filter(|at| *at <= now.elapsed) {
            let Some(Reverse((_, timer))) = self.timers.pop() else { return };
            match timer {
                Timer::Resend(key) => self.send_front(key, now, actions),
                Timer::Escalate(key) => actions.push(Action::Signal(key, KillStage::Kill)),
                Timer::Timeout(key) => {
                    self.stop(key, StopReason::TimedOut, Some(Duration::ZERO), now, actions);
                }
                Timer::Heartbeat(client) => {
                    send(client, Type::Heartbeat, Event::default(), actions);
                    self.timers.push(Reverse((at.max(now.elapsed) + HEARTBEAT_INTERVAL, timer)));
                }
                Timer::FilterExpired => {}
                Timer::Idle => actions.push(Action::Shutdown),
                Timer::KillAll => {
                    let alive = self.tasks.iter().filter(|(_, task)| task.alive);
                    actions.extend(alive.map(|(key, _)| Action::Signal(*key, KillStage::Kill)));
                }
            }
        }
    }

    /// Whether a timer is not obsolete.
    pub(super) fn is_due(&self, at: Duration, timer: Timer) -> bool {
        let task = |key: &u64| self.tasks.get(key);
        match &timer {
            Timer::Resend(key) => task(key).is_some_and(|task| task.resend_at == Some(at)),
            Timer::Escalate(key) => task(key).is_some_and(|task| task.alive && task.kill_at == Some(at)),
            Timer::Timeout(key) => task(key).is_some_and(|task| task.alive && task.stop_reason.is_none()),
            Timer::Heartbeat(client) => self.clients.get(client).is_some_and(Option::is_some),
            Timer::FilterExpired => self.offers.is_offerable(),
            Timer::Idle => self.idle_since.is_some_and(|since| since + IDLE_TIMEOUT <= at),
            Timer::KillAll => self.kill_all_at == Some(at),
        }
    }

    /// Starts the idle timer if there is neither a block nor a client.
    pub(super) fn arm_idle_timer(&mut self, now: Timestamps) {
        if self.live_tasks == 0 && self.clients.is_empty() && self.idle_since.is_none() {
            self.idle_since = Some(now.elapsed);
            self.timers.push(Reverse((now.elapsed + IDLE_TIMEOUT, Timer::Idle)));
        }
    }
}

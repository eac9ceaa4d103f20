//! What is due, and when.

use std::cmp::Reverse;
use std::time::Duration;

use super::updates::send;
use super::{Action, Agent, ClientId, HEARTBEAT, KillStage, StopReason, Timestamps};
use borges_mesos::messages::scheduler::{Event, event::Type};

/// How long an agent without blocks and clients waits for a client.
const IDLE: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Resend(u64),
    Escalate(u64),
    Timeout(u64),
    Heartbeat(ClientId),
    /// A refusal is over.
    Refusal,
    Idle,
    Ending,
}

impl Agent {
    /// A client may be on its way: the wait for one begins anew.
    pub(crate) fn wait_for_clients(&mut self, now: Timestamps) {
        self.idle_since = None;
        self.arm_idle_timer(now);
    }

    /// When [`Self::tick`] has something to do next.
    pub(crate) fn next_tick(&mut self) -> Option<Duration> {
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if self.is_due(at, timer) {
                return Some(at);
            }
            self.timers.pop();
        }
        None
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Timestamps, out: &mut Vec<Action>) {
        while let Some(at) = self.next_tick().filter(|at| *at <= now.elapsed) {
            let Some(Reverse((_, timer))) = self.timers.pop() else { return };
            match timer {
                Timer::Resend(key) => self.send_front(key, now, out),
                Timer::Escalate(key) => out.push(Action::Signal(key, KillStage::Kill)),
                Timer::Timeout(key) => self.stop(key, StopReason::TimedOut, Some(Duration::ZERO), now, out),
                Timer::Heartbeat(peer) => {
                    send(peer, Type::Heartbeat, Event::default(), out);
                    self.timers.push(Reverse((at.max(now.elapsed) + HEARTBEAT, timer)));
                }
                Timer::Refusal => {}
                Timer::Idle => out.push(Action::Shutdown),
                Timer::Ending => {
                    let alive = self.tasks.iter().filter(|(_, task)| task.alive);
                    out.extend(alive.map(|(key, _)| Action::Signal(*key, KillStage::Kill)));
                }
            }
        }
    }

    /// Whether a timer still means something: most are overtaken by what happened since.
    pub(super) fn is_due(&self, at: Duration, timer: Timer) -> bool {
        let task = |key: &u64| self.tasks.get(key);
        match &timer {
            Timer::Resend(key) => task(key).is_some_and(|task| task.resend_at == Some(at)),
            Timer::Escalate(key) => task(key).is_some_and(|task| task.alive && task.kill_at == Some(at)),
            Timer::Timeout(key) => task(key).is_some_and(|task| task.alive && task.stop.is_none()),
            Timer::Heartbeat(peer) => self.peers.get(peer).is_some_and(Option::is_some),
            Timer::Refusal => self.offers.is_offerable(),
            Timer::Idle => self.idle_since.is_some_and(|since| since + IDLE <= at),
            Timer::Ending => self.ending == Some(at),
        }
    }

    /// Notes that there is nothing to do, from now on or still.
    pub(super) fn arm_idle_timer(&mut self, now: Timestamps) {
        if self.alive == 0 && self.peers.is_empty() && self.idle_since.is_none() {
            self.idle_since = Some(now.elapsed);
            self.timers.push(Reverse((now.elapsed + IDLE, Timer::Idle)));
        }
    }
}

//! The status lines of a run: one for each change of a task's state, and a summary at the end.

use std::collections::BTreeMap;

use jiff::Timestamp;

use borges_engine::WaitingGroup;
use borges_store::TaskEvent;
use borges_task::State;

/// Turns task events into status lines.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When each task started to run; unknown for a task that ran already when the watch began.
    started: BTreeMap<u32, Timestamp>,
    /// The number of tasks in each terminal state.
    counts: BTreeMap<State, usize>,
    /// The last state of each task.
    states: BTreeMap<u32, State>,
}

impl Progress {
    /// The status line of an event; `None` for states that are of no interest to the user.
    pub(super) fn line(&mut self, event: &TaskEvent) -> Option<String> {
        let before = self.states.insert(event.task.number, event.state);
        if event.state.is_terminal() {
            *self.counts.entry(event.state).or_default() += 1;
        }
        let name = &event.block;
        let started = self.started.get(&event.task.number).filter(|_| event.time != Timestamp::UNIX_EPOCH);
        let duration = started.map(|started| elapsed(*started, event.time));
        let message = event.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
        let outcome = match (event.exit_code, &duration) {
            (Some(code), Some(duration)) => format!("exit code {code} ({duration})"),
            (Some(code), None) => format!("exit code {code}"),
            (None, _) => "no exit code".to_owned(),
        };
        Some(match event.state {
            State::Blocked | State::Launching => return None,
            State::Queued => match before {
                Some(State::Launching | State::Running | State::Unreachable) => {
                    format!("{name}: lost by the cluster, it is launched again{message}")
                }
                _ => return None,
            },
            State::Running => {
                // A summary of the server has no time: the start of the task is unknown.
                if event.time != Timestamp::UNIX_EPOCH {
                    self.started.insert(event.task.number, event.time);
                }
                match event.attempt {
                    0 | 1 => format!("{name}: running"),
                    attempt => format!("{name}: running, launch {attempt}"),
                }
            }
            State::Delayed => format!("{name}: ended with {outcome}, it is launched again{message}"),
            State::Finished if event.attempt == 0 => format!("{name}: finished without being run{message}"),
            State::Finished => match duration {
                Some(duration) => format!("{name}: finished ({duration})"),
                None => format!("{name}: finished"),
            },
            State::Failed => format!("{name}: failed, {outcome}{message}"),
            State::Killed if event.attempt == 0 => format!("{name}: killed before it was launched"),
            State::Killed => format!("{name}: killed, {outcome}{message}"),
            State::Skipped => format!("{name}: skipped{message}"),
            State::Held => format!("{name}: held, it waits for approval"),
            State::Unreachable => format!("{name}: its agent cannot be reached{message}"),
            State::Killing => format!("{name}: is being killed"),
        })
    }

    /// The number of tasks in each terminal state.
    pub(super) fn summary(&self) -> String {
        let counts: Vec<String> =
            self.counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
        if counts.is_empty() { "nothing ran".to_owned() } else { counts.join(", ") }
    }
}

fn elapsed(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs_f64().max(0.0);
    if seconds < 100.0 { format!("{seconds:.2} s") } else { format!("{seconds:.0} s") }
}

/// Prints the number of scheduled blocks, and the place, name and reason of each skipped one.
pub(super) fn announce(scheduled: usize, skipped: &[(String, &str, &str)]) {
    eprintln!("Scheduled {scheduled} code blocks for execution");
    if !skipped.is_empty() {
        eprintln!("Skipped {}:", skipped.len());
        for (place, block, reason) in skipped {
            eprintln!("  {place}: {block}: {reason}");
        }
    }
}

/// The status line of a group of waiting tasks.
pub(super) fn waiting_line(WaitingGroup { block, line, tasks, reason, .. }: &WaitingGroup) -> String {
    match tasks {
        0 | 1 => format!("{block}: waits: line {line}, {reason}"),
        tasks => format!("{block}: waits, and {} more: line {line}, {reason}", tasks - 1),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn waiting_line_counts_the_other_tasks_of_the_group() {
        let group = |tasks| WaitingGroup {
            block: "fetch".into(),
            line: 14,
            waited: Duration::from_secs(3),
            tasks,
            reason: "the cluster offers nothing now".to_owned(),
        };
        assert_eq!(waiting_line(&group(1)), "fetch: waits: line 14, the cluster offers nothing now");
        assert_eq!(
            waiting_line(&group(3)),
            "fetch: waits, and 2 more: line 14, the cluster offers nothing now"
        );
    }
}

//! The lines of a run: what becomes of its tasks, in words.

use std::collections::BTreeMap;

use jiff::Timestamp;

use borges_engine::WaitingGroup;
use borges_store::TaskEvent;
use borges_task::State;

/// Turns changes of state into lines.
#[derive(Debug, Default)]
pub(super) struct Progress {
    since: BTreeMap<u32, Timestamp>,
    ends: BTreeMap<State, usize>,
    last: BTreeMap<u32, State>,
}

impl Progress {
    /// The line for a change; `None` for those a person does not wait for.
    pub(super) fn line(&mut self, frame: &TaskEvent) -> Option<String> {
        let before = self.last.insert(frame.task.number, frame.state);
        if frame.state.is_terminal() {
            *self.ends.entry(frame.state).or_default() += 1;
        }
        let name = &frame.block;
        let since = self.since.get(&frame.task.number).filter(|_| frame.time != Timestamp::UNIX_EPOCH);
        let took = since.map(|since| seconds(*since, frame.time));
        let message = frame.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
        let end = match (frame.exit_code, &took) {
            (Some(code), Some(took)) => format!("exit code {code} ({took})"),
            (Some(code), None) => format!("exit code {code}"),
            (None, _) => "no exit code".to_owned(),
        };
        Some(match frame.state {
            State::Blocked | State::Launching => return None,
            State::Queued => match before {
                Some(State::Launching | State::Running | State::Unreachable) => {
                    format!("{name}: lost by the cluster, it is launched again{message}")
                }
                _ => return None,
            },
            State::Running => {
                // When it began, nobody knows who has come later.
                if frame.time != Timestamp::UNIX_EPOCH {
                    self.since.insert(frame.task.number, frame.time);
                }
                match frame.attempt {
                    0 | 1 => format!("{name}: running"),
                    attempt => format!("{name}: running, launch {attempt}"),
                }
            }
            State::Delayed => format!("{name}: ended with {end}, it is launched again{message}"),
            State::Finished if frame.attempt == 0 => format!("{name}: finished without being run{message}"),
            State::Finished => match took {
                Some(took) => format!("{name}: finished ({took})"),
                None => format!("{name}: finished"),
            },
            State::Failed => format!("{name}: failed, {end}{message}"),
            State::Killed if frame.attempt == 0 => format!("{name}: killed before it was launched"),
            State::Killed => format!("{name}: killed, {end}{message}"),
            State::Skipped => format!("{name}: skipped{message}"),
            State::Held => format!("{name}: held, it waits for approval"),
            State::Unreachable => format!("{name}: its agent cannot be reached{message}"),
            State::Killing => format!("{name}: is being killed"),
        })
    }

    /// How many ended how.
    pub(super) fn summary(&self) -> String {
        let counts: Vec<String> = self.ends.iter().map(|(state, count)| format!("{count} {state}")).collect();
        if counts.is_empty() { "nothing ran".to_owned() } else { counts.join(", ") }
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> String {
    let took = to.duration_since(from).as_secs_f64().max(0.0);
    if took < 100.0 { format!("{took:.2} s") } else { format!("{took:.0} s") }
}

/// Says how many blocks run, and which do not: line, name, reason.
pub(super) fn announce(scheduled: usize, skipped: &[(String, &str, &str)]) {
    eprintln!("Scheduled {scheduled} code blocks for execution");
    if !skipped.is_empty() {
        eprintln!("Skipped {}:", skipped.len());
        for (place, block, reason) in skipped {
            eprintln!("  {place}: {block}: {reason}");
        }
    }
}

/// The line for tasks that wait.
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
    fn waits_name_who_has_waited_longest() {
        let waiting = |tasks| WaitingGroup {
            block: "fetch".into(),
            line: 14,
            waited: Duration::from_secs(3),
            tasks,
            reason: "the cluster offers nothing now".to_owned(),
        };
        assert_eq!(waiting_line(&waiting(1)), "fetch: waits: line 14, the cluster offers nothing now");
        assert_eq!(
            waiting_line(&waiting(3)),
            "fetch: waits, and 2 more: line 14, the cluster offers nothing now"
        );
    }
}

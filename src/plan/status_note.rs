//! The note that a document shows for a task that did not succeed.

use borges_task::State;

/// What is noted of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusNote {
    /// As `:state failed :exit 3`.
    pub text: String,
    /// It was run, if not to its end: what an earlier run has left is no longer its result.
    pub was_launched: bool,
    /// It ended of itself, by an exit code other than 0 or a signal; Emacs runs such blocks, too, and notes nothing.
    pub exited_on_its_own: bool,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskOutcome<'a> {
    /// Where it stands.
    pub state: State,
    /// It was launched.
    pub launched: bool,
    /// The exit code of its last launch.
    pub exit_code: Option<i32>,
    /// Why, in words; nothing where the exit code says it all.
    pub message: Option<&'a str>,
}

/// What is noted of a task that has ended so; `None` for one that has ended well, or not at all.
pub fn note(outcome: TaskOutcome) -> Option<StatusNote> {
    let TaskOutcome { state, launched, exit_code, message } = outcome;
    match state {
        State::Failed | State::Killed | State::Skipped => {}
        State::Held
        | State::Blocked
        | State::Queued
        | State::Delayed
        | State::Launching
        | State::Running
        | State::Unreachable
        | State::Killing
        | State::Finished => return None,
    }
    let mut text = format!(":state {state}");
    if let Some(code) = exit_code.filter(|_| launched) {
        text += &format!(" :exit {code}");
    }
    if let Some(message) = message {
        let words: Vec<&str> = message.split_whitespace().collect();
        text += &format!(" :message {}", words.join(" "));
    }
    Some(StatusNote {
        text,
        was_launched: launched,
        exited_on_its_own: state == State::Failed && launched && message.is_none(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_by_state() {
        let mut table = String::new();
        for state in State::ALL {
            for (launched, exit_code, message) in [
                (true, Some(3), None),
                (true, Some(137), Some("it ran for\n too long")),
                (false, None, Some("why")),
            ] {
                let note = note(TaskOutcome { state, launched, exit_code, message });
                let note = note.map(|note| {
                    format!("{} (ran {}, of itself {})", note.text, note.was_launched, note.exited_on_its_own)
                });
                table += &format!("{state:11} {launched:5} → {}\n", note.unwrap_or_default());
            }
        }
        insta::assert_snapshot!(table);
    }
}

//! The ids of runs, tasks and launches.
//!
//! A run is a UUID (v7, so that runs sort by time). Task `N` of it is `RUN.N`. The `K`th launch of that task is
//! `RUN.N.K`, which is the Mesos `task_id` and is never used again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// One submission of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(pub Uuid);

/// One instance of a block in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// Its run.
    pub run: RunId,
    /// Its number among the run's tasks in document order, from 1.
    pub number: u32,
}

/// One try of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LaunchId {
    /// Its task.
    pub task: TaskId,
    /// Its number among the task's launches, from 1.
    pub attempt: u32,
}

/// The text is no id of this kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseIdError {
    text: String,
    expected: &'static str,
}

impl RunId {
    /// The run's task with this number, from 1.
    pub fn task(self, number: u32) -> TaskId {
        TaskId { run: self, number }
    }
}

impl TaskId {
    /// The task's launch with this number, from 1.
    pub fn launch(self, attempt: u32) -> LaunchId {
        LaunchId { task: self, attempt }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.run, self.number)
    }
}

impl fmt::Display for LaunchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.task, self.attempt)
    }
}

impl FromStr for RunId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        // Only the spelling we print: other spellings of a uuid would name one run twice.
        Uuid::try_parse(text)
            .ok()
            .map(Self)
            .filter(|run| run.to_string() == text)
            .ok_or_else(|| ParseIdError { text: text.into(), expected: "a run's id" })
    }
}

impl FromStr for TaskId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.split_once('.')
            .and_then(|(run, number)| Some(run.parse::<RunId>().ok()?.task(parse_number(number)?)))
            .ok_or_else(|| ParseIdError { text: text.into(), expected: "a task's id (RUN.N)" })
    }
}

impl FromStr for LaunchId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.rsplit_once('.')
            .and_then(|(task, attempt)| Some(task.parse::<TaskId>().ok()?.launch(parse_number(attempt)?)))
            .ok_or_else(|| ParseIdError { text: text.into(), expected: "a launch's id (RUN.N.K)" })
    }
}

/// Where the task of this number, from 1, stands in a list of its run's tasks.
pub fn index_of(number: u32) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}

/// A number from 1, spelled as we print it.
fn parse_number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|&number: &u32| number > 0 && number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_through_text() {
        let run = RunId(Uuid::from_u128(0x0190_f3c8_aaaa_7bbb_8ccc_dddd_eeee_ffff));
        let launch = run.task(12).launch(3);
        assert_eq!(launch.to_string(), "0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff.12.3");
        assert_eq!(launch.to_string().parse(), Ok(launch));
        assert_eq!(launch.task.to_string().parse(), Ok(launch.task));
        assert_eq!(run.to_string().parse(), Ok(run));
    }

    #[test]
    fn noncanonical_ids_are_rejected() {
        for text in [
            "",
            ".",
            "0190F3C8-AAAA-7BBB-8CCC-DDDDEEEEFFFF.1.1",
            "0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff.0.1",
            "0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff.1.01",
            "0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff.1",
            "0190f3c8-aaaa-7bbb-8ccc-ddddeeeeffff.1.1.1",
            "../../etc.1.1",
        ] {
            assert!(text.parse::<LaunchId>().is_err(), "{text}");
        }
    }
}

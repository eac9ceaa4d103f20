//! Waiting with a deadline for conditions that no event announces.

use std::fmt::Debug;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The deadline of most waits. What they wait for comes within seconds; a slow machine may take longer.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// The time between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// What a look can return: a value, or what was seen instead of it.
pub trait Look {
    /// The value once the condition holds.
    type Value;

    /// The value, or a description of what was seen as long as the condition does not hold.
    fn outcome(self) -> Result<Self::Value, String>;
}

impl Look for bool {
    type Value = ();

    fn outcome(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".to_owned()) }
    }
}

impl<T> Look for Option<T> {
    type Value = T;

    fn outcome(self) -> Result<T, String> {
        self.ok_or_else(|| "None".to_owned())
    }
}

impl<T, E: Debug> Look for Result<T, E> {
    type Value = T;

    fn outcome(self) -> Result<T, String> {
        self.map_err(|seen| format!("{seen:#?}"))
    }
}

/// Calls `look` every 20 ms until it returns `true`, `Some` or `Ok`; returns the value in that.
///
/// # Errors
///
/// What was seen last, if the condition does not hold within `deadline`.
pub fn poll<L: Look>(deadline: Duration, mut look: impl FnMut() -> L) -> Result<L::Value, String> {
    let began = now();
    loop {
        match look().outcome() {
            Err(_) if began.elapsed() < deadline => sleep(INTERVAL),
            outcome => return outcome,
        }
    }
}

/// [`poll`] for a condition that must come to hold.
///
/// # Panics
///
/// If the condition does not hold within `deadline`: with `what`, and with what was seen last (the value in `Err`).
#[track_caller]
pub fn poll_until<L: Look>(deadline: Duration, what: &str, look: impl FnMut() -> L) -> L::Value {
    match poll(deadline, look) {
        Ok(value) => value,
        Err(seen) => panic!("{}", missed(deadline, what, &seen)),
    }
}

/// [`poll_until`] on a runtime of tokio, with an asynchronous `look`.
///
/// # Panics
///
/// As [`poll_until`].
pub async fn poll_until_async<L: Look>(
    deadline: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> L,
) -> L::Value {
    let began = now();
    loop {
        match look().await.outcome() {
            Ok(value) => return value,
            Err(_) if began.elapsed() < deadline => tokio::time::sleep(INTERVAL).await,
            Err(seen) => panic!("{}", missed(deadline, what, &seen)),
        }
    }
}

/// Runs a future to its end, on a runtime of its own.
///
/// # Panics
///
/// If it does not end within [`DEADLINE`].
#[track_caller]
pub fn within_deadline<T>(future: impl Future<Output = T>) -> T {
    let ended = actix::System::new().block_on(async { tokio::time::timeout(DEADLINE, future).await });
    ended.unwrap_or_else(|_| panic!("it does not end within {DEADLINE:?}"))
}

fn missed(deadline: Duration, what: &str, seen: &str) -> String {
    format!("not within {deadline:?}: {what}; last seen: {seen}")
}

#[expect(clippy::disallowed_methods, reason = "a deadline of the harness, not the time of the program")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_returned_once_it_is_there() {
        let mut looks = 0;
        let value = poll_until(DEADLINE, "three looks", || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(value, 3);
    }

    #[test]
    #[should_panic(expected = "not within 30ms: it ends; last seen: \"running\"")]
    fn a_missed_deadline_shows_what_was_seen_last() {
        poll_until(Duration::from_millis(30), "it ends", || Err::<(), _>("running"));
    }
}

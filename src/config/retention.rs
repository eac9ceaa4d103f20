//! Parsers for setupfile values with a syntax of their own: the retention of ended runs, and the Mesos role.

use std::time::Duration;

use borges_task::amount;

/// How much is kept of ended runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long after their end.
    pub time: Duration,
    /// Bytes of their sandboxes in all.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { time: Duration::from_secs(7 * 24 * 3600), bytes: 10 << 30 }
    }
}

impl Retention {
    /// `7d 10G`, or one of the two; what is not named is as it is by default.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut retention = Self::default();
        let mut words = text.split_whitespace().peekable();
        words.peek()?;
        for word in words {
            // An amount ends in one of other letters than a time does.
            if let Some(time) = parse_duration(word) {
                retention.time = time;
            } else {
                retention.bytes = amount::bytes(word)?;
            }
        }
        Some(retention)
    }
}

/// `7d`, `12h`, `30m`: a day has 24 hours here.
fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "d" => 24 * 3600,
        "h" => 3600,
        "m" => 60,
        "s" => 1,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?))
}

/// Why Mesos would not have this role; `None` for a good one.
pub(super) fn validate_role(role: &str) -> Option<&'static str> {
    let is_invalid_part =
        |part: &str| part.is_empty() || part == "." || part == ".." || part.starts_with('-') || part == "*";
    let has_blank = role.contains(|char: char| char.is_whitespace() || char.is_control() || char == '\u{7f}');
    let is_invalid = role != "*" && (has_blank || role.split('/').any(is_invalid_part));
    is_invalid.then_some("Write a role as Mesos has them, such as `analysts` or `eng/web`.")
}

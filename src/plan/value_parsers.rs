//! Parsers for the values of header arguments: numbers, amounts, durations, words.
//!
//! Each parser returns the value, or a sentence that says what to write instead.

use std::time::Duration;

use jiff::SignedDuration;

use borges_task::{Backoff, Ensure, OnPartition, RetryLimit, amount};

/// What to write instead.
pub(super) type Help = String;

/// `:cpu`, in thousandths.
pub(super) fn milli_cpus(text: &str) -> Result<u64, Help> {
    amount::milli_cpus(text)
        .ok_or_else(|| "Write a number of cpus from 0.01 up, such as `1` or `0.5`.".to_owned())
}

/// `:mem`, `:disk`, in MiB.
pub(super) fn mebibytes(text: &str) -> Result<u64, Help> {
    amount::mebibytes(text)
        .ok_or_else(|| "Write an amount in MiB, or with a unit: `512`, `512M`, `2G`.".to_owned())
}

/// Whole things: `:gpus`.
pub(super) fn integer(text: &str) -> Result<u64, Help> {
    text.parse().map_err(|_| "Write a whole number, such as `1`.".to_owned())
}

/// `:retry`.
pub(super) fn retry_limit(text: &str) -> Result<RetryLimit, Help> {
    text.parse()
        .map(RetryLimit::Limited)
        .map_err(|_| "Write how many tries follow the first, such as `3`.".to_owned())
}

/// `:retry-on`: exit codes, parted by blanks or commas.
pub(super) fn exit_codes(text: &str) -> Result<Vec<i32>, Help> {
    let codes: Option<Vec<i32>> = text
        .split([' ', '\t', ','])
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().ok().filter(|code| (1..=255).contains(code)))
        .collect();
    codes
        .filter(|codes| !codes.is_empty())
        .ok_or_else(|| "Write exit codes from 1 to 255, such as `75` or `75 111`.".to_owned())
}

/// `10m`, `1h30m`, `1.5s`, `500ms`; a bare number is seconds. More than nothing.
pub(super) fn duration(text: &str) -> Result<Duration, Help> {
    let help = || "Write a duration such as `90s`, `10m` or `1h30m`; a bare number is seconds.".to_owned();
    let seconds = amount::decimal(text).map(Duration::from_millis);
    let with_units =
        || text.parse::<SignedDuration>().ok().and_then(|with_units| Duration::try_from(with_units).ok());
    // A year is longer than any block's patience, and far from what overflows a timer.
    let max = Duration::from_secs(366 * 24 * 3600);
    seconds.or_else(with_units).filter(|duration| !duration.is_zero() && *duration <= max).ok_or_else(help)
}

/// `:backoff FIRST [FACTOR [LONGEST]]`.
pub(super) fn backoff(text: &str) -> Result<Backoff, Help> {
    let help = "Write the first pause, then, if you like, the factor and the longest: `5s` or `5s 2 10m`.";
    let mut words = text.split_whitespace();
    let initial = duration(words.next().ok_or(help)?).map_err(|_| help)?;
    let default = Backoff::default();
    let factor = match words.next() {
        Some(word) => amount::decimal(word)
            .filter(|thousandths| (1000..=1_000_000).contains(thousandths))
            .ok_or(help)?,
        None => 1150,
    };
    let max = match words.next() {
        Some(word) => duration(word).map_err(|_| help)?,
        None => default.max.max(initial),
    };
    if words.next().is_some() || max < initial {
        return Err(help.to_owned());
    }
    #[expect(clippy::cast_precision_loss, reason = "at most a million")]
    let factor = factor as f64 / 1000.0;
    Ok(Backoff { initial, factor, max })
}

/// The most tasks that `:instances` makes of a block.
const MAX_INSTANCES: u32 = 100_000;

/// `:instances`, `:procs`.
pub(super) fn instances(text: &str) -> Result<u32, Help> {
    let number = text.parse().ok().filter(|number| (1..=MAX_INSTANCES).contains(number));
    number.ok_or_else(|| format!("Write how many tasks the block is to be, from 1 to {MAX_INSTANCES}."))
}

/// `:ensure`.
pub(super) fn ensure(text: &str) -> Result<Ensure, Help> {
    match text {
        "it-finishes" => Ok(Ensure::Finishes),
        "it-keeps-running" => Ok(Ensure::KeepsRunning),
        _ => Err("Write `it-finishes` or `it-keeps-running`.".to_owned()),
    }
}

/// `:on-partition`.
pub(super) fn on_partition(text: &str) -> Result<OnPartition, Help> {
    match text {
        "wait" => Ok(OnPartition::Wait),
        "replace" => Ok(OnPartition::Replace),
        "fail" => Ok(OnPartition::Fail),
        _ => Err("Write `wait`, `replace` or `fail`.".to_owned()),
    }
}

/// `:priority`.
pub(super) fn priority(text: &str) -> Result<i32, Help> {
    text.parse()
        .map_err(|_| "Write a whole number: `0` is what all have, what has more comes first.".to_owned())
}

/// `:env A=1 B="two words"`.
pub(super) fn environment(text: &str) -> Result<Vec<(String, String)>, Help> {
    let help = || {
        "Write variables as `NAME=value`, with double quotes round blanks: `A=1 B=\"two words\"`.".to_owned()
    };
    let variables: Option<Vec<_>> = words(text)
        .ok_or_else(help)?
        .into_iter()
        .map(|word| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect();
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    variables
        .filter(|variables| !variables.is_empty() && variables.iter().all(|(name, _)| is_name(name)))
        .ok_or_else(help)
}

/// Words parted by blanks; double quotes hold blanks together, anywhere in a word. `None`: a quote is open.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    (!quoted).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed() {
        let read = |text| duration(text).ok().map(|duration| duration.as_millis());
        assert_eq!(
            ["90", "90s", "1.5", "10m", "1h30m", "500ms", "1 h 30 m"].map(read),
            [
                Some(90_000),
                Some(90_000),
                Some(1500),
                Some(600_000),
                Some(5_400_000),
                Some(500),
                Some(5_400_000)
            ]
        );
        for wrong in ["", "0", "-5s", "soon", "9999999999h", "5x"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn backoffs_are_parsed() {
        assert_eq!(backoff("5s").unwrap().initial, Duration::from_secs(5));
        assert_eq!(
            backoff("100ms 2 1s"),
            Ok(Backoff { initial: Duration::from_millis(100), factor: 2.0, max: Duration::from_secs(1) })
        );
        assert_eq!(backoff("10m").unwrap().max, Duration::from_secs(600));
        for wrong in ["", "soon", "5s 0.5", "5s 2 1s", "5s 2 10m more"] {
            assert!(backoff(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn priorities_are_parsed() {
        assert_eq!(["0", "10", "-3"].map(priority), [Ok(0), Ok(10), Ok(-3)]);
        for wrong in ["", "high", "1.5", "99999999999"] {
            assert!(priority(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn environment_variables_are_parsed() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            environment("A=1 B=\"two words\" C= D=a=b"),
            Ok(vec![pair("A", "1"), pair("B", "two words"), pair("C", ""), pair("D", "a=b")])
        );
        for wrong in ["", "A", "1A=2", "A-B=1", "A=\"open"] {
            assert!(environment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn exit_codes_and_retry_limits_are_parsed() {
        assert_eq!(exit_codes("75, 111"), Ok(vec![75, 111]));
        assert!(["", "0", "256", "x"].map(exit_codes).iter().all(Result::is_err));
        assert_eq!(retry_limit("3"), Ok(RetryLimit::Limited(3)));
        assert!(["", "-1", "many", "1.5"].map(retry_limit).iter().all(Result::is_err));
    }
}

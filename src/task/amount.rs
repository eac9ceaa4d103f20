//! Parsers for amounts of resources as people write them: `0.5`, `64K`, `1.5G`.

/// Cpus: decimals, at least 0.01 (Mesos' least), at most a million; in thousandths.
pub fn milli_cpus(text: &str) -> Option<u64> {
    decimal(text).filter(|thousandths| (10..=1_000_000_000).contains(thousandths))
}

/// Bytes, or with a unit (`64K`, `16M`, `1G`); more than nothing.
pub fn bytes(text: &str) -> Option<u64> {
    let upper = text.to_ascii_uppercase();
    let (number, shift) = match upper.char_indices().next_back()? {
        (at, 'K') => (&upper[..at], 10),
        (at, 'M') => (&upper[..at], 20),
        (at, 'G') => (&upper[..at], 30),
        _ => (upper.as_str(), 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift).filter(|&bytes| bytes > 0)
}

/// Memory or disk: MiB, or with a unit (`512M`, `2G`, `1.5G`, `1T`); at least 1 MiB; rounded up.
pub fn mebibytes(text: &str) -> Option<u64> {
    let upper = text.to_ascii_uppercase();
    let plain = upper.strip_suffix("IB").or_else(|| upper.strip_suffix('B')).unwrap_or(&upper);
    let (number, unit) = match plain.char_indices().next_back() {
        Some((at, 'M')) => (&plain[..at], 1),
        Some((at, 'G')) => (&plain[..at], 1 << 10),
        Some((at, 'T')) => (&plain[..at], 1 << 20),
        // A bare number may not carry the `B` of a unit it does not have.
        _ if plain.len() == upper.len() => (plain, 1),
        _ => return None,
    };
    decimal(number.trim_end())
        .and_then(|thousandths| thousandths.checked_mul(unit))
        .map(|thousandths| thousandths.div_ceil(1000))
        .filter(|&amount| amount > 0)
}

/// A number without sign, with up to three decimals, in thousandths.
pub fn decimal(text: &str) -> Option<u64> {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (integer.is_empty() && fraction.is_empty())
        || !digits(integer)
        || !digits(fraction)
        || fraction.len() > 3
    {
        return None;
    }
    let integer: u64 = if integer.is_empty() { 0 } else { integer.parse().ok()? };
    integer.checked_mul(1000)?.checked_add(format!("{fraction:0<3}").parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milli_cpus_are_read_from_decimals() {
        let read = |text| milli_cpus(text);
        assert_eq!(
            ["1", "0.5", ".5", "2.", "0.01", "1000"].map(read),
            [Some(1000), Some(500), Some(500), Some(2000), Some(10), Some(1_000_000)]
        );
        for wrong in ["", ".", "-1", "zero", "0", "0.001", "1e3", "1,5", "0.12345", "99999999999999999999"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn bytes_accept_units() {
        assert_eq!(
            ["7", "64K", "16M", "1g"].map(bytes),
            [Some(7), Some(65_536), Some(16 << 20), Some(1 << 30)]
        );
        assert!(["", "K", "0", "-1", "1T", "99999999999999999999"].map(bytes).iter().all(Option::is_none));
    }

    #[test]
    fn mebibytes_accept_units_and_round_up() {
        let read = |text| mebibytes(text);
        assert_eq!(
            ["64", "64M", "2G", "1.5G", "2GiB", "2gb", "0.5", "99999G", "1T", "5 M"].map(read),
            [
                Some(64),
                Some(64),
                Some(2048),
                Some(1536),
                Some(2048),
                Some(2048),
                Some(1),
                Some(102_398_976),
                Some(1_048_576),
                Some(5),
            ]
        );
        for wrong in ["", "0", "-5", "5K", "5B", "lots", "G", "1e3", "99999999999999999999T"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}

//! Prints floating-point numbers as Emacs does.

/// The fewest of 15 to 17 digits that give the number back, as `%g` writes them, with a point.
pub(super) fn print(number: f64) -> String {
    if number.is_nan() {
        return if number.is_sign_negative() { "-0.0e+NaN".into() } else { "0.0e+NaN".into() };
    }
    if number.is_infinite() {
        return if number > 0.0 { "1.0e+INF".into() } else { "-1.0e+INF".into() };
    }
    let text = (15..=17)
        .map(|digits| general(number, digits))
        .find(|text| text.parse() == Ok(number))
        .unwrap_or_else(|| number.to_string());
    if text.contains(['.', 'e']) { text } else { text + ".0" }
}

/// `%.{digits}g` of C.
pub(super) fn general(number: f64, digits: usize) -> String {
    let scientific = format!("{number:.*e}", digits.saturating_sub(1));
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let trimmed = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let digits = i32::try_from(digits).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= digits {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs())
    } else {
        let places = usize::try_from(digits - 1 - exponent).unwrap_or_default();
        trimmed(&format!("{number:.places$}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(0.5, "0.5")]
    #[case(1000.0, "1000.0")]
    #[case(1e14, "100000000000000.0")]
    #[case(1e15, "1e+15")]
    #[case(1e20, "1e+20")]
    #[case(1e-7, "1e-07")]
    #[case(0.0001, "0.0001")]
    #[case(1.5e-5, "1.5e-05")]
    #[case(1.0 / 3.0, "0.3333333333333333")]
    #[case(0.1 + 0.2, "0.30000000000000004")]
    #[case(-0.0, "-0.0")]
    #[case(123_456_789_012_345_680.0, "1.2345678901234568e+17")]
    #[case(f64::INFINITY, "1.0e+INF")]
    fn floats_are_printed_as_by_emacs(#[case] number: f64, #[case] expected: &str) {
        assert_eq!(print(number), expected);
    }
}

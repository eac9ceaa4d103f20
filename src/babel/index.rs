//! Selects parts of a list by the index of a reference, such as `[0,-1]`.

use super::value::Value;

/// The part of `value` that `index` names, `org-babel-ref-index-list`: portions for each depth, parted by commas, each
/// a number from 0, or from the end if negative, a range `2:4`, or `*` or nothing for all. What is no list is whole.
pub fn index(value: &Value, index: &str) -> Value {
    let Some(items) = value.items() else { return value.clone() };
    if index.is_empty() {
        return value.clone();
    }
    let (portion, rest) = index.split_once(',').unwrap_or((index, ""));
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let from_start = |number: i64| if number < 0 { length.saturating_add(number) } else { number };
    let nth = |number: i64| {
        // As in Lisp, what is before the first is the first.
        usize::try_from(number.max(0)).ok().and_then(|n| items.get(n)).cloned().unwrap_or_default()
    };
    let selected: Vec<Value> = match range(portion) {
        Some((from, to)) => {
            let (from, to) = (from_start(from), from_start(to));
            // Beyond the end there is nothing, but not endlessly.
            let to = to.min(from.max(0).saturating_add(length));
            (from..=to).map(nth).collect()
        }
        None => vec![nth(from_start(number(portion)))],
    };
    let parts =
        selected.iter().map(|item| if item.is_list() { self::index(item, rest) } else { item.clone() });
    let mut parts: Vec<Value> = parts.collect();
    if parts.len() == 1 { parts.pop().unwrap_or_default() } else { Value::list(parts) }
}

/// The first and last number of a range.
fn range(portion: &str) -> Option<(i64, i64)> {
    if portion.is_empty() || portion.contains('*') && !portion.contains(':') {
        return Some((0, -1));
    }
    let (from, to) = portion.split_once(':')?;
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '-');
    (digits(from) && digits(to)).then(|| (number(from), number(to)))
}

/// What `string-to-number` makes of a text.
fn number(text: &str) -> i64 {
    let text = text.trim_start();
    let sign = usize::from(text.starts_with(['-', '+']));
    let end = text[sign..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |n| n + sign);
    text[..end].trim_start_matches('+').parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lisp;

    #[rstest::rstest]
    #[case("0", "(a 1)")]
    #[case("-1", "(c 3)")]
    #[case("0,1", "1")]
    #[case("0:1", "((a 1) (b 2))")]
    #[case("1:-1,0", "(b c)")]
    #[case(",0", "(a b c)")]
    #[case("*,1", "(1 2 3)")]
    #[case("7", "nil")]
    #[case("7,0", "nil")]
    #[case("0,", "(a 1)")]
    #[case("2:2", "(c 3)")]
    #[case("x", "(a 1)")]
    fn parts_are_selected(#[case] portions: &str, #[case] expected: &str) {
        let table = lisp::read("((a 1) (b 2) (c 3))").unwrap().0;
        assert_eq!(index(&table, portions).prin1(), expected);
    }

    #[test]
    fn other_values_are_returned_whole() {
        assert_eq!(index(&"text".into(), "0"), "text".into());
        assert_eq!(index(&Value::Nil, "0"), Value::Nil);
    }
}

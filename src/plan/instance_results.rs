//! Combines the results of a block's instances into one value.

use serde::{Deserialize, Serialize};

use borges_babel::{self as babel, Arguments, Value};

/// A block that is several tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct InstanceGroup {
    /// The number of the first of them; the others follow.
    pub(super) first: u32,
    /// How many they are.
    pub(super) count: u32,
    /// What the columns of the table are called that each was given a row of; empty where that is not known.
    pub(super) header: Vec<Value>,
    /// The rows, by their places among the values of the run; none where each was given the same.
    pub(super) rows: Vec<u32>,
    /// What the column of what they yield is called.
    pub(super) title: String,
}

impl InstanceGroup {
    /// The numbers of its tasks.
    pub(super) fn numbers(&self) -> std::ops::Range<u32> {
        self.first..self.first.saturating_add(self.count)
    }
}

/// What one of several tasks was given, and what it has yielded so far.
pub(super) struct InstanceResult<'a> {
    pub(super) row: Option<&'a Value>,
    pub(super) value: Option<&'a Value>,
}

/// The words of `:results` by which what several tasks yield is text that stands one after another.
const AS_TEXT: [&str; 9] = ["output", "verbatim", "scalar", "raw", "html", "latex", "org", "code", "pp"];

/// What they have yielded in their order: a table of a row each, what the task was given before what it came to. What
/// is asked for as text is text, and as a list, a list. `None` as long as none has yielded anything.
pub(super) fn combine(
    group: &InstanceGroup,
    results: &[InstanceResult],
    arguments: &Arguments,
) -> Option<Value> {
    let values = || results.iter().filter_map(|part| part.value);
    values().next()?;
    if values().all(|value| *value == Value::Nil) {
        return Some(Value::Nil);
    }
    let result_words = arguments.results();
    if AS_TEXT.iter().any(|word| result_words.has(word)) {
        return Some(Value::Text(values().map(lines).collect()));
    }
    if result_words.has("list") {
        return Some(Value::list(values().cloned().collect()));
    }
    let link = |value: &Value| match value {
        Value::Text(name) if result_words.has("file") && !name.is_empty() => {
            Value::text(babel::link(name.trim_end_matches('\n'), arguments))
        }
        other => other.clone(),
    };
    let mut header = group.header.clone();
    let row_width =
        results.iter().filter_map(|part| part.row).map(|row| cells(row).len()).max().unwrap_or_default();
    let mut columns = None;
    let mut rows: Vec<Vec<Value>> = Vec::with_capacity(results.len());
    for InstanceResult { row, value } in results {
        let mut row = row.map(cells).unwrap_or_default();
        row.resize(row_width, Value::text(""));
        let (own_header, result_rows) = result_rows(&value.map(link).unwrap_or_default());
        columns = columns.or(own_header);
        rows.extend(result_rows.into_iter().map(|cells| row.iter().cloned().chain(cells).collect()));
    }
    let width = rows.iter().map(Vec::len).max().unwrap_or_default();
    let has_header = columns.is_some() || !header.is_empty();
    if has_header {
        header.resize(row_width, Value::text(""));
        header.extend(columns.unwrap_or_else(|| vec![Value::text(group.title.as_str())]));
    }
    let padded = |mut cells: Vec<Value>| {
        cells.resize(width, Value::text(""));
        Value::list(cells)
    };
    let head = has_header.then(|| [padded(header), Value::rule()]).into_iter().flatten();
    Some(Value::list(head.chain(rows.into_iter().map(padded)).collect()))
}

/// The text of a value, ended as a line is.
fn lines(value: &Value) -> String {
    let mut text = match value {
        Value::Nil => String::new(),
        value => value.princ(),
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// A row as cells.
fn cells(row: &Value) -> Vec<Value> {
    match row {
        Value::List(cells) => cells.clone(),
        Value::Nil => vec![Value::text("")],
        cell => vec![cell.clone()],
    }
}

/// The rows of what a task has yielded, and what it calls their columns: a table's own rows; a list is one, and so is
/// each line of a text.
fn result_rows(value: &Value) -> (Option<Vec<Value>>, Vec<Vec<Value>>) {
    match value {
        Value::List(items) if items.iter().all(|item| item.is_list() || item.is_rule()) => {
            let has_header = items.len() > 1 && items[1].is_rule();
            let mut rows = items.iter().filter(|item| !item.is_rule()).map(cells);
            let header = if has_header { rows.next() } else { None };
            (header, rows.collect())
        }
        Value::Text(text) if text.trim_end_matches('\n').contains('\n') => {
            (None, text.trim_end_matches('\n').split('\n').map(|line| vec![Value::text(line)]).collect())
        }
        Value::Text(text) => (None, vec![vec![Value::text(text.trim_end_matches('\n'))]]),
        other => (None, vec![cells(other)]),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use borges_org as org;

    fn combined(words: &str, header: &str, row: &str, result_rows: &str) -> String {
        let read = |text: &str| babel::evaluated(&format!("'{text}"));
        let items = |text: &str| read(text).items().unwrap_or_default().to_vec();
        let group = InstanceGroup {
            first: 1,
            count: 2,
            header: items(header),
            rows: Vec::new(),
            title: "f".to_owned(),
        };
        let (row, result_rows) = (items(row), items(result_rows));
        let results: Vec<InstanceResult> = result_rows
            .iter()
            .enumerate()
            .map(|(n, value)| InstanceResult {
                row: row.get(n),
                value: Some(value).filter(|value| value.princ() != "open"),
            })
            .collect();
        let source = format!("#+begin_src sh {words}\n#+end_src\n");
        let arguments = Arguments::from_params(&org::parse(source.as_bytes(), &[]).blocks[0].params);
        combine(&group, &results, &arguments).map_or_else(|| "none".to_owned(), |value| value.prin1())
    }

    #[rstest]
    // Instances are given nothing, and have no header.
    #[case("", "()", "()", "(1 \"b\")", r#"((1) ("b"))"#)]
    #[case("", "()", "()", "((1 2) (3))", r#"((1 2) (3 ""))"#)]
    #[case("", "()", "()", "(nil nil)", "nil")]
    #[case("", "()", "()", "(open open)", "none")]
    #[case("", "()", "()", "(1 nil)", r#"((1) (""))"#)]
    // Rows go before what came of them.
    #[case("", "(a b)", "((1 2) (3 4))", "(5 6)", r#"((a b "f") hline (1 2 5) (3 4 6))"#)]
    #[case("", "(n)", "(1 2)", "(5 open)", r#"((n "f") hline (1 5) (2 ""))"#)]
    #[case("", "()", "((1 2) (3))", "(5 6)", "((1 2 5) (3 \"\" 6))")]
    // Several rows of one task.
    #[case("", "(n)", "(1 2)", "(((5) (6)) ((7)))", r#"((n "f") hline (1 5) (1 6) (2 7))"#)]
    #[case(
        "",
        "(n)",
        "(1 2)",
        "(((x y) hline (5 6)) ((x y) hline (7 8)))",
        "((n x y) hline (1 5 6) (2 7 8))"
    )]
    #[case("", "()", "()", "(\"a\\nb\\n\" \"c\\n\")", r#"(("a") ("b") ("c"))"#)]
    // Asked for otherwise.
    #[case(":results output", "()", "(1 2)", "(\"a\\nb\\n\" \"c\")", "\"a\nb\nc\n\"")]
    #[case(":results list", "()", "(1 2)", "(3 \"c\")", r#"(3 "c")"#)]
    #[case(
        ":results file",
        "(n)",
        "(1 2)",
        "(\"a.png\\n\" open)",
        r#"((n "f") hline (1 "[[file:a.png]]") (2 ""))"#
    )]
    fn instance_results_are_combined(
        #[case] words: &str,
        #[case] header: &str,
        #[case] row: &str,
        #[case] values: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(combined(words, header, row, values), expected);
    }
}

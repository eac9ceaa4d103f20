//! Values as plain text: tables, lists and CSV for programs and files, and quoting for a shell.

use super::value::Value;

/// Rows as lines, cells parted by `separator`; rules become `rule`, or are left out. What is in a cell is passed
/// through `cell`, unless it is empty.
///
/// As `orgtbl-to-generic`: what is between bars is a cell, without blanks around it.
pub(super) fn lines(
    rows: &[Value],
    separator: &str,
    rule: Option<&str>,
    cell: impl Fn(&str) -> String,
) -> String {
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        match row {
            row if row.is_rule() => lines.extend(rule.map(str::to_owned)),
            Value::List(cells) => {
                let mut texts = Vec::with_capacity(cells.len());
                for value in cells {
                    texts.extend(value.princ().split('|').map(|text| match trimmed(text) {
                        "" => String::new(),
                        text => cell(text),
                    }));
                }
                lines.push(texts.join(separator));
            }
            _ => {}
        }
    }
    lines.join("\n")
}

/// Rows as lines of cells as they are.
pub(super) fn plain(rows: &[Value], separator: &str, rule: Option<&str>) -> String {
    lines(rows, separator, rule, str::to_owned)
}

/// A value as a shell, or a file, gets it: texts as they are, a table in lines of cells, a list in lines.
pub(super) fn text(value: &Value, separator: &str, rule: Option<&str>) -> String {
    match value {
        Value::Nil => String::new(),
        Value::List(items) if items[0].is_rule() || items[0].is_list() => plain(items, separator, rule),
        Value::List(items) => items.iter().map(echo).collect::<Vec<_>>().join("\n"),
        value => echo(value),
    }
}

/// Texts as they are, all else as Emacs prints it.
pub(super) fn echo(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        value => value.prin1(),
    }
}

/// As CSV: cells in quotes where they need them.
pub(super) fn csv(rows: &[Value]) -> String {
    lines(rows, ",", None, |text| {
        if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
    })
}

fn trimmed(cell: &str) -> &str {
    cell.trim_matches([' ', '\t', '\n', '\r'])
}

/// The text in single quotes for a shell.
pub(super) fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

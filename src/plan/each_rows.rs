//! The rows of `:each`: one task of the block for each row of a table or list.

use borges_babel::{self as babel, Value};

/// What the tasks of a block are given of a table: `:each NAMES=TABLE`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct EachRows {
    /// The variable that holds a row, or the variables that hold its cells.
    pub(super) names: Vec<String>,
    /// What its columns are called, if that is known.
    pub(super) header: Vec<Value>,
    /// One for each task: a row of a table is a list of its cells.
    pub(super) rows: Vec<Value>,
}

impl EachRows {
    /// The names before the `=`, and what stands behind it.
    pub(super) fn split(text: &str) -> Result<(Vec<String>, &str), String> {
        let help = || "Write the name of a variable and that of a table: `:each row=TABLE`.".to_owned();
        let (names, table) = text.split_once('=').ok_or_else(help)?;
        let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        let is_name = |name: &String| name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
        if names.is_empty() || table.trim().is_empty() || !names.iter().all(is_name) {
            return Err(help());
        }
        if (1..names.len()).any(|n| names[..n].contains(&names[n])) {
            return Err("Give each cell a name of its own.".to_owned());
        }
        Ok((names, table))
    }

    /// The rows of `value`; `has_header` where its first row may be a header.
    pub(super) fn of(names: Vec<String>, value: &Value, has_header: bool) -> Result<Self, String> {
        let Some((header, rows)) = babel::rows(value, has_header) else {
            return Err("it is no table and no list".to_owned());
        };
        if names.len() > 1 {
            for (number, row) in rows.iter().enumerate() {
                let cells = row.items().map_or(1, <[_]>::len);
                if cells < names.len() {
                    let (number, names) = (number + 1, names.len());
                    return Err(format!("row {number} has {cells} of the {names} cells that are named"));
                }
            }
        }
        let is_flat = !rows.iter().any(Value::is_list);
        let header = match header {
            Some(Value::List(cells)) => cells,
            _ if names.len() > 1 || is_flat => names.iter().map(Value::text).collect(),
            _ => Vec::new(),
        };
        Ok(Self { names, header, rows })
    }
}

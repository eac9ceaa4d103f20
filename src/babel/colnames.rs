//! Column names, row names and rules of tables: stripped from the variables of a block, and restored on its value.

use super::arguments::Arguments;
use super::value::Value;

/// What was taken off, by variable.
#[derive(Debug, Default, PartialEq)]
pub(super) struct TableHeaders {
    pub(super) columns: Vec<(String, Value)>,
    pub(super) rows: Vec<(String, Value)>,
}

/// The variables as the block gets them, and what was taken off them.
pub(super) fn strip(
    variables: &[(String, Value)],
    arguments: &Arguments,
) -> (Vec<(String, Value)>, TableHeaders) {
    let is = |key: &str, word: &str| arguments.get(key).is_some_and(|value| value.princ() == word);
    let has_value = |key: &str| arguments.get(key).is_some_and(|value| *value != Value::Nil);
    let rules = match arguments.get(":hlines") {
        None => arguments.is_inline(),
        Some(Value::Nil) => true,
        Some(value) => value.princ() == "yes",
    };
    let mut names = TableHeaders::default();
    let mut stripped = Vec::with_capacity(variables.len());
    for (name, value) in variables {
        let Some(rows) = value.items() else {
            stripped.push((name.clone(), value.clone()));
            continue;
        };
        let mut rows = rows.to_vec();
        if !is(":colnames", "no") && (has_value(":colnames") || has_header(&rows)) {
            let skipped = rows.iter().take_while(|row| row.is_rule()).count();
            rows.drain(..skipped);
            let header = if rows.is_empty() { Value::Nil } else { rows.remove(0) };
            if rows.first().is_some_and(Value::is_rule) {
                rows.remove(0);
            }
            names.columns.push((name.clone(), header));
        }
        if has_value(":rownames") && !is(":rownames", "no") {
            rows.retain(|row| !row.is_rule());
            let row_names = rows.iter_mut().map(|row| match row {
                Value::List(cells) => {
                    let head = cells.remove(0);
                    *row = Value::list(std::mem::take(cells));
                    head
                }
                _ => Value::Nil,
            });
            names.rows.push((name.clone(), Value::list(row_names.collect())));
        }
        if !rules {
            rows.retain(|row| !row.is_rule());
        }
        stripped.push((name.clone(), Value::list(rows)));
    }
    (stripped, names)
}

/// A table's rows, or a list's items, without rules; and its header, where it may have one. `None` for what is no list.
pub fn rows(value: &Value, has_header: bool) -> Option<(Option<Value>, Vec<Value>)> {
    let all = value.items()?;
    let is_headed = has_header && self::has_header(all);
    let (header, rows) = if is_headed { (all.first(), &all[1..]) } else { (None, all) };
    Some((header.cloned(), rows.iter().filter(|row| !row.is_rule()).cloned().collect()))
}

/// A rule after the first row, and nowhere else.
fn has_header(rows: &[Value]) -> bool {
    rows.len() > 1 && !rows[0].is_rule() && rows[1].is_rule() && !rows[2..].iter().any(Value::is_rule)
}

/// The table with what `:colnames` and `:rownames` ask for.
pub(super) fn restore(value: Value, names: &TableHeaders, arguments: &Arguments) -> Value {
    let Some(rows) = value.items() else { return value };
    let mut rows = rows.to_vec();
    let row_names = pick(&names.rows, arguments.get(":rownames"));
    let header = pick(&names.columns, arguments.get(":colnames"));
    add_names(&mut rows, &row_names, header);
    Value::list(rows)
}

/// The table with all that was taken off it.
pub(super) fn restore_all(value: Value, names: &TableHeaders) -> Value {
    let Some(rows) = value.items() else { return value };
    let mut rows = rows.to_vec();
    let all = Some(Value::Symbol("t".to_owned()));
    add_names(&mut rows, &pick(&names.rows, all.as_ref()), pick(&names.columns, all.as_ref()));
    Value::list(rows)
}

fn add_names(rows: &mut Vec<Value>, row_names: &Value, header: Value) {
    if let Some(row_names) =
        row_names.items().filter(|row_names| !row_names.is_empty() && row_names.len() == rows.len())
    {
        let mut row_names = row_names.iter();
        for row in rows.iter_mut() {
            if let Some(cells) = row.items() {
                let head = row_names.next().filter(|head| **head != Value::Nil).cloned();
                let head = head.unwrap_or_else(|| Value::text(""));
                *row = Value::list(std::iter::once(head).chain(cells.iter().cloned()).collect());
            }
        }
    }
    let width = rows.first().map_or(Some(0), |row| row.items().map(<[_]>::len));
    if header != Value::Nil && width.is_some() && header.items().map(<[_]>::len) == width {
        rows.splice(0..0, [header, Value::rule()]);
    }
}

/// The names that a header argument chooses: its own, or those of the variable it says.
pub(super) fn pick(names: &[(String, Value)], selector: Option<&Value>) -> Value {
    match selector {
        None | Some(Value::Nil) => Value::Nil,
        Some(list @ (Value::List(_) | Value::Dotted(..))) => list.clone(),
        Some(Value::Symbol(name)) if name != "t" => {
            names.iter().find(|(other, _)| other == name).map_or(Value::Nil, |(_, value)| value.clone())
        }
        Some(_) => names.last().map_or(Value::Nil, |(_, value)| value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lisp;
    use borges_org as org;

    fn arguments(line: &str) -> Arguments {
        let document = org::parse(format!("#+begin_src sh {line}\n#+end_src\n").as_bytes(), &[]);
        Arguments::from_params(&document.blocks[0].params)
    }

    #[rstest::rstest]
    #[case("", "((a b) hline (1 2) (3 4))", "((1 2) (3 4))", "((1 2) (3 4))")]
    #[case(":colnames yes", "((a b) hline (1 2) (3 4))", "((1 2) (3 4))", "((a b) hline (1 2) (3 4))")]
    #[case(":colnames no", "((a b) hline (1 2))", "((a b) (1 2))", "((a b) (1 2))")]
    #[case(":colnames no :hlines yes", "((a b) hline (1 2))", "((a b) hline (1 2))", "((a b) hline (1 2))")]
    #[case(":colnames yes", "((a b) (1 2))", "((1 2))", "((a b) hline (1 2))")]
    #[case(":rownames yes", "((a 1) (b 2))", "((1) (2))", "((a 1) (b 2))")]
    #[case(":colnames '(\"x\" \"y\")", "((1 2))", "nil", "nil")]
    #[case("", "((a) hline (1) hline (2))", "((a) (1) (2))", "((a) (1) (2))")]
    fn names_are_stripped_and_restored(
        #[case] line: &str,
        #[case] table: &str,
        #[case] expected_input: &str,
        #[case] expected_output: &str,
    ) {
        let arguments = arguments(line);
        let variables = [("t".to_owned(), lisp::read(table).unwrap().0)];
        let (stripped, names) = strip(&variables, &arguments);
        assert_eq!(stripped[0].1.prin1(), expected_input);
        assert_eq!(restore(stripped[0].1.clone(), &names, &arguments).prin1(), expected_output);
    }
}

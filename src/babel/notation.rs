//! Values and texts in Org's notation: tables, lists, example blocks, escaped lines.

use super::align;
use super::generic::echo;
use super::import;
use super::value::Value;

/// A text of at least this many lines becomes an example block.
const EXAMPLE_LINES: usize = 10;

/// Nothing but blanks, as Emacs sees it.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| " \t\n\r".contains(c))
}

/// What marks a column as none of the table's own.
const COLUMN_MARKS: [&str; 8] = ["", "/", "#", "!", "$", "*", "_", "^"];

/// A table of these rows; of what are no rows, a table of one.
pub(super) fn table(items: &[Value]) -> String {
    let one;
    let rows = if items.iter().all(|item| item.is_rule() || item.is_list()) {
        items
    } else {
        one = [Value::List(items.to_vec())];
        &one
    };
    let mut text = String::new();
    for row in rows {
        match row {
            row if row.is_rule() => text += "|-\n",
            Value::List(cells) => {
                text += "| ";
                for cell in cells {
                    text += &cell.princ();
                    text += " |";
                }
                text.push('\n');
            }
            _ => {}
        }
    }
    // A line end in a cell begins another row; a bar without a cell is none.
    if text.lines().count() > rows.len() {
        text = text.split_inclusive('\n').filter(|line| line.trim() != "|").collect();
    }
    if let Some(column) = without_marks(&text) {
        text = column;
    }
    if align::table_lines(&text) == text.lines().count() && !text.is_empty() {
        align::align(&text)
    } else if text.is_empty() {
        "\n".to_owned()
    } else {
        align_leading_table(&text)
    }
}

/// The table without its first column, where that holds nothing but marks.
fn without_marks(text: &str) -> Option<String> {
    let rows: Vec<Option<Vec<String>>> = text.lines().map(import::cells).collect();
    let firsts: Vec<&str> = rows.iter().flatten().map(|row| row.first().map_or("", String::as_str)).collect();
    let special =
        firsts.iter().all(|cell| COLUMN_MARKS.contains(cell)) && firsts.iter().any(|cell| !cell.is_empty());
    special.then(|| {
        rows.iter()
            .map(|row| match row {
                None => "|-\n".to_owned(),
                Some(row) => {
                    let cells = row.get(1..).unwrap_or_default();
                    format!("| {}\n", cells.iter().map(|cell| format!("{cell} |")).collect::<String>())
                }
            })
            .collect()
    })
}

/// A text that begins with a table, that table aligned.
pub(super) fn align_leading_table(text: &str) -> String {
    let count = align::table_lines(text);
    if count == 0 {
        return text.to_owned();
    }
    let length: usize = text.split_inclusive('\n').take(count).map(str::len).sum();
    let (table, rest) = text.split_at(length);
    align::align(table) + rest
}

/// A list: an item for each that is in it, or for each line.
pub(super) fn list(value: &Value) -> String {
    let items: Vec<String> = match value.items() {
        Some(items) => items
            .iter()
            .map(|item| match item {
                Value::List(parts) => parts.iter().map(echo).collect::<Vec<_>>().join("\n"),
                item if *item == Value::Nil => String::new(),
                item => echo(item),
            })
            .collect(),
        None => echo(value).split('\n').filter(|line| !line.is_empty()).map(str::to_owned).collect(),
    };
    let mut text = String::new();
    for item in &items {
        if item_text(item, &mut text) {
            break;
        }
    }
    format!("{}\n", text.trim_matches([' ', '\t', '\n', '\r']))
}

/// Writes an item; `true` where the list ends with it. Emacs writes the list down and reads it again before it writes it
/// into the document: blank lines at the ends of an item are then lost, and two of them end the list.
fn item_text(item: &str, text: &mut String) -> bool {
    let mut lines: Vec<&str> = item.split('\n').collect();
    let end = (1..lines.len().saturating_sub(1)).find(|&n| is_blank(lines[n]) && is_blank(lines[n + 1]));
    lines.truncate(end.unwrap_or(lines.len()));
    while lines.len() > 1 && lines.last().is_some_and(|line| is_blank(line)) {
        lines.pop();
    }
    let begin = lines.iter().position(|line| !is_blank(line)).unwrap_or_default();
    for (n, line) in lines[begin..].iter().enumerate() {
        text.push_str(if n == 0 { "- " } else { "  " });
        text.push_str(match n {
            0 => line.trim_start_matches([' ', '\t']),
            _ if is_blank(line) => "",
            _ => line,
        });
        text.push('\n');
    }
    end.is_some()
}

/// Colon lines, or from ten lines on an example block.
pub(super) fn example(text: &str) -> String {
    let lines = text.strip_suffix('\n').unwrap_or(text);
    let count = if text.is_empty() { 0 } else { lines.split('\n').count() };
    if count == 0 {
        return String::new();
    }
    if count < EXAMPLE_LINES {
        let colons: Vec<String> = lines.split('\n').map(|line| format!(": {line}")).collect();
        return colons.join("\n") + if text.ends_with('\n') { "\n" } else { "" };
    }
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("#+begin_example\n{}{end}#+end_example\n", escape_lines(text))
}

/// With commas before what Org would take for its own.
pub(super) fn escape_lines(text: &str) -> String {
    let line = |line: &str| {
        let blanks = line.len() - line.trim_start_matches([' ', '\t']).len();
        let rest = line[blanks..].trim_start_matches(',');
        if rest.starts_with('*') || rest.starts_with("#+") {
            format!("{},{}", &line[..blanks], &line[blanks..])
        } else {
            line.to_owned()
        }
    };
    text.split_inclusive('\n').map(line).collect()
}

/// With backslashes before commas, as arguments of macros have them.
pub(super) fn escape_macro_argument(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut backslashes = 0;
    for c in text.chars() {
        match c {
            '\\' => backslashes += 1,
            ',' => {
                out.push_str(&"\\".repeat(2 * backslashes + 1));
                out.push(',');
                backslashes = 0;
            }
            c => {
                out.push_str(&"\\".repeat(backslashes));
                out.push(c);
                backslashes = 0;
            }
        }
    }
    out + &"\\".repeat(backslashes)
}

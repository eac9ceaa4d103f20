//! Reads the output of a program as a table, as `org-babel-import-elisp-from-file` does.

use super::read;
use super::value::Value;

/// What parts the cells of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Separator {
    /// What the text looks like; one line without comma and tab stays whole.
    Auto,
    /// What the text looks like; one line of several words is parted.
    Guess,
    /// A tab.
    Tab,
    /// A comma, with quotes round cells.
    Comma,
}

/// The most lines that Emacs makes a table of.
const MAX_LINES: usize = 999;

/// A table, a row, or what stands alone; nothing for no text. More lines than Emacs can take stay a text.
pub(super) fn table(text: &str, separator: Separator) -> Value {
    if text.is_empty() {
        return Value::Nil;
    }
    // Emacs reads a file, and a file with these line ends throughout has none other.
    let unix_text;
    let text = if has_crlf(text) {
        unix_text = text.replace("\r\n", "\n");
        &unix_text
    } else {
        text
    };
    if lines(text).count() > MAX_LINES {
        return Value::text(text);
    }
    let rows = rows(text, separator).into_iter().flatten();
    let mut rows: Vec<Vec<Value>> =
        rows.map(|row| row.iter().map(|cell| read::cell(cell)).collect()).collect();
    if let [row] = rows.as_mut_slice()
        && row.len() == 1
    {
        return row.pop().unwrap_or_default();
    }
    Value::list(rows.into_iter().map(Value::list).collect())
}

/// Rows of cells, as texts; `None` is a rule.
pub(super) fn rows(text: &str, separator: Separator) -> Vec<Option<Vec<String>>> {
    let separator = match separator {
        Separator::Auto | Separator::Guess => {
            let each = |c: char| !lines(text).any(|line| !line.is_empty() && !line.contains(c));
            if each('\t') {
                Kind::Tab
            } else if each(',') {
                Kind::Comma
            } else if separator == Separator::Auto && lines(text).count() <= 1 {
                Kind::Whole
            } else {
                Kind::Blanks
            }
        }
        Separator::Tab => Kind::Tab,
        Separator::Comma => Kind::Comma,
    };
    let table_lines = match separator {
        Kind::Comma => comma_cells(text),
        Kind::Tab => lines(text).map(|line| format!("| {}", line.replace('\t', "| "))).collect(),
        Kind::Whole => lines(text).map(|line| format!("| {}", line.trim_start_matches(' '))).collect(),
        Kind::Blanks => lines(text).map(blank_cells).collect(),
    };
    let mut rows: Vec<_> = table_lines.iter().map(|line| cells(line)).collect();
    // The table is aligned before it is read: all rows are as long as the longest.
    let columns = rows.iter().flatten().map(Vec::len).max().unwrap_or_default().max(1);
    for row in rows.iter_mut().flatten() {
        row.resize(columns, String::new());
    }
    rows
}

#[derive(Clone, Copy)]
enum Kind {
    Tab,
    Comma,
    Blanks,
    /// Nothing parts a line.
    Whole,
}

/// The lines of a text; a newline at its end begins none.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.strip_suffix('\n').unwrap_or(text).split('\n')
}

fn has_crlf(text: &str) -> bool {
    let newlines = memchr::memchr_iter(b'\n', text.as_bytes()).count();
    newlines > 0 && text.matches("\r\n").count() == newlines
}

/// Bars for runs of blanks.
fn blank_cells(line: &str) -> String {
    let mut out = String::from("| ");
    let mut rest = line.trim_start_matches(' ');
    while let Some(at) = rest.find([' ', '\t']) {
        out.push_str(&rest[..at]);
        out.push_str("| ");
        rest = rest[at..].trim_start_matches(' ');
        if let Some(after) = rest.strip_prefix('\t') {
            rest = after.trim_start_matches(' ');
        }
    }
    out + rest
}

/// Bars for commas; quotes taken off round cells, which may then hold commas and newlines.
fn comma_cells(text: &str) -> Vec<String> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let mut out = String::new();
    let mut rest = text;
    let mut begins = true;
    loop {
        if std::mem::take(&mut begins) {
            out.push_str("| ");
        }
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let after = &rest[blank..];
        if rest.is_empty() {
            break;
        }
        if after.is_empty() || after.starts_with('\n') {
            out.push_str(" |");
            let Some(next) = after.strip_prefix('\n') else { break };
            out.push('\n');
            rest = next;
            begins = true;
        } else if let Some((inner, next)) = after.strip_prefix('"').and_then(|after| after.split_once('"')) {
            out.push_str(&inner.replace('\n', " "));
            rest = next;
            if rest.starts_with('"') {
                out.push('"');
            }
        } else if let Some(next) = rest.find([',', '\n']).or(Some(rest.len())).filter(|&n| n > 0) {
            out.push_str(&rest[..next]);
            rest = &rest[next..];
        } else if let Some(next) = after.strip_prefix(',') {
            out.push_str(" | ");
            rest = next;
        } else {
            break;
        }
    }
    out.split('\n').map(str::to_owned).collect()
}

/// The cells of a line of a table; `None` for a rule.
pub(super) fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim_start_matches([' ', '\t']).strip_prefix('|')?;
    if inner.starts_with('-') {
        return None;
    }
    let mut cells = Vec::new();
    let mut rest = inner.trim_start_matches([' ', '\t']);
    while !rest.is_empty() {
        let end = rest.find('|').unwrap_or(rest.len());
        cells.push(rest[..end].trim_end_matches([' ', '\t']).to_owned());
        rest = rest.get(end + 1..).unwrap_or_default().trim_start_matches([' ', '\t']);
    }
    Some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    // What Org 9.8.9 says of these.
    #[rstest::rstest]
    #[case(Separator::Auto, "a 1\nb 2\n", "((\"a\" 1) (\"b\" 2))")]
    #[case(Separator::Auto, "1,2\n", "((1 2))")]
    #[case(Separator::Auto, "a b c\n", "\"a b c\"")]
    #[case(Separator::Auto, "a\nb\n", "((\"a\") (\"b\"))")]
    #[case(Separator::Auto, "\n", "\"\"")]
    #[case(Separator::Auto, "\n\n", "((\"\") (\"\"))")]
    #[case(Separator::Auto, "a\n\n", "((\"a\") (\"\"))")]
    #[case(Separator::Auto, "a\n\nb\n", "((\"a\") (\"\") (\"b\"))")]
    #[case(Separator::Auto, "  a b  \n c d\n", "((\"a\" \"b\") (\"c\" \"d\"))")]
    #[case(Separator::Auto, "a\t\tb\nc\td\te\n", "((\"a\" \"\" \"b\") (\"c\" \"d\" \"e\"))")]
    #[case(Separator::Auto, "a \t b\nc d\n", "((\"a\" \"b\") (\"c\" \"d\"))")]
    #[case(Separator::Auto, "a,b,\nc,,d\n", "((\"a\" \"b\" \"\") (\"c\" \"\" \"d\"))")]
    #[case(Separator::Auto, "a,\"b, c\"\n1,2\n", "((\"a\" \"b, c\") (1 2))")]
    #[case(Separator::Auto, "a,\"b\"\"c\"\n1,2\n", "((\"a\" \"b\\\"c\") (1 2))")]
    #[case(Separator::Auto, "\"a\"\n", "\"a\"")]
    #[case(Separator::Auto, "\"a b\"\n", "\"a b\"")]
    #[case(Separator::Auto, "|a|b|\n|1|2|\n", "((\"\" \"a\" \"b\") (\"\" 1 2))")]
    #[case(Separator::Auto, "a|b c\n1 2\n", "((\"a\" \"b\" \"c\") (1 2 \"\"))")]
    #[case(Separator::Auto, "a, b\nc ,d\n", "((\"a\" \"b\") (\"c\" \"d\"))")]
    #[case(Separator::Auto, "-1 2\n- x\n", "((-1 2) (\"-\" \"x\"))")]
    #[case(Separator::Auto, "a 'b c'\nd e\n", "((\"a\" \"'b\" \"c'\") (\"d\" \"e\" \"\"))")]
    #[case(Separator::Auto, "a \"b c\"\nd e\n", "((\"a\" \"\\\"b\" \"c\\\"\") (\"d\" \"e\" \"\"))")]
    #[case(Separator::Auto, "x", "\"x\"")]
    #[case(Separator::Auto, " x \n", "\"x\"")]
    #[case(Separator::Auto, "1 2 3\n", "\"1 2 3\"")]
    #[case(Separator::Auto, "a;b\n", "\"a;b\"")]
    #[case(Separator::Auto, ",\n", "\"\"")]
    #[case(Separator::Auto, "a,b", "((\"a\" \"b\"))")]
    #[case(Separator::Auto, "é ü\nß ñ\n", "((\"é\" \"ü\") (\"ß\" \"ñ\"))")]
    #[case(Separator::Auto, "(1 2)\n", "\"(1 2)\"")]
    #[case(Separator::Auto, "[1, 2]\n", "((\"[1\" \"2]\"))")]
    #[case(
        Separator::Auto,
        "a b\n\n\nc d\n\n",
        "((\"a\" \"b\") (\"\" \"\") (\"\" \"\") (\"c\" \"d\") (\"\" \"\"))"
    )]
    #[case(Separator::Auto, "\t\n", "\"\"")]
    #[case(Separator::Auto, "a\tb\n\n", "((\"a\" \"b\") (\"\" \"\"))")]
    #[case(Separator::Auto, "1\t2\n", "((1 2))")]
    #[case(Separator::Auto, "|-\na b\n", "((\"\" \"-\") (\"a\" \"b\"))")]
    #[case(Separator::Auto, "a\tb |\n", "((\"a\" \"b\"))")]
    #[case(Separator::Auto, "\"a,b\n\",c\nx,y\n", "((\"a,b\" \"c\") (\"x\" \"y\"))")]
    #[case(Separator::Auto, "a , b , c\n", "((\"a\" \"b\" \"c\"))")]
    #[case(Separator::Auto, "a b \nc d\n", "((\"a\" \"b\") (\"c\" \"d\"))")]
    #[case(Separator::Auto, "a\n ", "((\"a\") (\"\"))")]
    #[case(Separator::Auto, " \n \n", "((\"\") (\"\"))")]
    #[case(Separator::Auto, "a\"b,c\n", "((\"a\\\"b\" \"c\"))")]
    #[case(Separator::Auto, "'a','b'\n", "((\"'a'\" \"'b'\"))")]
    #[case(Separator::Tab, "a\tb\nc\n", "((\"a\" \"b\") (\"c\" \"\"))")]
    #[case(Separator::Tab, "a b\n", "\"a b\"")]
    #[case(Separator::Tab, "\ta\nb\tc\n", "((\"\" \"a\") (\"b\" \"c\"))")]
    #[case(Separator::Tab, "", "nil")]
    #[case(Separator::Tab, "a\n", "\"a\"")]
    #[case(Separator::Tab, "a\t\n", "\"a\"")]
    #[case(Separator::Tab, "NA\t\n", "\"NA\"")]
    #[case(Separator::Auto, "a 1\r\nb 2\r\n", "((\"a\" 1) (\"b\" 2))")]
    fn tables_are_imported_as_by_emacs(
        #[case] separator: Separator,
        #[case] text: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(table(text, separator).prin1(), expected);
    }
}

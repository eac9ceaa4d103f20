//! Aligns tables in Org's notation, as `org-table-align` does.

use unicode_width::UnicodeWidthChar;

use super::byte_text;
use super::import;

/// The lines of a table, aligned; those of it that are none of a table stay as they are. All lines get the blanks
/// that the first begins with.
pub(super) fn align(lines: &str) -> String {
    let rows: Vec<Option<Vec<String>>> = lines.lines().map(import::cells).collect();
    let indent: String = lines.chars().take_while(|c| matches!(c, ' ' | '\t')).collect();
    let cells = || rows.iter().flatten();
    let columns = cells().map(Vec::len).max();
    let mut widths = Vec::new();
    let mut aligns = Vec::new();
    match columns {
        None => {
            // Rules alone: as many columns as the first has.
            let first = lines.lines().next().unwrap_or_default();
            let columns = first.matches('+').count() + 1;
            widths.resize(columns, 1);
            aligns.resize(columns, Align::Left);
        }
        Some(columns) => {
            for column in 0..columns.max(1) {
                let column: Vec<&str> =
                    cells().map(|row| row.get(column).map_or("", String::as_str)).collect();
                widths.push(column.iter().map(|cell| width(cell)).max().unwrap_or(0).max(1));
                aligns.push(alignment(&column));
            }
        }
    }
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    let rule = rule.join("+");
    let mut out = String::new();
    for row in &rows {
        out += &indent;
        out.push('|');
        match row {
            None => out += &rule,
            Some(row) => {
                let cell = |(n, (width, align)): (usize, (&usize, &Align))| {
                    pad(row.get(n).map_or("", String::as_str), *width, *align)
                };
                let cells: Vec<String> = widths.iter().zip(&aligns).enumerate().map(cell).collect();
                out += &cells.join("|");
            }
        }
        out += "|\n";
    }
    out
}

/// Whether a line is one of a table.
pub(super) fn is_table(line: &str) -> bool {
    line.trim_start_matches([' ', '\t']).starts_with('|')
}

/// How many lines from the first on are those of a table.
pub(super) fn table_lines(text: &str) -> usize {
    text.lines().take_while(|line| is_table(line)).count()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
    Center,
}

/// As the first cookie says, or to the right where at least half of what is there are numbers.
fn alignment(column: &[&str]) -> Align {
    let (mut numbers, mut filled) = (0, 0);
    for cell in column {
        match cookie(cell) {
            Some(align) => return align,
            None if cell.is_empty() => {}
            None => {
                filled += 1;
                numbers += usize::from(is_number(cell));
            }
        }
    }
    if 2 * numbers >= filled { Align::Right } else { Align::Left }
}

/// `<l>`, `<r12>`, `<c>`
fn cookie(cell: &str) -> Option<Align> {
    let inner = cell.strip_prefix('<')?.strip_suffix('>')?;
    let align = match inner.chars().next()? {
        'l' => Align::Left,
        'r' => Align::Right,
        'c' => Align::Center,
        _ => return None,
    };
    inner[1..].bytes().all(|b| b.is_ascii_digit()).then_some(align)
}

/// What looks remotely like a number, `org-table-number-regexp`.
pub(super) fn is_number(cell: &str) -> bool {
    if matches!(cell, "nan" | "inf" | "+inf" | "-inf" | "uinf") {
        return true;
    }
    let plain = cell.strip_prefix(['<', '>']).unwrap_or(cell);
    let head = |c: char| c.is_ascii_digit() || "-+^.".contains(c);
    let tail = |c: char| head(c) || "eEdDx()%:".contains(c);
    let leading = plain.find(|c| !head(c)).unwrap_or(plain.len());
    if plain[..leading].contains(|c: char| c.is_ascii_digit()) && plain[leading..].chars().all(tail) {
        return true;
    }
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(plain);
    if let Some(hex) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        return !hex.is_empty() && hex.chars().all(|c| c.is_ascii_hexdigit() || c == '.');
    }
    unsigned.split_once('#').is_some_and(|(base, digits)| {
        !base.is_empty()
            && base.bytes().all(|b| b.is_ascii_digit())
            && !digits.is_empty()
            && digits.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
    })
}

fn pad(cell: &str, width: usize, align: Align) -> String {
    let spaces = width.saturating_sub(self::width(cell));
    let before = match align {
        Align::Left => 0,
        Align::Right => spaces,
        Align::Center => spaces / 2,
    };
    format!(" {}{cell}{} ", " ".repeat(before), " ".repeat(spaces - before))
}

/// Columns that a text takes on the screen: of a link only what it shows.
pub(super) fn width(cell: &str) -> usize {
    let mut width = 0;
    let mut rest = cell;
    while let Some(c) = rest.chars().next() {
        if let Some((shown, after)) = described_link(rest) {
            width += self::plain_width(shown);
            rest = after;
        } else {
            width += char_width(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    width
}

fn plain_width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    match c {
        // A byte that is no text is shown as `\377`.
        c if byte_text::byte(c).is_some() => 4,
        '\t' => 8,
        c if c < ' ' || c == '\u{7f}' => 2,
        c if ('\u{80}'..'\u{a0}').contains(&c) => 4,
        c => c.width().unwrap_or(0),
    }
}

/// What a link in brackets that begins here shows, and what follows it.
fn described_link(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix("[[")?;
    let end = inner.find(']')?;
    let path = inner.get(..end).filter(|path| !path.is_empty() && !path.contains('['))?;
    let after = &inner[end..];
    if let Some(rest) = after.strip_prefix("]]") {
        return Some((path, rest));
    }
    let described = after.strip_prefix("][")?;
    let end = described.find("]]")?;
    Some((&described[..end], &described[end + 2..])).filter(|(shown, _)| !shown.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        // What Org 9.8.9 makes of them.
        let tables = [
            "|a|1\n|-\n|bb|22|x|\n",
            "  | 日本 | 1 |\n| a | 22 |\n",
            "| <c> | <r3> |\n| abc | b |\n| x | |\n",
            "|---\n|-+-\n",
            "| [[http://a.b][desc]] | 1 |\n| longer text | 2 |\n",
            "| 1.5 | 0x1F | nan | 1:2 | >3 | 50% | 2x10^3 | e3 |\n| x | longer | longer | longer | long | long | long | long |\n",
            "||\n",
        ];
        insta::assert_snapshot!(tables.map(align).join("\n"));
    }
}
